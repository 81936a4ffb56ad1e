// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// isolate returns a command a session of its own: the whole of it can be ended, and
// nothing in it (ssh, above all) can ask a question on the user's terminal.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	endWithParent(cmd.SysProcAttr)
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
}

// endGroup ends what is left of a cancelled command's session.
func endGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
}

// lockFile waits for the lock of a file, which is made if need be. The system gives
// it up when it is closed or the process ends, however it ends.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	schedule := poll.Schedule{First: 5 * time.Millisecond, Max: 250 * time.Millisecond, Factor: 1.5, What: "the lock " + path}
	err = poll.Until(ctx, schedule, func(context.Context) (poll.Probe, error) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return poll.Probe{State: "another process fetches the repository"}, nil
		}
		return poll.Probe{Done: true}, err
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// setTime sets the modification time of a file, or of a symbolic link itself.
func setTime(path string, t time.Time) error {
	at, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	err = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "set time", Path: path, Err: err}
	}
	return nil
}
