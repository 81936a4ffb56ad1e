// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/tfversion"
)

// restores reports whether the client says that it plans in the middle of an apply, so that it
// keeps what can't be replaced. OpenTofu does not.
func restores() bool { return !strings.Contains(os.Getenv("TF_ACC_PROVIDER_HOST"), "opentofu") }

// What can't be replaced before it is destroyed, as it keeps its name, stays: the refused apply
// leaves the state as it was, and without create_before_destroy the next one replaces it.
func TestAccReplacedBeforeDestroyed(t *testing.T) {
	if !restores() {
		t.Skip("OpenTofu leaves it deposed: the guide on workspaces says what to do")
	}
	const lifecycle = `
  lifecycle {
    replace_triggered_by = [terraform_data.t]
    <EARLY>
  }
}
`
	for name, tt := range map[string]struct{ address, text string }{
		"pipeline": {"penstock_pipeline.one", `
resource "penstock_pipeline" "one" {
  name = "one"` + lifecycle},
		"stage": {"penstock_stage.one", `
resource "penstock_stage" "one" {
  pipeline = penstock_pipeline.shop.name
  type     = "custom"
  name     = "one"
  after    = [penstock_stage.acceptance.passed]` + lifecycle},
		"stage with an environment": {"penstock_stage.one", `
resource "penstock_stage" "one" {
  pipeline = penstock_pipeline.shop.name
  type     = "production"
  name     = "one"
  after    = [penstock_stage.acceptance.passed]` + lifecycle},
		"environment": {"penstock_self_service_env.one", `
resource "penstock_self_service_env" "one" {
  pipeline = penstock_pipeline.shop.name
  name     = "one"
  ttl      = "1h"
  after    = [penstock_stage.acceptance.passed]` + lifecycle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			config := func(trigger, early string) string {
				text := fmt.Sprintf("resource \"terraform_data\" \"t\" { input = %q }\n", trigger) + strings.ReplaceAll(tt.text, "<EARLY>", early)
				return b.config(map[string]string{"MORE": text})
			}
			action := func(a plancheck.ResourceActionType) resource.ConfigPlanChecks {
				return plan(plancheck.ExpectResourceAction(tt.address, a))
			}
			resource.Test(t, resource.TestCase{
				ProtoV6ProviderFactories: factories,
				TerraformVersionChecks:   []tfversion.TerraformVersionCheck{tfversion.SkipBelow(tfversion.Version1_9_0)},
				Steps: []resource.TestStep{
					{Config: config("1", "")},
					{
						Config: config("2", "create_before_destroy = true"), ConfigPlanChecks: action(plancheck.ResourceActionCreateBeforeDestroy),
						ExpectError: regexp.MustCompile(`(?s)"one".*remove\s+create_before_destroy.*"one"\s+exists\s+already`),
					},
					{Config: config("2", ""), ConfigPlanChecks: action(plancheck.ResourceActionNoop)},
					{Config: config("3", ""), ConfigPlanChecks: action(plancheck.ResourceActionDestroyBeforeCreate)},
				},
			})
		})
	}
}
