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
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// TestAccPins pins a stage to builds that do not exist, also while the commit stage is
// about to make another one, to one that it is about to make, and to a rejected one.
func TestAccPins(t *testing.T) {
	b := newBench(t)
	pin := filepath.Join(t.TempDir(), "pin")
	set := func(build string) {
		if err := os.WriteFile(pin, []byte(build), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("")
	config := fmt.Sprintf(`
provider "penstock" { data_dir = %q }
data "penstock_source" "s" {
  repository = %q
  ref        = "main"
}
resource "penstock_pipeline" "p" { name = "shop" }
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = data.penstock_source.s.revision
}
resource "penstock_stage" "live" {
  pipeline = penstock_pipeline.p.name
  name     = "live"
  type     = "custom"
  trigger  = "manual"
  after    = [penstock_stage.commit.passed]
  build    = trimspace(file(%[3]q)) == "" ? null : trimspace(file(%[3]q))
}`, b.dir, b.repo, pin)
	// next returns the ID of the build that the commit stage makes of the newest commit.
	next := func() string {
		var id string
		b.open(func(a *app.App) error {
			snapshot, err := a.Source.Snapshot(context.Background(), source.Query{Repository: b.repo, Ref: "main"})
			id = pipeline.BuildID("shop", snapshot.Source.Digest, "")
			return err
		})
		return id
	}
	const unknown = "b-0123456789"
	refused := func(text string) *regexp.Regexp { return regexp.MustCompile(`(?s)` + text) }
	one := ""
	walk(t,
		resource.TestStep{Config: config},
		resource.TestStep{
			PreConfig: func() { one = next(); set(unknown) }, Config: config, PlanOnly: true, ExpectError: refused(`no\s+build\s+` + unknown),
		},
		resource.TestStep{
			PreConfig: func() { b.commit("two") }, Config: config, PlanOnly: true, ExpectError: refused(`no\s+build\s+` + unknown),
		},
		resource.TestStep{
			PreConfig: func() { set(next()) }, Config: config,
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("live", "passed")},
		},
		resource.TestStep{
			PreConfig: func() { act("reject", b.dir, "commit", one); set(one) }, Config: config, PlanOnly: true, ExpectError: refused(`was\s+rejected\s+at\s+stage\s+"commit"`),
		},
	)
}

// TestAccTwoConfigurations finds the names taken that another configuration uses.
func TestAccTwoConfigurations(t *testing.T) {
	b := newBench(t)
	b.open(func(a *app.App) error {
		ctx := context.Background()
		if _, err := a.Engine.Pipelines.Create(ctx, pipeline.Pipeline{Name: "shop", Owner: "/other/deploy"}); err != nil {
			return err
		}
		s := pipeline.Stage{Pipeline: "shop", Name: "gate", Type: pipeline.TypeCustom, Owner: "/other/deploy"}.WithDefaults(nil, nil)
		if _, err := a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: s}); err != nil {
			return err
		}
		return a.Engine.Creations.Finish(ctx)
	})
	provider := fmt.Sprintf("provider \"penstock\" { data_dir = %q }\n", b.dir)
	walk(t,
		resource.TestStep{
			Config: provider + `resource "penstock_pipeline" "p" { name = "shop" }`, PlanOnly: true,
			ExpectError: regexp.MustCompile(`(?s)terraform\s+import\s+penstock_pipeline\.shop\s+shop.*namespace\s+=\s+terraform\.workspace.*pipeline\s+"shop"\s+exists\s+already;.*the\s+configuration\s+in\s+/other/deploy`),
		},
		resource.TestStep{
			Config: provider + `
resource "penstock_stage" "s" {
  pipeline = "shop"
  name     = "gate"
  type     = "custom"
}`, PlanOnly: true,
			ExpectError: regexp.MustCompile(`(?s)terraform\s+import\s+penstock_stage\.gate\s+shop/gate.*stage\s+"gate"\s+exists\s+already`),
		},
	)
}
