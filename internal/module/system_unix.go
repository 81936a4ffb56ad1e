// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package module

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock of an open file, if nobody else has it. The system gives it up when
// all who have the open file have closed it, or have ended.
func tryLock(file *os.File) (bool, error) {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// lockHolder returns the process that has locked a file as Terraform locks a state; 0 for none.
func lockHolder(name string) int {
	file, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	asked := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(file.Fd(), unix.F_GETLK, &asked) != nil || asked.Type == unix.F_UNLCK {
		return 0
	}
	return int(asked.Pid)
}

// leadsSession reports whether a process was started in a session of its own, as Penstock
// starts Terraform, and no shell does.
func leadsSession(pid int) bool {
	session, err := unix.Getsid(pid)
	return err == nil && session == pid
}

// interrupt asks a process that leads a session to end, with its group, as a terminal does.
func interrupt(pid int) { _ = unix.Kill(-pid, unix.SIGINT) }

// syncDir writes a directory's entries to the disk.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = file.Sync()
	if errors.Is(err, unix.EINVAL) { // some network file systems have nothing to sync
		err = nil
	}
	return errors.Join(err, file.Close())
}

// freeSpace returns how many bytes a file system has for this process.
func freeSpace(dir string) (int64, bool) {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true //nolint:unconvert // their types differ by system
}
