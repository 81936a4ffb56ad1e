// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"fmt"
	"io"
	"testing"

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
	for digest, lines := range map[string]string{"1": "== package gone 1\n== package kept 1\n== package newer 1\n", "2": "== package kept 1\n== package newer 2\n== package more 1\n"} {
		image := st.Images[st.Builds[build(digest)].Image]
		log, err := d.config.Logs.Create(ctx, "shop", image.Run)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(log, lines); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	diff, err := d.Reports.Diff(ctx, "shop", "", "")
	if err != nil || diff.Stage != "production" || diff.From != build("1") || diff.To != build("2") {
		t.Fatalf("%+v, %v", diff, err)
	}
	if got := fmt.Sprint(diff.Packages); got != "[{gone 1 } {more  1} {newer 1 2}]" {
		t.Errorf("packages %s", got)
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
