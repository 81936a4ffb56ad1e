// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"

// Stands says how the stage stands to the build of a run that passed, where that is not
// passed as well: it was rejected there, for one, or waits for a decision. It is empty where
// the two agree, and for a run that the build's result is not from.
func (v view) Stands(run pipeline.RunSummary) pipeline.Outcome {
	if v.State == nil || run.Status != pipeline.RunPassed || run.Kind != pipeline.KindStage || run.Build == "" {
		return ""
	}
	stage, ok := v.State.Stages[run.Stage]
	if result, _ := v.State.ResultOf(stage, run.Build); !ok || result.ID != run.ID {
		return ""
	}
	if outcome := v.State.Outcome(stage, run.Build); outcome != pipeline.OutcomePassed {
		return outcome
	}
	return ""
}
