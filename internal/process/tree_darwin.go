// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// zombie is SZOMB of <sys/proc.h>: a process that has ended and was not reaped.
const zombie = 5

func selfPath() (string, error) { return os.Executable() }

// adopt does nothing: macOS has no subreaper.
func adopt() error { return nil }

func commandAttributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// living lists the processes that have not ended and descend from the guard, or
// are still in the command's session.
func (g *guard) living(bool) []int {
	all := allProcesses()
	parents := make(map[int]int, len(all))
	for _, p := range all {
		parents[int(p.Proc.P_pid)] = int(p.Eproc.Ppid)
	}
	self, found := os.Getpid(), []int(nil)
	for pid := range parents {
		if inSession(pid, g.command) || descends(parents, pid, self) {
			found = append(found, pid)
		}
	}
	return found
}

// orphans lists the processes of the session. The mark is of no use, as the
// environment of the system's own programs can't be read.
func orphans(_ string, session int) []int {
	var found []int
	for _, p := range allProcesses() {
		if pid := int(p.Proc.P_pid); inSession(pid, session) {
			found = append(found, pid)
		}
	}
	return found
}

func inSession(pid, session int) bool {
	if session == 0 {
		return false
	}
	s, err := unix.Getsid(pid)
	return err == nil && s == session
}

func allProcesses() []unix.KinfoProc {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil
	}
	living := all[:0]
	for _, p := range all {
		if p.Proc.P_stat != zombie && p.Proc.P_pid > 0 {
			living = append(living, p)
		}
	}
	return living
}

// startedAt distinguishes a process from others that had or will have the same ID.
func startedAt(pid int) (string, bool) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(p.Proc.P_pid) != pid || p.Proc.P_stat == zombie {
		return "", false
	}
	t := p.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", t.Sec, t.Usec), true
}

// scope is the session of the boot, which the kernel names by a random UUID. There are
// no PID namespaces.
var scope = sync.OnceValue(func() string {
	session, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return session
})
