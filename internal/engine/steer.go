// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Override lets a build pass a gate that it has not passed: without a run, with one
// that failed, or without the approvals that the stage wants. It needs a right of its
// own and a reason, and its mark stays. What is above the stage the build must have
// passed, and a rejection it does not lift.
func (e *Engine) Override(ctx context.Context, pipelineName, stage, build, reason string) (pipeline.Override, error) {
	op := fmt.Sprintf("override stage %q", stage)
	st, s, err := e.stage(ctx, pipelineName, stage)
	if err != nil {
		return pipeline.Override{}, err
	}
	if err := e.CheckOverride(st, s, build); err != nil {
		return pipeline.Override{}, err
	}
	if strings.TrimSpace(reason) == "" {
		return pipeline.Override{}, pipeline.Errorf(pipeline.CodeInvalid, op, "an override needs a reason").WithHint("Say why with --reason.")
	}
	v, _ := st.ResultOf(s, build)
	o := pipeline.Override{
		Pipeline: pipelineName, Stage: stage, Build: build, Run: v.ID, Inputs: st.Inputs(s, build), Digest: s.Digest(st.Pipeline),
		Reason: reason, Actor: e.Person.Name, At: e.Now().UTC(),
	}
	return o, e.append(ctx, pipelineName, nil, pipeline.Event{Kind: pipeline.GateOverridden, Facts: pipeline.Facts{Override: &o}})
}

// CheckOverride refuses an override that this person may not make, or whose build can't be
// let through the stage.
func (e *Engine) CheckOverride(st *pipeline.State, s pipeline.Stage, build string) error {
	op := fmt.Sprintf("override stage %q", s.Name)
	if err := st.Pipeline.Authorize(pipeline.RightOverride, e.Person, op); err != nil {
		return err
	}
	if _, ok := st.Builds[build]; !ok {
		return noBuild(op, s.Pipeline, build)
	}
	return overridable(st, s, build)
}

// overridable reports why a build can't be let through a stage.
func overridable(st *pipeline.State, s pipeline.Stage, build string) error {
	op := fmt.Sprintf("let build %s through stage %q", build, s.Name)
	switch {
	case s.Persistent():
		return pipeline.Errorf(pipeline.CodeInvalid, op, "what the stage is for is what it runs").
			WithHint("Override the stage that is in its way; `penstock status %s` shows what it waits for.", s.Pipeline)
	case s.Type == pipeline.TypeCommit, !s.TakesBuild():
		return pipeline.Errorf(pipeline.CodeInvalid, op, "a stage of type %s makes what the others need", s.Type).
			WithHint("Mend the cause and apply again.")
	case st.RunsNow(s.Name):
		return pipeline.Errorf(pipeline.CodeLocked, op, "run %s of the stage is under way", st.Latest[s.Name].ID).WithHint("Wait until it ends.")
	}
	if err := gate.Eligible(st, s, build); err != nil {
		return err
	}
	if st.Passed(s.Name, build) {
		return pipeline.Errorf(pipeline.CodeRefused, op, "the build has passed it").WithHint("There is nothing to override.")
	}
	return nil
}

// Hold keeps a stage where it is until Release: no build enters it, and what it runs
// runs on. A hold of a paused stage replaces the reason.
func (e *Engine) Pause(ctx context.Context, pipelineName, stage, reason string) (pipeline.Pause, error) {
	st, _, err := e.stage(ctx, pipelineName, stage)
	if err == nil {
		err = st.Pipeline.Authorize(pipeline.RightDeploy, e.Person, fmt.Sprintf("pause stage %q", stage))
	}
	if err != nil {
		return pipeline.Pause{}, err
	}
	f := pipeline.Pause{Stage: stage, Reason: reason, Actor: e.Person.Name, At: e.Now().UTC()}
	return f, e.append(ctx, pipelineName, nil, pipeline.Event{Kind: pipeline.StagePaused, Facts: pipeline.Facts{Pause: &f}})
}

// Release lets a paused stage go on. It gives what held it; CodeRefused where nothing did.
func (e *Engine) Resume(ctx context.Context, pipelineName, stage string) (pipeline.Pause, error) {
	op := fmt.Sprintf("resume stage %q", stage)
	st, _, err := e.stage(ctx, pipelineName, stage)
	if err == nil {
		err = st.Pipeline.Authorize(pipeline.RightDeploy, e.Person, op)
	}
	if err != nil {
		return pipeline.Pause{}, err
	}
	f, held := st.Pauses[stage]
	if !held {
		return f, pipeline.Errorf(pipeline.CodeRefused, op, "it is not paused").WithHint("`penstock status %s` shows what it waits for.", pipelineName)
	}
	key := pipeline.Key{Kind: pipeline.RecordPause, ID: stage}
	return f, e.appendExpecting(ctx, pipelineName, nil, map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)},
		pipeline.Event{Kind: pipeline.StageResumed, Facts: pipeline.Facts{Gone: []pipeline.Key{key}}})
}

// Retry lets a stage run once more, with the next apply, for the build that it ran for:
// its candidate. Where a person moves the stage it needs the right to deploy.
func (e *Engine) Retry(ctx context.Context, pipelineName, stage string) (pipeline.Retry, error) {
	st, s, err := e.stage(ctx, pipelineName, stage)
	if err != nil {
		return pipeline.Retry{}, err
	}
	v, err := e.CheckRetry(st, s)
	if err != nil {
		return pipeline.Retry{}, err
	}
	r := pipeline.Retry{Stage: stage, Build: v.Build, Run: v.ID, Actor: e.Person.Name, At: e.Now().UTC()}
	return r, e.append(ctx, pipelineName, nil, pipeline.Event{Kind: pipeline.RetryAsked, Facts: pipeline.Facts{Retry: &r}})
}

// CheckRetry refuses a retry that this person may not ask for, or that the stage does not
// take. It gives the run that another one would follow.
func (e *Engine) CheckRetry(st *pipeline.State, s pipeline.Stage) (pipeline.RunSummary, error) {
	op := fmt.Sprintf("retry stage %q", s.Name)
	if s.RequiresDeployRight() {
		if err := st.Pipeline.Authorize(pipeline.RightDeploy, e.Person, op); err != nil {
			return pipeline.RunSummary{}, err
		}
	}
	if err := gate.CheckPaused(st, s, op); err != nil {
		return pipeline.RunSummary{}, err
	}
	move := gate.Now(st).Stage(s.Name)
	v, judged := st.ResultOf(s, move.Candidate.ID)
	switch {
	case move.Refusal != nil:
		return v, move.Err()
	case st.RunsNow(s.Name):
		return v, pipeline.Errorf(pipeline.CodeLocked, op, "run %s of the stage is under way", st.Latest[s.Name].ID).WithHint("Wait until it ends.")
	case s.TakesBuild() && move.Candidate.ID == "":
		return v, pipeline.Errorf(pipeline.CodeRefused, op, "there is no build for it").WithHint("`penstock status %s` shows what it waits for.", s.Pipeline)
	case !judged:
		return v, pipeline.Errorf(pipeline.CodeRefused, op, "it has not run yet%s", buildOr(move.Candidate.ID, "", " for ")).WithHint("The next apply runs it.")
	}
	return v, nil
}
