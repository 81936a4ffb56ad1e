// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package workplace

import (
	"io/fs"
	"os"
)

// This system has neither such owners nor such locks, and runs no steps.

func checkPrivate(string, fs.FileInfo) error { return nil }
func ownedOrRoots(fs.FileInfo) bool          { return true }
func alone(*os.File) bool                    { return false }

func share(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }
