// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// journey is an action of somebody, which is disturbed at every call that changes anything.
// The next one who does it must converge.
type journey struct {
	setup func(d *desk) error // undisturbed
	act   func(d *desk) error
	back  func(d *desk) error // what somebody does who thinks better of it; nil for nothing
}

var journeys = map[string]journey{
	"first apply": {act: func(d *desk) error { return d.apply(route("1")) }},
	"deployment": {
		setup: func(d *desk) error { return d.apply(route("1")) },
		act: func(d *desk) error {
			if _, err := d.Decide(context.Background(), "shop", "exploratory", build("1"), pipeline.Approved, ""); err != nil {
				return err
			}
			return errors.Join(d.apply(pinned("1", "1")), d.apply(pinned("1", "1")))
		},
	},
	"next deployment": {
		setup: func(d *desk) error {
			if err := deployed(d); err != nil {
				return err
			}
			if err := d.apply(pinned("2", "1")); err != nil {
				return err
			}
			_, err := d.Decide(context.Background(), "shop", "exploratory", build("2"), pipeline.Approved, "")
			return errors.Join(err, d.apply(pinned("2", "1")))
		},
		act:  func(d *desk) error { return d.apply(pinned("2", "2")) },
		back: func(d *desk) error { return errors.Join(d.apply(pinned("2", "1")), d.serves(build("1"), 3)) },
	},
	"resize": {
		setup: deployed,
		act:   func(d *desk) error { return d.apply(sized(5)) },
		back:  func(d *desk) error { return errors.Join(d.apply(sized(3)), d.serves(build("1"), 3)) },
	},
	"restore": {
		setup: func(d *desk) error {
			err := deployed(d)
			clear(d.envs)
			return err
		},
		act:  func(d *desk) error { return d.apply(sized(3)) },
		back: func(d *desk) error { return errors.Join(d.apply(sized(2)), d.serves(build("1"), 2)) },
	},
	"base image": {act: func(d *desk) error {
		delete(d.images, "img-base") // the only image is the one that is baked
		if _, err := d.Pipelines.Create(d.ctx, d.shop); err != nil {
			return err
		}
		_, err := d.Images.Bake(d.ctx, run.BakeRequest{Definition: imageDefinition})
		return err
	}},
	"self-service": {act: func(d *desk) error {
		if err := d.apply(route("1")[:2]); err != nil {
			return err
		}
		return d.launch("", 1)
	}},
	"next self-service": {
		setup: func(d *desk) error {
			return errors.Join(d.apply(route("1")[:2]), d.launch(build("1"), 1), d.apply(route("2")[:2]))
		},
		act:  func(d *desk) error { return d.launch(build("2"), 1) },
		back: func(d *desk) error { return d.launch(build("1"), 1) },
	},
	"larger self-service": {
		setup: func(d *desk) error { return errors.Join(d.apply(route("1")[:2]), d.launch(build("1"), 1)) },
		act:   func(d *desk) error { return d.launch(build("1"), 2) },
		back:  func(d *desk) error { return d.launch(build("1"), 1) },
	},
	"removal of a stage": {
		setup: deployed,
		act:   func(d *desk) error { return d.remove("production") },
	},
	"removal of the pipeline": {
		setup: deployed,
		act:   func(d *desk) error { return d.Pipelines.Remove(d.ctx, "shop", "", true) },
		back: func(d *desk) error { // somebody who finds no pipeline any more
			if st, err := d.State(d.ctx, "shop"); err != nil || st.Exists() {
				return errors.Join(err, d.Pipelines.Remove(d.ctx, "shop", "", true))
			}
			_, err := d.Collector.Collect(d.ctx, collect.Request{})
			if n, images := len(d.record.History("shop")), len(d.images); n+images > 0 {
				return errors.Join(err, fmt.Errorf("%d events and %d images are left", n, images))
			}
			return err
		},
	},
}

// pinned is the route of a source, with production pinned to the build of another.
func pinned(digest, to string) []pipeline.Stage {
	stages := route(digest)
	stages[5].Pin = build(to)
	return stages
}

// sized is the route with a number of instances in production.
func sized(instances int) []pipeline.Stage {
	stages := pinned("1", "1")
	stages[5].Env.Instances = instances
	return stages
}

// deployed brings build 1 to production, and keeps an environment of somebody's.
func deployed(d *desk) error {
	if err := d.apply(route("1")); err != nil {
		return err
	}
	_, err := d.Decide(context.Background(), "shop", "exploratory", build("1"), pipeline.Approved, "")
	return errors.Join(err, d.apply(sized(3)))
}

func (d *desk) launch(build string, instances int) error {
	_, err := d.Environments.Launch(d.ctx, run.LaunchRequest{
		Pipeline: "shop", Name: "alice", Build: build, TTL: time.Hour, Configured: "here", Spec: pipeline.EnvironmentSpec{Instances: instances},
	})
	return err
}

// remove removes a stage, if it is there.
func (d *desk) remove(stage string) error {
	st, err := d.State(d.ctx, "shop")
	if err != nil {
		return err
	}
	return d.Stages.Remove(d.ctx, "shop", stage, st.Stages[stage].ID)
}

// serves reports how production does not serve as it should.
func (d *desk) serves(build string, instances int) error {
	at, err := d.Reports.StageView(context.Background(), "shop", "production")
	switch {
	case err != nil:
		return err
	case at.Current.Build != build || at.Environment == nil || at.Environment.Build != build || at.Environment.Instances != instances:
		return fmt.Errorf("production holds %s, and its environment is %+v", at.Current.Build, at.Environment)
	}
	return nil
}

// A run that was killed while its traffic moved, and whose fleet can no longer take it, has
// failed, and blocks nothing.
func TestShiftCantBeFinished(t *testing.T) {
	for name, next := range map[string]func(d *desk) error{
		"a rollback": func(d *desk) error { return errors.Join(d.apply(pinned("2", "1")), d.serves(build("1"), 3)) },
		"a removal":  func(d *desk) error { return d.remove("production") },
	} {
		t.Run(name, func(t *testing.T) {
			before, done := journeys["next deployment"].before(t, noModule), false
			for n := 1; !done; n++ {
				d := start(t, before.copied(), t.TempDir())
				d.limit = n
				if err := d.apply(pinned("2", "2")); err == nil {
					t.Fatal("it is never in that phase")
				}
				st, err := (memLedger{d.again().life}).State(t.Context(), "shop")
				if err != nil {
					t.Fatal(err)
				}
				if done = st.Latest["production"].Phase == pipeline.PhaseShift; !done {
					continue
				}
				d = d.again()
				d.alarmed = true
				if err := next(d); err != nil {
					t.Fatal(err)
				}
				run, err := (memLedger{d.life}).Run(t.Context(), "shop", st.Latest["production"].ID)
				if err != nil || run.Status != pipeline.RunFailed || !strings.Contains(run.Error, "an alarm went off") {
					t.Errorf("the run is %s: %s (%v)", run.Status, run.Error, err)
				}
				if err := d.agree(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// unrecorded reports a fleet that serves though the ledger does not say so.
func (d *desk) unrecorded() error {
	st, err := (memLedger{d.life}).State(context.Background(), "shop")
	for id, on := range d.envs {
		if env := st.Environments[id]; env.Serves() && env.Fleet != on.serving {
			return fmt.Errorf("%s is recorded with fleet %s, and %s serves", env.Describe(), env.Fleet, on.serving)
		}
	}
	return err
}

// agree reports where the platform differs from the ledger.
func (d *desk) agree() error {
	st, err := (memLedger{d.life}).State(context.Background(), "shop")
	if err != nil {
		return err
	}
	if err := d.agreeOnModules(st); err != nil {
		return err
	}
	for id, env := range st.Environments {
		on := d.envs[id]
		if d.form == instead && on == nil && env.Serves() {
			continue
		}
		if on == nil || on.pending != "" || !env.Serves() {
			return fmt.Errorf("%s is recorded as %s; the platform has %+v", env.Describe(), env.Status, on)
		}
		r := on.requests[on.serving]
		if on.serving != env.Fleet || r.Labels.Build != env.Build || on.instances != env.Instances {
			return fmt.Errorf("%s is recorded with %d instances of build %s as %s; the platform has %d of %s as %s",
				env.Describe(), env.Instances, env.Build, env.Fleet, on.instances, r.Labels.Build, on.serving)
		}
		if current := st.Current[env.Stage].Build; env.Purpose == pipeline.ForStage && current != env.Build {
			return fmt.Errorf("stage %q holds %s and serves %s", env.Stage, current, env.Build)
		}
	}
	for id := range d.envs {
		if _, ok := st.Environments[id]; !ok {
			return fmt.Errorf("no record names environment %s of the platform", id)
		}
	}
	for name := range st.Latest {
		if st.RunsNow(name) {
			return fmt.Errorf("a run of stage %q is under way", name)
		}
	}
	_, err = memLedger{d.life}.ledger().Verify(context.Background(), "shop")
	return err
}

// before returns the world in which the journey begins.
func (j journey) before(t *testing.T, f form) *world {
	t.Helper()
	d := withModule(t, f)
	if j.setup != nil {
		if err := j.setup(d); err != nil {
			t.Fatalf("setup: %v", err)
		}
	}
	return d.world
}

// TestKilledAtEveryCall kills the process at its nth call that changes anything,
// before and after the effect.
func TestKilledAtEveryCall(t *testing.T) {
	disturb(t, func(*desk) {}, func(*desk) error { return nil })
}

// TestCancelledAtEveryCall cancels the action at its nth call that changes anything: the call
// has no effect, or one that the caller does not hear of.
func TestCancelledAtEveryCall(t *testing.T) {
	disturb(t, func(d *desk) { d.ctx, d.cancel = context.WithCancel(d.ctx) }, (*desk).unrecorded)
}

func disturb(t *testing.T, how func(*desk), left func(*desk) error) {
	for _, f := range []form{noModule, beside, instead} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			for name, j := range journeys {
				t.Run(name, func(t *testing.T) { j.disturb(t, f, how, left) })
			}
		})
	}
}

// disturb disturbs the action at its calls, in a world whose environments modules make so: with
// PENSTOCK_SOAK at every one, else at a third of them in each run, with modules at a seventh, and in
// the short form at a few.
func (j journey) disturb(t *testing.T, f form, how func(*desk), left func(*desk) error) {
	before := j.before(t, f)
	clean := start(t, before.copied(), t.TempDir())
	if err := j.act(clean); err != nil {
		t.Fatalf("undisturbed: %v", err)
	}
	if err := clean.agree(); err != nil {
		t.Fatalf("undisturbed: %v", err)
	}
	want := clean.picture()
	ways := 4 * clean.calls // each call, before and after its effect, followed by the same again or by the way back
	apart := 1
	switch { // others each time
	case testing.Short():
		apart = max(ways/8, 1) | 1
	case os.Getenv("PENSTOCK_SOAK") != "":
	case f == noModule:
		apart = 3
	default:
		apart = 7
	}
	for i := rand.IntN(apart); i < ways; i += apart {
		n, after, back := i/4+1, i&2 > 0, i&1 > 0
		if back && j.back == nil {
			continue
		}
		at := fmt.Sprintf("disturbed at call %d (after its effect: %v)", n, after)
		d := start(t, before.copied(), t.TempDir())
		how(d)
		d.limit, d.after = n, after
		err := j.act(d)
		if d.calls < n {
			t.Fatalf("call %d was never made: %v", n, err)
		}
		if err := left(d); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		d = d.again()
		next := j.act
		if back {
			next, at = j.back, at+", and taken back"
		}
		if err := next(d); err != nil {
			t.Fatalf("%s: the next apply: %v", at, err)
		}
		if err := d.agree(); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if got := d.picture(); !back && got != want {
			t.Fatalf("%s:\n got %s\nwant %s", at, got, want)
		}
	}
}

var imageDefinition = pipeline.ImageDefinition{
	Pipeline: "shop", Name: "base", From: pipeline.ImageFrom{Directory: "rootfs"}, Owner: "here",
	Source: pipeline.SourceRef{Repository: "repo", Commit: "c1", Digest: "1"},
	Steps:  []pipeline.Step{{Name: "packages", Command: "packages"}},
}

// picture says what exists in the world, without IDs that differ from run to run.
func (d *desk) picture() string {
	st, err := d.Engine.State(context.Background(), "shop")
	if err != nil {
		d.t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range st.StagesInOrder() {
		at := d.Reports.StageViewIn(st, s)
		fmt.Fprintf(&b, "%s held=%s passed=%s status=%s settled=%v latest=%s\n", s.Name, at.Current.Build, at.Passed, at.Status, s.Applied, at.Run.Status)
	}
	for _, env := range slices.SortedFunc(maps.Values(st.Environments), func(a, b pipeline.Environment) int { return strings.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(&b, "environment of %s: %s %s on platform: %v\n", env.Name, env.Status, env.Build, d.envs[env.ID] != nil)
	}
	pending := 0
	for _, env := range d.envs {
		if env.pending != "" {
			pending++
		}
	}
	work, err := os.ReadDir(d.work)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	leases, _ := (memLedger{d.life}).Leases(context.Background())
	leases = atWork(leases)
	if !st.Exists() { // leases of the dead run out
		fmt.Fprintf(&b, "events=%d logs=%d\n", len(d.record.History("shop")), len(d.logs))
		leases = nil
	}
	fmt.Fprintf(&b, "sites=%d ", len(d.sites))
	fmt.Fprintf(&b, "environments=%d pending=%d images=%d artifacts=%d work=%d leases=%d recipes=%d\n",
		len(d.envs), pending, len(d.images), len(d.artifacts), len(work), len(leases), len(st.ImageDefinitions))
	return b.String()
}
