// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"maps"
	"testing"
	"time"

	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

// A build waits from when it passed the last stage above until it first runs.
func TestReadyAt(t *testing.T) {
	s := Tell(t).Route()
	st := s.Through("one").State()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const min = time.Minute
	for stage, at := range map[string]time.Duration{"commit": 1, "acceptance": 10, "exploratory": 11, "capacity": 30, "pre-production": 110} {
		key := StageBuild(stage, ID("one"))
		st.Results[key][0].EndedAt = noon.Add(at * min)
	}
	key := StageBuild("exploratory", ID("one"))
	d := st.Decisions[key]
	d.At = noon.Add(71 * min)
	st.Decisions[key] = d
	st.Promotions["production"] = Promotion{Build: ID("one"), At: noon.Add(120 * min)}
	want := map[string]time.Time{
		"commit": {}, "acceptance": noon.Add(min), "exploratory": noon.Add(10 * min), "capacity": noon.Add(10 * min),
		"pre-production": noon.Add(71 * min), "production": noon.Add(120 * min),
	}
	for name, at := range want {
		stage := st.Stages[name]
		if again := ReadyAt(st, stage, ID("one")); name != "production" && !again.IsZero() {
			t.Errorf("%s, where it ran already: %s", name, again)
		}
		first := st.Clone()
		first.Results, first.Latest = maps.Clone(st.Results), nil
		delete(first.Results, StageBuild(name, ID("one")))
		if got := ReadyAt(first, stage, ID("one")); !got.Equal(at) {
			t.Errorf("%s: %s, want %s", name, got, at)
		}
	}
	st.Overrides[StageBuild("commit", ID("other"))] = Override{At: noon}
	if got := ReadyAt(st, st.Stages["acceptance"], ID("other")); !got.Equal(noon) {
		t.Errorf("a build that was let through: %s", got)
	}
	delete(st.Overrides, StageBuild("commit", ID("other")))
	if got := ReadyAt(st, st.Stages["acceptance"], ID("other")); !got.IsZero() {
		t.Errorf("a build that has passed nothing: %s", got)
	}
}

// Waits are those of first runs, and of the decisions on them.
func TestWaits(t *testing.T) {
	st := Tell(t).Route().Through("one").State()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const min = time.Minute
	run := func(id, stage, build string, ready, from, to time.Duration) RunSummary {
		r := RunSummary{ID: id, Stage: stage, Build: build, Status: RunPassed, StartedAt: noon.Add(from), EndedAt: noon.Add(to)}
		if ready > 0 {
			r.Ready = noon.Add(ready)
		}
		return r
	}
	key := StageBuild("exploratory", ID("one"))
	d := st.Decisions[key]
	d.At = noon.Add(71 * min)
	st.Decisions[key] = d
	runs := []RunSummary{
		run("r-1", "commit", ID("one"), 0, 0, min), run("r-2", "acceptance", ID("one"), min, 3*min, 10*min),
		run(d.Run, "exploratory", ID("one"), 10*min, 10*min, 11*min), run("r-4", "capacity", ID("one"), 10*min, 12*min, 30*min),
		run("r-5", "capacity", ID("one"), 0, 3000*min, 3001*min), // it was asked for again, days later
		run("r-6", "capacity", "b-gone", 40*min, 44*min, 50*min), // of a build that was collected
	}
	want := map[string]StageWait{
		"commit": {}, "acceptance": {Start: Distribution{1, 2 * min, 2 * min}}, "exploratory": {Start: Distribution{1, 0, 0}, Decision: Distribution{1, 60 * min, 60 * min}},
		"capacity": {Start: Distribution{2, 2 * min, 4 * min}}, "pre-production": {}, "production": {},
	}
	for _, got := range WaitsOf(st, runs, noon) {
		w := want[got.Stage]
		if w.Stage = got.Stage; got != w {
			t.Errorf("%+v, want %+v", got, w)
		}
		delete(want, got.Stage)
	}
	if len(want) > 0 {
		t.Errorf("there is nothing of %v", want)
	}
	for _, got := range WaitsOf(st, runs, noon.Add(100*time.Hour)) {
		if got.Start.Count+got.Decision.Count > 0 {
			t.Errorf("of later: %+v", got)
		}
	}
}
