// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package store keeps the images of the local platform: file trees, addressed by
// their content. Equal files of all images are stored once.
//
// An image is what its tree says: paths, kinds, permission bits, contents and link
// targets. Times, owners, and the set-user-ID, set-group-ID and sticky bits are no
// part of it. So the same tree has the same ID on every machine. Hard links within a
// tree become separate files.
//
//	s := store.Open(filepath.Join(dir, "images"))
//	image, err := s.Ingest(ctx, tree, nil)
//	…
//	err = s.Materialize(ctx, image.ID, root, store.Options{})
//
// A copy is verified while it is made. Where blocks or files are shared instead of
// copied (reflinks; hard links for read-only trees), a stored file counts as
// unchanged while its size and its modification time are those that it was stored
// with, and is read and compared otherwise.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// Store is a directory of images. It is safe for use by several goroutines and
// processes at once.
type Store struct{ dir string }

// Image describes one image.
type Image struct {
	ID      string // "img-" and 16 hexadecimal digits
	Size    int64  // bytes of all files
	Files   int    // number of regular files
	Created time.Time
}

// Options say how a tree is made from an image.
type Options struct {
	// ReadOnly promises that nobody writes to the files of the tree, which may then
	// be the stored ones.
	ReadOnly bool
}

// The directories of a store.
const (
	objectsDir   = "objects"
	manifestsDir = "manifests"
)

// Open returns the store in dir, which is made when the first image comes.
func Open(dir string) *Store { return &Store{filepath.Clean(dir)} }

// workers is how many files are copied at once: enough to keep a fast disk busy.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

// Ingest reads a tree into the store and returns its image. The tree is not changed. A
// tree that changes meanwhile, or holds what no image can (sockets, devices, pipes), is
// CodeInvalid. allowed is asked while nothing can be removed, and an error of it is
// returned; nil allows.
func (s *Store) Ingest(ctx context.Context, tree string, allowed func() error) (Image, error) {
	unlock, err := s.lock(ctx, shared)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if allowed != nil {
		if err := allowed(); err != nil {
			return Image{}, err
		}
	}
	entries, err := scan(ctx, tree)
	if err != nil {
		return Image{}, failed(ctx, "read tree "+tree, err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(workers())
	for i := range entries {
		if e := &entries[i]; e.Kind == kindFile {
			group.Go(func() error { return s.keep(groupCtx, filepath.Join(tree, e.name()), e) })
		}
	}
	if err := group.Wait(); err != nil {
		return Image{}, failed(ctx, "store tree "+tree, err)
	}
	if err := syncAll(filepath.Join(s.dir, objectsDir)); err != nil {
		return Image{}, failed(ctx, "store tree "+tree, err)
	}
	m := manifest{Version: manifestVersion, Entries: entries}
	if err := s.writeManifest(m); err != nil {
		return Image{}, failed(ctx, "store tree "+tree, err)
	}
	return s.Image(ctx, m.id())
}

// scan lists the entries of a tree in lexical order, directories before what they hold.
func scan(ctx context.Context, tree string) ([]entry, error) {
	var entries []entry
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || path == tree {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{Path: []byte(filepath.ToSlash(rel)), Mode: uint32(info.Mode().Perm())}
		switch {
		case info.IsDir():
			e.Kind = kindDir
		case info.Mode().IsRegular():
			e.Kind, e.Size = kindFile, info.Size()
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			e.Kind, e.Mode, e.Target = kindLink, 0o777, []byte(target)
		default:
			return pipeline.Errorf(pipeline.CodeInvalid, "read tree", "%s is a %s, which no image can hold", path, regular.Kind(info.Mode())).
				WithHint("Remove it in the last step of the bake.")
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// Image describes an image; CodeNotFound where there is none.
func (s *Store) Image(ctx context.Context, id string) (Image, error) {
	m, info, err := s.readManifest(id)
	if err != nil {
		return Image{}, failed(ctx, "read image "+id, err)
	}
	image := Image{ID: id, Created: info.ModTime()}
	for _, e := range m.Entries {
		if e.Kind == kindFile {
			image.Files++
			image.Size += e.Size
		}
	}
	return image, nil
}

// List describes all images, by ID. One whose manifest is damaged has no size: it can be
// removed, or baked again.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, failed(ctx, "list images", err)
	}
	var images []Image
	for _, id := range ids {
		image, err := s.Image(ctx, id)
		if pipeline.IsNotFound(err) {
			continue // removed meanwhile
		}
		if pipeline.CodeOf(err) == pipeline.CodeCorrupt {
			image, err = Image{ID: id}, nil
		}
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

func (s *Store) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, manifestsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), manifestSuffix); ok && validID(id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// Materialize makes the tree of an image at dest, which must not exist. The tree
// appears there whole or not at all. A stored file that is not what was recorded
// is CodeCorrupt.
func (s *Store) Materialize(ctx context.Context, id, dest string, o Options) (err error) {
	op := "make tree of image " + id
	unlock, err := s.lock(ctx, shared)
	if err != nil {
		return err
	}
	defer unlock()
	m, _, err := s.readManifest(id)
	if err != nil {
		return failed(ctx, op, err)
	}
	if _, err := os.Lstat(dest); err == nil {
		return pipeline.Errorf(pipeline.CodeConflict, op, "%s exists already", dest)
	}
	building := dest + ".tmp"
	if err := removeTree(building); err != nil {
		return failed(ctx, op, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(failed(ctx, op, err), removeTree(building))
		}
	}()
	if err := os.MkdirAll(building, 0o700); err != nil {
		return err
	}
	if err := s.build(ctx, m, building, o); err != nil {
		return err
	}
	return os.Rename(building, dest)
}

// build makes the entries: directories first, then the files side by side, and
// the directories' modes last, as they may forbid to write.
func (s *Store) build(ctx context.Context, m manifest, root string, o Options) error {
	for _, e := range m.Entries {
		if e.Kind == kindDir {
			if err := os.Mkdir(filepath.Join(root, e.name()), 0o700); err != nil {
				return err
			}
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(workers())
	for _, e := range m.Entries {
		dest := filepath.Join(root, e.name())
		switch e.Kind {
		case kindFile:
			group.Go(func() error { return s.place(groupCtx, e, dest, o) })
		case kindLink:
			if err := os.Symlink(string(e.Target), dest); err != nil {
				return errors.Join(err, group.Wait())
			}
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, e := range slices.Backward(m.Entries) {
		if e.Kind == kindDir {
			if err := os.Chmod(filepath.Join(root, e.name()), fs.FileMode(e.Mode)); err != nil {
				return err
			}
		}
	}
	return os.Chmod(root, 0o755)
}

// Verify reads every file of an image and compares it with what was recorded.
func (s *Store) Verify(ctx context.Context, id string) error {
	m, _, err := s.readManifest(id)
	if err != nil {
		return failed(ctx, "verify image "+id, err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(workers())
	for _, e := range m.Entries {
		if e.Kind == kindFile {
			group.Go(func() error { return s.check(groupCtx, e) })
		}
	}
	return failed(ctx, "verify image "+id, group.Wait())
}

// Remove removes an image and the files that no other image has. One that does
// not exist is no error; one to which a name leads is CodeConflict. allowed is asked while nothing can be added, and an error of it
// is returned; nil allows.
func (s *Store) Remove(ctx context.Context, id string, allowed func() error) error {
	op := "remove image " + id
	if !validID(id) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not an image ID", id)
	}
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := s.lock(ctx, exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	if allowed != nil {
		if err := allowed(); err != nil {
			return err
		}
	}
	name, err := s.named(ctx, id)
	if err != nil {
		return err
	}
	if name != "" {
		return pipeline.Errorf(pipeline.CodeConflict, op, "channel %q leads to it", name).
			WithHint("Let the channel lead to another build, or remove it, first.")
	}
	if err := os.Remove(s.manifestPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(ctx, op, err)
	}
	return failed(ctx, op, s.sweep(ctx))
}

// sweep removes the stored files that no image has, once it is known what all images
// have. The store is locked.
func (s *Store) sweep(ctx context.Context) error {
	ids, err := s.ids()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, id := range ids {
		m, _, err := s.readManifest(id)
		if pipeline.CodeOf(err) == pipeline.CodeCorrupt {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range m.Entries {
			if e.Kind == kindFile {
				used[s.objectPath(e)] = true
			}
		}
	}
	return filepath.WalkDir(filepath.Join(s.dir, objectsDir), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !d.IsDir() && !used[path]:
			return os.Remove(path)
		}
		return nil
	})
}

// Empty reports whether the store has no image.
func (s *Store) Empty(context.Context) (bool, error) {
	ids, err := s.ids()
	return len(ids) == 0, err
}

// removeTree removes a tree whatever the modes of its directories are.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// failed returns err a code and a remedy where it has none.
func failed(ctx context.Context, op string, err error) error {
	var own *pipeline.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: op, Err: ctx.Err()}
	case pipeline.CodeOf(err) == pipeline.CodeCorrupt:
		return fmt.Errorf("%s: %w", op, err)
	case errors.As(err, &own):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err).
			WithHint("The disk is full. Nothing incomplete was left.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbCollect})
	default:
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w", pipeline.Errorf(pipeline.CodeCorrupt, "verify image", format, args...).
		WithHint("Something changed the files in the data directory. Bake the image again: remove its file in images/%s there, and apply.", manifestsDir).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbRetry}))
}
