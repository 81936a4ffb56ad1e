// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// meddler makes something happen once, in the middle of what an engine does.
type meddler struct{ acquired, described, listed func() }

func once(f *func()) {
	if call := *f; call != nil {
		*f = nil
		call()
	}
}

type meddledLedger struct {
	memLedger
	m *meddler
}

func (l meddledLedger) Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (pipeline.Lease, error) {
	once(&l.m.acquired)
	return l.memLedger.Acquire(ctx, key, h, ttl)
}

type meddledPlatform struct {
	memPlatform
	m *meddler
}

func (p meddledPlatform) Under(by ...pipeline.Fence) pipeline.Platform {
	p.by = by
	return p
}

func (p meddledPlatform) Describe(ctx context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	if len(ids) == 0 {
		once(&p.m.described)
	}
	return p.memPlatform.Describe(ctx, ids...)
}

func (p meddledPlatform) Images(ctx context.Context) ([]pipeline.BakedImage, error) {
	once(&p.m.listed)
	return p.memPlatform.Images(ctx)
}

// A collection that uses a cached state of the ledger removes nothing that another process
// recorded since.
func TestCollectBesideOthers(t *testing.T) {
	ctx := context.Background()
	another := shop
	another.Name = "till"
	for name, meddle := range map[string]func(*desk, *meddler){
		"a build": func(d *desk, m *meddler) { m.acquired = func() { d.mustApply(route("2")[:2]) } },
		"an environment": func(d *desk, m *meddler) {
			m.described = func() {
				if _, err := d.Environments.Launch(ctx, mine()); err != nil {
					d.t.Error(err)
				}
			}
		},
		"a pipeline that bakes": func(d *desk, m *meddler) {
			m.listed = func() {
				defer func() {
					d.world.mu.Lock()
					d.images["img-baked"] = 1 // and not recorded yet
					d.world.mu.Unlock()
				}()
				if _, err := d.Pipelines.Create(ctx, another); err != nil {
					d.t.Error(err)
				}
				for _, s := range route("3")[:2] {
					s.Pipeline = another.Name
					if _, err := d.Stages.Advance(ctx, run.AdvanceRequest{Stage: s}); err != nil {
						d.t.Error(err)
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply(route("1"))
			m := &meddler{}
			e := engine.New(engine.Config{
				Ledger: meddledLedger{memLedger{d.life}, m}, Platform: meddledPlatform{memPlatform{life: d.life}, m}, Runner: memRunner{d.life},
				Sources: memSources{d.life}, Artifacts: memArtifacts{d.life}, Logs: memLogs{d.life}, WorkDir: t.TempDir(),
				Holder: pipeline.Holder{Process: pipeline.Process{Host: "test", PID: d.pid}, Actor: "bob"}, Now: d.world.now, HeadAge: time.Hour,
			})
			if _, err := e.States(ctx); err != nil {
				t.Fatal(err)
			}
			meddle(d, m)
			if g, err := e.Collector.Collect(ctx, collect.Request{}); err != nil || len(g.Images)+len(g.Artifacts)+len(g.Environments) != 0 {
				t.Errorf("it removed %+v, %v", g, err)
			}
			if m.acquired != nil || m.described != nil || m.listed != nil {
				t.Error("nothing happened meanwhile")
			}
		})
	}
}

// A launch that ends while a collection looks at it is no garbage.
func TestCollectOfALaunch(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1")[:2])
	killed := d.again()
	killed.limit = 4
	if _, err := killed.Environments.Launch(ctx, mine()); err == nil {
		t.Fatal("it was not killed")
	}
	d = killed.again()
	m := &meddler{acquired: func() {
		if _, err := d.Environments.Launch(ctx, mine()); err != nil {
			t.Error(err)
		}
	}}
	e := engine.New(engine.Config{
		Ledger: meddledLedger{memLedger{d.life}, m}, Platform: memPlatform{life: d.life}, Runner: memRunner{d.life}, Sources: memSources{d.life},
		Artifacts: memArtifacts{d.life}, Logs: memLogs{d.life}, WorkDir: t.TempDir(), Holder: pipeline.Holder{Process: pipeline.Process{Host: "test", PID: d.pid}, Actor: "bob"}, Now: d.world.now,
	})
	before, err := e.State(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if env, ok := before.PersonEnvironment("mine"); !ok || env.Status != pipeline.EnvLaunching {
		t.Fatalf("the launch left %+v", env)
	}
	if g, err := e.Collector.Collect(ctx, collect.Request{}); err != nil || len(g.Environments) != 0 || len(d.envs) != 1 {
		t.Errorf("it removed %+v, %v; left %v", g, err, d.envs)
	}
}

// The files of a module that was being packed go when nobody packs it any more.
func TestCollectPackedModules(t *testing.T) {
	ctx := t.Context()
	d := open(t)
	d.mustApply(route("1"))
	lease, err := memLedger{d.life}.Acquire(ctx, lock.Personal("shop", "mine").String(), pipeline.Holder{Process: pipeline.Process{Host: "elsewhere", PID: 2}, Actor: "alice"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(d.work, workplace.PackDir(lease.Key))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	collected := func(dryRun bool) []string {
		t.Helper()
		g, err := d.Collector.Collect(ctx, collect.Request{DryRun: dryRun})
		if err != nil {
			t.Fatal(err)
		}
		return g.WorkDirs
	}
	if got := collected(false); len(got) > 0 {
		t.Errorf("while it is packed, %v goes", got)
	}
	if err := (memLedger{d.life}).Release(ctx, lease); err != nil {
		t.Fatal(err)
	}
	for _, dryRun := range []bool{true, false} {
		if got := collected(dryRun); !slices.Equal(got, []string{filepath.Base(dir)}) {
			t.Errorf("%v goes, want %s", got, filepath.Base(dir))
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
}
