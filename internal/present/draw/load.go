// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Loads returns the pictures of several loads, for comparison: latency over time, throughput,
// errors, and the distribution of latencies. The same kinds have the same scale. A load of an
// older version has only the last.
func Loads(reports ...pipeline.LoadReport) [][]string {
	kinds := []func(pipeline.LoadReport, pipeline.LoadLimits) Lines{latency, throughput, errorRate}
	all := make([][]string, len(reports))
	for _, kind := range kinds {
		drawn, reach, most := make([]Lines, len(reports)), 0.0, 0.0
		for i, r := range reports {
			limits := pipeline.LoadLimits{}
			if r.Limits != nil {
				limits = *r.Limits
			}
			drawn[i] = kind(r, limits)
			reach, most = max(reach, drawn[i].peak()), max(most, drawn[i].Most)
		}
		for i, r := range reports {
			if len(r.Series) > 0 {
				drawn[i].Reach, drawn[i].Most = reach, most
				all[i] = append(all[i], drawn[i].SVG())
			}
		}
	}
	for i, r := range reports {
		all[i] = append(all[i], histogram(r))
	}
	return all
}

// each returns a value for each point of a series, NaN where it had no request.
func each(r pipeline.LoadReport, value func(pipeline.LoadPoint) float64) []float64 {
	var all []float64
	for _, p := range r.Series {
		v := math.NaN()
		if p.Requests > 0 {
			v = value(p)
		}
		all = append(all, v)
	}
	return all
}

func latency(r pipeline.LoadReport, limits pipeline.LoadLimits) Lines {
	l := Lines{Title: "Latency over time", Unit: Seconds, Every: r.Every, Series: []Series{
		{"p50", each(r, func(p pipeline.LoadPoint) float64 { return p.P50.Seconds() })},
		{"p95", each(r, func(p pipeline.LoadPoint) float64 { return p.P95.Seconds() })},
		{"p99", each(r, func(p pipeline.LoadPoint) float64 { return p.P99.Seconds() })},
	}}
	for _, limit := range []struct {
		name  string
		value time.Duration
	}{{"p50", limits.P50}, {"p95", limits.P95}, {"p99", limits.P99}} {
		if limit.value > 0 {
			l.Limits = append(l.Limits, Limit{limit.name, limit.value.Seconds()})
		}
	}
	return l
}

func throughput(r pipeline.LoadReport, limits pipeline.LoadLimits) Lines {
	l := Lines{Title: "Requests per second", Unit: PerSecond, Every: r.Every}
	sent, good := Series{Name: "sent"}, Series{Name: "succeeded"}
	for _, p := range r.Series {
		sent.Values = append(sent.Values, float64(p.Requests)/r.Every.Seconds())
		good.Values = append(good.Values, float64(p.Requests-p.Errors)/r.Every.Seconds())
	}
	l.Series = []Series{sent, good}
	if limits.MinThroughput > 0 {
		l.Limits = append(l.Limits, Limit{"throughput", limits.MinThroughput})
	}
	return l
}

func errorRate(r pipeline.LoadReport, limits pipeline.LoadLimits) Lines {
	l := Lines{Title: "Errors", Unit: Percent, Every: r.Every, Series: []Series{
		{"share of requests", each(r, func(p pipeline.LoadPoint) float64 { return float64(p.Errors) / float64(p.Requests) })},
	}}
	if limits.ErrorRate > 0 {
		l.Limits, l.Most = append(l.Limits, Limit{"errors", limits.ErrorRate}), 10*limits.ErrorRate
	}
	return l
}

// histogram draws the histogram, from the first bucket that has anything to the last.
func histogram(r pipeline.LoadReport) string {
	has := func(b pipeline.LatencyBucket) bool { return b.Count > 0 }
	b := Bars{Title: "Answers by latency", Unit: Number, Axis: "at most", Whole: true}
	from := slices.IndexFunc(r.Histogram, has)
	if from < 0 {
		return b.SVG()
	}
	to := len(r.Histogram)
	for !has(r.Histogram[to-1]) {
		to--
	}
	slowest := time.Duration(0)
	if r.Limits != nil {
		slowest = cmp.Or(r.Limits.P99, r.Limits.Max)
	}
	for _, bucket := range r.Histogram[from:to] {
		b.Bars = append(b.Bars, Bar{Seconds(bucket.UpTo.Seconds()), float64(bucket.Count), slowest > 0 && bucket.UpTo > slowest})
	}
	return b.SVG()
}
