// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// checkout makes a work tree with the given files.
func checkout(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCommand(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", (16<<10)+100)
	tests := []struct {
		name  string
		step  pipeline.Step
		exit  int
		says  string // beginning of the error; empty for a pass
		hint  string
		lines []string // of the log, among others
	}{
		{name: "passes", step: pipeline.Step{Command: "echo hello"}, lines: []string{"hello"}},
		{name: "fails", step: pipeline.Step{Command: "echo why; exit 3"}, exit: 3,
			says: "step \"s\" failed: exit status 3\nThe last lines of its output:\n  why"},
		{name: "fails silently", step: pipeline.Step{Command: "exit 3"}, exit: 3, says: "step \"s\" failed: exit status 3"},
		{name: "stops at the first failure", step: pipeline.Step{Command: "false\necho on"}, exit: 1, says: "step \"s\" failed: exit status 1"},
		{name: "is killed", step: pipeline.Step{Command: "kill -9 $$"}, exit: -1, says: "step \"s\" failed: ended by signal killed", hint: "memory"},
		{name: "has a child that is killed", step: pipeline.Step{Command: "sh -c 'kill -9 $$' || exit $?"}, exit: 137,
			says: "step \"s\" failed: exit status 137", hint: "memory"},
		{name: "is not found", step: pipeline.Step{Command: "no-such-command-anywhere"}, exit: 127, says: "step \"s\" failed: exit status 127", hint: "PATH"},
		{name: "sees its variables", step: pipeline.Step{Command: "echo $PENSTOCK_BUILD $OWN; test \"$SECRET\" = hidden", Env: map[string]string{"OWN": "mine"}},
			lines: []string{"b-1 mine"}},
		{name: "runs in a directory", step: pipeline.Step{Command: "cat file", Directory: "sub"}, lines: []string{"in sub"}},
		{name: "prints binary", step: pipeline.Step{Command: `printf 'a\000\001\377b\033[31mred\033[0m\033]0;title\007 \302\205 \342\202\254\n'`},
			lines: []string{`a\x00\x01\xffbred \u0085 €`}},
		{name: "shows progress", step: pipeline.Step{Command: `printf '1%%\r2%%\r\n3%%\n\n4%%'`}, lines: []string{"1%", "2%", "3%", "", "4%"}},
		{name: "prints a long line", step: pipeline.Step{Command: "cat long"}, lines: []string{long[:(16<<10)] + " … (100 bytes cut)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.step.Name = "s"
			result, log, err := run(t, t.Context(), pipeline.StepRequest{
				Step: tt.step, Env: map[string]string{"PENSTOCK_BUILD": "b-1", "OWN": "no"}, Secrets: pipeline.Secrets{"SECRET": "hidden"},
			}, map[string]string{"sub/file": "in sub\n", "long": long})
			if result.ExitCode != tt.exit || result.Attempts != 1 || !result.StartedAt.Equal(noon) || result.Name != "s" {
				t.Errorf("result is %+v", result)
			}
			if tt.says == "" {
				if err != nil || result.Status != pipeline.RunPassed || result.Error != "" {
					t.Errorf("got %+v, %v", result, err)
				}
			} else if pipeline.CodeOf(err) != pipeline.CodeFailed || err.Error() != tt.says && !strings.HasPrefix(err.Error(), tt.says+"\n") || result.Status != pipeline.RunFailed {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
			if err != nil && (result.Error == "" || !strings.HasSuffix(err.Error(), result.Error)) {
				t.Errorf("result has error %q", result.Error)
			}
			if !strings.Contains(reason.Hint(err), tt.hint) {
				t.Errorf("hint is %q", reason.Hint(err))
			}
			if want := stamp + strings.Join(tt.lines, "\n"+stamp) + "\n"; tt.lines != nil && !strings.Contains(log, want) {
				t.Errorf("log is\n%.2000s\nwithout\n%.2000s", log, want)
			}
		})
	}
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	_, _, err := run(t, t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", Command: "for i in $(seq 100); do echo line $i; done; printf '%0600d' 0; exit 1"},
	}, nil)
	_, tail, _ := strings.Cut(err.Error(), "output:\n")
	lines := strings.Split(tail, "\n")
	if len(lines) != 20 || lines[0] != "  line 82" || lines[18] != "  line 100" || lines[19] != "  "+strings.Repeat("0", 500)+"…" {
		t.Errorf("the last lines are %d:\n%s", len(lines), tail)
	}
}

func TestCommandTimesOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	result, log, err := run(t, t.Context(), pipeline.StepRequest{
		Step:     pipeline.Step{Name: "s", Command: "echo $$ > pid; echo working; sleep 300 & wait", Timeout: 300 * time.Millisecond, Retries: 1},
		Checkout: dir,
	}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.HasPrefix(err.Error(), "step \"s\" failed: timed out after 300ms\n") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if result.Attempts != 2 || result.Status != pipeline.RunFailed || !strings.Contains(log, "attempt 1 of 2 failed: timed out") {
		t.Errorf("result is %+v, log\n%s", result, log)
	}
	mustBeGone(t, filepath.Join(dir, "pid"))
}

// mustBeGone fails when the process whose ID is in the file lives.
func mustBeGone(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, alive := process.Identify(pid); alive {
		t.Errorf("process %d of %s is alive", pid, filepath.Base(file))
	}
}

// watcher cancels when the output holds a text.
type watcher struct {
	safeBuffer
	text   string
	cancel func()
}

func (w *watcher) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.text)) {
		w.cancel()
	}
	return w.safeBuffer.Write(p)
}

func TestCommandIsCancelled(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"and ends":                "echo $$ > pid; sleep 300 & echo read''y; wait",
		"and ignores it":          "echo $$ > pid; trap '' TERM; echo read''y; while :; do sleep 1; done",
		"while it floods the log": "echo $$ > pid; echo read''y; yes",
		"with a report awaited":   "echo $$ > pid; echo read''y; sleep 300",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			log := &watcher{text: "ready", cancel: cancel}
			result, err := quick(nil).Run(ctx, pipeline.StepRequest{
				Step: pipeline.Step{Name: "s", Command: line, Retries: 3, Report: "none.xml"}, Checkout: dir, Log: log,
			})
			if pipeline.CodeOf(err) != pipeline.CodeCancelled || !errors.Is(err, context.Canceled) || result.Status != pipeline.RunCancelled || result.Attempts != 1 {
				t.Errorf("got %+v, %v", result, err)
			}
			if !strings.Contains(log.String(), pipeline.StepFooter("s")+"cancelled in ") {
				t.Errorf("log has no footer")
			}
			mustBeGone(t, filepath.Join(dir, "pid"))
		})
	}
}

func TestCommandLeavesADaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	result, _, err := run(t, t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", Command: "($(command -v setsid || :) sh -c 'echo $$ > pid; echo > ready; exec sleep 300' &)\n" +
			"while ! test -e ready; do sleep 0.01; done", Timeout: time.Minute},
		Checkout: dir,
	}, nil)
	if err != nil || result.Duration > 30*time.Second {
		t.Errorf("got %+v, %v", result, err)
	}
	mustBeGone(t, filepath.Join(dir, "pid"))
}

// meter counts what is written and watches the memory in use.
type meter struct {
	bytes, writes int64
	last          []byte
	peak          uint64
}

func (m *meter) Write(p []byte) (int, error) {
	m.bytes += int64(len(p))
	m.last = append(m.last[:0], p[max(0, len(p)-400):]...)
	if m.writes++; m.writes < 5 || m.writes%512 == 0 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		m.peak = max(m.peak, s.HeapInuse)
	}
	return len(p), nil
}

// A flood neither fills the log nor the memory, and does not hang. It runs by
// itself, as it measures the memory of the whole test.
func TestFlood(t *testing.T) {
	const size = 256 << 20
	for name, line := range map[string]string{
		"without lines":   fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", size),
		"with long lines": fmt.Sprintf("yes %s | head -c %d", strings.Repeat("y", 200), size),
	} {
		t.Run(name, func(t *testing.T) {
			m := &meter{}
			result, err := quick(nil).Run(t.Context(), pipeline.StepRequest{
				Step:     pipeline.Step{Name: "s", Command: line + "; echo; echo the end; exit 1", Timeout: 5 * time.Minute},
				Checkout: t.TempDir(), Log: m, Secrets: pipeline.Secrets{"S": "a secret"},
			})
			if err == nil || !strings.HasSuffix(err.Error(), "the end") {
				t.Errorf("error is %.500v", err)
			}
			if m.bytes > maxOutput+(16<<10) || m.peak > 64<<20 {
				t.Errorf("log has %d bytes, peak of the heap is %d", m.bytes, m.peak)
			}
			t.Logf("%d bytes of output in %v: %d of log, heap %d KiB; %s", size, result.Duration, m.bytes, m.peak>>10, m.last)
		})
	}
}
