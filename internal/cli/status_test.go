// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A stage has failed while an apply would run it again, and not once it was let pass.
func TestNote(t *testing.T) {
	failed := statusStage{Run: "r-1", RunStatus: pipeline.RunFailed, RunError: "step failed"}
	for name, tt := range map[string]struct {
		change       func(*statusStage)
		status, note string
	}{
		"failed":                {func(s *statusStage) { s.NextAction, s.Shown = gate.ActionRun, gate.StatusFailed }, "failed", "run r-1: step failed"},
		"overridden":            {func(s *statusStage) { s.NextAction, s.Shown = gate.ActionNone, gate.StatusPassed }, "passed", ""},
		"overridden, and moves": {func(s *statusStage) { s.NextAction, s.Shown = gate.ActionAdopt, gate.StatusReady }, "ready", "the next apply moves it: adopt"},
		"asked for": {func(s *statusStage) {
			s.RunStatus, s.NextAction, s.Shown, s.Why = pipeline.RunPassed, gate.ActionRun, gate.StatusReady, "ada asked for another run"
		}, "ready", "the next apply moves it: ada asked for another run"},
		"rejected after its run": {func(s *statusStage) {
			s.NextAction, s.Shown, s.WaitingFor = gate.ActionNone, gate.StatusRejected, "another"
		}, "rejected", "waits for another"},
		"running after its failure": {func(s *statusStage) { s.Shown = gate.StatusRunning }, "running", "run r-1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := failed
			tt.change(&s)
			f, _, _ := testFactory()
			if status, note := (&statusOptions{factory: f}).note(s); status != tt.status || note != tt.note {
				t.Errorf("%q, %q", status, note)
			}
		})
	}
}

// What can't be looked at for a while is told once, and looked at again.
func TestStatusWatchGoesOn(t *testing.T) {
	shop := func(held string) []statusPipeline {
		return []statusPipeline{{Pipeline: "shop", Stages: []statusStage{{Stage: "commit", Status: "passed", Shown: "passed", Current: held, NextAction: gate.ActionNone}}}}
	}
	away := errors.New("the ledger is away")
	type answer struct {
		all []statusPipeline
		err error
	}
	gone := pipeline.Errorf(pipeline.CodeNotFound, "find pipeline", "there is none")
	for name, tt := range map[string]struct {
		answers   []answer // the last one again and again
		err       error
		out, talk string
	}{
		"for a while":  {[]answer{{shop("b-1"), nil}, {nil, away}, {nil, away}, {shop("b-2"), nil}, {nil, away}, {nil, gone}}, gone, "passed b-1,passed b-2", "away,away"},
		"at first":     {[]answer{{nil, away}}, away, "", ""},
		"cancelled":    {[]answer{{shop("b-1"), nil}, {nil, context.Canceled}}, context.Canceled, "passed b-1", ""},
		"another time": {[]answer{{shop("b-1"), nil}, {nil, away}, {nil, errors.New("it is down")}, {nil, gone}}, gone, "passed b-1", "away,down"},
	} {
		t.Run(name, func(t *testing.T) {
			f, out, talk := testFactory()
			o := &statusOptions{factory: f, interval: time.Millisecond}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			looks := 0
			err := o.follow(ctx, func(context.Context) ([]statusPipeline, error) {
				a := tt.answers[min(looks, len(tt.answers)-1)]
				if looks++; errors.Is(a.err, context.Canceled) {
					cancel()
				}
				return a.all, a.err
			})
			if !errors.Is(err, tt.err) {
				t.Errorf("it ended with %v", err)
			}
			for text, want := range map[string]string{out.String(): tt.out, talk.String(): tt.talk} {
				lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
				wants := strings.FieldsFunc(want, func(r rune) bool { return r == ',' })
				if len(lines) != len(wants) {
					t.Errorf("lines %q, want %q", lines, wants)
					continue
				}
				for i := range wants {
					if !strings.HasSuffix(lines[i], wants[i]) {
						t.Errorf("line %q, want one that ends with %q", lines[i], wants[i])
					}
				}
			}
		})
	}
}
