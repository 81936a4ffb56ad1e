// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Checkout makes a work tree of a commit. It is a repository of its own, as a clone is:
// whatever a step does to it stays in it. Its HEAD is the commit, on no branch, and its
// index is clean. It has the tags that lead to the commit or to one before it, the
// history that the cache has, and the repository, without credentials, as its remote
// "origin". Submodules are checked out likewise.
//
// Beside .git there are exactly the commit's files. Permissions are 0755 for directories
// and executables and 0644 for other files, times are the commit's. Attributes count as
// git takes them in a checkout; those of the user and of the machine don't. Filters of
// the user's own git are applied, Git LFS in any case, and symbolic links are made as
// they are. On an error, the directory is removed again.
//
// CodeNotFound where the commit is nowhere; CodeInvalid refuses a commit that would
// have files written through a symbolic link, or into a git directory, and one with
// files in Git LFS where that is not installed.
func (s *Source) Checkout(ctx context.Context, r pipeline.CheckoutRequest) error {
	const op = "check out commit"
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return failed(ctx, op, err)
	}
	err = s.at(ctx, r.Repository, r.Commit, func(at location) error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		err := workTree{store: s.store, at: at, commit: r.Commit, dir: dir, travels: r.Travels}.checkOut(ctx)
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	})
	return failed(ctx, op, err)
}

// checkOut makes a work tree in a directory that is empty, of a commit that the cache has.
func (w workTree) checkOut(ctx context.Context) error {
	paths := newPaths()
	if err := w.store.tree(ctx, w.at, w.commit, paths.add); err != nil {
		return err
	}
	revision, err := w.store.describe(ctx, w.at, w.commit)
	if err != nil {
		return err
	}
	if err := w.initialize(ctx); err != nil {
		return err
	}
	if paths.attributes {
		w.lfs = largeFiles()
	}
	if err := w.readFiles(ctx); err != nil {
		return err
	}
	if err := w.checkOutSubmodules(ctx, paths); err != nil {
		return err
	}
	if err := settle(ctx, w.dir, paths, revision.Time); err != nil {
		return err
	}
	// The index knows files by their times, among other things.
	err = w.store.git(ctx, w.call("update-index", "-q", "--refresh"))
	var said *gitError
	if errors.As(err, &said) && said.status == 1 {
		return nil // files that git's own settings would change at the next commit, as in every clone
	}
	return err
}

// paths finds what is special about the files of a commit, and entries that lead through
// a symbolic link of the same commit. Git makes no such commit, but somebody may.
type paths struct {
	links      map[string]bool
	fold       func(string) string
	submodules map[string]string // commits, by path
	attributes bool              // there is a .gitattributes
	modules    bool              // there is a .gitmodules
}

func newPaths() *paths {
	p := &paths{links: map[string]bool{}, submodules: map[string]string{}, fold: func(s string) string { return s }}
	if runtime.GOOS != "linux" { // the file system may take "A" for "a"
		p.fold = strings.ToLower
	}
	return p
}

func (p *paths) add(e entry) error {
	name := p.fold(e.path)
	switch {
	case e.mode == modeLink:
		p.links[name] = true
	case e.mode == modeSubmodule:
		p.submodules[e.path] = e.id
	case e.path == modulesFile:
		p.modules = true
	case path.Base(e.path) == ".gitattributes":
		p.attributes = true
	}
	if len(p.links) == 0 {
		return nil
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if p.links[dir] {
			return pipeline.Errorf(pipeline.CodeInvalid, "read commit", "path %q leads through a symbolic link", clip(e.path)).
				WithHint("Somebody may have made this commit to write outside the checkout. Find out who, and build another commit.")
		}
	}
	return nil
}

// settle gives every file of a work tree the mode and time that it has on all machines,
// but for git's own and those of submodules.
func settle(ctx context.Context, dir string, paths *paths, t time.Time) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == gitDir {
			return cmp.Or(err, fs.SkipDir)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.IsDir() || info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if d.Type() != fs.ModeSymlink && info.Mode().Perm() != mode {
			err = os.Chmod(path, mode)
		}
		err = errors.Join(err, setTime(path, t))
		if _, submodule := paths.submodules[filepath.ToSlash(rel)]; submodule && err == nil {
			return fs.SkipDir
		}
		return err
	})
}
