// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// action is something that a button does: the same call as that of a command.
type action struct {
	Label  string // of the button
	Submit string // of the button that does it, on the page that asks
	Reason reasonNeed
	Build  bool // it is about a build
	Danger bool
	// Check refuses what the person that e works for may not do, and what would do nothing.
	Check func(e *engine.Engine, st *pipeline.State, s pipeline.Stage, build string) error
	// Explain says in sentences what will happen.
	Explain func(st *pipeline.State, a asked) []string
	// Do does it, and gives what the next page says.
	Do func(ctx context.Context, e *engine.Engine, a asked) (string, error)
}

// asked is what a form asks for.
type asked struct {
	Pipeline, Stage, Build, Name, Reason string
	Run                                  string       // the run that was looked at
	Decision                             int64        // the version of the decision that was looked at; 0 for none
	From                                 engine.Place // where the stage was that the build was compared with
	TTL                                  time.Duration
}

// looked gives what the form was made with.
func (a asked) looked() engine.Looked { return engine.Looked{Run: &a.Run, Decision: &a.Decision} }

// reasonNeed says whether a reason has to be given.
type reasonNeed string

const (
	reasonNone     reasonNeed = ""
	reasonWelcome  reasonNeed = "optional"
	reasonRequired reasonNeed = "required"
)

const nextApply = "The next apply of the configuration moves it."

// actions are those on stages, by their name in addresses. Those on environments are
// environmentActions.
var actions = map[string]action{
	"approve": {
		Label: "Approve", Submit: "Approve", Reason: reasonWelcome, Build: true, Check: checkApprove,
		Explain: func(st *pipeline.State, a asked) []string {
			text := []string{fmt.Sprintf("Build %s passes stage %s, on the evidence of run %s.", a.Build, a.Stage, cmp.Or(a.Run, "none"))}
			if missing := st.MissingApprovals(st.Stages[a.Stage], a.Build); missing > 1 {
				text = append(text, fmt.Sprintf("It takes %d more approvals, yours included.", missing))
			}
			if by := approvedBy(st, st.Stages[a.Stage], a.Build); by != "" {
				text = append(text, by)
			}
			if below := stagesBelow(st, a.Stage); len(below) > 0 {
				text = append(text, "It may then enter "+strings.Join(below, " and ")+". "+nextApply)
			}
			return text
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			d, err := e.DecideOn(ctx, a.Pipeline, a.Stage, a.Build, a.looked(), pipeline.Approved, a.Reason)
			if err != nil {
				return "", err
			}
			st, err := e.State(ctx, a.Pipeline)
			if err != nil {
				return "", err
			}
			if missing := st.MissingApprovals(st.Stages[a.Stage], a.Build); missing > 0 && st.Stages[a.Stage].Approval {
				return fmt.Sprintf("You approve build %s at stage %s. It takes %d more.", d.Build, d.Stage, missing), nil
			}
			return fmt.Sprintf("Build %s is approved at stage %s.", d.Build, d.Stage), nil
		},
	},
	"reject": {
		Label: "Reject", Submit: "Reject", Reason: reasonRequired, Build: true, Danger: true,
		Check: func(e *engine.Engine, st *pipeline.State, s pipeline.Stage, build string) error {
			return e.CheckDecision(st, s, build, pipeline.Rejected)
		},
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{
				fmt.Sprintf("Build %s enters no stage any more, and nobody can launch it, until the rejection at stage %s is lifted.", a.Build, a.Stage),
				"What runs it already goes on.",
			}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			d, err := e.DecideOn(ctx, a.Pipeline, a.Stage, a.Build, a.looked(), pipeline.Rejected, a.Reason)
			return fmt.Sprintf("Build %s is rejected at stage %s.", d.Build, d.Stage), err
		},
	},
	"lift": {
		Label: "Lift the rejection", Submit: "Lift the rejection", Reason: reasonWelcome, Build: true, Danger: true, Check: checkLift,
		Explain: explainLift,
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			d, err := e.Lift(ctx, a.Pipeline, a.Stage, a.Build, a.looked(), a.Reason)
			if err != nil {
				return "", err
			}
			if d.Result == pipeline.Rejected {
				st, err := e.State(ctx, a.Pipeline)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("You vote to lift the rejection of build %s at stage %s. It takes %d more.", d.Build, d.Stage, st.MissingLifts(st.Stages[a.Stage], d.Build)), nil
			}
			return fmt.Sprintf("The rejection of build %s at stage %s is lifted.", d.Build, d.Stage), nil
		},
	},
	"promote": {
		Label: "Promote", Submit: "Promote", Build: true, Check: checkMove,
		Explain: func(st *pipeline.State, a asked) []string {
			text := fmt.Sprintf("Stage %s moves to build %s.", a.Stage, a.Build)
			if current := a.From.Current; current != "" {
				text = fmt.Sprintf("Stage %s moves from build %s to build %s.", a.Stage, current, a.Build)
			}
			return append([]string{text + " " + nextApply, "New instances have to be healthy before they get requests; if they don't, what runs now goes on."}, pending(st, a)...)
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			p, err := e.PromoteFrom(ctx, a.Pipeline, a.Stage, a.Build, a.From)
			return fmt.Sprintf("Build %s is promoted to stage %s. %s", p.Build, p.Stage, nextApply), err
		},
	},
	"rollback": {
		Label: "Roll back", Submit: "Roll back", Build: true, Danger: true, Check: checkRollback,
		Explain: func(st *pipeline.State, a asked) []string {
			return append([]string{
				fmt.Sprintf("Stage %s goes back from build %s to build %s. %s", a.Stage, a.From.Current, a.Build, nextApply),
				"Data stays as it is.",
			}, pending(st, a)...)
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			p, err := e.RollbackFrom(ctx, a.Pipeline, a.Stage, a.Build, a.From)
			return fmt.Sprintf("Stage %s goes back from build %s to build %s. %s", p.Stage, cmp.Or(a.From.Current, "none"), p.Build, nextApply), err
		},
	},
	"override": {
		Label: "Override", Submit: "Override the gate", Reason: reasonRequired, Build: true, Danger: true,
		Check: (*engine.Engine).CheckOverride,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{
				fmt.Sprintf("Build %s counts as passed at stage %s although it has not passed there.", a.Build, a.Stage),
				"The mark of it, with your name and your reason, stays with the build for ever.",
			}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			o, err := e.Override(ctx, a.Pipeline, a.Stage, a.Build, a.Reason)
			return fmt.Sprintf("Build %s passes stage %s by your override.", o.Build, o.Stage), err
		},
	},
	"pause": {
		Label: "Pause", Submit: "Pause", Reason: reasonWelcome, Check: checkSteer,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{fmt.Sprintf("No build enters stage %s until somebody resumes it. What it runs goes on.", a.Stage)}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			_, err := e.Pause(ctx, a.Pipeline, a.Stage, a.Reason)
			return fmt.Sprintf("Stage %s is paused.", a.Stage), err
		},
	},
	"resume": {
		Label: "Resume", Submit: "Resume", Check: checkSteer,
		Explain: func(st *pipeline.State, a asked) []string {
			f := st.Pauses[a.Stage]
			text := []string{fmt.Sprintf("Builds enter stage %s again. %s", a.Stage, nextApply)}
			if f.Reason != "" {
				text = append(text, fmt.Sprintf("%s paused it: %s", f.Actor, f.Reason))
			}
			return text
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			_, err := e.Resume(ctx, a.Pipeline, a.Stage)
			return fmt.Sprintf("Stage %s goes on. %s", a.Stage, nextApply), err
		},
	},
	"retry": {
		Label: "Run again", Submit: "Run again", Check: checkRetry,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{
				fmt.Sprintf("Stage %s runs once more, with the next apply, for the build that it ran for.", a.Stage),
				"A decision on the run before does not count for the new one.",
			}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			_, err := e.Retry(ctx, a.Pipeline, a.Stage)
			return fmt.Sprintf("Stage %s runs again with the next apply.", a.Stage), err
		},
	},
}

// stagesBelow gives the stages that come next.
func stagesBelow(st *pipeline.State, stage string) []string {
	var names []string
	for _, s := range st.StagesInOrder() {
		if slices.Contains(s.After, stage) {
			names = append(names, s.Name)
		}
	}
	return names
}

// pending says that a move is under way already, whose place this one takes.
func pending(st *pipeline.State, a asked) []string {
	p := st.Promotions[a.Stage]
	if a.From.Next == a.From.Current || a.From.Next != p.Build || p.Build == a.Build {
		return nil
	}
	return []string{fmt.Sprintf("%s has promoted build %s, which no apply has moved there yet: this takes its place.", p.Actor, p.Build)}
}

func checkApprove(e *engine.Engine, st *pipeline.State, s pipeline.Stage, build string) error {
	if err := e.CheckDecision(st, s, build, pipeline.Approved); err != nil {
		return err
	}
	if st.ApprovedBy(e.Person, s, build) {
		return pipeline.Errorf(pipeline.CodeRefused, "approve", "you have approved build %s at stage %q already", build, s.Name).
			WithHint("It takes %d more.", st.MissingApprovals(s, build))
	}
	return nil
}

// explainLift says whose rejection is lifted, when and why it was made, and what follows.
func explainLift(st *pipeline.State, a asked) []string {
	s := st.Stages[a.Stage]
	var text []string
	for _, r := range st.Decisions[pipeline.StageBuild(a.Stage, a.Build)].Stand() {
		text = append(text, fmt.Sprintf("%s rejected build %s at stage %s on %s: %s", r.Actor, a.Build, a.Stage, r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Reason))
	}
	missing := st.MissingLifts(s, a.Build)
	for _, vote := range st.LiftVotes(s, a.Build) {
		text = append(text, vote.Actor+" has voted to lift that.")
	}
	if missing > 1 {
		return append(text, fmt.Sprintf("It takes %d more votes to lift it, yours included. Approvals from before the rejection do not count.", missing))
	}
	if v, _ := st.ResultOf(s, a.Build); s.Approval && v.Status == pipeline.RunPassed {
		return append(text, fmt.Sprintf("With the rejection lifted build %s passes stage %s, on the evidence of run %s. %s", a.Build, a.Stage, v.ID, nextApply))
	}
	return append(text, fmt.Sprintf("With the rejection lifted build %s may go on from stage %s, as far as it has passed. %s", a.Build, a.Stage, nextApply))
}

// liftLabel names whose rejection a button lifts.
func liftLabel(st *pipeline.State, s pipeline.Stage, build string) string {
	all := st.Decisions[pipeline.StageBuild(s.Name, build)].Stand()
	if len(all) == 1 {
		return fmt.Sprintf("Lift %s’s rejection", all[0].Actor)
	}
	return fmt.Sprintf("Lift %d rejections", len(all))
}

func checkLift(e *engine.Engine, st *pipeline.State, s pipeline.Stage, build string) error {
	if err := e.CheckLift(st, s, build); err != nil {
		return err
	}
	if st.LiftedBy(e.Person, s, build) {
		return pipeline.Errorf(pipeline.CodeRefused, "lift rejection", "you have voted already to lift the rejection of build %s at stage %q", build, s.Name).
			WithHint("It takes %d more.", st.MissingLifts(s, build))
	}
	return nil
}

func checkMove(e *engine.Engine, st *pipeline.State, s pipeline.Stage, build string) error {
	if err := e.CheckPromote(st, s, build); err != nil {
		return err
	}
	return st.Eligible(s, build)
}

func checkRollback(e *engine.Engine, st *pipeline.State, s pipeline.Stage, build string) error {
	if err := e.CheckRollback(st, s, build); err != nil {
		return err
	}
	return st.Eligible(s, build)
}

func checkSteer(e *engine.Engine, st *pipeline.State, s pipeline.Stage, _ string) error {
	return st.Pipeline.Authorize(pipeline.RightDeploy, e.Person, fmt.Sprintf("steer stage %q", s.Name))
}

func checkRetry(e *engine.Engine, st *pipeline.State, s pipeline.Stage, _ string) error {
	v, err := e.CheckRetry(st, s)
	if err != nil {
		return err
	}
	if asked := st.Retried(s, v); asked != "" {
		return pipeline.Errorf(pipeline.CodeRefused, fmt.Sprintf("retry stage %q", s.Name), "%s already", asked).WithHint("%s", nextApply)
	}
	return nil
}
