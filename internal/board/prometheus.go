// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// scrapeLimit bounds what one scrape may take.
const scrapeLimit = 30 * time.Second

// scrapeHandler serves Prometheus the metrics of all pipelines, and of this process. All is
// read from the ledger when it is asked for; builds and people are no labels, so that there
// are as many series as stages.
func scrapeHandler(e *engine.Engine, now func() time.Time) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(&collector{e, now}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: scrapeLimit})
}

// collector is a prometheus.Collector of the pipelines.
type collector struct {
	engine *engine.Engine
	now    func() time.Time
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("penstock_"+name, help, append([]string{"pipeline"}, labels...), nil)
}

var (
	upDesc           = prometheus.NewDesc("penstock_up", "Whether the ledger could be read.", nil, nil)
	buildsDesc       = desc("builds", "Builds that are retained.")
	imagesDesc       = desc("images", "Images in the ledger.")
	stageStatusDesc  = desc("stage_status", "1 for the status of a stage, 0 for the others.", "stage", "status")
	stageSignalDesc  = desc("stage_signal", "1 for how much a stage wants of people, 0 for the other signals.", "stage", "signal")
	stageRunDesc     = desc("stage_last_run_timestamp_seconds", "When the latest run of a stage ended.", "stage", "status")
	stageTookDesc    = desc("stage_last_run_duration_seconds", "How long the latest run of a stage took.", "stage")
	stageRunningDesc = desc("stage_running_seconds", "How long the active run of a stage has taken so far.", "stage")
	stagePausedDesc  = desc("stage_paused", "Whether a stage is paused.", "stage")
	undecidedDesc    = desc("stage_undecided_seconds", "How long a build has waited for a decision.", "stage")
	promotedDesc     = desc("stage_promoted_seconds", "How long a promotion has waited for an apply.", "stage")
	environmentsDesc = desc("environments", "Environments by purpose and status.", "purpose", "status")
	leadTimeDesc     = desc("deployment_lead_time_seconds", "From the commit of the last build that a stage deployed to the end of that deployment.", "stage")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, buildsDesc, imagesDesc, stageStatusDesc, stageSignalDesc, stageRunDesc, stageTookDesc, stageRunningDesc, stagePausedDesc, undecidedDesc, promotedDesc, environmentsDesc, leadTimeDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	states, err := c.engine.States(ctx)
	is := 1.0
	if err != nil {
		is = 0
	}
	to <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, is)
	for _, st := range states {
		c.pipeline(st, func(d *prometheus.Desc, value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{st.Pipeline.Name}, labels...)...)
		})
	}
}

// pipeline returns the metrics of one.
func (c *collector) pipeline(st *pipeline.State, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	gauge(buildsDesc, float64(len(st.Builds)))
	gauge(imagesDesc, float64(len(st.Images)))
	for _, v := range gate.Now(st).Views() {
		c.runs(v, st.Latest[v.Name], gauge)
		s, ok := st.Stages[v.Name]
		if !ok { // a baked image
			continue
		}
		gauge(stagePausedDesc, truth(v.Current.Pause != nil), s.Name)
		if v.Undecided != "" && !v.Next.Since.IsZero() {
			gauge(undecidedDesc, c.now().Sub(v.Next.Since).Seconds(), s.Name)
		}
		if v.Next.Kind == gate.NextPromoted {
			gauge(promotedDesc, c.now().Sub(v.Next.Since).Seconds(), s.Name)
		}
		last := st.Latest[s.Name]
		made := cmp.Or(last.Committed, st.Builds[last.Build].Revision.Time)
		if s.Persistent() && last.Status == pipeline.RunPassed && !made.IsZero() {
			gauge(leadTimeDesc, last.EndedAt.Sub(made).Seconds(), s.Name)
		}
	}
	count := map[[2]string]int{}
	for _, env := range st.Environments {
		count[[2]string{string(env.Purpose), string(env.Status)}]++
	}
	for key, n := range count {
		gauge(environmentsDesc, float64(n), key[0], key[1])
	}
}

// runs returns the metrics of a stage, or of an image: its status and signal, and its latest
// run.
func (c *collector) runs(v gate.View, run pipeline.RunSummary, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	name := v.Name
	for _, status := range gate.Statuses {
		gauge(stageStatusDesc, truth(status == v.Status), name, string(status))
	}
	for _, signal := range gate.Signals {
		gauge(stageSignalDesc, truth(signal == v.Signal), name, string(signal))
	}
	switch {
	case run.ID == "":
	case run.Status == pipeline.RunRunning:
		gauge(stageRunningDesc, c.now().Sub(run.StartedAt).Seconds(), name)
	default:
		gauge(stageRunDesc, seconds(run.EndedAt), name, string(run.Status))
		gauge(stageTookDesc, run.EndedAt.Sub(run.StartedAt).Seconds(), name)
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
