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
	var f pipeline.Metrics
	var waits []pipeline.StageWait
	err = r.past.with(ctx, pipelineName, since.Add(-metricsBefore), func(runs []pipeline.RunSummary) {
		waits = pipeline.WaitsOf(st, runs, since)
		runs = slices.DeleteFunc(runs, func(r pipeline.RunSummary) bool { return r.Stage != stage })
		f = pipeline.MetricsOf(runs, since, r.now().UTC(), func(build string) pipeline.Build { return st.Builds[build] })
	})
	if err != nil {
		return pipeline.Metrics{}, fmt.Errorf("compute metrics: %w", err)
	}
	f.Pipeline, f.Stage, f.Waits = pipelineName, stage, waits
	return f, nil
}
