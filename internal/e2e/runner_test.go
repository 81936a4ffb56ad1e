// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// TestRunnerOnAWS takes a build through stages whose steps run in CodeBuild: the
// artifact that a build there makes is stored, the next stage finds it, and a load is
// made by several builds that run this very binary.
func TestRunnerOnAWS(t *testing.T) {
	var requests atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer service.Close()
	c := cloudtest.New(t)
	s := newSite(t, fmt.Sprintf(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" { aws = { region = %q } }
data "penstock_source" "s" {
  repository = "../repo"
  ref        = "main"
}
resource "penstock_pipeline" "p" {
  name    = "p"
  service = { start = "exec sleep 60" }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = data.penstock_source.s.revision
  runner   = "codebuild"
  steps = [
    { name = "build", command = "echo \"made by $CODEBUILD_BUILD_ID\"; tar -czf dist.tar.gz version" },
    { name = "test", command = "test -s dist.tar.gz; printf '<testsuite><testcase name=\"a\"/></testsuite>' > junit.xml", report = "junit.xml" },
  ]
  artifact = "dist.tar.gz"
}
resource "penstock_stage" "load" {
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  after    = [penstock_stage.commit.passed]
  runner   = "codebuild"
  steps = [
    { name = "artifact", command = "tar -xzOf \"$PENSTOCK_ARTIFACT\" version | grep -v broken" },
    { name = "peak", load = { rate = 40, duration = "1s", url = %q, machines = 2 } },
  ]
}
data "penstock_pipeline" "p" {
  name       = penstock_pipeline.p.name
  depends_on = [penstock_stage.commit]
}
output "run" { value = data.penstock_pipeline.p.stages["commit"].run }
`, cloudtest.Region, service.URL))
	s.bootstrap(c)
	c.ResetCalls()
	s.apply()
	if n := len(c.Builds()); n != 2+1+2 || requests.Load() != 40 {
		t.Errorf("%d builds, %d requests: %v", n, requests.Load(), c.Builds())
	}
	if out := s.penstock("logs", s.output("run")); !strings.Contains(out, "made by penstock-runner:") || !strings.Contains(out, "(1 test, 0 failed, 0 skipped)") {
		t.Errorf("the log of the commit stage says:\n%s", out)
	}
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after an apply is not empty:\n%s", out)
	}
	s.commit("2 broken")
	if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), `step "artifact" failed: exit status 1`) {
		t.Errorf("a step that fails in CodeBuild: %v\n%s", err, out)
	}
	for id, status := range c.Builds() {
		if status == "IN_PROGRESS" {
			t.Errorf("build %s runs on", id)
		}
	}
	s.commit("3")
	s.apply()
	s.destroy()
}
