// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

// TestAccTargetEndpoints refers to the endpoints of targets, as records of DNS do: a deployment
// and a change of waves leave them known and as they are. The endpoint of the stage is that of its
// first target, whichever that is by now, in the plan and after the apply.
func TestAccTargetEndpoints(t *testing.T) {
	b := newBench(t)
	config := func(targets string, names ...string) string {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("<DATA>", b.dir, "<REPO>", b.repo, "<SELF>", self, "<DESTROY>", "null",
			`targets     = [{ name = "eu" }, { name = "us" }]`, "trigger = \"automatic\"\n  targets = "+targets,
			`module = { directory = "environment", stateful = ["cloud_database"], detect_drift = true, drift_every = "1ms" }`, "",
			`module     = ["environment/**"]`, "").Replace(targetsText) + "\nresource \"terraform_data\" \"front\" { input = penstock_stage.production.endpoint }\n"
		for _, name := range names {
			text += fmt.Sprintf("resource \"terraform_data\" %q { input = penstock_stage.production.endpoint_by_target[%[1]q] }\n", name)
		}
		return text
	}
	stage := stageAddress("production")
	leads := func(first string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			at := s.RootModule().Resources[stage].Primary.Attributes
			front := s.RootModule().Resources["terraform_data.front"].Primary.Attributes["output"]
			want := at["endpoint"]
			if first != "" {
				want = at["endpoint_by_target."+first]
			}
			if at["endpoint"] == "" || at["endpoint"] != want || front != want {
				return fmt.Errorf("the endpoint is %q, what refers to it has %q, and the first target has %q", at["endpoint"], front, want)
			}
			return nil
		}
	}
	same := func(addresses ...string) (all []plancheck.PlanCheck) {
		for _, address := range addresses {
			all = append(all, plancheck.ExpectResourceAction("terraform_data."+address, plancheck.ResourceActionNoop))
		}
		return append(all, plancheck.ExpectResourceAction(stage, plancheck.ResourceActionUpdate))
	}
	unknown := func(path tfjsonpath.Path) plancheck.PlanCheck { return plancheck.ExpectUnknownValue(stage, path) }
	byTarget := tfjsonpath.New("endpoint_by_target")
	walk(t,
		resource.TestStep{Config: config(`[{ name = "eu" }, { name = "us" }]`, "eu", "us"), Check: leads("eu")},
		resource.TestStep{
			PreConfig: func() { b.write("version", "two"); b.commit("two") },
			Config:    config(`[{ name = "eu" }, { name = "us" }]`, "eu", "us"), Check: leads("eu"),
			ConfigPlanChecks: plan(append(same("eu", "us", "front"), unknown(tfjsonpath.New("current_by_target")))...),
		},
		resource.TestStep{
			Config: config(`[{ name = "eu", wave = 2 }, { name = "us" }]`, "eu", "us"), Check: leads("us"),
			ConfigPlanChecks: plan(append(same("eu", "us"), plancheck.ExpectResourceAction("terraform_data.front", plancheck.ResourceActionUpdate))...),
		},
		resource.TestStep{
			Config: config(`[{ name = "eu", wave = 2 }, { name = "asia" }]`, "eu", "asia"), Check: leads("asia"),
			ConfigPlanChecks: plan(append(same("eu"), unknown(byTarget.AtMapKey("asia")), unknown(tfjsonpath.New("endpoint")))...),
		},
		resource.TestStep{Config: config("null"), Check: leads("")},
		resource.TestStep{Config: config(`[{ name = "eu" }]`, "eu"), Check: leads("eu")},
	)
}
