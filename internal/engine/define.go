// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// CreatePipeline defines a pipeline that does not exist. One that the same
// configuration (p.Owner) defined is adopted: its creation was interrupted. One of
// another configuration is CodeConflict.
func (e *Engine) CreatePipeline(ctx context.Context, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	if err := e.Platform.CheckService(p.Service); err != nil {
		return p, err
	}
	st, err := e.fresh(ctx, p.Name)
	if err != nil {
		return p, err
	}
	p.ID = "p-" + randomHex(8)
	if st.Exists() {
		if st.Pipeline.Owner != p.Owner {
			return p, ownedElsewhere("pipeline", p.Name, st.Pipeline.Owner, p.Name)
		}
		p.ID = st.Pipeline.ID
	} else if err := e.purge(ctx, p.Name); err != nil {
		return p, err
	}
	key := pipeline.Key{Kind: pipeline.RecordPipeline, ID: p.Name}
	return p, e.appendExpecting(ctx, p.Name, nil, map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)}, definition(st, p)...)
}

// UpdatePipeline changes the definition of a pipeline that exists.
func (e *Engine) UpdatePipeline(ctx context.Context, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	if err := e.Platform.CheckService(p.Service); err != nil {
		return p, err
	}
	st, err := e.existing(ctx, p.Name)
	if err != nil {
		return p, err
	}
	p.ID, p.Owner = st.Pipeline.ID, st.Pipeline.Owner
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

func ownedElsewhere(noun, name, owner, importID string) error {
	return pipeline.Errorf(pipeline.CodeConflict, "create "+noun, "%s %q exists already; the configuration in %s made it", noun, name, owner).
		WithHint("Choose another name, or take it over with `terraform import … %s`.", importID)
}

// RemovePipeline removes a pipeline with everything that belongs to it: images,
// artifacts, logs and history. While it has environments it is refused with
// CodeConflict unless force is set, which ends them too; while somebody is at work on
// anything of it, with CodeHeld. A pipeline that does not exist is no error.
func (e *Engine) RemovePipeline(ctx context.Context, name string, force bool) error {
	leased, h, err := e.hold(ctx, pipelineKey(name), "removal of the pipeline")
	if err != nil {
		return err
	}
	defer e.release(ctx, h)
	st, err := e.fresh(leased, name)
	if err != nil {
		return err
	}
	if st.Exists() {
		if err := e.undefine(leased, h, st, force); err != nil {
			return lostOr(leased, err)
		}
	}
	if err := e.purge(leased, name); err != nil {
		return err
	}
	return e.sweep(leased, "")
}

// undefine ends what there is of a pipeline, while nobody else can work on it, and
// removes its records but the history.
func (e *Engine) undefine(ctx context.Context, h *held, st *pipeline.State, force bool) error {
	name := st.Pipeline.Name
	release, err := e.holdAll(ctx, workers(st), "removal of the pipeline")
	if err != nil {
		return err
	}
	defer release()
	if st, err = e.fresh(ctx, name); err != nil {
		return err
	}
	var alive []string
	hint := "Destroy them first, or set force_destroy = true on the pipeline and apply before you destroy it."
	for _, env := range st.Environments {
		if env.Serves() {
			alive = append(alive, env.Describe())
		}
		if env.Status == pipeline.EnvKept {
			hint = "End those that were kept after a failure with `penstock gc --kept`. " + hint
		}
	}
	if len(alive) > 0 && !force {
		slices.Sort(alive)
		return pipeline.Errorf(pipeline.CodeConflict, "remove pipeline", "pipeline %q still has environments: %s", name, strings.Join(alive, ", ")).WithHint("%s", hint)
	}
	if err := e.dismantle(ctx, h, st); err != nil {
		return err
	}
	return e.append(ctx, name, &h.lease, pipeline.Event{Kind: pipeline.PipelineRemoved, Facts: pipeline.Facts{Gone: st.Keys()}})
}

// workers gives the lease keys of all that somebody may be at work on in a pipeline.
func workers(st *pipeline.State) []string {
	var keys []string
	for name := range st.Stages {
		keys = append(keys, stageKey(st.Pipeline.Name, name))
	}
	for name := range st.Recipes {
		keys = append(keys, recipeKey(st.Pipeline.Name, name))
	}
	for _, env := range st.Environments {
		if env.Purpose == pipeline.ForPerson {
			keys = append(keys, envKey(st.Pipeline.Name, env.Name))
		}
	}
	slices.Sort(keys)
	return keys
}

// dismantle ends the pipeline's environments, clears away what its dead runs left, and
// removes the logs of all.
func (e *Engine) dismantle(ctx context.Context, h *held, st *pipeline.State) error {
	for _, env := range st.Environments {
		if err := e.endEnvironment(ctx, st.Pipeline.Name, &h.lease, env); err != nil {
			return err
		}
		if env.Purpose == pipeline.ForPerson {
			if err := e.Logs.Remove(ctx, st.Pipeline.Name, env.ID); err != nil {
				return err
			}
		}
	}
	for _, run := range st.Latest {
		if run.Status != pipeline.RunRunning {
			continue
		}
		if err := e.Platform.Abandon(ctx, run.ID); err != nil {
			return fmt.Errorf("clear the bake of run %s: %w", run.ID, err)
		}
	}
	return e.eachRun(ctx, st.Pipeline.Name, pipeline.RunQuery{}, func(r pipeline.RunSummary) error {
		return e.Logs.Remove(ctx, st.Pipeline.Name, r.ID)
	})
}

// purge removes the history of a pipeline that is not defined, if it has one.
func (e *Engine) purge(ctx context.Context, name string) error {
	head, err := e.Ledger.Head(ctx, name)
	if err != nil || head == 0 {
		return err
	}
	return e.Ledger.Purge(ctx, name)
}

// purgeRemoved removes the histories of pipelines whose removal was interrupted.
func (e *Engine) purgeRemoved(ctx context.Context) error {
	names, err := e.Ledger.Removed(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := e.Ledger.Purge(ctx, name); err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict { // defined again by now
			return err
		}
	}
	return nil
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
func (e *Engine) define(ctx context.Context, h *held, st *pipeline.State, stage pipeline.Stage, create bool) (pipeline.Stage, error) {
	old, exists := st.Stages[stage.Name]
	stage.ID = "s-" + randomHex(8)
	if exists {
		stage.Owner, stage.Settled = old.Owner, old.Settled
	}
	if exists && !create {
		stage.ID = old.ID
	}
	if exists && stage.Equal(old) {
		return stage, nil
	}
	return stage, e.append(ctx, stage.Pipeline, &h.lease,
		pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &stage}})
}

// RemoveStage removes a stage and ends its environments. Its runs stay in the
// history. A stage that does not exist is no error, nor is one of another ID, which has
// taken the name over: that one stays.
func (e *Engine) RemoveStage(ctx context.Context, pipelineName, name, id string) error {
	leased, h, err := e.hold(ctx, stageKey(pipelineName, name), "removal of stage "+name)
	if err != nil {
		return err
	}
	defer e.release(ctx, h)
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
	for _, env := range st.Environments {
		if env.Stage == name && env.Purpose != pipeline.ForPerson {
			if err := e.endEnvironment(leased, pipelineName, &h.lease, env); err != nil {
				return err
			}
		}
	}
	gone := []pipeline.Key{
		{Kind: pipeline.RecordStage, ID: name}, {Kind: pipeline.RecordHold, ID: name},
		{Kind: pipeline.RecordPromotion, ID: name}, {Kind: pipeline.RecordLatest, ID: name},
		{Kind: pipeline.RecordFreeze, ID: name}, {Kind: pipeline.RecordRetry, ID: name},
	}
	for _, key := range st.Keys() {
		if key.OfStageAndBuild() && strings.HasPrefix(key.ID, name+"/") {
			gone = append(gone, key)
		}
	}
	return e.append(leased, pipelineName, &h.lease, pipeline.Event{Kind: pipeline.StageRemoved, Facts: pipeline.Facts{Gone: gone}})
}

// endEnvironment destroys an environment and removes its record, in that order:
// what is recorded can be found, what is not recorded can't.
func (e *Engine) endEnvironment(ctx context.Context, pipelineName string, fence *pipeline.Lease, env pipeline.Environment) error {
	if env.Status != pipeline.EnvEnding {
		env.Status = pipeline.EnvEnding
		if err := e.append(ctx, pipelineName, fence, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}}); err != nil {
			return err
		}
	}
	if err := e.Platform.Destroy(ctx, env.ID); err != nil {
		return fmt.Errorf("end %s: %w", env.Describe(), err)
	}
	st, err := e.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	gone := append(raisedOf(st, env.ID), pipeline.Key{Kind: pipeline.RecordEnvironment, ID: env.ID})
	return e.append(ctx, pipelineName, fence, pipeline.Event{Kind: pipeline.EnvironmentEnded, Facts: pipeline.Facts{Gone: gone}})
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
