// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// desk is a person at work: an engine in a process of its own on a world.
type desk struct {
	t *testing.T
	*life
	*engine.Engine
	config engine.Config
	ctx    context.Context // of what it asks for
	work   string
	shop   pipeline.Pipeline // as apply defines it
}

var processes = 0

// start begins a new process on the world; the one before is dead from now on.
func start(t *testing.T, w *world, work string) *desk {
	t.Helper()
	processes++
	l := &life{world: w, pid: processes, dir: work}
	config := engine.Config{
		Ledger: memLedger{l}, Platform: memPlatform{life: l}, Targets: memTargets{l}, Modules: memModules{memPlatform{life: l}}, Runner: memRunner{l}, Sources: memSources{l},
		Artifacts: memArtifacts{l}, Logs: memLogs{l}, WorkDir: work,
		Holder: pipeline.Holder{Process: pipeline.Process{Host: "test", PID: l.pid}, Actor: "alice"}, Now: w.now,
		Dead:     func(p pipeline.Process) bool { return p.Host == "test" && p.PID != l.pid },
		LeaseTTL: 1000 * time.Hour, // by the world's clock, which goes on with each call
	}
	d := &desk{t: t, life: l, config: config, ctx: context.Background(), work: work, shop: shop, Engine: engine.New(config)}
	if w.form != noModule {
		d.shop.Module = &pipeline.Module{Directory: "environment"}
	}
	if w.form == instead {
		d.shop.Service = pipeline.Service{}
	}
	return d
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func open(t *testing.T) *desk { return start(t, newWorld(), t.TempDir()) }

// again continues in a new process.
func (d *desk) again() *desk { return start(d.t, d.world, d.work) }

// beside returns another living process on the world.
func (d *desk) beside() *desk {
	other := *d
	config := d.config
	config.Holder.Started, config.LeaseTTL = "later", 100*time.Millisecond
	other.Engine = engine.New(config)
	return &other
}

var shop = pipeline.Pipeline{
	Name: "shop", Owner: "here", Scale: pipeline.Scale{Instances: 3},
	Service: pipeline.Service{Install: "install", Start: "start"},
}

func stage(kind pipeline.StageType, after ...string) pipeline.Stage {
	s := pipeline.Stage{Pipeline: "shop", Type: kind, After: after, Owner: "here"}
	if kind == pipeline.TypeCommit {
		s.Artifact = "out"
		s.Steps = []pipeline.Step{{Name: "build", Command: "make"}}
		s.BaseImage = "img-base"
	}
	if kind == pipeline.TypePreProduction {
		s.Env = &pipeline.EnvironmentSpec{Unmasked: true}
	}
	return s.WithDefaults(nil, nil)
}

func commit(digest string) pipeline.Stage {
	s := stage(pipeline.TypeCommit)
	s.Source = &pipeline.SourceRef{Repository: "repo", Commit: "c" + digest, Digest: digest}
	return s
}

// route is the whole pipeline, in order.
func route(digest string) []pipeline.Stage {
	return []pipeline.Stage{
		commit(digest), stage(pipeline.TypeAcceptance, "commit"), stage(pipeline.TypeExploratory, "acceptance"),
		stage(pipeline.TypeCapacity, "acceptance"), stage(pipeline.TypePreProduction, "exploratory", "capacity"),
		stage(pipeline.TypeProduction, "pre-production"),
	}
}

// apply defines the pipeline and advances its stages in order, as Terraform does.
func (d *desk) apply(stages []pipeline.Stage) error {
	st, err := d.State(d.ctx, d.shop.Name)
	if err != nil {
		return err
	}
	define := d.Pipelines.Create
	if _, pending := st.Creations[pipeline.CreationKey(pipeline.RecordPipeline, d.shop.Name).ID]; st.Exists() && !pending {
		define = d.Pipelines.Update
	}
	if _, err := define(d.ctx, d.shop); err != nil {
		return err
	}
	for _, s := range stages {
		if _, err := d.Stages.Advance(d.ctx, run.AdvanceRequest{Stage: s}); err != nil {
			return err
		}
	}
	return nil
}

func (d *desk) mustApply(stages []pipeline.Stage) {
	d.t.Helper()
	if err := d.apply(stages); err != nil {
		d.t.Fatalf("apply: %v", err)
	}
}

func (d *desk) approve(build string) {
	d.t.Helper()
	if _, err := d.Decide(context.Background(), "shop", "exploratory", build, pipeline.Approved, ""); err != nil {
		d.t.Fatalf("approve: %v", err)
	}
}

func (d *desk) status(stage string) report.StageView {
	d.t.Helper()
	st, err := d.Reports.StageView(context.Background(), "shop", stage)
	if err != nil {
		d.t.Fatalf("standing of %s: %v", stage, err)
	}
	return st
}

func build(digest string) string { return pipeline.BuildID("shop", digest, "img-base") }

func TestWholeRoute(t *testing.T) {
	d := open(t)
	b := build("1")
	d.mustApply(route("1"))
	if got := d.status("exploratory"); got.Status != gate.StatusWaiting || got.Move.Candidate.ID != b {
		t.Fatalf("exploratory is %s with candidate %q, want waiting with %s", got.Status, got.Move.Candidate.ID, b)
	}
	if got := d.status("capacity"); got.Passed != b {
		t.Errorf("capacity passed %q, want %s", got.Passed, b)
	}
	if got := d.status("pre-production"); got.Passed != "" || !strings.Contains(reason.Waiting(got.Move.Wait), `"exploratory"`) {
		t.Errorf("pre-production passed %q and waits for %q", got.Passed, reason.Waiting(got.Move.Wait))
	}
	if len(d.envs) != 0 {
		t.Errorf("environments are left while waiting: %v", d.envs)
	}

	d.approve(b)
	d.mustApply(route("1"))
	if got := d.status("pre-production"); got.Passed != b {
		t.Errorf("pre-production passed %q after the approval, want %s", got.Passed, b)
	}
	if got := d.status("production"); got.Current.Build != "" || got.Status != gate.StatusWaiting {
		t.Errorf("production holds %q and is %s before a promotion", got.Current.Build, got.Status)
	}

	stages := route("1")
	stages[5].Pin = b
	d.mustApply(stages)
	got := d.status("production")
	if got.Current.Build != b || got.Environment == nil || got.Environment.Instances != 3 {
		t.Fatalf("production: %+v", got)
	}
	before := d.calls
	d.mustApply(stages)
	if runs := d.prepared; runs != 4 { // acceptance, capacity, pre-production, production
		t.Errorf("%d fleets were brought up, want 4: an apply with nothing to do ran something (%d calls)", runs, d.calls-before)
	}
}

// whole brings build 1 to production, pinned.
func whole(t *testing.T) *desk {
	d := open(t)
	d.mustApply(route("1"))
	d.approve(build("1"))
	stages := route("1")
	stages[5].Pin = build("1")
	d.mustApply(stages)
	return d
}

func TestRollbackByPin(t *testing.T) {
	d := whole(t)
	one, two := build("1"), build("2")
	stages := route("2")
	stages[5].Pin = one
	d.mustApply(stages)
	d.approve(two)
	stages[5].Pin = two
	d.mustApply(stages)
	endpoint := d.status("production").Environment.Endpoint
	if got := d.status("production"); got.Environment.Build != two {
		t.Fatalf("production serves %s, want %s", got.Environment.Build, two)
	}
	stages[5].Pin = one
	d.mustApply(stages)
	got := d.status("production")
	if got.Environment.Build != one || got.Current.Build != one || got.Environment.Endpoint != endpoint {
		t.Errorf("after the rollback production serves %s at %s", got.Environment.Build, got.Environment.Endpoint)
	}
	stages[5].Pin = ""
	d.mustApply(stages)
	if got := d.status("production"); got.Environment.Build != one || got.Status != gate.StatusWaiting {
		t.Errorf("after the pin's removal production serves %s and is %s", got.Environment.Build, got.Status)
	}
}

func TestFailureLeavesWhatServed(t *testing.T) {
	d := whole(t)
	one := build("1")
	stages := route("2")
	stages[5].Pin = one
	stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "fail " + build("2")}}
	err := d.apply(stages)
	var failed *run.Error
	if !errors.As(err, &failed) || failed.Run.Stage != "acceptance" || pipeline.CodeOf(err) != pipeline.CodeFailed {
		t.Fatalf("apply of a failing build: %v", err)
	}
	if got := d.status("acceptance"); got.Current.Build != one || got.Run.Status != pipeline.RunFailed {
		t.Errorf("acceptance holds %s, run %s", got.Current.Build, got.Run.Status)
	}
	if len(d.envs) != 1 {
		t.Errorf("%d environments are left, want production's only", len(d.envs))
	}
	// A deployment that never becomes healthy leaves the old build serving.
	d.mustApply(route("3")[:4])
	d.approve(build("3"))
	stages = route("3")
	stages[5].Pin = build("3")
	d.mustApply(stages[:5])
	image := d.status("acceptance").Image
	d.unhealthy[image] = true
	if err := d.apply(stages); err == nil {
		t.Fatal("an unhealthy deployment passed")
	}
	if got := d.status("production"); got.Environment == nil || got.Environment.Build != one {
		t.Errorf("production does not serve build 1 after a failed deployment: %+v", got.Environment)
	}
	delete(d.unhealthy, image)
	d.mustApply(stages)
	if got := d.status("production"); got.Environment.Build != build("3") {
		t.Errorf("the next apply did not heal: production serves %s", got.Environment.Build)
	}
}

func TestKeepOnFailure(t *testing.T) {
	d := open(t)
	stages := route("1")[:2]
	stages[1].OnFailure = pipeline.OnFailureKeep
	stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "fail"}}
	var failed *run.Error
	if err := d.apply(stages); !errors.As(err, &failed) || failed.Kept == nil || failed.Kept.Endpoint == "" {
		t.Fatalf("the environment was not kept: %v", err)
	}
	if len(d.envs) != 1 || d.status("acceptance").Environment.Status != pipeline.EnvKept {
		t.Errorf("kept environment is not shown")
	}
	kept := d.status("acceptance").Environment
	if until := kept.ExpiresAt; d.now().Add(72*time.Hour).Sub(until) > time.Minute || !d.envs[kept.ID].expires.Equal(until) {
		t.Errorf("kept, it ends at %s, on the platform at %s, want three days from now", until, d.envs[kept.ID].expires)
	}
	for _, r := range d.envs[kept.ID].requests {
		if life := r.ExpiresAt.Sub(kept.CreatedAt).Round(time.Minute); life != 13*time.Hour {
			t.Errorf("if its run had been killed it would have lived for %s, want an hour for its step and twelve more", life)
		}
	}
	stages[1].Steps = nil
	d.mustApply(stages)
	if len(d.envs) != 0 {
		t.Errorf("the kept environment outlived the stage's next run: %v", d.envs)
	}
}

// The record of a kept environment that has expired is collected.
func TestKeptExpires(t *testing.T) {
	d := open(t)
	stages := route("1")[:2]
	stages[1].OnFailure = pipeline.OnFailureKeep
	stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "fail"}}
	if err := d.apply(stages); err == nil {
		t.Fatal("the run passed")
	}
	d.clock = d.clock.Add(73 * time.Hour)
	d = d.again()
	if g, err := d.Collector.Collect(t.Context(), collect.Request{}); err != nil || len(g.Environments) != 1 {
		t.Fatalf("collected %+v: %v", g, err)
	}
	if st, err := d.State(t.Context(), "shop"); err != nil || len(st.Environments) != 0 || len(d.envs) != 0 {
		t.Errorf("left: %v, on the platform %v: %v", st.Environments, d.envs, err)
	}
}

// The lease of a dead holder is collected, even if there is nothing to run. The lease of a
// running process stays, and so does that of one that may only have been asleep.
func TestCollectGivesUpLeasesOfTheDead(t *testing.T) {
	d := whole(t)
	take := func(key string, life time.Duration) {
		t.Helper()
		if _, err := d.config.Ledger.Acquire(t.Context(), key, pipeline.Holder{Actor: "bob"}, life); err != nil {
			t.Fatal(err)
		}
	}
	take("shop/stage/exploratory", time.Minute)
	take("shop/stage/production", 3*time.Hour)
	take("shop/stage/pre-production", time.Hour+30*time.Minute)
	take("till/stage/production", time.Minute)
	d = d.again() // those before died
	take("shop/stage/capacity", 3*time.Hour)
	d.clock = d.clock.Add(2 * time.Hour)
	working := []string{"shop/stage/capacity", "shop/stage/pre-production"}
	for _, step := range []struct {
		request collect.Request
		dead    []string
	}{
		{collect.Request{DryRun: true}, []string{"shop/stage/exploratory", "shop/stage/production", "till/stage/production"}},
		{collect.Request{Pipeline: "shop"}, []string{"till/stage/production"}},
		{collect.Request{}, nil},
	} {
		if _, err := d.Collector.Collect(t.Context(), step.request); err != nil {
			t.Fatal(err)
		}
		leases, err := d.config.Ledger.Leases(t.Context())
		var left []string
		for _, l := range atWork(leases) {
			left = append(left, l.Key)
		}
		want := append(slices.Clone(working), step.dead...)
		slices.Sort(want)
		if slices.Sort(left); err != nil || !slices.Equal(left, want) {
			t.Errorf("after %+v leases are held: %v, want %v: %v", step.request, left, want, err)
		}
	}
}

// An apply releases the leases of dead processes, even if its own stages have nothing to do.
func TestAdvanceGivesUpLeasesOfTheDead(t *testing.T) {
	d := whole(t)
	if _, err := d.config.Ledger.Acquire(t.Context(), "shop/stage/exploratory", pipeline.Holder{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	d = d.again() // it died
	d.mustApply(route("1")[:1])
	if leases, err := d.config.Ledger.Leases(t.Context()); err != nil || len(atWork(leases)) > 0 {
		t.Errorf("leases are held: %+v: %v", leases, err)
	}
}

// The instances of the stages of production's size have the type of the pipeline's scale.
// Another type brings up persistent environments again, and runs nothing else again.
func TestScaleInstanceType(t *testing.T) {
	d := whole(t)
	serving := func() pipeline.FleetRequest {
		t.Helper()
		env := d.status("production").Environment
		return d.envs[env.ID].requests[env.Fleet]
	}
	if got := serving().InstanceType; got != "" {
		t.Fatalf("without a type production has instances of type %q", got)
	}
	stages := route("1")
	stages[5].Pin = build("1")
	d.shop.Scale.InstanceType = "m7g.large"
	before := d.prepared
	d.mustApply(stages)
	if got := serving().InstanceType; got != "m7g.large" || d.prepared != before+1 {
		t.Errorf("with another type production has instances of type %q, after %d new fleets", got, d.prepared-before)
	}
	d.shop.Scale.Instances = 5
	d.mustApply(stages)
	d.mustApply(stages)
	if env := d.status("production").Environment; d.prepared != before+1 || env.Instances != 5 {
		t.Errorf("then %d more fleets come up; production has %d instances", d.prepared-before-1, env.Instances)
	}
	stages[5].Env.InstanceType = "m7g.xlarge"
	d.mustApply(stages)
	if got := serving().InstanceType; got != "m7g.xlarge" {
		t.Errorf("the stage's own type is %q", got)
	}
}

func TestVanishedEnvironmentIsRestored(t *testing.T) {
	d := whole(t)
	clear(d.envs)
	d = d.again()
	if got := d.status("production"); got.Move.Action != gate.ActionRestore || got.Environment != nil {
		t.Fatalf("action is %s, want restore", got.Move.Action)
	}
	stages := route("1")
	stages[5].Pin = build("1")
	d.mustApply(stages)
	if got := d.status("production"); got.Environment == nil || got.Environment.Build != build("1") {
		t.Errorf("production was not restored: %+v", got)
	}
}

func TestResize(t *testing.T) {
	d := whole(t)
	stages := route("1")
	stages[5].Pin = build("1")
	stages[5].Env.Instances = 5
	before := d.prepared
	d.mustApply(stages)
	if got := d.status("production"); got.Environment.Instances != 5 || d.prepared != before {
		t.Errorf("production has %d instances after %d new fleets", got.Environment.Instances, d.prepared-before)
	}
}

// The serving endpoint gets other trusted proxies. They and the size change together.
func TestTrust(t *testing.T) {
	d := whole(t)
	stages := route("1")
	stages[5].Pin = build("1")
	before := d.prepared
	for _, proxies := range [][]string{{"10.0.0.0/8"}, {}, nil} {
		stages[5].Env.TrustedProxies = proxies
		stages[5].Env.Instances++
		d.mustApply(stages)
		env := d.status("production").Environment
		there := d.envs[env.ID]
		if !reflect.DeepEqual(there.proxies, proxies) || there.instances != env.Instances || env.Instances != stages[5].Env.Instances || d.prepared != before {
			t.Errorf("production is to trust %v, and trusts %v with %d instances after %d new fleets", proxies, there.proxies, there.instances, d.prepared-before)
		}
	}
}

func TestRevertedCommitFlowsDownAgain(t *testing.T) {
	d := open(t)
	d.mustApply(route("1")[:2])
	d.mustApply(route("2")[:2])
	if got := d.status("acceptance"); got.Current.Build != build("2") {
		t.Fatalf("acceptance holds %s, want build 2", got.Current.Build)
	}
	before := d.prepared
	d.mustApply(route("1")[:2])
	if got := d.status("acceptance"); got.Current.Build != build("1") || got.Passed != build("1") || d.prepared != before {
		t.Errorf("after the revert acceptance holds %s, passed %s, ran %d times", got.Current.Build, got.Passed, d.prepared-before)
	}
}

func TestCancelCleansUp(t *testing.T) {
	d := open(t)
	stages := route("1")[:2]
	stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "wait"}}
	d.mustApply(stages[:1])
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := d.Stages.Advance(ctx, run.AdvanceRequest{Stage: stages[1]})
	if pipeline.CodeOf(err) != pipeline.CodeCancelled {
		t.Fatalf("cancelled run: %v", err)
	}
	if len(d.envs) != 0 {
		t.Errorf("the cancelled run left %v", d.envs)
	}
	if got := d.status("acceptance"); got.Run.Status != pipeline.RunCancelled {
		t.Errorf("run is %s, want cancelled", got.Run.Status)
	}
}

func TestSecondApplyWaitsForTheLease(t *testing.T) {
	d := open(t)
	d.mustApply(route("1")[:1])
	other := start(t, d.world, d.work)
	other.pid = d.pid // alive as well
	key := "shop/stage/commit"
	lease, err := (memLedger{d.life}).Acquire(context.Background(), key, pipeline.Holder{Process: pipeline.Process{Host: "far"}, Actor: "bob"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	_, err = other.Stages.Advance(ctx, run.AdvanceRequest{Stage: commit("1")})
	if pipeline.CodeOf(err) != pipeline.CodeLocked || !strings.Contains(err.Error(), "bob") {
		t.Fatalf("an apply beside another: %v", err)
	}
	if err := (memLedger{d.life}).Release(context.Background(), lease); err != nil {
		t.Fatal(err)
	}
	if _, err = other.Stages.Advance(context.Background(), run.AdvanceRequest{Stage: commit("1")}); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

// The fleet that replaces another is launched with its own build and definition. The record
// describes the serving one until the traffic has moved.
func TestNextFleet(t *testing.T) {
	d := open(t)
	prod := stage(pipeline.TypeProduction, "acceptance")
	prod.Trigger = pipeline.TriggerAutomatic
	route := func(digest string) []pipeline.Stage {
		return []pipeline.Stage{commit(digest), stage(pipeline.TypeAcceptance, "commit"), prod}
	}
	d.mustApply(route("1"))
	env := *prod.Env
	env.Env, env.Alarms = map[string]string{"COLOUR": "blue"}, []string{"errors"}
	prod.Env = &env
	d.mustApply(route("2"))
	st, err := d.State(context.Background(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	e, _ := st.RunEnvironment("production", pipeline.ForStage)
	r := d.envs[e.ID].requests[d.envs[e.ID].serving]
	if r.Env["PENSTOCK_BUILD"] != build("2") || r.Env["COLOUR"] != "blue" || len(r.Alarms) != 1 || r.Labels.Build != build("2") {
		t.Errorf("the second fleet was launched with %v, alarms %v, labels %+v", r.Env, r.Alarms, r.Labels)
	}
}
