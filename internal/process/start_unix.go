// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin

package process

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Start starts a command. When ctx ends, the whole tree is ended as by Stop.
// The caller need not call Wait for that.
func Start(ctx context.Context, s Spec) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(os.Args) > 1 && os.Args[1] == guardArgument {
		// It would start itself once more, and so on until the machine is full.
		return nil, errors.New("start command: this process was started as a guard, and is none: its main has to begin with process.Guard()")
	}
	program, err := lookUp(s.Args)
	if err != nil {
		return nil, err
	}
	if s.Grace <= 0 {
		s.Grace = DefaultGrace
	}
	p := &Process{ctx: ctx, grace: s.Grace, gentle: s.Gentle, mark: rand.Text(), done: make(chan struct{})}
	self, err := selfPath()
	if err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	p.guard = exec.Command(self)
	grace := s.Grace.String()
	if s.Gentle {
		grace, p.mark = gentlePrefix+grace, "" // it may leave what is not to be found
	}
	p.guard.Args = append([]string{os.Args[0], guardArgument, grace, program}, s.Args...)
	p.guard.Dir = s.Dir
	p.guard.Env = marked(s.Env, p.mark)
	p.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.launch(s); err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	unwatch := context.AfterFunc(ctx, p.letGo)
	go func() {
		p.watch()
		unwatch()
		p.letGo()
		close(p.done)
	}()
	return p, nil
}

// launch makes the pipes and starts the guard. All pipes are close-on-exec, so
// no other child holds an end of them; the guard's ends are closed here.
func (p *Process) launch(s Spec) (err error) {
	var theirs, ours []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
		for _, f := range ours {
			if err != nil {
				_ = f.Close()
			}
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	controlR, controlW := pipe()
	reportsR, reportsW := pipe()
	if err != nil {
		return err
	}
	theirs, ours = append(theirs, controlR, reportsW), append(ours, controlW, reportsR)
	p.control, p.reports = controlW, reportsR
	p.guard.ExtraFiles = []*os.File{controlR, reportsW}
	if s.Lock != nil {
		p.guard.ExtraFiles = append(p.guard.ExtraFiles, s.Lock)
	}

	attach := func(to io.Writer) *os.File {
		if f, ok := to.(*os.File); ok {
			return f
		}
		r, w := pipe()
		if err == nil {
			theirs, ours = append(theirs, w), append(ours, r)
			p.outputs = append(p.outputs, &output{pipe: r, to: to, done: make(chan error, 1)})
		}
		return w
	}
	if s.Stdout != nil {
		p.guard.Stdout = attach(s.Stdout)
	}
	switch {
	case s.Stderr == nil:
	case same(s.Stdout, s.Stderr):
		p.guard.Stderr = p.guard.Stdout
	default:
		p.guard.Stderr = attach(s.Stderr)
	}
	if err != nil {
		return err
	}
	if err = p.guard.Start(); err != nil {
		return err
	}
	for _, o := range p.outputs {
		go o.copy()
	}
	return nil
}

// watch follows the guard to its end.
func (p *Process) watch() {
	last, heard := p.listen()
	_ = p.guard.Wait() // the report says how the command ended
	switch {
	case heard:
	case p.gentle:
		seeOff(last.Session, p.grace)
	default:
		endOrphans(p.mark, last.Session)
	}
	var failed error
	for _, o := range p.outputs {
		o.end()
		failed = errors.Join(failed, <-o.done)
	}
	p.exit = last.Exit
	switch {
	case p.ctx.Err() != nil && (!heard || last.Stopped):
		p.err = p.ctx.Err()
	case !heard:
		p.exit = Exit{Code: -1, Signal: syscall.SIGKILL.String()}
		p.err = fmt.Errorf("run command: its guard (process %d) was killed", p.PID())
	case last.Error != "":
		p.err = fmt.Errorf("run command: %s", last.Error)
	case len(last.Left) > 0:
		p.err = fmt.Errorf("end command: processes %v do not end; they may belong to another user", last.Left)
	case failed != nil:
		p.err = fmt.Errorf("write output of command: %w", failed)
	}
}

// listen reads what the guard reports, and whether it reported the end.
func (p *Process) listen() (last report, ended bool) {
	defer func() { _ = p.reports.Close() }()
	for d := json.NewDecoder(p.reports); ; {
		next := last
		if err := d.Decode(&next); err != nil {
			return last, last.Ended
		}
		last = next
	}
}

// seeOff waits for a gentle command whose guard was killed, and kills its session after the
// grace.
func seeOff(session int, grace time.Duration) {
	command, ok := Identify(session)
	if !ok {
		return
	}
	if runtime.GOOS != "linux" { // which has told it that its guard ended
		signalTo(-session, syscall.SIGINT)
	}
	for force := time.Now().Add(grace); command.Alive(); {
		if time.Now().After(force) {
			signalTo(-session, syscall.SIGKILL)
			return
		}
		<-time.After(pollEvery)
	}
}

// endOrphans kills what is left of a tree whose guard was killed, until nothing is.
func endOrphans(mark string, session int) {
	deadline := time.Now().Add(giveUp)
	for time.Now().Before(deadline) {
		left := orphans(mark, session)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			signalTo(pid, syscall.SIGKILL)
		}
		<-time.After(pollEvery)
	}
}
