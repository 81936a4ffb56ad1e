// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestDiff(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	for _, digest := range []string{"1", "2"} {
		d.mustApply(route(digest))
		d.approve(build(digest))
		d.mustApply(route(digest))
		if digest == "1" {
			if _, err := d.Reports.Diff(ctx, "shop", "", ""); pipeline.CodeOf(err) != pipeline.CodeRefused {
				t.Errorf("before anything runs: %v", err)
			}
			if _, err := d.Promote(ctx, "shop", "production", ""); err != nil {
				t.Fatal(err)
			}
			d.mustApply(route(digest))
		}
	}
	st, err := d.State(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	image := func(digest string) pipeline.Image { return st.Images[st.Builds[build(digest)].Image] }
	log, err := d.config.Logs.Create(ctx, "shop", image("2").Run)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(log, "== package openssl 9.9.9\n"); err != nil { // whatever a log says
		t.Fatal(err)
	}
	diff, err := d.Reports.Diff(ctx, "shop", "", "")
	if err != nil || diff.Stage != "production" || diff.From != build("1") || diff.To != build("2") {
		t.Fatalf("%+v, %v", diff, err)
	}
	if got, want := fmt.Sprint(diff.Packages), fmt.Sprintf("[{image %s %s}]", image("1").ID, image("2").ID); got != want {
		t.Errorf("packages %s, want %s", got, want)
	}
	if garbage, err := d.Collector.Collect(ctx, collect.Request{DryRun: true}); err != nil || slices.Contains(garbage.Artifacts, image("1").Packages.Digest) {
		t.Errorf("%v is garbage (%v)", garbage.Artifacts, err)
	}
	if len(diff.Ahead) != 2 || diff.Unknown != "" || len(diff.Parts) == 0 || len(diff.Lineage.To) != 2 {
		t.Errorf("%+v", diff)
	}
	same, err := d.Reports.Diff(ctx, "shop", build("2"), build("2"))
	if err != nil || len(same.Parts)+len(same.Packages) != 0 {
		t.Errorf("a build and itself: %+v, %v", same, err)
	}
	if _, err := d.Reports.Diff(ctx, "shop", build("1"), "b-0000000000"); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("a build that is none: %v", err)
	}
}
