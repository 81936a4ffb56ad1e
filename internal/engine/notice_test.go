// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// noticed looks in a new process, twice, and returns the kinds of notice that this added.
func (d *desk) noticed() []pipeline.NoticeKind {
	d.t.Helper()
	before := len(d.record.History("shop"))
	for range 2 { // the second look finds nothing new
		if err := d.again().Environments.Notice(context.Background(), "shop"); err != nil {
			d.t.Fatal(err)
		}
	}
	var all []pipeline.NoticeKind
	for _, e := range d.record.History("shop")[before:] {
		for _, n := range notice.Of(&pipeline.State{}, e) {
			all = append(all, n.Kind)
		}
	}
	return all
}

func (d *desk) wants(kinds ...pipeline.NoticeKind) {
	d.t.Helper()
	if got := d.noticed(); !slices.Equal(got, kinds) {
		d.t.Errorf("noticed %v, want %v", got, kinds)
	}
}

// later sets the world's clock.
func (d *desk) later(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = d.clock.Add(by)
}

// notifying is a desk at a pipeline that has a target, with a stage that has a persistent
// environment.
func notifying(t *testing.T) *desk {
	t.Helper()
	d := open(t)
	d.shop.Notify = []pipeline.NotifyTarget{{Command: "true"}}
	live := stage(pipeline.TypeProduction, "commit")
	live.Trigger = pipeline.TriggerAutomatic
	d.mustApply([]pipeline.Stage{commit("1"), live})
	return d
}

func (d *desk) launchFor(ttl time.Duration, renew bool) {
	d.t.Helper()
	if _, err := d.again().Environments.Launch(context.Background(), run.LaunchRequest{Pipeline: "shop", Name: "alice", After: []string{"commit"}, TTL: ttl, Renew: renew}); err != nil {
		d.t.Fatal(err)
	}
}

// Drift is noticed each time that it happens.
func TestNoticeDrift(t *testing.T) {
	d := notifying(t)
	d.wants()
	env := d.status("production").Environment
	for range 2 {
		d.envs[env.ID].degraded = true
		d.wants(pipeline.NoticeDrift)
		d.envs[env.ID].degraded = false
		d.wants()
	}
	d.envs[env.ID].degraded = true
	d.wants(pipeline.NoticeDrift)
	delete(d.envs, env.ID) // worse than degraded
	d.wants(pipeline.NoticeDrift)
}

// An environment is announced to end before it does, however short its life.
func TestNoticeExpiry(t *testing.T) {
	for _, tt := range []struct{ ttl, before time.Duration }{{8 * time.Hour, 30 * time.Minute}, {time.Hour, 15 * time.Minute}, {20 * time.Minute, 5 * time.Minute}} {
		t.Run(tt.ttl.String(), func(t *testing.T) {
			d := notifying(t)
			d.launchFor(tt.ttl, false)
			d.wants()
			d.later(tt.ttl - tt.before - time.Minute)
			d.wants()
			d.later(2 * time.Minute)
			d.wants(pipeline.NoticeExpiring)
			d.launchFor(tt.ttl, true)
			d.wants()
			d.later(tt.ttl - tt.before/2)
			d.wants(pipeline.NoticeExpiring)
			d.later(tt.before)
			d.wants(pipeline.NoticeExpired)
			if _, raised := d.raised()[pipeline.NoticeExpiring]; raised {
				t.Error("what is over is still recorded")
			}
		})
	}
}

func (d *desk) raised() map[pipeline.NoticeKind]bool {
	d.t.Helper()
	st, err := d.again().State(context.Background(), "shop")
	if err != nil {
		d.t.Fatal(err)
	}
	kinds := map[pipeline.NoticeKind]bool{}
	for _, r := range st.Raised {
		kinds[r.Kind] = true
	}
	return kinds
}

// A process that is killed while it notices something leaves it to the next one.
func TestNoticeKilled(t *testing.T) {
	for _, after := range []bool{false, true} {
		d := notifying(t)
		d.envs[d.status("production").Environment.ID].degraded = true
		dying := d.again()
		dying.limit, dying.after = 1, after
		if err := dying.Environments.Notice(context.Background(), "shop"); err == nil {
			t.Fatal("it was not killed")
		}
		d.noticed()
		if n := len(d.raised()); n != 1 {
			t.Errorf("%d things are noticed", n)
		}
	}
}

// Nothing is noticed if nobody is notified, nor about what a run is changing.
func TestNoticeNothing(t *testing.T) {
	d := notifying(t)
	env := d.status("production").Environment
	d.envs[env.ID].degraded = true
	ledger := memLedger{d.again().life}
	record := func(e pipeline.Event) {
		t.Helper()
		if _, err := ledger.Append(context.Background(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{e}}); err != nil {
			t.Fatal(err)
		}
	}
	record(pipeline.Event{Kind: pipeline.RunStarted, Facts: pipeline.Facts{Run: &pipeline.Run{ID: "r-now", Stage: "production", Kind: pipeline.KindStage, Status: pipeline.RunRunning}}})
	d.wants()
	record(pipeline.Event{Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &pipeline.Run{ID: "r-now", Stage: "production", Kind: pipeline.KindStage, Status: pipeline.RunCancelled}}})
	p := d.shop
	p.Notify = nil
	if _, err := d.again().Pipelines.Update(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	d.wants()
}

// A definition records from when on each target is notified.
func TestDeliveriesOfDefinitions(t *testing.T) {
	d := open(t)
	ctx := context.Background()
	define := func(targets ...pipeline.NotifyTarget) *pipeline.State {
		t.Helper()
		p := d.shop
		p.Notify = targets
		d = d.again()
		if _, err := d.Pipelines.Create(ctx, p); err != nil {
			t.Fatal(err)
		}
		st, err := d.again().State(ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	head := func() int64 { return int64(len(d.record.History("shop"))) }
	one, two := pipeline.NotifyTarget{Command: "one", On: []pipeline.NoticeKind{pipeline.NoticeFailed}}, pipeline.NotifyTarget{Command: "two"}
	st := define(one)
	first := head()
	if got := st.Notified(one); got.Seq != first || !slices.Equal(got.On, one.On) {
		t.Errorf("the first is told from %+v, want %d", got, first)
	}
	if st = define(one, two); st.Notified(one).Seq != first || st.Notified(two).Seq != head() {
		t.Errorf("told from %+v and %+v", st.Notified(one), st.Notified(two))
	}
	if st = define(two); len(st.Deliveries) != 1 {
		t.Errorf("one that is left out is not forgotten: %+v", st.Deliveries)
	}
	if st = define(two, one); st.Notified(one).Seq != head() || st.Notified(two).Seq >= head() {
		t.Errorf("one that is back is told from %+v, the other from %+v", st.Notified(one), st.Notified(two))
	}
	wide := one
	wide.On = nil
	if st = define(two, wide); !slices.Equal(st.Notified(wide).On, one.On) {
		t.Errorf("what it was to be told is forgotten: %+v", st.Notified(wide))
	}
}
