// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// metricsPage is how many runs are read at a time.
const metricsPage = 1000

// metricsBefore is how long before the requested time runs are read: they show what was
// deployed then, and so what is a rollback, and a failure may last from then.
const metricsBefore = 30 * 24 * time.Hour

// Metrics computes how well a stage delivers, since a time. An empty stage is the last one
// whose environment is persistent or that people move. It returns CodeNotFound if there is
// none.
func (r *Reports) Metrics(ctx context.Context, pipelineName, stage string, since time.Time) (pipeline.Metrics, error) {
	st, err := r.states.Existing(ctx, pipelineName)
	if err != nil {
		return pipeline.Metrics{}, err
	}
	if stage == "" {
		all := st.DeliveryStages()
		if len(all) == 0 {
			return pipeline.Metrics{}, pipeline.Errorf(pipeline.CodeNotFound, "compute metrics", "pipeline %q has no stage with a manual trigger or a persistent environment", pipelineName).
				WithHint("Name a stage.")
		}
		stage = all[len(all)-1].Name
	}
	if _, ok := st.Stages[stage]; !ok {
		return pipeline.Metrics{}, state.NoStage(pipelineName, stage)
	}
	runs, err := r.pastRuns(ctx, pipelineName, since.Add(-metricsBefore))
	if err != nil {
		return pipeline.Metrics{}, fmt.Errorf("compute metrics: %w", err)
	}
	waits := pipeline.WaitsOf(st, runs, since)
	runs = slices.DeleteFunc(runs, func(r pipeline.RunSummary) bool { return r.Stage != stage })
	f := pipeline.MetricsOf(runs, since, r.now().UTC(), func(build string) pipeline.Build { return st.Builds[build] })
	f.Pipeline, f.Stage, f.Waits = pipelineName, stage, waits
	return f, nil
}

// pastRuns returns the runs that began since a time, the newest first.
func (r *Reports) pastRuns(ctx context.Context, pipelineName string, since time.Time) (runs []pipeline.RunSummary, err error) {
	for query := (pipeline.RunQuery{Limit: metricsPage}); ; {
		page, err := r.ledger.Runs(ctx, pipelineName, query)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Runs {
			if r.StartedAt.Before(since) {
				return runs, nil
			}
			runs = append(runs, r)
		}
		if page.Next == "" {
			return runs, nil
		}
		query.After = page.Next
	}
}
