// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// driftTimeout bounds a check for drift, of a module whose own time-out is not shorter. Whoever
// plans waits for it. A refresh of some hundred resources takes a minute or two.
const driftTimeout = 10 * time.Minute

// DriftCheck is what is known of the drift of a stage, or of one at a target.
type DriftCheck struct {
	Stage   pipeline.Stage  // as it is there
	Drift   *pipeline.Drift // nil for nothing
	Checked bool            // by this call
	Err     error
}

// Drifts is Drift wherever a stage has environments, in the order of its targets. Those at
// different places are checked side by side.
func (s *Stages) Drifts(ctx context.Context, stage pipeline.Stage) []DriftCheck {
	all := stage.AtPlaces()
	checks := map[string]DriftCheck{}
	var mu sync.Mutex
	eachPlace(all, func(at pipeline.Stage) {
		drift, checked, err := s.Drift(ctx, at.Pipeline, at.Name)
		mu.Lock()
		defer mu.Unlock()
		checks[at.Name] = DriftCheck{Stage: at, Drift: drift, Checked: checked, Err: err}
	})
	list := make([]DriftCheck, 0, len(all))
	for _, at := range all {
		list = append(list, checks[at.Name])
	}
	return list
}

// Drift returns what is known of the drift of a stage, after checking it if that is due; nil
// for nothing. A stage with several targets has one at each, by their names. The check compares
// the infrastructure of the stage's persistent environment with what its module was applied as,
// and changes nothing. It is due if the pipeline detects drift and no process has checked the
// stage for as long as the pipeline says. checked reports whether this call did. What can't be checked is no error: the drift's Unknown says why, and
// it is checked again when it is due. Another process that checks, or may not be disturbed, is
// not waited for.
func (s *Stages) Drift(ctx context.Context, pipelineName, stageName string) (drift *pipeline.Drift, checked bool, err error) {
	st, err := s.states.State(ctx, pipelineName)
	if err != nil {
		return nil, false, err
	}
	stage, ok := pipeline.StageOf(st, stageName)
	if !ok {
		return nil, false, state.NoStage(pipelineName, stageName)
	}
	if !pipeline.DriftDue(st, stage, s.now()) {
		return driftIn(st, stage), false, nil
	}
	leased, h, err := s.locks.Try(ctx, lock.Drift(pipelineName, stageName), "drift check of stage "+stageName)
	if pipeline.CodeOf(err) == pipeline.CodeNotAllowed { // who may checks it
		return driftIn(st, stage), false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if h == nil {
		return driftIn(st, stage), false, nil
	}
	defer s.locks.Unlock(ctx, h)
	if st, err = s.states.Fresh(leased, pipelineName); err != nil {
		return nil, false, lock.LostOr(leased, err)
	}
	if stage, ok = pipeline.StageOf(st, stageName); !ok {
		return nil, false, state.NoStage(pipelineName, stageName)
	}
	if !pipeline.DriftDue(st, stage, s.now()) { // another process has just checked it
		return driftIn(st, stage), false, nil
	}
	return s.checkDrift(leased, h, st, stage)
}

func driftIn(st *pipeline.State, stage pipeline.Stage) *pipeline.Drift {
	if d, known := pipeline.DriftOf(st, stage); known {
		return &d
	}
	return nil
}

// checkDrift checks a stage under the lease of that, and records what it finds out.
func (s *Stages) checkDrift(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage) (*pipeline.Drift, bool, error) {
	env, _ := st.RunEnvironment(stage.Name, pipeline.ForStage)
	drift := pipeline.Drift{Stage: stage.Name, Build: env.Build, Environment: env.ID, Basis: pipeline.DriftBasis(st, stage), Actor: s.holder.Actor}
	found, serves, err := s.compareModule(ctx, env)
	switch {
	case ctx.Err() != nil:
		return nil, false, lock.LostOr(ctx, errors.Join(err, ctx.Err()))
	case err != nil:
		drift.Unknown = err.Error()
	case !serves:
		return nil, false, nil
	default:
		drift.Changes = pipeline.ListChanges(found)
		drift.Total = len(found)
	}
	drift.At = s.now().UTC()
	drift.Follow(st.Drifts[stage.Name])
	err = s.states.Append(ctx, stage.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.DriftChecked, Facts: pipeline.Facts{Drift: &drift}})
	if err != nil {
		return nil, false, lock.LostOr(ctx, err)
	}
	if st, err = s.states.State(ctx, stage.Pipeline); err != nil {
		return nil, true, lock.LostOr(ctx, err)
	}
	if stage, ok := pipeline.StageOf(st, stage.Name); ok {
		return driftIn(st, stage), true, nil // nil: a run has begun meanwhile
	}
	return nil, true, nil
}

// compareModule compares what was applied for an environment with what exists. serves is false
// if that is not what serves: a change of it is under way, or was interrupted.
func (s *Stages) compareModule(ctx context.Context, env pipeline.Environment) (found []pipeline.ModuleChange, serves bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, driftTimeout, pipeline.Errorf(pipeline.CodeFailed, "look for drift", "it did not end within %s", driftTimeout).
		WithHint("Find out which part of the module's infrastructure takes so long to read."))
	defer cancel()
	site, err := s.modules.Site(ctx, env.ID)
	switch {
	case pipeline.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, true, err
	case site.Applied != site.Serving || site.Serving != env.Fleet:
		return nil, false, nil
	}
	plan, err := s.modules.Drift(ctx, env.ID, io.Discard)
	var late *pipeline.Error
	if ctx.Err() != nil && errors.As(context.Cause(ctx), &late) {
		err = late
	}
	return plan.Drift, true, err
}
