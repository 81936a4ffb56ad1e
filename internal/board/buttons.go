// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// button leads to the page that asks whether to do something, or to somewhere else.
type button struct {
	Action, Label      string
	Stage, Build, Name string
	Number             int64 // of the build
	Danger             bool
	Primary            bool
	URL                string // where it leads to if not to the page that asks
	Page               string // of the board, to which it leads instead
	Says               string // its name for those who don't see what it is beside; empty for the label
	refusal                   // the zero one: this person may press it
}

func newButton(name string, stage pipeline.Stage, build string) button {
	a := actions[name]
	return button{Action: name, Label: a.Label, Stage: stage.Name, Build: build, Danger: a.Danger, Primary: name == "approve" || name == "promote" || name == "resume"}
}

// adder returns what adds a button to a list, and reports whether the person that e works for
// may press it. One that somebody else may press is shown with who may. One that would move a
// stage that the configuration pins is shown, too: its page names the line to change.
func adder(e *engine.Engine, st *pipeline.State, s pipeline.Stage) func(list *[]button, name, build string) bool {
	return func(list *[]button, name, build string) bool {
		err := check(e, st, s, name, build)
		pinned := s.Pin != "" && (name == "promote" || name == "rollback") && pipeline.CodeOf(err) == pipeline.CodeRefused
		b := newButton(name, s, build)
		b.Number = st.Builds[build].Number
		if pipeline.CodeOf(err) == pipeline.CodeNotAllowed && check(e, withRights(st), s, name, build) == nil {
			b.refusal = refusalOf(st, name, e.Person())
		}
		if err != nil && !pinned && !b.Refused() {
			return false
		}
		switch {
		case name == "lift":
			b.Label = liftLabel(st, s, build)
		case name == "approve" && st.RejectedAt(build) != "": // at another stage
			b.Primary = false
		}
		*list = append(*list, b)
		return !b.Refused()
	}
}

// buttons returns what the person that e works for can do at a stage of what waits for
// somebody.
func buttons(e *engine.Engine, st *pipeline.State, v gate.View) (now []button) {
	s := v.Move.Stage
	add := adder(e, st, s)
	if v.Current.Pause != nil {
		add(&now, "resume", "")
	}
	if build := v.Undecided; build != "" {
		add(&now, "approve", build)
		add(&now, "reject", build)
		if b, ok := tryIt(st, s, build, e.Person()); ok {
			now = append(now, b)
		}
	}
	if v.Current.Pause != nil {
		return now
	}
	if build := v.Offered; build != "" {
		add(&now, "promote", build)
	}
	if v.Next.Kind == gate.NextFailed {
		now = append(now, button{Label: "See the failure", Primary: true, Page: runPath(s.Pipeline, v.Next.Run.ID)})
		add(&now, "retry", "")
	}
	return now
}

// runPath is the address of a run's page.
func runPath(pipelineName, run string) string {
	return "/p/" + url.PathEscape(pipelineName) + "/runs/" + url.PathEscape(run)
}

// moreButtons returns what else the person can do there.
func moreButtons(e *engine.Engine, st *pipeline.State, v gate.View) (more []button) {
	s := v.Move.Stage
	if v.Current.Pause != nil {
		return nil
	}
	add, failed := adder(e, st, s), v.Next.Kind == gate.NextFailed
	if !failed {
		add(&more, "retry", "")
	}
	if s.Trigger == pipeline.TriggerManual {
		if back := decision.BuildBefore(st, s); back != "" {
			add(&more, "rollback", back)
		}
	}
	if run := st.Latest[s.Name]; failed && run.Build != "" {
		add(&more, "override", run.Build)
	}
	add(&more, "pause", "")
	return more
}

// tryIt leads to the environment in which a build can be tried: the stage's, else one that
// may be launched, by the person or by others.
func tryIt(st *pipeline.State, s pipeline.Stage, build string, who pipeline.Person) (button, bool) {
	b := button{Action: "launch", Label: "Try it", Build: build, Name: run.OwnName("try-" + run.OwnName(who.Name))}
	if env, ok := st.RunEnvironment(s.Name, pipeline.ForInquiry); ok && env.Serves() && env.Build == build && web(env.Endpoint) {
		b.URL = env.Endpoint
		return b, true
	}
	return b, st.Pipeline.Service.Start != "" && b.mayLaunch(st, who)
}

// wait is something that goes on when a person does something.
type wait struct {
	Stage, What string
	Build       pipeline.Build
	Run, Step   string // that failed; both may be empty
	Error       string // why it failed
	Buttons     []button
	Who         string              // may do it, and who has done their part
	Promotion   *pipeline.Promotion // that is not carried out yet
	Moves       bool                // a run carries it out
}

// StepPage is the address at which the log of the run shows the step.
func (w wait) StepPage(pipelineName string) string {
	return runPath(pipelineName, w.Run) + "?" + url.Values{"step": {w.Step}}.Encode() + "#log"
}

// waits lists what waits for people, in the order of the stages. If nobody watches, that is
// also a promotion which no apply has taken up.
func waits(e *engine.Engine, st *pipeline.State, watched bool) []wait {
	var list []wait
	plan := gate.Now(st)
	for _, m := range plan.Moves() {
		v := plan.View(m.Stage.Name)
		s, now := m.Stage, buttons(e, st, v)
		add := func(what, build, who string) *wait {
			list = append(list, wait{Stage: s.Name, What: what, Build: st.Builds[build], Buttons: now, Who: who})
			return &list[len(list)-1]
		}
		if f, paused := st.Pauses[s.Name]; paused {
			text := "is paused by " + f.Actor
			if f.Reason != "" {
				text += ": " + f.Reason
			}
			add(text, "", others(e, st, "resume", s, ""))
		}
		if build := v.Undecided; build != "" {
			text := "waits for a decision on"
			if missing := st.Ballot(s, build).MissingApprovals(); missing > 1 || len(st.Ballot(s, build).Approvals()) > 0 {
				text = fmt.Sprintf("waits for %s of", present.Count(missing, "more approval"))
			}
			add(text, build, strings.TrimSpace(approvedBy(st, s, build)+" "+others(e, st, "approve", s, build)))
		}
		if v.Current.Pause != nil {
			continue
		}
		if p := v.Next.Promotion; v.Next.Kind == gate.NextPromoted && !watched {
			at := add("waits for an apply that moves it to", p.Build, "")
			at.Buttons = nil
			at.promoted(e, st, p)
		}
		if build := v.Offered; build != "" {
			text := "can be promoted to"
			if s.Pin != "" {
				text = fmt.Sprintf("is pinned to %s by the configuration, and could move to", ask.Brief(st.Builds[s.Pin].Number, s.Pin))
			}
			add(text, build, others(e, st, "promote", s, build))
		}
		if v.Next.Kind == gate.NextFailed {
			run, text := st.Latest[s.Name], "failed for"
			if run.Build == "" {
				text = "failed"
			}
			at := add(text, run.Build, askedFor(st, s, run))
			at.Run, at.Step = run.ID, run.Step
			at.Error = strings.TrimPrefix(pipeline.FirstLine(run.Error), fmt.Sprintf("step %q failed: ", run.Step))
			if v.Next.Promotion != nil {
				at.promoted(e, st, v.Next.Promotion)
			}
		}
	}
	return list
}

// promoted says whose promotion waits, and lets those cancel it who may.
func (w *wait) promoted(e *engine.Engine, st *pipeline.State, p *pipeline.Promotion) {
	w.Promotion = p
	adder(e, st, st.Stages[p.Stage])(&w.Buttons, string(decision.CancelPromotion), p.Build)
}

// underWay lists the promotions that need nobody: those that a watcher will carry out, and
// those that a run carries out.
func underWay(e *engine.Engine, st *pipeline.State, watched bool) (list []wait) {
	for _, v := range gate.Now(st).Views() {
		p, made := st.Promotions[v.Name]
		w := wait{Stage: v.Name, Build: st.Builds[v.Next.Build]}
		switch {
		case v.Next.Kind == gate.NextPromoted && watched:
			w.What = "will move to"
			w.promoted(e, st, v.Next.Promotion)
		case v.Next.Kind == gate.NextRunning && made && p.Build == v.Next.Build && st.Current[v.Name].Build != p.Build:
			w.What, w.Promotion, w.Moves = "moves to", &p, true
			w.Buttons = []button{{Label: "Follow it", Primary: true, Page: runPath(p.Pipeline, v.Next.Run.ID)}}
		default:
			continue
		}
		list = append(list, w)
	}
	return list
}

// approvedBy names the people whose approvals of a build count; empty for none.
func approvedBy(st *pipeline.State, s pipeline.Stage, build string) string {
	var names []string
	for _, a := range st.Ballot(s, build).Approvals() {
		names = append(names, a.Actor)
	}
	if len(names) == 0 {
		return ""
	}
	return "Approved by " + strings.Join(names, " and ") + "."
}

// askedFor says who asked for another run after one; empty for nobody.
func askedFor(st *pipeline.State, s pipeline.Stage, run pipeline.RunSummary) string {
	retry, ok := st.Retried(s, run)
	if !ok {
		return ""
	}
	return retry.Actor + " asked for another run"
}
