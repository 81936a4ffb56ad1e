// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func runTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"many":          testManyRuns,
		"progress":      testRunProgress,
		"default limit": testDefaultLimit,
		"new meanwhile": testRunsBetweenPages,
		"gone":          testRunGone,
	}
}

// The runs of Fill go round these.
const (
	FillStages = 5  // stages, "stage-0" and so on
	FillBuilds = 50 // builds, "b-0" and so on; as many as a pipeline retains
)

// Fill appends n ended runs to a pipeline, maxBatch of them at a time, and returns their
// summaries, the newest first. From FillStages × FillBuilds on, the number of records of the
// state does not depend on n.
func Fill(t testing.TB, l pipeline.Ledger, name string, n, maxBatch int) []pipeline.RunSummary {
	t.Helper()
	runs := make([]pipeline.RunSummary, 0, n)
	var pending []pipeline.Facts
	for i := range n {
		status := pipeline.RunPassed
		if i%7 == 3 {
			status = pipeline.RunFailed
		}
		if i%1009 == 5 {
			status = pipeline.RunCancelled
		}
		f := runFact(fmt.Sprintf("r-%08d", i), fmt.Sprintf("stage-%d", i%FillStages), fmt.Sprintf("b-%d", i/FillStages%FillBuilds), status)
		f.Run.StartedAt = time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
		f.Run.EndedAt = f.Run.StartedAt.Add(time.Minute)
		runs = append(runs, f.Run.Summary())
		if pending = append(pending, f); len(pending) == maxBatch || i == n-1 {
			appendFacts(t, l, name, pending...)
			pending = pending[:0]
		}
	}
	slices.Reverse(runs)
	return runs
}

// manyRuns is the number of runs that a ledger is tested with: fewer with -short,
// and under the race detector, which makes an embedded database twenty times slower.
func manyRuns() int {
	switch {
	case raceDetector:
		return 4_000
	case testing.Short():
		return 10_000
	default:
		return 100_000
	}
}

// testManyRuns pages through many runs with every filter.
func testManyRuns(t *testing.T, s *suite) {
	n := manyRuns()
	if s.maxRuns > 0 {
		n = min(n, s.maxRuns)
	}
	l := s.ledger(t)
	runs := Fill(t, l, "shop", n, s.maxBatch)
	for _, q := range []pipeline.RunQuery{
		{Limit: 997},
		{Limit: n},
		{Stage: "stage-2", Limit: 1000},
		{Build: "b-7", Limit: 100},
		{Status: pipeline.RunCancelled, Limit: 10},
		{Status: pipeline.RunFailed, Limit: 1000},
		{Stage: "stage-1", Status: pipeline.RunFailed, Limit: 1000},
		{Stage: "stage-1", Build: "b-3", Limit: 50},
		{Build: "b-3", Status: pipeline.RunFailed, Limit: 50},
		{Stage: "stage-4", Build: "b-49", Status: pipeline.RunPassed, Limit: 50},
		{Stage: "none", Limit: 10},
		{Build: "none"},
		{Status: pipeline.RunRunning},
	} {
		want := slices.DeleteFunc(slices.Clone(runs), func(r pipeline.RunSummary) bool { return !selects(q, r) })
		got := allRuns(t, l, "shop", q)
		if len(got) != len(want) {
			t.Errorf("query %+v gives %d runs, want %d", q, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("query %+v gives as run %d\n%+v\nwant\n%+v", q, i, got[i], want[i])
			}
		}
	}
	last, err := l.Runs(t.Context(), "shop", pipeline.RunQuery{Limit: n})
	must(t, err)
	if last.Next != "" {
		t.Errorf("a page with all %d runs has the next %q", n, last.Next)
	}
	run, err := l.Run(t.Context(), "", runs[n/2].ID)
	must(t, err)
	wantSame(t, "run in the middle", run.Summary(), runs[n/2])
	if st := mustState(t, l, "shop"); len(st.Latest) != FillStages || len(st.Results) != FillStages*FillBuilds {
		t.Errorf("the state has %d latest runs and the verdicts of %d", len(st.Latest), len(st.Results))
	}
}

func selects(q pipeline.RunQuery, r pipeline.RunSummary) bool {
	return (q.Stage == "" || q.Stage == r.Stage) && (q.Build == "" || q.Build == r.Build) && (q.Status == "" || q.Status == r.Status)
}

// testRunProgress writes one run again and again.
func testRunProgress(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", runFact("r-1", "commit", "b-1", pipeline.RunRunning))
	if got := allRuns(t, l, "shop", pipeline.RunQuery{Status: pipeline.RunRunning}); len(got) != 1 {
		t.Errorf("%d runs are running, want 1", len(got))
	}
	ended := runFact("r-1", "commit", "b-1", pipeline.RunFailed)
	ended.Run.Steps = append(ended.Run.Steps, pipeline.StepResult{Name: "another"})
	ended.Run.Error = "step \"another\" failed"
	appendFacts(t, l, "shop", ended)
	if got := allRuns(t, l, "shop", pipeline.RunQuery{Status: pipeline.RunRunning}); len(got) != 0 {
		t.Errorf("%d runs are running, want none", len(got))
	}
	wantSame(t, "list of runs", allRuns(t, l, "shop", pipeline.RunQuery{}), []pipeline.RunSummary{ended.Run.Summary()})
	run, err := l.Run(t.Context(), "shop", "r-1")
	must(t, err)
	wantSame(t, "run", run, *ended.Run)
	mustVerify(t, l, "shop", 2)
}

func testDefaultLimit(t *testing.T, s *suite) {
	l := s.ledger(t)
	runs := Fill(t, l, "shop", 105, s.maxBatch)
	page, err := l.Runs(t.Context(), "shop", pipeline.RunQuery{})
	must(t, err)
	wantSame(t, "first page", page.Runs, runs[:100])
	page, err = l.Runs(t.Context(), "shop", pipeline.RunQuery{After: page.Next})
	must(t, err)
	wantSame(t, "second page", page.Runs, runs[100:])
	if page.Next != "" {
		t.Errorf("the last page has the next %q", page.Next)
	}
}

func testRunsBetweenPages(t *testing.T, s *suite) {
	l := s.ledger(t)
	runs := Fill(t, l, "shop", 10, s.maxBatch)
	first, err := l.Runs(t.Context(), "shop", pipeline.RunQuery{Limit: 4})
	must(t, err)
	appendFacts(t, l, "shop", runFact("r-99999999", "stage-0", "b-0", pipeline.RunRunning))
	rest := allRuns(t, l, "shop", pipeline.RunQuery{Limit: 4, After: first.Next})
	wantSame(t, "list of all runs", append(first.Runs, rest...), runs)
}

func testRunGone(t *testing.T, s *suite) {
	l := s.ledger(t)
	runs := Fill(t, l, "shop", 4, s.maxBatch)
	appendFacts(t, l, "shop", pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordRun, ID: runs[1].ID}}})
	wantSame(t, "list of runs", allRuns(t, l, "shop", pipeline.RunQuery{Limit: 1}), slices.Delete(slices.Clone(runs), 1, 2))
	if _, ok := mustState(t, l, "shop").Latest[runs[1].Stage]; !ok {
		t.Error("the summary of the stage's latest run went with the run")
	}
	mustVerify(t, l, "shop", 5)
}
