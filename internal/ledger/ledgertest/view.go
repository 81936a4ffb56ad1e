// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// CheckView replays all events of a pipeline, checks that each follows the one
// before, and that the ledger's current-state view is what they add up to.
func CheckView(t testing.TB, l pipeline.Reader, name string) {
	t.Helper()
	records, runs := replay(t, l, name)
	want, err := pipeline.NewState(slices.Collect(maps.Values(records)))
	must(t, err)
	if got := mustState(t, l, name); !reflect.DeepEqual(got, want) {
		t.Fatalf("the state of %q is\n%+v\nand its events add up to\n%+v", name, got, want)
	}
	listed := allRuns(t, l, name, pipeline.RunQuery{Limit: 1000})
	ordered := slices.SortedFunc(maps.Values(runs), func(a, b pipeline.Run) int { return cmp.Compare(b.ID, a.ID) })
	if len(listed) != len(ordered) {
		t.Fatalf("the ledger lists %d runs of %q and its events add up to %d", len(listed), name, len(ordered))
	}
	for i, run := range ordered {
		wantSame(t, "summary of run "+run.ID, listed[i], run.Summary())
	}
	if len(ordered) > 0 { // a few in full
		for _, run := range []pipeline.Run{ordered[0], ordered[len(ordered)/2], ordered[len(ordered)-1]} {
			got, err := l.Run(t.Context(), name, run.ID)
			must(t, err)
			wantSame(t, "run "+run.ID, got, run)
		}
	}
}

// replay returns the records, without runs, and the runs that the events leave.
func replay(t testing.TB, l pipeline.Reader, name string) (map[pipeline.Key]pipeline.Record, map[string]pipeline.Run) {
	t.Helper()
	records, runs := map[pipeline.Key]pipeline.Record{}, map[string]pipeline.Run{}
	var last pipeline.Event
	for {
		page, err := l.Events(t.Context(), name, last.Seq, 1000)
		must(t, err)
		if len(page) == 0 {
			return records, runs
		}
		for _, e := range page {
			must(t, e.Check(last.Seq+1, last.Hash))
			if e.Time.Before(last.Time) {
				t.Fatalf("event %d of %q is of %s, before event %d of %s", e.Seq, name, e.Time, last.Seq, last.Time)
			}
			rows, err := e.Records()
			must(t, err)
			for _, r := range rows {
				records[r.Key] = r
			}
			if e.Facts.Run != nil {
				delete(records, pipeline.Key{Kind: pipeline.RecordRun, ID: e.Facts.Run.ID})
				runs[e.Facts.Run.ID] = *e.Facts.Run
			}
			for _, key := range e.Facts.Gone {
				delete(records, key)
				if key.Kind == pipeline.RecordRun {
					delete(runs, key.ID)
				}
			}
			last = e
		}
	}
}

// allRuns pages through all runs that the query selects, and checks the pages.
func allRuns(t testing.TB, l pipeline.Reader, name string, q pipeline.RunQuery) []pipeline.RunSummary {
	t.Helper()
	var runs []pipeline.RunSummary
	for {
		page, err := l.Runs(t.Context(), name, q)
		must(t, err)
		if q.Limit > 0 && len(page.Runs) > q.Limit {
			t.Fatalf("a page has %d runs, more than the limit of %d", len(page.Runs), q.Limit)
		}
		runs = append(runs, page.Runs...)
		if page.Next == "" {
			return runs
		}
		if len(page.Runs) == 0 || page.Next == q.After {
			t.Fatalf("page after %q has %d runs and the next is %q: there is no progress", q.After, len(page.Runs), page.Next)
		}
		q.After = page.Next
	}
}
