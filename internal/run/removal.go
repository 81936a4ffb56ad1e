// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Removal is what is removed with a pipeline.
type Removal struct {
	Stages       []string               // names, in order
	Builds       int                    // that are retained
	Environments []pipeline.Environment // that answer, by name
	Channels     []pipeline.Channel     // whose names stay when nothing publishes by them any more, by name

	refused, left error
}

// RemovalOf returns what is removed with a pipeline.
func RemovalOf(st *pipeline.State) Removal {
	r := Removal{Builds: len(st.Builds)}
	for _, s := range st.StagesInOrder() {
		r.Stages = append(r.Stages, s.Name)
	}
	for _, env := range st.Environments {
		if env.Serves() {
			r.Environments = append(r.Environments, env)
		}
	}
	slices.SortFunc(r.Environments, func(a, b pipeline.Environment) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	r.Channels = kept(st)
	r.refused = stillThere(st, func(env pipeline.Environment) bool { return outlives(st, env) })
	r.left = stillThere(st, func(pipeline.Environment) bool { return true })
	return r
}

// Refused returns why the removal of the pipeline is certain to be refused; nil if it may
// succeed, as what belongs to a state may be destroyed before the pipeline is.
func (r Removal) Refused(force bool) error {
	if force {
		return nil
	}
	return r.refused
}

// RefusedAlone is Refused for a pipeline that is removed without its stages.
func (r Removal) RefusedAlone(force bool) error {
	if force {
		return nil
	}
	return r.left
}

// ByHand reports whether no configuration made the environment.
func ByHand(env pipeline.Environment) bool { return strings.HasPrefix(env.Configured, "penstock ") }

// outlives reports whether no state has an environment, or the stage that it is of, so that
// Terraform ends it only together with its pipeline.
func outlives(st *pipeline.State, env pipeline.Environment) bool {
	if env.Purpose == pipeline.ForPerson {
		return ByHand(env)
	}
	stage, _ := pipeline.CutTarget(env.Stage)
	_, exists := st.Stages[stage]
	_, pending := st.Creations[pipeline.CreationKey(pipeline.RecordStage, stage).ID]
	return !exists || pending
}

// kept lists the channels whose names were to stay, by name: those that were left, and those that
// will be when their publishers go.
func kept(st *pipeline.State) []pipeline.Channel {
	all := pipeline.LeftChannels(st)
	for _, c := range st.Channels {
		if now := pipeline.PublicationOf(st, c.Stage); now != nil && !c.Left {
			c.Publication = *now
		}
		if !c.Left && c.Stays() {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b pipeline.Channel) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// followed refuses to remove a pipeline with channels whose names were to stay: their images would
// go with it.
func followed(st *pipeline.State) error {
	var names []string
	for _, c := range kept(st) {
		names = append(names, fmt.Sprintf("%q", c.Name))
	}
	if len(names) == 0 {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeConflict, "remove pipeline", "pipeline %q still has channels that are to be kept, and their images go with it: %s", st.Pipeline.Name, strings.Join(names, ", ")).
		WithHint("Let a stage adopt each name, to be deleted at the end, and apply, or let them end with the pipeline.").
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbForce})
}

// stillThere refuses to remove a pipeline with environments that are among the given ones, or with
// channels that were to stay.
func stillThere(st *pipeline.State, among func(pipeline.Environment) bool) error {
	var alive []string
	var ways []pipeline.Advice
	kept := false
	for _, id := range slices.Sorted(maps.Keys(st.Environments)) {
		env := st.Environments[id]
		if !env.Serves() || !among(env) {
			continue
		}
		alive = append(alive, env.Describe())
		switch {
		case env.Purpose == pipeline.ForPerson:
			ways = append(ways, pipeline.Advice{Verb: pipeline.VerbDestroy, Pipeline: st.Pipeline.Name, Environment: env.Name})
		case env.Status == pipeline.EnvKept && !kept:
			kept = true
			ways = append(ways, pipeline.Advice{Verb: pipeline.VerbEndKept})
		}
	}
	if len(alive) == 0 {
		return followed(st)
	}
	slices.Sort(alive)
	return pipeline.Errorf(pipeline.CodeConflict, "remove pipeline", "pipeline %q still has environments: %s", st.Pipeline.Name, strings.Join(alive, ", ")).
		WithHint("Destroy them first, or let them end with the pipeline.").WithAdvice(append(ways, pipeline.Advice{Verb: pipeline.VerbForce})...)
}

// Remove removes the pipeline of an ID, or any of that name if id is "", with everything that
// belongs to it: images, artifacts, logs and history, which is archived for as long as the
// pipeline says. While it has environments, or channels that were to stay, it is refused with
// CodeConflict, unless force is set, which ends them too. While somebody works on any part of it, it is refused with
// CodeLocked. A pipeline that does not exist is no error. A pipeline of another ID has taken
// the name over: it stays, without an error.
func (ps *Pipelines) Remove(ctx context.Context, name, id string, force bool) error {
	leased, h, err := ps.locks.Lock(ctx, lock.Pipeline(name), "removal of the pipeline")
	if err != nil {
		return err
	}
	defer ps.locks.Unlock(ctx, h)
	st, err := ps.states.Fresh(leased, name)
	if err != nil {
		return err
	}
	if st.Exists() && id != "" && st.Pipeline.ID != id {
		return nil
	}
	if st.Exists() {
		if err := ps.undefine(leased, h, st, force); err != nil {
			return lock.LostOr(leased, err)
		}
	}
	if err := ps.collector.Purge(leased, name); err != nil {
		return err
	}
	return ps.collector.Sweep(leased, nil)
}

// undefine ends all parts of a pipeline, while nobody else can work on it, and removes its
// records except the history.
func (ps *Pipelines) undefine(ctx context.Context, h *lock.Lock, st *pipeline.State, force bool) error {
	name := st.Pipeline.Name
	ctx, all, release, err := ps.locks.All(ctx, workers(st), "removal of the pipeline")
	if err != nil {
		return err
	}
	defer release()
	if st, err = ps.states.Fresh(ctx, name); err != nil {
		return err
	}
	if err := stillThere(st, func(pipeline.Environment) bool { return true }); err != nil && !force {
		return err
	}
	if err := ps.dismantle(ctx, all, st); err != nil {
		return err
	}
	return ps.states.Append(ctx, name, &h.Lease, pipeline.Event{Kind: pipeline.PipelineRemoved, Facts: pipeline.Facts{Gone: st.Keys()}})
}

// workers returns the lease keys of everything in a pipeline that somebody may be working on.
func workers(st *pipeline.State) []pipeline.LeaseKey {
	var keys []pipeline.LeaseKey
	for name := range st.Stages {
		keys = append(keys, lock.Stage(st.Pipeline.Name, name))
	}
	for name := range st.ImageDefinitions {
		keys = append(keys, lock.Image(st.Pipeline.Name, name))
	}
	for _, env := range st.Environments {
		keys = append(keys, lock.Environment(env))
	}
	for _, run := range st.Latest {
		keys = append(keys, lock.Run(st.Pipeline.Name, run))
	}
	for _, c := range st.Channels {
		keys = append(keys, lock.Publisher(st.Pipeline.Name, c.Stage))
	}
	slices.SortFunc(keys, pipeline.LeaseKey.Compare)
	return slices.Compact(keys)
}

// dismantle ends the pipeline's environments, clears away what its dead runs left, and
// removes the logs of all.
func (ps *Pipelines) dismantle(ctx context.Context, all lock.Several, st *pipeline.State) error {
	for _, env := range st.EnvironmentsInOrder() {
		if err := ps.collector.EndEnvironment(ctx, st.Pipeline.Name, all[lock.Environment(env)].Lease, env); err != nil {
			return err
		}
		if env.Purpose == pipeline.ForPerson {
			if err := ps.logs.Remove(ctx, st.Pipeline.Name, env.ID); err != nil {
				return err
			}
		}
	}
	for _, c := range st.Channels {
		if err := ps.endChannel(ctx, all[lock.Publisher(st.Pipeline.Name, c.Stage)], st, c); err != nil {
			return err
		}
	}
	for _, run := range st.Latest {
		if run.Status != pipeline.RunRunning {
			continue
		}
		if err := ps.under(all[lock.Run(st.Pipeline.Name, run)].Lease).Abandon(ctx, run.ID); err != nil {
			return fmt.Errorf("clear the bake of run %s: %w", run.ID, err)
		}
	}
	return ps.states.EachRun(ctx, st.Pipeline.Name, pipeline.RunQuery{}, func(r pipeline.RunSummary) error {
		return ps.logs.Remove(ctx, st.Pipeline.Name, r.ID)
	})
}
