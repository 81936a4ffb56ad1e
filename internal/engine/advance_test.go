// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// The planned build goes, though the gates have opened for a newer one since. A build that
// may no longer enter does not, and neither does one that would go back.
func TestPlannedCandidate(t *testing.T) {
	acceptance, dev := stage(pipeline.TypeAcceptance, "commit"), stage(pipeline.TypeCustom, "acceptance")
	advance := func(d *desk, s pipeline.Stage, planned string) error {
		_, err := d.Stages.Advance(t.Context(), run.AdvanceRequest{Stage: s, Intent: gate.Intent{Candidate: gate.Value{ID: planned}}})
		return err
	}
	one, two := build("1"), build("2")
	tests := map[string]struct {
		before  func(d *desk)
		planned string
		code    pipeline.Code
		says    string
		current string
	}{
		"nothing planned":         {nil, "", "", "", two},
		"the candidate":           {nil, two, "", "", two},
		"an older one":            {nil, one, "", "", one},
		"what is held":            {func(d *desk) { d.mustApply([]pipeline.Stage{dev}) }, two, "", "", two},
		"older than what is held": {func(d *desk) { d.mustApply([]pipeline.Stage{dev}) }, one, pipeline.CodeConflict, "moved on to " + two, two},
		"unknown":                 {nil, build("9"), pipeline.CodeConflict, "no build " + build("9"), ""},
		"rejected since": {func(d *desk) {
			if _, err := d.Decide(t.Context(), "shop", "acceptance", one, pipeline.Rejected, "it is slow"); err != nil {
				t.Fatal(err)
			}
		}, one, pipeline.CodeConflict, "rejected", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply([]pipeline.Stage{commit("1"), acceptance})
			d.mustApply([]pipeline.Stage{commit("2"), acceptance})
			if tt.before != nil {
				tt.before(d)
			}
			err := advance(d, dev, tt.planned)
			if pipeline.CodeOf(err) != tt.code || err != nil && (!strings.Contains(err.Error(), tt.says) || reason.Hint(err) == "") {
				t.Errorf("error %v with code %q, want %q and %q", err, pipeline.CodeOf(err), tt.says, tt.code)
			}
			st, err := d.State(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			if got := st.Current["custom"].Build; got != tt.current {
				t.Errorf("the stage holds %s, want %s", got, tt.current)
			}
			if st.Stages["custom"].Pin != "" {
				t.Errorf("the stage was pinned to %s", st.Stages["custom"].Pin)
			}
		})
	}
}

// A stage that moves by promotions doesn't go to a build that was planned before the newest
// promotion. If it was planned to stay, it stays, and the promotion waits.
func TestPlannedPromotion(t *testing.T) {
	d := open(t)
	acceptance, live := stage(pipeline.TypeAcceptance, "commit"), stage(pipeline.TypeCustom, "acceptance")
	live.Trigger = pipeline.TriggerManual
	one, two := build("1"), build("2")
	d.mustApply([]pipeline.Stage{commit("1"), acceptance, live})
	d.mustApply([]pipeline.Stage{commit("2"), acceptance, live})
	for i, step := range []struct {
		promoted, planned string
		code              pipeline.Code
		current           string
	}{
		{promoted: one, planned: two, code: pipeline.CodeConflict},
		{planned: one, current: one},
		{promoted: two, planned: one, current: one},
		{planned: two, current: two},
		{planned: one, code: pipeline.CodeConflict, current: two},
	} {
		if step.promoted != "" {
			if _, err := d.Promote(t.Context(), "shop", live.Name, step.promoted); err != nil {
				t.Fatal(err)
			}
		}
		_, err := d.Stages.Advance(t.Context(), run.AdvanceRequest{Stage: live, Intent: gate.Intent{Candidate: gate.Value{ID: step.planned}}})
		if pipeline.CodeOf(err) != step.code || err != nil && reason.Hint(err) != "Plan again." {
			t.Errorf("step %d: %v, want code %q", i, err, step.code)
		}
		if got := d.status(live.Name).Current.Build; got != step.current {
			t.Errorf("step %d: the stage holds %q, want %q", i, got, step.current)
		}
	}
}

// A refused definition is not recorded, and neither is its pin.
func TestRefusedDefinition(t *testing.T) {
	d := whole(t)
	before := d.status("production").Stage
	for name, pin := range map[string]string{"unknown": build("9"), "malformed": "latest"} {
		err := d.apply([]pipeline.Stage{func() pipeline.Stage { s := route("1")[5]; s.Pin, s.OnFailure = pin, pipeline.OnFailureKeep; return s }()})
		if err == nil {
			t.Fatalf("%s: the pin was taken", name)
		}
		if now := d.status("production").Stage; !now.Equal(before) {
			t.Errorf("%s: the stage is recorded as %+v", name, now)
		}
	}
}

// The environments of an old definition end when the new one has passed, and not before.
func TestOutgrownEnvironment(t *testing.T) {
	tests := map[string]struct {
		before, after func(s *pipeline.Stage)
	}{
		"keep":        {func(s *pipeline.Stage) { s.Env.Keep = true }, func(s *pipeline.Stage) { s.Env.Keep = false }},
		"environment": {func(s *pipeline.Stage) { s.Env.Keep = true }, func(s *pipeline.Stage) { s.Env = nil }},
		"approval":    {func(s *pipeline.Stage) { s.Approval = true }, func(s *pipeline.Stage) { s.Approval = false }},
		"kept":        {func(s *pipeline.Stage) { s.OnFailure = pipeline.OnFailureKeep }, func(s *pipeline.Stage) { s.Env = nil }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			defined := func(change func(*pipeline.Stage), command string) []pipeline.Stage {
				s := pipeline.Stage{Pipeline: "shop", Name: "qa", Type: pipeline.TypeCustom, After: []string{"commit"}, Owner: "here", Env: &pipeline.EnvironmentSpec{}}.WithDefaults(nil, nil)
				s.Steps = []pipeline.Step{{Name: "check", Command: command}}
				change(&s)
				return []pipeline.Stage{commit("1"), s}
			}
			first := "true"
			if name == "kept" {
				first = "fail"
			}
			if err := d.apply(defined(tt.before, first)); (err != nil) != (name == "kept") {
				t.Fatal(err)
			}
			if err := d.launch(build("1"), 1); err != nil {
				t.Fatal(err)
			}
			if err := d.apply(defined(tt.after, "fail")); err == nil {
				t.Fatal("a failing step passed")
			}
			if len(d.envs) != 2 {
				t.Fatalf("the new definition has not passed, and of the environments there are %d", len(d.envs))
			}
			d.mustApply(defined(tt.after, "true"))
			st, err := d.State(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			if _, theirs := st.PersonEnvironment("alice"); !theirs || len(d.envs) != 1 || len(st.Environments) != 1 {
				t.Errorf("the ledger has %v, the platform %v", st.Environments, d.envs)
			}
			if at := d.status("qa"); at.Move.Action != gate.ActionNone || at.Status != gate.StatusPassed {
				t.Errorf("the stage does %s next, and is %s", at.Move.Action, at.Status)
			}
		})
	}
}

// A paused stage keeps what it runs, whatever its definition becomes.
func TestPausedKeepsItsEnvironment(t *testing.T) {
	d := whole(t)
	if _, err := d.Pause(t.Context(), "shop", "production", "it is Friday"); err != nil {
		t.Fatal(err)
	}
	stages := pinned("1", "1")
	stages[5].Env = nil
	d.mustApply(stages)
	if err := d.serves(build("1"), 3); err != nil {
		t.Error(err)
	}
	if _, err := d.Resume(t.Context(), "shop", "production"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(stages)
	if len(d.envs) != 0 {
		t.Errorf("after the release there are %v", d.envs)
	}
}
