// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
)

const lockName = "lock"

// dirLock is nothing on Windows, where the local platform does not run: the data
// directory is never removed there.
type dirLock struct{}

func lockDir(_ context.Context, dir string) (*dirLock, error) {
	return &dirLock{}, makeDataDir(dir)
}

func (*dirLock) alone() bool    { return false }
func (*dirLock) release() error { return nil }
