// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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

// Before a person approves or promotes a build, the page says what its module would do to the
// infrastructure of production, and what will be refused. The page of a run says what it did.
func TestInfrastructureBeforeApproval(t *testing.T) {
	if _, err := exec.LookPath("terraform"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Terraform on PATH")
		}
		t.Skip("there is no Terraform on PATH; `make test` sees to it")
	}
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
