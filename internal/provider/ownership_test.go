// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
)

// oneStage is a pipeline with a stage, in a provider block with the given arguments.
func oneStage(provider, pipeline, more string) string {
	return fmt.Sprintf(`
provider "penstock" {
  %s
}
resource "penstock_pipeline" "p" {
  name = %q
  %s
}
resource "penstock_stage" "s" {
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  name     = "gate"
}`, provider, pipeline, more)
}

// What the state has in another data directory is not gone.
func TestAccOtherLedger(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string {
		return oneStage(fmt.Sprintf("data_dir = %q", filepath.Join(dir, name)), "p", "")
	}
	elsewhere := regexp.MustCompile(`(?s)the\s+state\s+has\s+it\s+in\s+data\s+directory\s+.*one.*this\s+is\s+data\s+directory.*two`)
	walk(t,
		resource.TestStep{Config: in("one")},
		resource.TestStep{Config: in("two"), ExpectError: elsewhere},
		resource.TestStep{Config: in("two"), Destroy: true, ExpectError: elsewhere},
		resource.TestStep{Config: in("one"), PlanOnly: true},
		resource.TestStep{ResourceName: "penstock_pipeline.p", ImportState: true, ImportStateId: "p", ImportStateVerify: true},
	)
}

// Namespaces keep the same names apart in one data directory.
func TestAccNamespace(t *testing.T) {
	dir := t.TempDir()
	in := func(namespace, pipeline, more string) string {
		return oneStage(fmt.Sprintf("data_dir = %q\nnamespace = %q", dir, namespace), pipeline, more)
	}
	const data = `
}
data "penstock_pipeline" "p" {
  name       = "p"
  depends_on = [penstock_stage.s]
`
	walk(t,
		resource.TestStep{Config: in("Two", "p", ""), ExpectError: regexp.MustCompile(`lower-case`)},
		resource.TestStep{Config: in("two", strings.Repeat("p", 60), ""), ExpectError: regexp.MustCompile(`(?s)which\s+has\s+64\s+characters`)},
		resource.TestStep{Config: in("two", "p", data)},
		resource.TestStep{
			Config: in("two", "p", data), PlanOnly: true,
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue("penstock_stage.s", tfjsonpath.New("pipeline"), exact("p")),
				statecheck.ExpectKnownValue("data.penstock_pipeline.p", tfjsonpath.New("stages").AtMapKey("gate").AtMapKey("type"), exact("custom")),
			},
		},
		resource.TestStep{ResourceName: "penstock_pipeline.p", ImportState: true, ImportStateId: "p", ImportStateVerify: true},
		resource.TestStep{ResourceName: "penstock_stage.s", ImportState: true, ImportStateId: "p/gate", ImportStateVerify: true},
		resource.TestStep{
			PreConfig: func() { wantPipelines(t, dir, "two.p") }, Config: in("default", "p", ""),
			ExpectError: regexp.MustCompile(`(?s)the\s+state\s+has\s+it\s+in\s+namespace\s+"two".*names\s+"default"`),
		},
		resource.TestStep{Config: in("two", "p", ""), PlanOnly: true},
	)
	walk(t,
		resource.TestStep{Config: in("default", "p", "")},
		resource.TestStep{PreConfig: func() { wantPipelines(t, dir, "p") }, Config: oneStage(fmt.Sprintf("data_dir = %q", dir), "p", ""), PlanOnly: true},
	)
}

func wantPipelines(t *testing.T, dir string, want ...string) {
	t.Helper()
	b := &bench{t: t, dir: dir}
	b.open(func(a *app.App) error {
		names, err := a.Engine.Reports.Names(t.Context())
		if fmt.Sprint(names) != fmt.Sprint(want) {
			t.Errorf("pipelines %v, want %v", names, want)
		}
		return err
	})
}
