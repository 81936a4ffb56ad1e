// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A gentle command is asked to end by SIGINT, once, with what it waits for. What it has started
// in the background goes on.
func TestGentle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	script := `
trap 'echo >> asked' INT
trap 'echo >> termed' TERM
sh -c 'echo $$ > child.tmp; mv child.tmp child; exec sleep 60' > /dev/null 2>&1 &
while ! test -e child; do sleep 0.01; done
sh -c 'echo $$ > hung.tmp; mv hung.tmp hung; exec sleep 60' > /dev/null 2>&1 || true
while ! test -e asked; do sleep 0.01; done
echo > done
`
	p := startIn(t, ctx, Spec{Args: Shell(script), Dir: dir, Gentle: true, Grace: time.Minute})
	awaitFile(t, filepath.Join(dir, "hung"))
	hung, _ := Identify(notedPID(t, filepath.Join(dir, "hung")))
	child, ok := Identify(notedPID(t, filepath.Join(dir, "child")))
	if !ok {
		t.Fatal("the child does not run")
	}
	t.Cleanup(func() { _, _ = hung.Kill(), child.Kill() })
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the end: %v", err)
	}
	if asked, _ := os.ReadFile(filepath.Join(dir, "asked")); string(asked) != "\n" {
		t.Errorf("it was asked %q", asked)
	}
	for name, want := range map[string]bool{"done": true, "termed": false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !child.Alive() {
		t.Error("what it had started in the background was ended")
	}
	if hung.Alive() {
		t.Error("what it had waited for goes on")
	}
}

// After the grace it is killed, with what runs in its session.
func TestGentleGrace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := `
trap '' INT
sh -c 'echo $$ > child.tmp; mv child.tmp child; exec sleep 60' > /dev/null 2>&1 &
while ! test -e child; do sleep 0.01; done
echo > ready
while :; do sleep 1; done
`
	p := start(t, Spec{Args: Shell(script), Dir: dir, Gentle: true, Grace: 50 * time.Millisecond})
	awaitFile(t, filepath.Join(dir, "ready"))
	child, _ := Identify(notedPID(t, filepath.Join(dir, "child")))
	p.Stop()
	if exit, err := p.Wait(); err != nil || exit.Signal != "killed" {
		t.Errorf("the end: %v, %v", exit, err)
	}
	await(t, "the end of the child", func() bool { return !child.Alive() })
}
