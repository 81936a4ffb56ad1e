// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// memArchives outlive the processes of a test.
type memArchives struct {
	*life
	all map[pipeline.Archive][]byte
}

func (m memArchives) Put(ctx context.Context, a pipeline.Archive, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return m.do(ctx, func() error { m.all[a] = b.Bytes(); return nil })
}

func (m memArchives) List(context.Context) ([]pipeline.Archive, error) {
	return slices.Collect(maps.Keys(m.all)), nil
}

func (m memArchives) Open(context.Context, pipeline.Archive) (io.ReadCloser, error) {
	return nil, pipeline.Errorf(pipeline.CodeInternal, "open archive", "no test reads one")
}

func (m memArchives) Remove(ctx context.Context, a pipeline.Archive) error {
	return m.do(ctx, func() error { delete(m.all, a); return nil })
}

// archiving returns a desk whose removed pipelines are archived in all.
func (d *desk) archiving(all map[pipeline.Archive][]byte) *desk {
	config := d.config
	config.Archives = memArchives{d.life, all}
	config.Export = func(ctx context.Context, w io.Writer, name string) error {
		events, err := d.config.Ledger.Events(ctx, name, 0, 1_000_000)
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(events)
	}
	d.Engine = engine.New(config)
	return d
}

// A removal that is killed anywhere leaves the history in the ledger, or whole in the
// archive, and the next one ends with one archive.
func TestArchiveSurvivesKills(t *testing.T) {
	begin := open(t)
	begin.shop.RetainHistory = time.Hour
	begin.mustApply(route("1")[:2])
	for limit := 1; ; limit++ {
		all := map[pipeline.Archive][]byte{}
		d := start(t, begin.world.copied(), t.TempDir()).archiving(all)
		before := len(d.record.History("shop"))
		d.limit, d.after = limit, limit%2 == 0
		err := d.Pipelines.Remove(d.ctx, "shop", "", true)
		whole := func() bool {
			for _, data := range all {
				var events []pipeline.Event
				if json.Unmarshal(data, &events) != nil || len(events) <= before || events[len(events)-1].Kind != pipeline.PipelineRemoved {
					return false
				}
			}
			return len(all) == 1
		}
		if len(d.record.History("shop")) == 0 && !whole() {
			t.Fatalf("killed at call %d: the history is gone, and the archives are %v", limit, slices.Collect(maps.Keys(all)))
		}
		if !d.dead {
			if err != nil || !whole() {
				t.Errorf("removal: %v, archives %v", err, slices.Collect(maps.Keys(all)))
			}
			return
		}
		d = d.again().archiving(all)
		if err := d.Pipelines.Remove(d.ctx, "shop", "", true); err != nil {
			t.Fatalf("killed at call %d: the next removal: %v", limit, err)
		}
		if len(d.record.History("shop")) > 0 || !whole() {
			t.Fatalf("killed at call %d: after the next removal %d events are left, archives %v", limit, len(d.record.History("shop")), slices.Collect(maps.Keys(all)))
		}
	}
}

// An archive is removed when it expires, and a pipeline that keeps none leaves none.
func TestArchiveEnds(t *testing.T) {
	for history, want := range map[time.Duration]int{time.Hour: 1, 0: 0} {
		all := map[pipeline.Archive][]byte{}
		d := open(t).archiving(all)
		d.shop.RetainHistory = history
		d.mustApply(nil)
		if err := d.Pipelines.Remove(d.ctx, "shop", "", false); err != nil || len(all) != want {
			t.Fatalf("with %s: %v, %d archives, want %d", history, err, len(all), want)
		}
		if g, err := d.Collector.Collect(d.ctx, collect.Request{}); err != nil || len(g.Archives) > 0 {
			t.Errorf("with %s: at once garbage is %v: %v", history, g.Archives, err)
		}
		d.clock = d.clock.Add(2 * time.Hour)
		if g, err := d.Collector.Collect(d.ctx, collect.Request{DryRun: true}); err != nil || len(g.Archives) != want || len(all) != want {
			t.Errorf("with %s: later garbage is %v, and %d are left: %v", history, g.Archives, len(all), err)
		}
		if _, err := d.Collector.Collect(d.ctx, collect.Request{}); err != nil || len(all) > 0 {
			t.Errorf("with %s: %d archives are left: %v", history, len(all), err)
		}
	}
}

// An apply removes the expired archives of all pipelines.
func TestArchiveEndsByApply(t *testing.T) {
	all := map[pipeline.Archive][]byte{}
	d := open(t).archiving(all)
	past, later := pipeline.Archive{ID: "p-1", Pipeline: "cart", Until: d.clock}, pipeline.Archive{ID: "p-2", Pipeline: "cart", Until: d.clock.Add(time.Hour)}
	all[past], all[later] = nil, nil
	d.mustApply(route("1")[:1])
	if _, kept := all[later]; !kept || len(all) != 1 {
		t.Errorf("after an apply there are %v", slices.Collect(maps.Keys(all)))
	}
}
