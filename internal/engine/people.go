// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// stage gives a stage that must exist, with the state of its pipeline.
func (e *Engine) stage(ctx context.Context, pipelineName, stage string) (*pipeline.State, pipeline.Stage, error) {
	st, err := e.existing(ctx, pipelineName)
	if err != nil {
		return nil, pipeline.Stage{}, err
	}
	s, ok := st.Stages[stage]
	if !ok {
		return nil, s, noStage(pipelineName, stage)
	}
	return st, s, nil
}

func noBuild(op, pipelineName, build string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q has no build %q", pipelineName, build).
		WithHint("List the builds with `penstock builds %s`.", pipelineName)
}

// Promote records a person's wish that a manual stage move to a build. The next
// apply moves it. It is refused where a gate is closed, and where the stage is
// pinned in the configuration, which would win.
func (e *Engine) Promote(ctx context.Context, pipelineName, stage, build string) (pipeline.Promotion, error) {
	return e.promote(ctx, promotionTo(stage), pipelineName, stage, build, nil)
}

// PromoteFrom is Promote by somebody who compared the build with what the stage was at. It
// is refused with CodeConflict where the stage is elsewhere by now.
func (e *Engine) PromoteFrom(ctx context.Context, pipelineName, stage, build string, from Place) (pipeline.Promotion, error) {
	return e.promote(ctx, promotionTo(stage), pipelineName, stage, build, &from)
}

// Place is where a stage is, and where it goes.
type Place struct {
	Current string // the build that it holds; empty for none
	Next    string // the build that the next apply moves it to; Held where that leaves it there
}

// PlaceOf gives where a stage is, and where it goes.
func PlaceOf(st *pipeline.State, s pipeline.Stage) Place {
	return Place{Current: st.Current[s.Name].Build, Next: gate.Now(st).Stage(s.Name).Candidate.ID}
}

// promote records a promotion, which op calls what it is.
func (e *Engine) promote(ctx context.Context, op, pipelineName, stage, build string, from *Place) (pipeline.Promotion, error) {
	st, s, err := e.stage(ctx, pipelineName, stage)
	if err == nil {
		err = e.checkMove(op, st, s, build)
	}
	if err != nil {
		return pipeline.Promotion{}, err
	}
	if build == "" {
		var ok bool
		held := st.Builds[st.Current[s.Name].Build].Order
		if build, ok = gate.NewestEligible(st, s, held); !ok {
			return pipeline.Promotion{}, noneNewer(st, s, op)
		}
	}
	if err := gate.CheckID(s, build); err != nil {
		return pipeline.Promotion{}, err
	}
	if err := gate.Eligible(st, s, build); err != nil {
		return pipeline.Promotion{}, pipeline.During(op, err)
	}
	var expect map[pipeline.Key]int64
	if from != nil {
		if now := PlaceOf(st, s); now != *from {
			return pipeline.Promotion{}, pipeline.Errorf(pipeline.CodeConflict, op, "since you looked the stage has come to hold %s and goes to %s; it held %s and went to %s",
				buildOr(now.Current, "no build"), buildOr(now.Next, "none"), buildOr(from.Current, "no build"), buildOr(from.Next, "none")).WithHint("Look at what differs now, then decide.")
		}
		expect = map[pipeline.Key]int64{}
		for _, kind := range []pipeline.RecordKind{pipeline.RecordCurrent, pipeline.RecordPromotion} {
			expect[pipeline.Key{Kind: kind, ID: stage}] = st.Version(kind, stage)
		}
	}
	p := pipeline.Promotion{Pipeline: pipelineName, Stage: stage, Build: build, Actor: e.Person.Name, At: e.Now().UTC()}
	return p, e.appendExpecting(ctx, pipelineName, nil, expect, pipeline.Event{Kind: pipeline.BuildPromoted, Facts: pipeline.Facts{Promotion: &p}})
}

func promotionTo(stage string) string { return fmt.Sprintf("promote to stage %q", stage) }

// CheckPromote refuses a promotion that this person may not make, or that the stage does
// not take, whatever the build.
func (e *Engine) CheckPromote(st *pipeline.State, s pipeline.Stage, build string) error {
	return e.checkMove(promotionTo(s.Name), st, s, build)
}

func (e *Engine) checkMove(op string, st *pipeline.State, s pipeline.Stage, build string) error {
	if err := st.Pipeline.Authorize(pipeline.RightDeploy, e.Person, op); err != nil {
		return err
	}
	to := ""
	if build != "" {
		to = fmt.Sprintf(" to build = %q", build)
	}
	switch {
	case s.Type == pipeline.TypeCommit || !s.TakesBuild():
		return pipeline.Errorf(pipeline.CodeRefused, op, "a stage of type %s takes no builds: it runs when its source or definition changes", s.Type).
			WithHint("Name a stage with a manual trigger; `penstock status %s` lists the stages.", s.Pipeline)
	case s.Pin != "":
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage is pinned to build %s by its configuration", s.Pin).
			WithHint("Change build = %q%s in the penstock_stage and apply.", s.Pin, to)
	case s.Trigger != pipeline.TriggerManual:
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage moves by itself to the newest build that passed").
			WithHint("Set trigger = \"manual\" on the stage to move it by hand, or pin it with build = \"…\".")
	}
	return gate.CheckPaused(st, s, op)
}

// noneNewer says why there is no build that a stage could be promoted to: what keeps the
// newest that may still come.
func noneNewer(st *pipeline.State, s pipeline.Stage, op string) error {
	held := st.Builds[st.Current[s.Name].Build].Order
	for b := range st.NewestBuilds() {
		if b.Order <= held {
			break
		}
		if o, found := gate.ObstacleTo(st, s, b.ID); found && o.Comes {
			return o.Err(op)
		}
	}
	return pipeline.Errorf(pipeline.CodeRefused, op, "no build newer than the one it holds has passed what is before it").
		WithHint("`penstock builds %s` lists the builds with how they fared; name one that passed to go back.", s.Pipeline)
}
