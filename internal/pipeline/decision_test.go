// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"slices"
	"strings"
	"testing"
)

// An approval holds for the run and the content that it was taken on, and where as many
// approve as must.
func TestApprovalHolds(t *testing.T) {
	approved := func() *story {
		return tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x").decided("exploratory", "x", Approved)
	}
	artifact := func(s *story) *story {
		b := s.state().Builds[id("x")]
		b.Artifact = &Artifact{Digest: "sha256:other"}
		return s.event(BuildOffered, Facts{Build: &b})
	}
	two := &Pipeline{Name: "shop", Service: Service{Start: "start"}, Authorization: &Authorization{Approvals: 2}}
	tests := map[string]struct {
		story *story
		want  bool
	}{
		"as it was":                    {approved(), true},
		"another run":                  {approved().passed("exploratory", "x"), false},
		"another content":              {artifact(approved()), false},
		"another content, run again":   {artifact(approved()).passed("exploratory", "x"), false},
		"approved again":               {artifact(approved()).passed("exploratory", "x").decided("exploratory", "x", Approved), true},
		"two must approve":             {approved().event(PipelineDefined, Facts{Pipeline: two}), false},
		"rejected afterwards":          {approved().decided("exploratory", "x", Rejected), false},
		"rejected, then approved":      {approved().decided("exploratory", "x", Rejected).decided("exploratory", "x", Approved), true},
		"a rejection outlives the run": {approved().decided("exploratory", "x", Rejected).passed("exploratory", "x"), false},
		"a rejection lifted without a run": {tell(t).route().offered("x").passed("acceptance", "x").decided("exploratory", "x", Rejected).
			decided("exploratory", "x", Approved), false},
		"lifted, and run then": {tell(t).route().offered("x").passed("acceptance", "x").decided("exploratory", "x", Rejected).
			decided("exploratory", "x", Approved).passed("exploratory", "x"), false},
		"a failed run after an approval": {approved().ran("exploratory", "x", RunFailed), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.state()
			if got := st.Passed("exploratory", id("x")); got != tt.want {
				t.Errorf("passed: %v, want %v", got, tt.want)
			}
			rejected := st.Decisions[StageBuild("exploratory", id("x"))].Result == Rejected
			if got := st.IsDecided(st.Stages["exploratory"], id("x")); got != (tt.want || rejected) {
				t.Errorf("settled: %v", got)
			}
		})
	}
}

func TestApprovalsByTwo(t *testing.T) {
	s := tell(t).route()
	s.event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Service: Service{Start: "start"}, Authorization: &Authorization{Approvals: 2}}})
	s.offered("x").passed("acceptance", "x").passed("exploratory", "x")
	waits := func() string { st := s.state(); return Decide(st, st.Stages["exploratory"]).WaitingFor }
	if got := waits(); !strings.Contains(got, "by 2 people") {
		t.Errorf("waits for %q", got)
	}
	s.decided("exploratory", "x", Approved)
	if got := waits(); !strings.Contains(got, "1 more of 2 approvals") {
		t.Errorf("waits for %q", got)
	}
	st := s.state()
	d := st.Decisions[StageBuild("exploratory", id("x"))]
	d.Approvals = append(d.Approvals, Approval{Person: "bob", Actor: "robert"})
	if s.event(BuildDecided, Facts{Decision: &d}); s.state().Passed("exploratory", id("x")) {
		t.Error("one person approved twice, and that was enough")
	}
	d.Approvals = append(d.Approvals, Approval{Person: "carol", Actor: "carol"})
	if s.event(BuildDecided, Facts{Decision: &d}); !s.state().Passed("exploratory", id("x")) {
		t.Error("two approved, and that was not enough")
	}
}

// A rejected build enters no stage, wherever it was rejected; where it is, it stays.
func TestRejectedEverywhere(t *testing.T) {
	st := tell(t).route().offered("x", "y").passed("acceptance", "x", "y").passed("capacity", "x").
		passed("exploratory", "x", "y").decided("exploratory", "y", Rejected).state()
	move := Decide(st, st.Stages["capacity"])
	if move.Action != ActionNone || move.Candidate != id("x") || move.Status != StatusPassed {
		t.Errorf("capacity: %+v", move)
	}
	if move := Decide(st, st.Stages["acceptance"]); move.Action != ActionNone || move.Candidate != id("y") || !st.Passed("acceptance", id("y")) {
		t.Errorf("acceptance: %+v", move)
	}
	if err := st.Eligible(st.Stages["capacity"], id("y")); CodeOf(err) != CodeRefused || !strings.Contains(HintOf(err), "penstock approve --lift shop exploratory") {
		t.Errorf("capacity may take it: %v", err)
	}
}

func TestOverride(t *testing.T) {
	failed := func() *story {
		return tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x").decided("exploratory", "x", Approved).ran("capacity", "x", RunFailed)
	}
	changed := a(TypeCapacity, "acceptance")
	changed.Steps = []Step{{Name: "new", Command: "true"}}
	tests := map[string]struct {
		story   *story
		passed  bool
		action  Action // of capacity
		outcome Outcome
		below   Action // of pre-production
	}{
		"without":                     {failed(), false, ActionRun, OutcomeFailed, ActionNone},
		"after a failure":             {failed().overridden("capacity", "x"), true, ActionAdopt, OutcomeOverridden, ActionRun},
		"before any run":              {tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x").decided("exploratory", "x", Approved).overridden("capacity", "x"), true, ActionAdopt, OutcomeOverridden, ActionRun},
		"the stage changed":           {failed().overridden("capacity", "x").stages(changed), true, ActionRun, OutcomeOverridden, ActionRun},
		"it failed once more":         {failed().overridden("capacity", "x").ran("capacity", "x", RunFailed), false, ActionRun, OutcomeFailed, ActionNone},
		"it passed later":             {failed().overridden("capacity", "x").passed("capacity", "x"), true, ActionNone, OutcomePassed, ActionRun},
		"another run is asked for":    {failed().overridden("capacity", "x").retried("capacity", "x"), true, ActionRun, OutcomeOverridden, ActionRun},
		"rejected above":              {failed().overridden("capacity", "x").decided("acceptance", "x", Rejected), false, ActionNone, OutcomeFailed, ActionNone},
		"a rejection is not lifted":   {failed().overridden("capacity", "x").decided("capacity", "x", Rejected), false, ActionNone, OutcomeRejected, ActionNone},
		"nor one at another stage":    {failed().decided("exploratory", "x", Rejected).overridden("capacity", "x"), true, ActionNone, OutcomeOverridden, ActionNone},
		"of a stage that wants a yes": {tell(t).route().offered("x").passed("acceptance", "x").passed("capacity", "x").passed("exploratory", "x").overridden("exploratory", "x"), true, ActionNone, OutcomePassed, ActionRun},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.state()
			if got := st.Passed("capacity", id("x")); got != tt.passed {
				t.Errorf("passed: %v, want %v", got, tt.passed)
			}
			if got := Decide(st, st.Stages["capacity"]); got.Action != tt.action {
				t.Errorf("capacity: %+v, want %s", got, tt.action)
			}
			if got := st.Outcome(st.Stages["capacity"], id("x")); got != tt.outcome {
				t.Errorf("outcome %q, want %q", got, tt.outcome)
			}
			if _, marked := st.Overrides[StageBuild("capacity", id("x"))]; marked != (name != "without" && name != "of a stage that wants a yes") {
				t.Errorf("marked as overridden: %v", marked)
			}
			if got := Decide(st, st.Stages["pre-production"]); got.Action != tt.below {
				t.Errorf("pre-production: %+v, want %s", got, tt.below)
			}
		})
	}
}

func TestPausedStage(t *testing.T) {
	live := func() *story {
		return tell(t).route().through("x").passed("production", "x").serves("production", "x", EnvRunning)
	}
	tests := map[string]struct {
		story  *story
		stage  string
		pin    string
		action Action
		code   Code
		holds  string
	}{
		"a newer build stays out":     {live().current("acceptance").offered("y"), "acceptance", "", ActionNone, "", "x"},
		"a promotion waits":           {live().current("production").through("y").promoted("production", "y"), "production", "", ActionNone, "", "x"},
		"a pin is refused":            {live().current("production").through("y"), "production", "y", ActionNone, CodeRefused, "y"},
		"a pin to what it holds":      {live().current("production"), "production", "x", ActionNone, "", "x"},
		"what it runs is kept":        {live().serves("production", "x", EnvGone).current("production"), "production", "", ActionRestore, "", "x"},
		"a changed definition waits":  {live().current("capacity").event(StageDefined, Facts{Stage: changedCapacity()}), "capacity", "", ActionNone, "", "x"},
		"the stages below go on":      {live().current("exploratory"), "pre-production", "", ActionNone, "", "x"},
		"released, it moves":          {live().current("acceptance").offered("y").event(StageResumed, Facts{Gone: []Key{{RecordPause, "acceptance"}}}), "acceptance", "", ActionRun, "", "y"},
		"a stage that holds no build": {tell(t).route().offered("x").current("acceptance"), "acceptance", "", ActionNone, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.state()
			stage := st.Stages[tt.stage]
			if tt.pin != "" {
				stage.Pin = id(tt.pin)
			}
			want := ""
			if tt.holds != "" {
				want = id(tt.holds)
			}
			move := Decide(st, stage)
			if move.Action != tt.action || CodeOf(move.Err) != tt.code || move.Candidate != want {
				t.Errorf("%+v, want %s of %q", move, tt.action, want)
			}
			if _, held := st.Pauses[tt.stage]; held && (move.Status != StatusWaiting || !strings.Contains(move.WaitingFor, "bob paused it at") || !strings.Contains(move.WaitingFor, "it is Friday")) {
				t.Errorf("status %s, waits for %q", move.Status, move.WaitingFor)
			}
		})
	}
}

func changedCapacity() *Stage {
	s := a(TypeCapacity, "acceptance")
	s.Steps = []Step{{Name: "new", Command: "true"}}
	return &s
}

func TestRetry(t *testing.T) {
	s := tell(t).route().offered("x").passed("acceptance", "x").retried("acceptance", "x")
	decide := func() Move { st := s.state(); return Decide(st, st.Stages["acceptance"]) }
	if move := decide(); move.Action != ActionRun || !strings.Contains(move.Why, "bob") {
		t.Errorf("after the wish: %+v", move)
	}
	if s.passed("acceptance", "x"); decide().Action != ActionNone {
		t.Errorf("after another run: %+v", decide())
	}
}

// The authors are those of every build that comes with it.
func TestAuthors(t *testing.T) {
	s := tell(t).route()
	for _, b := range []struct {
		name    string
		authors []string
	}{{"v", []string{"eve"}}, {"x", []string{"ada", "bob"}}, {"y", nil}, {"z", []string{"dave"}}} {
		revision := Revision{}
		if b.name == "y" {
			revision = Revision{Author: "carol", Committer: "mallory"}
		}
		s.event(BuildOffered, Facts{Build: &Build{ID: id(b.name), Pipeline: "shop", Stage: "commit", Digest: b.name, Authors: b.authors, Revision: revision}})
		s.ran("commit", b.name, RunPassed)
	}
	s.passed("acceptance", "v", "x", "y").passed("exploratory", "v", "x", "y").decided("exploratory", "v", Approved)
	st := s.state()
	if got := st.Authors(st.Stages["exploratory"], id("y")); !slices.Equal(got, []string{"ada", "bob", "carol", "mallory"}) {
		t.Errorf("authors %q", got)
	}
	if got := st.Authors(st.Stages["exploratory"], id("v")); !slices.Equal(got, []string{"eve"}) {
		t.Errorf("authors %q", got)
	}
}

func TestAuthorizePin(t *testing.T) {
	s := tell(t).route().through("x", "y").passed("production", "x")
	s.event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Authorization: &Authorization{Deploy: []string{"carol"}}}})
	st := s.state()
	production := st.Stages["production"]
	for _, tt := range []struct {
		stage Stage
		who   string
		want  Code
	}{
		{production, "ada", ""},
		{pinnedTo(production, id("x")), "ada", ""}, // it is there
		{pinnedTo(production, id("y")), "ada", CodeNotAllowed},
		{pinnedTo(production, id("y")), "carol", ""},
		{pinnedTo(st.Stages["capacity"], id("y")), "ada", ""},
	} {
		if err := st.AuthorizePin(tt.stage, Person{Name: tt.who}); CodeOf(err) != tt.want {
			t.Errorf("%s pins %s to %s: %v", tt.who, tt.stage.Name, tt.stage.Pin, err)
		}
	}
}
