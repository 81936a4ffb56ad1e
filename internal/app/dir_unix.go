// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

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

// tryLockDir returns nil where the directory is being removed by another process.
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
	if err := markDataDir(dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &dirLock{file}, nil
}

// alone takes the lock for this process only, if nobody else has it.
func (l *dirLock) alone() bool {
	return unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

func (l *dirLock) release() error { return l.file.Close() }

var anotherDataDir = pipeline.Advice{Verb: pipeline.VerbDataDir, Value: "another directory"}

// checkOwner refuses a directory of another user, who could have put anything there.
func checkOwner(dir string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	name := fmt.Sprint(stat.Uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "open data directory", "%s belongs to the user %s, but this is %s", dir, name, strconv.Itoa(os.Geteuid())).
		WithHint("Work as that user (`sudo -u %s …`), or take the directory over (`sudo chown -R %d %s`), or use another one.", name, os.Geteuid(), dir).
		WithAdvice(anotherDataDir)
}

// restrict takes the rights of others from the directory.
func restrict(dir string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return dirError(dir, err)
	}
	return nil
}

// checkPrivate refuses a directory that nobody named, and that others may write in.
func checkPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return dirError(dir, err)
	}
	if err := checkOwner(dir, info); err != nil || info.Mode().Perm()&0o022 == 0 {
		return err
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "find data directory", "other users may write in %s", dir).
		WithHint("If it is yours, and nobody has changed it, run `chmod 700 %s`; otherwise use another one.", dir).
		WithAdvice(anotherDataDir)
}
