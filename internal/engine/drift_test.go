// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

var changedOutside = []pipeline.ModuleChange{
	{Address: "acme_dns.shop", Type: "acme_dns", Action: pipeline.ModuleUpdate}, {Address: "acme_database.main", Type: "acme_database", Action: pipeline.ModuleDestroy},
}

// drifting is a desk at a pipeline that detects drift, with build 1 in production, whose
// infrastructure somebody has changed.
func drifting(t *testing.T, f form) *desk {
	t.Helper()
	d := withModule(t, f)
	d.shop.Module.DetectDrift = true
	d.drifted = changedOutside
	if err := deployed(d); err != nil {
		t.Fatal(err)
	}
	if len(d.checked) != 0 {
		t.Fatalf("a deployment has made %d checks", len(d.checked))
	}
	return d
}

// check asks for the drift of production, and says whether that made a check.
func (d *desk) check() (*pipeline.Drift, bool) {
	d.t.Helper()
	before := len(d.checked)
	drift, checked, err := d.Stages.Drift(d.ctx, "shop", "production")
	if err != nil {
		d.t.Fatal(err)
	}
	if now := len(d.checked) > before; now != checked {
		d.t.Errorf("it says %v of a check, and %v is so", checked, now)
	}
	return drift, checked
}

// What somebody has changed is found once in drift_every, by whoever asks first; it is shown, is
// void once the module has been applied again, and moves nothing.
func TestDrift(t *testing.T) {
	for _, f := range []form{beside, instead} {
		t.Run(string(f), func(t *testing.T) {
			d := drifting(t, f)
			drift, checked := d.check()
			if !checked || drift == nil || drift.Total != 2 || drift.Changes[0].Address != "acme_database.main" || !drift.New() {
				t.Fatalf("it finds %+v, %v", drift, checked)
			}
			for range 2 { // other processes
				d = d.again()
				d.shop.Module.DetectDrift = true
				if same, checked := d.check(); checked || same == nil || !same.At.Equal(drift.At) {
					t.Errorf("asked again at once: %+v, %v", same, checked)
				}
			}
			at := d.status("production")
			if at.Drift == nil || at.Drift.Total != 2 || at.Move.Action != gate.ActionNone || at.Signal != gate.SignalServing {
				t.Errorf("the stage shows %+v, and moves by %s", at.Drift, at.Move.Action)
			}
			if other := d.status("acceptance"); other.Drift != nil {
				t.Errorf("a stage without an environment has %+v", other.Drift)
			}

			d.later(time.Hour)
			again, checked := d.check()
			if !checked || again.New() || !again.Since.Equal(drift.Since) || again.At.Equal(drift.At) {
				t.Errorf("after an hour: %+v, %v", again, checked)
			}

			d.mustApply(pinned("2", "1"))
			d.approve(build("2"))
			d.mustApply(pinned("2", "1"))
			d.mustApply(pinned("2", "2")) // which repairs it
			d.drifted = nil
			if drift, checked := d.check(); drift != nil || checked {
				t.Errorf("after a deployment: %+v, %v", drift, checked)
			}
			d.later(time.Hour)
			if drift, checked := d.check(); !checked || drift == nil || drift.Any() || drift.Unknown != "" || drift.Build != build("2") {
				t.Errorf("an hour after the deployment: %+v, %v", drift, checked)
			}
			kinds := map[pipeline.NoticeKind]int{}
			for _, e := range d.record.History("shop") {
				for _, n := range notice.Of(d.seen(), e) {
					if kinds[n.Kind]++; n.Kind == pipeline.NoticeDrift && !strings.Contains(n.Text, "acme_database.main is gone, acme_dns.shop was changed") {
						t.Errorf("it is notified of as %q", n.Text)
					}
				}
			}
			if kinds[pipeline.NoticeDrift] != 1 {
				t.Errorf("three checks are notified of %d times", kinds[pipeline.NoticeDrift])
			}
			if err := d.serves(build("2"), 3); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is not to be checked is not: without detect_drift, during a run, while another process
// checks, and where the module that is applied is not the one that serves.
func TestNoDriftCheck(t *testing.T) {
	for name, test := range map[string]func(d *desk) (*pipeline.Drift, bool){
		"off": func(d *desk) (*pipeline.Drift, bool) {
			d.shop.Module.DetectDrift = false
			if _, err := d.Pipelines.Update(d.ctx, d.shop); err != nil {
				d.t.Fatal(err)
			}
			return d.check()
		},
		"a run is under way": func(d *desk) (drift *pipeline.Drift, checked bool) {
			d.mustApply(pinned("2", "1"))
			d.approve(build("2"))
			d.mustApply(pinned("2", "1"))
			next := pinned("2", "2")
			next[5].Steps = []pipeline.Step{{Name: "look", Command: "look"}}
			d.during["look"] = func() { drift, checked = d.check() }
			d.mustApply(next)
			return drift, checked
		},
		"another process checks": func(d *desk) (drift *pipeline.Drift, checked bool) {
			d.during["drift check"] = func() {
				delete(d.during, "drift check")
				drift, checked = d.beside().check()
			}
			if _, first := d.check(); !first {
				d.t.Error("nobody checks")
			}
			return drift, checked
		},
		"it does not serve": func(d *desk) (*pipeline.Drift, bool) {
			for _, site := range d.sites {
				site.applied.Fleet = "another"
			}
			return d.check()
		},
		"a stage without an environment": func(d *desk) (*pipeline.Drift, bool) {
			drift, checked, err := d.Stages.Drift(d.ctx, "shop", "commit")
			if err != nil {
				d.t.Fatal(err)
			}
			return drift, checked
		},
	} {
		t.Run(name, func(t *testing.T) {
			if drift, checked := test(drifting(t, beside)); drift != nil || checked {
				t.Errorf("it returns %+v, %v", drift, checked)
			}
		})
	}
}

// A run that begins while a stage is checked makes what the check finds void: the run may have
// changed it.
func TestRunDuringDriftCheck(t *testing.T) {
	d := drifting(t, instead)
	d.during["drift check"] = func() {
		if _, err := d.Stages.Advance(d.ctx, run.AdvanceRequest{Stage: sized(5)[5]}); err != nil {
			t.Error(err)
		}
	}
	if drift, checked := d.check(); drift != nil || !checked {
		t.Errorf("it returns %+v, %v", drift, checked)
	}
	if at := d.status("production"); at.Drift != nil {
		t.Errorf("the stage shows %+v", at.Drift)
	}
}

// What can't be checked is said, fails nothing, and is not tried again before its time.
func TestDriftCheckFails(t *testing.T) {
	d := drifting(t, beside)
	d.shop.Module.DriftEvery = 10 * time.Minute
	if _, err := d.Pipelines.Update(d.ctx, d.shop); err != nil {
		t.Fatal(err)
	}
	d.unchecked = errors.New("no valid credential sources found")
	drift, checked := d.check()
	if !checked || drift == nil || drift.Any() || !strings.Contains(drift.Unknown, "credential") {
		t.Fatalf("it returns %+v, %v", drift, checked)
	}
	d.unchecked = nil
	d.later(9 * time.Minute)
	if drift, checked = d.check(); checked || drift.Unknown == "" {
		t.Errorf("too early, it returns %+v, %v", drift, checked)
	}
	d.later(time.Minute)
	if drift, checked = d.check(); !checked || drift.Unknown != "" || !drift.New() {
		t.Errorf("then it returns %+v, %v", drift, checked)
	}
}

// A check that is killed or cancelled anywhere is made again, unless it was recorded, and
// changes nothing else.
func TestDriftCheckDisturbed(t *testing.T) {
	before := drifting(t, beside)
	for _, cancels := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				d := start(t, before.copied(), t.TempDir())
				d.limit, d.after = n, after
				if cancels {
					d.ctx, d.cancel = context.WithCancel(d.ctx)
				}
				first, _, err := d.Stages.Drift(d.ctx, "shop", "production")
				ended := d.calls < n
				recorded := func() (times int) {
					for _, e := range d.record.History("shop") {
						if e.Kind == pipeline.DriftChecked {
							times++
						}
					}
					return times
				}
				was := recorded()
				if ended && (err != nil || first == nil || was != 1) {
					t.Fatalf("undisturbed: %+v, %v, %d records", first, err, was)
				}
				d = d.again()
				drift, checked := d.check()
				if drift == nil || drift.Total != 2 || checked != (was == 0) || recorded() != 1 {
					t.Errorf("disturbed at call %d (after its effect: %v, cancelled: %v): %+v, %v, recorded %d and %d times", n, after, cancels, drift, checked, was, recorded())
				}
				if err := errors.Join(d.agree(), d.serves(build("1"), 3)); err != nil {
					t.Errorf("disturbed at call %d: %v", n, err)
				}
				if ended {
					break
				}
			}
		}
	}
}
