// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"testing"
	"time"
)

// A build waits from when the last stage before it let it go until it runs, and then for
// whoever decides.
func TestWaits(t *testing.T) {
	st := tell(t).route().through("one").state()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ran := func(stage string, from, to time.Duration) {
		key := StageBuild(stage, id("one"))
		v := st.Verdicts[key][0]
		v.StartedAt, v.EndedAt = noon.Add(from), noon.Add(to)
		st.Verdicts[key] = []RunSummary{v}
	}
	const min = time.Minute
	ran("commit", 0, min)
	ran("acceptance", 3*min, 10*min)
	ran("exploratory", 10*min, 11*min)
	ran("capacity", 12*min, 30*min)
	ran("pre-production", 100*min, 110*min)
	d := st.Decisions[StageBuild("exploratory", id("one"))]
	d.At = noon.Add(71 * min)
	st.Decisions[StageBuild("exploratory", id("one"))] = d

	one := func(d time.Duration) Spread { return Spread{1, d, d} }
	want := map[string]StageWait{
		"commit": {}, "acceptance": {Start: one(2 * min)}, "exploratory": {Decision: one(60 * min)}, "capacity": {Start: one(2 * min)},
		"pre-production": {Start: one(29 * min)}, "production": {},
	}
	for _, got := range st.Waits(noon) {
		w := want[got.Stage]
		if w.Stage = got.Stage; got != w {
			t.Errorf("%+v, want %+v", got, w)
		}
		delete(want, got.Stage)
	}
	if len(want) > 0 {
		t.Errorf("there is nothing of %v", want)
	}
	for _, got := range st.Waits(noon.Add(5 * time.Hour)) {
		if got.Start.Count+got.Decision.Count > 0 {
			t.Errorf("of later: %+v", got)
		}
	}
}
