// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"html/template"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
)

// load is what a load step measured, with its pictures.
type load struct {
	Step, Run, Build string
	*pipeline.LoadReport
	Pictures []template.HTML
}

// loads returns the loads of a run, each beside that of the same step of the run for another
// build before it.
func (b *Board) loads(ctx context.Context, run pipeline.Run) ([]load, error) {
	collect := func(r pipeline.Run) (all []load) {
		for _, step := range r.Steps {
			if step.Load != nil {
				all = append(all, load{Step: step.Name, Run: r.ID, Build: r.Build, LoadReport: step.Load})
			}
		}
		return all
	}
	all := collect(run)
	if len(all) == 0 {
		return nil, nil
	}
	page, err := b.Engine.Reports.Runs(ctx, run.Pipeline, pipeline.RunQuery{Stage: run.Stage, After: run.ID, Limit: rowsPerPage})
	if err != nil {
		return nil, err
	}
	for _, r := range page.Runs {
		if r.Build == run.Build || !r.Status.HasResult() {
			continue
		}
		before, err := b.Engine.Reports.Run(ctx, run.Pipeline, r.ID)
		if err != nil {
			return nil, err
		}
		all = paired(all, collect(before))
		break
	}
	var reports []pipeline.LoadReport
	for _, l := range all {
		reports = append(reports, *l.LoadReport)
	}
	for i, pictures := range draw.Loads(reports...) {
		for _, svg := range pictures {
			all[i].Pictures = append(all[i].Pictures, template.HTML(svg)) // which escapes what is in it
		}
	}
	return all, nil
}

// paired puts each load beside that of the same step before it. A step that has not run now has
// nothing to compare.
func paired(now, before []load) (all []load) {
	for _, l := range now {
		all = append(all, l)
		if i := slices.IndexFunc(before, func(b load) bool { return b.Step == l.Step }); i >= 0 {
			all, before = append(all, before[i]), slices.Delete(before, i, i+1)
		}
	}
	return all
}
