// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
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
	Right  func(pipeline.Stage) pipeline.Right
	Reason reasonNeed
	Build  bool // it is about a build
	Danger bool
	// Explain says in sentences what will happen.
	Explain func(st *pipeline.State, a asked) []string
	// Do does it, and gives what the next page says.
	Do func(ctx context.Context, e *engine.Engine, a asked) (string, error)
}

// asked is what a form asks for.
type asked struct {
	Pipeline, Stage, Build, Name, Reason string
	Run                                  string // the run that was looked at
	TTL                                  time.Duration
}

// reasonNeed says whether a reason has to be given.
type reasonNeed string

const (
	reasonNone     reasonNeed = ""
	reasonWelcome  reasonNeed = "optional"
	reasonRequired reasonNeed = "required"
)

func always(r pipeline.Right) func(pipeline.Stage) pipeline.Right {
	return func(pipeline.Stage) pipeline.Right { return r }
}

const nextApply = "The next apply of the configuration moves it."

// actions are all, by their name in addresses. Those on environments are in launch.go.
var actions = map[string]action{
	"approve": {
		Label: "Approve", Submit: "Approve", Right: always(pipeline.RightApprove), Reason: reasonWelcome, Build: true,
		Explain: func(st *pipeline.State, a asked) []string {
			text := []string{fmt.Sprintf("Build %s passes stage %s, on the evidence of run %s.", a.Build, a.Stage, orNone(a.Run))}
			if missing := st.MissingApprovals(st.Stages[a.Stage], a.Build); missing > 1 {
				text = append(text, fmt.Sprintf("It takes %d more approvals, yours included.", missing))
			}
			if below := stagesBelow(st, a.Stage); len(below) > 0 {
				text = append(text, "It may then enter "+strings.Join(below, " and ")+". "+nextApply)
			}
			return text
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			d, err := e.JudgeOn(ctx, a.Pipeline, a.Stage, a.Build, a.Run, pipeline.Approved, a.Reason)
			return fmt.Sprintf("Build %s is approved at stage %s.", d.Build, d.Stage), err
		},
	},
	"reject": {
		Label: "Reject", Submit: "Reject", Right: always(pipeline.RightReject), Reason: reasonRequired, Build: true, Danger: true,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{
				fmt.Sprintf("Build %s enters no stage any more, and nobody can launch it, until somebody approves it at stage %s.", a.Build, a.Stage),
				"What runs it already goes on.",
			}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			d, err := e.JudgeOn(ctx, a.Pipeline, a.Stage, a.Build, a.Run, pipeline.Rejected, a.Reason)
			return fmt.Sprintf("Build %s is rejected at stage %s.", d.Build, d.Stage), err
		},
	},
	"promote": {
		Label: "Promote", Submit: "Promote", Right: always(pipeline.RightDeploy), Build: true,
		Explain: func(st *pipeline.State, a asked) []string {
			text := fmt.Sprintf("Stage %s moves to build %s.", a.Stage, a.Build)
			if held := st.Holds[a.Stage].Build; held != "" {
				text = fmt.Sprintf("Stage %s moves from build %s to build %s.", a.Stage, held, a.Build)
			}
			return []string{text + " " + nextApply, "New instances have to be healthy before they get requests; if they don't, what runs now goes on."}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			p, err := e.Promote(ctx, a.Pipeline, a.Stage, a.Build)
			return fmt.Sprintf("Build %s is promoted to stage %s. %s", p.Build, p.Stage, nextApply), err
		},
	},
	"rollback": {
		Label: "Roll back", Submit: "Roll back", Right: always(pipeline.RightDeploy), Build: true, Danger: true,
		Explain: func(st *pipeline.State, a asked) []string {
			return []string{
				fmt.Sprintf("Stage %s goes back from build %s to build %s. %s", a.Stage, st.Holds[a.Stage].Build, a.Build, nextApply),
				"Data stays as it is.",
			}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			p, err := e.Rollback(ctx, a.Pipeline, a.Stage, a.Build)
			return fmt.Sprintf("Stage %s goes back to build %s. %s", p.Stage, p.Build, nextApply), err
		},
	},
	"override": {
		Label: "Override", Submit: "Override the gate", Right: always(pipeline.RightOverride), Reason: reasonRequired, Build: true, Danger: true,
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
	"hold": {
		Label: "Hold", Submit: "Hold", Right: always(pipeline.RightDeploy), Reason: reasonWelcome,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{fmt.Sprintf("No build enters stage %s until somebody releases it. What it runs goes on.", a.Stage)}
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			_, err := e.Hold(ctx, a.Pipeline, a.Stage, a.Reason)
			return fmt.Sprintf("Stage %s is held.", a.Stage), err
		},
	},
	"release": {
		Label: "Release", Submit: "Release", Right: always(pipeline.RightDeploy),
		Explain: func(st *pipeline.State, a asked) []string {
			f := st.Freezes[a.Stage]
			text := []string{fmt.Sprintf("Builds enter stage %s again. %s", a.Stage, nextApply)}
			if f.Reason != "" {
				text = append(text, fmt.Sprintf("%s held it: %s", f.Actor, f.Reason))
			}
			return text
		},
		Do: func(ctx context.Context, e *engine.Engine, a asked) (string, error) {
			_, err := e.Release(ctx, a.Pipeline, a.Stage)
			return fmt.Sprintf("Stage %s goes on. %s", a.Stage, nextApply), err
		},
	},
	"retry": {
		Label: "Run again", Submit: "Run again",
		Right: func(s pipeline.Stage) pipeline.Right {
			if s.Guarded() {
				return pipeline.RightDeploy
			}
			return ""
		},
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

func orNone(run string) string {
	if run == "" {
		return "none"
	}
	return run
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

// button leads to the page that asks whether to do something.
type button struct {
	Action, Label      string
	Stage, Build, Name string
	Danger             bool
	Primary            bool
}

func newButton(name string, stage pipeline.Stage, build string) button {
	a := actions[name]
	return button{Action: name, Label: a.Label, Stage: stage.Name, Build: build, Danger: a.Danger, Primary: name == "approve" || name == "promote" || name == "release"}
}

// buttons gives what a person can do at a stage: what waits for somebody, and what else.
func buttons(st *pipeline.State, s pipeline.Stage, who pipeline.Person) (now, more []button) {
	may := func(name string) bool {
		right := actions[name].Right(s)
		return right == "" || st.Pipeline.Authorization.Allows(right, who)
	}
	add := func(list *[]button, name, build string) {
		if may(name) {
			*list = append(*list, newButton(name, s, build))
		}
	}
	if _, held := st.Freezes[s.Name]; held {
		add(&now, "release", "")
		return now, nil
	}
	if build := undecided(st, s); build != "" {
		add(&now, "approve", build)
		add(&now, "reject", build)
		if st.Pipeline.Service.Start != "" && st.Pipeline.Authorization.Allows(pipeline.RightLaunch, who) {
			now = append(now, button{Action: "launch", Label: "Try it", Build: build, Name: "try-" + engine.OwnName(who.Name)})
		}
	}
	if build := offered(st, s); build != "" {
		add(&now, "promote", build)
	}
	run := st.Latest[s.Name]
	move := pipeline.Decide(st, s)
	if run.Status.Final() && run.ID != "" && move.Err == nil && move.Action != pipeline.ActionRun {
		add(&more, "retry", "")
	}
	if back := previous(st, s); back != "" {
		add(&more, "rollback", back)
	}
	if run.Status == pipeline.RunFailed && overridable(s) && run.Build != "" {
		add(&more, "override", run.Build)
	}
	add(&more, "hold", "")
	return now, more
}

// overridable reports whether a stage's gate can be overridden at all.
func overridable(s pipeline.Stage) bool {
	return s.TakesBuild() && s.Type != pipeline.TypeCommit && !s.Lasting()
}

// undecided gives the build that waits for a decision at a stage; empty for none.
func undecided(st *pipeline.State, s pipeline.Stage) string {
	candidate := pipeline.Decide(st, s).Candidate
	if !s.Approval || candidate == "" || st.Outcome(s, candidate) != pipeline.OutcomeWaiting {
		return ""
	}
	return candidate
}

// offered gives the build to which a person may move a stage; empty for none.
func offered(st *pipeline.State, s pipeline.Stage) string {
	if s.Trigger != pipeline.TriggerManual || !s.TakesBuild() {
		return ""
	}
	move := pipeline.Decide(st, s)
	build, ok := st.NewestEligible(s, st.Builds[st.Holds[s.Name].Build].Order)
	if !ok || move.Candidate == build {
		return ""
	}
	return build
}

// previous gives the build that a stage can go back to; empty for none.
func previous(st *pipeline.State, s pipeline.Stage) string {
	back := st.Holds[s.Name].Previous
	if s.Trigger != pipeline.TriggerManual || back == "" || st.Builds[back].Order >= st.Builds[st.Holds[s.Name].Build].Order || st.Eligible(s, back) != nil {
		return ""
	}
	return back
}

// wait is something that goes on when a person does something.
type wait struct {
	Stage, What string
	Build       pipeline.Build
	Buttons     []button
	Who         string // may do it, where this person may not
}

// waits lists what waits for people, in the order of the stages.
func waits(st *pipeline.State, who pipeline.Person) []wait {
	var list []wait
	for _, s := range st.StagesInOrder() {
		now, _ := buttons(st, s, who)
		add := func(what, build string, right pipeline.Right) {
			w := wait{Stage: s.Name, What: what, Build: st.Builds[build], Buttons: now}
			if err := st.Pipeline.Authorize(right, who, ""); err != nil {
				w.Who = pipeline.HintOf(err)
			}
			list = append(list, w)
		}
		if f, held := st.Freezes[s.Name]; held {
			text := "is held by " + f.Actor
			if f.Reason != "" {
				text += ": " + f.Reason
			}
			add(text, "", pipeline.RightDeploy)
			continue
		}
		if build := undecided(st, s); build != "" {
			text := "waits for a decision on"
			if missing := st.MissingApprovals(s, build); missing > 1 {
				text = fmt.Sprintf("waits for %d approvals of", missing)
			}
			add(text, build, pipeline.RightApprove)
		}
		if build := offered(st, s); build != "" {
			text := "can be promoted to"
			if s.Pin != "" {
				text = fmt.Sprintf("is pinned to %s by the configuration, and could move to", s.Pin)
			}
			add(text, build, pipeline.RightDeploy)
		}
	}
	return list
}
