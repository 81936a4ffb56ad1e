// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

// TestAccAfterAnotherPipeline lets stages and environments come after stages of another
// pipeline, which has one of the same name: planned with it, in one plan, and when it is
// there already. What is of their own pipeline is fine, by resource, data source or hand.
func TestAccAfterAnotherPipeline(t *testing.T) {
	b := newBench(t)
	two := fmt.Sprintf(`
provider "penstock" { data_dir = %q }
data "penstock_source" "s" {
  repository = %q
  ref        = "main"
}
resource "penstock_pipeline" "shop" {
  name    = "shop"
  service = { start = "exec sleep 600" }
}
resource "penstock_pipeline" "web" { name = "web" }
resource "penstock_stage" "shop" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.s.revision
}
resource "penstock_stage" "web" {
  pipeline = penstock_pipeline.web.name
  type     = "commit"
  source   = data.penstock_source.s.revision
}
`, b.dir, b.repo)
	stage := func(after string) string {
		return two + fmt.Sprintf(`
resource "penstock_stage" "qa" {
  pipeline = penstock_pipeline.shop.name
  type     = "custom"
  name     = "qa"
  after    = [%s]
}`, after)
	}
	const own, foreign, data = `penstock_stage.shop.passed`, `penstock_stage.web.passed`,
		`
data "penstock_pipeline" "web" { name = penstock_pipeline.web.name }`
	refused := regexp.MustCompile(`(?s)Stage\s+"qa"\s+of\s+pipeline\s+"shop"\s+can't\s+come\s+after\s+stage\s+"commit"\s+of\s+pipeline\s+"web".*Use\s+passed\s+of\s+a\s+stage\s+of\s+pipeline\s+"shop"`)
	walk(t,
		resource.TestStep{Config: stage(foreign), ExpectError: refused},
		resource.TestStep{Config: two},
		resource.TestStep{Config: stage(foreign), ExpectError: refused},
		resource.TestStep{Config: stage(own + ", " + foreign), PlanOnly: true, ExpectError: refused},
		resource.TestStep{Config: stage(`data.penstock_pipeline.web.stages["commit"].passed`) + data, PlanOnly: true, ExpectError: refused},
		resource.TestStep{Config: stage(`{ pipeline = "web", stage = "commit" }`), PlanOnly: true, ExpectError: refused},
		resource.TestStep{Config: two + `
resource "penstock_self_service_env" "mine" {
  pipeline = penstock_pipeline.shop.name
  name     = "mine"
  after    = [penstock_stage.web.passed]
}`, PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)Environment\s+"mine"\s+of\s+pipeline\s+"shop"\s+can't\s+come\s+after\s+stage\s+"commit"\s+of\s+pipeline\s+"web"`)},
		resource.TestStep{Config: stage(own), ConfigStateChecks: []statecheck.StateCheck{
			statecheck.ExpectKnownValue("penstock_stage.qa", tfjsonpath.New("passed").AtMapKey("pipeline"), knownvalue.StringExact("shop")),
			statecheck.ExpectKnownValue("penstock_stage.qa", tfjsonpath.New("passed").AtMapKey("stage"), knownvalue.StringExact("qa")),
		}},
		resource.TestStep{Config: stage(`{ stage = "commit" }`), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
	)
}

// TestAccStagesThatNeverMeet lets two commit stages go separate ways, and refuses a stage
// below both in the plan that would make it, also where they are planned with it.
func TestAccStagesThatNeverMeet(t *testing.T) {
	b := newBench(t)
	config := func(more string) string {
		return fmt.Sprintf(`
provider "penstock" { data_dir = %q }
data "penstock_source" "all" {
  repository = %[2]q
  ref        = "main"
}
data "penstock_source" "docs" {
  repository = %[2]q
  ref        = "main"
  ignore     = ["version"]
}
resource "penstock_pipeline" "p" { name = "shop" }
resource "penstock_stage" "api" {
  pipeline = penstock_pipeline.p.name
  name     = "api"
  type     = "commit"
  source   = data.penstock_source.all.revision
}
resource "penstock_stage" "web" {
  pipeline = penstock_pipeline.p.name
  name     = "web"
  type     = "commit"
  source   = data.penstock_source.docs.revision
}
resource "penstock_stage" "qa_api" {
  pipeline = penstock_pipeline.p.name
  name     = "qa-api"
  type     = "custom"
  after    = [penstock_stage.api.passed]
}
resource "penstock_stage" "qa_web" {
  pipeline = penstock_pipeline.p.name
  name     = "qa-web"
  type     = "custom"
  after    = [penstock_stage.web.passed]
}
%[3]s`, b.dir, b.repo, more)
	}
	const live = `
resource "penstock_stage" "live" {
  pipeline = penstock_pipeline.p.name
  name     = "live"
  type     = "custom"
  after    = [penstock_stage.qa_api.passed, penstock_stage.qa_web.passed]
}`
	never := regexp.MustCompile(`(?s)no\s+build\s+can\s+ever\s+pass\s+both\s+"qa-api"\s+\(whose\s+builds\s+"api"\s+makes\)\s+and\s+"qa-web"`)
	walk(t,
		resource.TestStep{Config: config(live), ExpectError: never},
		resource.TestStep{Config: config("")},
		resource.TestStep{Config: config(live), PlanOnly: true, ExpectError: never},
	)
}
