// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// looking calls during while an image is baked.
type looking struct {
	memPlatform
	during func()
}

func (l looking) Under(by ...pipeline.Fence) pipeline.Platform {
	l.by = by
	return l
}

func (l looking) Bake(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	l.during()
	return l.memPlatform.Bake(ctx, r)
}

// A bake that is under way can be looked at like the run of a stage.
func TestProgressOfABake(t *testing.T) {
	d := open(t)
	d.mustApply(nil)
	var seen *report.Progress
	platform := looking{memPlatform: memPlatform{life: d.life}, during: func() {
		st, err := d.State(context.Background(), "shop")
		if err == nil {
			seen, err = d.Reports.Progress(context.Background(), st, pipeline.ImageRun("base"))
		}
		if err != nil {
			t.Error(err)
		}
	}}
	e := engine.New(engine.Config{
		Ledger: memLedger{d.life}, Platform: platform, Runner: memRunner{d.life}, Sources: memSources{d.life}, Artifacts: memArtifacts{d.life},
		Logs: memLogs{d.life}, WorkDir: d.work, Holder: pipeline.Holder{Process: pipeline.Process{Host: "test", PID: 1}, Actor: "bob"}, Now: d.now,
	})
	definition := pipeline.ImageDefinition{Pipeline: "shop", Name: "base", From: pipeline.ImageFrom{Directory: "rootfs"}, Source: pipeline.SourceRef{Repository: "repo", Commit: "c1", Digest: "1"}, Owner: "here"}
	if _, err := e.Images.Bake(context.Background(), run.BakeRequest{Definition: definition}); err != nil {
		t.Fatal(err)
	}
	if seen == nil || seen.Dead || seen.Run.Phase != pipeline.PhaseBake {
		t.Errorf("under way it is %+v", seen)
	}
	if after, err := d.Reports.Progress(context.Background(), d.seen(), pipeline.ImageRun("base")); err != nil || after != nil {
		t.Errorf("afterwards it is %+v, %v", after, err)
	}
}

// A step that has printed nothing yet is told by what it runs, without the mark of the log.
func TestProgressOfASilentStep(t *testing.T) {
	d := open(t)
	var seen *report.Progress
	d.during["make"] = func() {
		st, err := d.State(context.Background(), "shop")
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintln(memLog{memLogs{d.life}, "shop/" + st.Latest["commit"].ID}, pipeline.StepHeader("build")+"make")
		if seen, err = d.Reports.Progress(context.Background(), st, "commit"); err != nil {
			t.Error(err)
		}
	}
	d.mustApply(route("1"))
	if seen == nil || seen.Step != "build" || seen.Line != "make" {
		t.Errorf("under way it is %+v", seen)
	}
}
