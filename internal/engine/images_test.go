// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What the list says of images is what a collection does.
func TestImagesAndGarbageAgree(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	for _, digest := range []string{"1", "2", "3"} {
		d.mustApply(route(digest))
	}
	d.shop.Keep = 1
	if _, err := d.UpdatePipeline(ctx, d.shop); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first finds builds that go, and the second what only they had
		if _, err := d.Collect(ctx, engine.CollectRequest{DryRun: true}); err != nil {
			t.Fatal(err)
		}
		images, err := d.Images(ctx, "")
		if err != nil || len(images) == 0 {
			t.Fatal(images, err)
		}
		var idle []string
		for _, i := range images {
			if i.There && len(i.Uses) == 0 {
				idle = append(idle, i.ID)
			}
		}
		g, err := d.Collect(ctx, engine.CollectRequest{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(idle)
		slices.Sort(g.Images)
		if !slices.Equal(idle, g.Images) {
			t.Errorf("nothing uses %v, and garbage are %v", idle, g.Images)
		}
		if _, err := d.Collect(ctx, engine.CollectRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	images, err := d.Images(ctx, "shop")
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
	if _, err := d.Images(ctx, "nowhere"); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("images of no pipeline: %v", err)
	}
}

// An environment that no record names is ended, and no other.
func TestStrayEnvironment(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	env, err := d.Launch(ctx, mine())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Platform.Prepare(ctx, pipeline.FleetRequest{Environment: "e-lost", Fleet: "f-1", Instances: 1, Service: shop.Service}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Platform.Shift(ctx, "e-lost", "f-1", pipeline.Traffic{}); err != nil {
		t.Fatal(err)
	}
	g, err := d.Collect(ctx, engine.CollectRequest{})
	if err != nil || !slices.Equal(g.Environments, []string{"e-lost"}) {
		t.Errorf("garbage %+v, %v", g, err)
	}
	reports, err := d.Platform.Describe(ctx)
	if _, there := reports[env.ID]; err != nil || !there || len(reports) != 1 {
		t.Errorf("left are %v, %v", reports, err)
	}
}
