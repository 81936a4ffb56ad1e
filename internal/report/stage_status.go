// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// StageStatus is the status of a stage, as the provider exports it and the CLI shows it.
type StageStatus struct {
	Stage       pipeline.Stage
	Move        gate.Move // what an apply would do next, and the status
	Passed      string    // the newest build that passed; empty for none
	Current     string    // the build that the stage has moved to
	Run         pipeline.RunSummary
	Image       string // the image that the stage baked of its current build, or that its persistent environment runs from; empty for none
	Artifact    *pipeline.Artifact
	Environment *pipeline.Environment // that the stage has now; nil for none
	Log         string                // where the log of Run is; empty without a run
}

// StageStatus returns the status of a stage; CodeNotFound for a stage that does not exist.
func (r *Reports) StageStatus(ctx context.Context, pipelineName, stage string) (StageStatus, error) {
	st, s, err := r.states.Stage(ctx, pipelineName, stage)
	if err != nil {
		return StageStatus{}, err
	}
	return r.StageStatusIn(st, s), nil
}

// StageStatusIn returns the status of a stage in a state.
func (r *Reports) StageStatusIn(st *pipeline.State, s pipeline.Stage) StageStatus {
	out := StageStatus{
		Stage: s, Move: gate.Now(st).Stage(s.Name), Passed: st.NewestPassed(s.Name),
		Current: st.Current[s.Name].Build, Run: st.Latest[s.Name],
	}
	if out.Run.ID != "" {
		out.Log = r.logs.Location(s.Pipeline, out.Run.ID)
	}
	if b, ok := st.Builds[out.Current]; ok {
		out.Artifact = b.Artifact
		switch {
		case s.Bake:
			out.Image = b.Image
		case s.Persistent():
			out.Image = st.Launch(s, b.ID).Image
		}
	}
	for _, purpose := range []pipeline.EnvironmentPurpose{pipeline.ForStage, pipeline.ForInquiry, pipeline.ForRun} {
		if env, ok := st.RunEnvironment(s.Name, purpose); ok && out.Environment == nil && env.Serves() {
			out.Environment = &env
		}
	}
	return out
}
