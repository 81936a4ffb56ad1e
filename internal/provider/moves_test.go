// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
)

// moves checks that a plan takes a stage from one build to another, and knows everything of
// it but what the move decides. The builds are known only when the plan is checked.
type moves struct {
	stage    string
	from, to func() string
	unknown  []string
}

func (m moves) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, r := range req.Plan.ResourceChanges {
		if r.Address == stageAddress(m.stage) {
			resp.Error = m.check(r.Change)
			return
		}
	}
	resp.Error = fmt.Errorf("the plan has no %s", stageAddress(m.stage))
}

func (m moves) check(c *tfjson.Change) error {
	value := func(side any) any { return side.(map[string]any)["candidate"] }
	if from, to := value(c.Before), value(c.After); from != m.from() || to != m.to() {
		return fmt.Errorf("the plan takes stage %s from %v to %v, want from %s to %s", m.stage, from, to, m.from(), m.to())
	}
	var unknown []string
	for name, v := range c.AfterUnknown.(map[string]any) {
		if strings.Contains(fmt.Sprint(v), "true") {
			unknown = append(unknown, name)
		}
	}
	if slices.Sort(unknown); !slices.Equal(unknown, m.unknown) {
		return fmt.Errorf("stage %s: not known are %v, want %v", m.stage, unknown, m.unknown)
	}
	return nil
}

// TestAccPlanNamesTheBuild promotes and rolls back by command: the plan says from which
// build to which, and what can't change stays known, with all that refers to it.
func TestAccPlanNamesTheBuild(t *testing.T) {
	b := newBench(t)
	config := b.config(map[string]string{"MORE": `
resource "terraform_data" "dns" { input = penstock_stage.production.endpoint }
data "penstock_pipeline" "shop" {
  name       = penstock_pipeline.shop.name
  depends_on = [penstock_stage.production]
}
output "log" { value = data.penstock_pipeline.shop.stages["production"].log }
`})
	built := map[string]string{}
	build := func(version string) func() string { return func() string { return built[version] } }
	ready := func(version string) resource.TestStep {
		return resource.TestStep{PreConfig: b.decide("exploratory", decision.Approve), Config: config, Check: func(*terraform.State) error {
			built[version] = b.passed("pre-production")
			return nil
		}}
	}
	does := func(verb decision.Verb) func() {
		return b.does(func(ctx context.Context, e *engine.Engine) error {
			_, err := e.Decisions.Do(ctx, decision.Command{Verb: verb, Pipeline: "shop", Stage: "production"})
			return err
		})
	}
	same := plancheck.ExpectResourceAction("terraform_data.dns", plancheck.ResourceActionNoop)
	port := func() string { // production at another port, which is another endpoint
		return strings.Replace(config, "build    = null", "environment = { port = "+freePort(t)+" }", 1)
	}()
	walk(t,
		resource.TestStep{Config: config},
		ready("one"),
		resource.TestStep{PreConfig: does(decision.Promote), Config: config, ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "one")},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: config, ConfigPlanChecks: plan(same,
			plancheck.ExpectKnownValue(stageAddress("capacity"), tfjsonpath.New("endpoint"), knownvalue.Null()))},
		ready("two"),
		resource.TestStep{
			PreConfig: does(decision.Promote), Config: config, Check: answers("production", "two"),
			ConfigPlanChecks: plan(append(updates("production"), same, moves{"production", build("one"), build("two"), []string{"image_id", "passed"}})...),
		},
		resource.TestStep{
			PreConfig: does(decision.Rollback), Config: config, Check: answers("production", "one"),
			ConfigPlanChecks: plan(append(updates("production"), same, moves{"production", build("two"), build("one"), []string{"image_id", "passed"}})...),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue("data.penstock_pipeline.shop", tfjsonpath.New("stages").AtMapKey("production").AtMapKey("artifact_digest"), knownvalue.NotNull()),
				statecheck.ExpectKnownOutputValue("log", knownvalue.NotNull()),
			},
		},
		resource.TestStep{
			Config:           port,
			ConfigPlanChecks: plan(plancheck.ExpectUnknownValue(stageAddress("production"), tfjsonpath.New("endpoint"))),
			Check:            answers("production", "one"),
		},
	)
	if builds := slices.Sorted(maps.Values(built)); builds[0] == builds[1] {
		t.Errorf("both builds are %s", builds[0])
	}
}

// freePort finds a port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// passes checks that a plan knows what will have passed a stage.
type passes struct {
	stage string
	build func() string
}

func (p passes) CheckPlan(ctx context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	plancheck.ExpectKnownValue(stageAddress(p.stage), tfjsonpath.New("passed").AtMapKey("build"), exact(p.build())).CheckPlan(ctx, req, resp)
}

// TestAccCommitEndsWherePeopleDecide takes commits down: one that nobody has approved moves
// nothing below the stage that waits for a person, and one that was approved before does.
func TestAccCommitEndsWherePeopleDecide(t *testing.T) {
	b := newBench(t)
	config := b.config(nil)
	approved := func(stage string, want func() string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			if got := s.RootModule().Resources[stageAddress(stage)].Primary.Attributes["passed.build"]; got != want() {
				return fmt.Errorf("stage %s: %q passed, want %q", stage, got, want())
			}
			return nil
		}
	}
	one, two := "", ""
	walk(t,
		resource.TestStep{Config: config},
		resource.TestStep{PreConfig: b.decide("exploratory", decision.Approve), Config: config, Check: func(*terraform.State) error {
			one = b.passed("pre-production")
			return nil
		}},
		resource.TestStep{
			PreConfig: func() { b.commit("two") }, Config: config,
			ConfigPlanChecks: plan(append(updates("commit", "acceptance", "exploratory", "capacity"),
				plancheck.ExpectUnknownValue(stageAddress("capacity"), tfjsonpath.New("passed").AtMapKey("build")))...),
			Check: approved("exploratory", func() string { return one }),
		},
		resource.TestStep{ // another apply before the approval changes nothing, and the approval opens what is below
			PreConfig: b.decide("exploratory", decision.Approve), Config: config, ConfigPlanChecks: plan(updates("pre_production")...),
			Check: func(*terraform.State) error {
				two = b.passed("pre-production")
				return nil
			},
		},
		resource.TestStep{ // the first one again, which was approved
			PreConfig: func() { b.commit("one") }, Config: config,
			ConfigPlanChecks: plan(append(updates("commit", "acceptance", "exploratory", "capacity", "pre_production"),
				passes{"exploratory", func() string { return one }})...), // it passed before: nothing has to run for the plan to know
			Check: resource.ComposeTestCheckFunc(approved("exploratory", func() string { return one }), approved("pre_production", func() string { return one })),
		},
		resource.TestStep{ // a stage above that changes runs again for it, which takes the approval away
			Config: b.config(map[string]string{"BUILD": "tar -czf dist.tar.gz version; date +%N > new"}),
			ConfigPlanChecks: plan(
				plancheck.ExpectUnknownValue(stageAddress("exploratory"), tfjsonpath.New("passed").AtMapKey("build")),
				plancheck.ExpectResourceAction(stageAddress("pre_production"), plancheck.ResourceActionUpdate)),
		},
	)
	if one == two {
		t.Errorf("both builds are %s", one)
	}
}
