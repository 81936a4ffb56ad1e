// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentVariable makes the test binary play the program that starts a command.
const parentVariable = "PROCESS_TEST_PARENT"

// forgetfulVariable makes it play a program whose main does not begin with Guard.
const forgetfulVariable = "PROCESS_TEST_FORGETFUL"

// scriptVariable sets another command than treeScript.
const scriptVariable = "PROCESS_TEST_SCRIPT"

func TestMain(m *testing.M) {
	if os.Getenv(forgetfulVariable) != "" {
		playForgetful()
	}
	Guard()
	if dir := os.Getenv(parentVariable); dir != "" {
		playParent(dir)
	}
	os.Exit(m.Run())
}

// playForgetful is a program whose main does not begin with Guard, and starts a command.
func playForgetful() {
	p, err := Start(context.Background(), Spec{Args: []string{"true"}, Env: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr})
	if err == nil {
		_, err = p.Wait()
	}
	fmt.Println(err)
	os.Exit(0)
}

// A program that forgets to call Guard does not start itself again and again.
func TestForgetful(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), forgetfulVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "has to begin with process.Guard()") {
		t.Errorf("%v: %s", err, out)
	}
}

// playParent starts a tree that notes its process IDs in dir, and lives until killed.
func playParent(dir string) {
	script := treeScript
	if other := os.Getenv(scriptVariable); other != "" {
		script = other
	}
	p, err := Start(context.Background(), Spec{
		Args: Shell(script), Dir: dir, Env: os.Environ(), Grace: 100 * time.Millisecond,
	})
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "guard"), []byte(strconv.Itoa(p.PID())), 0o600); err != nil {
		panic(err)
	}
	_, err = p.Wait()
	panic(fmt.Sprint("the command ended before its parent: ", err))
}

// treeScript starts a child, one that ignores SIGTERM, and a daemon in a session
// of its own, and notes their process IDs.
const treeScript = `
echo $$ > self
sleep 300 & echo $! > child
(trap "" TERM; echo > deaf.ready; while :; do sleep 300; done) & echo $! > deaf
( $(command -v setsid || :) sh -c 'echo $$ > daemon.tmp && mv daemon.tmp daemon; exec sleep 300' & )
while ! test -e daemon || ! test -e deaf.ready; do sleep 0.01; done
echo > ready
wait
`

func start(t *testing.T, s Spec) *Process {
	t.Helper()
	return startIn(t, t.Context(), s)
}

func startIn(t *testing.T, ctx context.Context, s Spec) *Process {
	t.Helper()
	if s.Env == nil {
		s.Env = Environ(nil)
	}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	p, err := Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("gave up waiting for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	await(t, path, func() bool { _, err := os.Stat(path); return err == nil })
}

// noted returns the identities of the processes that the tree script noted.
func noted(t *testing.T, dir string) map[string]Identity {
	t.Helper()
	awaitFile(t, filepath.Join(dir, "ready"))
	ids := map[string]Identity{}
	for _, name := range []string{"self", "child", "deaf", "daemon"} {
		id, ok := Identify(notedPID(t, filepath.Join(dir, name)))
		if !ok {
			t.Fatalf("process %q does not run", name)
		}
		ids[name] = id
	}
	return ids
}

func notedPID(t *testing.T, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestWait(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line, out string
		exit            Exit
		says            string
	}{
		{"success", "echo hello", "hello\n", Exit{}, "exit status 0"},
		{"failure", "echo no; exit 3", "no\n", Exit{Code: 3}, "exit status 3"},
		{"stops at the first failure", "false; echo on", "", Exit{Code: 1}, "exit status 1"},
		{"killed", "kill -9 $$", "", Exit{Code: -1, Signal: "killed"}, "ended by signal killed"},
		{"both outputs in order", "echo a; echo b >&2; echo c", "a\nb\nc\n", Exit{}, "exit status 0"},
		{"input is empty", "cat; echo end", "end\n", Exit{}, "exit status 0"},
		{"descriptors are not passed on", "test ! -e /dev/fd/3 && test ! -e /dev/fd/4", "", Exit{}, "exit status 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := start(t, Spec{Args: Shell(tt.line), Stdout: &out, Stderr: &out})
			exit, err := p.Wait()
			if err != nil || exit != tt.exit || exit.String() != tt.says || out.String() != tt.out {
				t.Errorf("got %v (%q), %v, output %q", exit, exit.Signal, err, &out)
			}
		})
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		ctx  context.Context
		spec Spec
		want error
	}{
		{"ended context", ended, Spec{Args: []string{"true"}}, context.Canceled},
		{"no program", t.Context(), Spec{}, nil},
		{"unknown program", t.Context(), Spec{Args: []string{"no-such-program-anywhere"}}, exec.ErrNotFound},
		{"no directory", t.Context(), Spec{Args: []string{"true"}, Dir: plain + "/none"}, syscall.ENOTDIR},
		{"not executable", t.Context(), Spec{Args: []string{plain}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := Start(tt.ctx, tt.spec)
			if err == nil {
				_, err = p.Wait()
			}
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTreeEnds(t *testing.T) {
	t.Parallel()
	cause := map[string]func(t *testing.T, p *Process, cancel func(), ids map[string]Identity){
		"by stop":    func(_ *testing.T, p *Process, _ func(), _ map[string]Identity) { p.Stop() },
		"by context": func(_ *testing.T, _ *Process, cancel func(), _ map[string]Identity) { cancel() },
		"by the command's": func(t *testing.T, _ *Process, _ func(), ids map[string]Identity) {
			kill(t, ids["self"].PID, syscall.SIGKILL)
		},
		"by the guard's KILL": func(t *testing.T, p *Process, _ func(), _ map[string]Identity) { kill(t, p.PID(), syscall.SIGKILL) },
		"by the guard's INT":  func(t *testing.T, p *Process, _ func(), _ map[string]Identity) { kill(t, p.PID(), syscall.SIGINT) },
	}
	for name, end := range cause {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := t.TempDir()
			p := startIn(t, ctx, Spec{Args: Shell(treeScript), Dir: dir, Grace: 50 * time.Millisecond, Stdout: new(bytes.Buffer)})
			ids := noted(t, dir)
			end(t, p, cancel, ids)
			exit, err := p.Wait()
			for name, id := range ids {
				if id.Alive() {
					t.Errorf("process %q is alive after Wait", name)
				}
			}
			switch name {
			case "by context":
				if !errors.Is(err, context.Canceled) {
					t.Errorf("error is %v", err)
				}
			case "by the guard's KILL":
				if err == nil || exit.Code != -1 {
					t.Errorf("got %v, %v; want an error", exit, err)
				}
			default:
				if err != nil || exit.Code != -1 {
					t.Errorf("got %v, %v; want a signal and no error", exit, err)
				}
			}
		})
	}
}

func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// The parent is killed while the tree runs, and at several instants of its start.
func TestTreeEndsWithKilledParent(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{-1, 0, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mark := parentVariable + "=" + dir
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), mark)
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			var ids map[string]Identity
			if after < 0 {
				ids = noted(t, dir)
			} else {
				<-time.After(after)
			}
			kill(t, parent.Process.Pid, syscall.SIGKILL)
			_ = parent.Wait()
			for name, id := range ids {
				await(t, "the end of "+name, func() bool { return !id.Alive() })
			}
			// The directory's name is in the environment of every process of the tree.
			await(t, "the end of all", func() bool { return len(withEnvironment(t, mark)) == 0 })
		})
	}
}

// withEnvironment lists the processes whose environment holds the text.
func withEnvironment(t *testing.T, text string) []string {
	t.Helper()
	out, err := exec.Command("ps", "axeww", "-o", "pid=,command=").Output()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool { return !strings.Contains(l, text) })
}

func TestDaemonLeftBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	p := start(t, Spec{
		Args: Shell("($(command -v setsid || :) sh -c 'echo $$ > daemon; echo > ready; exec sleep 300' &) ; while ! test -e ready; do sleep 0.01; done; echo done"),
		Dir:  dir, Stdout: &out,
	})
	exit, err := p.Wait()
	if err != nil || exit.Code != 0 || out.String() != "done\n" {
		t.Errorf("got %v, %v, %q", exit, err, &out)
	}
	if _, ok := Identify(notedPID(t, filepath.Join(dir, "daemon"))); ok {
		t.Error("the daemon is alive after Wait")
	}
}

func TestGraceIsGiven(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, Spec{
		Args: Shell("trap 'echo bye > bye; exit 7' TERM; echo > ready; while :; do sleep 0.05 || :; done"), // the sleep gets the signal, too
		Dir:  dir, Grace: 20 * time.Second,
	})
	awaitFile(t, filepath.Join(dir, "ready"))
	p.Stop()
	if exit, err := p.Wait(); err != nil || exit.Code != 7 {
		t.Errorf("got %v, %v", exit, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "bye")); err != nil {
		t.Error(err)
	}
}

func TestStoppedProcessEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, Spec{Args: Shell("echo > ready; kill -STOP $$"), Dir: dir, Grace: 20 * time.Second})
	awaitFile(t, filepath.Join(dir, "ready"))
	p.Stop()
	if exit, err := p.Wait(); err != nil || exit.Signal != "terminated" {
		t.Errorf("got %v, %v", exit, err)
	}
}

// counter counts bytes, and fails after a limit.
type counter struct{ n, limit int }

func (c *counter) Write(b []byte) (int, error) {
	if c.n += len(b); c.limit > 0 && c.n > c.limit {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

func TestFlood(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	all, broken := &counter{}, &counter{limit: 1 << 20}
	for _, out := range []*counter{all, broken} {
		p := start(t, Spec{Args: Shell(fmt.Sprintf("head -c %d /dev/zero", size)), Stdout: out})
		exit, err := p.Wait()
		if exit.Code != 0 || (err == nil) != (out == all) {
			t.Errorf("got %v, %v", exit, err)
		}
	}
	if all.n != size {
		t.Errorf("got %d bytes of %d", all.n, size)
	}
}

// All output arrives, however slowly it is taken after the command has ended.
func TestSlowWriter(t *testing.T) {
	t.Parallel()
	const size = 60 << 10 // fits in a pipe, so the command ends at once
	out := &slowWriter{}
	p := start(t, Spec{Args: Shell(fmt.Sprintf("head -c %d /dev/zero", size)), Stdout: out})
	if exit, err := p.Wait(); exit.Code != 0 || err != nil || out.n != size {
		t.Errorf("got %v, %v, %d bytes", exit, err, out.n)
	}
}

type slowWriter struct{ n int }

func (s *slowWriter) Write(b []byte) (int, error) {
	<-time.After(drainTime + 500*time.Millisecond)
	s.n += len(b)
	return len(b), nil
}

func TestFloodIsStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	p := startIn(t, ctx, Spec{Args: []string{"cat", "/dev/zero"}, Stdout: new(counter)})
	if _, err := p.Wait(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestOwnSession(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, Spec{Args: Shell("echo $$ > pid.tmp; mv pid.tmp pid; sleep 300"), Dir: dir})
	awaitFile(t, filepath.Join(dir, "pid"))
	command := notedPID(t, filepath.Join(dir, "pid"))
	mine := syscall.Getpgrp()
	for _, pid := range []int{p.PID(), command} {
		group, err := syscall.Getpgid(pid)
		if err != nil || group == mine || group != pid {
			t.Errorf("process %d is in group %d, the test in %d (%v)", pid, group, mine, err)
		}
	}
}

func TestEnviron(t *testing.T) {
	local, err := exec.Command("git", "rev-parse", "--local-env-vars").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(strings.Fields(string(local)), func(name string) bool { return name == "GIT_CONFIG_COUNT" }) // the user's own
	names = append(names, "TF_PLUGIN_MAGIC_COOKIE", "PLUGIN_MIN_PORT", "TF_REATTACH_PROVIDERS", "TF_LOG", "TF_LOG_PATH", "TF_CLI_ARGS", "GIT_QUARANTINE_PATH", markVariable)
	for _, name := range names {
		t.Setenv(name, "x")
	}
	t.Setenv("KEPT", "yes")
	t.Setenv("REPLACED", "old")
	env := Environ(map[string]string{"REPLACED": "new", "ADDED": "a=b"})
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); value == "x" && slices.Contains(names, name) {
			t.Errorf("%s is passed on", kv)
		}
	}
	for _, want := range []string{"KEPT=yes", "REPLACED=new", "ADDED=a=b"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if slices.Contains(env, "REPLACED=old") {
		t.Error("the old value is passed on too")
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	pid, err := Detach(Shell("echo $NAME; pwd; test ! -e /dev/fd/3; echo > ready; exec sleep 300"), dir, []string{"PATH=" + os.Getenv("PATH"), "NAME=detached"}, log)
	if err != nil {
		t.Fatal(err)
	}
	id, ok := Identify(pid)
	if !ok {
		t.Fatal("it does not run")
	}
	t.Cleanup(func() {
		if err := id.Kill(); err != nil {
			t.Error(err)
		}
		await(t, "its end", func() bool { return !id.Alive() })
	})
	awaitFile(t, filepath.Join(dir, "ready"))
	out, _ := os.ReadFile(log)
	if !strings.HasPrefix(string(out), "detached\n") || !strings.Contains(string(out), filepath.Base(dir)) {
		t.Errorf("log is %q", out)
	}
	if info, _ := os.Stat(log); info.Mode().Perm() != 0o600 {
		t.Errorf("log has mode %v", info.Mode())
	}
	if group, _ := syscall.Getpgid(pid); group != pid {
		t.Errorf("it is in group %d", group)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	self := Self()
	if !self.Alive() || self.PID != os.Getpid() {
		t.Errorf("self is %+v", self)
	}
	for _, i := range []Identity{{}, {PID: self.PID, Started: "earlier"}, {PID: -1}} {
		if i.Alive() {
			t.Errorf("%+v is alive", i)
		}
		if err := i.Kill(); err != nil {
			t.Errorf("kill %+v: %v", i, err) // and this test goes on
		}
	}
	cmd := exec.Command("sleep", "300")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, ok := Identify(cmd.Process.Pid)
	if !ok {
		t.Fatal("it does not run")
	}
	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "its end, though nobody reaped it", func() bool { return !id.Alive() })
	_ = cmd.Wait()
}
