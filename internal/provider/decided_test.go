// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
)

// acts are the verbs of act.
var acts = []string{string(decision.Approve), string(decision.Reject), string(decision.Promote), string(decision.Retry)}

// act is a program of a person, who decides about a build at a stage of the pipeline shop.
func act(verb, dir, stage, build string) {
	ctx := context.Background()
	a, err := app.Open(ctx, app.Options{DataDir: dir})
	if err != nil {
		panic(err)
	}
	c := decision.Command{Verb: decision.Verb(verb), Pipeline: "shop", Stage: stage, Build: build, Reason: "I have seen enough"}
	if c.Verb == decision.Retry {
		c.Build = ""
	}
	if _, err := a.Engine.Decisions.Do(ctx, c); err != nil {
		panic(err)
	}
	if err := a.Close(ctx); err != nil {
		panic(err)
	}
}

// TestAccDecidedMeanwhile rejects a build while a stage runs for it, in an update and in
// a creation: the apply says what it planned, and the next one what became of it.
func TestAccDecidedMeanwhile(t *testing.T) {
	b := newBench(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rejects := fmt.Sprintf(`%s reject %s commit $PENSTOCK_BUILD`, self, b.dir)
	// The state is what was planned, so a plan without a refresh has changes, and one with
	// it has none. A step can't say that: so there is always a change.
	const always = "\nresource \"terraform_data\" \"always\" { input = timestamp() }\n"
	smoke := fmt.Sprintf(`
resource "penstock_stage" "smoke" {
  pipeline = penstock_pipeline.shop.name
  name     = "smoke"
  type     = "custom"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "look", command = %q }]
}`, rejects)
	walk(t,
		resource.TestStep{Config: b.config(nil)},
		resource.TestStep{Config: b.config(map[string]string{"JOURNEYS": rejects, "MORE": always}), ExpectNonEmptyPlan: true},
		resource.TestStep{
			Config:            b.config(map[string]string{"JOURNEYS": rejects}),
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("acceptance", "rejected")},
		},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: b.config(nil)},
		resource.TestStep{Config: b.config(map[string]string{"MORE": smoke + always}), ExpectNonEmptyPlan: true},
		resource.TestStep{ // nothing is tainted
			Config:            b.config(map[string]string{"MORE": smoke}),
			ConfigPlanChecks:  plan(plancheck.ExpectResourceAction(stageAddress("smoke"), plancheck.ResourceActionNoop)),
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("smoke", "rejected")},
		},
	)
}

// meanwhile is done between a plan and its apply.
type meanwhile func()

func (m meanwhile) CheckPlan(context.Context, plancheck.CheckPlanRequest, *plancheck.CheckPlanResponse) {
	m()
}

// TestAccDecidedBeforeApply decides between a plan and its apply. What was planned goes,
// unless it may not any more, or somebody has promoted another build: then the apply says so.
func TestAccDecidedBeforeApply(t *testing.T) {
	b := newBench(t)
	config := b.config(nil)
	built := map[string]string{}
	build := func(version string) resource.TestStep {
		return resource.TestStep{
			PreConfig: func() { b.commit(version) }, Config: config,
			Check: func(*terraform.State) error { built[version] = b.passed("acceptance"); return nil },
		}
	}
	decide := func(version string, verb decision.Verb) func() {
		return b.does(func(ctx context.Context, e *engine.Engine) error {
			_, err := e.Decisions.Do(ctx, decision.Command{Verb: verb, Pipeline: "shop", Stage: "exploratory", Build: built[version], Reason: "because"})
			return err
		})
	}
	promote := func(version string) func() {
		return b.does(func(ctx context.Context, e *engine.Engine) error {
			_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "production", Build: built[version]})
			return err
		})
	}
	but := func(then func(), planned ...string) resource.ConfigPlanChecks {
		return plan(append(updates(planned...), meanwhile(then))...)
	}
	ready := func(version string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			if got := s.RootModule().Resources[stageAddress("pre_production")].Primary.Attributes["passed.build"]; got != built[version] {
				return fmt.Errorf("%s is ready, want %s", got, built[version])
			}
			return nil
		}
	}
	walk(t,
		build("two"),
		build("three"),
		resource.TestStep{ // the older one was planned, and the newer one is approved, too
			PreConfig: decide("two", decision.Approve),
			Config:    config, ConfigPlanChecks: but(decide("three", decision.Approve), "pre_production"),
			Check: ready("two"), ExpectNonEmptyPlan: true,
		},
		resource.TestStep{Config: config, ConfigPlanChecks: plan(updates("pre_production")...), Check: ready("three")},
		resource.TestStep{
			PreConfig: promote("three"),
			Config:    config, ConfigPlanChecks: but(promote("two"), "production"),
			ExpectError: regexp.MustCompile(`(?s)was\s+planned,\s+and\s+the\s+stage\s+is\s+to\s+run`),
		},
		resource.TestStep{Config: config, ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "two")},
		build("four"),
		resource.TestStep{
			PreConfig: decide("four", decision.Approve),
			Config:    config, ConfigPlanChecks: but(decide("four", decision.Reject), "pre_production"),
			ExpectError: regexp.MustCompile(`(?s)Plan\s+again.*and\s+since\s+then:.*was\s+rejected`),
		},
		resource.TestStep{Config: config, ConfigPlanChecks: plan(plancheck.ExpectEmptyPlan()), Check: ready("three")},
		build("five"),
		resource.TestStep{
			PreConfig: decide("five", decision.Approve),
			Config:    config, ConfigPlanChecks: but(b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "pre-production", Reason: "it is Friday"})
				return err
			}), "pre_production"),
			ExpectError: regexp.MustCompile(`(?s)Plan\s+again.*and\s+since\s+then:.*it\s+is\s+Friday`),
		},
	)
}

// TestAccGatesChange changes what opens a stage, while another build than its current one
// was to enter it.
func TestAccGatesChange(t *testing.T) {
	b := newBench(t)
	smoke := func(arguments string) string {
		return b.config(map[string]string{"MORE": fmt.Sprintf(`
resource "penstock_stage" "smoke" {
  pipeline = penstock_pipeline.shop.name
  name     = "smoke"
  type     = "custom"
  steps    = [{ name = "look", command = "! grep bad version" }]
  %s
}`, arguments)})
	}
	const automatic, manual = `after = [penstock_stage.commit.passed]`, `after = [penstock_stage.commit.passed]
  trigger = "manual"`
	const tried = `after = [penstock_stage.capacity.passed, penstock_stage.exploratory.passed]`
	runs := func(stage string) resource.TestCheckFunc { // that smoke's current build is what passed the stage last
		return func(s *terraform.State) error {
			want, got := b.passed(stage), s.RootModule().Resources[stageAddress("smoke")].Primary.Attributes["candidate"]
			if got != want {
				return fmt.Errorf("smoke has %s, want %s", got, want)
			}
			return nil
		}
	}
	approve := meanwhile(b.decide("exploratory", decision.Approve))
	walk(t,
		resource.TestStep{Config: smoke(automatic), Check: runs("commit")},
		resource.TestStep{PreConfig: func() { b.commit("bad") }, Config: smoke(automatic), ExpectError: regexp.MustCompile("Stage failed")},
		resource.TestStep{PreConfig: func() { b.commit("good") }, Config: smoke(manual), Check: runs("smoke")},
		resource.TestStep{Config: smoke(automatic), Check: runs("commit")},
		resource.TestStep{Config: smoke(tried)},
		resource.TestStep{PreConfig: func() { b.commit("better") }, Config: smoke(tried)},
		resource.TestStep{
			Config: smoke(`after = [penstock_stage.capacity.passed]`), ConfigPlanChecks: plan(approve),
			Check: runs("capacity"), ExpectNonEmptyPlan: true, // pre-production moves
		},
	)
}

// TestAccTakenBack takes a definition back whose run failed: the ledger gets to know that,
// and what is below stays where it is.
func TestAccTakenBack(t *testing.T) {
	b := newBench(t)
	walk(t,
		resource.TestStep{Config: b.config(nil)},
		resource.TestStep{Config: b.config(map[string]string{"JOURNEYS": "exit 3"}), ExpectError: regexp.MustCompile(`Stage failed`)},
		resource.TestStep{
			Config: b.config(nil), ConfigPlanChecks: plan(updates("acceptance")...), // those below are where they would go
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("acceptance", "passed"), b.hasStatus("exploratory", "waiting")},
		},
	)
}
