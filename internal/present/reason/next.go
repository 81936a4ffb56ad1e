// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason

import (
	"cmp"
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// WaitingFor says what a stage waits for, and how a person ends it. It is empty if the stage
// waits for nothing. If the stage's pin is refused, it says why.
func WaitingFor(n gate.Next) string { return waitingFor(n, Waiting) }

func waitingFor(n gate.Next, words func(gate.Wait) string) string {
	switch n.Kind {
	case gate.NextRefused:
		return n.Refusal.During("move stage " + Names([]string{n.Refusal.Stage})).Error()
	case gate.NextPromoted:
		return fmt.Sprintf("an apply, which moves it to %s: %s promoted that at %s", present.Build(n.Number, n.Build), n.Promotion.Actor, pipeline.Moment(n.Promotion.At.UTC()))
	case gate.NextDecision, gate.NextPromotion, gate.NextUpstream, gate.NextBuild, gate.NextNewer, gate.NextNever, gate.NextPaused, gate.NextElsewhere:
		return words(n.Wait)
	}
	return ""
}

// Next says in a phrase why what comes next at a stage has not come yet, with the command
// that a person may type if how is true. It is empty if nothing comes, and while a run is
// under way, whose progress says it.
func Next(n gate.Next, how bool) string {
	words := Wait
	if how {
		words = Waiting
	}
	switch n.Kind {
	case gate.NextNothing, gate.NextRunning:
		return ""
	case gate.NextFailed:
		return "failed: " + cmp.Or(pipeline.FirstLine(n.Run.Error), "run "+n.Run.ID)
	case gate.NextApply:
		return "the next apply moves it: " + cmp.Or(n.Why.String(), string(n.Action))
	case gate.NextPromoted:
		return fmt.Sprintf("%s promoted it, and the next apply moves it", n.Promotion.Actor)
	case gate.NextRefused:
		return waitingFor(n, words)
	case gate.NextPaused:
		return paused(n, how)
	}
	text := "waits for " + waitingFor(n, words)
	if n.Action == gate.ActionPublish {
		text += "; until then, the next apply moves what it publishes: " + n.Why.String()
	}
	return text
}

// paused says who paused a stage, since when and why, and which build comes after that.
func paused(n gate.Next, how bool) string {
	text := n.Wait.Pause.Describe()
	if n.Build != "" {
		text += fmt.Sprintf("; %s comes once it is resumed", present.Build(n.Number, n.Build))
	}
	if how {
		text += fmt.Sprintf("; `%s`", Command(pipeline.Advice{Verb: pipeline.VerbResume, Pipeline: n.Wait.Pipeline, Stage: n.Wait.Stage}))
	}
	return text
}
