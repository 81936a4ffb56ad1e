// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// CreatePipeline defines a pipeline that does not exist, or whose creation was interrupted
// before a state recorded it. One that exists is CodeConflict.
func (e *Engine) CreatePipeline(ctx context.Context, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	if err := e.Platform.CheckService(p.Service); err != nil {
		return p, err
	}
	st, err := e.fresh(ctx, p.Name)
	if err == nil {
		err = e.CheckCreate(ctx, st, CreateRequest{Kind: pipeline.RecordPipeline, Name: p.Name})
	}
	if err == nil {
		st, err = e.fresh(ctx, p.Name)
	}
	if err != nil {
		return p, err
	}
	p.ID, p.Made = "p-"+randomHex(8), e.madeNow()
	if !st.Exists() {
		if err := e.purge(ctx, p.Name); err != nil {
			return p, err
		}
	}
	creation, err := e.creation(ctx, p.Name, pipeline.RecordPipeline, p.Name, p.ID)
	if err != nil {
		return p, err
	}
	events := definition(st, p)
	events[0].Facts.Creation = creation
	key := pipeline.Key{Kind: pipeline.RecordPipeline, ID: p.Name}
	if err := e.appendExpecting(ctx, p.Name, nil, map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)}, events...); err != nil {
		return p, err
	}
	e.creations.created(p.Name, pipeline.RecordPipeline, p.Name, p.ID)
	return p, nil
}

// UpdatePipeline changes the definition of a pipeline that exists: of the one with p.ID,
// where that is set, else CodeConflict.
func (e *Engine) UpdatePipeline(ctx context.Context, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	if err := e.Platform.CheckService(p.Service); err != nil {
		return p, err
	}
	st, err := e.existing(ctx, p.Name)
	if err != nil {
		return p, err
	}
	if p.ID != "" && p.ID != st.Pipeline.ID {
		return p, pipeline.Errorf(pipeline.CodeConflict, "change pipeline", "%q is another pipeline by now; %s", p.Name, thing{made: st.Pipeline.Made, owner: st.Pipeline.Owner}.origin()).
			WithHint("Plan again.")
	}
	p.ID, p.Owner, p.Made = st.Pipeline.ID, st.Pipeline.Owner, st.Pipeline.Made
	return p, e.append(ctx, p.Name, nil, definition(st, p)...)
}

// definition gives the events that define a pipeline. From them on a target that is new
// is told what happens; one that is left out is forgotten.
func definition(st *pipeline.State, p pipeline.Pipeline) []pipeline.Event {
	defined := pipeline.Event{Kind: pipeline.PipelineDefined, Facts: pipeline.Facts{Pipeline: &p}}
	for _, key := range slices.Sorted(maps.Keys(st.Deliveries)) {
		if _, stays := p.Target(key); !stays {
			defined.Facts.Gone = append(defined.Facts.Gone, pipeline.Key{Kind: pipeline.RecordDelivery, ID: key})
		}
	}
	events := []pipeline.Event{defined}
	for _, t := range p.Targets() {
		if _, known := st.Pipeline.Target(t.Key()); !known {
			events = append(events, pipeline.Event{Kind: pipeline.NoticesDelivered, Facts: pipeline.Facts{Delivery: &pipeline.Delivery{Target: t.Key(), On: t.On}}})
		}
	}
	return events
}

// eachRun calls f for every run that the query selects.
func (e *Engine) eachRun(ctx context.Context, name string, q pipeline.RunQuery, f func(pipeline.RunSummary) error) error {
	for {
		page, err := e.Ledger.Runs(ctx, name, q)
		if err != nil {
			return err
		}
		for _, r := range page.Runs {
			if err := f(r); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		q.After = page.Next
	}
}

// define records the stage's definition if it differs from the recorded one. One that is
// created over it is another one from then on.
func (e *Engine) define(ctx context.Context, h *lock, st *pipeline.State, stage pipeline.Stage, create bool) (pipeline.Stage, error) {
	old, exists := st.Stages[stage.Name]
	stage.ID, stage.Made = "s-"+randomHex(8), e.madeNow()
	if exists {
		stage.Applied = old.Applied
	}
	if exists && !create {
		stage.ID, stage.Owner, stage.Made = old.ID, old.Owner, old.Made
		if stage.Equal(old) {
			return stage, nil
		}
	}
	defined := pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &stage}}
	if create {
		err := e.CheckCreate(ctx, st, CreateRequest{Kind: pipeline.RecordStage, Name: stage.Name})
		if err == nil {
			defined.Facts.Creation, err = e.creation(ctx, stage.Pipeline, pipeline.RecordStage, stage.Name, stage.ID)
		}
		if err != nil {
			return stage, err
		}
	}
	return stage, e.append(ctx, stage.Pipeline, &h.lease, defined)
}

// RemoveStage removes a stage and ends its environments. Its runs stay in the
// history. A stage that does not exist is no error, nor is one of another ID, which has
// taken the name over: that one stays.
func (e *Engine) RemoveStage(ctx context.Context, pipelineName, name, id string) error {
	leased, h, err := e.lock(ctx, stageKey(pipelineName, name), "removal of stage "+name)
	if err != nil {
		return err
	}
	defer e.unlock(ctx, h)
	st, err := e.fresh(leased, pipelineName)
	if err != nil {
		return err
	}
	if old, ok := st.Stages[name]; !ok || old.ID != id {
		return nil
	}
	if err := e.recover(leased, h, st, name); err != nil {
		return err
	}
	if st, err = e.fresh(leased, pipelineName); err != nil {
		return err
	}
	for _, env := range inOrder(st.Environments) {
		if env.Stage == name && env.Purpose != pipeline.ForPerson {
			if err := e.endEnvironment(leased, pipelineName, h.lease, env); err != nil {
				return err
			}
		}
	}
	gone := append(st.KeysOfStage(name), pipeline.CreationKey(pipeline.RecordStage, name))
	return e.append(leased, pipelineName, &h.lease, pipeline.Event{Kind: pipeline.StageRemoved, Facts: pipeline.Facts{Gone: gone}})
}

// endEnvironment destroys an environment and removes its record, in that order:
// what is recorded can be found, what is not recorded can't. lease is that of the
// environment, under its environmentKey.
func (e *Engine) endEnvironment(ctx context.Context, pipelineName string, lease pipeline.Lease, env pipeline.Environment) error {
	if env.Status != pipeline.EnvEnding {
		env.Status = pipeline.EnvEnding
		if err := e.append(ctx, pipelineName, &lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}}); err != nil {
			return err
		}
	}
	if err := e.under(lease).Destroy(ctx, env.ID); err != nil {
		return fmt.Errorf("end %s: %w", env.Describe(), err)
	}
	st, err := e.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	gone := append(raisedOf(st, env.ID), pipeline.Key{Kind: pipeline.RecordEnvironment, ID: env.ID})
	if env.Purpose == pipeline.ForPerson {
		gone = append(gone, pipeline.CreationKey(pipeline.RecordEnvironment, env.Name))
	}
	return e.append(ctx, pipelineName, &lease, pipeline.Event{Kind: pipeline.EnvironmentEnded, Facts: pipeline.Facts{Gone: gone}})
}

// Pipelines gives the states of all pipelines, by name.
func (e *Engine) Pipelines(ctx context.Context) (map[string]*pipeline.State, error) {
	names, err := e.Ledger.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*pipeline.State, len(names))
	for _, name := range names {
		if all[name], err = e.State(ctx, name); err != nil {
			return nil, err
		}
	}
	return maps.Clone(all), nil
}
