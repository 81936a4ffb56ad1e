// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
)

// watcher is a running `penstock watch`.
type watcher struct {
	s   *site
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	more  *sync.Cond
	ended bool
}

// watch starts a watcher that looks every second.
func (s *site) watch(args ...string) *watcher {
	s.t.Helper()
	w := &watcher{s: s, cmd: s.command(s.root, binary, append([]string{"watch", s.dir, "--json", "--interval", "1s", "--terraform", terraform}, args...)...)}
	w.more = sync.NewCond(&w.mu)
	out, err := w.cmd.StdoutPipe()
	s.must(err)
	w.cmd.Stderr = os.Stderr
	s.must(w.cmd.Start())
	go func() {
		for scan := bufio.NewScanner(out); scan.Scan(); {
			w.mu.Lock()
			w.lines = append(w.lines, scan.Text())
			w.more.Broadcast()
			w.mu.Unlock()
		}
		w.mu.Lock()
		w.ended = true
		w.more.Broadcast()
		w.mu.Unlock()
	}()
	s.t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	return w
}

// next waits for the next event of a kind and returns it; others before it are
// passed over, but one of a kind that is not wanted ends the test.
func (w *watcher) next(kind string, unwanted ...string) (event struct {
	Event, Text, Error string
	Reasons            []string
	Changes            bool
}) {
	w.s.t.Helper()
	late := time.AfterFunc(2*time.Minute, func() { w.mu.Lock(); defer w.mu.Unlock(); w.ended = true; w.more.Broadcast() })
	defer late.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.lines) > 0 {
			line := w.lines[0]
			w.lines = w.lines[1:]
			w.s.must(json.Unmarshal([]byte(line), &event))
			for _, u := range unwanted {
				if event.Event == u {
					w.s.t.Fatalf("waiting for %q came %s", kind, line)
				}
			}
			if event.Event == kind {
				return event
			}
		}
		if w.ended {
			w.s.t.Fatalf("there was no event %q", kind)
		}
		w.more.Wait()
	}
}

// applied waits for an apply for a reason that has all the words.
func (w *watcher) applied(words ...string) {
	w.s.t.Helper()
	reasons := strings.Join(w.next("apply", "failed").Reasons, "; ")
	for _, word := range words {
		if !strings.Contains(reasons, word) {
			w.s.t.Errorf("applied because %s, which does not say %q", reasons, word)
		}
	}
	w.next("applied", "failed")
}

// end sends signals and waits for the end.
func (w *watcher) end(want int, signals ...os.Signal) {
	w.s.t.Helper()
	for _, sig := range signals {
		w.s.must(w.cmd.Process.Signal(sig))
	}
	err := w.cmd.Wait()
	if exited := new(exec.ExitError); err != nil && !errors.As(err, &exited) {
		w.s.t.Fatal(err)
	}
	if got := w.cmd.ProcessState.ExitCode(); got != want {
		w.s.t.Errorf("the watcher ended with %d, want %d", got, want)
	}
}

// quiet checks that some looks pass without an event.
func (w *watcher) quiet() {
	w.s.t.Helper()
	timer := time.NewTimer(3 * time.Second) // three looks
	<-timer.C
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) > 0 {
		w.s.t.Errorf("nothing should have happened: %s", strings.Join(w.lines, "\n"))
		w.lines = nil
	}
}

// TestWatch lets a watcher do what a person with Terraform would have done.
func TestWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, peopleConfig())
	s.must(os.RemoveAll(filepath.Join(s.dir, ".terraform"))) // it initialises by itself
	w := s.watch()
	w.applied("nothing has been applied yet")

	s.penstock("approve", "p", "exploratory")
	w.applied(`stage "pre-production"`)
	s.penstock("promote", "--yes", "p", "production")
	w.applied(`stage "production"`, "promoted")
	if got := s.answer(s.output("production")); got != "1" {
		t.Errorf("production answers %q", got)
	}
	s.commit("2")
	w.applied("touches application", "Ada")
	w.quiet()

	// These move nothing: a commit without a change, a commit and its reversal, a pause,
	// a repository that is out of reach for a while.
	s.run(s.repo, "git", "commit", "-q", "--allow-empty", "-m", "nothing")
	s.penstock("pause", "p", "production")
	w.quiet()
	away := s.repo + ".away"
	s.must(os.Rename(s.repo, away))
	w.next("unreachable", "apply", "failed")
	s.must(os.Rename(away, s.repo))
	w.next("reachable", "apply", "failed")
	w.quiet()
	s.penstock("resume", "p", "production")
	s.penstock("retry", "p", "acceptance")
	w.applied(`stage "acceptance"`, "asked for another run")

	// A second watcher stands by, plans nothing, and takes over from one that died.
	second := s.watch()
	if by := second.next("standby", "apply").Text; !strings.Contains(by, "watch of") {
		t.Errorf("it stands by for %q", by)
	}
	s.must(w.cmd.Process.Kill())
	_ = w.cmd.Wait()
	second.next("watching", "apply", "failed")

	// A Terraform that is killed is followed by another.
	s.penstock("retry", "p", "acceptance")
	second.next("apply")
	s.killTerraform()
	second.next("failed")
	second.end(0, syscall.SIGTERM)
	third := s.watch()
	third.next("applied")

	// A stop in an apply lets that finish.
	s.commit("3")
	third.next("apply")
	third.end(0, syscall.SIGINT)
	third.next("applied", "failed")
	third.next("stopped")
	if code, plan := s.planned(); code != 0 {
		t.Errorf("the apply in hand was not finished:\n%s", plan)
	}

	// Two signals cancel it, cleanly.
	s.commit("4")
	fourth := s.watch()
	fourth.next("apply")
	fourth.end(130, syscall.SIGINT, syscall.SIGTERM)
	if left := s.garbage(); len(left) > 0 {
		t.Errorf("a cancelled apply leaves %v", left)
	}
	s.apply()

	// Once, with nothing to do, and with something; and planned only.
	once := func() string { return s.penstock("watch", s.dir, "--once", "--terraform", terraform) }
	seen := once()
	if !strings.Contains(seen, "nothing can move") {
		t.Errorf("once: %s", seen)
	}
	s.commit("5")
	if out := s.penstock("watch", s.dir, "--once", "--plan-only", "--terraform", terraform); !strings.Contains(out, "touches application") || !strings.Contains(out, "Plan: 0 to add") {
		t.Errorf("planned: %s", out)
	}
	seen += once()
	s.penstock("approve", "p", "exploratory")
	docstest.Shows(t, "docs/guides/watch.md", "nothing can move", seen+once())

	// What somebody else applied is not applied again, and what was destroyed is left so.
	fifth := s.watch("--interval", "5s")
	fifth.next("watching", "apply", "failed")
	s.run(s.dir, terraform, "destroy", "-auto-approve", "-no-color", "-input=false")
	fifth.next("empty", "apply", "failed")
	fifth.quiet()
	fifth.end(0, syscall.SIGTERM)
	if left, places := s.left(), s.places(); fmt.Sprint(left) != onlyArchives || len(places) > 0 {
		t.Errorf("the destroy and the watcher left %v and %v", left, places)
	}
}

// killTerraform kills the Terraform that a watcher started here.
func (s *site) killTerraform() {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		for pid, line := range s.processes() {
			if strings.Contains(line, filepath.Base(terraform)+" apply") {
				p, err := os.FindProcess(pid)
				s.must(err)
				s.must(p.Kill())
				return
			}
		}
	}
	s.t.Fatal("there is no Terraform to kill")
}
