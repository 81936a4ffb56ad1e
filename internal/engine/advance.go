// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// AdvanceRequest asks for a stage to be defined and moved.
type AdvanceRequest struct {
	Stage  pipeline.Stage // with its defaults filled in
	Create bool           // the caller knows of no such stage yet: it takes over what there is
	// Intent is what was planned; zero where nobody planned. If the gates have opened for
	// a newer build since, the planned one still goes.
	Intent  gate.Intent
	Secrets StageSecrets
}

// StageSecrets are the write-only variables of a stage.
type StageSecrets struct {
	Environment pipeline.Secrets
	Steps       []pipeline.Secrets // by the step's index; may be shorter
}

func (s StageSecrets) step(i int) pipeline.Secrets {
	if i < len(s.Steps) {
		return s.Steps[i]
	}
	return nil
}

// all gives the secrets of the whole stage.
func (s StageSecrets) all() []pipeline.Secret {
	all := s.Environment.Values()
	for _, secrets := range s.Steps {
		all = append(all, secrets.Values()...)
	}
	return all
}

// Advance records the stage's definition and does what the gates allow: nothing, a
// run, a restored or an adjusted environment. When it fails the stage holds what it
// held before. It is safe to call again after any failure, kill or cancel, and
// beside itself: one call works, the others wait for it.
func (e *Engine) Advance(ctx context.Context, r AdvanceRequest) (StageStatus, error) {
	stage := r.Stage
	leased, h, err := e.lock(ctx, stageKey(stage.Pipeline, stage.Name), "stage "+stage.Name)
	if err != nil {
		return StageStatus{}, err
	}
	defer e.unlock(ctx, h)
	st, err := e.recovered(leased, h, stage.Pipeline, stage.Name)
	if err != nil {
		return StageStatus{}, err
	}
	if err := e.CheckStage(st, stage); err != nil {
		return StageStatus{}, err
	}
	if _, err := gate.Confirm(gate.At(st, 0), stage, r.Intent); err != nil { // before it is recorded what is refused
		return StageStatus{}, err
	}
	if err := gate.CheckPerson(st, stage, e.Person); err != nil {
		return StageStatus{}, err
	}
	if stage, err = e.define(leased, h, st, stage, r.Create); err != nil {
		return StageStatus{}, err
	}
	if st, err = e.State(leased, stage.Pipeline); err != nil {
		return StageStatus{}, err
	}
	move, err := gate.Confirm(gate.At(st, 0), stage, r.Intent)
	if err != nil {
		return StageStatus{}, err
	}
	if err := e.act(leased, h, st, stage, move, r.Secrets); err != nil {
		return StageStatus{}, lostOr(leased, err)
	}
	if !stage.Applied {
		stage.Applied = true
		if err := e.append(leased, stage.Pipeline, &h.lease, pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &stage}}); err != nil {
			return StageStatus{}, lostOr(leased, err)
		}
	}
	if st, err = e.endOutgrown(leased, h, stage); err != nil {
		return StageStatus{}, lostOr(leased, err)
	}
	if r.Create {
		e.creations.created(stage.Pipeline, pipeline.RecordStage, stage.Name, stage.ID)
	}
	e.collectQuietly(leased, st, h)
	return e.StageStatusIn(st, stage), nil
}

// CheckStage refuses a stage that can't be where it is, whose environment the
// platform can't give, or whose runner there is none of.
func (e *Engine) CheckStage(st *pipeline.State, stage pipeline.Stage) error {
	if err := pipeline.CheckStage(st, stage); err != nil {
		return err
	}
	if err := e.Runner.Check(stage.Runner); err != nil || stage.Env == nil {
		return err
	}
	if err := pipeline.CheckData(st, stage); err != nil {
		return err
	}
	return e.Platform.Check(*stage.Env)
}

// recovered gives the state of a pipeline that exists, after finishing or
// clearing away what a dead run of the stage left.
func (e *Engine) recovered(ctx context.Context, h *lock, pipelineName, stage string) (*pipeline.State, error) {
	st, err := e.fresh(ctx, pipelineName)
	if err != nil {
		return nil, err
	}
	if !st.Exists() {
		return nil, noPipeline(pipelineName)
	}
	if err := e.recover(ctx, h, st, stage); err != nil {
		return nil, err
	}
	return e.fresh(ctx, pipelineName)
}

// act does what the move says.
func (e *Engine) act(ctx context.Context, h *lock, st *pipeline.State, stage pipeline.Stage, move gate.Move, secrets StageSecrets) error {
	switch move.Action {
	case gate.ActionRun, gate.ActionRestore:
		return e.run(ctx, h, st, stage, move, secrets)
	case gate.ActionAdopt:
		return e.append(ctx, stage.Pipeline, &h.lease, gate.Adoption(st, stage, move.Candidate.ID))
	case gate.ActionAdjust:
		return e.adjustStage(ctx, h, st, stage, move.Instances)
	case gate.ActionEnd:
		env, _ := st.DecidedEnvironment(stage)
		return e.endEnvironment(ctx, stage.Pipeline, h.lease, env)
	default:
		return nil
	}
}

// adjustStage changes what can be changed of a stage's environment while it serves.
func (e *Engine) adjustStage(ctx context.Context, h *lock, st *pipeline.State, stage pipeline.Stage, instances int) error {
	env, ok := st.RunEnvironment(stage.Name, pipeline.ForStage)
	if !ok {
		return pipeline.Errorf(pipeline.CodeInternal, "adjust stage "+stage.Name, "it has no environment")
	}
	env, err := e.adjusted(ctx, h, env, stage.EnvironmentFor(st.Pipeline), instances)
	if err != nil {
		return err
	}
	return e.recordEnvironment(ctx, h, env)
}

// lostOr gives the reason that the lease's context ended for, where it is why err
// happened, and marks a cancel as such.
func lostOr(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); pipeline.CodeOf(cause) == pipeline.CodeLeaseLost {
		return cause
	}
	if pipeline.CodeOf(err) == pipeline.CodeCancelled {
		return err
	}
	return &pipeline.Error{Code: pipeline.CodeCancelled, Op: "wait", Err: err}
}
