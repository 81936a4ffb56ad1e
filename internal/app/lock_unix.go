// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const lockName = "lock"

// dirLock is held, shared, by every process that has the data directory open, so
// that nobody removes it under another.
type dirLock struct{ file *os.File }

// lockDir makes the directory and takes its lock.
func lockDir(ctx context.Context, dir string) (*dirLock, error) {
	var lock *dirLock
	err := poll.Until(ctx, poll.Schedule{First: 5 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 2, Limit: 10 * time.Second, What: "the data directory " + dir},
		func(context.Context) (poll.Probe, error) {
			var err error
			lock, err = tryLockDir(dir)
			return poll.Probe{Done: lock != nil, State: "another process is removing it"}, err
		})
	return lock, err
}

// tryLockDir gives nil where the directory is being removed by another process.
func tryLockDir(dir string) (*dirLock, error) {
	if err := makeDataDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, dirError(dir, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, file.Close()
	}
	mine, err := file.Stat()
	if err != nil {
		return nil, dirError(dir, errors.Join(err, file.Close()))
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(mine, now) {
		return nil, file.Close()
	}
	return &dirLock{file}, nil
}

// alone takes the lock for this process only, if nobody else has it.
func (l *dirLock) alone() bool {
	return unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

func (l *dirLock) release() error { return l.file.Close() }
