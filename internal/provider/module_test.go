// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

// database is a module whose database is a file.
const database = `
variable "penstock" {
  type = object({ name = string, environment = string })
}
variable "size" {
  type = string
}
variable "tags" {
  type    = list(string)
  default = []
}
variable "admin" {
  type      = string
  sensitive = true
  default   = "nobody"
}
resource "terraform_data" "database" {
  triggers_replace = [var.size]
  input            = "<DIR>/${var.penstock.name}-${var.penstock.environment}"
  provisioner "local-exec" {
    command = "echo ${var.size} ${join("+", var.tags)} ${length(var.admin)} > ${self.input}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "rm -f ${self.input}"
  }
}
output "env" {
  value = { DATABASE = terraform_data.database.output }
}
output "console" {
  value = "https://<WORD>.example.com/${var.penstock.name}"
}
`

// databases returns the databases that exist, as NAME: content.
func databases(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range found {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		who, _, _ := strings.Cut(filepath.Base(name), "-")
		all = append(all, who+": "+strings.TrimSpace(string(content)))
	}
	return strings.Join(all, "; ")
}

// TestAccModule takes a module through Terraform: it makes what environments need, a change of
// its files is a new build, plans are empty in between, and a destroy leaves nothing.
func TestAccModule(t *testing.T) {
	b, dir := newBench(t), t.TempDir()
	write := func(word string) {
		b.write("environment/main.tf", strings.NewReplacer("<DIR>", dir, "<WORD>", word).Replace(database))
	}
	write("one")
	b.commit("one")
	config := func(variables string) string {
		return strings.Replace(b.config(map[string]string{
			"PIPELINE": `module = { directory = "environment", variables = { size = "small", tags = ["a", "b"] } }`,
			"JOURNEYS": `grep -q 'small a+b 6' \"$DATABASE\"`,
			"MORE": `
resource "penstock_self_service_env" "alice" {
  pipeline             = penstock_pipeline.shop.name
  name                 = "alice"
  after                = [penstock_stage.acceptance.passed]
  variables            = ` + variables + `
  variables_wo         = { admin = "hush-hush" }
  variables_wo_version = 1
}`,
		}), `ignore         = ["*.md"]`, `module         = ["environment/**"]`, 1)
	}
	const address = "penstock_self_service_env.alice"
	has := func(want string) statecheck.StateCheck {
		return stateCheck(func() error {
			if got := databases(t, dir); got != want {
				t.Errorf("the databases are %q, want %q", got, want)
			}
			return nil
		})
	}
	walk(t,
		resource.TestStep{Config: config(`{ size = "large" }`), ConfigStateChecks: []statecheck.StateCheck{
			has("alice: large a+b 9"),
			statecheck.ExpectKnownValue(address, tfjsonpath.New("variables_wo"), knownvalue.Null()),
		}},
		resource.TestStep{ // another module is another build, which alice does not follow
			PreConfig: func() { write("two"); b.git("add", "-A"); b.git("commit", "-qm", "another console") },
			Config:    config(`{ size = "large" }`),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("penstock_baked_image.base", plancheck.ResourceActionNoop),
				plancheck.ExpectResourceAction(stageAddress("commit"), plancheck.ResourceActionUpdate),
				plancheck.ExpectResourceAction(address, plancheck.ResourceActionNoop),
			}},
			ConfigStateChecks: []statecheck.StateCheck{has("alice: large a+b 9")},
		},
		resource.TestStep{ // other variables are another environment
			Config:            config(`{ size = "huge" }`),
			ConfigPlanChecks:  resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)}},
			ConfigStateChecks: []statecheck.StateCheck{has("alice: huge a+b 9")},
		},
		resource.TestStep{ResourceName: address, ImportState: true, ImportStateId: "shop/alice", ImportStateVerify: true, ImportStateVerifyIgnore: []string{"after"}},
		resource.TestStep{ResourceName: "penstock_pipeline.shop", ImportState: true, ImportStateId: "shop", ImportStateVerify: true, ImportStateVerifyIgnore: []string{"module"}},
		resource.TestStep{ // what the module does not have leaves what there is
			Config:      config(`{ sise = "huge" }`),
			ExpectError: regexp.MustCompile(`(?s)has\s+no\s+variable\s+"sise"`),
		},
		resource.TestStep{Config: config(`{ size = "huge" }`), ConfigStateChecks: []statecheck.StateCheck{has("alice: huge a+b 9")}},
	)
	if left := databases(t, dir); left != "" {
		t.Errorf("after the destroy, %q are left", left)
	}
}

// Mistakes in a module's arguments are found before anything is done.
func TestAccInvalidModule(t *testing.T) {
	for name, tt := range map[string]struct{ module, environment, want string }{
		"nothing":                {`{ variables = {} }`, ``, `Exactly one of \[directory source\]`},
		"two places":             {`{ directory = "a", source = "acme/shop/aws" }`, ``, `Exactly one of \[directory source\]`},
		"a version of no source": {`{ directory = "a", version = "1.0" }`, ``, `Version of no source`},
		"no object":              {`{ directory = "a", variables = "small" }`, ``, `Write them as an object`},
		"outside":                {`{ directory = "../a" }`, ``, `without "\.\."`},
		"no such program":        {`{ directory = "a", terraform = "/nowhere/terraform" }`, ``, `/nowhere/terraform`},
		"variables of no module": {`null`, `{ variables = { size = "small" } }`, `has no module that could take them`},
		"secrets of no version":  {`{ directory = "a" }`, `{ variables_wo = { admin = "x" } }`, `Missing version of secrets`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environment := tt.environment
			if environment == "" {
				environment = "{}"
			}
			walk(t, resource.TestStep{
				Config: `
provider "penstock" { data_dir = "` + t.TempDir() + `" }
resource "penstock_pipeline" "p" {
  name    = "p"
  service = { start = "exec sleep 60" }
  module  = ` + tt.module + `
}
resource "penstock_stage" "s" {
  pipeline    = penstock_pipeline.p.name
  type        = "custom"
  environment = ` + environment + `
}`,
				ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(tt.want, " ", `\s+`)),
			})
		})
	}
}
