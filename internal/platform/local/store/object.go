// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// stored is the modification time of every stored file. Whoever writes to one
// changes it.
var stored = time.Unix(1, 0)

// objectPath is where a file's content is stored. Executable files are stored
// apart, so that a hard link to one has the right mode.
func (s *Store) objectPath(e entry) string {
	name := e.Digest
	if e.executable() {
		name += "-x"
	}
	return filepath.Join(s.dir, objectsDir, e.Digest[:2], name)
}

// keep stores the file at path and completes its entry with size and digest.
func (s *Store) keep(ctx context.Context, path string, e *entry) error {
	var err error
	if e.Size, e.Digest, err = copyAndHash(ctx, path, nil); err != nil {
		return err
	}
	object := s.objectPath(*e)
	if unchanged(object, e.Size) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(object), 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(object), "tmp-")
	if err != nil {
		return err
	}
	_, digest, err := copyAndHash(ctx, path, temp)
	if err == nil && digest != e.Digest {
		err = pipeline.Errorf(pipeline.CodeInvalid, "read tree", "%s changed while it was read", path).
			WithHint("Stop what writes to it before the image is made.")
	}
	mode := fs.FileMode(0o444)
	if e.executable() {
		mode = 0o555
	}
	err = errors.Join(err, syncObject(temp), temp.Chmod(mode), temp.Close())
	if err == nil {
		err = os.Chtimes(temp.Name(), stored, stored)
	}
	if err == nil {
		err = os.Rename(temp.Name(), object)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

// unchanged reports whether a stored file is there and nobody wrote to it.
func unchanged(object string, size int64) bool {
	info, err := os.Lstat(object)
	return err == nil && info.Mode().IsRegular() && info.Size() == size && info.ModTime().Equal(stored)
}

// check compares a stored file with what was recorded.
func (s *Store) check(ctx context.Context, e entry) error {
	_, digest, err := copyAndHash(ctx, s.objectPath(e), nil)
	return s.conclude(e, digest, err)
}

func (s *Store) conclude(e entry, digest string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt("the content of file %q is missing", e.Path)
	case err != nil:
		return err
	case digest != e.Digest:
		return corrupt("file %q was changed: its SHA-256 is %s, and %s was recorded", e.Path, digest, e.Digest)
	}
	return nil
}

// place makes the file of an entry at dest: by a hard link for a read-only tree,
// by sharing blocks where the file system can, else by a copy.
func (s *Store) place(ctx context.Context, e entry, dest string, o Options) error {
	object := s.objectPath(e)
	if o.ReadOnly {
		if err := s.trust(ctx, object, e); err != nil {
			return err
		}
		if os.Link(object, dest) == nil {
			return nil
		}
	}
	file, err := os.OpenFile(dest, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	mode := fs.FileMode(e.Mode)
	if e.Size > 0 && clone(file, object) {
		err = s.trust(ctx, object, e)
	} else {
		var digest string
		_, digest, err = copyAndHash(ctx, object, file)
		err = s.conclude(e, digest, err)
	}
	return errors.Join(err, file.Chmod(mode), file.Close())
}

// trust checks a stored file that will be shared: by its stamp, and by its
// content where the stamp differs.
func (s *Store) trust(ctx context.Context, object string, e entry) error {
	if unchanged(object, e.Size) {
		return nil
	}
	return s.check(ctx, e)
}

// copyAndHash reads a file once, writes it to the given one unless that is nil,
// and returns its size and hex SHA-256.
func copyAndHash(ctx context.Context, path string, to *os.File) (int64, string, error) {
	from, err := regular.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer from.Close()
	h := sha256.New()
	var w io.Writer = h
	if to != nil {
		w = io.MultiWriter(h, to)
	}
	// Small files are most files: they take a small buffer.
	size := 256 << 10
	if info, err := from.Stat(); err == nil && info.Size() < int64(size) {
		size = int(info.Size()) + 1
	}
	n, err := io.CopyBuffer(w, &reader{ctx, from}, make([]byte, size))
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// reader reads until the context ends. It hides the file's own way of copying.
type reader struct {
	ctx  context.Context
	file *os.File
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.file.Read(p)
}
