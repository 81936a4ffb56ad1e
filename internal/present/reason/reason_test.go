// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestWait(t *testing.T) {
	pause := pipeline.Pause{Actor: "bob", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Reason: "it is Friday"}
	of := func(w gate.Wait) gate.Wait { w.Pipeline, w.Stage = "shop", "qa"; return w }
	for want, w := range map[string]gate.Wait{
		"": {},
		"a decision on b-1: `penstock approve shop qa b-1` or `penstock reject …`":             {Kind: gate.WaitDecision, Build: "b-1", Missing: 1, Needed: 1},
		"a decision on b-1 by 2 people: `penstock approve shop qa b-1` or `penstock reject …`": {Kind: gate.WaitDecision, Build: "b-1", Missing: 2, Needed: 2},
		"1 more of 2 approvals of b-1: `penstock approve shop qa b-1` or `penstock reject …`":  {Kind: gate.WaitDecision, Build: "b-1", Missing: 1, Needed: 2},
		"a promotion of b-1: `penstock promote shop qa b-1`, or build = \"b-1\"":               {Kind: gate.WaitPromotion, Build: "b-1"},
		"b-1 to pass \"a\" and \"b\"":                               {Kind: gate.WaitPassed, Build: "b-1", Stages: []string{"a", "b"}},
		"b-1 to pass \"a\", where it failed":                        {Kind: gate.WaitPassed, Build: "b-1", Stages: []string{"a"}, At: gate.ObstacleFailed},
		"\"a\" to pass":                                             {Kind: gate.WaitPassed, Stages: []string{"a"}},
		"a build that passed \"a\", \"b\" and \"c\"":                {Kind: gate.WaitBuild, Stages: []string{"a", "b", "c"}},
		"a build newer than b-1, which was rejected at stage \"a\"": {Kind: gate.WaitNewer, Build: "b-1", Stages: []string{"a"}},
		"nothing: no build can ever pass both \"a\" and \"b\"":      {Kind: gate.WaitNever, Stages: []string{"a", "b"}},
		"a person to resume it: bob paused it at 2026-01-02 03:04 UTC: it is Friday; `penstock resume shop qa`": {Kind: gate.WaitResume, Pause: pause},
	} {
		if got := reason.Waiting(of(w)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := reason.Wait(of(w)); strings.Contains(got, "`") || !strings.HasPrefix(want, got) {
			t.Errorf("without its command: %q", got)
		}
	}
}

// Each error of the gates has a hint, however it is wrapped. An error's own hint counts if it
// has one.
func TestHint(t *testing.T) {
	plain := pipeline.Errorf(pipeline.CodeRefused, "promote", "no")
	lift := pipeline.Errorf(pipeline.CodeConflict, "approve", "no")
	lift.Err = gate.NewLiftError(lift.Err, "shop", "qa", "b-1")
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"none":        {plain, ""},
		"its own":     {pipeline.Errorf(pipeline.CodeRefused, "promote", "no").WithHint("Wait."), "Wait."},
		"an obstacle": {gate.Obstacle{Kind: gate.ObstacleUndecided, Pipeline: "shop", Stage: "qa", Build: "b-1"}.Err("promote"), "Approve it with `penstock approve shop qa b-1`."},
		"no ID":       {gate.CheckID(pipeline.Stage{Pipeline: "shop", Name: "qa"}, "latest"), "A build ID is \"b-\" and ten hexadecimal digits; list them with `penstock builds shop`."},
		"a conflict":  {&pipeline.Error{Code: pipeline.CodeConflict, Err: &gate.Conflict{Kind: gate.ConflictMovedOn}}, "Plan again."},
		"a rejection": {lift.WithHint("Ask why."), "Ask why. `penstock approve --lift shop qa b-1` lifts the rejection."},
		"a wait": {&pipeline.Error{Code: pipeline.CodeRefused, Err: &gate.WaitError{Wait: gate.Wait{Kind: gate.WaitBuild, Stages: []string{"a"}}}, Hint: "Name one."},
			"The stage waits for a build that passed \"a\". Name one."},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("apply: %w", tt.err)} {
			if got := reason.Hint(err); got != tt.want {
				t.Errorf("%s: %q, want %q", name, got, tt.want)
			}
		}
	}
}
