// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Metrics say how well changes reach their users: the metrics by which the research programme
// DORA found that teams differ, and where builds wait.
type Metrics struct {
	Pipeline string    `json:"pipeline"`
	Stage    string    `json:"stage"` // that deploys
	Since    time.Time `json:"started_at"`
	Until    time.Time `json:"ended_at"`
	// Deployments are the runs of the stage that passed, except for those of the build that
	// was deployed already.
	Deployments int     `json:"deployments"`
	PerDay      float64 `json:"per_day"`
	// LeadTime is from a build's commit to the end of the deployment that first brought it.
	LeadTime Distribution `json:"lead_time"`
	// Changes are the deployments that were tried, except for those that went back to an
	// older build.
	Changes     int     `json:"changes"`
	Failures    int     `json:"failures"`            // changes that failed, or from which the next deployment went back
	FailureRate float64 `json:"change_failure_rate"` // failures as a share of the changes, from 0 to 1
	// Restore is from a failure to the end of the next deployment that passed.
	Restore Distribution    `json:"time_to_restore"`
	Every   string          `json:"every"` // "day" or "week", which begins on Monday, in UTC
	Periods []MetricsPeriod `json:"periods"`
	Waits   []StageWait     `json:"waits"`
}

// MetricsPeriod are the metrics of a day or a week.
type MetricsPeriod struct {
	Start       time.Time     `json:"started_at"` // its first moment
	Deployments int           `json:"deployments"`
	Changes     int           `json:"changes"`
	Failures    int           `json:"failures"`
	LeadTime    time.Duration `json:"lead_time"`       // median; 0 for none
	Restore     time.Duration `json:"time_to_restore"` // median; 0 for none
}

// Distribution is the distribution of durations.
type Distribution struct {
	Count  int           `json:"count"`
	Median time.Duration `json:"median"`
	P90    time.Duration `json:"p90"`
}

// StageWait is how long builds waited at a stage: until they first ran there once they could,
// and then, for retained builds, until the decision.
type StageWait struct {
	Stage    string       `json:"stage"`
	Start    Distribution `json:"start"` // from when a build might enter the stage to its run
	Decision Distribution `json:"decision"`
}

// daily is the longest time that is shown by days.
const daily = 31 * 24 * time.Hour

// MetricsOf computes the metrics from the runs of the deploying stage, in any order. known
// returns a build, for runs that don't say when its commit was made and how new it is; the
// zero Build if it is not known.
func MetricsOf(runs []RunSummary, since, until time.Time, known func(build string) Build) Metrics {
	d := Metrics{Since: since, Until: until, Every: "week", Periods: []MetricsPeriod{}, Waits: []StageWait{}}
	if until.Sub(since) <= daily {
		d.Every = "day"
	}
	runs = slices.DeleteFunc(slices.Clone(runs), func(r RunSummary) bool { return !r.Status.HasResult() || r.Build == "" })
	slices.SortFunc(runs, func(a, b RunSummary) int { return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.ID, b.ID)) })
	c := count{Metrics: &d, known: known, times: map[time.Time]*periodTimes{}, deployed: map[string]bool{}}
	for _, r := range runs {
		if r.Build != c.last.Build { // else it was run again, or restored
			c.add(r)
		}
	}
	d.LeadTime, d.Restore = distributionOf(c.lead), distributionOf(c.restore)
	if days := until.Sub(since).Hours() / 24; days > 0 {
		d.PerDay = float64(d.Deployments) / days
	}
	if d.Changes > 0 {
		d.FailureRate = float64(d.Failures) / float64(d.Changes)
	}
	for start := d.periodOf(since); start.Before(until); start = d.next(start) {
		p := MetricsPeriod{}
		if t := c.times[start]; t != nil {
			p = t.MetricsPeriod
			p.LeadTime, p.Restore = distributionOf(t.lead).Median, distributionOf(t.restore).Median
		}
		p.Start = start
		d.Periods = append(d.Periods, p)
	}
	return d
}

// count goes through the runs in the order in which they ended.
type count struct {
	*Metrics
	known         func(build string) Build
	times         map[time.Time]*periodTimes
	lead, restore []time.Duration
	broken        time.Time       // since when a failure lasts; zero: none does
	last          RunSummary      // the deployment before
	deployed      map[string]bool // builds that were
}

// at returns the period that a time is in.
func (c *count) at(t time.Time) *periodTimes {
	start := c.periodOf(t)
	if c.times[start] == nil {
		c.times[start] = &periodTimes{}
	}
	return c.times[start]
}

// add counts a run of another build than the one before.
func (c *count) add(r RunSummary) {
	r.Order = cmp.Or(r.Order, c.known(r.Build).Order)
	back := r.Order > 0 && r.Order < c.last.Order
	if c.counts(r) && !back {
		c.Changes++
		c.at(r.EndedAt).Changes++
	}
	switch {
	case r.Status == RunFailed && back:
	case r.Status == RunFailed:
		c.fail(r)
	case back:
		c.fail(c.last)
		c.deploy(r)
	default:
		c.deploy(r)
	}
}

// fail counts a change that failed.
func (c *count) fail(r RunSummary) {
	if c.broken.IsZero() {
		c.broken = r.EndedAt
	}
	if c.counts(r) {
		c.Failures++
		c.at(r.EndedAt).Failures++
	}
}

// deploy counts a deployment, which ends a failure.
func (c *count) deploy(r RunSummary) {
	period := c.at(r.EndedAt)
	if took := r.EndedAt.Sub(c.broken); !c.broken.IsZero() && c.counts(r) && took >= 0 {
		c.restore = append(c.restore, took)
		period.restore = append(period.restore, took)
	}
	c.broken = time.Time{}
	if c.counts(r) {
		c.Deployments++
		period.Deployments++
		made := r.Committed
		if made.IsZero() {
			made = c.known(r.Build).Revision.Time
		}
		if took := r.EndedAt.Sub(made); !made.IsZero() && took >= 0 && !c.deployed[r.Build] {
			c.lead = append(c.lead, took)
			period.lead = append(period.lead, took)
		}
	}
	c.last, c.deployed[r.Build] = r, true
}

// periodTimes is a period with what its medians are made from.
type periodTimes struct {
	MetricsPeriod
	lead, restore []time.Duration
}

// counts reports whether a run ended in the time that the metrics are of.
func (d *Metrics) counts(r RunSummary) bool {
	return !r.EndedAt.Before(d.Since) && r.EndedAt.Before(d.Until)
}

// periodOf returns the beginning of the day or the week that a time is in.
func (d *Metrics) periodOf(t time.Time) time.Time {
	t = t.UTC()
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	if d.Every == "week" {
		day = day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
	}
	return day
}

func (d *Metrics) next(start time.Time) time.Time {
	if d.Every == "week" {
		return start.AddDate(0, 0, 7)
	}
	return start.AddDate(0, 0, 1)
}

// distributionOf returns the median and the 90th percentile: the smallest duration that at
// least that share does not exceed.
func distributionOf(all []time.Duration) Distribution {
	if len(all) == 0 {
		return Distribution{}
	}
	slices.Sort(all)
	rank := func(q float64) time.Duration { return all[max(int(math.Ceil(q*float64(len(all))))-1, 0)] }
	return Distribution{Count: len(all), Median: rank(0.5), P90: rank(0.9)}
}

// WaitsOf returns how long builds waited at each stage. It takes runs of all stages, and
// counts those that began in the time.
func WaitsOf(s *State, runs []RunSummary, since time.Time) []StageWait {
	start, decision := map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, r := range runs {
		if r.StartedAt.Before(since) || r.Build == "" {
			continue
		}
		if !r.Ready.IsZero() && !r.StartedAt.Before(r.Ready) {
			start[r.Stage] = append(start[r.Stage], r.StartedAt.Sub(r.Ready))
		}
		stage, d := s.Stages[r.Stage], s.Decisions[StageBuild(r.Stage, r.Build)]
		if stage.Approval && d.Run == r.ID && d.At.After(r.EndedAt) && s.IsDecided(stage, r.Build) {
			decision[r.Stage] = append(decision[r.Stage], d.At.Sub(r.EndedAt))
		}
	}
	list := []StageWait{}
	for _, stage := range s.StagesInOrder() {
		if stage.TakesBuild() {
			list = append(list, StageWait{stage.Name, distributionOf(start[stage.Name]), distributionOf(decision[stage.Name])})
		}
	}
	return list
}

// ReadyAt returns when a build that runs at a stage for the first time could enter it: once
// it had passed all stages above, and a person had moved the stage if one must. It is zero if
// that is not known, or if the build ran there before.
func ReadyAt(s *State, stage Stage, build string) (at time.Time) {
	if latest := s.Latest[stage.Name]; latest.Build == build || len(s.Results[StageBuild(stage.Name, build)]) > 0 {
		return time.Time{}
	}
	later := func(t time.Time) {
		if t.After(at) {
			at = t
		}
	}
	for _, up := range stage.Upstream() {
		above := s.Stages[up]
		if !above.TakesBuild() {
			continue
		}
		if o, ok := s.Overrides[StageBuild(up, build)]; ok {
			later(o.At)
			continue
		}
		v, ran := s.ResultOf(above, build)
		if !ran || v.Status != RunPassed {
			return time.Time{}
		}
		later(v.EndedAt)
		if d := s.Decisions[StageBuild(up, build)]; above.Approval && d.Result == Approved {
			later(d.At)
		}
	}
	if p := s.Promotions[stage.Name]; p.Build == build {
		later(p.At)
	}
	return at
}
