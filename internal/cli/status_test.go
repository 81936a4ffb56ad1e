// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// What is said of a stage: how it stands, and what comes next.
func TestWordsOfStage(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(at time.Time) string { return present.Ago(now, at) }
	began := now.Add(-14 * time.Second)
	live := func(v *report.StageView, healthy int, status pipeline.EnvironmentStatus, signal gate.Signal) {
		v.Stage.Env = &pipeline.EnvironmentSpec{Keep: true}
		v.Signal, v.Current.Build = signal, "b-1"
		v.Current.Environment = &pipeline.Environment{Status: status, Instances: 2, Healthy: healthy, Endpoint: "http://127.0.0.1:1"}
	}
	for name, tt := range map[string]struct {
		make       func(*report.StageView)
		word, says string
	}{
		"runs": {func(v *report.StageView) {
			v.Status = gate.StatusRunning
			v.Next = gate.Next{Kind: gate.NextRunning, Build: "b-2", Since: began, Run: pipeline.RunSummary{ID: "r-1"}}
			v.Progress = &report.Progress{Run: pipeline.Run{Phase: pipeline.PhaseSteps}, Step: "journeys", Number: 2, Of: 2, Line: "ok 3"}
		}, "running", "b-2 runs, run r-1, began 14s ago, steps 2 of 2, journeys: ok 3"},
		"its process is gone": {func(v *report.StageView) {
			v.Next, v.Run.ID = gate.Next{Kind: gate.NextApply, Build: "b-2"}, "r-1"
			v.Progress = &report.Progress{Dead: true}
		}, "dead", "the process of run r-1 is gone, or does not renew its lease; the next apply cleans up after it"},
		"failed": {func(v *report.StageView) {
			v.Status = gate.StatusFailed
			v.Next = gate.Next{Kind: gate.NextFailed, Build: "b-2", Since: began, Run: pipeline.RunSummary{ID: "r-1", Error: "step failed\nmore"}}
		}, "failed", "b-2 failed 14s ago, run r-1: step failed"},
		"asked for": {func(v *report.StageView) {
			v.Status = gate.StatusIdle
			v.Next = gate.Next{Kind: gate.NextApply, Build: "b-2", Why: gate.Why{Kind: gate.WhyRetry, Actor: "ada"}}
		}, "idle", "the next apply moves it: ada asked for another run"},
		"serves": {func(v *report.StageView) {
			live(v, 2, pipeline.EnvRunning, gate.SignalServing)
			v.Next.Kind = gate.NextNothing
		}, "serving 2/2", "http://127.0.0.1:1"},
		"drifted, and to be finished": {func(v *report.StageView) {
			live(v, 2, pipeline.EnvRunning, gate.SignalServing)
			v.Next.Kind = gate.NextNothing
			v.Finish = &pipeline.Finish{DueAt: began.Add(time.Hour)}
			v.Drift = &pipeline.Drift{Total: 2, Since: began, At: began}
		}, "serving 2/2", "http://127.0.0.1:1  service.finish is due at " + pipeline.Moment(began.Add(time.Hour).UTC()) + "  drift: 2 resources changed outside of the pipeline, found 14s ago"},
		"not known to have drifted": {func(v *report.StageView) {
			live(v, 2, pipeline.EnvRunning, gate.SignalServing)
			v.Next.Kind = gate.NextNothing
			v.Drift = &pipeline.Drift{Unknown: "no credentials\nmore", At: began}
		}, "serving 2/2", "http://127.0.0.1:1  drift could not be checked 14s ago: no credentials"},
		"serves in part": {func(v *report.StageView) {
			live(v, 1, pipeline.EnvDegraded, gate.SignalFailed)
			v.Next.Kind = gate.NextNothing
		}, "degraded 1/2", "http://127.0.0.1:1"},
		"serves nothing": {func(v *report.StageView) {
			live(v, 0, pipeline.EnvGone, gate.SignalFailed)
			v.Current.Environment = nil
			v.Next = gate.Next{Kind: gate.NextApply, Why: gate.Why{Kind: gate.WhyGone}}
		}, "down", "the next apply moves it: its environment is gone"},
		"promoted": {func(v *report.StageView) {
			live(v, 2, pipeline.EnvRunning, gate.SignalServing)
			v.Next = gate.Next{Kind: gate.NextPromoted, Build: "b-2", Promotion: &pipeline.Promotion{Actor: "bob", At: began}}
		}, "serving 2/2", "b-2 was promoted by bob 14s ago; the next apply moves it. `penstock promote --cancel shop qa` takes that back"},
		"overridden, and paused": {func(v *report.StageView) {
			v.Status, v.Next.Kind = gate.StatusPaused, gate.NextDecision
			v.Next.Wait = gate.Wait{Kind: gate.WaitDecision, Pipeline: "shop", Stage: "qa", Build: "b-1", Needed: 1, Missing: 1}
			v.Current.Pause = &pipeline.Pause{Actor: "bob", At: began}
			v.Current.Override = &pipeline.Override{Build: "b-1", Actor: "eve", Reason: "late"}
		}, "paused", "waits for a decision on b-1: `penstock approve shop qa b-1` or `penstock reject …`  paused by bob 14s ago  b-1 overridden by eve: late"},
	} {
		t.Run(name, func(t *testing.T) {
			v := report.StageView{View: gate.View{Name: "qa"}, Stage: pipeline.Stage{Pipeline: "shop", Name: "qa"}}
			tt.make(&v)
			if w, says := word(v), comes(v, ago); w != tt.word || says != tt.says {
				t.Errorf("%q, %q", w, says)
			}
		})
	}
}

// What can't be looked at for a while is told once, and looked at again.
func TestStatusWatchGoesOn(t *testing.T) {
	shop := func(held string) []statusPipeline {
		return []statusPipeline{{Pipeline: "shop", Stages: []statusStage{{Stage: "commit", Current: statusCurrent{Build: held}, view: report.StageView{View: gate.View{Status: gate.StatusPassed, Next: gate.Next{Kind: gate.NextNothing}}}}}}}
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

// What a terminal has no room for is on the next pages, each line on one of them, and a page is
// never higher than the terminal.
func TestPages(t *testing.T) {
	var lines []string
	for n := range 23 {
		lines = append(lines, fmt.Sprintf("stage-%02d   passed", n))
	}
	for height := 2; height < 23; height++ {
		at, seen := pages{turns: true}, map[string]int{}
		for first := true; first || at.page > 0; first = false {
			page := at.cut(lines, height, 60)
			if len(page) > height || len(page) < 2 {
				t.Fatalf("a page of %d lines in %d", len(page), height)
			}
			for _, line := range page[:len(page)-1] {
				seen[line]++
			}
			of := (len(lines) + height - 2) / (height - 1)
			if want := fmt.Sprintf("page %d of %d, Enter shows the ", at.page+1, of); !strings.Contains(page[len(page)-1], want) {
				t.Fatalf("in %d lines the last one is %q, want %q", height, page[len(page)-1], want)
			}
			at.page++
			at.page %= of
		}
		if len(seen) != len(lines) {
			t.Errorf("in %d lines %d of %d are seen", height, len(seen), len(lines))
		}
		at.page = 99 // of a larger board
		if page := at.cut(lines, height, 60); len(page) < 2 {
			t.Errorf("behind the last page there is %q", page)
		}
	}
	still := pages{}
	if got := still.cut(lines, 22, 60)[21]; got != "… 2 more lines: stage-21, stage-22" {
		t.Errorf("without a keyboard the last line is %q", got)
	}
}
