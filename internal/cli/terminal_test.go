// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli_test

import (
	"bytes"
	"database/sql"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a command that runs on a terminal of its own.
type terminal struct {
	*testing.T
	cmd *exec.Cmd
	tty *os.File

	mu      sync.Mutex
	seen    bytes.Buffer
	drained chan struct{} // closed when all that was written has been read
}

// workplace is a directory with the pipeline of the scripts, applied once.
func workplace(t *testing.T, apply ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"git", "init", "-q", "-b", "main", "repo"},
		{"git", "-C", "repo", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "--allow-empty", "-m", "A shop"},
	} {
		do(t, dir, args...)
	}
	if err := os.WriteFile(filepath.Join(dir, "repo", "version"), []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, dir, "git", "-C", "repo", "add", "-A")
	do(t, dir, "git", "-C", "repo", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "-m", "A shop")
	program(t, dir, "apply", apply...)
	t.Cleanup(func() { program(t, dir, "apply", "-destroy") })
	return dir
}

func do(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// command makes this test binary one of the programs of the scripts.
func command(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = name
	cmd.Path = link(t, self, name)
	cmd.Dir = dir
	return cmd
}

// link returns a path by which a program goes by another name.
func link(t *testing.T, self, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func program(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := command(t, dir, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// onTerminal starts penstock on a terminal of 100 columns and 20 lines.
func onTerminal(t *testing.T, dir string, args ...string) *terminal {
	t.Helper()
	return startOnTerminal(t, command(t, dir, "penstock", args...))
}

// startOnTerminal is onTerminal for any command.
func startOnTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	c := &terminal{T: t, cmd: cmd, drained: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=", "CLICOLOR_FORCE=")
	tty, err := pty.StartWithSize(c.cmd, &pty.Winsize{Rows: 20, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	c.tty = tty
	go func() {
		defer close(c.drained)
		buffer := make([]byte, 4096)
		for {
			n, err := tty.Read(buffer)
			c.mu.Lock()
			c.seen.Write(buffer[:n])
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = tty.Close() })
	return c
}

func (c *terminal) screen() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// wait waits until the screen has shown something.
func (c *terminal) wait(pattern string) {
	c.Helper()
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !re.MatchString(c.screen()); <-tick.C {
		if time.Now().After(end) {
			c.Fatalf("the terminal never showed %s:\n%q", pattern, c.screen())
		}
	}
}

func (c *terminal) write(text string) {
	c.Helper()
	if _, err := io.WriteString(c.tty, text); err != nil {
		c.Fatal(err)
	}
}

func (c *terminal) end(status int) {
	c.Helper()
	_ = c.cmd.Wait()
	<-c.drained // what it wrote last may have been on its way
	if got := c.cmd.ProcessState.ExitCode(); got != status {
		c.Errorf("it ended with %d, want %d:\n%q", got, status, c.screen())
	}
}

const interrupt = "\x03" // what a terminal turns into SIGINT

func TestColours(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	c := onTerminal(t, dir, "status")
	c.wait("\x1b\\[1mSTAGE\x1b\\[0m")
	c.wait("\x1b\\[32mpassed\x1b\\[0m")
	c.wait("\x1b\\[33mwaiting\x1b\\[0m")
	c.end(0)
	for line := range strings.Lines(c.screen()) {
		if n := len([]rune(regexp.MustCompile("\x1b\\[[0-9]*m|\r|\n").ReplaceAllString(line, ""))); n > 100 {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
	if out := program(t, dir, "penstock", "status"); strings.Contains(out, "\x1b") || !strings.Contains(out, "penstock reject …`") {
		t.Errorf("in a pipe: %q", out)
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	program(t, dir, "penstock", "env", "launch", "shop", "mine")
	for _, tt := range []struct {
		answer string
		status int
	}{{"n\r", 130}, {"\r", 130}, {interrupt, 130}, {"y\r", 0}} {
		c := onTerminal(t, dir, "env", "destroy", "shop", "mine")
		c.wait(`End environment mine of .* with its data\? \[y/N\]`)
		c.write(tt.answer)
		c.end(tt.status)
	}
	if out := program(t, dir, "penstock", "env", "list", "shop"); strings.Contains(out, "mine") {
		t.Errorf("after the yes: %s", out)
	}
}

// One rule for all: what shows something until an interrupt ends with 0, a question with 130,
// and neither says anything.
func TestQuietInterrupts(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	program(t, dir, "penstock", "env", "launch", "shop", "mine")
	for _, tt := range []struct {
		shows  string
		status int
		args   []string
	}{
		{`Serving HTTP|GET /`, 0, []string{"env", "logs", "-f", "shop", "mine"}},
		{`exploratory`, 0, []string{"status", "--watch"}},
		{`http://`, 0, []string{"serve", "--listen", "127.0.0.1:0", "--log-level", "error"}},
		{`\[y/N\]`, 130, []string{"env", "destroy", "shop", "mine"}},
		{`or \[l\]ater\?`, 130, []string{"try", "shop", "exploratory"}},
	} {
		c := onTerminal(t, dir, tt.args...)
		c.wait(tt.shows)
		c.write(interrupt)
		c.end(tt.status)
		if said := regexp.MustCompile(`(?i)clean|cancel|penstock:|finishing`).FindString(c.screen()); said != "" {
			t.Errorf("%v says %q: %q", tt.args, said, c.screen())
		}
	}
}

// A log that is followed ends with its run, or quietly with an interrupt.
func TestQuietLog(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	put(t, filepath.Join(dir, "repo", "version"), "two")
	do(t, dir, "git", "-C", "repo", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "-a", "-m", "Another")
	goOn := filepath.Join(dir, "go-on")
	apply := command(t, dir, "apply", "-until", goOn)
	if err := apply.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		put(t, goOn, "")
		if err := apply.Wait(); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(30 * time.Second); !strings.Contains(program(t, dir, "penstock", "runs", "shop", "--status", "running"), "commit"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the run never began")
		}
	}
	c := onTerminal(t, dir, "logs", "-f", "shop", "commit")
	c.wait(`it waits`)
	c.write(interrupt)
	c.end(0)
	if strings.Contains(c.screen(), "lean") || strings.Contains(c.screen(), "penstock:") {
		t.Errorf("it says %q", c.screen())
	}
}

func TestLiveProgress(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	c := onTerminal(t, dir, "env", "launch", "shop", "mine")
	c.wait(`Launching environment mine … \d+s`)
	c.wait(`\r\x1b\[K`) // it is taken away
	c.wait(`http://127`)
	c.end(0)
	program(t, dir, "penstock", "env", "destroy", "shop", "mine", "--yes")
}

func TestStatusWatch(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	c := onTerminal(t, dir, "status", "--watch", "--interval", "100ms")
	c.wait(`\x1b\[\?1049h\x1b\[\?25l`)
	c.wait(`a decision on #`)
	if err := pty.Setsize(c.tty, &pty.Winsize{Rows: 6, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	c.wait(`more lines, page 1 of \d+, Enter shows the next`)
	c.write("\n")
	c.wait(`page 2 of \d+, Enter shows`)
	program(t, dir, "penstock", "approve", "shop", "exploratory")
	if err := pty.Setsize(c.tty, &pty.Winsize{Rows: 30, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	c.wait(`a promotion of #`)
	c.write(interrupt)
	c.end(0)
	if !strings.Contains(c.screen(), "\x1b[?25h\x1b[?1049l") {
		t.Error("the cursor and the screen are not given back")
	}
}

func TestStatusWatchInAPipe(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	cmd := command(t, dir, "penstock", "status", "--watch", "--interval", "100ms")
	var out syncBuffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	out.wait(t, `shop/exploratory: waiting`)
	program(t, dir, "penstock", "pause", "shop", "production", "--reason", "Friday")
	out.wait(t, `shop/production: paused +paused by .* since .*: Friday; .penstock resume shop production`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if n := strings.Count(out.String(), "shop/commit:"); n != 1 {
		t.Errorf("commit, which did not change, has %d lines:\n%s", n, out.String())
	}
}

// busy keeps everybody else from writing to the ledger, until it is called off.
func busy(t *testing.T, dir string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, ".penstock", "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if _, err := db.Exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The first interrupt cancels and cleans up, and says what was cancelled; the second ends at
// once, while the clean-up waits for the ledger, and leaves what is there.
func TestInterrupts(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service", "-slow")
	c := onTerminal(t, dir, "env", "launch", "shop", "mine")
	c.wait(`Launching environment mine`)
	c.wait(`launch of self-service environment`)
	c.write(interrupt)
	c.wait(`Cancelling, and cleaning up`)
	c.end(130)
	if !strings.Contains(c.screen(), "penstock: launch self-service environment") {
		t.Errorf("it does not say what was cancelled: %q", c.screen())
	}
	if out := program(t, dir, "penstock", "env", "list", "shop"); strings.Contains(out, "mine") {
		t.Errorf("after a cancel: %s", out)
	}
	c = onTerminal(t, dir, "env", "launch", "shop", "mine")
	c.wait(`launch of self-service environment`)
	release := busy(t, dir)
	defer release()
	c.write(interrupt)
	c.wait(`Cancelling, and cleaning up`)
	c.write(interrupt)
	c.end(130)
	release()
	if strings.Contains(c.screen(), "penstock: ") {
		t.Errorf("it came to its end: %q", c.screen())
	}
	if out := program(t, dir, "penstock", "env", "list", "shop"); !strings.Contains(out, "mine") {
		t.Errorf("it cleaned up: %s", out)
	}
	program(t, dir, "penstock", "gc", "--yes")
	if out := program(t, dir, "penstock", "env", "list", "shop"); strings.Contains(out, "mine") {
		t.Errorf("after gc: %s", out)
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) wait(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !re.MatchString(b.String()); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never printed %s:\n%s", pattern, b.String())
		}
	}
}

// A person tries a build and decides.
func TestTry(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	c := onTerminal(t, dir, "try", "shop")
	c.wait(`Stage exploratory offers build #1 \(b-`)
	c.wait(`\[a\]pprove, \[r\]eject, or \[l\]ater`)
	c.write("later\r")
	c.wait(`the environment stays`)
	c.end(0)
	c = onTerminal(t, dir, "try", "shop")
	c.wait(`or \[l\]ater\?`)
	c.write("no idea\r")
	c.write("r\r")
	c.wait(`Why\?`)
	c.write("it is slow\r")
	c.wait(`is rejected at stage exploratory`)
	c.end(0)
	if out := program(t, dir, "penstock", "env", "list"); strings.Contains(out, "try-") {
		t.Errorf("the environment outlives the decision: %s", out)
	}
}

// The log of a service is followed until an interrupt.
func TestFollowService(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	program(t, dir, "penstock", "env", "launch", "shop", "mine")
	c := onTerminal(t, dir, "env", "logs", "-f", "shop", "mine")
	c.wait(`GET /|Serving HTTP`)
	program(t, dir, "penstock", "env", "exec", "shop", "mine", "--", `python3 -c "import urllib.request, os; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/version')"`)
	c.wait(`GET /version`)
	c.write(interrupt)
	c.end(0)
	program(t, dir, "penstock", "env", "destroy", "shop", "mine", "--yes")
}
