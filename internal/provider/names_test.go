// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
)

var twice = regexp.MustCompile(`(?s)two\s+resources\s+of\s+this\s+configuration\s+are\s+named\s+"same"`)

// Two resources of a kind can't have one name, whether both are new or one is there.
func TestAccNameTwice(t *testing.T) {
	b := newBench(t)
	const rest = `
data "penstock_source" "s" {
  repository     = "REPO"
  ref            = "main"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" { name = "p" }
`
	for kind, arguments := range map[string]string{
		"penstock_pipeline": `name = NAME`,
		"penstock_stage": `
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  name     = NAME`,
		"penstock_baked_image": `
  pipeline = penstock_pipeline.p.name
  name     = NAME
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.s.image_revision
  steps    = [{ name = "own", command = "echo ${NAME} > name" }]`,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := func(names map[string]string) string {
				text := fmt.Sprintf("provider \"penstock\" { data_dir = %q }\n", dir) + strings.ReplaceAll(rest, "REPO", b.repo)
				for address, name := range names {
					text += fmt.Sprintf("resource %q %q {\n%s\n}\n", kind, address, strings.ReplaceAll(arguments, "NAME", fmt.Sprintf("%q", name)))
				}
				return text
			}
			walk(t,
				resource.TestStep{Config: config(map[string]string{"a": "same", "b": "same"}), ExpectError: twice},
				resource.TestStep{Config: config(map[string]string{"b": "same"})},
				resource.TestStep{Config: config(map[string]string{"a": "same", "b": "same"}), ExpectError: twice},
				resource.TestStep{Config: config(map[string]string{"b": "same", "c": "same"}), ExpectError: twice},
				resource.TestStep{Config: config(map[string]string{"b": "other"})},
				resource.TestStep{Config: config(map[string]string{"a": "same", "b": "other"})},
			)
		})
	}
}

// A resource that is replaced under its name has it to itself.
func TestAccReplacedUnderItsName(t *testing.T) {
	dir := t.TempDir()
	config := func(trigger string, more string) string {
		return fmt.Sprintf(`
provider "penstock" { data_dir = %q }
resource "terraform_data" "trigger" { input = %q }
resource "penstock_pipeline" "p" { name = "p" }
resource "penstock_stage" "s" {
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  name     = "same"
  lifecycle { replace_triggered_by = [terraform_data.trigger] }
}
%s`, dir, trigger, more)
	}
	walk(t,
		resource.TestStep{Config: config("1", "")},
		resource.TestStep{
			Config:           config("2", ""),
			ConfigPlanChecks: plan(plancheck.ExpectResourceAction(stageAddress("s"), plancheck.ResourceActionDestroyBeforeCreate)),
		},
		resource.TestStep{
			Config: config("3", `
resource "penstock_stage" "t" {
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  name     = "same"
}`),
			ExpectError: twice,
		},
	)
}

var taken = regexp.MustCompile(`(?s)terraform\s+import\s+penstock_(stage|baked_image)\.one\s+p/one.*moved\s+block.*exists\s+already`)

// Another stage can take over a name only after an apply in which the first one gave it
// up: a planned name can't be distinguished from one in another state. An address may
// change.
func TestAccStageNameTakenOver(t *testing.T) {
	stage := func(address, name, more string) string {
		return fmt.Sprintf(`
resource "penstock_stage" %q {
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  name     = %q
  %s
}`, address, name, more)
	}
	const early = "lifecycle { create_before_destroy = true }"
	for name, tt := range map[string]struct{ before, after string }{
		"beside":                     {stage("a", "one", ""), stage("a", "two", "") + stage("b", "one", "")},
		"before the one that had it": {stage("a", "one", early), stage("a", "two", early) + stage("b", "one", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := fmt.Sprintf("provider \"penstock\" { data_dir = %q }\nresource \"penstock_pipeline\" \"p\" { name = \"p\" }\n", t.TempDir())
			walk(t,
				resource.TestStep{Config: start + tt.before},
				resource.TestStep{Config: start + tt.after, ExpectError: taken},
				resource.TestStep{Config: start + strings.Replace(tt.before, `"one"`, `"two"`, 1)},
				resource.TestStep{Config: start + tt.after},
			)
		})
	}
	t.Run("under another address", func(t *testing.T) {
		t.Parallel()
		start := fmt.Sprintf("provider \"penstock\" { data_dir = %q }\nresource \"penstock_pipeline\" \"p\" { name = \"p\" }\n", t.TempDir())
		walk(t,
			resource.TestStep{Config: start + stage("a", "one", "")},
			resource.TestStep{Config: start + stage("b", "one", ""), ExpectError: taken},
			resource.TestStep{
				Config:           start + stage("b", "one", "") + "\nmoved {\n  from = penstock_stage.a\n  to   = penstock_stage.b\n}\n",
				ConfigPlanChecks: plan(plancheck.ExpectResourceAction(stageAddress("b"), plancheck.ResourceActionNoop)),
			},
		)
	})
}
