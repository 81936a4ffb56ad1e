// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package process starts commands that cannot outlive the program that started
// them, however that ends.
//
// Each command runs below a guard: a second process of this same binary, which
// starts the command in a session of its own and ends everything that descends from
// it when the command has ended, when it is asked to stop, or when the program that
// started it is gone. It notices the last by a pipe, whose writing end only that
// program holds: the kernel closes it on any death, SIGKILL too.
//
// On Linux the guard is a child subreaper, so a descendant that makes itself a
// daemon is ended too. On macOS one that both forks twice and leaves the session
// escapes. Where guard and program are killed in the same instant, only the
// command itself is sure to end. Windows is not supported.
//
// The package knows nothing of steps, logs or services.
//
//	func main() {
//		process.Guard() // does not return in a guard
//		p, err := process.Start(ctx, process.Spec{
//			Args: process.Shell("make test"), Env: process.Environ(nil), Stdout: log, Stderr: log,
//		})
//		…
//		exit, err := p.Wait()
//	}
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// DefaultGrace is how long a command may take to end after SIGTERM: enough to
// close files and say good-bye, not enough to make a cancelled apply feel stuck.
const DefaultGrace = 5 * time.Second

// Spec says what to start.
type Spec struct {
	Args   []string      // program and arguments; a program without a slash is looked up in PATH
	Dir    string        // working directory; empty means this program's
	Env    []string      // the full environment, "K=V"; see Environ
	Stdout io.Writer     // nil discards; an *os.File is handed to the command as it is
	Stderr io.Writer     // may be the same as Stdout, and then keeps its order
	Grace  time.Duration // between SIGTERM and SIGKILL; 0 means DefaultGrace
	// Gentle is for a command that loses something if it is killed in the middle of its work.
	// It is asked to end by SIGINT, once, with its process group, as a terminal does it: what
	// it has started in the background ignores that. It is not killed with its guard, but
	// asked. What it leaves running after an end of its own goes on. If it is killed after
	// all, what runs in its session is killed with it. Its outputs should be files: a pipe
	// breaks when this program is gone.
	Gentle bool
	// Lock stays open until the command and all that descends from it have ended, and is
	// not handed to them: a file lock that the caller took on it, and does not keep, shows
	// others, in any container, that they live. nil: none.
	Lock *os.File
}

// Exit says how a command ended.
type Exit struct {
	Code   int    // -1 when ended by a signal
	Signal string // its name, as "killed"; empty otherwise
}

// String says it in words: "exit status 3", "ended by signal killed".
func (e Exit) String() string {
	if e.Signal != "" {
		return "ended by signal " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Process is a command that was started, with everything that descends from it.
type Process struct {
	ctx     context.Context
	grace   time.Duration
	gentle  bool
	guard   *exec.Cmd
	mark    string
	control *os.File // closing it makes the guard end the tree
	release sync.Once
	reports *os.File // what the guard says
	outputs []*output
	done    chan struct{}
	exit    Exit  // valid once done is closed
	err     error // likewise
}

// PID returns the process ID of the guard.
func (p *Process) PID() int { return p.guard.Process.Pid }

// Stop ends the whole tree: SIGTERM, and SIGKILL after the grace. It returns
// when all has ended. It may be called more than once.
func (p *Process) Stop() {
	p.letGo()
	<-p.done
}

// Wait returns when the command and everything that descends from it have ended
// and all output has been written. The error is the context's when the context
// ended the command. Otherwise it is nil unless the command could not be run or
// watched, its output not be written, or a descendant not be ended; a command
// that fails is no error. It may be called more than once.
func (p *Process) Wait() (Exit, error) {
	<-p.done
	return p.exit, p.err
}

func (p *Process) letGo() { p.release.Do(func() { _ = p.control.Close() }) }

// Shell returns the arguments that run line in a POSIX shell which stops at the
// first command that fails.
func Shell(line string) []string { return []string{"/bin/sh", "-e", "-c", line} }

// ErrUnsupported is the error of Start and Detach on other systems than Linux and macOS.
var ErrUnsupported = fmt.Errorf("start command: Penstock runs commands on Linux and macOS only; on Windows use WSL (%w)", errors.ErrUnsupported)

// lookUp finds the program of args. One with a slash is left to the system, which
// takes it relative to the working directory.
func lookUp(args []string) (string, error) {
	switch {
	case len(args) == 0 || args[0] == "":
		return "", errors.New("start command: no program given")
	case strings.Contains(args[0], "/"):
		return args[0], nil
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return "", fmt.Errorf("start command: %w", err)
	}
	return path, nil
}
