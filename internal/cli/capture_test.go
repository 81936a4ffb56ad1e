// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

var updateCaptures = flag.Bool("update-captures", false, "write the captures of the listings")

// wide is a terminal of some columns; of none, it is no terminal.
type wide struct {
	bytes.Buffer
	columns, rows int
}

func (w *wide) Size() (width, height int) { return w.columns, w.rows }

// captured are the listings.
var captured = []string{
	"status shop", "status wide", "builds shop", "builds wide", "runs shop --limit 12", "runs wide --limit 4", "history shop --limit 12", "env list --all", "env show shop grace-checkout",
	"images shop", "metrics shop", "diff shop", "diff wide", "notify", "graph shop --format text", "graph wide --format text", "ledger archive list", "context list",
	"gc --dry-run",
}

// Each listing fits the terminal, whatever its width, and loses nothing elsewhere. The captures
// are for those who read them: they show what people see.
func TestCaptures(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the lab")
	}
	l, err := lab.Open(t.Context(), lab.Options{Dir: t.TempDir(), End: time.Date(2026, 11, 27, 15, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	shown := *l.App // at the time of the lab
	shown.Engine = l.Engine
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("NO_COLOR", "1")
	t.Setenv("TZ", "UTC")
	show := func(columns int, line string) string {
		out, talk := &wide{columns: columns}, &wide{columns: columns}
		f := &factory{Streams: Streams{In: strings.NewReader(""), Out: out, Err: talk}, version: "1.2.3", now: l.Now, opened: &shown}
		if columns == 0 {
			f.Out, f.Err = &out.Buffer, &talk.Buffer
		}
		root := newRoot(f)
		root.SetArgs(strings.Fields(line))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		return steady(out.String() + talk.String())
	}
	for _, name := range []string{"far", "a-context-with-quite-a-long-name-of-its-own"} {
		show(0, "context set "+name+" --data-dir "+filepath.Join("/srv", strings.Repeat("deep/", 12), name))
	}
	docstest.Shows(t, "docs/guides/metrics.md", "METRIC", show(0, "metrics shop"))
	for _, line := range captured {
		var capture strings.Builder
		for _, columns := range []int{80, 120, 200, 0} {
			fmt.Fprintf(&capture, "%s %s\n\n%s\n", strings.Repeat("─", 20), cmp.Or(map[int]string{0: "in a pipe"}[columns], fmt.Sprintf("%d columns", columns)), show(columns, line))
		}
		file := filepath.Join("testdata", "captures", strings.NewReplacer(" --", "-", " ", "-").Replace(line)+".txt")
		if *updateCaptures {
			if err := os.WriteFile(file, []byte(capture.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if want, err := os.ReadFile(file); err != nil || string(want) != capture.String() {
			t.Errorf("%s is not as in %s: look at it, then `go test ./internal/cli -run TestCaptures -update-captures`: %v\n%s", line, file, err, capture.String())
		}
		for _, columns := range []int{20, 33, 40, 60, 79, 80, 81, 99, 100, 120, 132, 160, 200, 250} {
			for row := range strings.Lines(show(columns, line)) {
				if w := present.Width(strings.TrimSuffix(row, "\n")); w > columns {
					t.Errorf("%s has a line of %d in %d columns: %q", line, w, columns, row)
				}
			}
		}
	}
}

// steady replaces what is another each time: IDs of runs and environments, and ports.
func steady(text string) string {
	text = regexp.MustCompile(`\b([ref])-0[0-9a-z]{12}\b`).ReplaceAllString(text, "$1-0xxxxxxxxxxxx")
	text = regexp.MustCompile(`--after \d+`).ReplaceAllString(text, "--after 999")
	text = regexp.MustCompile(`journey \d+: \w+, \d+ clicks`).ReplaceAllString(text, "journey 40: payment, 8 clicks")
	return regexp.MustCompile(`127\.0\.0\.1:\d{5}`).ReplaceAllString(text, "127.0.0.1:20000")
}

// What does not fit the terminal begins with what needs a person, and ends with the names of
// what is below.
func TestUrgentFirst(t *testing.T) {
	stage := func(name string, s gate.Signal) statusStage {
		return statusStage{Stage: name, Signal: s, view: report.StageView{View: gate.View{Name: name, Status: gate.StatusPassed, Signal: s}}}
	}
	out := &wide{columns: 60, rows: 8}
	f := &factory{Streams: Streams{Out: out}, now: func() time.Time { return time.Date(2026, 11, 27, 15, 0, 0, 0, time.UTC) }}
	o := &statusOptions{factory: f}
	all := []statusPipeline{
		{Pipeline: "calm", Watched: true, Stages: []statusStage{stage("commit", gate.SignalNothing), stage("acceptance", gate.SignalUpstream)}},
		{Pipeline: "busy", Watched: true, Stages: []statusStage{stage("build", gate.SignalNothing), stage("load", gate.SignalRunning), stage("release", gate.SignalPerson), stage("smoke", gate.SignalFailed)}},
	}
	if err := o.redraw(&pages{on: screenOf(out)}, all, nil); err != nil {
		t.Fatal(err)
	}
	shown := out.String()
	if !regexp.MustCompile(`(?s)busy.*release.*smoke.*… \d+ more lines: load, build, acceptance, commit`).MatchString(shown) || strings.Contains(shown, "calm") {
		t.Errorf("it shows %q", shown)
	}
	if all[0].Pipeline != "calm" || all[1].Stages[0].Stage != "build" {
		t.Error("what was given is in another order")
	}
}
