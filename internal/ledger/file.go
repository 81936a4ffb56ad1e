// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// createFile makes the ledger's file, empty, if there is none, and ensures that only its
// owner may use it. SQLite creates the -wal and -shm files beside it with the same mode.
//
// The file is never opened at its own name: closing a file drops every lock that
// this process has on it, also those of another ledger that has it open (see
// https://www.sqlite.org/howtocorrupt.html, section 2.2). So it is made under
// another name, closed, and linked.
func createFile(path string) error {
	fresh := path + ".new"
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file: %w", path, fs.ErrInvalid)
	case err == nil:
		_ = os.Remove(fresh) // of a process that was killed
		return restrict(path, info)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = os.Link(fresh, path)
	_ = os.Remove(fresh)
	if err == nil {
		return nil
	}
	if _, statErr := os.Stat(path); statErr == nil {
		return nil // another process was quicker
	}
	return createUnlinked(path)
}

// createUnlinked makes the file where the file system has no hard links.
func createUnlinked(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// restrict removes the rights of others from files that were copied or restored with a wider
// mode.
func restrict(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows" { // which has no such modes
		return nil
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
