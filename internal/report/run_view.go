// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"

// RunView is a run as listings show it: with its build as people name it.
type RunView struct {
	pipeline.RunSummary
	BuildNumber int64            `json:"build_number,omitempty"` // absent where it is not known
	Message     string           `json:"message,omitempty"`      // the first line of the commit's
	Outcome     pipeline.Outcome `json:"outcome,omitempty"`      // waiting, rejected, superseded or overridden, of a run that passed if its stage did not let the build pass by it
}

// RunViewOf returns a run with its build as a state names it. Of a bake, or of a build that was
// collected, there is no more than the run.
func RunViewOf(st *pipeline.State, run pipeline.RunSummary) RunView {
	b := st.Builds[run.Build]
	return RunView{run, b.Number, pipeline.FirstLine(b.Revision.Message), Stands(st, run)}
}

// RunViewsOf returns runs with their builds as a state names them.
func RunViewsOf(st *pipeline.State, runs []pipeline.RunSummary) []RunView {
	views := make([]RunView, len(runs))
	for i, run := range runs {
		views[i] = RunViewOf(st, run)
	}
	return views
}

// Stands says how the stage stands to the build of a run that passed, where that is not passed
// as well: it was rejected there, for one, or waits for a decision. It is empty where the two
// agree, and for a run that the build's result is not from.
func Stands(st *pipeline.State, run pipeline.RunSummary) pipeline.Outcome {
	if run.Status != pipeline.RunPassed || run.Kind != pipeline.KindStage || run.Build == "" {
		return ""
	}
	stage, ok := st.Stages[run.Stage]
	if result, _ := st.ResultOf(stage, run.Build); !ok || result.ID != run.ID {
		return ""
	}
	if outcome := st.Outcome(stage, run.Build); outcome != pipeline.OutcomePassed {
		return outcome
	}
	return ""
}
