// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package filetree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// copiers is how many files are copied at a time: enough to keep a fast disk busy.
const copiers = 4

// copyTree copies the tree from to the directory to, which does not exist yet or
// is empty: regular files, directories and symbolic links, with their modes. Where
// the file system can, files share their blocks until one of them is written.
// What vanishes while it is copied is left out, sockets and pipes are too.
func Copy(ctx context.Context, from, to string) error { return CopyWithout(ctx, from, to, "") }

// GitDir is what git has in a work tree, which is part of no image.
const GitDir = ".git"

// CopyWithout copies a tree as copyTree does, but for entries of a name.
func CopyWithout(ctx context.Context, from, to, name string) error {
	type made struct {
		path string
		mode fs.FileMode
	}
	var dirs []made // their modes are set last, as they may not allow to write
	files, copying := errgroup.WithContext(ctx)
	files.SetLimit(copiers)
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if copying.Err() != nil {
			return copying.Err()
		}
		if path != from && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.Name() == name && path != from {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch info, err := entry.Info(); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case info.IsDir():
			dirs = append(dirs, made{target, info.Mode().Perm()})
			return os.MkdirAll(target, 0o700)
		case info.Mode()&fs.ModeSymlink != 0:
			return ifThere(copyLink(path, target))
		case info.Mode().IsRegular():
			files.Go(func() error { return ifThere(copyFile(path, target, info.Mode().Perm())) })
		}
		return nil
	})
	if failed := files.Wait(); failed != nil { // the cause of err, if there is one
		err = failed
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Chmod(dirs[i].path, dirs[i].mode); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	return nil
}

// ifThere drops the error of a file that vanished.
func ifThere(err error) error {
	if errors.Is(err, errVanished) {
		return nil
	}
	return err
}

var errVanished = errors.New("vanished")

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if errors.Is(err, fs.ErrNotExist) {
		return errVanished
	}
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}

func copyFile(from, to string, mode fs.FileMode) (err error) {
	if clone(from, to) {
		return os.Chmod(to, mode)
	}
	in, err := regular.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return errVanished
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // by copy_file_range on Linux, which shares blocks where it can
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// removeTree removes a tree, also one with directories that may not be written.
func Remove(path string) error { return workplace.RemoveTree(path) }
