// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin

package process

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// guardArgument as the first argument makes this binary a guard.
	guardArgument = "__guard"

	// gentlePrefix before the grace says that the command is a gentle one.
	gentlePrefix = "gentle:"

	// The guard's descriptors, in the order of ExtraFiles.
	controlFD = 3
	reportsFD = 4
	lockFD    = 5 // only where the caller has given a lock

	// giveUp bounds the wait for a process to end after SIGKILL. Only one that
	// belongs to another user, or hangs in the kernel, takes so long.
	giveUp = 10 * time.Second

	// pollEvery is the longest pause between two looks at the tree.
	pollEvery = 20 * time.Millisecond
)

// report is what the guard reports: once when the command has started, once when all
// has ended.
type report struct {
	Session int    // of the command; 0 until it started
	Ended   bool   // all has ended, the rest is valid
	Exit    Exit   // of the command
	Stopped bool   // the guard was asked to stop before the command had ended
	Error   string // the command could not be started
	Left    []int  // descendants that could not be ended
}

// Guard makes this process a guard if it was started as one, and then does not
// return. It must be the first call of main, and of every TestMain of a package
// whose tests start commands.
func Guard() {
	if len(os.Args) < 5 || os.Args[1] != guardArgument {
		return
	}
	// Pdeathsig follows the thread that starts the command, so it must not end.
	runtime.LockOSThread()
	unix.CloseOnExec(controlFD)
	unix.CloseOnExec(reportsFD)
	unix.CloseOnExec(lockFD) // whatever it is
	g := &guard{reports: json.NewEncoder(os.NewFile(reportsFD, "reports")), child: make(chan os.Signal, 1)}
	text, gentle := strings.CutPrefix(os.Args[2], gentlePrefix)
	g.gentle = gentle
	grace, err := time.ParseDuration(text)
	if err == nil {
		err = adopt()
	}
	r := report{Ended: true, Exit: Exit{Code: -1}}
	if err == nil {
		r, err = g.run(grace, os.Args[3], os.Args[4:])
	}
	if err != nil {
		r.Error = err.Error()
	}
	_ = g.reports.Encode(r) // nobody listens any more when the parent is gone
	os.Exit(max(r.Exit.Code, 0))
}

// guard looks after one command and its descendants.
type guard struct {
	reports *json.Encoder
	gentle  bool
	child   chan os.Signal
	command int // process ID, and session
	ended   bool
	status  unix.WaitStatus // of the command once ended
}

func (g *guard) run(grace time.Duration, program string, args []string) (report, error) {
	r := report{Ended: true, Exit: Exit{Code: -1, Signal: syscall.SIGTERM.String()}}
	signal.Notify(g.child, syscall.SIGCHLD)
	stop := stopAsked()
	select {
	case <-stop: // the parent is gone already
		r.Stopped = true
		return r, nil
	default:
	}
	pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: commandAttributes(g.gentle),
	})
	if err != nil {
		return report{Ended: true, Exit: Exit{Code: -1}}, fmt.Errorf("%s: %w", program, err)
	}
	g.command = pid
	_ = g.reports.Encode(report{Session: pid})
	for !g.ended && !r.Stopped {
		select {
		case <-g.child:
			g.reap()
		case <-stop:
			r.Stopped = true
		}
	}
	if g.gentle {
		r.Left = g.seeOff(grace)
	} else {
		r.Left = g.endAll(grace)
	}
	if g.ended {
		r.Exit = exitOf(g.status)
	}
	return r, nil
}

// stopAsked returns a channel that is closed when the parent lets go of the pipe
// or dies, or when somebody signals the guard to end.
func stopAsked() <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(controlFD, "control"))
		close(gone)
	}()
	stop := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-gone:
		}
		close(stop)
	}()
	return stop
}

// reap collects the children that have ended, adopted ones among them, and
// reports whether any are left.
func (g *guard) reap() bool {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false
		case pid == 0:
			return true
		case pid == g.command:
			g.ended, g.status = true, status
		}
	}
}

// endAll ends every descendant: SIGTERM once to each that shows, SIGKILL after
// the grace. It returns those that could not be ended.
func (g *guard) endAll(grace time.Duration) []int {
	asked := map[int]bool{}
	force := time.Now().Add(grace)
	for pause := time.Millisecond; ; pause = min(2*pause, pollEvery) {
		living := g.living(g.reap())
		switch now := time.Now(); {
		case len(living) == 0 && g.ended:
			return nil
		case now.After(force.Add(giveUp)):
			slices.Sort(living)
			return living
		case now.After(force):
			for _, pid := range living {
				signalTo(pid, unix.SIGKILL)
			}
		default:
			for _, pid := range living {
				if !asked[pid] {
					asked[pid] = true
					signalTo(pid, unix.SIGTERM)
					signalTo(pid, unix.SIGCONT) // a stopped process takes no SIGTERM
				}
			}
		}
		select {
		case <-g.child:
		case <-time.After(pause):
		}
	}
}

// seeOff ends a gentle command: SIGINT once, to its process group as from a terminal, and
// SIGKILL to its session after the grace. It returns the command if that could not be ended.
func (g *guard) seeOff(grace time.Duration) []int {
	if !g.ended {
		signalTo(-g.command, unix.SIGINT)
		signalTo(-g.command, unix.SIGCONT)
	}
	force := time.Now().Add(grace)
	for g.reap(); !g.ended; g.reap() {
		now := time.Now()
		if now.After(force.Add(giveUp)) {
			return []int{g.command}
		}
		if now.After(force) {
			signalTo(-g.command, unix.SIGKILL)
		}
		select {
		case <-g.child:
		case <-time.After(pollEvery):
		}
	}
	if g.status.Signaled() { // what it would have ended is left
		signalTo(-g.command, unix.SIGKILL)
	}
	return nil
}

// descends reports whether pid is below the ancestor. The steps are counted, as
// a table that was read while processes came and went may hold a circle.
func descends(parents map[int]int, pid, ancestor int) bool {
	for range parents {
		if pid = parents[pid]; pid == ancestor || pid == 0 {
			return pid == ancestor
		}
	}
	return false
}

func signalTo(pid int, s syscall.Signal) {
	_ = unix.Kill(pid, s) // one that has ended meanwhile needs none
}

func exitOf(status unix.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Code: -1, Signal: status.Signal().String()}
	}
	return Exit{Code: status.ExitStatus()}
}
