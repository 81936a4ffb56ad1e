// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"slices"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestWindowsOf(t *testing.T) {
	for planned, want := range map[time.Duration]struct {
		length time.Duration
		n      int
	}{
		50 * time.Millisecond: {100 * time.Millisecond, 1},
		6 * time.Second:       {100 * time.Millisecond, 60},
		7 * time.Second:       {200 * time.Millisecond, 35},
		time.Minute:           {time.Second, 60},
		10 * time.Minute:      {10 * time.Second, 60},
		time.Hour:             {time.Minute, 60},
		1000 * time.Hour:      {32 * time.Hour, 32},
	} {
		if length, n := windowsOf(planned); length != want.length || n != want.n {
			t.Errorf("%v is cut into %d of %v, want %d of %v", planned, n, length, want.n, want.length)
		}
	}
}

// Each answer counts when its request was sent, and shares of several machines add up to
// what one would have counted.
func TestSeries(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	answer := func(at, latency time.Duration, fault string) *vegeta.Result {
		return &vegeta.Result{Timestamp: start.Add(at), Latency: latency, Code: 200, Error: fault}
	}
	answers := []*vegeta.Result{
		answer(0, 10*time.Millisecond, ""), answer(999*time.Millisecond, 30*time.Millisecond, ""),
		answer(time.Second, 500*time.Millisecond, "500 Internal Server Error"),
		answer(3*time.Second, 20*time.Millisecond, ""),
		answer(2*time.Minute, 20*time.Millisecond, ""), // late: it counts with the last
	}
	one, parts := newTally(time.Minute), []*tally{newTally(time.Minute), newTally(time.Minute)}
	one.Start, parts[0].Start, parts[1].Start = start, start, start
	for i, a := range answers {
		one.add(a)
		parts[i%2].add(a)
	}
	all := newTally(time.Minute)
	for _, p := range parts {
		all.merge(p)
	}
	every, points := one.series()
	if _, merged := all.series(); every != time.Second || len(points) != 60 || !slices.Equal(points, merged) {
		t.Fatalf("every %v: %+v, of two machines %+v", every, points, merged)
	}
	near := func(got, want time.Duration) bool { return (got - want).Abs() <= want/500 }
	if p := points[0]; p.Requests != 2 || p.Errors != 0 || !near(p.P50, 10*time.Millisecond) || !near(p.P99, 30*time.Millisecond) {
		t.Errorf("the first second: %+v", p)
	}
	if p := points[1]; p.Requests != 1 || p.Errors != 1 || !near(p.P50, 500*time.Millisecond) {
		t.Errorf("the second: %+v", p)
	}
	if points[2] != (pipeline.LoadPoint{}) || points[3].Requests != 1 || points[59].Requests != 1 {
		t.Errorf("the rest: %+v", points[2:])
	}
}
