// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
)

// lock makes the store and takes its lock: shared to add and to read, exclusive
// to remove.
func (s *Store) lock(ctx context.Context, how int) (unlock func(), err error) {
	for _, dir := range []string{objectsDir, manifestsDir} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			return nil, failed(ctx, "open image store", err)
		}
	}
	file, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, failed(ctx, "open image store", err)
	}
	err = poll.Until(ctx, poll.Schedule{First: 5 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 2, What: "the image store"},
		func(context.Context) (poll.Probe, error) {
			err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
			if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
				return poll.Probe{State: "in use by another process"}, nil
			}
			return poll.Probe{Done: true}, err
		})
	if err != nil {
		return nil, failed(ctx, "lock image store", errors.Join(err, file.Close()))
	}
	return func() { _ = file.Close() }, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
