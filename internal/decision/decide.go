// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package decision

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// completeDecision fills in the build if none is named. It refuses a build that can't be
// decided, and a decision on another run or decision than the present one.
func completeDecision(st *pipeline.State, s pipeline.Stage, c *Command) error {
	op := c.op()
	if c.Verb == Reject && strings.TrimSpace(c.Reason) == "" {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "a rejection needs a reason").WithAdvice(pipeline.Advice{Verb: pipeline.VerbReason})
	}
	if c.Build != "" {
		if _, ok := st.Builds[c.Build]; !ok {
			return state.NoBuild(op, c.Pipeline, c.Build)
		}
		return c.stillSo(st, s)
	}
	view := gate.Now(st).View(s.Name)
	move := view.Move
	build := cmp.Or(view.Undecided, move.Candidate.ID)
	if view.Next.Kind == gate.NextRunning { // nobody is asked about another one
		build = view.Next.Build
	}
	switch {
	case c.Verb == Lift:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "the rejected build must be named").
			WithAdvice(c.listBuilds())
	case !s.Approval && c.Verb == Approve:
		return takesNone(op)
	case build == "" && !s.Approval:
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage takes no decision, and has no build now").
			WithHint("Name the build to reject there.").WithAdvice(c.listBuilds())
	case build == "" && move.Wait.Waits():
		return (&pipeline.Error{Code: pipeline.CodeRefused, Op: op, Err: &gate.WaitError{Wait: move.Wait}}).
			WithHint("A decision may name a build that was.").WithAdvice(c.listBuilds())
	case build == "":
		return pipeline.Errorf(pipeline.CodeRefused, op, "no build waits for a decision there").
			WithHint("Name one that was.").WithAdvice(c.listBuilds())
	}
	c.Build = build
	return c.stillSo(st, s)
}

// listBuilds advises to look at the builds of the command's pipeline.
func (c Command) listBuilds() pipeline.Advice {
	return pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: c.Pipeline}
}

// lookAtStages advises to look at the stages of the command's pipeline.
func (c Command) lookAtStages() pipeline.Advice {
	return pipeline.Advice{Verb: pipeline.VerbLookAtStages, Pipeline: c.Pipeline}
}

// liftAt advises to lift the rejection of a build at a stage.
func liftAt(pipelineName, stage, build string) pipeline.Advice {
	return pipeline.Advice{Verb: pipeline.VerbLift, Pipeline: pipelineName, Stage: stage, Build: build}
}

func takesNone(op string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "the stage takes no decision").
		WithHint("Only a stage of type exploratory, or one whose approval is true, waits for one.")
}

// stillSo refuses, with CodeConflict, a decision of somebody who saw another run, or another
// decision, than the present one.
func (c Command) stillSo(st *pipeline.State, s pipeline.Stage) error {
	if now, _ := st.ResultOf(s, c.Build); c.Looked.Run != nil && *c.Looked.Run != now.ID {
		return pipeline.Errorf(pipeline.CodeConflict, c.op(), "build %s has run again since you looked, as run %s", c.Build, now.ID).
			WithHint("Look at that run, then decide.")
	}
	id := pipeline.StageBuild(s.Name, c.Build)
	if c.Looked.Decision == nil || *c.Looked.Decision == st.Version(pipeline.RecordDecision, id) {
		return nil
	}
	d, decided := st.Decisions[id]
	if c.Verb == Approve && len(st.Ballot(s, c.Build).Approvals()) > 0 && len(d.Lifted) == 0 {
		return nil // somebody else has approved the same
	}
	if !decided {
		return pipeline.Errorf(pipeline.CodeConflict, c.op(), "the decision on build %s that you saw is gone", c.Build).WithHint("Look again, then decide.")
	}
	err := pipeline.Errorf(pipeline.CodeConflict, c.op(), "since you looked, %s", d.Describe())
	if d.Result == pipeline.Rejected && c.Verb != Reject {
		return err.WithHint("Nothing was decided. Ask why.").WithAdvice(liftAt(s.Pipeline, s.Name, c.Build))
	}
	return err.WithHint("Nothing was decided. Look again, then decide.")
}

func (d *Decisions) checkReject(st *pipeline.State, s pipeline.Stage, c Command) error {
	return st.Pipeline.Authorize(pipeline.RightReject, d.person, fmt.Sprintf("reject build %s at stage %q of pipeline %q", c.Build, s.Name, s.Pipeline))
}

// checkApprove refuses a person without the right, a build that can't be approved, and the
// author of what would be approved.
func (d *Decisions) checkApprove(st *pipeline.State, s pipeline.Stage, c Command) error {
	op := fmt.Sprintf("approve build %s at stage %q of pipeline %q", c.Build, s.Name, s.Pipeline)
	if err := st.Pipeline.Authorize(pipeline.RightApprove, d.person, op); err != nil {
		return err
	}
	if err := approvable(st, s, c.Build, op); err != nil {
		return err
	}
	return st.Pipeline.RefuseAuthor(d.person, st.Authors(s, c.Build), op)
}

// checkLift refuses a person without the right, a build that is not rejected, and the author
// of the build. The author of the rejection may lift it.
func (d *Decisions) checkLift(st *pipeline.State, s pipeline.Stage, c Command) error {
	op := fmt.Sprintf("lift the rejection of build %s at stage %q of pipeline %q", c.Build, s.Name, s.Pipeline)
	if err := st.Pipeline.Authorize(pipeline.RightApprove, d.person, op); err != nil {
		return err
	}
	if st.Decisions[pipeline.StageBuild(s.Name, c.Build)].Result != pipeline.Rejected {
		err := pipeline.Errorf(pipeline.CodeRefused, op, "the build is not rejected there")
		if at := st.RejectedAt(c.Build); at != "" {
			return err.WithHint("It is at stage %q.", at).WithAdvice(liftAt(s.Pipeline, at, c.Build))
		}
		return err.WithHint("There is nothing to lift.").WithAdvice(c.listBuilds())
	}
	return st.Pipeline.RefuseAuthor(d.person, st.Authors(s, c.Build), op)
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

func (d *Decisions) approved(st *pipeline.State, s pipeline.Stage, c Command) error {
	if !st.Ballot(s, c.Build).ApprovedBy(d.person) {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeRefused, "approve", "you have approved build %s at stage %q already", c.Build, s.Name).
		WithHint("It takes %d more.", st.Ballot(s, c.Build).MissingApprovals())
}

func (d *Decisions) lifted(st *pipeline.State, s pipeline.Stage, c Command) error {
	if !st.Ballot(s, c.Build).LiftedBy(d.person) {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeRefused, "lift rejection", "you have voted already to lift the rejection of build %s at stage %q", c.Build, s.Name).
		WithHint("It takes %d more.", st.Ballot(s, c.Build).MissingLifts())
}

// decide makes the record of a decision, with the votes that still count. It records nothing
// if this person has already voted so.
func (d *Decisions) decide(st *pipeline.State, s pipeline.Stage, c Command) (record, error) {
	key := decisionKey(c)
	made, news := d.decision(st, s, c)
	r := record{outcome: Outcome{Decision: made, More: more(st, s, made)}, expect: map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)}, adds: true}
	if news {
		r.event = &pipeline.Event{Kind: pipeline.BuildDecided, Facts: pipeline.Facts{Decision: &made}}
	}
	return r, nil
}

// decision returns what a build's decision is once this person has decided, and whether that
// is new.
func (d *Decisions) decision(st *pipeline.State, s pipeline.Stage, c Command) (made pipeline.Decision, news bool) {
	run, _ := st.ResultOf(s, c.Build)
	now, was := d.now().UTC(), st.Decisions[pipeline.StageBuild(s.Name, c.Build)]
	made = pipeline.Decision{
		Pipeline: s.Pipeline, Stage: s.Name, Build: c.Build, Run: run.ID, Inputs: st.Inputs(s, c.Build),
		Result: pipeline.Approved, Reason: c.Reason, Actor: d.person.Name, At: now,
	}
	mine := pipeline.Approval{Person: st.Pipeline.Authorization.Person(d.person), Actor: d.person.Name, Reason: c.Reason, At: now}
	switch {
	case c.Verb == Reject:
		made.Result = pipeline.Rejected
		made.Rejections = append(slices.Clone(was.Stand()), pipeline.Rejection{Actor: d.person.Name, Reason: c.Reason, Run: run.ID, At: now})
		return made, true
	case c.Verb == Lift:
		return d.lifting(st, s, made, was, mine)
	case st.Ballot(s, c.Build).ApprovedBy(d.person):
		return was, false
	}
	if before := st.Ballot(s, c.Build).Approvals(); len(before) > 0 {
		made.Approvals, made.Lifted = slices.Clone(before), was.Lifted
	}
	made.Approvals = append(made.Approvals, mine)
	return made, true
}

// lifting makes the record of a vote to lift a rejection, or of the lift if this is the last
// vote that it needs.
func (d *Decisions) lifting(st *pipeline.State, s pipeline.Stage, made, was pipeline.Decision, mine pipeline.Approval) (pipeline.Decision, bool) {
	if st.Ballot(s, made.Build).LiftedBy(d.person) {
		return was, false
	}
	missing := st.Ballot(s, made.Build).MissingLifts()
	votes := append(slices.Clone(st.Ballot(s, made.Build).LiftVotes()), mine)
	if missing > 1 {
		was.Lift = &pipeline.Lift{Run: made.Run, Inputs: made.Inputs, Votes: votes}
		return was, true
	}
	made.Approvals, made.Lifted = votes, was.Stand()
	return made, true
}
