// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// AdvanceRequest asks for a stage to be defined and moved.
type AdvanceRequest struct {
	Stage  pipeline.Stage // with its defaults filled in
	Create bool           // the caller knows of no such stage yet: it takes over what there is
	// Candidate is the build that was planned; empty where the plan didn't know. If
	// the gates have opened for a newer build since, the planned one still goes.
	Candidate string
	Secrets   StageSecrets
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
	if _, err := planned(st, stage, r.Candidate); err != nil { // before it is recorded what is refused
		return StageStatus{}, err
	}
	if err := st.AuthorizePin(stage, e.Person); err != nil {
		return StageStatus{}, err
	}
	if stage, err = e.define(leased, h, st, stage, r.Create); err != nil {
		return StageStatus{}, err
	}
	if st, err = e.State(leased, stage.Pipeline); err != nil {
		return StageStatus{}, err
	}
	move, err := planned(st, stage, r.Candidate)
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

// planned decides the stage's move, to the planned candidate where there is one. A stage
// that has moved on since then does not move back, and one that moves by promotions goes by
// the newest.
func planned(st *pipeline.State, stage pipeline.Stage, candidate string) (pipeline.Move, error) {
	move := pipeline.Decide(st, stage)
	if move.Err != nil {
		return move, move.Err
	}
	if candidate == "" || candidate == move.Candidate {
		return move, nil
	}
	op, held := fmt.Sprintf("move stage %q", stage.Name), st.Current[stage.Name].Build
	if err := st.CheckPin(stage, candidate); err != nil {
		return move, pipeline.Errorf(pipeline.CodeConflict, op, "build %s was planned, and the gates have changed since: %v", candidate, err).
			WithHint("Plan again.")
	}
	if stage.Trigger == pipeline.TriggerManual && candidate != held {
		return move, pipeline.Errorf(pipeline.CodeConflict, op, "build %s was planned, and the stage is to run %s now", candidate, move.Candidate).
			WithHint("Plan again.")
	}
	if st.Builds[candidate].Order < st.Builds[held].Order {
		return move, pipeline.Errorf(pipeline.CodeConflict, op, "build %s was planned, and the stage has moved on to %s since, which is newer", candidate, held).
			WithHint("Plan again.")
	}
	stage.Pin = candidate
	move = pipeline.Decide(st, stage)
	return move, move.Err
}

// act does what the move says.
func (e *Engine) act(ctx context.Context, h *lock, st *pipeline.State, stage pipeline.Stage, move pipeline.Move, secrets StageSecrets) error {
	switch move.Action {
	case pipeline.ActionRun, pipeline.ActionRestore:
		return e.run(ctx, h, st, stage, move, secrets)
	case pipeline.ActionAdopt:
		return e.adopt(ctx, h, st, stage, move.Candidate)
	case pipeline.ActionAdjust:
		return e.adjustStage(ctx, h, st, stage, move.Instances)
	case pipeline.ActionEnd:
		env, _ := st.DecidedEnvironment(stage)
		return e.endEnvironment(ctx, stage.Pipeline, h.lease, env)
	default:
		return nil
	}
}

// adopt moves the stage to a build that passed it before. On a commit stage the
// build becomes the newest again, so that a reverted commit flows down.
func (e *Engine) adopt(ctx context.Context, h *lock, st *pipeline.State, stage pipeline.Stage, build string) error {
	v, _ := st.ResultOf(stage, build)
	answers := st.Consumes(stage, build)
	event := pipeline.Event{Kind: pipeline.StageMoved, Facts: pipeline.Facts{Current: &pipeline.Current{
		Stage: stage.Name, Build: build, Run: v.ID, Previous: st.Current[stage.Name].Build, Promotion: &answers,
	}}}
	if stage.Type == pipeline.TypeCommit {
		b := st.Builds[build]
		b.Order = 0
		event.Facts.Build = &b
	}
	return e.append(ctx, stage.Pipeline, &h.lease, event)
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
