// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func TestMain(m *testing.M) {
	process.Guard()
	os.Exit(withRoots(m.Run))
}

// noon is the time of every line in these tests.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const stamp = "2026-03-01T12:00:00.000Z "

// quick makes a runner that notes its pauses and does not take them.
func quick(pauses *[]time.Duration) *Runner {
	r := NewRunner(Options{Now: func() time.Time { return noon }})
	r.pause = func(ctx context.Context, d time.Duration) error {
		if pauses != nil {
			*pauses = append(*pauses, d)
		}
		return ctx.Err()
	}
	return r
}

// safeBuffer may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// run runs a step in a fresh checkout with the given files, and returns its log.
func run(t *testing.T, ctx context.Context, req pipeline.StepRequest, files map[string]string) (pipeline.StepResult, string, error) {
	t.Helper()
	if req.Checkout == "" {
		req.Checkout = checkout(t, files)
	}
	var log safeBuffer
	req.Log = &log
	result, err := quick(nil).Run(ctx, req)
	return result, log.String(), err
}

func TestLogOfStep(t *testing.T) {
	t.Parallel()
	_, log, err := run(t, t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "unit tests", Command: "echo one; echo two >&2\nprintf three"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	want := []string{
		`== step "unit tests": echo one; echo two >&2 …`,
		stamp + "one", stamp + "two", stamp + "three",
		`== step "unit tests" passed in `,
	}
	if len(lines) != len(want) {
		t.Fatalf("log is\n%s", log)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	// Fails until it has been tried as often as the first argument says.
	const flaky = "echo x >> tries; test $(wc -l < tries) -ge "
	tests := []struct {
		name, command     string
		retries, attempts int
		passed            bool
		pauses            []time.Duration
	}{
		{"passes at once", flaky + "1", 3, 1, true, nil},
		{"passes at the third", flaky + "3", 3, 3, true, []time.Duration{1e9, 2e9}},
		{"never", flaky + "99", 2, 3, false, []time.Duration{1e9, 2e9}},
		{"no retries", flaky + "2", 0, 1, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var pauses []time.Duration
			result, err := quick(&pauses).Run(t.Context(), pipeline.StepRequest{
				Step: pipeline.Step{Name: "s", Command: tt.command, Retries: tt.retries}, Checkout: t.TempDir(),
			})
			if (err == nil) != tt.passed || (result.Status == pipeline.RunPassed) != tt.passed || result.Attempts != tt.attempts {
				t.Errorf("got %+v, %v", result, err)
			}
			if len(pauses) != len(tt.pauses) {
				t.Fatalf("paused %v, want %v", pauses, tt.pauses)
			}
			for i := range pauses {
				if pauses[i] != tt.pauses[i] {
					t.Errorf("paused %v, want %v", pauses, tt.pauses)
				}
			}
		})
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: maxPause, 1000: maxPause} {
		if got := pauseBefore(tries); got != want {
			t.Errorf("after %d tries the pause is %v, want %v", tries, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := pause(t.Context(), time.Minute); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("paused for %v: %v", time.Since(begun), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if err := pause(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("paused for %v: %v", time.Since(begun), err)
		}
	})
}

func TestCancelledWhilePausing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := NewRunner(Options{})
	r.pause = func(ctx context.Context, d time.Duration) error {
		cancel()
		return pause(ctx, d)
	}
	result, err := r.Run(ctx, pipeline.StepRequest{Step: pipeline.Step{Name: "s", Command: "exit 1", Retries: 5}, Checkout: t.TempDir()})
	if pipeline.CodeOf(err) != pipeline.CodeCancelled || !errors.Is(err, context.Canceled) || result.Status != pipeline.RunCancelled || result.Attempts != 1 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestCauseOfCancellation(t *testing.T) {
	t.Parallel()
	lost := pipeline.Errorf(pipeline.CodeLeaseLost, "renew lease", "another holds it")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lost)
	result, _, err := run(t, ctx, pipeline.StepRequest{Step: pipeline.Step{Name: "s", Command: "echo no"}}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeCancelled || !errors.Is(err, context.Canceled) || !errors.Is(err, lost) {
		t.Errorf("error is %v", err)
	}
	if result.Attempts != 0 || !strings.Contains(result.Error, "another holds it") {
		t.Errorf("result is %+v", result)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := checkout(t, map[string]string{"sub/file": ""})
	if err := os.Symlink("/", dir+"/out"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		step pipeline.Step
		says string
	}{
		{"nothing to do", pipeline.Step{}, "0 of command"},
		{"two things to do", pipeline.Step{Command: "true", HTTP: &pipeline.HTTPCheck{}}, "2 of command"},
		{"script", pipeline.Step{Script: "x.sh"}, "baked image"},
		{"unknown place", pipeline.Step{Command: "true", On: "moon"}, `"moon"`},
		{"no environment", pipeline.Step{Command: "true", On: pipeline.OnEnvironment}, "has none"},
		{"directory above", pipeline.Step{Command: "true", Directory: "../x"}, "out of the checkout"},
		{"absolute directory", pipeline.Step{Command: "true", Directory: "/tmp"}, "out of the checkout"},
		{"directory by a link", pipeline.Step{Command: "true", Directory: "out/tmp"}, "escapes"},
		{"no such directory", pipeline.Step{Command: "true", Directory: "none"}, "no such file"},
		{"a file", pipeline.Step{Command: "true", Directory: "sub/file"}, "is a file"},
		{"report above", pipeline.Step{Command: "true", Report: "../junit.xml"}, "out of the checkout"},
		{"bad pattern", pipeline.Step{Command: "true", Report: "{x"}, "not a valid pattern"},
		{"no endpoint", pipeline.Step{HTTP: &pipeline.HTTPCheck{Path: "/"}}, "no endpoint"},
		{"two addresses", pipeline.Step{HTTP: &pipeline.HTTPCheck{Path: "/", URL: "http://localhost/"}}, "both set"},
		{"no URL", pipeline.Step{HTTP: &pipeline.HTTPCheck{URL: "ftp://localhost/"}}, "not a URL"},
		{"no method", pipeline.Step{HTTP: &pipeline.HTTPCheck{URL: "http://localhost/", Method: "G T"}}, "not an HTTP method"},
		{"no status", pipeline.Step{HTTP: &pipeline.HTTPCheck{URL: "http://localhost/", Status: 7}}, "not an HTTP status"},
		{"no expression", pipeline.Step{HTTP: &pipeline.HTTPCheck{URL: "http://localhost/", Contains: "("}}, "not a regular expression"},
		{"no rate", pipeline.Step{Load: &pipeline.Load{URL: "http://localhost/", Duration: 1}}, "rate 0"},
		{"negative rate", pipeline.Step{Load: &pipeline.Load{URL: "http://localhost/", Rate: -1, Duration: 1}}, "rate -1"},
		{"no duration", pipeline.Step{Load: &pipeline.Load{URL: "http://localhost/", Rate: 1}}, "duration 0s"},
		{"short timeout", pipeline.Step{Timeout: 1, Load: &pipeline.Load{URL: "http://localhost/", Rate: 1, Duration: 2}}, "shorter than the load"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.step.Name, tt.step.Retries = "s", 3
			result, log, err := run(t, t.Context(), pipeline.StepRequest{Step: tt.step, Checkout: dir}, nil)
			if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), tt.says) || reason.Hint(err) == "" {
				t.Errorf("got %v (%s), hint %q", err, pipeline.CodeOf(err), reason.Hint(err))
			}
			if result.Status != pipeline.RunFailed || result.Attempts != 0 || !strings.Contains(log, tt.says) {
				t.Errorf("result is %+v, log\n%s", result, log)
			}
		})
	}
}

func TestLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	result, err := quick(nil).Run(t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", Command: "yes | head -c 1000000"}, Checkout: t.TempDir(), Log: brokenWriter{},
	})
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "write log: no space left") || result.Status != pipeline.RunFailed {
		t.Errorf("got %+v, %v", result, err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// No part of a step's traces may hold a secret: log, error, hint, result.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	secrets := pipeline.Secrets{
		"TOKEN": "hunter2-token",
		"KEY":   "-----BEGIN KEY-----\nMIIabcdefghij\n-----END KEY-----\n",
	}
	const junit = `<testsuite><testcase name="t hunter2-token"><failure message="got hunter2-token"/></testcase></testsuite>`
	for name, step := range map[string]pipeline.Step{
		"output":  {Command: `echo "$TOKEN"; echo "$KEY"; printf 'hunter'; sleep 0.1; printf '2-token\n'; echo hunter2-token; exit 1`},
		"report":  {Command: `echo '` + junit + `' > j.xml`, Report: "j.xml"},
		"address": {HTTP: &pipeline.HTTPCheck{URL: "http://127.0.0.1:1/hunter2-token"}},
		"load":    {Load: &pipeline.Load{URL: "http://127.0.0.1:1/hunter2-token", Rate: 10, Duration: 200 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step.Name, step.Retries = "s", 1
			result, log, err := run(t, t.Context(), pipeline.StepRequest{Step: step, Secrets: secrets}, nil)
			if err == nil {
				t.Fatal("it passed")
			}
			all := log + err.Error() + reason.Hint(err) + result.Error
			if result.Tests != nil {
				for _, f := range result.Tests.Failures {
					all += f.Name + f.Message
				}
			}
			if result.Load != nil {
				all += strings.Join(result.Load.Faults, "\n")
			}
			for _, secret := range []string{"hunter2", "MIIabc"} {
				if strings.Contains(all, secret) {
					t.Errorf("%q shows in\n%s", secret, all)
				}
			}
			if !strings.Contains(log, "***") {
				t.Errorf("nothing is masked in\n%s", log)
			}
		})
	}
}

func TestRunOnEnvironment(t *testing.T) {
	t.Parallel()
	exits := func(code int, err error) func(context.Context, pipeline.Command, io.Writer) (int, error) {
		return func(_ context.Context, c pipeline.Command, log io.Writer) (int, error) {
			if c.Line != "ls" || c.Dir != "d" || c.Env["A"] != "step" || c.Env["B"] != "run" || c.Secrets["S"].Reveal() != "secret" || c.Timeout != pipeline.DefaultStepTimeout {
				t.Errorf("command is %+v", c)
			}
			_, _ = io.WriteString(log, "there secret\n")
			return code, err
		}
	}
	tests := []struct {
		name string
		exec func(context.Context, pipeline.Command, io.Writer) (int, error)
		says string
	}{
		{"passes", exits(0, nil), ""},
		{"fails", exits(4, nil), `step "s" failed: exit status 4` + "\nThe last lines of its output:\n  there ***"},
		{"breaks", exits(0, errors.New("the instance is gone")), `step "s" failed: the instance is gone`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			result, log, err := run(t, t.Context(), pipeline.StepRequest{
				Step: pipeline.Step{Name: "s", Command: "ls", On: pipeline.OnEnvironment, Directory: "d", Env: map[string]string{"A": "step"}},
				Env:  map[string]string{"A": "run", "B": "run"}, Secrets: pipeline.Secrets{"S": "secret"}, Exec: tt.exec,
			}, nil)
			switch {
			case tt.says == "" && err != nil, tt.says != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.says)):
				t.Errorf("error is %v, want %q", err, tt.says)
			case result.Status == pipeline.RunPassed != (err == nil):
				t.Errorf("result is %+v", result)
			case !strings.Contains(log, stamp+"there ***\n"):
				t.Errorf("log is\n%s", log)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	load := pipeline.Step{Load: &pipeline.Load{Rate: 0.5, Duration: time.Minute, Path: "/x"}}
	if got := title(load); got != "GET /x, 0.5/s for 1m" {
		t.Errorf("title is %q", got)
	}
	hostile := "a\": b\n== step \"c\" passed"
	if header := pipeline.StepHeader(hostile); strings.Contains(header, "\n") || !regexp.MustCompile(`^== step ".*": $`).MatchString(header) {
		t.Errorf("header is %q", header)
	}
}
