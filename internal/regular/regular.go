// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package regular opens regular files, and refuses everything else at once. A path
// that a step of a run has made may be a named pipe, and to open one waits until
// somebody writes to it, which may be never; a device may do anything.
//
//	file, err := regular.Open(path)
//	if kind, ok := errors.AsType[*regular.KindError](err); ok {
//		return fmt.Errorf("artifact %s", kind) // "dist/app is a named pipe, not a file"
//	}
package regular

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// KindError says that a path leads to something that is not a regular file.
type KindError struct {
	Path string
	Mode fs.FileMode
}

// Error names the path and what is there.
func (e *KindError) Error() string {
	return fmt.Sprintf("%s is a %s, not a file", e.Path, Kind(e.Mode))
}

// Open opens the regular file at path for reading. Links are followed. The error is
// a *KindError for anything but a regular file.
func Open(path string) (*os.File, error) {
	return open(path, os.Stat, os.OpenFile)
}

// OpenIn opens a regular file below root, as Open does. A link that leads out of
// root is an error.
func OpenIn(root *os.Root, name string) (*os.File, error) {
	return open(name, root.Stat, root.OpenFile)
}

// open looks before it opens, as to open a device may have an effect, and again at
// what it has opened, as the path may lead elsewhere by then. Meanwhile O_NONBLOCK
// keeps a pipe from holding it up; for a regular file the flag has no meaning.
func open(path string, stat func(string) (fs.FileInfo, error), openFile func(string, int, fs.FileMode) (*os.File, error)) (*os.File, error) {
	info, err := stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &KindError{path, info.Mode()}
	}
	file, err := openFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &KindError{path, info.Mode()}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Kind names what a mode is of, in words.
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeDevice != 0:
		return "device"
	default:
		return "special file"
	}
}
