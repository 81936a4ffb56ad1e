// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Judge records a person's decision on a build at a stage; with build "" on the stage's
// candidate. An approval needs a run that passed there, or a rejection there that it
// lifts, and is one of as many as the pipeline wants; a rejection needs a reason.
// CodeNotAllowed refuses who has no right.
// To approve again what one approved already changes nothing.
func (e *Engine) Judge(ctx context.Context, pipelineName, stage, build string, verdict pipeline.Verdict, reason string) (pipeline.Decision, error) {
	return e.judge(ctx, pipelineName, stage, build, nil, verdict, reason)
}

// JudgeOn is Judge by somebody who looked at a certain run of the stage for the build, ""
// for none. It is refused with CodeConflict where another one judges the build by now.
func (e *Engine) JudgeOn(ctx context.Context, pipelineName, stage, build, run string, verdict pipeline.Verdict, reason string) (pipeline.Decision, error) {
	return e.judge(ctx, pipelineName, stage, build, &run, verdict, reason)
}

func (e *Engine) judge(ctx context.Context, pipelineName, stage, build string, looked *string, verdict pipeline.Verdict, reason string) (pipeline.Decision, error) {
	op := fmt.Sprintf("record decision on stage %q", stage)
	st, s, err := e.stage(ctx, pipelineName, stage)
	if err != nil {
		return pipeline.Decision{}, err
	}
	if build == "" {
		if build = pipeline.Decide(st, s).Candidate; build == "" {
			return pipeline.Decision{}, pipeline.Errorf(pipeline.CodeRefused, op, "no build is on offer there").
				WithHint("Name one that was; `penstock builds %s` lists them.", pipelineName)
		}
	}
	if verdict == pipeline.Rejected && strings.TrimSpace(reason) == "" {
		return pipeline.Decision{}, pipeline.Errorf(pipeline.CodeInvalid, op, "a rejection needs a reason").
			WithHint("Say why with --reason.")
	}
	if _, ok := st.Builds[build]; !ok {
		return pipeline.Decision{}, noBuild(op, pipelineName, build)
	}
	if now, _ := st.VerdictOf(s, build); looked != nil && *looked != now.ID {
		return pipeline.Decision{}, pipeline.Errorf(pipeline.CodeConflict, op, "build %s has run there again since you looked, as run %s", build, now.ID).
			WithHint("Look at that run, then decide.")
	}
	if err := e.CheckJudge(st, s, build, verdict); err != nil {
		return pipeline.Decision{}, err
	}
	d, news := e.decision(st, s, build, verdict, reason)
	if !news {
		return d, nil
	}
	key := pipeline.Key{Kind: pipeline.RecordDecision, ID: pipeline.StageBuild(stage, build)}
	err = e.appendExpecting(ctx, pipelineName, nil, map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)},
		pipeline.Event{Kind: pipeline.BuildDecided, Facts: pipeline.Facts{Decision: &d}})
	if err != nil {
		return d, err
	}
	if err := e.endInquiry(ctx, pipelineName, stage, build); err != nil { // who may decide need not be allowed to
		e.Logger.Warn("the environment in which the build was tried ends with the next apply", "stage", stage, "build", build, "error", err)
	}
	return d, nil
}

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

// CheckJudge reports why this person can't take a decision: there is nothing to decide,
// no right to, or the person wrote what would be approved.
func (e *Engine) CheckJudge(st *pipeline.State, s pipeline.Stage, build string, verdict pipeline.Verdict) error {
	if verdict == pipeline.Rejected {
		return st.Pipeline.Authorize(pipeline.RightReject, e.Person, fmt.Sprintf("reject build %s at stage %q", build, s.Name))
	}
	op := fmt.Sprintf("approve build %s at stage %q", build, s.Name)
	if err := st.Pipeline.Authorize(pipeline.RightApprove, e.Person, op); err != nil {
		return err
	}
	run, ran := st.VerdictOf(s, build)
	if err := approvable(st, s, build, run, ran); err != nil {
		return err
	}
	return st.Pipeline.RefuseAuthor(e.Person, st.Authors(s, build), op)
}

// decision makes the record of a decision, beside the approvals that still hold. It is
// no news, and the one that there is, where this person has approved the same already.
func (e *Engine) decision(st *pipeline.State, s pipeline.Stage, build string, verdict pipeline.Verdict, reason string) (d pipeline.Decision, news bool) {
	run, _ := st.VerdictOf(s, build)
	now := e.Now().UTC()
	d = pipeline.Decision{
		Pipeline: s.Pipeline, Stage: s.Name, Build: build, Run: run.ID, Inputs: st.Inputs(s, build),
		Verdict: verdict, Reason: reason, Actor: e.Person.Name, At: now,
	}
	if verdict == pipeline.Rejected {
		return d, true
	}
	if st.ApprovedBy(e.Person, s, build) {
		return st.Decisions[pipeline.StageBuild(s.Name, build)], false
	}
	mine := pipeline.Approval{Person: st.Pipeline.Authorization.Person(e.Person), Actor: e.Person.Name, Reason: reason, At: now}
	d.Approvals = append(slices.Clone(st.Approvals(s, build)), mine)
	return d, true
}

// approvable reports why a build can't be approved at a stage: nothing passed that
// could be approved, or the stage needs no approval and the build isn't rejected.
func approvable(st *pipeline.State, s pipeline.Stage, build string, run pipeline.RunSummary, ran bool) error {
	op := fmt.Sprintf("approve build %s at stage %q", build, s.Name)
	switch {
	case st.Decisions[pipeline.StageBuild(s.Name, build)].Verdict == pipeline.Rejected:
		return nil // it lifts the rejection, and approves nothing but a run that passed
	case !s.Approval:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "the stage takes no decision").
			WithHint("Only a stage of type exploratory, or one with approval = true, waits for one.")
	case !ran || run.Status != pipeline.RunPassed:
		if err := st.Eligible(s, build); err != nil {
			return err
		}
		return pipeline.Errorf(pipeline.CodeRefused, op, "the build has not passed the steps of the stage yet").
			WithHint("Let the stage run for it by an apply first.")
	}
	return nil
}

// endInquiry ends the environment that a build was tried in, once it is decided.
func (e *Engine) endInquiry(ctx context.Context, pipelineName, stage, build string) error {
	st, err := e.fresh(ctx, pipelineName)
	if err != nil {
		return err
	}
	env, ok := st.RunEnvironment(stage, pipeline.ForInquiry)
	if !ok || env.Build != build || !st.Settled(st.Stages[stage], build) {
		return nil
	}
	h, err := e.tryHold(ctx, stageKey(pipelineName, stage), "end of the environment to try "+build)
	if err != nil || h == nil {
		return err // a run holds the stage: it replaces the environment
	}
	defer e.release(ctx, h)
	return e.endEnvironment(ctx, pipelineName, &h.lease, env)
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
	Held string // the build that it holds; empty for none
	Next string // the build that the next apply moves it to; Held where that leaves it there
}

// PlaceOf gives where a stage is, and where it goes.
func PlaceOf(st *pipeline.State, s pipeline.Stage) Place {
	return Place{Held: st.Holds[s.Name].Build, Next: pipeline.Decide(st, s).Candidate}
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
		held := st.Builds[st.Holds[s.Name].Build].Order
		if build, ok = st.NewestEligible(s, held); !ok {
			return pipeline.Promotion{}, pipeline.Errorf(pipeline.CodeRefused, op, "no build newer than the one it holds has passed what is before it").
				WithHint("`penstock status %s` shows what the stages wait for.", pipelineName)
		}
	}
	if !pipeline.ValidBuildID(build) {
		return pipeline.Promotion{}, s.PinError(build)
	}
	if err := st.Eligible(s, build); err != nil {
		return pipeline.Promotion{}, pipeline.During(op, err)
	}
	var expect map[pipeline.Key]int64
	if from != nil {
		if now := PlaceOf(st, s); now != *from {
			return pipeline.Promotion{}, pipeline.Errorf(pipeline.CodeConflict, op, "since you looked the stage has come to hold %s and goes to %s; it held %s and went to %s",
				buildOr(now.Held, "no build"), buildOr(now.Next, "none"), buildOr(from.Held, "no build"), buildOr(from.Next, "none")).WithHint("Look at what differs now, then decide.")
		}
		expect = map[pipeline.Key]int64{}
		for _, kind := range []pipeline.RecordKind{pipeline.RecordHold, pipeline.RecordPromotion} {
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
	case s.Pin != "":
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage is pinned to build %s by its configuration", s.Pin).
			WithHint("Change build = %q%s in the penstock_stage and apply.", s.Pin, to)
	case s.Trigger != pipeline.TriggerManual:
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage moves by itself to the newest build that passed").
			WithHint("Set trigger = \"manual\" on the stage to move it by hand, or pin it with build = \"…\".")
	}
	return st.RefuseHeld(s, op)
}
