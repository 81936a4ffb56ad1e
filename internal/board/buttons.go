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
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
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
}

func newButton(name string, stage pipeline.Stage, build string) button {
	a := actions[name]
	return button{Action: name, Label: a.Label, Stage: stage.Name, Build: build, Danger: a.Danger, Primary: name == "approve" || name == "promote" || name == "resume"}
}

// adder returns what adds a button to a list where the person that e works for may press it.
// One that would move a stage that the configuration pins is shown, too: its page names
// the line to change.
func adder(e *engine.Engine, st *pipeline.State, s pipeline.Stage) func(list *[]button, name, build string) bool {
	return func(list *[]button, name, build string) bool {
		err := check(e, st, s, name, build)
		pinned := s.Pin != "" && (name == "promote" || name == "rollback") && pipeline.CodeOf(err) == pipeline.CodeRefused
		if err != nil && !pinned {
			return false
		}
		b := newButton(name, s, build)
		b.Number = st.Builds[build].Number
		switch {
		case name == "lift":
			b.Label = liftLabel(st, s, build)
		case name == "approve" && st.RejectedAt(build) != "": // at another stage
			b.Primary = false
		}
		*list = append(*list, b)
		return true
	}
}

// buttons returns what the person that e works for can do at a stage of what waits for
// somebody.
func buttons(e *engine.Engine, st *pipeline.State, m gate.Move) (now []button) {
	s := m.Stage
	add := adder(e, st, s)
	if _, paused := st.Pauses[s.Name]; paused {
		add(&now, "resume", "")
		return now
	}
	if build := gate.Undecided(st, m); build != "" {
		add(&now, "approve", build)
		add(&now, "reject", build)
		if b, ok := tryIt(st, s, build, e.Person()); ok {
			now = append(now, b)
		}
	}
	if build := gate.Offered(st, m); build != "" {
		add(&now, "promote", build)
	}
	if latest := st.Latest[s.Name]; gate.Fails(m, latest) {
		now = append(now, button{Label: "See the failure", Primary: true, Page: runPath(s.Pipeline, latest.ID)})
		add(&now, "retry", "")
	}
	return now
}

// runPath is the address of a run's page.
func runPath(pipelineName, run string) string {
	return "/p/" + url.PathEscape(pipelineName) + "/runs/" + url.PathEscape(run)
}

// moreButtons returns what else the person can do there.
func moreButtons(e *engine.Engine, st *pipeline.State, m gate.Move) (more []button) {
	s := m.Stage
	if _, paused := st.Pauses[s.Name]; paused {
		return nil
	}
	add, failed := adder(e, st, s), gate.Fails(m, st.Latest[s.Name])
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
// the person may launch.
func tryIt(st *pipeline.State, s pipeline.Stage, build string, who pipeline.Person) (button, bool) {
	b := button{Action: "launch", Label: "Try it", Build: build, Name: run.OwnName("try-" + run.OwnName(who.Name))}
	if env, ok := st.RunEnvironment(s.Name, pipeline.ForInquiry); ok && env.Serves() && env.Build == build && web(env.Endpoint) {
		b.URL = env.Endpoint
		return b, true
	}
	return b, st.Pipeline.Service.Start != "" && st.Pipeline.Authorization.Allows(pipeline.RightLaunch, who)
}

// wait is something that goes on when a person does something.
type wait struct {
	Stage, What string
	Build       pipeline.Build
	Error       string // why it failed
	Buttons     []button
	Who         string              // may do it, and who has done their part
	Pending     *pipeline.Promotion // that no apply has carried out yet
	Moving      bool                // a run carries it out
}

// waits lists what waits for people, in the order of the stages.
func waits(e *engine.Engine, st *pipeline.State) []wait {
	var list []wait
	for _, m := range gate.Now(st).Moves() {
		s, now := m.Stage, buttons(e, st, m)
		add := func(what, build, who string) *wait {
			list = append(list, wait{Stage: s.Name, What: what, Build: st.Builds[build], Buttons: now, Who: who})
			return &list[len(list)-1]
		}
		if f, paused := st.Pauses[s.Name]; paused {
			text := "is paused by " + f.Actor
			if f.Reason != "" {
				text += ": " + f.Reason
			}
			add(text, "", who(e, st, "resume", pipeline.RightDeploy, s, ""))
			continue
		}
		if p, ok := report.Pending(st, s); ok && !gate.Fails(m, st.Latest[s.Name]) {
			add("will move to", p.Build, "").pending(st, p)
			continue
		}
		if build := gate.Undecided(st, m); build != "" {
			text := "waits for a decision on"
			if missing := st.Ballot(s, build).MissingApprovals(); missing > 1 || len(st.Ballot(s, build).Approvals()) > 0 {
				text = fmt.Sprintf("waits for %s of", present.Count(missing, "more approval"))
			}
			add(text, build, strings.TrimSpace(approvedBy(st, s, build)+" "+who(e, st, "approve", pipeline.RightApprove, s, build)))
		}
		if build := gate.Offered(st, m); build != "" {
			text := "can be promoted to"
			if s.Pin != "" {
				text = fmt.Sprintf("is pinned to %s by the configuration, and could move to", s.Pin)
			}
			add(text, build, who(e, st, "promote", pipeline.RightDeploy, s, build))
		}
		if gate.Fails(m, st.Latest[s.Name]) {
			run, text := st.Latest[s.Name], "failed for"
			if run.Build == "" {
				text = "failed"
			}
			add(text, run.Build, askedFor(st, s, run)).Error = pipeline.FirstLine(run.Error)
		}
	}
	return list
}

// pending says where a promotion is: it waits for an apply, or a run carries it out.
func (w *wait) pending(st *pipeline.State, p pipeline.Promotion) {
	w.Pending, w.Buttons = &p, nil
	if latest := st.Latest[p.Stage]; latest.Status == pipeline.RunRunning && latest.Build == p.Build {
		w.What, w.Moving = "moves to", true
		w.Buttons = []button{{Label: "Follow it", Primary: true, Page: runPath(p.Pipeline, latest.ID)}}
	}
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

// who says who may do something: why this person may not, and who may instead, else who
// else may; empty where that is everybody.
func who(e *engine.Engine, st *pipeline.State, name string, right pipeline.Right, s pipeline.Stage, build string) string {
	err := check(e, st, s, name, build)
	names, everybody := st.Pipeline.Entitled(right)
	refused := pipeline.CodeOf(err) == pipeline.CodeNotAllowed
	switch {
	case refused && st.Pipeline.Authorization.Allows(right, e.Person()): // an author
		text := "You wrote part of the build, and somebody else has to approve it."
		if !everybody {
			text += " Waits for " + people(names) + "."
		}
		return text
	case refused && len(names) == 0:
		return fmt.Sprintf("Nobody has the right to %s here.", name)
	case refused:
		return "Waits for " + people(names) + "."
	case everybody:
		return ""
	}
	return fmt.Sprintf("You may %s it, as may %s.", name, people(names))
}

// people names those who have a right, in words: a group as a team.
func people(names []string) string {
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = name
		if group, is := strings.CutPrefix(name, "@"); is {
			group, members, _ := strings.Cut(group, " ")
			words[i] = strings.TrimSpace("the " + group + " team " + members)
		}
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

// askedFor says who asked for another run after one; empty for nobody.
func askedFor(st *pipeline.State, s pipeline.Stage, run pipeline.RunSummary) string {
	retry, ok := st.Retried(s, run)
	if !ok {
		return ""
	}
	return retry.Actor + " asked for another run"
}
