// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"

// RunView is a run as listings show it: with its build as people name it.
type RunView struct {
	pipeline.RunSummary
	BuildNumber int64  `json:"build_number,omitempty"` // absent where it is not known
	Message     string `json:"message,omitempty"`      // the first line of the commit's
}

// RunViewOf returns a run with its build as a state names it. Of a bake, or of a build that was
// collected, there is no more than the run.
func RunViewOf(st *pipeline.State, run pipeline.RunSummary) RunView {
	b := st.Builds[run.Build]
	return RunView{run, b.Number, pipeline.FirstLine(b.Revision.Message)}
}

// RunViewsOf returns runs with their builds as a state names them.
func RunViewsOf(st *pipeline.State, runs []pipeline.RunSummary) []RunView {
	views := make([]RunView, len(runs))
	for i, run := range runs {
		views[i] = RunViewOf(st, run)
	}
	return views
}
