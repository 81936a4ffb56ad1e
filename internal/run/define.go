// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"maps"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// CheckService refuses a service that the platform can't run.
func (ps *Pipelines) CheckService(service pipeline.Service) error {
	return ps.platform.CheckService(service)
}

// Create defines a pipeline that does not exist, or whose creation was interrupted before a
// state recorded it. It returns CodeConflict if the pipeline exists.
func (ps *Pipelines) Create(ctx context.Context, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	if err := ps.CheckService(p.Service); err != nil {
		return p, err
	}
	st, err := ps.states.Fresh(ctx, p.Name)
	if err == nil {
		err = ps.creations.Check(ctx, st, CreateRequest{Kind: pipeline.RecordPipeline, Name: p.Name})
	}
	if err == nil {
		st, err = ps.states.Fresh(ctx, p.Name)
	}
	if err != nil {
		return p, err
	}
	p.ID, p.Made = "p-"+state.RandomHex(8), ps.creations.stamp()
	if !st.Exists() {
		if err := ps.collector.Purge(ctx, p.Name); err != nil {
			return p, err
		}
	}
	creation, err := ps.creations.creation(ctx, p.Name, pipeline.RecordPipeline, p.Name, p.ID)
	if err != nil {
		return p, err
	}
	events := definition(st, p)
	events[0].Facts.Creation = creation
	key := pipeline.Key{Kind: pipeline.RecordPipeline, ID: p.Name}
	if err := ps.states.AppendExpecting(ctx, p.Name, nil, map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)}, events...); err != nil {
		return p, err
	}
	ps.creations.created(p.Name, pipeline.RecordPipeline, p.Name, p.ID)
	return p, nil
}

// Update changes the definition of an existing pipeline. If p.ID is set, it returns
// CodeConflict for a pipeline of another ID.
func (ps *Pipelines) Update(ctx context.Context, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	if err := ps.CheckService(p.Service); err != nil {
		return p, err
	}
	st, err := ps.states.Existing(ctx, p.Name)
	if err != nil {
		return p, err
	}
	if p.ID != "" && p.ID != st.Pipeline.ID {
		return p, pipeline.Errorf(pipeline.CodeConflict, "change pipeline", "another pipeline %q has replaced it; %s", p.Name, thing{made: st.Pipeline.Made, owner: st.Pipeline.Owner}.origin()).
			WithHint("Plan again.")
	}
	p.ID, p.Owner, p.Made = st.Pipeline.ID, st.Pipeline.Owner, st.Pipeline.Made
	return p, ps.states.Append(ctx, p.Name, nil, definition(st, p)...)
}

// definition returns the events that define a pipeline. A new target is notified of what
// happens after them; a target that is left out is forgotten.
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

// define records the stage's definition if it differs from the recorded one. A stage that is
// created over an existing one is another stage from then on.
func (s *Stages) define(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage, create bool) (pipeline.Stage, error) {
	old, exists := st.Stages[stage.Name]
	stage.ID, stage.Made = "s-"+state.RandomHex(8), s.creations.stamp()
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
		err := s.creations.Check(ctx, st, CreateRequest{Kind: pipeline.RecordStage, Name: stage.Name})
		if err == nil {
			defined.Facts.Creation, err = s.creations.creation(ctx, stage.Pipeline, pipeline.RecordStage, stage.Name, stage.ID)
		}
		if err != nil {
			return stage, err
		}
	}
	return stage, s.states.Append(ctx, stage.Pipeline, &h.Lease, defined)
}

// Remove removes a stage and ends its environments. Its runs stay in the history. A stage
// that does not exist is no error. A stage of another ID has taken the name over: it stays,
// without an error.
func (s *Stages) Remove(ctx context.Context, pipelineName, name, id string) error {
	leased, h, err := s.locks.Lock(ctx, lock.Stage(pipelineName, name), "removal of stage "+name)
	if err != nil {
		return err
	}
	defer s.locks.Unlock(ctx, h)
	st, err := s.states.Fresh(leased, pipelineName)
	if err != nil {
		return err
	}
	old, ok := st.Stages[name]
	if !ok || old.ID != id {
		return nil
	}
	if err := s.removeTargets(leased, st, old); err != nil {
		return err
	}
	return s.removeUnder(leased, h, pipelineName, name)
}

// removeUnder removes what is recorded by the name of a stage, or of a stage at a target, and
// ends its environments, under its lock.
func (e *core) removeUnder(leased context.Context, h *lock.Lock, pipelineName, name string) error {
	st, err := e.states.Fresh(leased, pipelineName)
	if err != nil {
		return err
	}
	if err := e.recover(leased, h, st, name); err != nil {
		return err
	}
	if st, err = e.states.Fresh(leased, pipelineName); err != nil {
		return err
	}
	for _, env := range st.EnvironmentsInOrder() {
		if env.Stage == name && env.Purpose != pipeline.ForPerson {
			if err := e.collector.EndEnvironment(leased, pipelineName, h.Lease, env); err != nil {
				return err
			}
		}
	}
	keys := st.KeysOfStage(name)
	if _, target := pipeline.CutTarget(name); target != "" && !slices.ContainsFunc(keys, func(k pipeline.Key) bool { return st.Version(k.Kind, k.ID) > 0 }) {
		return nil // it was removed before
	}
	if err := e.releaseChannel(leased, h, st, name); err != nil {
		return err
	}
	gone := append(keys, pipeline.CreationKey(pipeline.RecordStage, name))
	return e.states.Append(leased, pipelineName, &h.Lease, pipeline.Event{Kind: pipeline.StageRemoved, Facts: pipeline.Facts{Gone: gone}})
}
