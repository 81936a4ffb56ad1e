// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// atWork leaves out the leases that only say that a creating process is alive.
func atWork(leases []pipeline.Lease) []pipeline.Lease {
	return slices.DeleteFunc(slices.Clone(leases), func(l pipeline.Lease) bool { return strings.Contains(l.Key, "/creation/") })
}

// What was created belongs to whoever recorded it. Until then, the next caller continues it,
// once the process that created it is gone.
func TestWhoseCreation(t *testing.T) {
	creations := map[string]struct {
		kind   pipeline.RecordKind
		name   string
		create func(d *desk, owner string) error
	}{
		"pipeline": {pipeline.RecordPipeline, "shop", func(d *desk, owner string) error {
			p := d.shop
			p.Owner = owner
			_, err := d.Pipelines.Create(d.ctx, p)
			return err
		}},
		"stage": {pipeline.RecordStage, "commit", func(d *desk, owner string) error {
			s := route("1")[0]
			s.Owner = owner
			_, err := d.Stages.Advance(d.ctx, run.AdvanceRequest{Stage: s, Create: true})
			return err
		}},
		"image": {pipeline.RecordImageDefinition, imageDefinition.Name, func(d *desk, owner string) error {
			r := imageDefinition
			r.Owner = owner
			_, err := d.Images.Bake(d.ctx, run.BakeRequest{Definition: r, Create: true})
			return err
		}},
		"environment": {pipeline.RecordEnvironment, "alice", func(d *desk, owner string) error {
			_, err := d.Environments.Launch(d.ctx, run.LaunchRequest{Pipeline: "shop", Name: "alice", TTL: time.Hour, Create: true, Configured: owner})
			return err
		}},
	}
	for name, c := range creations {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			if name != "pipeline" {
				d.mustApply(route("1")[:2])
				must(d.Creations.Finish(d.ctx))
			}
			if name == "stage" {
				st, err := d.State(d.ctx, "shop")
				must(err)
				must(d.Stages.Remove(d.ctx, "shop", "commit", st.Stages["commit"].ID))
			}
			must(c.create(d, "here"))
			key := pipeline.CreationKey(c.kind, c.name).ID
			pending := func() bool {
				t.Helper()
				st, err := d.State(d.ctx, "shop")
				must(err)
				_, pending := st.Creations[key]
				return pending
			}
			if !pending() {
				t.Fatal("its creation is not recorded")
			}
			d = d.again() // the process died before a state had it
			must(c.create(d, "elsewhere"))
			must(d.Creations.Finish(d.ctx))
			if pending() {
				t.Error("its creation is pending after a state has it")
			}
			d.Close(d.ctx)
			if leases, err := d.config.Ledger.Leases(d.ctx); err != nil || slices.ContainsFunc(leases, func(l pipeline.Lease) bool {
				return strings.Contains(l.Key, "/creation/") && l.Holder.PID == d.config.Holder.PID
			}) {
				t.Errorf("leases after the end: %+v, %v", leases, err)
			}
			if err := c.create(d, "a third place"); pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(err.Error(), "elsewhere") {
				t.Errorf("another creation: %v; want a conflict that says where it was made", err)
			}
		})
	}
}

// While the creating process is alive, no other continues its creation.
func TestCreatorAlive(t *testing.T) {
	d := open(t)
	p := d.shop
	if _, err := d.Pipelines.Create(d.ctx, p); err != nil {
		t.Fatal(err)
	}
	other := d.beside()
	if _, err := other.Pipelines.Create(d.ctx, p); pipeline.CodeOf(err) != pipeline.CodeLocked || !strings.Contains(err.Error(), "is creating") {
		t.Errorf("a creation beside another one: %v", err)
	}
	d.Close(d.ctx)
	if _, err := other.Pipelines.Create(d.ctx, p); err != nil {
		t.Errorf("the creation is not taken up: %v", err)
	}
	if err := d.Creations.Finish(d.ctx); err != nil {
		t.Fatal(err)
	}
	if st, err := other.State(d.ctx, "shop"); err != nil || len(st.Creations) != 1 {
		t.Errorf("what another took up was settled: %+v, %v", st.Creations, err)
	}
}
