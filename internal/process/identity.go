// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"errors"
	"fmt"
	"os"
)

// Identity distinguishes a process from a later one with the same PID, and from one
// with the same PID in another container. The zero Identity names none.
type Identity struct {
	PID     int
	Started string // when, in the system's own terms
	// Scope is the boot of the system and the PID namespace in which PID means the
	// process. It is empty where the system reports neither.
	Scope string
}

// Self returns the identity of this process.
func Self() Identity {
	id, _ := Identify(os.Getpid())
	return id
}

// Identify returns the identity of the process with the given PID in this process's
// namespace; false when there is none, or when it has ended and was not reaped yet.
func Identify(pid int) (Identity, bool) {
	if pid <= 0 {
		return Identity{}, false
	}
	started, ok := startedAt(pid)
	if !ok {
		return Identity{}, false
	}
	return Identity{PID: pid, Started: started, Scope: scope()}, true
}

// Alive reports whether the process can be seen from here and has not ended.
func (i Identity) Alive() bool {
	now, ok := Identify(i.PID)
	return ok && now == i
}

// Gone reports whether the process has certainly ended. One of another boot or PID
// namespace can't be seen from here, and is not known to have ended; nor is any
// process whose scope the system does not report.
func (i Identity) Gone() bool {
	return i.Scope != "" && i.Scope == scope() && !i.Alive()
}

// Kill ends the process with SIGKILL. It does nothing, and returns no error, when
// the process has ended or can't be seen from here, even when another has its PID.
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
