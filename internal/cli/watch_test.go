// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/watch"
)

// In a pipe an apply has a line for each step of each stage, with its last line then.
func TestWatchProgress(t *testing.T) {
	var out, talk bytes.Buffer
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	o := &watchOptions{factory: &factory{Streams: Streams{Out: &out, Err: &talk}, now: func() time.Time { return now }}}
	run := func(stage, step string, number int, line string) report.Progress {
		return report.Progress{
			Run:  pipeline.Run{ID: "r-" + stage, Stage: stage, Phase: pipeline.PhaseSteps, StartedAt: now.Add(-time.Duration(number) * time.Minute)},
			Step: step, Number: number, Of: 3, Line: line,
		}
	}
	o.report(watch.Event{Kind: watch.KindApply, Reasons: []string{"a commit"}})
	o.progress(nil)
	o.progress([]report.Progress{run("commit", "build", 1, "cc main.c"), run("image/base", "", 1, "")})
	o.progress([]report.Progress{run("commit", "build", 1, "cc other.c")})
	o.progress([]report.Progress{run("commit", "test", 2, "ok\x1b[31m")})
	o.report(watch.Event{Kind: watch.KindApplied, Text: "Apply complete!"})
	want := []string{"applying …", "  commit: 1m, steps 1 of 3, build: cc main.c", "  image/base: 1m, steps", "  commit: 2m, steps 2 of 3, test: ok"}
	got := strings.Split(strings.TrimSpace(talk.String()), "\n")
	if len(got) != len(want) {
		t.Fatalf("told %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) || strings.Contains(got[i], "\x1b") {
			t.Errorf("told %q, want %q", got[i], want[i])
		}
	}
	if text := out.String(); !strings.Contains(text, "apply: a commit\n") || !strings.Contains(text, "applied in 0s: Apply complete!\n") {
		t.Errorf("events %q", text)
	}
}
