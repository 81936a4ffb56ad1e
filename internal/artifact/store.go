// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// algorithm names the digest of stored files, and the directory that holds them.
const algorithm = "sha256"

// validDigest is the only form of digest that the store turns into a path.
var validDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Store keeps files by the digest of their content. It may be used concurrently,
// from several processes. What it holds is never changed: a file is complete the
// moment it has its name.
type Store struct{ dir string }

var _ pipeline.Artifacts = (*Store)(nil)

// NewStore returns the store in dir, which is made when the first file is stored.
func NewStore(dir string) *Store { return &Store{filepath.Clean(dir)} }

// Put stores the file at path, or the directory at path as a gzipped tar with
// ".tar.gz" added to its name. A work tree of git is stored without .git. Storing the same content again is harmless, and
// mends a stored file that was damaged. CodeNotFound names a path that does not
// exist; CodeInvalid one that is neither a file nor a directory.
func (s *Store) Put(ctx context.Context, path string) (pipeline.Artifact, error) {
	const op = "store artifact"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pipeline.Artifact{}, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no file or directory %q", path).
			WithHint("Check `artifact` and the step that makes it: the path is relative to the repository's root.")
	case err != nil:
		return pipeline.Artifact{}, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err)
	case !info.IsDir() && !info.Mode().IsRegular():
		return pipeline.Artifact{}, pipeline.Errorf(pipeline.CodeInvalid, op, "%q is a %s, not a file or a directory", path, regular.Kind(info.Mode())).
			WithHint("Set `artifact` to a file or a directory that a step makes.")
	}
	name, write := filepath.Base(path), copyFile
	if info.IsDir() {
		if full, err := filepath.Abs(path); err == nil {
			name = filepath.Base(full) // "." has no name of its own
		}
		name, write = name+".tar.gz", packDistribution
	}
	record, err := s.put(func(w io.Writer) error { return write(ctx, path, w) })
	if err != nil {
		return pipeline.Artifact{}, s.failed(ctx, op, err)
	}
	record.Name = name
	return record, nil
}

// put stores what write writes: into a file that nobody looks at, which gets its
// name once it is whole and on the disk.
func (s *Store) put(write func(io.Writer) error) (_ pipeline.Artifact, err error) {
	temp, err := s.temp()
	if err != nil {
		return pipeline.Artifact{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
		err = errors.Join(err, temp.Close())
	}()
	content := sha256.New()
	var count counter
	if err := write(io.MultiWriter(temp, content, &count)); err != nil {
		return pipeline.Artifact{}, err
	}
	sum := hex.EncodeToString(content.Sum(nil))
	if err := errors.Join(temp.Chmod(0o444), temp.Sync()); err != nil {
		return pipeline.Artifact{}, err
	}
	path := s.path(sum)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return pipeline.Artifact{}, err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return pipeline.Artifact{}, err
	}
	// The record that names the file must not outlive it when the power fails.
	shelf := filepath.Dir(path)
	if err := errors.Join(syncDir(shelf), syncDir(filepath.Dir(shelf)), syncDir(s.dir)); err != nil {
		return pipeline.Artifact{}, err
	}
	return pipeline.Artifact{Digest: algorithm + ":" + sum, Size: int64(count)}, nil
}

// temp makes a file to write to, locked for as long as it is open.
func (s *Store) temp() (*os.File, error) {
	dir := filepath.Join(s.dir, "tmp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := sweep(dir); err != nil {
		return nil, err
	}
	for {
		file, err := os.CreateTemp(dir, "put-*")
		if err != nil {
			return nil, err
		}
		if mine, err := claim(file); mine || err != nil {
			return file, err
		}
		_ = file.Close() // another process took it for left behind before it was locked
	}
}

// sweep removes the files that killed processes left: those that nobody locks.
func sweep(dir string) error {
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range left {
		name := filepath.Join(dir, entry.Name())
		if file, err := os.Open(name); err == nil {
			if dead, _ := tryLock(file); dead {
				_ = os.Remove(name)
			}
			_ = file.Close()
		}
	}
	return nil
}

// claim locks a new file, and reports whether it still is where it was made.
func claim(file *os.File) (bool, error) {
	if locked, err := tryLock(file); !locked || err != nil {
		return false, err
	}
	mine, err := file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Lstat(file.Name())
	return err == nil && os.SameFile(mine, now), nil
}

// Get returns the path of the stored file, once its content has been read and found
// to be what the record says. The file has no other name than its digest and must
// not be changed. CodeCorrupt where it was changed, CodeNotFound where it is gone.
func (s *Store) Get(ctx context.Context, a pipeline.Artifact) (string, error) {
	const op = "read artifact"
	path, err := s.locate(op, a.Digest)
	if err != nil {
		return "", err
	}
	content := sha256.New()
	err = copyFile(ctx, path, content)
	if errors.Is(err, fs.ErrNotExist) {
		return "", pipeline.Errorf(pipeline.CodeNotFound, op, "artifact %q (%s) is not in %s", a.Name, a.Digest, s.dir).
			WithHint("It was removed, or stored on another machine. Its commit stage makes it again in its next run: on a new commit, or when its `steps` change.")
	}
	if err != nil {
		return "", s.failed(ctx, op, err)
	}
	if found := algorithm + ":" + hex.EncodeToString(content.Sum(nil)); found != a.Digest {
		return "", pipeline.Errorf(pipeline.CodeCorrupt, op, "artifact %q was changed on disk: %s has the digest %s, but %s was recorded", a.Name, path, found, a.Digest).
			WithHint("Don't deploy it. Find out what changed the file. Then let the commit stage store it again: it runs again on a new commit, or when its `steps` change.")
	}
	return path, nil
}

// Remove removes a stored file. One that is not there is no error.
func (s *Store) Remove(ctx context.Context, digest string) error {
	const op = "remove artifact"
	if err := ctx.Err(); err != nil {
		return s.failed(ctx, op, err)
	}
	path, err := s.locate(op, digest)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.failed(ctx, op, err)
	}
	return nil
}

// List returns the digests of all stored files, sorted. Other files are ignored.
func (s *Store) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.failed(ctx, "list artifacts", err)
	}
	root := filepath.Join(s.dir, algorithm)
	shelves, err := readDir(root)
	if err != nil {
		return nil, s.failed(ctx, "list artifacts", err)
	}
	var digests []string
	for _, shelf := range shelves {
		files, err := readDir(filepath.Join(root, shelf.Name()))
		if err != nil {
			return nil, s.failed(ctx, "list artifacts", err)
		}
		for _, file := range files {
			if digest := algorithm + ":" + file.Name(); validDigest.MatchString(digest) && file.Name()[:2] == shelf.Name() {
				digests = append(digests, digest)
			}
		}
	}
	return digests, nil
}

// readDir lists a directory, sorted; one that does not exist is empty.
func readDir(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	return entries, err
}

func (s *Store) locate(op, digest string) (string, error) {
	if !validDigest.MatchString(digest) {
		return "", pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a digest of the form sha256:…", digest)
	}
	return s.path(digest[len(algorithm)+1:]), nil
}

// URL returns the file's URL.
func (s *Store) URL(a pipeline.Artifact) string {
	path, err := s.locate("find artifact", a.Digest)
	if err != nil {
		return ""
	}
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

func (s *Store) path(sum string) string { return filepath.Join(s.dir, algorithm, sum[:2], sum) }

// failed classifies an error of the file system, or of a context that ended.
func (s *Store) failed(ctx context.Context, op string, err error) error {
	var known *pipeline.Error
	switch {
	case ctx.Err() != nil:
		return pipeline.Errorf(pipeline.CodeCancelled, op, "%w", context.Cause(ctx))
	case errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err).WithHint("The file system of %s is full.", s.dir).WithAdvice(pipeline.Advice{Verb: pipeline.VerbCollect})
	default:
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
}
