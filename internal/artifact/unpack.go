// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// UnpackOption changes what Unpack accepts.
type UnpackOption func(*unpacker)

// MaxBytes limits what the files of the archive may add up to, in bytes. Without
// it they may fill the disk.
func MaxBytes(n int64) UnpackOption { return func(u *unpacker) { u.left = n; u.limit = n } }

// Seen calls report for each file, once it is written: its path below the directory, and the time
// of its last change that the archive gives.
func Seen(report func(name string, modified time.Time)) UnpackOption {
	return func(u *unpacker) { u.seen = report }
}

// Unpack writes the entries of a gzipped tar to dir, which is made if it does not
// exist, and must be empty. Nothing is written, linked to or changed outside of
// dir, whatever the archive says: CodeInvalid refuses absolute names, names with
// "..", names that lead through a symbolic link, a name that came before (but for
// a directory), hard links to what is no file of the archive, devices, pipes, and
// an archive beyond MaxBytes. A symbolic link itself is data, and may point
// anywhere. CodeCorrupt says that it is no whole gzipped tar.
//
// Permissions are kept, but for set-user-ID and the like; owners and times are not.
// After an error, dir holds what was unpacked so far: unpack into a new directory,
// and rename it when it is complete.
func Unpack(ctx context.Context, r io.Reader, dir string, options ...UnpackOption) error {
	root, err := emptyDir(dir)
	if err != nil {
		return unpackError(ctx, err)
	}
	defer root.Close()
	u := &unpacker{ctx: ctx, root: root, left: -1, modes: map[string]fs.FileMode{}, seen: func(string, time.Time) {}}
	for _, option := range options {
		option(u)
	}
	if err := u.all(reader{ctx, r}); err != nil {
		return unpackError(ctx, err)
	}
	return nil
}

// emptyDir opens dir, made if need be, for writing below it.
func emptyDir(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opUnpack, "the directory %s is not empty", dir).
			WithHint("Unpack into a new directory.")
	}
	return os.OpenRoot(dir)
}

type unpacker struct {
	ctx   context.Context
	root  *os.Root
	limit int64
	left  int64                  // bytes; negative for no limit
	dirs  []string               // as they came
	modes map[string]fs.FileMode // of dirs, set last: a directory may forbid writing
	seen  func(name string, modified time.Time)
}

func (u *unpacker) all(r io.Reader) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return damaged{err}
	}
	archive := tar.NewReader(zip)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return damaged{err}
		}
		if err := u.entry(header, archive); err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse, tar.TypeLink:
			u.seen(path.Clean(header.Name), header.ModTime)
		}
	}
	// What follows the last entry holds gzip's own checksum.
	if err := copyContent(u.ctx, io.Discard, zip); err != nil {
		return damaged{err}
	}
	for _, dir := range slices.Backward(u.dirs) { // a parent may close the way to its children
		if err := u.root.Chmod(dir, u.modes[dir]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // a comment on the archive
		return nil
	}
	name, err := entryName(header.Name)
	if err != nil {
		return err
	}
	if err := u.parents(name); err != nil {
		return err
	}
	mode := fs.FileMode(header.Mode) & fs.ModePerm
	switch header.Typeflag {
	case tar.TypeDir:
		return u.dir(name, mode)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(name, mode, header.Size, content)
	case tar.TypeSymlink:
		return taken(name, u.root.Symlink(header.Linkname, name))
	case tar.TypeLink:
		return u.link(name, header.Linkname)
	default:
		return refuse("entry %q is a device, a pipe or of an unknown type (%q)", header.Name, header.Typeflag)
	}
}

// entryName returns the path of an entry below the root.
func entryName(name string) (string, error) {
	clean := path.Clean(name)
	switch {
	case name == "" || strings.Contains(name, "\x00"):
		return "", refuse("entry %q has no usable name", name)
	case path.IsAbs(name):
		return "", refuse("entry %q has an absolute name", name)
	case clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains("/"+name+"/", "/../"):
		return "", refuse("entry %q leads out of the directory", name)
	}
	return clean, nil
}

// parents makes the directories above name, and refuses a name that leads through
// anything else.
func (u *unpacker) parents(name string) error {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		dir := name[:i]
		if _, known := u.modes[dir]; known {
			continue
		}
		if err := u.dir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// dir makes a directory that this process can write to for now.
func (u *unpacker) dir(name string, mode fs.FileMode) error {
	if name == "." {
		return nil
	}
	err := u.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		var info fs.FileInfo
		if info, err = u.root.Lstat(name); err == nil && !info.IsDir() {
			return refuse("an entry leads through %q, which is not a directory", name)
		}
	}
	if err != nil {
		return err
	}
	if _, known := u.modes[name]; !known {
		u.dirs = append(u.dirs, name)
	}
	u.modes[name] = mode
	return nil
}

func (u *unpacker) file(name string, mode fs.FileMode, size int64, content io.Reader) (err error) {
	if u.left >= 0 {
		if size > u.left {
			return pipeline.Errorf(pipeline.CodeInvalid, opUnpack, "its files add up to more than %d bytes, with %q", u.limit, name).
				WithHint("Remove what nobody needs before the archive is made.")
		}
		u.left -= size
	}
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return taken(name, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := copyContent(u.ctx, file, source{content}); err != nil {
		return err
	}
	return file.Chmod(mode)
}

func (u *unpacker) link(name, target string) error {
	target, err := entryName(target)
	if err != nil {
		return err
	}
	if err := u.parents(target); err != nil {
		return err
	}
	info, err := u.root.Lstat(target)
	if err != nil || !info.Mode().IsRegular() {
		return refuse("entry %q is a hard link to %q, which is not a file of the archive", name, target)
	}
	return taken(name, u.root.Link(target, name))
}

// source marks an error as one of the archive, not of the file that is written.
type source struct{ io.Reader }

func (s source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged{err}
	}
	return n, err
}

// damaged is an error of the archive itself.
type damaged struct{ error }

func (d damaged) Unwrap() error { return d.error }

const opUnpack = "unpack archive"

func refuse(format string, args ...any) error {
	return pipeline.Errorf(pipeline.CodeInvalid, opUnpack, format, args...).
		WithHint("Make the archive again from a plain directory, with relative names and each name once.")
}

// taken refuses a name that came before.
func taken(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return refuse("entry %q appears twice", name)
	}
	return err
}

func unpackError(ctx context.Context, err error) error {
	const op = opUnpack
	var known *pipeline.Error
	var bad damaged
	switch {
	case ctx.Err() != nil:
		return pipeline.Errorf(pipeline.CodeCancelled, op, "%w", context.Cause(ctx))
	case errors.As(err, &known):
		return err
	case errors.As(err, &bad):
		return pipeline.Errorf(pipeline.CodeCorrupt, op, "it is not a complete gzipped tar: %w", err).
			WithHint("Make the archive again.")
	default:
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
}
