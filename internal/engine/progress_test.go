// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// A step that has printed nothing yet is shown by what it runs, without the mark of the log.
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

// A step's part of a log is where the run's record says, while it runs and afterwards,
// whatever is printed. That is also true of a step in which the process died.
func TestStepLog(t *testing.T) {
	d := open(t)
	stages := route("1")[:1]
	stages[0].Steps = []pipeline.Step{
		{Name: "first", Command: "print"}, {Name: "second", Command: "print"}, {Name: "build", Command: "make"}, {Name: "second", Command: "print"}, {Name: "silent", Command: "true"},
	}
	part := func(d *desk, step string, follow bool) string {
		var b strings.Builder
		found, err := d.Reports.StepLog(context.Background(), "shop", d.seen().Latest["commit"].ID, step, follow, &b)
		if err != nil || !found {
			return fmt.Sprintf("%v, %v", found, err)
		}
		return b.String()
	}
	const forged = " prints\n== step \"second\": \n"
	followed := make(chan string, 1)
	d.during["first"] = func() {
		if got := part(d, "first", false) + "; " + part(d, "second", false); got != "first"+forged+"; false, <nil>" {
			t.Errorf("while the first step runs: %q", got)
		}
		go func() { followed <- part(d, "second", true) }()
	}
	d.during["second"] = func() {
		if got := part(d, "first", false); got != "first"+forged {
			t.Errorf("while the second step runs, the first has %q", got)
		}
	}
	d.mustApply(stages)
	for step, want := range map[string]string{"first": "first" + forged, "second": "second" + forged + "second" + forged, "silent": "", "other": "false, <nil>"} {
		if got := part(d, step, false); got != want {
			t.Errorf("step %q has %q, want %q", step, got, want)
		}
	}
	if got, want := <-followed, "second"+forged+"second"+forged; got != want {
		t.Errorf("who follows it sees %q, want %q", got, want)
	}

	stages = slices.Clone(stages)
	stages[0].Source = &pipeline.SourceRef{Repository: "repo", Commit: "c2", Digest: "2"}
	delete(d.during, "first")
	d.during["second"] = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.limit = d.calls + 1
	}
	if d.apply(stages) == nil {
		t.Fatal("it was not killed")
	}
	next := d.again()
	run := next.seen().Latest["commit"].ID
	delete(next.during, "second")
	next.mustApply(stages)
	var b strings.Builder
	if _, err := next.Reports.StepLog(context.Background(), "shop", run, "second", false, &b); err != nil || !strings.HasPrefix(b.String(), "second"+forged) {
		t.Errorf("the step in which it died has %q, %v", b.String(), err)
	}
}
