// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"io/fs"
)

// dirLock is nothing on Windows, where the local platform does not run: the data
// directory is never removed there.
type dirLock struct{}

func lockDir(_ context.Context, dir string) (*dirLock, error) {
	if err := makeDataDir(dir); err != nil {
		return nil, err
	}
	return &dirLock{}, markDataDir(dir)
}

func (*dirLock) alone() bool    { return false }
func (*dirLock) release() error { return nil }

// Windows has neither such owners nor such modes.
func checkOwner(string, fs.FileInfo) error { return nil }
func restrict(string, fs.FileInfo) error   { return nil }
func checkPrivate(string) error            { return nil }
