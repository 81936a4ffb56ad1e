// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// runLedger is a ledger of runs.
type runLedger struct {
	ledger
	events []pipeline.Event // the first of which may be gone
	head   int64
	runs   map[string]pipeline.RunSummary
	reads  int // pages of runs
}

func (l *runLedger) Head(context.Context, string) (int64, error) { return l.head, nil }

func (l *runLedger) Events(_ context.Context, _ string, after int64, limit int) (list []pipeline.Event, _ error) {
	for _, e := range l.events {
		if e.Seq > after && len(list) < limit {
			list = append(list, e)
		}
	}
	return list, nil
}

func (l *runLedger) Runs(_ context.Context, _ string, q pipeline.RunQuery) (page pipeline.RunPage, _ error) {
	l.reads++
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(l.runs))) {
		if q.After != "" && id >= q.After {
			continue
		}
		if len(page.Runs) == q.Limit {
			page.Next = page.Runs[q.Limit-1].ID
			break
		}
		page.Runs = append(page.Runs, l.runs[id])
	}
	return page, nil
}

func (l *runLedger) happen(facts pipeline.Facts) {
	l.head++
	l.events = append(l.events, pipeline.Event{Seq: l.head, Facts: facts})
	if facts.Run != nil {
		l.runs[facts.Run.ID] = facts.Run.Summary()
	}
	for _, key := range facts.Gone {
		delete(l.runs, key.ID)
	}
}

// What is kept of the runs is what the ledger has, whatever happens between two looks.
func TestPastRuns(t *testing.T) {
	began := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(1, 2))
	l := &runLedger{runs: map[string]pipeline.RunSummary{}}
	p := newPast(l)
	n, look := 0, func(since time.Time) {
		t.Helper()
		var got, want []string
		text := func(r pipeline.RunSummary) string { return r.ID + " " + string(r.Status) }
		if err := p.with(t.Context(), "shop", since, func(runs []pipeline.RunSummary) {
			for _, r := range runs {
				got = append(got, text(r))
			}
		}); err != nil {
			t.Fatal(err)
		}
		for _, r := range l.runs {
			if !r.StartedAt.Before(since) {
				want = append(want, text(r))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("after %d events:\n%s\nthe ledger has\n%s", l.head, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for range 2000 {
		ids := slices.Sorted(maps.Keys(l.runs))
		switch what := random.IntN(20); {
		case what < 8 || len(ids) == 0:
			n++
			l.happen(pipeline.Facts{Run: &pipeline.Run{ID: fmt.Sprintf("r-%06d", n), Status: pipeline.RunRunning, StartedAt: began.Add(time.Duration(n) * time.Minute)}})
		case what < 14:
			r := l.runs[ids[random.IntN(len(ids))]]
			l.happen(pipeline.Facts{Run: &pipeline.Run{ID: r.ID, Status: pipeline.RunPassed, StartedAt: r.StartedAt}})
		case what < 15:
			l.happen(pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordRun, ID: ids[random.IntN(len(ids))]}}})
		case what < 16:
			l.happen(pipeline.Facts{}) // of something else
		case what < 19:
			look(began.Add(time.Duration(max(n-100, 0)) * time.Minute))
		default:
			look(began.Add(time.Duration(random.IntN(n+1)) * time.Minute))
		}
	}
	look(began)
	before := l.reads
	l.happen(pipeline.Facts{Run: &pipeline.Run{ID: "r-new", StartedAt: began.Add(9999 * time.Hour)}})
	if look(began); l.reads != before {
		t.Error("the runs are read once more for one that is new")
	}

	// Where events are missing, or the ledger is another one, the runs are read anew.
	for range 3 {
		l.happen(pipeline.Facts{Run: &pipeline.Run{ID: fmt.Sprint("r-z", l.head), StartedAt: began}})
	}
	l.events = l.events[len(l.events)-1:]
	look(began)
	l.head, l.events, l.runs = 3, nil, map[string]pipeline.RunSummary{"r-other": {ID: "r-other", StartedAt: began}}
	look(began)
}

// Only the pipelines that somebody looks at are kept.
func TestPastPipelines(t *testing.T) {
	p := newPast(&runLedger{})
	for i := range 3 * pastPipelines {
		p.of(fmt.Sprint(i)).head = 1
		p.of("favourite")
	}
	if n := len(p.kept); n != pastPipelines || p.kept["favourite"] == nil {
		t.Errorf("%d pipelines are kept, the favourite: %v", n, p.kept["favourite"] != nil)
	}
}
