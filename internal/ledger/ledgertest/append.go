// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func appendTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"empty":                testEmpty,
		"every fact":           testEveryFact,
		"step by step":         testStepByStep,
		"gone":                 testGone,
		"order":                testOrder,
		"numbers":              testNumbers,
		"caller's values":      testCallersValues,
		"versions":             testVersions,
		"expect":               testExpect,
		"all or nothing":       testAtomic,
		"pipelines":            testPipelines,
		"independent":          testIndependent,
		"purge":                testPurge,
		"no pipeline":          testNoPipeline,
		"batch without events": testNoEvents,
		"sealed elsewhere":     testSealed,
	}
}

func testEmpty(t *testing.T, s *suite) {
	l := s.ledger(t)
	st := mustState(t, l, "shop")
	if st.Exists() || len(st.Keys()) != 0 || st.Version(pipeline.RecordPipeline, "shop") != 0 {
		t.Errorf("a pipeline without events has the state %+v", st)
	}
	events, err := l.Events(t.Context(), "shop", 0, 10)
	must(t, err)
	page, err := l.Runs(t.Context(), "shop", pipeline.RunQuery{})
	must(t, err)
	names, err := l.Pipelines(t.Context())
	must(t, err)
	leases, err := l.Leases(t.Context())
	must(t, err)
	if len(events)+len(page.Runs)+len(names)+len(leases) != 0 || page.Next != "" || mustHead(t, l, "shop") != 0 {
		t.Errorf("an empty ledger has events %v, runs %v, pipelines %v, leases %v", events, page, names, leases)
	}
	_, err = l.Run(t.Context(), "shop", "r-1")
	wantCode(t, err, pipeline.CodeNotFound)
	mustVerify(t, l, "shop", 0)
	mustVerify(t, l, "", 0)
}

func testEveryFact(t *testing.T, s *suite) {
	facts := everyFact(t)
	l := s.ledger(t)
	sealed := appendFacts(t, l, "shop", facts...)
	for i, e := range sealed {
		if e.Seq != int64(i+1) || e.Pipeline != "shop" || e.Actor != "alice" || e.Hash == "" {
			t.Errorf("event %d was sealed as %+v", i+1, e)
		}
		wantSame(t, "sealed facts", e.Facts, facts[i])
	}
	check := func(l pipeline.Ledger) {
		events, err := l.Events(t.Context(), "shop", 0, 100)
		must(t, err)
		wantSame(t, "events", events, sealed)
		for _, f := range facts {
			checkFact(t, l, f)
		}
		mustVerify(t, l, "shop", int64(len(facts)))
	}
	check(l)
	check(s.ledger(t)) // another process
}

// testStepByStep reads the state after each event: a ledger may make it of the one before.
func testStepByStep(t *testing.T, s *suite) {
	l := s.ledger(t)
	facts := everyFact(t)
	for range 2 { // they come, and are written again
		for _, f := range facts {
			appendFacts(t, l, "shop", f)
			CheckView(t, l, "shop")
		}
	}
	before := mustState(t, l, "shop")
	keys := before.Keys()
	for _, key := range keys {
		appendFacts(t, l, "shop", pipeline.Facts{Gone: []pipeline.Key{key}})
		CheckView(t, l, "shop")
	}
	wantSame(t, "the keys of a state that was read before", before.Keys(), keys)
	if left := mustState(t, l, "shop").Keys(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// checkFact checks that the ledger's state has a fact as it was appended, as the only record
// of its type. The ledger must return a run itself, and the state must have its consequences.
func checkFact(t *testing.T, l pipeline.Ledger, f pipeline.Facts) {
	t.Helper()
	st := mustState(t, l, "shop")
	if f.Ended != nil {
		return // the event's own: the state has nothing of what ended
	}
	if f.Run != nil {
		run, err := l.Run(t.Context(), "shop", f.Run.ID)
		must(t, err)
		wantSame(t, "run", run, *f.Run)
		page, err := l.Runs(t.Context(), "shop", pipeline.RunQuery{})
		must(t, err)
		summary := f.Run.Summary()
		wantSame(t, "page of runs", page.Runs, []pipeline.RunSummary{summary})
		wantSame(t, "latest run", st.Latest[summary.Stage], summary)
		summary.Phase, summary.Made, summary.Step, summary.Committed, summary.Order, summary.Ready, summary.Backup = pipeline.PhaseDone, pipeline.Inputs{}, "", time.Time{}, 0, time.Time{}, ""
		wantSame(t, "results", st.Results[pipeline.StageBuild(summary.Stage, summary.Build)], []pipeline.RunSummary{summary})
		return
	}
	want := theFact(f)
	var kept []any
	for _, field := range reflect.ValueOf(*st).Fields() {
		switch {
		case field.Type() == want.Type():
			kept = append(kept, field.Interface())
		case field.Kind() == reflect.Map && field.Type().Elem() == want.Type():
			for _, v := range field.Seq2() {
				kept = append(kept, v.Interface())
			}
		}
	}
	wantSame(t, "what the state keeps as "+want.Type().String(), kept, []any{want.Interface()})
}

func testGone(t *testing.T, s *suite) {
	l := s.ledger(t)
	facts := everyFact(t)
	appendFacts(t, l, "shop", facts...)
	keys := mustState(t, l, "shop").Keys()
	if len(keys) < len(facts) {
		t.Fatalf("the state has only the records %v", keys)
	}
	var run string
	for _, f := range facts {
		if f.Run != nil {
			run = f.Run.ID
		}
	}
	keys = append(keys, pipeline.Key{Kind: pipeline.RecordRun, ID: run}, buildKey("never there"))
	appendFacts(t, l, "shop", pipeline.Facts{Gone: keys})
	for _, l := range []pipeline.Ledger{l, s.ledger(t)} {
		if left := mustState(t, l, "shop").Keys(); len(left) != 0 {
			t.Errorf("records %v are left", left)
		}
		_, err := l.Run(t.Context(), "shop", run)
		wantCode(t, err, pipeline.CodeNotFound)
		mustVerify(t, l, "shop", int64(len(facts)+1))
	}
	// An event that also removes what it sets removes it; what it removes can come back
	// later.
	b := buildFact("b-1")
	b.Gone = []pipeline.Key{buildKey("b-1")}
	appendFacts(t, l, "shop", b)
	if left := mustState(t, l, "shop").Keys(); len(left) != 0 {
		t.Errorf("records %v are left", left)
	}
	appendFacts(t, l, "shop", buildFact("b-1"))
	if v := mustState(t, l, "shop").Version(pipeline.RecordBuild, "b-1"); v != int64(len(facts)+3) {
		t.Errorf("the record that came back has version %d", v)
	}
}

// testNumbers has builds offered, recorded again, collected and offered anew, alone and
// together: each gets the next number, and keeps it.
func testNumbers(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop"}}, buildFact("b-1"), buildFact("b-2"))
	b := mustState(t, l, "shop").Builds["b-1"]
	b.Order, b.Image = 0, "i-1" // it becomes the newest, and has an image
	appendFacts(t, l, "shop", pipeline.Facts{Build: &b})
	appendFacts(t, l, "shop", pipeline.Facts{Gone: []pipeline.Key{buildKey("b-2")}})
	l = s.ledger(t) // another process
	broken := buildFact("b-3")
	broken.Build.Revision.Message = "caf\xe9" // which is replaced, so that the event is sealed twice
	appendFacts(t, l, "shop", broken, runFact("r-1", "commit", "b-3", pipeline.RunPassed))
	appendFacts(t, l, "shop", buildFact("b-2"))
	appendFacts(t, l, "other", buildFact("b-1"))
	for _, l := range []pipeline.Ledger{l, s.ledger(t)} {
		st := mustState(t, l, "shop")
		for id, want := range map[string]int64{"b-1": 1, "b-3": 3, "b-2": 4} {
			if got := st.Builds[id].Number; got != want {
				t.Errorf("build %s has number %d, want %d", id, got, want)
			}
		}
		if got := mustState(t, l, "other").Builds["b-1"].Number; got != 1 {
			t.Errorf("the first build of another pipeline has number %d", got)
		}
		mustVerify(t, l, "shop", 8)
	}
}

// testSealed appends events that another ledger sealed.
func testSealed(t *testing.T, s *suite) {
	var sealed []pipeline.Event
	last := pipeline.Event{}
	for _, f := range everyFact(t) {
		e := pipeline.Event{Pipeline: "shop", Kind: factRecorded, Actor: "bob", Facts: f}
		must(t, e.Seal(last, s.clock.Now().Add(-time.Hour)))
		sealed, last = append(sealed, e), e
	}
	l := s.ledger(t)
	put := func(events ...pipeline.Event) error {
		got, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: events, Sealed: true})
		if err == nil {
			wantSame(t, "sealed events", got, events)
		}
		return err
	}
	changed := sealed[0]
	changed.Actor = "eve"
	wantCode(t, put(changed), pipeline.CodeCorrupt)
	wantCode(t, put(sealed[1]), pipeline.CodeConflict)
	uncounted := pipeline.Event{Pipeline: "shop", Kind: factRecorded, Actor: "bob", Facts: sealed[0].Facts}
	must(t, uncounted.Seal(pipeline.Event{Builds: 7}, s.clock.Now()))
	wantCode(t, put(uncounted), pipeline.CodeCorrupt)
	if head, err := l.Head(t.Context(), "shop"); err != nil || head != 0 {
		t.Fatalf("what was refused is there: %d, %v", head, err)
	}
	for _, e := range sealed {
		must(t, put(e))
	}
	wantCode(t, put(sealed[len(sealed)-1]), pipeline.CodeConflict)
	for _, l := range []pipeline.Ledger{l, s.ledger(t)} {
		events, err := l.Events(t.Context(), "shop", 0, 100)
		must(t, err)
		wantSame(t, "events", events, sealed)
		for _, e := range sealed {
			checkFact(t, l, e.Facts)
		}
		mustVerify(t, l, "shop", int64(len(sealed)))
	}
	appendFacts(t, l, "shop", buildFact("b-next"))
	mustVerify(t, l, "shop", int64(len(sealed)+1))
}

func testOrder(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop"}}, buildFact("b-1"),
		pipeline.Facts{Image: &pipeline.Image{ID: "img-1"}})
	kept := buildFact("b-2")
	kept.Build.Order = 77
	appendFacts(t, l, "shop", kept)
	st := mustState(t, l, "shop")
	if st.Builds["b-1"].Order != 2 || st.Images["img-1"].Order != 3 || st.Builds["b-2"].Order != 77 {
		t.Errorf("the orders are %d, %d and %d, want the events' numbers 2 and 3, and 77 as it was set",
			st.Builds["b-1"].Order, st.Images["img-1"].Order, st.Builds["b-2"].Order)
	}
}

func testCallersValues(t *testing.T, s *suite) {
	l := s.ledger(t)
	b := batch("shop", buildFact("b-1"), runFact("r-1", "commit", "b-1", pipeline.RunFailed))
	b.Events[1].Facts.Run.Error = "not \xff UTF-8"
	before := encode(t, b.Events)
	sealed, err := l.Append(t.Context(), b)
	must(t, err)
	if encode(t, b.Events) != before || b.Events[1].Facts.Run.Error != "not \xff UTF-8" {
		t.Error("Append has changed the caller's events")
	}
	sealed[0].Facts.Build.ID = "changed"
	if _, ok := mustState(t, l, "shop").Builds["b-1"]; !ok {
		t.Error("a change of a sealed event has changed the ledger")
	}
}

func testVersions(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", buildFact("b-1"), buildFact("b-2"))
	appendFacts(t, l, "shop", buildFact("b-3"), buildFact("b-1"))
	st := mustState(t, l, "shop")
	for id, want := range map[string]int64{"b-1": 4, "b-2": 2, "b-3": 3, "b-4": 0} {
		if got := st.Version(pipeline.RecordBuild, id); got != want {
			t.Errorf("build %s has version %d, want %d", id, got, want)
		}
	}
}

func testExpect(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", buildFact("b-1"), buildFact("b-2"), runFact("r-1", "commit", "b-1", pipeline.RunRunning))
	appendFacts(t, l, "shop", buildFact("b-1"), pipeline.Facts{Gone: []pipeline.Key{buildKey("b-2")}}) // events 4 and 5
	run := func(id string) pipeline.Key { return pipeline.Key{Kind: pipeline.RecordRun, ID: id} }
	for _, test := range []struct {
		name   string
		expect map[pipeline.Key]int64
		stale  string // the record that the conflict names
	}{
		{"current", map[pipeline.Key]int64{buildKey("b-1"): 4, buildKey("b-2"): 0, buildKey("b-9"): 0, run("r-1"): 3, run("r-9"): 0}, ""},
		{"changed", map[pipeline.Key]int64{buildKey("b-1"): 1}, "b-1"},
		{"exists", map[pipeline.Key]int64{buildKey("b-1"): 0}, "b-1"},
		{"gone", map[pipeline.Key]int64{buildKey("b-2"): 2}, "b-2"},
		{"never was", map[pipeline.Key]int64{buildKey("b-9"): 1}, "b-9"},
		{"changed run", map[pipeline.Key]int64{run("r-1"): 2}, "r-1"},
		{"run exists", map[pipeline.Key]int64{run("r-1"): 0}, "r-1"},
		{"one of several", map[pipeline.Key]int64{buildKey("b-1"): 4, buildKey("b-2"): 0, run("r-1"): 1}, "r-1"},
		{"same ID of another kind", map[pipeline.Key]int64{{Kind: pipeline.RecordImage, ID: "b-1"}: 4}, "b-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := batch("shop", pipeline.Facts{Current: &pipeline.Current{Stage: test.name}})
			b.Expect = test.expect
			_, err := l.Append(t.Context(), b)
			if test.stale == "" {
				must(t, err)
				return
			}
			wantCode(t, err, pipeline.CodeConflict)
			if !strings.Contains(err.Error(), test.stale) {
				t.Errorf("the error %q does not name %s", err, test.stale)
			}
			if _, written := mustState(t, l, "shop").Current[test.name]; written {
				t.Error("the batch was written in spite of the conflict")
			}
		})
	}
	// The expectation is of the records before the batch.
	b := batch("shop", buildFact("b-5"), buildFact("b-5"))
	b.Expect = map[pipeline.Key]int64{buildKey("b-5"): 0}
	_, err := l.Append(t.Context(), b)
	must(t, err)
}

func testAtomic(t *testing.T, s *suite) {
	l := s.ledger(t)
	appendFacts(t, l, "shop", buildFact("b-1"))
	before := mustState(t, l, "shop")

	events := []pipeline.Facts{
		{Gone: []pipeline.Key{buildKey("b-1")}}, buildFact("b-2"),
		runFact("r-1", "commit", "b-2", pipeline.RunPassed), {Current: &pipeline.Current{Stage: "commit", Build: "b-2"}},
	}
	conflicting := batch("shop", events...)
	conflicting.Expect = map[pipeline.Key]int64{buildKey("b-1"): 1, buildKey("b-2"): 3}
	_, err := l.Append(t.Context(), conflicting)
	wantCode(t, err, pipeline.CodeConflict)

	unencodable := runFact("r-2", "capacity", "b-2", pipeline.RunPassed)
	unencodable.Run.Steps[0].Load = &pipeline.LoadReport{Rate: math.NaN()}
	_, err = l.Append(t.Context(), batch("shop", append(events, unencodable)...))
	wantCode(t, err, pipeline.CodeInvalid)

	fenced := batch("shop", events...)
	fenced.Fence = &pipeline.Lease{Key: "shop/stage/commit", Token: 1}
	_, err = l.Append(t.Context(), fenced)
	wantCode(t, err, pipeline.CodeLeaseLost)

	if after := mustState(t, l, "shop"); !reflect.DeepEqual(after, before) {
		t.Errorf("batches that failed have changed the state from %+v to %+v", before, after)
	}
	mustVerify(t, l, "shop", 1)
}

func testPipelines(t *testing.T, s *suite) {
	l := s.ledger(t)
	defined := []string{"shop", "Shop", "blog-2", "ä", "a b/c%d'\"?"}
	for _, name := range defined {
		appendFacts(t, l, name, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: name}})
	}
	appendFacts(t, l, "undefined", buildFact("b-1"))
	appendFacts(t, l, "removed", pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "removed"}})
	appendFacts(t, l, "removed", pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordPipeline, ID: "removed"}}})
	names, err := l.Pipelines(t.Context())
	must(t, err)
	slices.Sort(defined)
	wantSame(t, "list of pipelines", names, defined)
	for _, name := range defined {
		if !mustState(t, l, name).Exists() {
			t.Errorf("pipeline %q does not exist", name)
		}
	}
	mustVerify(t, l, "", int64(len(defined)+3))
}

func testIndependent(t *testing.T, s *suite) {
	l := s.ledger(t)
	for i, name := range []string{"shop", "blog"} {
		run := runFact("r-1", "commit", "b-1", pipeline.RunPassed)
		run.Run.Pipeline = name
		appendFacts(t, l, name, buildFact("b-1"), run)
		if i == 1 {
			appendFacts(t, l, name, pipeline.Facts{Gone: []pipeline.Key{buildKey("b-1")}})
		}
	}
	if got := mustHead(t, l, "shop"); got != 2 {
		t.Errorf("shop's head is %d, want 2", got)
	}
	if _, ok := mustState(t, l, "shop").Builds["b-1"]; !ok {
		t.Error("a removal in one pipeline has removed a record of another")
	}
	for _, name := range []string{"shop", "blog"} {
		run, err := l.Run(t.Context(), name, "r-1")
		must(t, err)
		if run.Pipeline != name {
			t.Errorf("the run of %s is one of %s", name, run.Pipeline)
		}
		if got := len(allRuns(t, l, name, pipeline.RunQuery{})); got != 1 {
			t.Errorf("%s has %d runs, want 1", name, got)
		}
	}
	_, err := l.Run(t.Context(), "", "r-1")
	must(t, err)
	_, err = l.Run(t.Context(), "news", "r-1")
	wantCode(t, err, pipeline.CodeNotFound)
	mustVerify(t, l, "shop", 2)
	mustVerify(t, l, "blog", 3)
}

func testPurge(t *testing.T, s *suite) {
	l := s.ledger(t)
	for _, name := range []string{"shop", "blog"} {
		appendFacts(t, l, name, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: name}}, buildFact("b-1"),
			runFact("r-"+name, "commit", "b-1", pipeline.RunPassed))
	}
	wantCode(t, l.Purge(t.Context(), "shop"), pipeline.CodeConflict)
	mustVerify(t, l, "shop", 3)

	wantRemoved := func(want ...string) {
		t.Helper()
		removed, err := l.Removed(t.Context())
		must(t, err)
		wantSame(t, "removed pipelines", append([]string{}, removed...), append([]string{}, want...))
	}
	wantRemoved()
	appendFacts(t, l, "shop", pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordPipeline, ID: "shop"}}})
	wantRemoved("shop")
	must(t, l.Purge(t.Context(), "shop"))
	wantRemoved()
	must(t, l.Purge(t.Context(), "shop"))
	must(t, l.Purge(t.Context(), "never there"))
	if keys := mustState(t, l, "shop").Keys(); len(keys) != 0 || mustHead(t, l, "shop") != 0 {
		t.Errorf("records %v are left, and the head is %d", keys, mustHead(t, l, "shop"))
	}
	_, err := l.Run(t.Context(), "", "r-shop")
	wantCode(t, err, pipeline.CodeNotFound)
	mustVerify(t, l, "shop", 0)
	mustVerify(t, l, "blog", 3)

	if e := appendFacts(t, l, "shop", buildFact("b-1"))[0]; e.Seq != 1 || e.Prev != "" {
		t.Errorf("the first event after a purge is number %d after %q", e.Seq, e.Prev)
	}
	mustVerify(t, l, "shop", 1)
}

func testNoPipeline(t *testing.T, s *suite) {
	_, err := s.ledger(t).Append(t.Context(), batch("", buildFact("b-1")))
	wantCode(t, err, pipeline.CodeInvalid)
}

func testNoEvents(t *testing.T, s *suite) {
	l := s.ledger(t)
	b := pipeline.Batch{Pipeline: "shop", Expect: map[pipeline.Key]int64{buildKey("b-1"): 0}}
	sealed, err := l.Append(t.Context(), b)
	must(t, err)
	if len(sealed) != 0 {
		t.Errorf("a batch without events was sealed as %v", sealed)
	}
	b.Expect[buildKey("b-1")] = 1
	_, err = l.Append(t.Context(), b)
	wantCode(t, err, pipeline.CodeConflict)
	mustVerify(t, l, "shop", 0)
}
