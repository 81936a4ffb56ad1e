// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix && !linux

package store

import "os"

// clone leaves it to the copy: the systems share blocks by making the file, not
// by filling one.
func clone(*os.File, string) bool { return false }

// syncObject makes a stored file durable.
func syncObject(f *os.File) error { return f.Sync() }

// syncAll makes the names in the directory durable.
func syncAll(dir string) error { return syncDir(dir) }
