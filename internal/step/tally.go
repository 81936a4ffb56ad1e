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
)

// maxFaults is how many distinct faults a report names.
const maxFaults = 10

// tally adds up the answers to a load, in memory that does not grow with their number.
type tally struct {
	load      pipeline.Load
	begun     time.Time // of the first request
	end       time.Time // of the last answer
	latencies vegeta.LatencyMetrics
	good      int64
	counts    pipeline.LoadReport // requests, errors, histogram, statuses, faults
}

func newTally(l pipeline.Load) *tally {
	t := &tally{load: l, counts: pipeline.LoadReport{Statuses: map[string]int64{}}}
	for _, bound := range bounds() {
		t.counts.Histogram = append(t.counts.Histogram, pipeline.LatencyBucket{UpTo: bound})
	}
	return t
}

// bounds gives the histogram's: 1, 2 and 5 in each power of ten, from the fastest
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
	c := &t.counts
	c.Requests++
	c.Statuses[strconv.Itoa(int(r.Code))]++
	t.latencies.Add(r.Latency)
	i, _ := slices.BinarySearchFunc(c.Histogram, r.Latency, func(b pipeline.LatencyBucket, d time.Duration) int {
		return cmp.Compare(b.UpTo, d)
	})
	c.Histogram[min(i, len(c.Histogram)-1)].Count++
	if t.begun.IsZero() || r.Timestamp.Before(t.begun) {
		t.begun = r.Timestamp
	}
	if r.End().After(t.end) {
		t.end = r.End()
	}
	if r.Error == "" {
		t.good++
		return
	}
	c.Errors++
	if text := fault(r.Error); len(c.Faults) < maxFaults && !slices.Contains(c.Faults, text) {
		c.Faults = append(c.Faults, text)
	}
}

var (
	requestOf = regexp.MustCompile(`^[A-Z][a-z]+ "[^"]*": `)
	ownPort   = regexp.MustCompile(`\S+->`)
)

// fault gives an error's text without what differs from one connection to the
// next: the request's URL and this side's port.
func fault(text string) string {
	text = ownPort.ReplaceAllString(requestOf.ReplaceAllString(text, ""), "")
	return shorten(printableText(text), shownWidth)
}

// elapsed is how long the load took: as long as it was to, or longer where
// answers were late.
func (t *tally) elapsed() time.Duration { return max(t.load.Duration, t.end.Sub(t.begun)) }

func (t *tally) report() *pipeline.LoadReport {
	r := t.counts
	if r.Requests == 0 {
		return &r
	}
	r.Duration = t.elapsed()
	r.Rate = float64(r.Requests) / t.load.Duration.Seconds()
	r.Throughput = float64(t.good) / r.Duration.Seconds()
	r.ErrorRate = float64(r.Errors) / float64(r.Requests)
	r.Mean = t.latencies.Total / time.Duration(r.Requests)
	r.Max = t.latencies.Max
	r.P50, r.P95, r.P99 = t.quantile(0.50), t.quantile(0.95), t.quantile(0.99)
	return &r
}

func (t *tally) quantile(q float64) time.Duration {
	return min(t.latencies.Quantile(q), t.latencies.Max)
}

func (t *tally) progress() string {
	c := t.counts
	if c.Requests == 0 {
		return "no answers yet"
	}
	past := max(t.end.Sub(t.begun), time.Second)
	return fmt.Sprintf("%d answers, %.1f/s, %d errors, p99 %s", c.Requests, float64(c.Requests)/past.Seconds(), c.Errors, brief(t.quantile(0.99)))
}

// describe gives the report in one line.
func describe(r *pipeline.LoadReport) string {
	return fmt.Sprintf("%d requests at %.1f/s, %d errors, p50 %s, p95 %s, p99 %s, max %s",
		r.Requests, r.Rate, r.Errors, brief(r.P50), brief(r.P95), brief(r.P99), brief(r.Max))
}

// missed lists every threshold that the report misses; nil when it meets all.
func missed(l pipeline.Load, r *pipeline.LoadReport) error {
	var list []string
	for _, t := range []struct {
		name         string
		was, allowed time.Duration
	}{{"p50", r.P50, l.P50}, {"p95", r.P95, l.P95}, {"p99", r.P99, l.P99}, {"max", r.Max, l.Max}} {
		if t.allowed > 0 && t.was > t.allowed {
			was := brief(t.was)
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
