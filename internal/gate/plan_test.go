// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

// TestPlan plans whole pipelines, and checks what a plan says of one stage.
func TestPlan(t *testing.T) {
	quiet := func() *Story { return Tell(t).Route().Stages(CommitOf("x")).Through("x") }
	newer := func() *Story { return quiet().Stages(CommitOf("y")) } // which has not run
	changed := A(TypeAcceptance, "commit")
	changed.Steps = []Step{{Name: "new", Command: "true"}}
	want := func(stages ...Want) Desired {
		d := Desired{Stages: map[string]Want{}}
		for _, w := range stages {
			d.Stages[w.Stage.Name] = w
		}
		return d
	}
	x, y := Value{ID: ID("x")}, Value{ID: ID("y")}
	live := A(TypeProduction, "pre-production")
	gated := A(TypeAcceptance, "commit")
	gated.Elsewhere = []Elsewhere{{Ledger: "theirs", Pipeline: "images", Stage: "tested"}} // which has passed nothing
	tests := map[string]struct {
		story     *Story
		want      Desired
		stage     string
		candidate Value
		action    Action
		passed    Value
	}{
		"nothing moves":                         {quiet(), want(), "pre-production", x, ActionNone, x},
		"a commit runs":                         {newer(), want(), "commit", y, ActionRun, Unknown},
		"what is below it is not known":         {newer(), want(), "acceptance", Unknown, ActionUnknown, Unknown},
		"but it does not pass where people do":  {newer(), want(), "exploratory", Unknown, ActionUnknown, x},
		"so that is where it ends":              {newer(), want(), "pre-production", x, ActionNone, x},
		"nor does it move what people move":     {newer(), want(), "production", Value{}, ActionNone, Value{}},
		"a changed stage runs again":            {quiet(), want(Want{Stage: changed}), "acceptance", x, ActionRun, Unknown},
		"and takes approvals along, or not":     {quiet(), want(Want{Stage: changed}), "exploratory", Unknown, ActionUnknown, Unknown},
		"a commit that is reverted is adopted":  {quiet().Stages(CommitOf("y")).Through("y").Stages(CommitOf("x")), want(), "commit", x, ActionAdopt, x},
		"all the way down":                      {quiet().Stages(CommitOf("y")).Through("y").Stages(CommitOf("x")), want(), "pre-production", x, ActionAdopt, x},
		"a definition that is not known":        {quiet(), want(Want{Stage: A(TypeAcceptance, "commit"), Unknown: true}), "acceptance", Unknown, ActionUnknown, Unknown},
		"nor is anything below":                 {quiet(), want(Want{Stage: A(TypeAcceptance, "commit"), Unknown: true}), "capacity", Unknown, ActionUnknown, Unknown},
		"a pipeline that is not known":          {quiet(), Desired{PipelineUnknown: true}, "capacity", Unknown, ActionUnknown, Unknown},
		"leaves the commit known":               {quiet(), Desired{PipelineUnknown: true}, "commit", x, ActionNone, x},
		"a stage that is made":                  {quiet(), want(Want{Stage: Named("new", "commit"), Create: true}), "new", Unknown, ActionUnknown, Unknown},
		"with a pin":                            {quiet(), want(Want{Stage: PinnedTo(Named("new", "commit"), ID("x")), Create: true}), "new", x, ActionUnknown, Unknown},
		"a stage that Terraform does not order": {newer(), want(Want{Stage: A(TypeAcceptance, "commit"), Unordered: map[string]bool{"commit": true}}), "acceptance", x, ActionNone, x},
		"a pin to what is made in the apply":    {newer(), want(Want{Stage: PinnedTo(A(TypeAcceptance, "commit"), ID("y"))}), "acceptance", y, ActionUnknown, Unknown},
		"a promotion, while others run":         {newer().Promoted("production", "x"), want(), "production", x, ActionRun, Unknown},
		"a paused stage below one that runs":    {newer().Paused("acceptance"), want(), "acceptance", x, ActionNone, x},
		"one that others keep closed":           {newer(), want(Want{Stage: gated}), "acceptance", x, ActionNone, x},
		"another scale": {quiet().Passed("production", "x").Serves("production", "x", EnvRunning), func() Desired {
			s := live
			env := *s.Env
			env.Instances, s.Env = 5, &env
			return want(Want{Stage: s})
		}(), "production", x, ActionAdjust, x},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := Plan(At(tt.story.State(), 0), tt.want).Stage(tt.stage)
			if m.Refusal != nil || m.Candidate != tt.candidate || m.Action != tt.action || m.Passed != tt.passed {
				t.Errorf("candidate %+v, %s, passed %+v, %v; want %+v, %s, %+v (x is %s, y is %s)",
					m.Candidate, m.Action, m.Passed, m.Err(), tt.candidate, tt.action, tt.passed, ID("x"), ID("y"))
			}
		})
	}
}

// TestPlanRefuses pins stages in plans in which others run, and by people without the right.
func TestPlanRefuses(t *testing.T) {
	s := Tell(t).Route().Stages(CommitOf("x")).Through("x").Stages(CommitOf("y"))
	deploys := func(who string) *Pipeline {
		p := s.State().Pipeline
		p.Authorization = &Authorization{Deploy: []string{who}}
		return &p
	}
	production := A(TypeProduction, "pre-production")
	me := &Person{Name: "ada"}
	for name, tt := range map[string]struct {
		pin  string
		want Desired
		kind RefusalKind
		code Code
	}{
		"may be":                  {ID("x"), Desired{}, "", ""},
		"no such build":           {ID("z"), Desired{}, RefusedObstacle, CodeNotFound},
		"no ID":                   {"latest", Desired{}, RefusedMalformed, CodeInvalid},
		"who may":                 {ID("x"), Desired{Pipeline: deploys("ada"), Person: me}, "", ""},
		"who may not":             {ID("x"), Desired{Pipeline: deploys("bob"), Person: me}, RefusedPerson, CodeNotAllowed},
		"made in this very apply": {ID("y"), Desired{}, RefusedObstacle, CodeNotFound}, // pre-production does not move for it
		"nobody asked who it is":  {ID("x"), Desired{Pipeline: deploys("bob")}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Stages = map[string]Want{"production": {Stage: PinnedTo(production, tt.pin)}}
			m := Plan(At(s.State(), 0), tt.want).Stage("production")
			kind := RefusalKind("")
			if m.Refusal != nil {
				kind = m.Refusal.Kind
			}
			if kind != tt.kind || CodeOf(m.Err()) != tt.code {
				t.Errorf("%v (%s, %s), want %s, %s", m.Err(), kind, CodeOf(m.Err()), tt.kind, tt.code)
			}
		})
	}
}
