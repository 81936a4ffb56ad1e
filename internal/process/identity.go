// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"errors"
	"fmt"
	"os"
)

// Identity names a process so that it is told apart from a later one with the
// same PID. The zero Identity names none.
type Identity struct {
	PID     int
	Started string // when, in the system's own terms; differs after a reboot
}

// Self gives the identity of this process.
func Self() Identity {
	id, _ := Identify(os.Getpid())
	return id
}

// Identify gives the identity of the process with the given PID; false when there
// is none, or when it has ended and was not reaped yet.
func Identify(pid int) (Identity, bool) {
	if pid <= 0 {
		return Identity{}, false
	}
	started, ok := startedAt(pid)
	if !ok {
		return Identity{}, false
	}
	return Identity{PID: pid, Started: started}, true
}

// Alive reports whether the process has not ended.
func (i Identity) Alive() bool {
	now, ok := Identify(i.PID)
	return ok && now == i
}

// Kill ends the process with SIGKILL. It does nothing, and gives no error, when
// the process has ended, even when another has its PID now.
func (i Identity) Kill() error {
	if i.PID <= 0 {
		return nil
	}
	// Where the system has handles to processes, FindProcess takes one: what is
	// checked after it is what is killed.
	p, err := os.FindProcess(i.PID)
	if err != nil {
		return fmt.Errorf("kill process %d: %w", i.PID, err)
	}
	defer func() { _ = p.Release() }()
	if !i.Alive() {
		return nil
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", i.PID, err)
	}
	return nil
}
