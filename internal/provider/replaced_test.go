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

// oneOfEach are resources of every kind that can be replaced under their names, by what they
// are: their addresses and texts.
var oneOfEach = map[string]struct{ address, text string }{
	"pipeline": {"penstock_pipeline.one", `
resource "penstock_pipeline" "one" {
  name = "one"` + replacedByTrigger},
	"image": {"penstock_baked_image.one", `
resource "penstock_baked_image" "one" {
  pipeline = penstock_pipeline.shop.name
  name     = "one"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.s.image_revision
  cleanup  = []` + replacedByTrigger},
	"stage": {"penstock_stage.one", `
resource "penstock_stage" "one" {
  pipeline = penstock_pipeline.shop.name
  type     = "custom"
  name     = "one"
  after    = [penstock_stage.acceptance.passed]` + replacedByTrigger},
	"stage with an environment": {"penstock_stage.one", `
resource "penstock_stage" "one" {
  pipeline = penstock_pipeline.shop.name
  type     = "production"
  name     = "one"
  after    = [penstock_stage.acceptance.passed]` + replacedByTrigger},
	"environment": {"penstock_self_service_env.one", `
resource "penstock_self_service_env" "one" {
  pipeline = penstock_pipeline.shop.name
  name     = "one"
  ttl      = "1h"
  after    = [penstock_stage.acceptance.passed]` + replacedByTrigger},
}

const replacedByTrigger = `
  lifecycle {
    replace_triggered_by = [terraform_data.t]
    <EARLY>
  }
}
`

// eachReplaced runs the steps that replace a resource of each kind. config returns the
// configuration with a value of the trigger and more in the lifecycle block.
func eachReplaced(t *testing.T, steps func(address string, config func(trigger, early string) string) []resource.TestStep) {
	for name, tt := range oneOfEach {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			config := func(trigger, early string) string {
				text := fmt.Sprintf("resource \"terraform_data\" \"t\" { input = %q }\n", trigger) + strings.ReplaceAll(tt.text, "<EARLY>", early)
				return b.config(map[string]string{"MORE": text})
			}
			resource.Test(t, resource.TestCase{
				ProtoV6ProviderFactories: factories,
				TerraformVersionChecks:   []tfversion.TerraformVersionCheck{tfversion.SkipBelow(tfversion.Version1_9_0)},
				Steps:                    steps(tt.address, config),
			})
		})
	}
}

func action(address string, a plancheck.ResourceActionType) resource.ConfigPlanChecks {
	return plan(plancheck.ExpectResourceAction(address, a))
}

// What can't be replaced before it is destroyed, as it keeps its name, stays: the refused apply
// leaves the state as it was, and without create_before_destroy the next one replaces it.
func TestAccReplacedBeforeDestroyed(t *testing.T) {
	if !restores() {
		t.Skip("OpenTofu leaves it deposed: the guide on workspaces says what to do")
	}
	eachReplaced(t, func(address string, config func(trigger, early string) string) []resource.TestStep {
		return []resource.TestStep{
			{Config: config("1", "")},
			{
				Config: config("2", "create_before_destroy = true"), ConfigPlanChecks: action(address, plancheck.ResourceActionCreateBeforeDestroy),
				ExpectError: regexp.MustCompile(`(?s)"one".*remove\s+create_before_destroy.*"one"\s+exists\s+already`),
			},
			{Config: config("2", ""), ConfigPlanChecks: action(address, plancheck.ResourceActionNoop)},
			{Config: config("3", ""), ConfigPlanChecks: action(address, plancheck.ResourceActionDestroyBeforeCreate)},
		}
	})
}

// What is tainted, by the command or as a provisioner failed, is replaced under its name.
func TestAccTainted(t *testing.T) {
	eachReplaced(t, func(address string, config func(trigger, early string) string) []resource.TestStep {
		return []resource.TestStep{
			{Config: config("1", "")},
			{Taint: []string{address}, Config: config("1", ""), ConfigPlanChecks: action(address, plancheck.ResourceActionDestroyBeforeCreate)},
			{Config: config("1", ""), ConfigPlanChecks: action(address, plancheck.ResourceActionNoop)},
		}
	})
}
