// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// memTargets are other places of the world. One whose region is down can't be asked, and one
// with a stack can't be.
type memTargets struct{ *life }

func (m memTargets) Check(s pipeline.Siting) error {
	for _, t := range s.At {
		if t.Stack != "" {
			return pipeline.Errorf(pipeline.CodeInvalid, "check", "stack %q: this world has none", t.Stack)
		}
	}
	return nil
}

func (m memTargets) Open(_ context.Context, t pipeline.Target) (pipeline.Platform, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.Check(pipeline.Siting{At: []pipeline.Target{t}}); err != nil {
		return nil, err
	}
	if m.down[t.Name] {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "open "+t.Describe(), "region is down")
	}
	return memPlatform{life: m.life}, nil
}

// Look implements pipeline.Targets.
func (m memTargets) Look(ctx context.Context, t pipeline.Target) (pipeline.Platform, error) {
	return m.Open(ctx, t)
}

// at makes targets, each of a wave of its own unless the name says another, as in "eu/2".
func at(names ...string) (all []pipeline.StageTarget) {
	for i, name := range names {
		wave := i + 1
		name, of, given := strings.Cut(name, "/")
		if given {
			_, _ = fmt.Sscan(of, &wave)
		}
		all = append(all, pipeline.StageTarget{Target: pipeline.Target{Name: name}, Wave: wave})
	}
	return all
}

// spread is the route of a source, with production pinned to the build of another, if any, at targets.
func spread(digest, to string, targets ...string) []pipeline.Stage {
	stages := route(digest)
	if to != "" {
		stages[5].Pin = build(to)
	}
	stages[5].Targets = at(targets...)
	return stages
}

// spreadTo brings build 1 to the targets of production, and build 2 before it.
func spreadTo(d *desk, targets ...string) error {
	if err := d.apply(spread("1", "", targets...)); err != nil {
		return err
	}
	_, err := d.Decide(context.Background(), "shop", "exploratory", build("1"), pipeline.Approved, "")
	if err := errors.Join(err, d.apply(spread("1", "1", targets...)), d.apply(spread("2", "1", targets...))); err != nil {
		return err
	}
	_, err = d.Decide(context.Background(), "shop", "exploratory", build("2"), pipeline.Approved, "")
	return errors.Join(err, d.apply(spread("2", "1", targets...)))
}

// hold reports which of the targets of production does not run a build.
func (d *desk) hold(build string, targets ...string) error {
	v, err := d.Reports.StageView(context.Background(), "shop", "production")
	if err != nil {
		return err
	}
	var names []string
	for _, t := range v.Current.Targets {
		names = append(names, t.Name)
		if t.Build != build || t.Environment == nil || t.Environment.Target.Name != t.Name {
			return fmt.Errorf("target %s runs %q", t.Name, t.Build)
		}
	}
	if !slices.Equal(names, targets) || v.Current.Build != build {
		return fmt.Errorf("production is at targets %v with %s, want %v with %s", names, v.Current.Build, targets, build)
	}
	return nil
}

func init() {
	journeys["rollout"] = journey{
		setup: func(d *desk) error { return spreadTo(d, "eu", "us", "ap") },
		act: func(d *desk) error {
			return errors.Join(d.apply(spread("2", "2", "eu", "us", "ap")), d.hold(build("2"), "eu", "us", "ap"))
		},
		back: func(d *desk) error {
			return errors.Join(d.apply(spread("2", "1", "eu", "us", "ap")), d.hold(build("1"), "eu", "us", "ap"))
		},
	}
	journeys["another target"] = journey{
		setup: func(d *desk) error { return spreadTo(d, "eu", "us") },
		act: func(d *desk) error {
			return errors.Join(d.apply(spread("2", "1", "eu", "us", "ap")), d.hold(build("1"), "eu", "us", "ap"))
		},
		back: func(d *desk) error {
			return errors.Join(d.apply(spread("2", "1", "eu", "us")), d.hold(build("1"), "eu", "us"))
		},
	}
	journeys["a target less"] = journey{
		setup: func(d *desk) error { return spreadTo(d, "eu", "us") },
		act:   func(d *desk) error { return errors.Join(d.apply(spread("2", "1", "us")), d.hold(build("1"), "us")) },
		back: func(d *desk) error {
			return errors.Join(d.apply(spread("2", "1", "eu", "us")), d.hold(build("1"), "eu", "us"))
		},
	}
	journeys["targets instead of one place"] = journey{
		setup: func(d *desk) error { return spreadTo(d) },
		act: func(d *desk) error {
			return errors.Join(d.apply(spread("2", "1", "eu", "us")), d.hold(build("1"), "eu", "us"))
		},
		back: func(d *desk) error { return errors.Join(d.apply(spread("2", "1")), d.hold(build("1"))) },
	}
	journeys["removal of targets"] = journey{
		setup: func(d *desk) error { return spreadTo(d, "eu", "us") },
		act:   func(d *desk) error { return d.remove("production") },
	}
}

// What a stage has at places that it has left ends once it serves at those where it is, whether
// these are targets or none, and whatever build they are to run. The plan says it, and the one
// after it is clean.
func TestPlaceLeft(t *testing.T) {
	for _, to := range []string{"1", "2"} {
		d := withModule(t, noModule)
		if err := spreadTo(d); err != nil {
			t.Fatal(err)
		}
		at, serves := []string(nil), 1
		for _, next := range [][]string{{"eu", "us"}, {"us", "ap"}, nil, {"eu"}} {
			stages := spread("2", to, next...)
			st, err := d.State(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			m := gate.Plan(gate.At(st, 0), gate.Desired{Stages: map[string]gate.Want{"production": {Stage: stages[5]}}}).Stage("production")
			if m.Action == gate.ActionNone {
				t.Errorf("from %v to %v with build %s, the plan says nothing", at, next, to)
			}
			d.watch = func() {
				serves = 0
				for _, env := range d.envs {
					if env.serving != "" {
						serves++
					}
				}
				if serves == 0 {
					t.Errorf("from %v to %v, nothing serves", at, next)
				}
			}
			d.mustApply(stages)
			d.watch = nil
			if err := errors.Join(d.hold(build(to), next...), d.agree()); err != nil || len(d.envs) != max(1, len(next)) {
				t.Errorf("from %v to %v: %d environments, %v", at, next, len(d.envs), err)
			}
			if got := d.status("production").Move; got.Action != gate.ActionNone {
				t.Errorf("from %v to %v, the next plan is to %s: %v", at, next, got.Action, got.Why)
			}
			at = next
		}
	}
}

// A place that can't be left fails the apply, and not the build: that runs wherever it is to.
func TestPlaceLeftDown(t *testing.T) {
	for name, next := range map[string][]string{"a target less": {"us"}, "targets for others": {"us", "ap"}, "no targets": nil} {
		t.Run(name, func(t *testing.T) {
			d := withModule(t, noModule)
			if err := spreadTo(d, "eu", "us"); err != nil {
				t.Fatal(err)
			}
			d = d.again()
			d.down = map[string]bool{"eu": true}
			stages := spread("2", "2", next...)
			err := d.apply(stages)
			if err == nil || !strings.Contains(err.Error(), "region is down") || strings.Contains(err.Error(), "again") {
				t.Errorf("got %v", err)
			}
			v := d.status("production")
			if err := d.hold(build("2"), next...); err != nil || v.Run.Status != pipeline.RunPassed || v.Move.Action != gate.ActionAdjust {
				t.Errorf("the stage's run %s, its next move is to %s, %v", v.Run.Status, v.Move.Action, err)
			}
			if !strings.Contains(reason.Hint(err), "penstock env forget shop e-") {
				t.Errorf("the hint is %s", reason.Hint(err))
			}
			g, err := d.Collector.Collect(t.Context(), collect.Request{})
			if err == nil || !strings.Contains(err.Error(), "region is down") || len(g.Environments) != 1 {
				t.Errorf("gc of %v: %v", g.Environments, err)
			}
			lost := start(t, d.copied(), t.TempDir()) // for good
			lost.down = d.down
			if _, err := lost.Environments.Forget(t.Context(), "shop", "production@eu"); err != nil {
				t.Errorf("forget it: %v", err)
			}
			if err := errors.Join(lost.apply(stages), lost.hold(build("2"), next...)); err != nil || lost.status("production").Move.Action != gate.ActionNone {
				t.Errorf("without it: %v", err)
			}
			d.down = nil
			if _, err := d.Environments.Forget(t.Context(), "shop", "production@eu"); pipeline.CodeOf(err) != pipeline.CodeRefused {
				t.Errorf("forget what can be ended: %v", err)
			}
			if err := errors.Join(d.apply(stages), d.agree()); err != nil || len(d.envs) != max(1, len(next)) {
				t.Errorf("%d environments, %v", len(d.envs), err)
			}
		})
	}
}

// Nothing is recorded at a place that can't be opened. One that can't be is refused, and what a
// ledger has at such a place ends, as nothing can be there.
func TestPlaceNeverOpened(t *testing.T) {
	d := withModule(t, noModule)
	d.mustApply(route("1"))
	d.approve(build("1"))
	stages := spread("1", "1", "eu", "us")
	d.down = map[string]bool{"us": true}
	err := d.apply(stages)
	st, failed := d.State(t.Context(), "shop")
	if err == nil || !strings.Contains(err.Error(), "target eu holds none") || failed != nil || len(st.Environments) != 0 {
		t.Fatalf("with a region that is down: %v, and %v is recorded", err, st.Environments)
	}
	d.down = nil
	stages[5].Targets[0].Stack = "there"
	for _, at := range []func(*pipeline.Stage){
		func(s *pipeline.Stage) {},
		func(s *pipeline.Stage) { s.At, s.Targets = s.Targets[0].Target, nil },
	} {
		s := stages[5]
		at(&s)
		if err := d.Stages.CheckPlaces(st, s); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), `stack "there"`) {
			t.Errorf("a plan with a stack where there are none: %v", err)
		}
		if err := d.apply(append(stages[:5:5], s)); pipeline.CodeOf(err) != pipeline.CodeInvalid {
			t.Errorf("an apply of it: %v", err)
		}
	}
	phantom := pipeline.Environment{
		ID: "e-phantom", Pipeline: "shop", Name: "production@eu", Stage: "production@eu", Purpose: pipeline.ForStage, Status: pipeline.EnvEnding,
		Target: stages[5].Targets[0].Target,
	}
	if _, err := d.config.Ledger.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{
		{Kind: pipeline.EnvironmentChanged, Actor: "alice", Facts: pipeline.Facts{Environment: &phantom}},
	}}); err != nil {
		t.Fatal(err)
	}
	d = d.again()
	if err := errors.Join(d.apply(spread("1", "1", "eu", "us")), d.hold(build("1"), "eu", "us"), d.agree()); err != nil {
		t.Errorf("after it, with the same name: %v", err)
	}
}

// Targets of one wave are deployed side by side: killed anywhere, the next apply goes on.
func TestWaveKilled(t *testing.T) {
	d := withModule(t, noModule)
	targets := []string{"eu/1", "us/2", "ap/2"}
	if err := spreadTo(d, targets...); err != nil {
		t.Fatal(err)
	}
	before := d.world
	for n := 1; ; n++ {
		d := start(t, before.copied(), t.TempDir())
		d.limit = n
		err := d.apply(spread("2", "2", targets...))
		if d.calls < n {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		d = d.again()
		if err := errors.Join(d.apply(spread("2", "2", targets...)), d.hold(build("2"), "eu", "us", "ap"), d.agree()); err != nil {
			t.Fatalf("killed at call %d: %v", n, err)
		}
	}
}

// When a target fails, those that have moved go back, or keep the build, as the stage says.
// No wave after it begins.
func TestRolloutFails(t *testing.T) {
	for _, choice := range []pipeline.RolloutOnFailure{pipeline.RolloutRestore, pipeline.RolloutKeep} {
		t.Run(string(choice), func(t *testing.T) {
			d := withModule(t, noModule)
			if err := spreadTo(d, "eu", "us", "ap"); err != nil {
				t.Fatal(err)
			}
			stages := spread("2", "2", "eu", "us", "ap")
			stages[5].Rollout.OnFailure = choice
			d.failsAt = "us/" + build("2")
			err := d.apply(stages)
			if err == nil || !strings.Contains(err.Error(), "target us: ") {
				t.Fatalf("got %v", err)
			}
			v, _ := d.Reports.StageView(t.Context(), "shop", "production")
			got := map[string]string{}
			for _, t := range v.Current.Targets {
				got[t.Name] = t.Build
			}
			want, says := build("1"), "all targets run build "+build("1")+" again"
			if choice == pipeline.RolloutKeep {
				want, says = build("2"), "target eu holds build "+build("2")
			}
			if got["eu"] != want || got["us"] != build("1") || got["ap"] != build("1") || v.Current.Build != build("1") || v.Status != gate.StatusFailed {
				t.Errorf("targets run %v, and the stage is %s at %s", got, v.Status, v.Current.Build)
			}
			if !strings.Contains(err.Error(), says) {
				t.Errorf("the error says %v", err)
			}
			d.failsAt = ""
			if err := errors.Join(d.apply(stages), d.hold(build("2"), "eu", "us", "ap"), d.agree()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Between waves, what has moved is watched: an alarm that goes off, an instance that fails and
// a check that does not hold any more stop the rollout.
func TestRolloutPause(t *testing.T) {
	for name, test := range map[string]struct {
		trouble func(d *desk, eu *memEnv)
		want    string
	}{
		"alarm":       {func(d *desk, _ *memEnv) { d.ringing = []string{"old", "new"} }, "these alarms went off: new"},
		"environment": {func(_ *desk, eu *memEnv) { eu.degraded = true }, "its environment is degraded"},
		"check":       {func(d *desk, _ *memEnv) { d.stepFails = "live" }, "check target eu"},
	} {
		t.Run(name, func(t *testing.T) {
			d := withModule(t, noModule)
			if err := spreadTo(d, "eu", "us"); err != nil {
				t.Fatal(err)
			}
			stages := spread("2", "2", "eu", "us")
			stages[5].Env.Alarms, stages[5].Rollout.Pause = []string{"old", "new"}, time.Nanosecond
			stages[5].Steps = []pipeline.Step{{Name: "live", HTTP: &pipeline.HTTPCheck{Path: "/"}}}
			d.ringing = []string{"old"} // before
			d.onShift = func(eu *memEnv) {
				d.onShift = nil
				test.trouble(d, eu)
			}
			err := d.apply(stages)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "all targets run build "+build("1")+" again") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// A target that is cancelled because another failed says so.
func TestTargetCancelled(t *testing.T) {
	d := withModule(t, noModule)
	if err := spreadTo(d, "eu/1", "us/1"); err != nil {
		t.Fatal(err)
	}
	stages := spread("2", "2", "eu/1", "us/1")
	stages[5].Steps = []pipeline.Step{{Name: "long", Command: "wait"}}
	stages[5].Rollout.OnFailure = pipeline.RolloutKeep
	d.failsAt = "us/" + build("2")
	if err := d.apply(stages); err == nil || strings.Contains(err.Error(), "target eu: ") {
		t.Errorf("got %v", err)
	}
	page, err := d.config.Ledger.Runs(t.Context(), "shop", pipeline.RunQuery{Stage: "production@eu", Limit: 1})
	if err != nil || len(page.Runs) != 1 || page.Runs[0].Status == pipeline.RunFailed {
		t.Fatalf("%+v, %v", page.Runs, err)
	}
	run, err := d.config.Ledger.Run(t.Context(), "shop", page.Runs[0].ID)
	if err != nil || run.Build == build("2") && !strings.Contains(run.Error, "it was ended: target us: ") {
		t.Errorf("the run of the other %s: %s, %v", run.Status, run.Error, err)
	}
}

// A region that is down fails no look at the others, and no plan: its environment is not taken
// to be gone.
func TestTargetDown(t *testing.T) {
	d := withModule(t, noModule)
	if err := spreadTo(d, "eu", "us"); err != nil {
		t.Fatal(err)
	}
	d = d.again()
	d.down = map[string]bool{"us": true}
	v, err := d.Reports.StageView(t.Context(), "shop", "production")
	if err != nil || v.Current.Targets[0].Environment.Status != pipeline.EnvRunning || v.Current.Targets[1].Environment.Status != pipeline.EnvDegraded ||
		!strings.Contains(v.Current.Targets[1].Environment.Reason, "region is down") || v.Move.Action != gate.ActionNone {
		t.Fatalf("%+v, %v", v.Current.Targets, err)
	}
	if err := d.apply(spread("2", "2", "eu", "us")); err == nil || !strings.Contains(err.Error(), "region is down") {
		t.Errorf("a deployment: %v", err)
	}
	d.down = nil
	if err := errors.Join(d.apply(spread("2", "2", "eu", "us")), d.hold(build("2"), "eu", "us"), d.agree()); err != nil {
		t.Error(err)
	}
}

// A stage that can't be at several places is refused, and so is one that would move.
func TestTargetsRefused(t *testing.T) {
	d := withModule(t, noModule)
	if err := spreadTo(d, "eu", "us"); err != nil {
		t.Fatal(err)
	}
	elsewhere := spread("2", "1", "eu", "us")
	elsewhere[5].Targets[0].Region = "eu-west-2"
	bakes := route("2")
	bakes[1].At.Region = "eu-west-2"
	copies := spread("2", "1", "eu", "us")
	copies[4].Env.DataFrom = "production"
	for name, stages := range map[string][]pipeline.Stage{"can't move to": elsewhere, "bakes the image": bakes, "data_from does not say which": copies} {
		if err := d.apply(stages); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
}
