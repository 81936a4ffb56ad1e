// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Looked is what somebody saw who decides. What is nil, nobody showed.
type Looked struct {
	Run      *string // the run that judged the build; "" for none
	Decision *int64  // the version of the decision that there was; 0 for none
}

// Judge records a person's decision on a build at a stage; with build "" on the stage's
// candidate. An approval needs a run that passed there, and is one of as many as the
// pipeline wants; a rejection needs a reason, and stands beside those that there are.
// CodeNotAllowed refuses who has no right, CodeRefused the approval of a rejected build,
// which Lift is for. To approve again what one approved already changes nothing.
//
// Where another decision comes at the same time the later one is refused with
// CodeConflict, which says who decided what; but approvals of the same run add up.
func (e *Engine) Decide(ctx context.Context, pipelineName, stage, build string, verdict pipeline.DecisionResult, reason string) (pipeline.Decision, error) {
	return e.DecideOn(ctx, pipelineName, stage, build, Looked{}, verdict, reason)
}

// JudgeOn is Judge by somebody who looked. It is refused with CodeConflict where another
// run judges the build by now, or somebody has decided since.
func (e *Engine) DecideOn(ctx context.Context, pipelineName, stage, build string, looked Looked, verdict pipeline.DecisionResult, reason string) (pipeline.Decision, error) {
	return e.decide(ctx, choice{pipeline: pipelineName, stage: stage, build: build, result: verdict, reason: reason}, looked)
}

// Lift records that a person wants the rejection of a build at a stage to be lifted. It is
// when as many people do as must approve a build, all of whom have seen every rejection
// that stands; where the run passed that judges the build their votes approve it. What was
// voted before the last rejection does not count. The refusals are those of JudgeOn.
func (e *Engine) Lift(ctx context.Context, pipelineName, stage, build string, looked Looked, reason string) (pipeline.Decision, error) {
	return e.decide(ctx, choice{pipeline: pipelineName, stage: stage, build: build, result: pipeline.Approved, lift: true, reason: reason}, looked)
}

// choice is what a person decides.
type choice struct {
	pipeline, stage, build string
	result                 pipeline.DecisionResult
	lift                   bool
	reason                 string
}

func (c choice) op() string {
	switch {
	case c.lift:
		return fmt.Sprintf("lift rejection at stage %q", c.stage)
	case c.result == pipeline.Rejected:
		return fmt.Sprintf("reject at stage %q", c.stage)
	}
	return fmt.Sprintf("approve at stage %q", c.stage)
}

// attempts is how often a decision is tried that only approvals of others come before: each
// time another person's was recorded.
const attempts = 20

func (e *Engine) decide(ctx context.Context, c choice, looked Looked) (d pipeline.Decision, err error) {
	for range attempts {
		var again bool
		if d, again, err = e.tryDecide(ctx, &c, &looked); !again {
			break
		}
		e.askAgain()
	}
	return d, err
}

// tryDecide checks and records a decision. It notes what was decided before, and reports
// true where somebody else decided meanwhile, so that a look at that says whether this
// decision still holds.
func (e *Engine) tryDecide(ctx context.Context, c *choice, looked *Looked) (d pipeline.Decision, again bool, err error) {
	st, s, err := e.stage(ctx, c.pipeline, c.stage)
	if err != nil {
		return d, false, err
	}
	if err := c.complete(st, s); err != nil {
		return d, false, err
	}
	key := pipeline.Key{Kind: pipeline.RecordDecision, ID: pipeline.StageBuild(c.stage, c.build)}
	seen := st.Version(key.Kind, key.ID)
	if err := c.stillSo(st, s, *looked); err != nil {
		return d, false, err
	}
	check := func() error { return e.CheckDecision(st, s, c.build, c.result) }
	if c.lift {
		check = func() error { return e.CheckLift(st, s, c.build) }
	}
	if err := check(); err != nil {
		return d, false, err
	}
	d, news := e.decision(st, s, *c)
	if !news {
		return d, false, nil
	}
	err = e.appendExpecting(ctx, c.pipeline, nil, map[pipeline.Key]int64{key: seen},
		pipeline.Event{Kind: pipeline.BuildDecided, Facts: pipeline.Facts{Decision: &d}})
	if pipeline.CodeOf(err) == pipeline.CodeConflict {
		looked.Decision = &seen
		return d, true, err
	}
	if err != nil {
		return d, false, err
	}
	if err := e.endInquiry(ctx, c.pipeline, c.stage, c.build); err != nil { // who may decide need not be allowed to
		e.Logger.Warn("the environment in which the build was tried ends with the next apply", "stage", c.stage, "build", c.build, "error", err)
	}
	return d, false, nil
}

// complete fills in the build where none is named, and refuses what can't be decided at all.
func (c *choice) complete(st *pipeline.State, s pipeline.Stage) error {
	op := c.op()
	if c.result == pipeline.Rejected && strings.TrimSpace(c.reason) == "" {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "a rejection needs a reason").WithHint("Say why with --reason.")
	}
	if c.build != "" {
		if _, ok := st.Builds[c.build]; !ok {
			return noBuild(op, c.pipeline, c.build)
		}
		return nil
	}
	move := gate.Now(st).Stage(s.Name)
	switch {
	case c.lift:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "the build whose rejection to lift has to be named").
			WithHint("`penstock builds %s` lists the builds with how they fared.", c.pipeline)
	case !s.Approval && c.result == pipeline.Approved:
		return takesNone(op)
	case move.Candidate.ID == "" && !s.Approval:
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage takes no decision, and has no build now").
			WithHint("Name the build to reject there; `penstock builds %s` lists them.", c.pipeline)
	case move.Candidate.ID == "" && move.Wait.Waits():
		return (&pipeline.Error{Code: pipeline.CodeRefused, Op: op, Err: &gate.WaitError{Wait: move.Wait}}).
			WithHint("A decision may name a build that was; `penstock builds %s` lists them.", c.pipeline)
	case move.Candidate.ID == "":
		return pipeline.Errorf(pipeline.CodeRefused, op, "no build is on offer there").
			WithHint("Name one that was; `penstock builds %s` lists them.", c.pipeline)
	}
	c.build = move.Candidate.ID
	return nil
}

func takesNone(op string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "the stage takes no decision").
		WithHint("Only a stage of type exploratory, or one with approval = true, waits for one.")
}

// stillSo refuses, with CodeConflict, a decision of somebody who saw another run, or
// another decision, than there is.
func (c choice) stillSo(st *pipeline.State, s pipeline.Stage, looked Looked) error {
	if now, _ := st.ResultOf(s, c.build); looked.Run != nil && *looked.Run != now.ID {
		return pipeline.Errorf(pipeline.CodeConflict, c.op(), "build %s has run there again since you looked, as run %s", c.build, now.ID).
			WithHint("Look at that run, then decide.")
	}
	id := pipeline.StageBuild(s.Name, c.build)
	if looked.Decision == nil || *looked.Decision == st.Version(pipeline.RecordDecision, id) {
		return nil
	}
	d, decided := st.Decisions[id]
	if c.result == pipeline.Approved && !c.lift && len(st.Approvals(s, c.build)) > 0 && len(d.Lifted) == 0 {
		return nil // somebody else has approved the same
	}
	if !decided {
		return pipeline.Errorf(pipeline.CodeConflict, c.op(), "the decision on build %s that you looked at is gone", c.build).WithHint("Look again, then decide.")
	}
	err := pipeline.Errorf(pipeline.CodeConflict, c.op(), "since you looked, %s", d.Describe())
	if d.Result == pipeline.Rejected && c.result == pipeline.Approved {
		err.Err = gate.NewLiftError(err.Err, c.pipeline, s.Name, c.build)
		return err.WithHint("Nothing was decided. Ask why.")
	}
	return err.WithHint("Nothing was decided. Look again, then decide.")
}

// CheckJudge reports why this person can't take a decision: there is nothing to decide,
// no right to, or the person wrote what would be approved.
func (e *Engine) CheckDecision(st *pipeline.State, s pipeline.Stage, build string, verdict pipeline.DecisionResult) error {
	if verdict == pipeline.Rejected {
		return st.Pipeline.Authorize(pipeline.RightReject, e.Person, fmt.Sprintf("reject build %s at stage %q", build, s.Name))
	}
	op := fmt.Sprintf("approve build %s at stage %q", build, s.Name)
	if err := st.Pipeline.Authorize(pipeline.RightApprove, e.Person, op); err != nil {
		return err
	}
	if err := approvable(st, s, build, op); err != nil {
		return err
	}
	return st.Pipeline.RefuseAuthor(e.Person, st.Authors(s, build), op)
}

// CheckLift reports why this person can't lift the rejection of a build at a stage: there
// is none, no right to, or the person wrote the build. That it is their own is no reason.
func (e *Engine) CheckLift(st *pipeline.State, s pipeline.Stage, build string) error {
	op := fmt.Sprintf("lift the rejection of build %s at stage %q", build, s.Name)
	if err := st.Pipeline.Authorize(pipeline.RightApprove, e.Person, op); err != nil {
		return err
	}
	if st.Decisions[pipeline.StageBuild(s.Name, build)].Result != pipeline.Rejected {
		err := pipeline.Errorf(pipeline.CodeRefused, op, "it is not rejected there")
		if at := st.RejectedAt(build); at != "" {
			err.Err = gate.NewLiftError(err.Err, s.Pipeline, at, build)
			return err.WithHint("It is at stage %q.", at)
		}
		return err.WithHint("There is nothing to lift. `penstock builds %s` shows how the builds fared.", s.Pipeline)
	}
	return st.Pipeline.RefuseAuthor(e.Person, st.Authors(s, build), op)
}

// approvable reports why a build can't be approved at a stage: the stage needs no approval,
// the build is rejected, or nothing passed that could be approved.
func approvable(st *pipeline.State, s pipeline.Stage, build, op string) error {
	run, _ := st.ResultOf(s, build)
	o, found := gate.ObstaclePast(st, s, build)
	switch {
	case found && o.Kind == gate.ObstacleRejected:
		return o.Err(op)
	case !s.Approval:
		return takesNone(op)
	case run.Status == pipeline.RunPassed, !found:
		return nil
	}
	return o.Err(op)
}

// decision makes the record of a decision, beside the votes that still count. It is no
// news, and the one that there is, where this person has voted so already.
func (e *Engine) decision(st *pipeline.State, s pipeline.Stage, c choice) (d pipeline.Decision, news bool) {
	run, _ := st.ResultOf(s, c.build)
	now, was := e.Now().UTC(), st.Decisions[pipeline.StageBuild(s.Name, c.build)]
	d = pipeline.Decision{
		Pipeline: s.Pipeline, Stage: s.Name, Build: c.build, Run: run.ID, Inputs: st.Inputs(s, c.build),
		Result: c.result, Reason: c.reason, Actor: e.Person.Name, At: now,
	}
	mine := pipeline.Approval{Person: st.Pipeline.Authorization.Person(e.Person), Actor: e.Person.Name, Reason: c.reason, At: now}
	switch {
	case c.result == pipeline.Rejected:
		d.Rejections = append(slices.Clone(was.Stand()), pipeline.Rejection{Actor: e.Person.Name, Reason: c.reason, Run: run.ID, At: now})
		return d, true
	case c.lift:
		return e.lifting(st, s, d, was, mine)
	case st.ApprovedBy(e.Person, s, c.build):
		return was, false
	}
	if before := st.Approvals(s, c.build); len(before) > 0 {
		d.Approvals, d.Lifted = slices.Clone(before), was.Lifted
	}
	d.Approvals = append(d.Approvals, mine)
	return d, true
}

// lifting makes the record of a vote to lift a rejection: the lift, where it is the last
// one that it takes.
func (e *Engine) lifting(st *pipeline.State, s pipeline.Stage, d, was pipeline.Decision, mine pipeline.Approval) (pipeline.Decision, bool) {
	if st.LiftedBy(e.Person, s, d.Build) {
		return was, false
	}
	missing := st.MissingLifts(s, d.Build)
	votes := append(slices.Clone(st.LiftVotes(s, d.Build)), mine)
	if missing > 1 {
		was.Lift = &pipeline.Lift{Run: d.Run, Inputs: d.Inputs, Votes: votes}
		return was, true
	}
	d.Approvals, d.Lifted = votes, was.Stand()
	return d, true
}

// endInquiry ends the environment that a build was tried in, once it is decided.
func (e *Engine) endInquiry(ctx context.Context, pipelineName, stage, build string) error {
	st, err := e.fresh(ctx, pipelineName)
	if err != nil {
		return err
	}
	env, ok := st.RunEnvironment(stage, pipeline.ForInquiry)
	if !ok || env.Build != build || !st.IsDecided(st.Stages[stage], build) {
		return nil
	}
	leased, h, err := e.tryLock(ctx, stageKey(pipelineName, stage), "end of the environment to try "+build)
	if err != nil || h == nil {
		return err // a run holds the stage: it replaces the environment
	}
	defer e.unlock(ctx, h)
	return e.endEnvironment(leased, pipelineName, h.lease, env)
}
