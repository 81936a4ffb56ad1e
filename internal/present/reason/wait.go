// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package reason puts the reasons of package gate into words, so that all faces use the same:
// what a stage waits for, what to do about a refusal, and with which command.
package reason

import (
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Wait says what a stage waits for, to be read after "waits for"; empty for nothing.
func Wait(w gate.Wait) string {
	switch w.Kind {
	case gate.WaitDecision:
		return awaitedDecision(w)
	case gate.WaitPromotion:
		return "a promotion of " + w.Build
	case gate.WaitPassed:
		return passing(w)
	case gate.WaitBuild:
		return "a build that passed " + Names(w.Stages)
	case gate.WaitNewer:
		return fmt.Sprintf("a build newer than %s, which was rejected at stage %s", w.Build, Names(w.Stages))
	case gate.WaitNever:
		return "nothing: no build can ever pass both " + Names(w.Stages)
	case gate.WaitResume:
		text := fmt.Sprintf("a person to resume it: %s paused it at %s", w.Pause.Actor, pipeline.Moment(w.Pause.At.UTC()))
		if w.Pause.Reason != "" {
			text += ": " + w.Pause.Reason
		}
		return text
	}
	return ""
}

func awaitedDecision(w gate.Wait) string {
	switch {
	case w.Missing < w.Needed:
		return fmt.Sprintf("%d more of %d approvals of %s", w.Missing, w.Needed, w.Build)
	case w.Needed > 1:
		return fmt.Sprintf("a decision on %s by %d people", w.Build, w.Needed)
	}
	return "a decision on " + w.Build
}

func passing(w gate.Wait) string {
	text := Names(w.Stages) + " to pass"
	if w.Build != "" {
		text = fmt.Sprintf("%s to pass %s", w.Build, Names(w.Stages))
	}
	switch w.At {
	case gate.ObstacleFailed:
		text += ", where it failed"
	case gate.ObstaclePaused:
		text += ", which is paused"
	}
	return text
}

// WaitCommand returns how a person ends a wait: a command, or an edit; empty if neither
// would.
func WaitCommand(w gate.Wait) string {
	switch w.Kind {
	case gate.WaitDecision:
		return fmt.Sprintf("`penstock approve %s %s %s` or `penstock reject …`", w.Pipeline, w.Stage, w.Build)
	case gate.WaitPromotion:
		return fmt.Sprintf("`penstock promote %s %s %s`, or build = %q", w.Pipeline, w.Stage, w.Build, w.Build)
	case gate.WaitResume:
		return fmt.Sprintf("`%s`", Command(gate.Advice{Verb: gate.VerbResume, Pipeline: w.Pipeline, Stage: w.Stage}))
	}
	return ""
}

// Waiting says what a stage waits for, and how a person ends it.
func Waiting(w gate.Wait) string {
	text, how := Wait(w), WaitCommand(w)
	switch {
	case how == "":
		return text
	case w.Kind == gate.WaitResume:
		return text + "; " + how
	}
	return text + ": " + how
}

// Command returns the command line of an advice; empty for no advice.
func Command(a gate.Advice) string {
	switch a.Verb {
	case gate.VerbApprove:
		return fmt.Sprintf("penstock approve %s %s %s", a.Pipeline, a.Stage, a.Build)
	case gate.VerbPromote:
		return fmt.Sprintf("penstock promote %s %s %s", a.Pipeline, a.Stage, a.Build)
	case gate.VerbLift:
		return fmt.Sprintf("penstock approve --lift %s %s %s", a.Pipeline, a.Stage, a.Build)
	case gate.VerbResume:
		return fmt.Sprintf("penstock resume %s %s", a.Pipeline, a.Stage)
	case gate.VerbWait:
		return fmt.Sprintf("penstock logs -f %s %s", a.Pipeline, a.Stage)
	case gate.VerbChoose:
		return "penstock builds " + a.Pipeline
	case gate.VerbApply:
		return "terraform apply"
	}
	return ""
}

// Advice says in sentences what to do about an obstacle.
func Advice(o gate.Obstacle) string {
	a := o.Advice()
	switch a.Verb {
	case gate.VerbApprove:
		return fmt.Sprintf("Approve it with `%s`.", Command(a))
	case gate.VerbLift:
		if o.Needed > 1 {
			return fmt.Sprintf("Choose another build, or lift the rejection with `%s`: %d of %d people have yet to.", Command(a), o.Missing, o.Needed)
		}
		return fmt.Sprintf("Choose another build, or lift the rejection with `%s`.", Command(a))
	case gate.VerbPromote:
		return fmt.Sprintf("Move it there with `%s`, and apply.", Command(a))
	case gate.VerbResume:
		return fmt.Sprintf("Resume the stage with `%s`.", Command(a))
	case gate.VerbWait:
		return fmt.Sprintf("Wait until the run ends; `%s` follows it.", Command(a))
	case gate.VerbDefine:
		return fmt.Sprintf("Define stage %q and apply it first, or take it out of after.", o.Stage)
	case gate.VerbPin:
		if o.Kind == gate.ObstaclePassedBy {
			return fmt.Sprintf("Choose a newer build, or move the stage back: set build = %q on stage %q and apply.", o.Build, o.Stage)
		}
		return fmt.Sprintf("Set build = %q on stage %q and apply.", o.Build, o.Stage)
	case gate.VerbApply:
		if o.Kind == gate.ObstacleFailed {
			return fmt.Sprintf("See `penstock logs %s`, mend the cause, and apply: the stage is tried again.", o.Run.ID)
		}
		return "Apply the configuration: the stage runs then."
	}
	if o.Choice != "" {
		return fmt.Sprintf("Choose another build, such as %s, which may enter; `%s` lists them.", o.Choice, Command(a))
	}
	return fmt.Sprintf("Choose another build; `%s` lists them.", Command(a))
}

// Hint says what to do now about an error: the error's own hint, or the remedy for the
// refusal that caused it; empty if neither is known.
func Hint(err error) string {
	var conflict *gate.Conflict
	if errors.As(err, &conflict) {
		return "Plan again."
	}
	hint := pipeline.HintOf(err)
	var wait *gate.WaitError
	var lift *gate.LiftError
	switch {
	case errors.As(err, &wait):
		return strings.TrimSpace(fmt.Sprintf("The stage waits for %s. %s", Wait(wait.Wait), hint))
	case errors.As(err, &lift):
		return strings.TrimSpace(fmt.Sprintf("%s `%s` lifts the rejection.", hint, Command(lift.Advice)))
	case hint != "":
		return hint
	}
	var refusal *gate.Refusal
	if !errors.As(err, &refusal) {
		return ""
	}
	switch refusal.Kind {
	case gate.RefusedMalformed:
		return fmt.Sprintf("A build ID is \"b-\" and ten hexadecimal digits; list them with `penstock builds %s`.", refusal.Pipeline)
	case gate.RefusedPaused:
		return fmt.Sprintf("Resume it with `%s`.", Command(gate.Advice{Verb: gate.VerbResume, Pipeline: refusal.Pipeline, Stage: refusal.Stage}))
	case gate.RefusedPerson:
		return pipeline.HintOf(refusal.Person)
	}
	return Advice(refusal.Obstacle)
}

// Names writes names for a sentence: `"a", "b" and "c"`.
func Names(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}
