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
	"time"
)

// targets configures a stage that deploys to several places of this machine.
func targets(t *testing.T, of string) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("SELF", self, "SERVICE", serviceArg, "TARGETS", of).Replace(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
data "penstock_source" "shop" {
  repository = "../repo"
  ref        = "main"
}
resource "penstock_pipeline" "shop" {
  name    = "shop"
  service = {
    install      = "cp \"$PENSTOCK_ARTIFACT\" version && if grep -q only-in-us version; then [ \"$PENSTOCK_TARGET\" != us ] || echo broken > version; fi"
    start        = "exec SELF SERVICE"
    health_check = { path = "/", interval = "50ms" }
  }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.shop.revision
  artifact = "version"
}
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.shop.name
  type     = "production"
  trigger  = "automatic"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "smoke", http = { path = "/" } }]
  targets  = [TARGETS]
  rollout  = { pause = "2s" }
}
output "current" { value = jsonencode(penstock_stage.production.current_by_target) }
output "endpoints" { value = jsonencode(penstock_stage.production.endpoint_by_target) }
`)
}

// answers checks what each target says, and that Terraform has the one build for all.
func (s *site) answers(when string, want map[string]string) {
	s.t.Helper()
	var builds, endpoints map[string]string
	s.must(json.Unmarshal([]byte(s.output("current")), &builds), json.Unmarshal([]byte(s.output("endpoints")), &endpoints))
	got := map[string]string{}
	for target, endpoint := range endpoints {
		got[target] = s.answer(endpoint)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Fatalf("%s: the targets answer %v, want %v", when, got, want)
	}
	for target := range want {
		if builds[target] == "" {
			s.t.Errorf("%s: Terraform has the builds %v", when, builds)
		}
	}
	if code, out := s.planned(); code != 0 {
		s.t.Errorf("%s: the next plan is not empty:\n%s", when, out)
	}
}

// A stage deploys to several targets, wave by wave: what fails at one takes all back, what is
// killed goes on where it was, and targets come and go.
func TestTargets(t *testing.T) {
	s := newSite(t, targets(t, `{ name = "eu" }, { name = "us", wave = 2 }, { name = "ap", wave = 2 }`))
	all := func(version string) map[string]string {
		return map[string]string{"eu": version, "us": version, "ap": version}
	}
	s.apply()
	s.answers("after the first apply", all("1"))

	s.commit("2 only-in-us")
	if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "target us: run") {
		t.Fatalf("a build that fails at one target: %v\n%s", err, out)
	}
	var status []struct {
		Stages []struct {
			Current struct {
				Targets []struct{ Name, Message, Status string } `json:"by_target"`
			}
		}
	}
	s.must(json.Unmarshal([]byte(s.penstock("status", "--json")), &status))
	for _, target := range status[0].Stages[1].Current.Targets {
		if target.Message != "version 1" || target.Status != "running" {
			t.Errorf("after it, %+v", target)
		}
	}

	s.commit("3")
	apply := s.command(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	s.must(apply.Start())
	for end := time.Now().Add(time.Minute); !strings.Contains(s.penstock("status"), "targets run: eu #3; us #1; ap #1"); {
		if time.Now().After(end) {
			t.Fatalf("no target is ahead of the others:\n%s", s.penstock("status"))
		}
	}
	s.killProvider()
	_ = apply.Wait()
	s.apply()
	s.answers("after a kill", all("3"))

	s.write(filepath.Join(s.dir, "main.tf"), targets(t, `{ name = "eu", instances = 2 }, { name = "ap", wave = 2 }, { name = "sa", wave = 3 }`))
	s.apply()
	s.answers("with another target", map[string]string{"eu": "3", "ap": "3", "sa": "3"})
	if out := s.penstock("env", "exec", "--stage", "production@sa", "--", "cat version; echo at $PENSTOCK_TARGET of $PENSTOCK_STAGE"); !strings.Contains(out, "at sa of production") {
		t.Errorf("a command at a target says %q", out)
	}
	if out, err := s.try(s.dir, binary, "env", "exec", "--stage", "production", "--", "true"); err == nil || !strings.Contains(out, "production@sa") {
		t.Errorf("a command at no target: %v, %s", err, out)
	}
	s.destroy()
}
