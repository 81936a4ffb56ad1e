// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	"strings"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestApprovalsByTwo(t *testing.T) {
	s := Tell(t).Route()
	s.Event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Service: Service{Start: "start"}, Authorization: &Authorization{Approvals: 2}}})
	s.Offered("x").Passed("acceptance", "x").Passed("exploratory", "x")
	waits := func() string { st := s.State(); return reason.Waiting(decide(st, st.Stages["exploratory"]).Wait) }
	if got := waits(); !strings.Contains(got, "by 2 people") {
		t.Errorf("waits for %q", got)
	}
	s.Decided("exploratory", "x", Approved)
	if got := waits(); !strings.Contains(got, "1 more of 2 approvals") {
		t.Errorf("waits for %q", got)
	}
	st := s.State()
	d := st.Decisions[StageBuild("exploratory", ID("x"))]
	d.Approvals = append(d.Approvals, Approval{Person: "bob", Actor: "robert"})
	if s.Event(BuildDecided, Facts{Decision: &d}); s.State().Passed("exploratory", ID("x")) {
		t.Error("one person approved twice, and that was enough")
	}
	d.Approvals = append(d.Approvals, Approval{Person: "carol", Actor: "carol"})
	if s.Event(BuildDecided, Facts{Decision: &d}); !s.State().Passed("exploratory", ID("x")) {
		t.Error("two approved, and that was not enough")
	}
}

// A rejected build enters no stage, wherever it was rejected. It stays in the stages that it
// is in.
func TestRejectedEverywhere(t *testing.T) {
	st := Tell(t).Route().Offered("x", "y").Passed("acceptance", "x", "y").Passed("capacity", "x").
		Passed("exploratory", "x", "y").Decided("exploratory", "y", Rejected).State()
	move := decide(st, st.Stages["capacity"])
	if move.Action != ActionNone || move.Candidate.ID != ID("x") || look(st, st.Stages["capacity"]).Status != StatusPassed {
		t.Errorf("capacity: %+v", move)
	}
	if move := decide(st, st.Stages["acceptance"]); move.Action != ActionNone || move.Candidate.ID != ID("y") || !st.Passed("acceptance", ID("y")) {
		t.Errorf("acceptance: %+v", move)
	}
	if err := Eligible(st, st.Stages["capacity"], ID("y")); CodeOf(err) != CodeRefused || !strings.Contains(reason.Hint(err), "penstock approve --lift shop exploratory") {
		t.Errorf("capacity may take it: %v", err)
	}
}

func TestOverride(t *testing.T) {
	failed := func() *Story {
		return Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x").Decided("exploratory", "x", Approved).Ran("capacity", "x", RunFailed)
	}
	changed := A(TypeCapacity, "acceptance")
	changed.Steps = []Step{{Name: "new", Command: "true"}}
	tests := map[string]struct {
		story   *Story
		passed  bool
		action  Action // of capacity
		outcome Outcome
		below   Action // of pre-production
	}{
		"without":                     {failed(), false, ActionRun, OutcomeFailed, ActionNone},
		"after a failure":             {failed().Overridden("capacity", "x"), true, ActionAdopt, OutcomeOverridden, ActionRun},
		"before any run":              {Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x").Decided("exploratory", "x", Approved).Overridden("capacity", "x"), true, ActionAdopt, OutcomeOverridden, ActionRun},
		"the stage changed":           {failed().Overridden("capacity", "x").Stages(changed), true, ActionRun, OutcomeOverridden, ActionRun},
		"it failed once more":         {failed().Overridden("capacity", "x").Ran("capacity", "x", RunFailed), false, ActionRun, OutcomeFailed, ActionNone},
		"it passed later":             {failed().Overridden("capacity", "x").Passed("capacity", "x"), true, ActionNone, OutcomePassed, ActionRun},
		"another run is asked for":    {failed().Overridden("capacity", "x").Retried("capacity", "x"), true, ActionRun, OutcomeOverridden, ActionRun},
		"rejected above":              {failed().Overridden("capacity", "x").Decided("acceptance", "x", Rejected), false, ActionNone, OutcomeFailed, ActionNone},
		"a rejection is not lifted":   {failed().Overridden("capacity", "x").Decided("capacity", "x", Rejected), false, ActionNone, OutcomeRejected, ActionNone},
		"nor one at another stage":    {failed().Decided("exploratory", "x", Rejected).Overridden("capacity", "x"), true, ActionNone, OutcomeOverridden, ActionNone},
		"of a stage that wants a yes": {Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("capacity", "x").Passed("exploratory", "x").Overridden("exploratory", "x"), true, ActionNone, OutcomePassed, ActionRun},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.State()
			if got := st.Passed("capacity", ID("x")); got != tt.passed {
				t.Errorf("passed: %v, want %v", got, tt.passed)
			}
			if got := decide(st, st.Stages["capacity"]); got.Action != tt.action {
				t.Errorf("capacity: %+v, want %s", got, tt.action)
			}
			if got := st.Outcome(st.Stages["capacity"], ID("x")); got != tt.outcome {
				t.Errorf("outcome %q, want %q", got, tt.outcome)
			}
			if _, marked := st.Overrides[StageBuild("capacity", ID("x"))]; marked != (name != "without" && name != "of a stage that wants a yes") {
				t.Errorf("marked as overridden: %v", marked)
			}
			if got := decide(st, st.Stages["pre-production"]); got.Action != tt.below {
				t.Errorf("pre-production: %+v, want %s", got, tt.below)
			}
		})
	}
}

func TestPausedStage(t *testing.T) {
	live := func() *Story {
		return Tell(t).Route().Through("x").Passed("production", "x").Serves("production", "x", EnvRunning)
	}
	tests := map[string]struct {
		story   *Story
		stage   string
		pin     string
		action  Action
		code    Code
		current string
	}{
		"a newer build stays out":     {live().Paused("acceptance").Offered("y"), "acceptance", "", ActionNone, "", "x"},
		"a promotion waits":           {live().Paused("production").Through("y").Promoted("production", "y"), "production", "", ActionNone, "", "x"},
		"a pin is refused":            {live().Paused("production").Through("y"), "production", "y", ActionNone, CodeRefused, "y"},
		"a pin to what it holds":      {live().Paused("production"), "production", "x", ActionNone, "", "x"},
		"what it runs is kept":        {live().Serves("production", "x", EnvGone).Paused("production"), "production", "", ActionRestore, "", "x"},
		"a changed definition waits":  {live().Paused("capacity").Event(StageDefined, Facts{Stage: changedCapacity()}), "capacity", "", ActionNone, "", "x"},
		"the stages below go on":      {live().Paused("exploratory"), "pre-production", "", ActionNone, "", "x"},
		"released, it moves":          {live().Paused("acceptance").Offered("y").Event(StageResumed, Facts{Gone: []Key{{Kind: RecordPause, ID: "acceptance"}}}), "acceptance", "", ActionRun, "", "y"},
		"a stage that holds no build": {Tell(t).Route().Offered("x").Paused("acceptance"), "acceptance", "", ActionNone, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.State()
			stage := st.Stages[tt.stage]
			if tt.pin != "" {
				stage.Pin = ID(tt.pin)
			}
			want := ""
			if tt.current != "" {
				want = ID(tt.current)
			}
			move := decide(st, stage)
			if move.Action != tt.action || CodeOf(move.Err()) != tt.code || move.Candidate.ID != want {
				t.Errorf("%+v, want %s of %q", move, tt.action, want)
			}
			if _, paused := st.Pauses[tt.stage]; paused && (look(st, stage).Status != StatusPaused || !strings.Contains(reason.Waiting(move.Wait), "bob paused it at") || !strings.Contains(reason.Waiting(move.Wait), "it is Friday")) {
				t.Errorf("status %s, waits for %q", look(st, stage).Status, reason.Waiting(move.Wait))
			}
		})
	}
}

func changedCapacity() *Stage {
	s := A(TypeCapacity, "acceptance")
	s.Steps = []Step{{Name: "new", Command: "true"}}
	return &s
}

func TestRetry(t *testing.T) {
	s := Tell(t).Route().Offered("x").Passed("acceptance", "x").Retried("acceptance", "x")
	decide := func() Move { st := s.State(); return decide(st, st.Stages["acceptance"]) }
	if move := decide(); move.Action != ActionRun || !strings.Contains(move.Why.String(), "bob") {
		t.Errorf("after the wish: %+v", move)
	}
	if s.Passed("acceptance", "x"); decide().Action != ActionNone {
		t.Errorf("after another run: %+v", decide())
	}
}

func TestAuthorizePin(t *testing.T) {
	s := Tell(t).Route().Through("x", "y").Passed("production", "x")
	s.Event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Authorization: &Authorization{Deploy: []string{"carol"}}}})
	st := s.State()
	production := st.Stages["production"]
	for _, tt := range []struct {
		stage Stage
		who   string
		want  Code
	}{
		{production, "ada", ""},
		{PinnedTo(production, ID("x")), "ada", ""}, // it is there
		{PinnedTo(production, ID("y")), "ada", CodeNotAllowed},
		{PinnedTo(production, ID("y")), "carol", ""},
		{PinnedTo(st.Stages["capacity"], ID("y")), "ada", ""},
	} {
		if err := CheckPerson(st, tt.stage, Person{Name: tt.who}); CodeOf(err) != tt.want {
			t.Errorf("%s pins %s to %s: %v", tt.who, tt.stage.Name, tt.stage.Pin, err)
		}
	}
}
