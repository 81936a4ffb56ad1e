// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
)

// metricsPage shows how well a pipeline delivers.
type metricsPage struct {
	pipeline.Metrics
	Pictures []template.HTML
	Stages   []string // that can be chosen
	Days     int
	Choices  []int
	Longest  []pipeline.StageWait // where builds wait, the longest first
}

// metricsDays are how far back the page can look.
var metricsDays = []int{14, 30, 90, 365}

const defaultDays = 90

// metrics shows a pipeline's delivery metrics.
func (b *Board) metrics(w http.ResponseWriter, r *http.Request, s *session) error {
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	page := metricsPage{Days: defaultDays, Choices: metricsDays}
	if n, err := strconv.Atoi(r.URL.Query().Get("days")); err == nil && slices.Contains(metricsDays, n) {
		page.Days = n
	}
	var all []string
	for _, stage := range st.StagesInOrder() {
		if stage.TakesBuild() {
			all = append(all, stage.Name)
		}
	}
	for _, stage := range st.DeliveryStages() {
		page.Stages = append(page.Stages, stage.Name)
	}
	if len(page.Stages) == 0 {
		page.Stages = all // how often builds get through one is worth knowing, too
	}
	chosen := r.URL.Query().Get("stage")
	if n := len(page.Stages); chosen == "" && n > 0 {
		chosen = page.Stages[n-1]
	}
	if chosen != "" {
		if page.Metrics, err = b.Engine.Reports.Metrics(r.Context(), st.Pipeline.Name, chosen, b.Now().UTC().AddDate(0, 0, -page.Days)); err != nil {
			return err
		}
		page.Pictures = drawn(page.Metrics)
	}
	longest := func(w pipeline.StageWait) time.Duration { return max(w.Start.Median, w.Decision.Median) }
	page.Longest = slices.SortedStableFunc(slices.Values(page.Waits), func(x, y pipeline.StageWait) int { return cmp.Compare(longest(y), longest(x)) })
	b.show(w, s, http.StatusOK, "metrics", view{Title: "Metrics · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "metrics", Body: page})
	return nil
}

// drawn returns the pictures of the four metrics over time.
func drawn(f pipeline.Metrics) (all []template.HTML) {
	for i, p := range []struct {
		title string
		unit  draw.Unit
		value func(pipeline.MetricsPeriod) float64
		bad   bool
	}{
		{"Deployments per " + f.Every, draw.Number, func(p pipeline.MetricsPeriod) float64 { return float64(p.Deployments) }, false},
		{"Lead time, median", draw.Seconds, func(p pipeline.MetricsPeriod) float64 { return p.LeadTime.Seconds() }, false},
		{"Changes that failed", draw.Percent, func(p pipeline.MetricsPeriod) float64 { return float64(p.Failures) / float64(max(p.Changes, 1)) }, true},
		{"Time to restore, median", draw.Seconds, func(p pipeline.MetricsPeriod) float64 { return p.Restore.Seconds() }, true},
	} {
		bars := draw.Bars{Title: p.title, Unit: p.unit, Whole: i == 0}
		for _, period := range f.Periods {
			bars.Bars = append(bars.Bars, draw.Bar{Name: period.Start.Format("2 Jan"), Value: p.value(period), Bad: p.bad})
		}
		all = append(all, template.HTML(bars.SVG())) // which escapes what is in it
	}
	return all
}
