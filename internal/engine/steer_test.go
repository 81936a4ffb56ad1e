// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// authorize changes who may do what.
func (d *desk) authorize(change func(*pipeline.Pipeline)) {
	d.t.Helper()
	d.shop.Authorization = &pipeline.Authorization{}
	change(&d.shop)
	if _, err := d.Pipelines.Update(context.Background(), d.shop); err != nil {
		d.t.Fatal(err)
	}
}

func mine() run.LaunchRequest {
	return run.LaunchRequest{Pipeline: "shop", Name: "mine", TTL: time.Hour, Configured: "here"}
}

// as returns the desk of another person.
func (d *desk) as(name string) *desk {
	other := *d
	other.Engine = d.As(pipeline.Person{Name: name})
	return &other
}

func TestWhoMay(t *testing.T) {
	ctx := context.Background()
	calls := map[pipeline.Right]map[string]func(*desk) error{
		pipeline.RightApprove: {"approve": func(d *desk) error {
			_, err := d.Decide(ctx, "shop", "exploratory", "", pipeline.Approved, "")
			return err
		}},
		pipeline.RightReject: {"reject": func(d *desk) error {
			_, err := d.Decide(ctx, "shop", "exploratory", "", pipeline.Rejected, "ugly")
			return err
		}},
		pipeline.RightDeploy: {
			"promote": func(d *desk) error { _, err := d.Promote(ctx, "shop", "production", ""); return err },
			"hold":    func(d *desk) error { _, err := d.Pause(ctx, "shop", "capacity", ""); return err },
			"release": func(d *desk) error { _, err := d.Resume(ctx, "shop", "acceptance"); return err },
			"retry":   func(d *desk) error { _, err := d.Retry(ctx, "shop", "production"); return err },
			"use another's": func(d *desk) error {
				_, err := d.Environments.Exec(ctx, run.EnvironmentRef{Pipeline: "shop", Name: "daves"}, "true", false, io.Discard)
				return err
			},
			"launch for another": func(d *desk) error {
				r := mine()
				r.Owner = "dave"
				_, err := d.Environments.Launch(ctx, r)
				return err
			},
			"pin": func(d *desk) error {
				stages := route("2")
				stages[5].Pin = build("1")
				return d.apply(stages)
			},
		},
		pipeline.RightLaunch: {
			"launch":        func(d *desk) error { _, err := d.Environments.Launch(ctx, mine()); return err },
			"end another's": func(d *desk) error { return d.Environments.End(ctx, "shop", "carols", "") },
			"use one's own": func(d *desk) error {
				_, err := d.Environments.Exec(ctx, run.EnvironmentRef{Pipeline: "shop", Name: d.Person().Name + "s"}, "true", false, io.Discard)
				return err
			},
			"change another's": func(d *desk) error {
				r := mine()
				r.Name, r.TTL = "carols", 2*time.Hour
				_, err := d.Environments.Launch(ctx, r)
				return err
			},
		},
		pipeline.RightOverride: {"override": func(d *desk) error {
			_, err := d.Override(ctx, "shop", "exploratory", build("2"), "it is urgent")
			return err
		}},
	}
	for right, named := range calls {
		for name, call := range named {
			for who, allowed := range map[string]bool{"carol": true, "bob": false} {
				t.Run(name+" by "+who, func(t *testing.T) {
					d := open(t)
					d.mustApply(route("1"))
					d.approve(build("1"))
					d.mustApply(route("1"))
					if name == "retry" { // it needs a run
						if _, err := d.Promote(ctx, "shop", "production", ""); err != nil {
							t.Fatal(err)
						}
					}
					d.mustApply(route("2"))
					for _, owner := range []string{"carol", "bob", "dave"} {
						r := mine()
						r.Name, r.Owner = owner+"s", owner
						if _, err := d.Environments.Launch(ctx, r); err != nil {
							t.Fatal(err)
						}
					}
					if _, err := d.Pause(ctx, "shop", "acceptance", "look"); err != nil {
						t.Fatal(err)
					}
					d.authorize(func(p *pipeline.Pipeline) {
						carol, a := []string{"carol"}, p.Authorization
						switch right {
						case pipeline.RightApprove:
							a.Approve = carol
						case pipeline.RightReject:
							a.Reject = carol
						case pipeline.RightDeploy:
							a.Deploy = carol
						case pipeline.RightLaunch:
							a.Launch = carol
						case pipeline.RightOverride:
							a.Override = carol
						}
					})
					before := d.head()
					err := call(d.as(who))
					if allowed != (err == nil) || err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
						t.Fatalf("error %v", err)
					}
					if err != nil && name != "pin" && d.head() != before { // the definition of the stage is recorded before it moves
						t.Error("what was refused was recorded")
					}
					if err != nil && !strings.Contains(reason.Hint(err), "carol") {
						t.Errorf("hint %q", reason.Hint(err))
					}
					if name == "pin" {
						if current := d.status("production").Current.Build; (current == build("1")) != allowed {
							t.Errorf("production holds %q", current)
						}
					}
				})
			}
		}
	}
}

func (d *desk) head() int64 {
	d.t.Helper()
	n, err := d.config.Ledger.Head(context.Background(), "shop")
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func TestApprovalsOfSeveral(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	d.authorize(func(p *pipeline.Pipeline) {
		p.Authorization.Approvals = 2
		p.Authorization.People = map[string][]string{"bob": {"robert"}}
	})
	approve := func(who string) pipeline.Decision {
		t.Helper()
		decision, err := d.as(who).Decide(ctx, "shop", "exploratory", "", pipeline.Approved, "")
		if err != nil {
			t.Fatal(err)
		}
		return decision
	}
	approve("bob")
	before := d.head()
	approve("bob")
	approve("robert")
	if d.head() != before {
		t.Error("a second approval of one person was recorded")
	}
	d.mustApply(route("1"))
	if got := d.status("exploratory"); got.Passed != "" || !strings.Contains(reason.Waiting(got.Move.Wait), "1 more") {
		t.Errorf("after one: %+v", got.Move)
	}
	if got := approve("carol"); len(got.Approvals) != 2 || got.Approvals[0].Person != "bob" {
		t.Errorf("approvals %+v", got.Approvals)
	}
	d.mustApply(route("1"))
	if got := d.status("pre-production"); got.Passed != build("1") {
		t.Errorf("pre-production passed %q", got.Passed)
	}
}

func TestAuthorMayNotApprove(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	d.authorize(func(p *pipeline.Pipeline) { p.Authorization.NotAuthor = true })
	if _, err := d.as("ada").Decide(ctx, "shop", "exploratory", "", pipeline.Approved, ""); pipeline.CodeOf(err) != pipeline.CodeNotAllowed || !strings.Contains(err.Error(), "Ada <ada@example.com>") {
		t.Errorf("the author approved: %v", err)
	}
	if _, err := d.as("ada").Decide(ctx, "shop", "exploratory", "", pipeline.Rejected, "a mistake"); err != nil {
		t.Errorf("the author can't reject: %v", err)
	}
	if _, err := d.as("ada").Lift(ctx, "shop", "exploratory", build("1"), decision.Looked{}, ""); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("the author lifted a rejection: %v", err)
	}
	if _, err := d.as("somebody else").Lift(ctx, "shop", "exploratory", build("1"), decision.Looked{}, ""); err != nil {
		t.Error(err)
	}
	// A build has the authors of all its commits.
	d.mustApply(route("2"))
	for who, says := range map[string]string{"eve": "Eve <eve@example.com>", "mallory": "Mallory <mallory@example.com>"} {
		if _, err := d.as(who).Decide(ctx, "shop", "exploratory", build("2"), pipeline.Approved, ""); pipeline.CodeOf(err) != pipeline.CodeNotAllowed || !strings.Contains(err.Error(), says) {
			t.Errorf("who wrote or made a commit before the last approved: %v", err)
		}
	}
}

func TestOverrides(t *testing.T) {
	ctx := context.Background()
	tests := map[string]struct {
		stage, build, reason string
		code                 pipeline.Code
		says                 string
	}{
		"a failed stage":           {"capacity", build("2"), "the generator broke", "", ""},
		"a stage that wants a yes": {"exploratory", build("2"), "nobody is here", "", ""},
		"no reason":                {"capacity", build("2"), " ", pipeline.CodeInvalid, "reason"},
		"what is above is missing": {"pre-production", build("2"), "hurry", pipeline.CodeRefused, "has not passed"},
		"it has passed":            {"acceptance", build("2"), "hurry", pipeline.CodeRefused, "has passed it"},
		"a lasting stage":          {"production", build("2"), "hurry", pipeline.CodeInvalid, "by running there"},
		"a commit stage":           {"commit", build("2"), "hurry", pipeline.CodeInvalid, "commit"},
		"no such build":            {"capacity", "b-0000000000", "hurry", pipeline.CodeNotFound, "no build"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply(route("1"))
			stages := route("2")
			stages[3].Steps = []pipeline.Step{{Name: "load", Command: "fail"}}
			if d.apply(stages) == nil {
				t.Fatal("capacity did not fail")
			}
			d.authorize(func(p *pipeline.Pipeline) { p.Authorization.Override = []string{"*"} })
			o, err := d.Override(ctx, "shop", tt.stage, tt.build, tt.reason)
			if pipeline.CodeOf(err) != tt.code {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.says) || reason.Hint(err) == "" {
					t.Errorf("error %q with hint %q", err, reason.Hint(err))
				}
				return
			}
			if o.Actor != "alice" || o.Run == "" && tt.stage == "capacity" {
				t.Errorf("override %+v", o)
			}
			err = d.apply(stages)
			if failed := tt.stage != "capacity"; failed != (err != nil) {
				t.Errorf("the next apply: %v", err)
			}
			if got := d.status(tt.stage); got.Passed != build("2") || got.Current.Build != build("2") || got.Status != gate.StatusPassed {
				t.Errorf("%s: %+v", tt.stage, got)
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	if _, err := d.Resume(ctx, "shop", "acceptance"); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("release of what nobody holds: %v", err)
	}
	if _, err := d.Pause(ctx, "shop", "acceptance", "a look at the database"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("2"))
	if got := d.status("acceptance"); got.Current.Build != build("1") || !strings.Contains(reason.Waiting(got.Move.Wait), "a look at the database") {
		t.Errorf("held: %+v", got)
	}
	if _, err := d.Retry(ctx, "shop", "acceptance"); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(reason.Hint(err), "penstock resume") {
		t.Errorf("retry of a paused stage: %v", err)
	}
	if _, err := d.Pause(ctx, "shop", "production", "it is Friday"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Promote(ctx, "shop", "production", ""); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(err.Error(), "it is Friday") {
		t.Errorf("promotion to a paused stage: %v", err)
	}
	if _, err := d.Resume(ctx, "shop", "acceptance"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("2"))
	if got := d.status("acceptance"); got.Current.Build != build("2") {
		t.Errorf("released, it holds %q", got.Current.Build)
	}
}

func TestRetryRunsAgain(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	d.approve(build("1"))
	d.mustApply(route("1"))
	first := d.status("exploratory").Run.ID
	if _, err := d.Retry(ctx, "shop", "exploratory"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("1"))
	again := d.status("exploratory")
	if again.Run.ID == first || again.Passed != "" || again.Status != gate.StatusWaiting {
		t.Errorf("run %s after %s, %+v: the approval was of the run before", again.Run.ID, first, again.Move)
	}
	d.mustApply(route("1"))
	if got := d.status("exploratory").Run.ID; got != again.Run.ID {
		t.Errorf("it ran a third time: %s", got)
	}
	if _, err := d.Retry(ctx, "shop", "production"); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("retry without a build: %v", err)
	}
}

// A retry of an overridden build runs it, and then the result of the run counts.
func TestRetryOfAnOverride(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	stages := route("1")
	stages[3].Steps = []pipeline.Step{{Name: "load", Command: "fail"}}
	if d.apply(stages) == nil {
		t.Fatal("capacity did not fail")
	}
	d.authorize(func(p *pipeline.Pipeline) { p.Authorization.Override = []string{"*"} })
	if _, err := d.Override(ctx, "shop", "capacity", build("1"), "it is urgent"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(stages)
	if _, err := d.Retry(ctx, "shop", "capacity"); err != nil {
		t.Fatal(err)
	}
	first := d.status("capacity")
	if first.Passed != build("1") {
		t.Errorf("the wish for another run ended the override: %+v", first)
	}
	if d.apply(stages) == nil {
		t.Error("capacity did not run again")
	}
	if got := d.status("capacity"); got.Run.ID == first.Run.ID || got.Passed != "" {
		t.Errorf("run %s after %s, passed %q", got.Run.ID, first.Run.ID, got.Passed)
	}
}

func TestLimitsOfSelfService(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	d.authorize(func(p *pipeline.Pipeline) {
		p.SelfService = pipeline.SelfService{MaxTTL: 4 * time.Hour, MaxPerOwner: 1}
	})
	launch := func(name, owner string, ttl time.Duration) error {
		r := mine()
		r.Name, r.Owner, r.TTL = name, owner, ttl
		_, err := d.Environments.Launch(ctx, r)
		return err
	}
	for name, ttl := range map[string]time.Duration{"is longer than the 4h": 5 * time.Hour, "would never end": 0} {
		if err := launch("one", "", ttl); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(err.Error(), name) || !strings.Contains(reason.Hint(err), "4h") {
			t.Errorf("%s: %v", ttl, err)
		}
	}
	if err := launch("one", "", 4*time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := launch("two", "", time.Hour); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(err.Error(), "one") || !strings.Contains(reason.Hint(err), "env destroy shop one") {
		t.Errorf("a second one: %v", err)
	}
	if err := launch("two", "bob", time.Hour); err != nil {
		t.Errorf("one of somebody else: %v", err)
	}
	if err := launch("one", "", time.Hour); err != nil {
		t.Errorf("a change of the first: %v", err)
	}
	if err := d.Environments.End(ctx, "shop", "one", ""); err != nil {
		t.Fatal(err)
	}
	if err := launch("two and a half", "", time.Hour); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

// However many environments somebody launches at the same time, under whatever names, there
// are no more than the pipeline allows.
func TestLimitOfLaunchesAtOnce(t *testing.T) {
	d := open(t)
	d.mustApply(route("1"))
	d.authorize(func(p *pipeline.Pipeline) {
		p.SelfService.MaxPerOwner = 2
		p.Authorization.People = map[string][]string{"ada": {"ada-*"}}
	})
	var launched atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			r := mine()
			r.Name = fmt.Sprintf("mine-%d", i)
			_, err := d.As(pipeline.Person{Name: fmt.Sprintf("ada-%d", i)}).Environments.Launch(context.Background(), r)
			switch pipeline.CodeOf(err) {
			case "":
				launched.Add(1)
			case pipeline.CodeRefused:
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := launched.Load(); n != 2 || len(d.envs) != 2 {
		t.Errorf("%d were launched, there are %d", n, len(d.envs))
	}
}

// If two people want one name, the first one gets it.
func TestSameNameOfTwo(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	d.authorize(func(p *pipeline.Pipeline) { p.Authorization.People = map[string][]string{"ada": {"role/approver/ada"}} })
	r := mine()
	r.Create, r.Configured = true, run.LaunchedByHand
	killed := d.again()
	killed.limit = 4
	if _, err := killed.as("eve").Environments.Launch(ctx, r); err == nil {
		t.Fatal("it was not killed")
	}
	d = killed.again()
	env, err := d.as("ada").Environments.Launch(ctx, r)
	if err != nil || env.Owner != "ada" {
		t.Fatalf("what a launch that died left: %+v, %v", env, err)
	}
	if again, err := d.as("role/approver/ada").Environments.Launch(ctx, r); err != nil || again.ID != env.ID || again.Owner != "ada" {
		t.Errorf("by another name: %+v, %v", again, err)
	}
	if _, err := d.as("bob").Environments.Launch(ctx, r); pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(err.Error(), "belongs to ada") || !strings.Contains(reason.Hint(err), "another name") {
		t.Errorf("by somebody else: %v (%s)", err, reason.Hint(err))
	}
	r.Create, r.Configured = false, "a configuration that imported it"
	if got, err := d.as("bob").Environments.Launch(ctx, r); err != nil || got.Owner != "ada" {
		t.Errorf("by the configuration that took it over: %+v, %v", got, err)
	}
}

// An environment that somebody extended by hand stays extended, until the configuration
// changes the TTL.
func TestExtensionStays(t *testing.T) {
	ctx := context.Background()
	for name, build2 := range map[string]bool{"the same build": false, "another build": true} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply(route("1")[:2])
			d.mustApply(route("2")[:2])
			r := mine()
			r.Build = build("1")
			launch := func(change func(*run.LaunchRequest)) pipeline.Environment {
				t.Helper()
				asked := r
				change(&asked)
				env, err := d.Environments.Launch(ctx, asked)
				if err != nil {
					t.Fatal(err)
				}
				return env
			}
			launch(func(r *run.LaunchRequest) { r.Create = true })
			extended := launch(func(r *run.LaunchRequest) { r.TTL, r.Renew = 5*time.Hour, true }).ExpiresAt
			update := func(ttl time.Duration, same bool) pipeline.Environment {
				t.Helper()
				return launch(func(r *run.LaunchRequest) {
					if r.TTL, r.SameTTL, r.Spec.Instances = ttl, same, 2; build2 {
						r.Build = build("2")
					}
				})
			}
			if got := update(time.Hour, true); !got.ExpiresAt.Equal(extended) {
				t.Errorf("an update with the TTL as it was: it ends at %s, and was extended to %s", got.ExpiresAt, extended)
			}
			if got := update(2*time.Hour, false); !got.ExpiresAt.Equal(got.CreatedAt.Add(2 * time.Hour)) {
				t.Errorf("another TTL: it ends at %s", got.ExpiresAt)
			}
			if got := update(9*time.Hour, true); !got.ExpiresAt.Equal(got.CreatedAt.Add(9 * time.Hour)) {
				t.Errorf("a longer one: it ends at %s", got.ExpiresAt)
			}
		})
	}
}

// An extension does not invent what only a configuration or a working tree has.
func TestExtensionIsRefused(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	r := mine()
	r.Spec.SecretsVersion, r.Secrets = 1, pipeline.Secrets{"TOKEN": "secret"}
	if _, err := d.Environments.Launch(ctx, r); err != nil {
		t.Fatal(err)
	}
	extend := func(name string) error {
		t.Helper()
		env, err := d.Environments.Find(ctx, run.EnvironmentRef{Pipeline: "shop", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Environments.Launch(ctx, run.LaunchRequest{Pipeline: "shop", Name: name, Build: env.Build, Spec: env.Spec, Configured: env.Configured, TTL: time.Hour, Renew: true})
		return err
	}
	if err := extend("mine"); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	d.world.mu.Lock()
	d.clock = d.clock.Add(3 * time.Hour)
	d.world.mu.Unlock()
	d = d.again()
	if err := extend("mine"); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(reason.Hint(err), "Apply the configuration in here") {
		t.Errorf("expired, with secrets: %v (%s)", err, reason.Hint(err))
	}
	r.Renew = true
	if env, err := d.Environments.Launch(ctx, r); err != nil || env.Status != pipeline.EnvRunning || d.envs[env.ID].requests[env.Fleet].Secrets["TOKEN"] != "secret" {
		t.Errorf("by its configuration: %+v, %v", env, err)
	}
	local, err := d.Environments.Launch(ctx, run.LaunchRequest{Pipeline: "shop", Name: "local", Tree: &run.Tree{}, TTL: time.Hour, Renew: true, Configured: "penstock bootstrap local"})
	if err != nil {
		t.Fatal(err)
	}
	if err := extend("local"); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(err.Error(), "working tree") {
		t.Errorf("a working tree: %v", err)
	}
	if now, err := d.Environments.Find(ctx, run.EnvironmentRef{Pipeline: "shop", Name: "local"}); err != nil || now.Build != "" || now.Fleet != local.Fleet {
		t.Errorf("it runs %+v, %v", now, err)
	}
}
