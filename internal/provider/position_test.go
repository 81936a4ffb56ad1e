// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
)

// TestAccDecidedBetweenPlanAndApply decides between a plan and its apply, in which the
// pipeline changes, too, or something is made. Both plans of the apply are of one position,
// so it does what was planned; what was decided comes with the next one.
func TestAccDecidedBetweenPlanAndApply(t *testing.T) {
	b := newBench(t)
	built := map[string]string{}
	keep := func(n int, more string) string {
		return b.config(map[string]string{"PIPELINE": fmt.Sprintf("keep = %d", n), "MORE": more})
	}
	ready := func(version string) resource.TestStep {
		return resource.TestStep{PreConfig: b.decide("exploratory", decision.Approve), Config: keep(40, ""), Check: func(*terraform.State) error {
			built[version] = b.passed("pre-production")
			return nil
		}}
	}
	promote := func(version string) func() {
		return b.does(func(ctx context.Context, e *engine.Engine) error {
			_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "production", Build: built[version]})
			return err
		})
	}
	retry := b.does(func(ctx context.Context, e *engine.Engine) error {
		_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Retry, Pipeline: "shop", Stage: "capacity"})
		return err
	})
	decide := func(version, stage string, verb decision.Verb) func() {
		return b.does(func(ctx context.Context, e *engine.Engine) error {
			_, err := e.Decisions.Do(ctx, decision.Command{Verb: verb, Pipeline: "shop", Stage: stage, Build: built[version], Reason: "because"})
			return err
		})
	}
	// changes expects that a plan changes exactly some stages, and decides then.
	changes := func(then func(), stages ...string) resource.ConfigPlanChecks {
		return plan(append(updates(stages...), meanwhile(then))...)
	}
	const smoke = `
resource "penstock_stage" "smoke" {
  pipeline = penstock_pipeline.shop.name
  name     = "smoke"
  type     = "custom"
  after    = [penstock_stage.exploratory.passed]
}
resource "penstock_self_service_env" "mine" {
  pipeline = penstock_pipeline.shop.name
  name     = "mine"
  after    = [penstock_stage.exploratory.passed]
}`
	has := func(address, attribute, version string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			if got := s.RootModule().Resources[address].Primary.Attributes[attribute]; got != built[version] {
				return fmt.Errorf("%s has %q, want %s", address, got, built[version])
			}
			return nil
		}
	}
	walk(t,
		resource.TestStep{Config: keep(40, "")},
		ready("one"),
		resource.TestStep{ // production had no build to move to when it was planned
			Config: keep(41, ""), ConfigPlanChecks: changes(promote("one")), ExpectNonEmptyPlan: true,
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("production", "waiting")},
		},
		resource.TestStep{Config: keep(41, ""), ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "one")},
		resource.TestStep{Config: keep(40, ""), ConfigPlanChecks: changes(retry), ExpectNonEmptyPlan: true},
		resource.TestStep{Config: keep(40, ""), ConfigPlanChecks: plan(updates("capacity", "pre_production")...)},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: keep(40, "")},
		resource.TestStep{ // the approval waits for the next plan, though the pipeline changes in this apply
			PreConfig: func() { built["two"] = b.passed("capacity") },
			Config:    keep(42, ""), ConfigPlanChecks: changes(b.decide("exploratory", decision.Approve)), ExpectNonEmptyPlan: true,
		},
		resource.TestStep{Config: keep(42, ""), ConfigPlanChecks: plan(updates("pre_production")...)},
		resource.TestStep{ // production is resized, and a promotion meanwhile waits
			Config: b.config(map[string]string{"PIPELINE": "keep = 42", "INSTANCES": "1"}), ConfigPlanChecks: plan(meanwhile(promote("two"))),
			ExpectNonEmptyPlan: true, Check: answers("production", "one"),
		},
		resource.TestStep{Config: keep(42, ""), ConfigPlanChecks: plan(plancheck.ExpectResourceAction(stageAddress("production"), plancheck.ResourceActionUpdate)), Check: answers("production", "two")},
		resource.TestStep{ // what is made goes by what is decided when it is
			Config: keep(42, smoke), ConfigPlanChecks: plan(
				plancheck.ExpectUnknownValue(stageAddress("smoke"), tfjsonpath.New("candidate")),
				plancheck.ExpectUnknownValue("penstock_self_service_env.mine", tfjsonpath.New("build")),
				meanwhile(func() { decide("two", "commit", decision.Reject)() })),
			Check: resource.ComposeTestCheckFunc(has(stageAddress("smoke"), "candidate", "one"), has("penstock_self_service_env.mine", "build", "one")),
		},
		resource.TestStep{PreConfig: func() { b.commit("three") }, Config: keep(42, "")},
		resource.TestStep{ // a pin that is refused since
			PreConfig: func() { b.decide("exploratory", decision.Approve)(); built["three"] = b.passed("exploratory") },
			Config: keep(43, `
data "penstock_build" "newest" {
  pipeline = penstock_pipeline.shop.name
  passed   = "exploratory"
}
resource "penstock_stage" "pinned" {
  pipeline = penstock_pipeline.shop.name
  name     = "pinned"
  type     = "custom"
  after    = [penstock_stage.exploratory.passed]
  build    = data.penstock_build.newest.id
}`), ConfigPlanChecks: plan(meanwhile(func() { decide("three", "exploratory", decision.Reject)() })),
			ExpectError: regexp.MustCompile(`was\s+rejected\s+at\s+stage\s+"exploratory"`),
		},
	)
}

// TestAccDecidedBetweenWalks decides while a stage above runs, in the middle of an apply in
// which the pipeline changes, too: what that opens, moves or closes below comes with the
// next one.
func TestAccDecidedBetweenWalks(t *testing.T) {
	b := newBench(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	during := func(verb, stage, build string) {
		if err := os.WriteFile(script, fmt.Appendf(nil, "%s %s %s %s %s", self, verb, b.dir, stage, build), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quiet := func() {
		if err := os.WriteFile(script, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quiet()
	n := 40
	config := func(more int) string {
		n += more
		return b.config(map[string]string{"JOURNEYS": "sh " + script, "PIPELINE": fmt.Sprintf("keep = %d", n)})
	}
	built := map[string]string{}
	is := func(version string) resource.TestCheckFunc {
		return func(*terraform.State) error { built[version] = b.passed("capacity"); return nil }
	}
	// next takes a commit down, in whose acceptance somebody acts.
	next := func(version, verb, stage, of string) resource.TestStep {
		return resource.TestStep{
			PreConfig: func() { b.commit(version); during(verb, stage, built[of]) },
			Config:    config(1), ConfigPlanChecks: plan(updates("commit", "acceptance", "exploratory", "capacity")...), Check: is(version),
		}
	}
	then := func(stages ...string) resource.TestStep {
		return resource.TestStep{PreConfig: quiet, Config: config(0), ConfigPlanChecks: plan(updates(stages...)...)}
	}
	moves := func(s resource.TestStep) resource.TestStep { s.ExpectNonEmptyPlan = true; return s }
	walk(t,
		resource.TestStep{Config: config(0), Check: is("one")},
		moves(next("two", "approve", "exploratory", "one")), // an older build
		then("pre_production"),
		moves(next("three", "promote", "production", "one")), // which has none yet
		then("production"),
		moves(next("four", "retry", "production", "one")),
		then("production"),
		next("five", "reject", "exploratory", "four"), // on offer until then
		then(),
	)
}
