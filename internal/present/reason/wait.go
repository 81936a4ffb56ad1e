// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package reason puts reasons and advice into words, so that all faces use the same: what a
// stage waits for, what to do about an error, and with which command.
package reason

import (
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// Wait says what a stage waits for, to be read after "waits for"; empty for nothing.
func Wait(w gate.Wait) string {
	switch w.Kind {
	case gate.WaitDecision:
		return awaitedDecision(w)
	case gate.WaitPromotion:
		return "a promotion of " + awaited(w)
	case gate.WaitPassed:
		return passing(w)
	case gate.WaitBuild:
		return "a build that passed " + Names(w.Stages)
	case gate.WaitNewer:
		return fmt.Sprintf("a build newer than %s, which was rejected at stage %s", awaited(w), Names(w.Stages))
	case gate.WaitElsewhere:
		return elsewhere(w)
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

// awaited names the build that a stage waits for.
func awaited(w gate.Wait) string { return present.Build(w.Number, w.Build) }

func awaitedDecision(w gate.Wait) string {
	switch {
	case w.Missing < w.Needed:
		return fmt.Sprintf("%d more of %d approvals of %s", w.Missing, w.Needed, awaited(w))
	case w.Needed > 1:
		return fmt.Sprintf("a decision on %s by %d people", awaited(w), w.Needed)
	}
	return "a decision on " + awaited(w)
}

// elsewhere names the stages of other pipelines that keep a stage closed.
func elsewhere(w gate.Wait) string {
	names := make([]string, len(w.Elsewhere))
	for i, e := range w.Elsewhere {
		names[i] = e.String()
	}
	return strings.Join(names, " and ") + " to pass a build"
}

func passing(w gate.Wait) string {
	text := Names(w.Stages) + " to pass"
	if w.Build != "" {
		text = fmt.Sprintf("%s to pass %s", awaited(w), Names(w.Stages))
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
	how := pipeline.Advice{Pipeline: w.Pipeline, Stage: w.Stage, Build: present.BuildArgument(w.Number, w.Build)}
	switch w.Kind {
	case gate.WaitDecision:
		how.Verb = pipeline.VerbApprove
		return fmt.Sprintf("`%s` or `penstock reject …`", Command(how))
	case gate.WaitPromotion:
		how.Verb = pipeline.VerbPromote
		return fmt.Sprintf("`%s`, or build = %q", Command(how), w.Build)
	case gate.WaitResume:
		how.Verb = pipeline.VerbResume
		return fmt.Sprintf("`%s`", Command(how))
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

// MoveWaits says what a stage waits for, and how a person ends it. If the stage's pin is
// refused, it says why.
func MoveWaits(m gate.Move) string {
	if err := m.Err(); err != nil {
		return err.Error()
	}
	return Waiting(m.Wait)
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
