// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package decision

import (
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// checkOverride refuses a person without the right, and a build that can't be let through the
// stage.
func (d *Decisions) checkOverride(st *pipeline.State, s pipeline.Stage, c Command) error {
	if err := st.Pipeline.Authorize(pipeline.RightOverride, d.person, c.op()); err != nil {
		return err
	}
	if _, ok := st.Builds[c.Build]; !ok {
		return state.NoBuild(c.op(), s.Pipeline, c.Build)
	}
	return overridable(st, s, c.Build)
}

// overridable reports why a build can't be let through a stage.
func overridable(st *pipeline.State, s pipeline.Stage, build string) error {
	op := fmt.Sprintf("let build %s pass stage %q of pipeline %q", build, s.Name, s.Pipeline)
	switch {
	case s.Persistent():
		return pipeline.Errorf(pipeline.CodeInvalid, op, "the stage keeps an environment, and a build passes it only by running there").
			WithHint("Override the stage that is in its way.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbLookAtStages, Pipeline: s.Pipeline})
	case s.Type == pipeline.TypeCommit, !s.TakesBuild():
		return pipeline.Errorf(pipeline.CodeInvalid, op, "a stage of type %s makes what other stages need", s.Type).
			WithHint("Fix the cause, and apply again.")
	case st.RunsNow(s.Name):
		return pipeline.Errorf(pipeline.CodeLocked, op, "run %s of the stage is under way", st.Latest[s.Name].ID).WithHint("Wait until it ends.")
	}
	if err := gate.Eligible(st, s, build); err != nil {
		return err
	}
	if st.Passed(s.Name, build) {
		return pipeline.Errorf(pipeline.CodeRefused, op, "the build has passed it already").WithHint("There is nothing to override.")
	}
	return nil
}

func (d *Decisions) override(st *pipeline.State, s pipeline.Stage, c Command) (record, error) {
	if strings.TrimSpace(c.Reason) == "" {
		return record{}, pipeline.Errorf(pipeline.CodeInvalid, c.op(), "an override needs a reason").WithAdvice(pipeline.Advice{Verb: pipeline.VerbReason})
	}
	run, _ := st.ResultOf(s, c.Build)
	o := pipeline.Override{
		Pipeline: s.Pipeline, Stage: s.Name, Build: c.Build, Run: run.ID, Inputs: st.Inputs(s, c.Build), Digest: s.Digest(st.Pipeline),
		Reason: c.Reason, Actor: d.person.Name, At: d.now().UTC(),
	}
	return record{outcome: Outcome{Override: o}, event: &pipeline.Event{Kind: pipeline.GateOverridden, Facts: pipeline.Facts{Override: &o}}}, nil
}

func (d *Decisions) checkDeploy(st *pipeline.State, _ pipeline.Stage, c Command) error {
	return st.Pipeline.Authorize(pipeline.RightDeploy, d.person, c.op())
}

func (d *Decisions) pause(_ *pipeline.State, s pipeline.Stage, c Command) (record, error) {
	p := pipeline.Pause{Stage: s.Name, Reason: c.Reason, Actor: d.person.Name, At: d.now().UTC()}
	return record{outcome: Outcome{Pause: p}, event: &pipeline.Event{Kind: pipeline.StagePaused, Facts: pipeline.Facts{Pause: &p}}}, nil
}

func (d *Decisions) checkResume(st *pipeline.State, s pipeline.Stage, c Command) error {
	if err := d.checkDeploy(st, s, c); err != nil {
		return err
	}
	if _, paused := st.Pauses[s.Name]; !paused {
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "the stage is not paused").WithAdvice(c.lookAtStages())
	}
	return nil
}

func (d *Decisions) resume(st *pipeline.State, s pipeline.Stage, _ Command) (record, error) {
	key, p := pipeline.Key{Kind: pipeline.RecordPause, ID: s.Name}, st.Pauses[s.Name]
	return record{
		outcome: Outcome{Pause: p}, expect: map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)},
		event: &pipeline.Event{Kind: pipeline.StageResumed, Facts: pipeline.Facts{Gone: []pipeline.Key{key}, Ended: &pipeline.Ended{Pause: &p}}},
	}, nil
}

// checkRetry refuses a person who may not move the stage, and a stage without a run to
// repeat.
func (d *Decisions) checkRetry(st *pipeline.State, s pipeline.Stage, c Command) error {
	if s.RequiresDeployRight() {
		if err := d.checkDeploy(st, s, c); err != nil {
			return err
		}
	}
	if err := gate.CheckPaused(st, s, c.op()); err != nil {
		return err
	}
	move := gate.Now(st).Stage(s.Name)
	_, ran := st.ResultOf(s, move.Candidate.ID)
	switch {
	case move.Refusal != nil:
		return move.Err()
	case st.RunsNow(s.Name):
		return pipeline.Errorf(pipeline.CodeLocked, c.op(), "run %s of the stage is under way", st.Latest[s.Name].ID).WithHint("Wait until it ends.")
	case s.TakesBuild() && move.Candidate.ID == "":
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "the stage has no build to run").WithAdvice(c.lookAtStages())
	case !ran && move.Candidate.ID == "":
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "the stage has not run yet").WithHint("The next apply runs it.")
	case !ran:
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "the stage has not run build %s yet", move.Candidate.ID).WithHint("The next apply runs it.")
	}
	return nil
}

// RetryOf returns the run that a retry would repeat.
func RetryOf(st *pipeline.State, s pipeline.Stage) pipeline.RunSummary {
	run, _ := st.ResultOf(s, gate.Now(st).Stage(s.Name).Candidate.ID)
	return run
}

func (d *Decisions) retried(st *pipeline.State, s pipeline.Stage, c Command) error {
	retry, asked := st.Retried(s, RetryOf(st, s))
	if !asked {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeRefused, c.op(), "%s has already asked for another run", retry.Actor).WithHint("The next apply runs it.")
}

func (d *Decisions) retry(st *pipeline.State, s pipeline.Stage, _ Command) (record, error) {
	run := RetryOf(st, s)
	r := pipeline.Retry{Stage: s.Name, Build: run.Build, Run: run.ID, Actor: d.person.Name, At: d.now().UTC()}
	return record{outcome: Outcome{Retry: r}, event: &pipeline.Event{Kind: pipeline.RetryAsked, Facts: pipeline.Facts{Retry: &r}}}, nil
}
