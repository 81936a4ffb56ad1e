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

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// reject is a person who rejects a build at a stage of the pipeline shop.
func reject(dir, stage, build string) {
	ctx := context.Background()
	a, err := app.Open(ctx, app.Options{DataDir: dir})
	if err != nil {
		panic(err)
	}
	if _, err := a.Engine.Judge(ctx, "shop", stage, build, pipeline.Rejected, "I have seen enough"); err != nil {
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
	run(t,
		resource.TestStep{Config: b.config(nil)},
		resource.TestStep{Config: b.config(map[string]string{"JOURNEYS": rejects, "MORE": always}), ExpectNonEmptyPlan: true},
		resource.TestStep{
			Config:            b.config(map[string]string{"JOURNEYS": rejects}),
			ConfigStateChecks: []statecheck.StateCheck{export("acceptance", "status", exact("rejected"))},
		},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: b.config(nil)},
		resource.TestStep{Config: b.config(map[string]string{"MORE": smoke + always}), ExpectNonEmptyPlan: true},
		resource.TestStep{ // nothing is tainted
			Config:            b.config(map[string]string{"MORE": smoke}),
			ConfigPlanChecks:  plan(plancheck.ExpectResourceAction(stageAddress("smoke"), plancheck.ResourceActionNoop)),
			ConfigStateChecks: []statecheck.StateCheck{export("smoke", "status", exact("rejected"))},
		},
	)
}

// TestAccTakenBack takes a definition back whose run failed: the ledger gets to know that,
// and what is below goes on, in one apply.
func TestAccTakenBack(t *testing.T) {
	b := newBench(t)
	run(t,
		resource.TestStep{Config: b.config(nil)},
		resource.TestStep{Config: b.config(map[string]string{"JOURNEYS": "exit 3"}), ExpectError: regexp.MustCompile(`Stage failed`)},
		resource.TestStep{
			Config: b.config(nil), ConfigPlanChecks: plan(updates("acceptance", "exploratory", "capacity", "pre_production")...),
			ConfigStateChecks: []statecheck.StateCheck{export("acceptance", "status", exact("passed")), export("exploratory", "status", exact("waiting"))},
		},
	)
}
