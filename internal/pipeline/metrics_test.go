// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// monday is the beginning of a week.
var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// deployed makes the run of a deployment that ended some hours after monday.
func deployed(hours float64, build string, status pipeline.RunStatus) pipeline.RunSummary {
	end := monday.Add(time.Duration(hours * float64(time.Hour)))
	return pipeline.RunSummary{ID: "r-" + end.Format(time.RFC3339Nano), Stage: "production", Build: build, Status: status, StartedAt: end.Add(-time.Minute), EndedAt: end}
}

func TestMetrics(t *testing.T) {
	const pass, fail = pipeline.RunPassed, pipeline.RunFailed
	hour := time.Hour
	known := func(id string, order int64, committed time.Duration) pipeline.Build {
		return pipeline.Build{ID: id, Order: order, Revision: pipeline.Revision{Time: monday.Add(committed)}}
	}
	builds := map[string]pipeline.Build{"a": known("a", 1, -2*hour), "b": known("b", 2, 8*hour), "c": known("c", 3, 100*hour), "late": known("late", 4, 1000*hour)}
	reverted := deployed(12, "a", pass) // its commit was brought back, which made it the newest
	reverted.Order = 5
	for name, tt := range map[string]struct {
		runs                           []pipeline.RunSummary
		deployments, changes, failures int
		lead, restore                  pipeline.Distribution
	}{
		"nothing": {},
		"one":     {[]pipeline.RunSummary{deployed(1, "a", pass)}, 1, 1, 0, pipeline.Distribution{Count: 1, Median: 3 * hour, P90: 3 * hour}, pipeline.Distribution{}},
		"two, in any order": {[]pipeline.RunSummary{deployed(10, "b", pass), deployed(1, "a", pass)},
			2, 2, 0, pipeline.Distribution{Count: 2, Median: 2 * hour, P90: 3 * hour}, pipeline.Distribution{}},
		"one that failed, and was mended": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(10, "b", fail), deployed(11, "b", fail), deployed(13, "c", pass)},
			2, 4, 2, pipeline.Distribution{Count: 1, Median: 3 * hour, P90: 3 * hour}, pipeline.Distribution{Count: 1, Median: 3 * hour, P90: 3 * hour}},
		"a rollback": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(10, "b", pass), deployed(10.5, "a", pass)},
			3, 2, 1, pipeline.Distribution{Count: 2, Median: 2 * hour, P90: 3 * hour}, pipeline.Distribution{Count: 1, Median: hour / 2, P90: hour / 2}},
		"a rollback, and forward again": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(10, "b", pass), deployed(11, "a", pass), deployed(12, "b", pass)},
			4, 3, 1, pipeline.Distribution{Count: 2, Median: 2 * hour, P90: 3 * hour}, pipeline.Distribution{Count: 1, Median: hour, P90: hour}},
		"a rollback that failed at first": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(10, "b", pass), deployed(11, "a", fail), deployed(12, "a", pass)},
			3, 2, 1, pipeline.Distribution{Count: 2, Median: 2 * hour, P90: 3 * hour}, pipeline.Distribution{Count: 1, Median: 2 * hour, P90: 2 * hour}},
		"the same again": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(2, "a", pass)},
			1, 1, 0, pipeline.Distribution{Count: 1, Median: 3 * hour, P90: 3 * hour}, pipeline.Distribution{}},
		"again, which fails at first": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(2, "a", fail), deployed(3, "a", pass)},
			1, 1, 0, pipeline.Distribution{Count: 1, Median: 3 * hour, P90: 3 * hour}, pipeline.Distribution{}},
		"back to what was never there": {[]pipeline.RunSummary{deployed(110, "c", pass), deployed(111, "b", pass)},
			2, 1, 1, pipeline.Distribution{Count: 2, Median: 10 * hour, P90: 103 * hour}, pipeline.Distribution{Count: 1, Median: hour, P90: hour}},
		"a commit that was brought back": {[]pipeline.RunSummary{deployed(1, "a", pass), deployed(10, "b", pass), reverted},
			3, 3, 0, pipeline.Distribution{Count: 2, Median: 2 * hour, P90: 3 * hour}, pipeline.Distribution{}},
		"a commit of the future":        {[]pipeline.RunSummary{deployed(1, "late", pass)}, 1, 1, 0, pipeline.Distribution{}, pipeline.Distribution{}},
		"a build that is known no more": {[]pipeline.RunSummary{deployed(1, "gone", pass)}, 1, 1, 0, pipeline.Distribution{}, pipeline.Distribution{}},
		"before the time": {[]pipeline.RunSummary{deployed(-5, "a", pass), deployed(-1, "b", fail), deployed(3, "c", pass)},
			1, 1, 0, pipeline.Distribution{}, pipeline.Distribution{Count: 1, Median: 4 * hour, P90: 4 * hour}},
		"cancelled and under way": {[]pipeline.RunSummary{deployed(1, "a", pipeline.RunCancelled), deployed(2, "a", pipeline.RunRunning)}, 0, 0, 0, pipeline.Distribution{}, pipeline.Distribution{}},
	} {
		t.Run(name, func(t *testing.T) {
			d := pipeline.MetricsOf(tt.runs, monday, monday.AddDate(0, 0, 70), func(id string) pipeline.Build { return builds[id] })
			if d.Deployments != tt.deployments || d.Changes != tt.changes || d.Failures != tt.failures || d.LeadTime != tt.lead || d.Restore != tt.restore {
				t.Errorf("%d deployments, %d changes, %d failures, lead %+v, restore %+v", d.Deployments, d.Changes, d.Failures, d.LeadTime, d.Restore)
			}
			if d.Every != "week" || len(d.Periods) != 10 || !d.Periods[0].Start.Equal(monday) {
				t.Errorf("periods: every %s, %d", d.Every, len(d.Periods))
			}
			var sum pipeline.MetricsPeriod
			for _, p := range d.Periods {
				sum.Deployments, sum.Changes, sum.Failures = sum.Deployments+p.Deployments, sum.Changes+p.Changes, sum.Failures+p.Failures
			}
			if sum.Deployments != d.Deployments || sum.Changes != d.Changes || sum.Failures != d.Failures {
				t.Errorf("the periods add up to %+v, not %+v", sum, d)
			}
		})
	}
}

// A run knows when its build's commit was made, even when the build has long been collected.
func TestMetricsOfCollectedBuilds(t *testing.T) {
	r := deployed(10, "gone", pipeline.RunPassed)
	r.Committed = monday
	d := pipeline.MetricsOf([]pipeline.RunSummary{r}, monday, monday.AddDate(0, 0, 7), func(string) pipeline.Build { return pipeline.Build{} })
	if d.LeadTime.Median != 10*time.Hour || d.Every != "day" || len(d.Periods) != 7 || d.Periods[0].LeadTime != 10*time.Hour || d.PerDay != 1.0/7 {
		t.Errorf("%+v", d)
	}
}
