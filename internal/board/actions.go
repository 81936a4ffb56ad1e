// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"fmt"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// action is something that a button does: the same call as that of a command.
type action struct {
	Label  string // of the button
	Submit string // of the button that does it, on the page that asks
	Reason reasonNeed
	Build  bool // it is about a build
	Danger bool
	// Evidence says that the page shows the evidence of the decision, which explains it.
	Evidence bool
	// Explain says in sentences what will happen, if no evidence does.
	Explain func(st *pipeline.State, a asked) []string
	// Says is what the next page says of a command on a stage that was done.
	Says func(st *pipeline.State, a asked, done decision.Outcome) string
}

// asked is what a form asks for.
type asked struct {
	Pipeline, Stage, Build, Name, Reason string
	Run                                  string         // the run that was looked at
	Decision                             int64          // the version of the decision that was looked at; 0 for none
	From                                 decision.Place // where the stage was that the build was compared with
	TTL                                  time.Duration
}

// command is what a form asks for by a name of actions, with what it was made with.
func (a asked) command(name string) decision.Command {
	c := decision.Command{Verb: decision.Verb(name), Pipeline: a.Pipeline, Stage: a.Stage, Build: a.Build, Reason: a.Reason}
	switch c.Verb {
	case decision.Approve, decision.Reject, decision.Lift:
		c.Looked = decision.Looked{Run: &a.Run, Decision: &a.Decision}
	case decision.Promote, decision.Rollback:
		c.Looked.Place = &a.From
	}
	return c
}

// check refuses a command that the person that e works for may not do, and what would do
// nothing.
func check(e *engine.Engine, st *pipeline.State, s pipeline.Stage, name, build string) error {
	return e.Decisions.Check(st, decision.Command{Verb: decision.Verb(name), Pipeline: s.Pipeline, Stage: s.Name, Build: build})
}

// reasonNeed says whether a reason has to be given.
type reasonNeed string

const (
	reasonNone     reasonNeed = ""
	reasonWelcome  reasonNeed = "optional"
	reasonRequired reasonNeed = "required"
)

const nextApply = "The next apply of the configuration moves it."

// actions are those on stages, by their name in addresses, which is the verb of their command. Those on environments are
// environmentActions.
var actions = map[string]action{
	"approve": {
		Label: "Approve", Submit: "Approve", Reason: reasonWelcome, Build: true, Evidence: true,
		Says: func(st *pipeline.State, a asked, done decision.Outcome) string {
			if done.More > 0 {
				return fmt.Sprintf("You approve build %s at stage %s. It takes %d more.", named(st, a.Build), a.Stage, done.More)
			}
			return fmt.Sprintf("Build %s is approved at stage %s.", named(st, a.Build), a.Stage)
		},
	},
	"reject": {
		Label: "Reject", Submit: "Reject", Reason: reasonRequired, Build: true, Danger: true, Evidence: true,
		Says: func(st *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Build %s is rejected at stage %s.", named(st, a.Build), a.Stage)
		},
	},
	"lift": {
		Label: "Lift the rejection", Submit: "Lift the rejection", Reason: reasonWelcome, Build: true, Danger: true,
		Explain: explainLift,
		Says: func(st *pipeline.State, a asked, done decision.Outcome) string {
			if done.More > 0 {
				return fmt.Sprintf("You vote to lift the rejection of build %s at stage %s. It takes %d more.", named(st, a.Build), a.Stage, done.More)
			}
			return fmt.Sprintf("The rejection of build %s at stage %s is lifted.", named(st, a.Build), a.Stage)
		},
	},
	"promote": {
		Label: "Promote", Submit: "Promote", Build: true, Evidence: true,
		Says: func(st *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Build %s is promoted to stage %s.", named(st, a.Build), a.Stage)
		},
	},
	"rollback": {
		Label: "Roll back", Submit: "Roll back", Build: true, Danger: true, Evidence: true,
		Says: func(st *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Stage %s goes back from build %s to build %s.", a.Stage, cmp.Or(named(st, a.From.Current), "none"), named(st, a.Build))
		},
	},
	string(decision.CancelPromotion): {
		Label: "Cancel the promotion", Submit: "Cancel the promotion", Build: true, Danger: true,
		Explain: func(st *pipeline.State, a asked) []string {
			p := st.Promotions[a.Stage]
			text := fmt.Sprintf("The promotion of build %s to stage %s, which %s made at %s, is taken back.", named(st, a.Build), a.Stage, p.Actor, pipeline.Moment(p.At.UTC()))
			return []string{text, "The stage stays where it is. It can be promoted again."}
		},
		Says: func(st *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("The promotion of build %s to stage %s is cancelled.", named(st, a.Build), a.Stage)
		},
	},
	"override": {
		Label: "Override", Submit: "Override the gate", Reason: reasonRequired, Build: true, Danger: true, Evidence: true,
		Says: func(st *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Build %s passes stage %s by your override.", named(st, a.Build), a.Stage)
		},
	},
	"pause": {
		Label: "Pause", Submit: "Pause", Reason: reasonWelcome,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{fmt.Sprintf("No build enters stage %s until somebody resumes it. What it runs goes on.", a.Stage)}
		},
		Says: func(_ *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Stage %s is paused.", a.Stage)
		},
	},
	"resume": {
		Label: "Resume", Submit: "Resume",
		Explain: func(st *pipeline.State, a asked) []string {
			f := st.Pauses[a.Stage]
			text := []string{fmt.Sprintf("Builds enter stage %s again. %s", a.Stage, nextApply)}
			if f.Reason != "" {
				text = append(text, fmt.Sprintf("%s paused it: %s", f.Actor, f.Reason))
			}
			return text
		},
		Says: func(_ *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Stage %s goes on. %s", a.Stage, nextApply)
		},
	},
	"retry": {
		Label: "Run again", Submit: "Run again",
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{
				fmt.Sprintf("Stage %s runs once more, with the next apply, for the build that it ran for.", a.Stage),
				"A decision on the run before does not count for the new one.",
			}
		},
		Says: func(_ *pipeline.State, a asked, _ decision.Outcome) string {
			return fmt.Sprintf("Stage %s runs again with the next apply.", a.Stage)
		},
	},
}

// named is a build in a sentence; empty for none.
func named(st *pipeline.State, build string) string { return ask.Build(report.NameOf(st, build)) }

// explainLift says whose rejection is lifted, when and why it was made, and what follows.
func explainLift(st *pipeline.State, a asked) []string {
	s := st.Stages[a.Stage]
	var text []string
	for _, r := range st.Decisions[pipeline.StageBuild(a.Stage, a.Build)].Stand() {
		text = append(text, fmt.Sprintf("%s rejected build %s at stage %s on %s: %s", r.Actor, named(st, a.Build), a.Stage, r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Reason))
	}
	missing := st.Ballot(s, a.Build).MissingLifts()
	for _, vote := range st.Ballot(s, a.Build).LiftVotes() {
		text = append(text, vote.Actor+" has voted to lift that.")
	}
	if missing > 1 {
		return append(text, fmt.Sprintf("It takes %d more votes to lift it, yours included. Approvals from before the rejection do not count.", missing))
	}
	if v, _ := st.ResultOf(s, a.Build); s.Approval && v.Status == pipeline.RunPassed {
		return append(text, fmt.Sprintf("With the rejection lifted build %s passes stage %s, on the evidence of run %s. %s", named(st, a.Build), a.Stage, v.ID, nextApply))
	}
	return append(text, fmt.Sprintf("With the rejection lifted build %s may go on from stage %s, as far as it has passed. %s", named(st, a.Build), a.Stage, nextApply))
}

// liftLabel names whose rejection a button lifts.
func liftLabel(st *pipeline.State, s pipeline.Stage, build string) string {
	all := st.Decisions[pipeline.StageBuild(s.Name, build)].Stand()
	if len(all) == 1 {
		return fmt.Sprintf("Lift %s’s rejection", all[0].Actor)
	}
	return fmt.Sprintf("Lift %d rejections", len(all))
}
