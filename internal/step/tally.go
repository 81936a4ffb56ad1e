// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// maxFaults is how many distinct faults a report names.
const maxFaults = 10

// tally adds up the answers to a load, in memory that does not grow with their
// number. Those of several machines add up to what one would have counted.
type tally struct {
	Planned   time.Duration       `json:"planned"` // of the load
	Begun     time.Time           `json:"begun"`   // of the first request
	End       time.Time           `json:"end"`     // of the last answer
	Good      int64               `json:"good"`
	Total     time.Duration       `json:"total"` // of all latencies
	Latencies histogram           `json:"latencies"`
	Start     time.Time           `json:"start"`   // of the load; zero: the first answer's request
	Windows   []window            `json:"windows"` // of the load's time
	Counts    pipeline.LoadReport `json:"counts"`  // requests, errors, max, histogram, statuses, faults
}

func newTally(planned time.Duration) *tally {
	t := &tally{Planned: planned, Latencies: histogram{}, Windows: newWindows(planned), Counts: pipeline.LoadReport{Statuses: map[string]int64{}}}
	for _, bound := range bounds() {
		t.Counts.Histogram = append(t.Counts.Histogram, pipeline.LatencyBucket{UpTo: bound})
	}
	return t
}

// bounds returns the histogram's: 1, 2 and 5 in each power of ten, from the fastest
// answer of a local service to beyond the time-out of a request. They are fixed,
// so that two reports can be compared.
func bounds() []time.Duration {
	var all []time.Duration
	for unit := 100 * time.Microsecond; unit <= 10*time.Second; unit *= 10 {
		all = append(all, unit, 2*unit, 5*unit)
	}
	return all
}

// add counts one answer. It is good with a status of 200 to 399.
func (t *tally) add(r *vegeta.Result) {
	c := &t.Counts
	c.Requests++
	c.Statuses[strconv.Itoa(int(r.Code))]++
	c.Max = max(c.Max, r.Latency)
	t.Total += r.Latency
	t.Latencies.add(r.Latency)
	t.window(r).add(r)
	i, _ := slices.BinarySearchFunc(c.Histogram, r.Latency, func(b pipeline.LatencyBucket, d time.Duration) int {
		return cmp.Compare(b.UpTo, d)
	})
	c.Histogram[min(i, len(c.Histogram)-1)].Count++
	t.stretch(r.Timestamp, r.End())
	if r.Error == "" {
		t.Good++
		return
	}
	c.Errors++
	t.fault(fault(r.Error))
}

// merge adds what another machine counted.
func (t *tally) merge(o *tally) {
	c := &t.Counts
	c.Requests += o.Counts.Requests
	c.Errors += o.Counts.Errors
	c.Max = max(c.Max, o.Counts.Max)
	if o.Counts.Ramp != nil {
		sum := *o.Counts.Ramp
		if c.Ramp != nil {
			sum.Requests, sum.Errors = sum.Requests+c.Ramp.Requests, sum.Errors+c.Ramp.Errors
		}
		c.Ramp = &sum
	}
	t.Good += o.Good
	t.Total += o.Total
	for slot, n := range o.Latencies {
		t.Latencies[slot] += n
	}
	for i, w := range o.Windows {
		t.Windows[i].merge(w)
	}
	for status, n := range o.Counts.Statuses {
		c.Statuses[status] += n
	}
	for i, b := range o.Counts.Histogram {
		c.Histogram[i].Count += b.Count
	}
	for _, text := range o.Counts.Faults {
		t.fault(text)
	}
	if o.Counts.Requests > 0 {
		t.stretch(o.Begun, o.End)
	}
}

// stretch takes in the time of an answer.
func (t *tally) stretch(begun, end time.Time) {
	if t.Begun.IsZero() || begun.Before(t.Begun) {
		t.Begun = begun
	}
	if end.After(t.End) {
		t.End = end
	}
}

func (t *tally) fault(text string) {
	if c := &t.Counts; len(c.Faults) < maxFaults && !slices.Contains(c.Faults, text) {
		c.Faults = append(c.Faults, text)
	}
}

var (
	requestOf = regexp.MustCompile(`^[A-Z][a-z]+ "[^"]*": `)
	ownPort   = regexp.MustCompile(`\S+->`)
)

// fault returns an error's text without what differs from one connection to the
// next: the request's URL and this side's port.
func fault(text string) string {
	text = ownPort.ReplaceAllString(requestOf.ReplaceAllString(text, ""), "")
	return present.Cut(present.Text(text), shownWidth)
}

// elapsed is how long the load took: as long as it was to, or longer where
// answers were late.
func (t *tally) elapsed() time.Duration { return max(t.Planned, t.End.Sub(t.Begun)) }

func (t *tally) report() *pipeline.LoadReport {
	r := t.Counts
	if r.Requests == 0 {
		return &r
	}
	r.Duration = t.elapsed()
	r.Rate = float64(r.Requests) / t.Planned.Seconds()
	r.Throughput = float64(t.Good) / r.Duration.Seconds()
	r.ErrorRate = float64(r.Errors) / float64(r.Requests)
	r.Mean = t.Total / time.Duration(r.Requests)
	r.P50, r.P95, r.P99 = t.quantile(0.50), t.quantile(0.95), t.quantile(0.99)
	r.Every, r.Series = t.series()
	return &r
}

func (t *tally) quantile(q float64) time.Duration {
	return min(t.Latencies.quantile(q), t.Counts.Max)
}

func (t *tally) progress() string {
	c := t.Counts
	if c.Requests == 0 {
		return "no answers yet"
	}
	past := max(t.End.Sub(t.Begun), time.Second)
	return fmt.Sprintf("%s, %.1f/s, %s, p99 %s", present.Count(int(c.Requests), "answer"), float64(c.Requests)/past.Seconds(), present.Count(int(c.Errors), "error"), present.Duration(t.quantile(0.99)))
}

// describe returns the report in one line.
func describe(r *pipeline.LoadReport) string {
	after := ""
	if r.Ramp != nil {
		after = ", after a ramp of " + describeRamp(r.Ramp)
	}
	return fmt.Sprintf("%s at %.1f/s, %s, p50 %s, p95 %s, p99 %s, max %s%s",
		present.Count(int(r.Requests), "request"), r.Rate, present.Count(int(r.Errors), "error"), present.Duration(r.P50), present.Duration(r.P95), present.Duration(r.P99), present.Duration(r.Max), after)
}

func describeRamp(r *pipeline.LoadRamp) string {
	return fmt.Sprintf("%s in %s, %s", present.Count(int(r.Requests), "request"), present.Duration(r.Duration), present.Count(int(r.Errors), "error"))
}

// missed lists every threshold that the report misses; nil when it meets all.
func missed(l pipeline.Load, r *pipeline.LoadReport) error {
	var list []string
	for _, t := range []struct {
		name         string
		was, allowed time.Duration
	}{{"p50", r.P50, l.P50}, {"p95", r.P95, l.P95}, {"p99", r.P99, l.P99}, {"max", r.Max, l.Max}} {
		if t.allowed > 0 && t.was > t.allowed {
			was := present.Duration(t.was)
			if was == t.allowed.String() {
				was = t.was.String() // the difference is in the digits that brief leaves out
			}
			list = append(list, fmt.Sprintf("%s was %s, allowed %v", t.name, was, t.allowed))
		}
	}
	if r.ErrorRate > l.ErrorRate {
		list = append(list, fmt.Sprintf("error rate was %s (%d of %d requests), allowed %s", percent(r.ErrorRate), r.Errors, r.Requests, percent(l.ErrorRate)))
	}
	if r.Throughput < l.MinThroughput {
		list = append(list, fmt.Sprintf("throughput was %.4g/s, wanted at least %.4g/s", r.Throughput, l.MinThroughput))
	}
	if len(list) == 0 {
		return nil
	}
	text := strings.Join(list, "; ")
	if len(r.Faults) > 0 {
		text += "\nThe requests that failed said:\n" + indent(strings.Join(r.Faults, "\n"))
	}
	return failed("%s", text)
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 4, 64) + "%" }
