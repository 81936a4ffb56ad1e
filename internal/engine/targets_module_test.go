// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// foreseen returns what is stored of a build at each target of production, by name.
func (d *desk) foreseen(build string) map[string]report.Infrastructure {
	d.t.Helper()
	st, all := d.seen(), map[string]report.Infrastructure{}
	for _, at := range st.Stages["production"].AtPlaces() {
		if i, ok := report.InfrastructureOf(st, at, build); ok {
			all[at.Name] = i
		}
	}
	return all
}

// Before anybody approves a build, it is planned for the environment of each target, where that
// is: once, and for a target that is added, too. What an apply would refuse names the target.
func TestForesightAtTargets(t *testing.T) {
	d := withModule(t, beside)
	d.mustApply(spread("1", "", "eu", "us/1"))
	first := d.foreseen(build("1"))
	places := map[string]bool{}
	for _, r := range d.planned {
		places[r.Target.Name] = r.Facts.Name == "production@"+r.Target.Name && r.Facts.Build == build("1") && r.Package != ""
	}
	if len(d.planned) != 2 || !places["eu"] || !places["us"] || !first["production@eu"].Known() || !first["production@us"].Known() || first["production@us"].Plan.Added != 2 {
		t.Fatalf("before the first deployment: %+v, at %v after %d plans", first, places, len(d.planned))
	}
	if _, stored := d.seen().Plans[pipeline.StageBuild("production", build("1"))]; stored {
		t.Error("a plan is stored of the stage as a whole")
	}
	if _, err := d.Stages.PlanInfrastructure(d.ctx, "shop", "production", build("1")); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(reason.Hint(err), "production@eu") {
		t.Errorf("the plan of the whole: %v (%s)", err, reason.Hint(err))
	}
	d.approve(build("1"))
	d.mustApply(spread("1", "1", "eu", "us/1"))
	d.mustApply(spread("2", "1", "eu", "us/1"))
	second := d.foreseen(build("2"))
	for _, name := range []string{"production@eu", "production@us"} {
		i := second[name]
		env, _ := d.seen().RunEnvironment(name, pipeline.ForStage)
		if !i.Known() || i.Plan.Environment != env.ID || i.Plan.Serving != build("1") || len(i.Refused) != 1 || !strings.HasPrefix(ask.Refusal(i), "Target "+env.Target.Name+" of stage production will refuse it") {
			t.Errorf("of the second build %s says %+v: %s", name, i, ask.Refusal(i))
		}
	}
	made := len(d.planned)
	d.mustApply(spread("2", "1", "eu", "us/1"))
	if made != 4 || len(d.planned) != made {
		t.Errorf("%d plans were made, and %d by the next apply", made, len(d.planned)-made)
	}
	diff, err := d.Reports.Diff(d.ctx, "shop", "production", build("2"))
	if err != nil || len(diff.Infrastructure) != 2 || diff.Infrastructure[0].Stage != "production@eu" || diff.Infrastructure[1].Stage != "production@us" {
		t.Errorf("the comparison says %+v, %v", diff.Infrastructure, err)
	}
	if diff, err = d.Reports.Diff(d.ctx, "shop", build("1"), build("2")); err != nil || len(diff.Infrastructure) != 2 {
		t.Errorf("the comparison of the builds says %+v, %v", diff.Infrastructure, err)
	}
	e, err := d.Reports.Evidence(d.ctx, d.seen(), report.EvidenceRequest{Verb: "approve", Stage: "exploratory", Build: build("2")})
	if err != nil || len(e.Infrastructure) != 2 || !e.Infrastructure[1].Known() {
		t.Errorf("before an approval it says %+v, %v", e.Infrastructure, err)
	}
	d.mustApply(spread("2", "1", "eu", "us/1", "asia"))
	if added := d.foreseen(build("2"))["production@asia"]; !added.Known() || len(d.planned) != 5 || d.planned[4].Target.Name != "asia" {
		t.Errorf("of a target that was added it says %+v after %d plans", added, len(d.planned))
	}
	d.approve(build("2"))
	d.mustApply(spread("2", "2", "eu", "us/1", "asia"))
	if left := d.foreseen(build("2")); len(left) != 0 {
		t.Errorf("of the build that serves it says %+v", left)
	}
}

// A target that is removed before it had anything leaves no plan behind that a removal of the
// stage would forget.
func TestForesightOfRemovedTarget(t *testing.T) {
	d := withModule(t, beside)
	d.mustApply(spread("1", "", "eu", "us"))
	d.mustApply(spread("1", "", "eu"))
	st := d.seen()
	if err := d.Stages.Remove(d.ctx, "shop", "production", st.Stages["production"].ID); err != nil {
		t.Fatal(err)
	}
	if left := d.seen().Plans; len(left) != 0 {
		t.Errorf("left are %+v", left)
	}
}

// The environment of each target is checked for drift, in its own time, and what has drifted is
// recorded and shown by target.
func TestDriftAtTargets(t *testing.T) {
	d := withModule(t, beside)
	d.shop.Module.DetectDrift, d.shop.Module.DriftEvery = true, time.Hour
	d.drifted = changedOutside
	if err := spreadTo(d, "eu", "us"); err != nil {
		t.Fatal(err)
	}
	if len(d.checked) != 0 {
		t.Fatalf("a deployment has made %d checks", len(d.checked))
	}
	check := func(want int) {
		t.Helper()
		before := len(d.checked)
		for _, c := range d.Stages.Drifts(d.ctx, d.seen().Stages["production"]) {
			if c.Err != nil || c.Drift == nil || c.Drift.Total != 2 || c.Drift.Stage != c.Stage.Name {
				t.Errorf("at %s: %+v, %v", c.Stage.Name, c.Drift, c.Err)
			}
		}
		if n := len(d.checked) - before; n != want {
			t.Errorf("%d checks were made, want %d", n, want)
		}
	}
	check(2)
	check(0)
	d.later(2 * time.Hour)
	check(2)
	v := d.status("production")
	if v.Drift != nil || len(v.TargetDrifts) != 2 || v.DriftAt("us") == nil || v.DriftAt("us").Environment != v.Current.Targets[1].Environment.ID || v.DriftAt("asia") != nil {
		t.Errorf("the stage shows %+v and %+v", v.Drift, v.TargetDrifts)
	}
	if text := reason.Drift(v.DriftAt("us"), func(time.Time) string { return "now" }); text != "drift at target us: 2 resources changed outside of the pipeline, found now" {
		t.Errorf("it says %q", text)
	}
	if drift, checked, err := d.Stages.Drift(d.ctx, "shop", "production"); drift != nil || checked || err != nil {
		t.Errorf("the stage as a whole has %+v, %v, %v", drift, checked, err)
	}

	// A deployment at one target says nothing of the others.
	d.mustApply(spread("2", "1", "eu", "us", "asia"))
	v = d.status("production")
	if len(v.TargetDrifts) != 2 || v.DriftAt("asia") != nil {
		t.Errorf("after a target was added, the stage shows %+v", v.TargetDrifts)
	}
	d.mustApply(spread("2", "2", "eu", "us", "asia"))
	if v = d.status("production"); len(v.TargetDrifts) != 0 {
		t.Errorf("after another deployment, the stage shows %+v", v.TargetDrifts)
	}
	d.mustApply(spread("2", "2", "eu"))
	if _, left := d.seen().Drifts["production@us"]; left {
		t.Error("the drift of a target that was removed is kept")
	}
}
