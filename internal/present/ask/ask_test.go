// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ask_test

import (
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

var (
	five = report.Named{ID: "b-5555555555", Number: 5}
	nine = report.Named{ID: "b-9999999999", Number: 9}
	gone = report.Named{ID: "b-0000000000"}
)

func TestNames(t *testing.T) {
	for want, got := range map[string]string{
		"#9 (b-9999999999)": ask.Build(nine), "b-0000000000": ask.Build(gone),
		"#9": ask.Brief(9, "b-9999999999"), "b-1": ask.Brief(0, "b-1"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The commits of rejected and failed builds are counted, each once, and risky changes named.
func TestRange(t *testing.T) {
	ahead := []report.Commit{{}, {Rejected: "qa", Failed: []string{"load"}}, {Failed: []string{"load"}}}
	for want, e := range map[string]report.Evidence{
		"":          {},
		"0 commits": {Diff: &report.Diff{}},
		"3 commits, 1 of a build that was rejected, 1 of a build that failed": {Diff: &report.Diff{Ahead: ahead}},
		"1 commit, 2 commits taken back":                                      {Diff: &report.Diff{Ahead: ahead[:1], Behind: make([]report.Commit, 2)}},
		"1 commit taken back, the data changes":                               {Diff: &report.Diff{Behind: ahead[:1]}, Changes: []report.Change{{Component: "data"}, {Component: "application"}}},
		"1 commit, the data changes, the infrastructure changes":              {Diff: &report.Diff{Ahead: ahead[:1]}, Changes: []report.Change{{Component: "data"}, {Component: "infrastructure"}}},
	} {
		if got := ask.Range(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := ask.Range(report.Evidence{Diff: &report.Diff{Unknown: "away"}}); got != "" {
		t.Errorf("of what is not known it says %q", got)
	}
	for want, c := range map[string]report.Commit{"": {}, "rejected at qa": {Rejected: "qa", Failed: []string{"load"}}, "failed at load, scan": {Failed: []string{"load", "scan"}}} {
		if got := ask.Mark(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestMeasurements(t *testing.T) {
	count := report.Count{Total: 48, Failed: 4, Skipped: 1}
	for want, got := range map[string]string{
		"48 tests, 4 failed, 1 skipped":                        ask.Tests(report.Tests{Count: count}),
		"1 test, none failed; the current build: 48, 4 failed": ask.Tests(report.Tests{Count: report.Count{Total: 1}, Before: &count}),
		"p99 120ms": ask.Load(report.Load{P99: 120 * time.Millisecond}),
		"p99 120ms, limit 150ms, the current build: 90ms, 0.25 % errors": ask.Load(report.Load{P99: 120 * time.Millisecond, Limit: 150 * time.Millisecond, Before: "b-1", BeforeP99: 90 * time.Millisecond, BeforeCurrent: true, Errors: 0.0025}),
		"p99 120ms, b-1 before: 90ms":                                    ask.Load(report.Load{P99: 120 * time.Millisecond, Before: "b-1", BeforeP99: 90 * time.Millisecond}),
		"p99 1s, #8 before: 2s":                                          ask.Load(report.Load{P99: time.Second, Before: "b-1", BeforeNumber: 8, BeforeP99: 2 * time.Second}),
		"changes":                                                        ask.Change(report.Change{}),
		"2 files, +3 −1 lines":                                           ask.Change(report.Change{Files: 2, Added: 3, Removed: 1}),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What happens, who carries it out and how to go back is said for each verb, with commands that
// can be copied.
func TestConsequences(t *testing.T) {
	watched := report.Applies{Watched: true, Watcher: pipeline.Holder{Process: pipeline.Process{Host: "ci-1"}, Actor: "robot"}}
	for name, tt := range map[string]struct {
		e    report.Evidence
		says []string // in order, in what happens, who carries it out and how to go back
	}{
		"approve": {report.Evidence{Verb: "approve", Build: nine, Run: "r-1", Missing: 1, Next: []string{"load", "live"}, Directory: "/srv/shop", Host: "desk"}, []string{
			"Build #9 (b-9999999999) passes stage qa, on the evidence of run r-1.", "It may then enter load and live.", "Nobody watches: run `terraform apply` in /srv/shop (on desk).", "`penstock reject shop qa b-9999999999 --reason WHY`",
		}},
		"the first of two": {report.Evidence{Verb: "approve", Build: nine, Missing: 2}, []string{
			"Your approval of build #9 (b-9999999999) at stage qa counts, on the evidence of run none.", "It takes 2 more approvals, yours included.", "run `terraform apply`.",
		}},
		"reject":              {report.Evidence{Verb: "reject", Build: nine, Applies: watched}, []string{"enters no stage any more", "What runs it already goes on.", "`penstock approve --lift shop qa b-9999999999`"}},
		"override":            {report.Evidence{Verb: "override", Build: nine, Applies: watched}, []string{"counts as passed at stage qa although", "stays with the build for ever.", "robot's watcher on ci-1 applies it by itself.", "can't be taken back"}},
		"the first promotion": {report.Evidence{Verb: "promote", Build: nine, Applies: watched}, []string{"Stage qa moves to build #9 (b-9999999999).", "have to be healthy", "There is no build to go back to."}},
		"promote": {report.Evidence{Verb: "promote", Build: nine, Current: &five, Applies: watched, Pending: &pipeline.Promotion{Actor: "bob", Build: "b-7777777777"}, Runner: pipeline.RunnerCodeBuild}, []string{
			"Stage qa moves from build #5 (b-5555555555) to build #9 (b-9999999999).", "bob has promoted build b-7777777777", "this takes its place", "The steps of the stage run in AWS CodeBuild.", "To go back to #5 (b-5555555555): `penstock rollback shop qa b-5555555555`.",
		}},
		"rollback": {report.Evidence{Verb: "rollback", Build: five, Current: &nine}, []string{
			"goes back from build #9 (b-9999999999) to build #5 (b-5555555555).", "Data stays as it is.", "`penstock promote shop qa b-9999999999`",
		}},
	} {
		tt.e.Pipeline, tt.e.Stage = "shop", "qa"
		said := strings.Join(append(ask.Consequences(tt.e), ask.Carrier(tt.e), ask.GoBack(tt.e)), "\n")
		rest := said
		for _, part := range tt.says {
			var found bool
			if _, rest, found = strings.Cut(rest, part); !found {
				t.Errorf("%s: no %q, or too early, in\n%s", name, part, said)
				break
			}
		}
	}
	if got := ask.Carrier(report.Evidence{Verb: "reject", Applies: watched}); got != "" {
		t.Errorf("a rejection is carried out: %q", got)
	}
	busy := watched
	busy.Watcher.Activity.Text = "applies"
	if got := ask.Applier(busy, "", ""); !strings.Contains(got, "once it is done: it applies.") {
		t.Errorf("of a busy watcher it says %q", got)
	}
	if got := ask.Applier(report.Applies{}, "unknown", ""); got != "Nobody watches: run `terraform apply`." {
		t.Errorf("without a directory it says %q", got)
	}
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	last := report.Evidence{Rollback: &report.Rollback{Stage: "live", From: nine, To: gone, At: now.Add(-time.Hour), Took: 45 * time.Second}}
	if got, want := ask.LastRollback(last, now), "The last rollback of live, from #9 to b-0000000000 1h ago, took 45s."; got != want || ask.LastRollback(report.Evidence{}, now) != "" {
		t.Errorf("%q, want %q", got, want)
	}
}
