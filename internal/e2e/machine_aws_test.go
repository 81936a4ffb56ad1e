// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// One configuration bakes for two architectures, each on machines of its own. A plan refuses
// an image for machines of another, and makes nothing.
func TestArchitecturesOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	config := func(arm string) string {
		return strings.NewReplacer("REGION", cloudtest.Region, "X86", cloudtest.BaseImage, "ARM", cloudtest.ArmImage, "TYPE", arm).Replace(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" { aws = { region = "REGION" } }
data "penstock_source" "p" {
  repository     = "../repo"
  ref            = "main"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" { name = "p" }
resource "penstock_baked_image" "base" {
  for_each      = { x86 = { ami = "X86", type = null }, arm = { ami = "ARM", type = TYPE } }
  pipeline      = penstock_pipeline.p.name
  name          = each.key
  from          = { ami = each.value.ami }
  instance_type = each.value.type
  volume        = { size = 20, type = "gp3" }
  source        = data.penstock_source.p.image_revision
  steps         = [{ name = "s", command = "echo \"$HOME\" > stamp" }]
}
output "images" { value = "${penstock_baked_image.base["x86"].image_id} ${penstock_baked_image.base["arm"].image_id}" }
`)
	}
	s := newSite(t, config("null"))
	s.bootstrap(c)
	out, err := s.try(s.dir, terraform, "plan", "-no-color", "-input=false")
	if text := strings.Join(strings.Fields(out), " "); err == nil || !strings.Contains(text, "is of architecture arm64") || !strings.Contains(text, "Set instance_type to a type of architecture arm64") {
		t.Fatalf("a plan of an arm64 image on the default type: %v\n%s", err, out)
	}
	if n := c.Count()["RunInstances"]; n > 0 {
		t.Errorf("a plan launched %d instances", n)
	}
	s.write(filepath.Join(s.dir, "main.tf"), config(`"t4g.small"`))
	s.apply()
	if images := strings.Fields(s.output("images")); len(images) != 2 || images[0] == images[1] {
		t.Errorf("the images are %v", images)
	}
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after an apply is not empty:\n%s", out)
	}
	s.run(s.dir, terraform, "destroy", "-auto-approve", "-no-color", "-input=false")
}
