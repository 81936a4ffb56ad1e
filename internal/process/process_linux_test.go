// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A guard that is killed takes the command with it even when nobody can look
// for what is left: the parent is stopped here.
func TestGuardTakesTheCommandAlong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"="+dir,
		scriptVariable+"=echo $$ > self.tmp; mv self.tmp self; while ! test -e guard; do sleep 0.01; done; echo > ready; exec sleep 300")
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill(t, parent.Process.Pid, syscall.SIGKILL)
		_ = parent.Wait()
	})
	awaitFile(t, filepath.Join(dir, "ready"))
	command, ok := Identify(notedPID(t, filepath.Join(dir, "self")))
	if !ok {
		t.Fatal("the command does not run")
	}
	t.Cleanup(func() { _ = command.Kill() })
	kill(t, parent.Process.Pid, syscall.SIGSTOP)
	kill(t, notedPID(t, filepath.Join(dir, "guard")), syscall.SIGKILL)
	await(t, "the end of the command", func() bool { return !command.Alive() })
}

// Wait does not hang when a process outside the tree holds the command's output.
func TestOutputHeldOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	p := start(t, Spec{
		Args: Shell("echo $$ > pid.tmp; mv pid.tmp pid; echo out; while ! test -e held; do sleep 0.01; done"), Dir: dir, Stdout: &out,
	})
	awaitFile(t, filepath.Join(dir, "pid"))
	held, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", notedPID(t, filepath.Join(dir, "pid"))), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	if err := os.WriteFile(filepath.Join(dir, "held"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if exit, err := p.Wait(); exit.Code != 0 || err != nil || out.String() != "out\n" {
			t.Errorf("got %v, %v, %q", exit, err, &out)
		}
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("Wait hangs")
	}
}
