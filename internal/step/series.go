// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// maxWindows is the largest number of parts into which a load's time is divided. A report of as
// many takes about 6 KiB.
const maxWindows = 60

// window counts the requests that were sent in one part of a load's time.
type window struct {
	Requests  int64     `json:"requests"`
	Errors    int64     `json:"errors"`
	Latencies histogram `json:"latencies"`
}

// windowsOf cuts a load's time into parts of a round length: the length, and how many.
func windowsOf(planned time.Duration) (length time.Duration, n int) {
	length = 100 * time.Millisecond
	for _, step := range []time.Duration{1, 2, 5, 10, 20, 50, 100, 300, 600, 1200, 3000, 6000, 18000, 36000} {
		if length = step * 100 * time.Millisecond; planned <= maxWindows*length {
			break
		}
	}
	for planned > maxWindows*length {
		length *= 2
	}
	return length, max(int((planned+length-1)/length), 1)
}

// newWindows makes the windows of a load.
func newWindows(planned time.Duration) []window {
	_, n := windowsOf(planned)
	all := make([]window, n)
	for i := range all {
		all[i].Latencies = histogram{}
	}
	return all
}

// window returns the one in which a request was sent.
func (t *tally) window(r *vegeta.Result) *window {
	length, n := windowsOf(t.Planned)
	if t.Start.IsZero() {
		t.Start = r.Timestamp
	}
	i := int(r.Timestamp.Sub(t.Start) / length)
	return &t.Windows[min(max(i, 0), n-1)]
}

func (w *window) add(r *vegeta.Result) {
	w.Requests++
	w.Latencies.add(r.Latency)
	if r.Error != "" {
		w.Errors++
	}
}

// merge adds what another machine counted in the same part of its time: they begin
// together.
func (w *window) merge(o window) {
	w.Requests += o.Requests
	w.Errors += o.Errors
	for slot, n := range o.Latencies {
		w.Latencies[slot] += n
	}
}

// series returns how the load went over time. It ends with the last request.
func (t *tally) series() (every time.Duration, points []pipeline.LoadPoint) {
	every, _ = windowsOf(t.Planned)
	sent := 0
	for i, w := range t.Windows {
		p := pipeline.LoadPoint{Requests: w.Requests, Errors: w.Errors}
		if w.Requests > 0 {
			p.P50, p.P95, p.P99 = t.shown(w, 0.50), t.shown(w, 0.95), t.shown(w, 0.99)
			sent = i + 1
		}
		points = append(points, p)
	}
	return every, points[:sent]
}

// shown returns a quantile of a window, never above what was measured.
func (t *tally) shown(w window, q float64) time.Duration {
	return min(w.Latencies.quantile(q), t.Counts.Max).Round(time.Microsecond)
}

// limitsOf returns what a load was to meet.
func limitsOf(l pipeline.Load) *pipeline.LoadLimits {
	return &pipeline.LoadLimits{
		Rate: l.Rate, P50: l.P50, P95: l.P95, P99: l.P99, Max: l.Max, ErrorRate: l.ErrorRate, MinThroughput: l.MinThroughput,
	}
}
