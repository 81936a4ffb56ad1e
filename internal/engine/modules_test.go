// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// form is how a module makes environments in a world.
type form string

const (
	noModule form = "without a module"
	beside   form = "with a module beside instances"
	instead  form = "with a module instead of instances"
)

// memSite is the module of an environment.
type memSite struct {
	applied, serving pipeline.ModuleRequest
	half             bool // what applied asks for is not there yet, or not any more
}

// memModules applies modules in the world. Each change is two calls, with something half done
// in between, and carries a lease, like those of the platform.
type memModules struct {
	memPlatform
}

func (m memModules) Under(by ...pipeline.Fence) pipeline.Modules {
	m.by = by
	return m
}

func (m memModules) Check(pipeline.Module) error { return nil }

func (m memModules) Pack(_ context.Context, r pipeline.PackRequest) (bool, error) {
	return m.form == instead, os.WriteFile(r.Out, []byte("module of "+filepath.Base(r.Module.Directory)), 0o600)
}

// Plan says that everything is made where nothing is, and that the database is replaced for
// another build.
func (m memModules) Plan(_ context.Context, r pipeline.ModuleRequest) (p pipeline.ModulePlan, err error) {
	return p, m.look(func() error {
		m.planned = append(m.planned, r)
		if m.planFails != nil {
			return m.planFails
		}
		if p.Changes = changesTo(r); m.sites[r.Environment] != nil {
			p.Changes[0].Action, p.Changes[0].Stateful = pipeline.ModuleReplace, true
		}
		return nil
	})
}

// changesTo are what an apply does where nothing is.
func changesTo(r pipeline.ModuleRequest) []pipeline.ModuleChange {
	return []pipeline.ModuleChange{
		{Address: "acme_database.main", Type: "acme_database", Action: pipeline.ModuleCreate},
		{Address: "acme_dns." + r.Facts.Name, Type: "acme_dns", Action: pipeline.ModuleCreate},
	}
}

// Drift says what somebody has changed in the world.
func (m memModules) Drift(ctx context.Context, environment string, _ io.Writer) (p pipeline.ModulePlan, err error) {
	err = m.do(ctx, func() error { // it changes nothing, and can be killed
		m.checked, p.Drift = append(m.checked, environment), m.drifted
		return m.unchecked
	})
	if during := m.during["drift check"]; during != nil {
		during()
	}
	return p, err
}

// apply makes an environment what is asked for.
func (m memModules) apply(ctx context.Context, r pipeline.ModuleRequest) error {
	begin := func() error {
		site := m.sites[r.Environment]
		if site == nil {
			site = &memSite{}
			m.sites[r.Environment] = site
		}
		site.applied, site.half = r, true
		return nil
	}
	if err := m.change(ctx, "apply", begin); err != nil {
		return err
	}
	return m.change(ctx, "apply", func() error { m.sites[r.Environment].half = false; return nil })
}

func (m memModules) Apply(ctx context.Context, r pipeline.ModuleRequest) (out pipeline.ModuleOutputs, err error) {
	if err := m.apply(ctx, r); err != nil {
		return out, err
	}
	site, err := m.Site(ctx, r.Environment)
	site.Outputs.Changes = changesTo(r)
	return site.Outputs, err
}

func (m memModules) Keep(ctx context.Context, environment string) error {
	return m.change(ctx, "keep", func() error {
		site := m.sites[environment]
		site.serving = site.applied
		return nil
	})
}

func (m memModules) Revert(ctx context.Context, environment string, log io.Writer) error {
	var serving pipeline.ModuleRequest
	_ = m.look(func() error {
		if site := m.sites[environment]; site != nil {
			serving = site.serving
		}
		return nil
	})
	if serving.Fleet == "" {
		return m.Destroy(ctx, environment, log)
	}
	return m.apply(ctx, serving)
}

func (m memModules) Resize(ctx context.Context, environment string, instances int, _ io.Writer) error {
	var serving pipeline.ModuleRequest
	_ = m.look(func() error { serving = m.sites[environment].serving; return nil })
	serving.Facts.Instances = instances
	if err := m.apply(ctx, serving); err != nil {
		return err
	}
	return m.Keep(ctx, environment)
}

func (m memModules) Site(_ context.Context, environment string) (at pipeline.ModuleSite, err error) {
	return at, m.look(func() error {
		site := m.sites[environment]
		if site == nil {
			return pipeline.Errorf(pipeline.CodeNotFound, "find module", "%s has none", environment)
		}
		at = pipeline.ModuleSite{Applied: site.applied.Fleet, Serving: site.serving.Fleet, Outputs: pipeline.ModuleOutputs{
			Env:       map[string]string{"DATABASE": "db of " + environment, "OVERRIDDEN": "by the module"},
			SecretEnv: pipeline.Secrets{"PASSWORD": "hush", "REPLACED": "by the module"},
			Others:    map[string]json.RawMessage{"console": json.RawMessage(`"https://example.com/"`)},
			Data:      json.RawMessage(`"data of ` + environment + `"`),
		}}
		if m.form == instead {
			at.Outputs.Endpoint = "http://module/" + environment
		}
		return nil
	})
}

func (m memModules) Destroy(ctx context.Context, environment string, _ io.Writer) error {
	err := m.look(func() error {
		if m.stuck == environment {
			return pipeline.Errorf(pipeline.CodeFailed, "destroy module", "the database is protected")
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = m.clear(ctx, "destroy", func() error {
		if site := m.sites[environment]; site != nil {
			site.half = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.clear(ctx, "destroy", func() error { delete(m.sites, environment); return nil })
}

func (m memModules) Environments(context.Context) (all []string, err error) {
	return all, m.look(func() error { all = slices.Sorted(maps.Keys(m.sites)); return nil })
}

// agreeOnModules reports where what modules have made differs from the ledger.
func (d *desk) agreeOnModules(st *pipeline.State) error {
	for id, env := range st.Environments {
		site := d.sites[id]
		switch {
		case (env.Module != nil) != (d.form != noModule), env.IsModule() != (d.form == instead):
			return fmt.Errorf("%s is recorded with module %+v in a world %s", env.Describe(), env.Module, d.form)
		case env.Module == nil:
			continue
		case site == nil || site.half || site.applied.Fleet != site.serving.Fleet:
			return fmt.Errorf("%s: the module is at %+v", env.Describe(), site)
		case site.serving.Fleet != env.Fleet || site.serving.Facts.Build != env.Build:
			return fmt.Errorf("%s is recorded with build %s as %s; the module serves %s as %s", env.Describe(), env.Build, env.Fleet, site.serving.Facts.Build, site.serving.Fleet)
		case d.form == instead && site.serving.Facts.Instances != env.Instances:
			return fmt.Errorf("%s is recorded with %d instances, and the module has %d", env.Describe(), env.Instances, site.serving.Facts.Instances)
		case env.Module.Package != st.Builds[env.Build].Module.Digest || len(env.Module.Outputs) != 1:
			return fmt.Errorf("%s is recorded with the module %+v", env.Describe(), env.Module)
		}
	}
	for id := range d.sites {
		if _, ok := st.Environments[id]; !ok {
			return fmt.Errorf("no record names environment %s, which a module has made", id)
		}
	}
	return nil
}

// withModule returns a desk in a world whose environments a module makes.
func withModule(t *testing.T, f form) *desk {
	w := newWorld()
	w.form = f
	return start(t, w, t.TempDir())
}

// What a module makes reaches the service and the steps, and its own variables the module.
func TestModuleOutputs(t *testing.T) {
	d := withModule(t, beside)
	d.shop.Module.Variables = map[string]json.RawMessage{"size": json.RawMessage(`"small"`), "zones": json.RawMessage(`["a"]`)}
	stages := route("1")
	stages[1].Env.Env = map[string]string{"OVERRIDDEN": "by the stage", "REPLACED": "by the stage"}
	stages[1].Env.Variables = map[string]json.RawMessage{"size": json.RawMessage(`"large"`)}
	stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "journeys"}}
	d.during["journeys"] = func() {
		for id, env := range d.envs {
			r, site := env.requests[env.pending], d.sites[id]
			if r.Env["DATABASE"] != "db of "+id || r.Env["OVERRIDDEN"] != "by the stage" || r.Secrets["PASSWORD"] != "hush" || r.Env["REPLACED"] != "by the stage" || r.Secrets["REPLACED"] != "" {
				t.Errorf("the service gets %v and %d secrets", r.Env, len(r.Secrets))
			}
			if v := site.applied.Variables; string(v["size"]) != `"large"` || string(v["zones"]) != `["a"]` {
				t.Errorf("the module gets %s", v)
			}
			f := site.applied.Facts
			if f.Build != build("1") || f.Stage != "acceptance" || f.Environment != id || f.Artifact == nil || f.Lasting || f.ExpiresAt == "" {
				t.Errorf("the module learns %+v", f)
			}
		}
	}
	d.mustApply(stages[:2])
	if d.stepRuns["journeys"] != 1 || len(d.sites) != 0 {
		t.Errorf("the step ran %d times, and %d modules are left", d.stepRuns["journeys"], len(d.sites))
	}
	if got := d.seenBy["journeys"]; got.Env["DATABASE"] == "" || got.Secrets["PASSWORD"] != "hush" || !slices.Contains(got.Mask, "hush") {
		t.Errorf("the step gets %v", got.Env)
	}
}

// The environments of one stage have the data of another's: the module is told which.
func TestModuleDataFrom(t *testing.T) {
	d := withModule(t, beside)
	if err := deployed(d); err != nil {
		t.Fatal(err)
	}
	st := d.seen()
	production, _ := st.RunEnvironment("production", pipeline.ForStage)
	stages := pinned("2", "1")
	stages[4].Steps = []pipeline.Step{{Name: "look", Command: "look"}}
	var from string
	d.during["look"] = func() {
		for _, site := range d.sites {
			if site.applied.Facts.Stage == "pre-production" {
				from = string(site.applied.Facts.From)
			}
		}
	}
	d.mustApply(stages)
	d.approve(build("2"))
	d.mustApply(stages)
	if want := `"data of ` + production.ID + `"`; from != want {
		t.Errorf("pre-production gets the data %s, want %s", from, want)
	}
}

// A module can't come, go or change its form under a serving environment where that would
// take what it has.
func TestModuleForms(t *testing.T) {
	for name, test := range map[string]struct {
		before form
		change func(d *desk)
		want   string
	}{
		"it goes":               {beside, func(d *desk) { d.shop.Module = nil }, "no longer has one"},
		"it becomes the whole":  {beside, func(d *desk) { d.form, d.shop.Service = instead, pipeline.Service{} }, "has now the output"},
		"it is no longer":       {instead, func(d *desk) { d.form, d.shop.Service = beside, shop.Service }, "no longer has the output"},
		"it comes for the rest": {noModule, func(d *desk) { d.form, d.shop.Module = beside, &pipeline.Module{Directory: "environment"} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := withModule(t, test.before)
			if err := deployed(d); err != nil {
				t.Fatal(err)
			}
			test.change(d)
			stages := pinned("2", "1")
			stages[5].Pin = ""
			stages[5].Trigger = pipeline.TriggerAutomatic
			_ = d.apply(stages)
			d.approve(build("2"))
			err := d.apply(stages)
			if test.want == "" {
				if err != nil || d.serves(build("2"), 3) != nil {
					t.Errorf("%v, %v", err, d.serves(build("2"), 3))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || d.serves(build("1"), 3) != nil {
				t.Errorf("%v, %v", err, d.serves(build("1"), 3))
			}
		})
	}
}

// An environment whose time is over is ended with its module by the next collection.
func TestModuleExpires(t *testing.T) {
	for _, f := range []form{beside, instead} {
		t.Run(string(f), func(t *testing.T) {
			d := withModule(t, f)
			d.mustApply(route("1")[:2])
			if err := d.launch(build("1"), 1); err != nil {
				t.Fatal(err)
			}
			d.later(2 * 60 * 60 * 1e9)
			if env, _ := d.seen().PersonEnvironment("alice"); env.Status != pipeline.EnvExpired || env.Endpoint != "" {
				t.Fatalf("it is %s at %q", env.Status, env.Endpoint)
			}
			d.mustApply(route("1")[:2])
			if len(d.sites) != 0 {
				t.Errorf("after an apply, modules of %v are left", slices.Collect(maps.Keys(d.sites)))
			}
			if env, _ := d.seen().PersonEnvironment("alice"); env.Status != pipeline.EnvExpired {
				t.Errorf("it is %s", env.Status)
			}
		})
	}
}

// An environment whose module can't be destroyed at its time is listed with the reason, is in
// nobody's way, and is tried again. It has then ended at its time, for its configuration, too.
func TestModuleStaysAtItsTime(t *testing.T) {
	for _, f := range []form{beside, instead} {
		t.Run(string(f), func(t *testing.T) {
			d := withModule(t, f)
			d.mustApply(route("1")[:2])
			for _, name := range []string{"alice", "bob"} {
				_, err := d.Environments.Launch(d.ctx, run.LaunchRequest{Pipeline: "shop", Name: name, Build: build("1"), TTL: time.Hour, Configured: "here"})
				if err != nil {
					t.Fatal(err)
				}
			}
			find := func(name string) pipeline.Environment {
				env, _ := d.seen().PersonEnvironment(name)
				return env
			}
			alice := find("alice")
			d.stuck = alice.ID
			d.later(2 * time.Hour)
			d = d.again()
			if _, err := d.Collector.EndExpired(d.ctx); err == nil || !strings.Contains(err.Error(), `self-service environment "alice"`) || !strings.Contains(err.Error(), "the database is protected") {
				t.Errorf("the end of what can't end: %v", err)
			}
			if env := find("bob"); env.Status != pipeline.EnvExpired || env.Module != nil || len(d.sites) != 1 {
				t.Errorf("bob's environment is %s, and %d modules are left", env.Status, len(d.sites))
			}
			for range 2 {
				if env := find("alice"); env.Status != pipeline.EnvEnding || !strings.Contains(env.Reason, "the database is protected") || env.Module == nil {
					t.Errorf("alice's environment is %s: %s", env.Status, env.Reason)
				}
				_, err := d.Collector.Collect(d.ctx, collect.Request{})
				if err == nil {
					t.Error("garbage that can't be collected is no error")
				}
			}
			d.stuck = ""
			if next, err := d.Collector.EndExpired(d.ctx); err != nil || !next.IsZero() {
				t.Errorf("once it can end: %s, %v", next, err)
			}
			if env := find("alice"); env.Status != pipeline.EnvExpired || env.Module != nil || env.Reason != "" || len(d.sites) != 0 {
				t.Errorf("alice's environment is %s (%s), and %d modules are left", env.Status, env.Reason, len(d.sites))
			}
		})
	}
}

// What a launch left that died is ended at its time, and nothing of it is listed.
func TestModuleOfDeadLaunch(t *testing.T) {
	d := withModule(t, beside)
	d.mustApply(route("1")[:2])
	if err := d.launch(build("1"), 1); err != nil {
		t.Fatal(err)
	}
	env, _ := d.seen().PersonEnvironment("alice")
	env.Status = pipeline.EnvLaunching
	if _, err := (memLedger{d.life}).ledger().Append(d.ctx, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.EnvironmentChanged, Actor: "ada", Facts: pipeline.Facts{Environment: &env}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Collector.EndExpired(d.ctx); err != nil || len(d.sites) != 1 {
		t.Errorf("before its time: %v, %d modules", err, len(d.sites))
	}
	d.later(2 * time.Hour)
	_, err := d.Collector.EndExpired(d.ctx)
	if _, listed := d.seen().PersonEnvironment("alice"); err != nil || listed || len(d.sites) != 0 {
		t.Errorf("at its time: %v, listed %t, %d modules", err, listed, len(d.sites))
	}
}

// A build that was made before there was a module is not deployed without one.
func TestBuildWithoutModule(t *testing.T) {
	d := open(t)
	d.mustApply(route("1")[:2])
	d.shop.Module = &pipeline.Module{Directory: "environment"}
	if _, err := d.Pipelines.Update(d.ctx, d.shop); err != nil {
		t.Fatal(err)
	}
	_, err := d.Stages.Advance(d.ctx, run.AdvanceRequest{Stage: route("1")[1]})
	if err == nil || !strings.Contains(err.Error(), "was made before the pipeline had a module") {
		t.Fatalf("got %v", err)
	}
	d.form = beside
	d.mustApply(route("1")[:2])
	if d.seen().Builds[build("1")].Module == nil {
		t.Error("the commit stage stored no module when it ran again")
	}
}

// Before anybody approves a build, a stored plan says what it would do to the infrastructure
// of the stage that it is released to. It is made once, and again when what serves changes.
func TestForesight(t *testing.T) {
	d := withModule(t, beside)
	plan := func() (pipeline.StagePlan, bool) {
		t.Helper()
		st := d.seen()
		p, current, stored := pipeline.PlanOf(st, st.Stages["production"], build("2"))
		return p, stored && current
	}
	first := func() (report.Infrastructure, bool) {
		st := d.seen()
		return report.InfrastructureOf(st, st.Stages["production"], build("1"))
	}
	d.mustApply(route("1"))
	if i, ok := first(); !ok || !i.Known() || i.Plan.ModuleCounts != (pipeline.ModuleCounts{Added: 2}) || i.Plan.Environment != "" || len(i.Refused) != 0 {
		t.Fatalf("before the first deployment: %+v, %v", i.Plan, ok)
	}
	if len(d.planned) != 1 {
		t.Fatalf("%d plans were made for one stage that waits", len(d.planned))
	}
	d.approve(build("1"))
	d.mustApply(sized(3))
	if _, ok := first(); ok {
		t.Error("a plan is shown of the build that serves")
	}
	d.mustApply(pinned("2", "1"))
	p, ok := plan()
	if !ok || p.ModuleCounts != (pipeline.ModuleCounts{Added: 2, Destroyed: 1}) || p.Serving != build("1") || p.Environment == "" || len(d.planned) != 2 {
		t.Fatalf("of the second build it stores %+v, %v after %d plans", p, ok, len(d.planned))
	}
	if last := d.planned[1]; last.Facts.Build != build("2") || last.Facts.Instances != 3 || last.Environment != p.Environment || last.Package == "" {
		t.Errorf("it planned %+v", last)
	}
	d.mustApply(pinned("2", "1"))
	if _, err := d.Stages.PlanInfrastructure(d.ctx, "shop", "production", build("2")); err != nil || len(d.planned) != 2 {
		t.Errorf("what is stored is planned again: %d plans, %v", len(d.planned), err)
	}
	diff, err := d.Reports.Diff(d.ctx, "shop", "production", build("2"))
	if err != nil || len(diff.Infrastructure) != 1 || len(diff.Infrastructure[0].Refused) != 1 || diff.Infrastructure[0].Refused[0].Address != "acme_database.main" {
		t.Fatalf("the comparison says %+v, %v", diff.Infrastructure, err)
	}
	e, err := d.Reports.Evidence(d.ctx, d.seen(), report.EvidenceRequest{Verb: "approve", Stage: "exploratory", Build: build("2")})
	if err != nil || len(e.Infrastructure) != 1 || e.Infrastructure[0].Stage != "production" || !e.Infrastructure[0].Known() {
		t.Errorf("before an approval it says %+v, %v", e.Infrastructure, err)
	}

	larger := pinned("2", "1")
	larger[5].Env.Variables = map[string]json.RawMessage{"size": json.RawMessage(`"large"`)}
	larger[5].Env.AllowDestroy = true
	if _, err := d.Stages.Advance(d.ctx, run.AdvanceRequest{Stage: larger[5]}); err != nil {
		t.Fatal(err)
	}
	if _, ok := plan(); !ok || len(d.planned) != 3 || string(d.planned[2].Variables["size"]) != `"large"` {
		t.Errorf("with other variables: %v after %d plans", ok, len(d.planned))
	}
	if diff, err = d.Reports.Diff(d.ctx, "shop", "production", build("2")); err != nil || len(diff.Infrastructure[0].Refused) != 0 {
		t.Errorf("with allow_destroy, it says %+v, %v", diff.Infrastructure, err)
	}
}

// What can't be planned is recorded with the reason, is no failure of an apply, and is planned
// again by who asks for it, not by each apply.
func TestForesightFails(t *testing.T) {
	d := withModule(t, instead)
	d.planFails = errors.New("requires values of \"password\"")
	d.mustApply(route("1"))
	d.mustApply(route("1"))
	st := d.seen()
	i, ok := report.InfrastructureOf(st, st.Stages["production"], build("1"))
	if !ok || i.Known() || !strings.Contains(i.Plan.Unknown, "password") || len(d.planned) != 1 {
		t.Fatalf("it says %+v after %d plans", i.Plan, len(d.planned))
	}
	d.planFails = nil
	plan, err := d.Stages.PlanInfrastructure(d.ctx, "shop", "production", build("1"))
	if err != nil || plan.Unknown != "" || plan.Added != 2 || len(d.planned) != 2 {
		t.Errorf("asked again: %+v, %v", plan, err)
	}
}

// The record of a run says what it did to the infrastructure.
func TestRunCountsChanges(t *testing.T) {
	d := withModule(t, beside)
	d.mustApply(route("1")[:2])
	page, err := d.Reports.Runs(d.ctx, "shop", pipeline.RunQuery{Stage: "acceptance"})
	if err != nil || len(page.Runs) != 1 || page.Runs[0].Changes == nil || page.Runs[0].Changes.Added != 2 {
		t.Fatalf("listed: %+v, %v", page.Runs, err)
	}
	full, err := d.Reports.Run(d.ctx, "shop", page.Runs[0].ID)
	if c := full.Changed; err != nil || c == nil || c.Failed || len(c.Changes) != 2 || c.Log == nil || c.Log.To < c.Log.From {
		t.Errorf("recorded: %+v, %v", c, err)
	}
	if page, err = d.Reports.Runs(d.ctx, "shop", pipeline.RunQuery{Stage: "commit"}); err != nil || page.Runs[0].Changes != nil {
		t.Errorf("a run without a module has %+v, %v", page.Runs[0].Changes, err)
	}
}

// An environment that is a module has no instance to work in, and says so.
func TestNoInstances(t *testing.T) {
	d := withModule(t, instead)
	d.mustApply(route("1")[:2])
	if err := d.launch(build("1"), 1); err != nil {
		t.Fatal(err)
	}
	at := run.EnvironmentRef{Pipeline: "shop", Name: "alice"}
	_, err := d.Environments.Exec(d.ctx, at, "ls", false, io.Discard)
	logs := d.Environments.ServiceLog(d.ctx, at, 1, false, io.Discard)
	for what, err := range map[string]error{"a command": err, "its log": logs} {
		if pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(err.Error(), "it has no instances: the module is the environment") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A working tree runs with the module that is in it, and with another one if that changes.
func TestModuleOfATree(t *testing.T) {
	for _, f := range []form{beside, instead} {
		t.Run(string(f), func(t *testing.T) {
			d := withModule(t, f)
			d.mustApply(route("1")[:1])
			launch := func(dir string) (pipeline.Environment, error) {
				return d.Environments.Launch(t.Context(), run.LaunchRequest{Pipeline: "shop", Name: "local", Tree: &run.Tree{Dir: dir}, TTL: time.Hour, Renew: true, Configured: "here"})
			}
			if _, err := launch(""); err == nil || !strings.Contains(err.Error(), "of the working tree, which is not known") {
				t.Errorf("without a tree: %v", err)
			}
			for range 2 {
				env, err := launch(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				site := d.sites[env.ID]
				if site == nil || site.serving.Fleet != env.Fleet || env.IsModule() != (f == instead) || env.Module.Package == "" || env.Build != "" {
					t.Errorf("the environment is %+v, its module %+v", env, site)
				}
			}
			if err := d.Environments.End(t.Context(), "shop", "local", ""); err != nil || len(d.sites) != 0 {
				t.Errorf("%d modules are left: %v", len(d.sites), err)
			}
		})
	}
}
