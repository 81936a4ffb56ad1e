// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const database = `variable "penstock" {
  type = object({ name = string, build = string })
}

resource "terraform_data" "database" {
  triggers_replace = trimspace(file("${path.module}/engine"))
}

resource "terraform_data" "label" {
  input = var.penstock.build
}
`

// infrastructure writes the module of the environments, with the engine of its database.
func (b *bed) infrastructure(engine string) {
	b.Helper()
	dir := filepath.Join(b.repo, "environment")
	b.must(os.MkdirAll(dir, 0o750))
	b.must(os.WriteFile(filepath.Join(dir, "main.tf"), []byte(database), 0o600))
	b.must(os.WriteFile(filepath.Join(dir, "engine"), []byte(engine), 0o600))
}

func needTerraform(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Terraform on PATH")
		}
		t.Skip("there is no Terraform on PATH; `make test` sees to it")
	}
}

// Before a person approves or promotes a build, the page says what its module would do to the
// infrastructure of production, and what will be refused. The page of a run says what it did.
func TestInfrastructureBeforeApproval(t *testing.T) {
	needTerraform(t)
	b := newBed(t)
	b.module = &pipeline.Module{Directory: "environment", Stateful: []string{"terraform_data.database"}}
	b.serve(nil)
	b.infrastructure("1")
	b.commit("1", "With a database")
	b.apply()
	one := b.newest()
	page := b.get("/p/shop/do/approve?" + stageBuild("exploratory", one).Encode())
	b.contains(words(page), "Infrastructure of production 2 to add, 0 to change, 0 to destroy, planned", "terraform_data.database is added")
	b.lacks(words(page), "allow_destroy")
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.press(b.client, "promote", stageBuild("production", one), nil, http.StatusOK)
	b.apply()
	run := b.state().Latest["production"]
	b.contains(words(b.get("/p/shop/runs/"+run.ID)), "Infrastructure 2 added, 0 changed, 0 destroyed in", "terraform_data.database is added")

	b.infrastructure("2")
	b.commit("2", "Another engine")
	b.apply()
	two := b.newest()
	for _, at := range [][2]string{{"approve", "exploratory"}, {"promote", "production"}} {
		action, stage := at[0], at[1]
		if action == "promote" {
			b.press(b.client, "approve", stageBuild("exploratory", two), nil, http.StatusOK)
		}
		page := words(b.get("/p/shop/do/" + action + "?" + stageBuild(stage, two).Encode()))
		b.contains(page, "Infrastructure of production 1 to add, 1 to change, 1 to destroy, planned",
			"Stage production will refuse it without allow_destroy, as data would be lost: terraform_data.database is destroyed and made again (a change of triggers_replace), with its data.")
	}
}

// drifting is a bed whose production has a database in a cloud, which somebody has changed, and
// a deployment that is to be finished.
func drifting(t *testing.T, serve func(*bed)) *bed {
	t.Helper()
	needTerraform(t)
	cloud, mirror := t.TempDir(), t.TempDir()
	b := newBed(t)
	rc := filepath.Join(mirror, "terraformrc")
	b.must(moduletest.Install(mirror))
	b.must(os.WriteFile(rc, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror { path = %q }\n}\n", mirror), 0o600))
	t.Setenv("TF_CLI_CONFIG_FILE", rc)
	t.Setenv("TF_PLUGIN_CACHE_DIR", t.TempDir()) // the machine's may have the provider of another test binary
	b.module = &pipeline.Module{Directory: "environment", DetectDrift: true}
	b.hooks = pipeline.Service{Migrate: "echo migrated", Backup: "echo backup-1", Finish: "echo finished", FinishAfter: 3 * time.Hour}
	serve(b)
	b.infrastructure("1")
	b.must(os.WriteFile(filepath.Join(b.repo, "environment", "main.tf"), fmt.Appendf(nil, `terraform {
  required_providers {
    cloud = { source = "acme/cloud" }
  }
}
provider "cloud" { dir = %q }
variable "penstock" { type = object({ environment = string }) }
resource "cloud_database" "main" {
  for_each = toset(["main", "archive"])
  name     = "${each.key}-${var.penstock.environment}"
  size     = 1
}
`, cloud), 0o600))
	b.commit("1", "With a database")
	b.apply()
	build := stageBuild("exploratory", b.newest())
	b.press(b.client, "approve", build, nil, http.StatusOK)
	b.press(b.client, "promote", stageBuild("production", b.newest()), nil, http.StatusOK)
	b.apply()
	databases, err := filepath.Glob(filepath.Join(cloud, "*.db"))
	b.must(err)
	if len(databases) < 2 {
		t.Fatalf("there are databases %v", databases)
	}
	for _, name := range databases {
		b.must(os.WriteFile(name, []byte(`{"size": 7}`), 0o600))
	}
	if drift, checked, err := b.app.Engine.Stages.Drift(t.Context(), "shop", "production"); err != nil || !checked || drift == nil || drift.Total != 2 {
		t.Fatalf("the check finds %+v: %v", drift, err)
	}
	return b
}

// The card of a stage says what has drifted, and when the deployment will be finished; the page
// of a run lists its hooks.
func TestDriftOnBoard(t *testing.T) {
	b := drifting(t, func(b *bed) { b.serve(nil) })
	b.contains(words(b.cardOf("production")), "drifted", "Drift 2 resources changed outside of the pipeline, found",
		`cloud_database.main["archive"] was changed`, "Finish service.finish is due in")
	run := b.state().Latest["production"]
	page := b.get("/p/shop/runs/" + run.ID)
	b.contains(words(page), "Data Hook Status Took", "service.migrate passed", "service.finish to come", "due in")
	b.contains(page, `<a href="?hook=service.migrate#log">`)
	b.contains(words(b.get("/p/shop/runs/"+run.ID+"?hook=service.migrate")), "migrated")
	b.contains(words(b.get("/p/shop/history")), "drifted")
}
