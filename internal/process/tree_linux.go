// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfPath returns this program. The link still leads to it when an upgrade has
// replaced the file.
func selfPath() (string, error) { return "/proc/self/exe", nil }

// adopt makes orphaned descendants children of this process, and sets a process name
// that differs from its parent's, as the link above would name it "exe".
func adopt() error {
	_ = os.WriteFile("/proc/self/comm", []byte("penstock-guard"), 0)
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// commandAttributes make a command end with its guard; a gentle one is asked to.
func commandAttributes(gentle bool) *syscall.SysProcAttr {
	if gentle {
		return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGINT}
	}
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// living lists the descendants that have not ended. As orphans are adopted, a
// guard without children has no descendants.
func (g *guard) living(children bool) []int {
	if !children {
		return nil
	}
	parents := map[int]int{}
	for _, pid := range allProcesses() {
		if s, ok := readStat(pid); ok {
			parents[pid] = s.parent
		}
	}
	self, found := os.Getpid(), []int(nil)
	for pid := range parents {
		if descends(parents, pid, self) {
			found = append(found, pid)
		}
	}
	return found
}

// orphans lists the processes that bear the mark or belong to the session.
func orphans(mark string, session int) []int {
	var found []int
	want := []byte(markVariable + "=" + mark)
	for _, pid := range allProcesses() {
		s, ok := readStat(pid)
		if !ok {
			continue
		}
		env, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		if (session != 0 && s.session == session) || bytes.Contains(env, want) {
			found = append(found, pid)
		}
	}
	return found
}

func allProcesses() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

type stat struct {
	parent, session int
	started         string // clock ticks since boot
}

// readStat reads /proc/PID/stat (see proc_pid_stat(5)). It is not ok for a
// process that has ended, reaped or not.
func readStat(pid int) (stat, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, false
	}
	// The second field is the name in parentheses, which may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const state, parent, session, started = 0, 1, 3, 19
	if len(fields) <= started || fields[state] == "Z" || fields[state] == "X" {
		return stat{}, false
	}
	s := stat{started: fields[started]}
	s.parent, _ = strconv.Atoi(fields[parent])
	s.session, _ = strconv.Atoi(fields[session])
	return s, true
}

// startedAt distinguishes a process from others that had or will have the same ID.
func startedAt(pid int) (string, bool) {
	s, ok := readStat(pid)
	if !ok {
		return "", false
	}
	return s.started, true
}

// scope distinguishes the processes that are visible here from those of other boots,
// machines and containers: the kernel draws a boot's ID at random, and numbers the PID
// namespaces within it. It is read once, as neither changes while a process lives.
var scope = sync.OnceValue(func() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + namespace
})
