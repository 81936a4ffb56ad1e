// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
)

const driftConfig = `
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
data "penstock_source" "s" {
  repository     = "<REPO>"
  ref            = "main"
  infrastructure = ["image/**"]
  module         = ["environment/**"]
}
resource "penstock_pipeline" "p" {
  name    = "p"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec <SELF> <SERVE>"
    health_check = { path = "/", interval = "50ms" }
  }
  module = {
    directory = "environment"
    terraform = "<PROGRAM>"
    variables = { dir = "<CLOUD>", password = "hush-hush" }
    <DRIFT>
  }
  scale = { instances = 1 }
}
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.p.name
  name     = "base"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.s.image_revision
}
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.p.name
  type       = "commit"
  source     = data.penstock_source.s.revision
  base_image = penstock_baked_image.base.image_id
  steps      = [{ name = "build", command = "tar -czf dist.tar.gz version" }]
  artifact   = "dist.tar.gz"
}
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.p.name
  type     = "production"
  trigger  = "automatic"
  after    = [penstock_stage.commit.passed]
}
`

const driftModule = `
terraform {
  required_providers {
    cloud = { source = "acme/cloud" }
  }
}
variable "dir" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
provider "cloud" { dir = var.dir }
resource "cloud_database" "main" {
  name     = "main"
  size     = 1
  password = var.password
}
`

// driftSite is a site whose environments have a database in a cloud.
type driftSite struct {
	*site
	cloud, calls string
}

// newDriftSite makes a site of a module, for whose Terraform a program stands that says in a
// file how it is called.
func newDriftSite(t *testing.T) *driftSite {
	t.Helper()
	t.Parallel()
	cloud, tools := t.TempDir(), t.TempDir()
	s := &driftSite{cloud: cloud, calls: filepath.Join(tools, "calls")}
	s.site = newSite(t, "")
	s.must(moduletest.Install(filepath.Join(s.root, "mirror")), os.Mkdir(filepath.Join(s.repo, "environment"), 0o755))
	program := filepath.Join(tools, "terraform")
	s.must(os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho \"$1\" >> '%s'\nexec '%s' \"$@\"\n", s.calls, terraform), 0o755))
	s.write(filepath.Join(s.repo, "environment", "main.tf"), driftModule)
	s.commit("one")
	return s
}

// configure writes the configuration, with what it says of drift.
func (s *driftSite) configure(drift string) {
	s.t.Helper()
	self, err := os.Executable()
	s.must(err)
	s.write(filepath.Join(s.dir, "main.tf"), strings.NewReplacer("<REPO>", s.repo, "<SELF>", self, "<SERVE>", serviceArg,
		"<PROGRAM>", filepath.Join(filepath.Dir(s.calls), "terraform"), "<CLOUD>", s.cloud, "<DRIFT>", drift).Replace(driftConfig))
	s.run(s.dir, terraform, "init", "-no-color", "-input=false")
}

// called returns how Terraform was called for modules since it was asked last.
func (s *driftSite) called() string {
	s.t.Helper()
	text, err := os.ReadFile(s.calls)
	if !os.IsNotExist(err) {
		s.must(err, os.Remove(s.calls))
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// database makes the database of the cloud another.
func (s *driftSite) database(text string) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.cloud, "main.db"), []byte(text), 0o600))
}

// plan plans, and checks that nothing would move.
func (s *driftSite) plan() string {
	s.t.Helper()
	code, said := s.planned()
	if code != 0 || !strings.Contains(said, "No changes.") {
		s.t.Fatalf("the plan ends with %d:\n%s", code, said)
	}
	return strings.Join(strings.Fields(strings.NewReplacer("│", "", "╷", "", "╵", "").Replace(said)), " ")
}

// says returns what the command line says of the drift of production.
func (s *driftSite) says() (drift *struct {
	Changes []struct{ Address, Action string } `json:"outside_changes"`
	Total   int                                `json:"resources_drifted"`
	Unknown string                             `json:"unknown"`
}) {
	s.t.Helper()
	var all []struct {
		Stages []struct {
			Name  string
			Drift json.RawMessage
		}
	}
	s.must(json.Unmarshal([]byte(s.penstock("status", "--json")), &all))
	for _, stage := range all[0].Stages {
		if stage.Name == "production" && stage.Drift != nil {
			s.must(json.Unmarshal(stage.Drift, &drift))
		}
	}
	return drift
}

// TestDrift has somebody change a database behind the back of a pipeline, with the real binary:
// a plan finds it, once; nothing moves; the next deployment repairs it.
func TestDrift(t *testing.T) {
	s := newDriftSite(t)
	s.configure("")
	s.apply()
	s.database(`{"size": 5}`)
	s.called()
	if said := s.plan(); strings.Contains(said, "drift") || s.says() != nil || s.called() != "" {
		t.Errorf("without detect_drift, a plan says %s", said)
	}

	s.configure("detect_drift = true")
	s.apply() // its refresh is before that
	if calls := s.called(); calls != "" {
		t.Errorf("the apply that switches it on calls Terraform with %s", calls)
	}
	first := s.plan()
	for _, want := range []string{"The infrastructure has drifted", "cloud_database.main was changed", "Nothing moves because of it"} {
		if !strings.Contains(first, want) {
			t.Errorf("a plan does not say %q: %s", want, first)
		}
	}
	if calls := s.called(); strings.Count(calls, "plan") != 1 || strings.Contains(calls, "apply") {
		t.Errorf("the plan calls Terraform with %q", calls)
	}
	drift := s.says()
	if drift == nil || drift.Total != 1 || drift.Changes[0].Address != "cloud_database.main" || drift.Changes[0].Action != "update" {
		t.Errorf("the status has %+v", drift)
	}
	if said := s.penstock("status"); !strings.Contains(strings.Join(strings.Fields(said), " "), "drift: 1 resource changed outside of the pipeline") {
		t.Errorf("the status says %s", said)
	}
	if said := s.plan(); !strings.Contains(said, "cloud_database.main was changed") {
		t.Errorf("the next plan says %s", said)
	}
	s.apply("-refresh-only")
	if said := s.run(s.dir, terraform, "state", "show", "-no-color", "penstock_stage.production"); !strings.Contains(said, `address = "cloud_database.main"`) {
		t.Errorf("the state has %s", said)
	}
	if said := s.plan(); strings.Contains(said, "hush") {
		t.Errorf("a plan tells a secret: %s", said)
	}
	if calls := s.called(); calls != "" {
		t.Errorf("within drift_every, Terraform is called with %q", calls)
	}

	s.commit("two")
	s.apply()
	if text, err := os.ReadFile(filepath.Join(s.cloud, "main.db")); err != nil || strings.Contains(string(text), "5") {
		t.Errorf("after a deployment the database is %s: %v", text, err)
	}
	s.called()
	if said := s.plan(); strings.Contains(said, "drift") || s.says() != nil || s.called() != "" {
		t.Errorf("after a deployment, a plan says %s", said)
	}
	s.destroy()
	if left, err := filepath.Glob(filepath.Join(s.cloud, "*")); err != nil || len(left) > 0 {
		t.Errorf("a destroy leaves %v: %v", left, err)
	}
}

// A check that fails breaks no plan, and is said; a watcher checks, too, and does not apply
// because of what it finds.
func TestDriftCheckFails(t *testing.T) {
	s := newDriftSite(t)
	s.configure(`
    detect_drift = true
    drift_every  = "1ms"`)
	s.apply()
	s.database("not to be read")
	said := s.plan()
	if !strings.Contains(said, "Drift could not be checked") || !strings.Contains(said, "Read database") || strings.Contains(said, "hush") {
		t.Errorf("a plan says %s", said)
	}
	if drift := s.says(); drift == nil || !strings.Contains(drift.Unknown, "cloud_database.main") {
		t.Errorf("the status has %+v", drift)
	}
	s.must(os.Remove(filepath.Join(s.cloud, "main.db")))
	s.called()
	watched := s.penstock("watch", s.dir, "--once", "--json", "--terraform", terraform)
	if strings.Contains(watched, `"apply"`) || !strings.Contains(watched, `"watching"`) {
		t.Errorf("the watcher says %s", watched)
	}
	if drift := s.says(); drift == nil || drift.Total != 1 || drift.Changes[0].Action != "destroy" || !strings.Contains(s.called(), "plan") {
		t.Errorf("after the watcher, the status has %+v", drift)
	}
	s.commit("two")
	s.apply()
	if _, err := os.Stat(filepath.Join(s.cloud, "main.db")); err != nil {
		t.Errorf("a deployment does not make the database again: %v", err)
	}
	s.destroy()
}
