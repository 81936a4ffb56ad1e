// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func eventTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"chain":          testChain,
		"paging":         testEventPaging,
		"clock":          testEventClock,
		"invalid UTF-8":  testInvalidText,
		"big":            testBigEvent,
		"ended contexts": testEndedContexts,
	}
}

func testChain(t *testing.T, s *suite) {
	l := s.ledger(t)
	var last pipeline.Event
	for i := range 3 {
		s.clock.advance(time.Second)
		sealed := appendFacts(t, l, "shop", buildFact(fmt.Sprintf("b-%d", i)), buildFact(fmt.Sprintf("c-%d", i)))
		for _, e := range sealed {
			must(t, e.Check(last.Seq+1, last.Hash))
			if !e.Time.Equal(s.clock.Now()) || e.Time.Location() != time.UTC {
				t.Errorf("event %d is of %s, want %s", e.Seq, e.Time, s.clock.Now())
			}
			last = e
		}
		l = s.ledger(t)
	}
	mustVerify(t, l, "shop", 6)
	if got := mustHead(t, l, "shop"); got != 6 {
		t.Errorf("the head is %d, want 6", got)
	}
}

func testEventPaging(t *testing.T, s *suite) {
	l := s.ledger(t)
	for i := range 10 {
		appendFacts(t, l, "shop", buildFact(fmt.Sprintf("b-%d", i)))
	}
	for _, test := range []struct {
		after int64
		limit int
		first int64
		count int
	}{
		{0, 3, 1, 3}, {3, 3, 4, 3}, {8, 3, 9, 2}, {0, 100, 1, 10}, {9, 1, 10, 1}, {10, 5, 0, 0}, {99, 5, 0, 0}, {0, 0, 0, 0}, {-5, 2, 1, 2},
	} {
		events, err := l.Events(t.Context(), "shop", test.after, test.limit)
		must(t, err)
		if len(events) != test.count {
			t.Errorf("%d events after %d with a limit of %d, want %d", len(events), test.after, test.limit, test.count)
			continue
		}
		for i, e := range events {
			if e.Seq != test.first+int64(i) {
				t.Errorf("event %d after %d has number %d", i, test.after, e.Seq)
			}
		}
	}
}

// testEventClock sets the clock back between two events.
func testEventClock(t *testing.T, s *suite) {
	l := s.ledger(t)
	first := appendFacts(t, l, "shop", buildFact("b-1"))[0]
	s.clock.advance(-time.Hour)
	second := appendFacts(t, l, "shop", buildFact("b-2"))[0]
	if second.Time.Before(first.Time) {
		t.Errorf("event 2 is of %s, before event 1 of %s", second.Time, first.Time)
	}
	s.clock.advance(2 * time.Hour)
	if third := appendFacts(t, l, "shop", buildFact("b-3"))[0]; !third.Time.Equal(s.clock.Now()) {
		t.Errorf("event 3 is of %s, want %s", third.Time, s.clock.Now())
	}
	mustVerify(t, l, "shop", 3)
}

// testInvalidText appends what a command that prints binary leaves in an event.
func testInvalidText(t *testing.T, s *suite) {
	l := s.ledger(t)
	f := runFact("r-1", "commit", "b-1", pipeline.RunFailed)
	f.Run.Error = "step failed: \xff\xfe\x00 \xe2\x82"
	b := batch("shop", f, buildFact("b-1"))
	b.Events[0].Actor = "al\xffice"
	sealed, err := l.Append(t.Context(), b)
	must(t, err)
	events, err := l.Events(t.Context(), "shop", 0, 10)
	must(t, err)
	wantSame(t, "events", events, sealed)
	must(t, events[0].Check(1, ""))
	must(t, events[1].Check(2, events[0].Hash))
	mustVerify(t, l, "shop", 2)
}

func testBigEvent(t *testing.T, s *suite) {
	l := s.ledger(t)
	f := runFact("r-1", "capacity", "b-1", pipeline.RunPassed)
	for i := range 1000 {
		f.Run.Steps = append(f.Run.Steps, pipeline.StepResult{Name: fmt.Sprintf("step %d", i), Status: pipeline.RunPassed})
	}
	appendFacts(t, l, "shop", f)
	run, err := l.Run(t.Context(), "shop", "r-1")
	must(t, err)
	wantSame(t, "run", run, *f.Run)
	mustVerify(t, l, "shop", 1)
}

// testEndedContexts calls every method with a context that has ended: each says so
// and does nothing.
func testEndedContexts(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", buildFact("b-1"))
	lease, err := l.Acquire(t.Context(), "held", holder("alice"), time.Minute)
	must(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Append":    func() error { _, err := l.Append(ctx, batch("shop", buildFact("b-2"))); return err },
		"State":     func() error { _, err := l.State(ctx, "shop"); return err },
		"Pipelines": func() error { _, err := l.Pipelines(ctx); return err },
		"Removed":   func() error { _, err := l.Removed(ctx); return err },
		"Run":       func() error { _, err := l.Run(ctx, "shop", "r-1"); return err },
		"Runs":      func() error { _, err := l.Runs(ctx, "shop", pipeline.RunQuery{}); return err },
		"Events":    func() error { _, err := l.Events(ctx, "shop", 0, 10); return err },
		"Head":      func() error { _, err := l.Head(ctx, "shop"); return err },
		"Newest":    func() error { _, err := l.Newest(ctx, "shop"); return err },
		"Acquire":   func() error { _, err := l.Acquire(ctx, "free", holder("bob"), time.Minute); return err },
		"Renew":     func() error { _, err := l.Renew(ctx, lease, time.Hour); return err },
		"Release":   func() error { return l.Release(ctx, lease) },
		"Leases":    func() error { _, err := l.Leases(ctx); return err },
		"Verify":    func() error { _, err := l.Verify(ctx, ""); return err },
		"Purge":     func() error { return l.Purge(ctx, "shop") },
	} {
		if err := call(); pipeline.CodeOf(err) != pipeline.CodeCancelled {
			t.Errorf("%s with a cancelled context gives %v, want code %q", name, err, pipeline.CodeCancelled)
		}
	}
	leases, err := l.Leases(t.Context())
	must(t, err)
	wantSame(t, "list of leases", leases, []pipeline.Lease{lease})
	mustVerify(t, l, "shop", 1)
}
