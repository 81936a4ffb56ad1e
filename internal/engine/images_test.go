// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// The list of images predicts what a collection does.
func TestImagesAndGarbageAgree(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	for _, digest := range []string{"1", "2", "3"} {
		d.mustApply(route(digest))
	}
	d.shop.Keep = 1
	if _, err := d.Pipelines.Update(ctx, d.shop); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first finds builds that go, and the second what only they had
		if _, err := d.Collector.Collect(ctx, collect.Request{DryRun: true}); err != nil {
			t.Fatal(err)
		}
		images, err := d.Reports.Images(ctx, "")
		if err != nil || len(images) == 0 {
			t.Fatal(images, err)
		}
		var idle []string
		for _, i := range images {
			if i.There && len(i.Uses) == 0 {
				idle = append(idle, i.ID)
			}
		}
		g, err := d.Collector.Collect(ctx, collect.Request{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(idle)
		slices.Sort(g.Images)
		if !slices.Equal(idle, g.Images) {
			t.Errorf("nothing uses %v, and garbage are %v", idle, g.Images)
		}
		if _, err := d.Collector.Collect(ctx, collect.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	images, err := d.Reports.Images(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		if len(i.Uses) == 0 {
			t.Errorf("%s is still there", i.ID)
		}
		if i.Build == build("3") && !strings.Contains(strings.Join(i.Uses, " "), "build "+i.Build) {
			t.Errorf("image of build 3 is used by %q", i.Uses)
		}
	}
	if _, err := d.Reports.Images(ctx, "nowhere"); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("images of no pipeline: %v", err)
	}
}

// An environment that no record names is ended, and no other.
func TestOrphanedEnvironment(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	env, err := d.Environments.Launch(ctx, mine())
	if err != nil {
		t.Fatal(err)
	}
	platform := d.config.Platform.Under(pipeline.Fence{Key: "lost", Token: 1})
	if _, err := platform.Prepare(ctx, pipeline.FleetRequest{Environment: "e-lost", Fleet: "f-1", Instances: 1, Service: shop.Service}); err != nil {
		t.Fatal(err)
	}
	if _, err := platform.Shift(ctx, "e-lost", "f-1", pipeline.Traffic{}); err != nil {
		t.Fatal(err)
	}
	g, err := d.Collector.Collect(ctx, collect.Request{})
	if err != nil || !slices.Equal(g.Environments, []string{"e-lost"}) {
		t.Errorf("garbage %+v, %v", g, err)
	}
	reports, err := d.config.Platform.Describe(ctx)
	if _, there := reports[env.ID]; err != nil || !there || len(reports) != 1 {
		t.Errorf("left are %v, %v", reports, err)
	}
}

// Of an environment that has ended by itself what is left is removed, and its record stays: it
// can be launched again. One that serves is left alone.
func TestEndedEnvironment(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	env, err := d.Environments.Launch(ctx, mine())
	if err != nil {
		t.Fatal(err)
	}
	if g, err := d.Collector.Collect(ctx, collect.Request{}); err != nil || len(g.Environments) > 0 {
		t.Errorf("before its end: %+v, %v", g, err)
	}
	d.world.mu.Lock()
	d.clock, d.envs[env.ID].ended = env.ExpiresAt.Add(time.Minute), true
	d.world.mu.Unlock()
	d = d.again()
	g, err := d.Collector.Collect(ctx, collect.Request{DryRun: true})
	if err != nil || !slices.Equal(g.Environments, []string{env.ID}) || d.envs[env.ID] == nil {
		t.Errorf("garbage would be %+v, %v", g, err)
	}
	g, err = d.Collector.Collect(ctx, collect.Request{})
	if err != nil || !slices.Equal(g.Environments, []string{env.ID}) || d.envs[env.ID] != nil {
		t.Errorf("garbage %+v, %v; left is %+v", g, err, d.envs[env.ID])
	}
	st, err := d.Engine.State(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if found := st.Environments[env.ID]; found.Status != pipeline.EnvExpired {
		t.Errorf("its record says %+v", found)
	}
	if g, err = d.Collector.Collect(ctx, collect.Request{}); err != nil || len(g.Environments) > 0 {
		t.Errorf("and once more: %+v, %v", g, err)
	}
}

// An image removal that is interrupted anywhere is finished by the next one, though nothing
// lists the image any more.
func TestRemovalIsFinished(t *testing.T) {
	ctx := context.Background()
	for k := 1; ; k++ {
		d := open(t)
		d.mustApply(route("1"))
		d.images["img-idle"] = 1
		d.limit = d.calls + k
		if _, err := d.Collector.Collect(ctx, collect.Request{}); err == nil {
			break
		}
		if _, err := d.again().Collector.Collect(ctx, collect.Request{}); err != nil {
			t.Fatal(err)
		}
		if _, there := d.images["img-idle"]; there || len(d.snapshots) > 0 {
			t.Errorf("killed at call %d: left are %v, and the snapshots of %v", k, d.images, d.snapshots)
		}
	}
}

// What a bake leaves on the platform is removed when its run has ended, and not before.
func TestBakeIsCollected(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	definition := pipeline.ImageDefinition{Pipeline: "shop", Name: "base", From: pipeline.ImageFrom{Image: "img-base"}, Source: pipeline.SourceRef{Repository: "repo", Commit: "c1", Digest: "1"}}
	for k := 1; len(d.builders) == 0; k++ {
		d = d.again()
		d.limit = d.calls + k
		if _, err := d.Images.Bake(ctx, run.BakeRequest{Definition: definition}); err == nil {
			t.Fatal("no bake was interrupted")
		}
	}
	d = d.again()
	if g, err := d.Collector.Collect(ctx, collect.Request{}); err != nil || len(g.Bakes) > 0 || len(d.builders) != 1 {
		t.Errorf("garbage %+v, %v; the builders are %v", g, err, d.builders)
	}
	d.builders["r-lost"] = true
	g, err := d.Collector.Collect(ctx, collect.Request{})
	if err != nil || !slices.Equal(g.Bakes, []string{"r-lost"}) || d.builders["r-lost"] {
		t.Errorf("garbage %+v, %v; the builders are %v", g, err, d.builders)
	}
	if _, err := d.Images.Bake(ctx, run.BakeRequest{Definition: definition}); err != nil || len(d.builders) > 0 {
		t.Errorf("the next bake: %v; the builders are %v", err, d.builders)
	}
}

// A stage whose process died while its image was made gets that image: its steps, which had
// passed, don't run again.
func TestStageBakeIsFinished(t *testing.T) {
	ctx := context.Background()
	for k := 1; ; k++ {
		d := open(t)
		stages := route("1")[:2]
		stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "journeys"}}
		d.mustApply(stages[:1])
		d.limit = d.calls + k
		if err := d.apply(stages); err == nil {
			t.Fatal("no bake was interrupted")
		}
		d = d.again()
		st, err := d.State(ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		if r, err := d.config.Ledger.Run(ctx, "shop", st.Latest["acceptance"].ID); err != nil || r.Phase != pipeline.PhaseBake {
			continue
		}
		d.mustApply(stages)
		if d.stepRuns["journeys"] != 1 || d.status("acceptance").Passed != build("1") {
			t.Errorf("killed at call %d: the steps ran %d times", k, d.stepRuns["journeys"])
		}
		return
	}
}
