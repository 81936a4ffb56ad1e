// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package ledgertest is the conformance suite of pipeline.Ledger: what every implementation
// must do, tested through the port alone. What only one of them can do (damage, crashes, file
// modes) is tested beside it.
//
//	func TestConformance(t *testing.T) {
//		ledgertest.Run(t, ledgertest.Backend{New: func(t testing.TB) ledgertest.Opener {
//			path := filepath.Join(t.TempDir(), "ledger.db")
//			return func(t testing.TB, o ledgertest.Options) (pipeline.Ledger, error) {
//				return ledger.Open(t.Context(), path, ledger.Options{Now: o.Now, Dead: o.Dead})
//			}
//		}})
//	}
package ledgertest

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Options are those of a ledger that the suite opens. Nil fields have the
// implementation's defaults.
type Options struct {
	Now  func() time.Time
	Dead func(pipeline.Process) bool
}

// Opener opens a ledger on one store. The suite calls it several times: for what
// several processes would do, and to see what is left after a Close.
type Opener func(t testing.TB, o Options) (pipeline.Ledger, error)

// Backend is an implementation under test.
type Backend struct {
	New      func(t testing.TB) Opener // makes an empty store, which goes with the test
	MaxBatch int                       // events that one Append takes at least; 0 means 20
	MaxRuns  int                       // runs that the store bears in a test; 0 means 100,000 or, with -short, fewer
}

// Run tests an implementation.
func Run(t *testing.T, b Backend) {
	if b.MaxBatch == 0 {
		b.MaxBatch = 20
	}
	for _, group := range []struct {
		name  string
		tests map[string]func(*testing.T, *suite)
	}{
		{"Append", appendTests()},
		{"Events", eventTests()},
		{"Runs", runTests()},
		{"Leases", leaseTests()},
		{"Concurrency", concurrencyTests()},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for name, test := range group.tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, &suite{open: b.New(t), maxBatch: b.MaxBatch, maxRuns: b.MaxRuns, clock: newClock()})
				})
			}
		})
	}
}

// suite is one test's store.
type suite struct {
	open     Opener
	maxBatch int
	maxRuns  int // 0 means any number
	clock    *clock
}

// ledger opens the store, with the test's clock, until the test ends.
func (s *suite) ledger(t testing.TB) pipeline.Ledger {
	t.Helper()
	return s.ledgerWith(t, Options{Now: s.clock.Now})
}

func (s *suite) ledgerWith(t testing.TB, o Options) pipeline.Ledger {
	t.Helper()
	l, err := s.open(t, o)
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close ledger: %v", err)
		}
	})
	return l
}

// clock is a clock that does not move until it is set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// wantCode ends the test unless err has the code.
func wantCode(t testing.TB, err error, code pipeline.Code) {
	t.Helper()
	if got := pipeline.CodeOf(err); got != code {
		t.Fatalf("error %v has code %q, want %q", err, got, code)
	}
}

// wantSame compares two values by their JSON.
func wantSame(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := encode(t, got), encode(t, want); g != w {
		t.Fatalf("%s is\n%s\nwant\n%s", what, g, w)
	}
}

func encode(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return string(data)
}

// appendFacts appends one event for each of the facts, in one batch.
func appendFacts(t testing.TB, l pipeline.Ledger, name string, facts ...pipeline.Facts) []pipeline.Event {
	t.Helper()
	sealed, err := l.Append(t.Context(), batch(name, facts...))
	must(t, err)
	return sealed
}

func batch(name string, facts ...pipeline.Facts) pipeline.Batch {
	b := pipeline.Batch{Pipeline: name}
	for _, f := range facts {
		b.Events = append(b.Events, pipeline.Event{Kind: factRecorded, Actor: "alice", Facts: f})
	}
	return b
}

func buildFact(id string) pipeline.Facts {
	return pipeline.Facts{Build: &pipeline.Build{ID: id, Stage: "commit"}}
}

func buildKey(id string) pipeline.Key { return pipeline.Key{Kind: pipeline.RecordBuild, ID: id} }

func runFact(id, stage, build string, status pipeline.RunStatus) pipeline.Facts {
	return pipeline.Facts{Run: &pipeline.Run{
		ID: id, Stage: stage, Kind: pipeline.KindStage, Build: build, Digest: "d-1", Status: status, Actor: "alice",
		Steps: []pipeline.StepResult{{Name: "unit tests", Status: status, Duration: time.Second, Attempts: 1}},
	}}
}

func mustState(t testing.TB, l pipeline.Reader, name string) *pipeline.State {
	t.Helper()
	st, err := l.State(t.Context(), name)
	must(t, err)
	return st
}

func mustHead(t testing.TB, l pipeline.Reader, name string) int64 {
	t.Helper()
	head, err := l.Head(t.Context(), name)
	must(t, err)
	return head
}

// mustVerify checks chain and view, that the number of events is right, and of one
// pipeline which event is the newest.
func mustVerify(t testing.TB, l pipeline.Ledger, name string, events int64) {
	t.Helper()
	n, err := l.Verify(t.Context(), name)
	must(t, err)
	if n != events {
		t.Fatalf("Verify reports %d events, want %d", n, events)
	}
	if name == "" {
		return
	}
	all, err := l.Events(t.Context(), name, 0, int(events)+1)
	must(t, err)
	var want pipeline.Anchor
	if len(all) > 0 {
		want = all[len(all)-1].Anchor()
	}
	if newest, err := l.Newest(t.Context(), name); err != nil || newest != want {
		t.Fatalf("the newest event is %v, %v, want %v", newest, err, want)
	}
	CheckView(t, l, name)
}
