// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// TestRouteOnAWS takes the same pipeline as on the local platform through the test
// cloud: what differs is the provider block, and that images begin with an AMI. The
// stack below it is made by the command.
func TestRouteOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	config := strings.NewReplacer(
		`provider "penstock" {}`, `provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }`,
		`from     = { directory = "image/rootfs" }`, `from     = { ssm_parameter = "/penstock/team/base" }
  publish  = { regions = ["us-east-1"], ssm_parameter = "/penstock/p/base", deregistration_protection = true }`,
		`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`, `command = "mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`after    = [penstock_stage.acceptance.passed]
}`, `after    = [penstock_stage.acceptance.passed]
  environment = { port = 8000, drain_timeout = "1s", shift = [{ percent = 50, pause = "1s" }], alarms = ["errors"], keep_previous = "1h",
    scaling = { min = 1, max = 6, target = { cpu = 60 }, schedule = [{ name = "night", cron = "0 20 * * *", time_zone = "Europe/Berlin", min = 1 }] } }
}`,
		`interval = "50ms"`, `interval = "50ms", start_timeout = "5s"`,
	).Replace(faultConfig()) + `
resource "penstock_self_service_env" "alice" {
  pipeline = penstock_pipeline.p.name
  name     = "alice"
  after    = [penstock_stage.acceptance.passed]
  ttl      = "1h"
}
output "base" { value = "${penstock_baked_image.base.source_image_id} ${penstock_baked_image.base.latest_source_image_id}" }
output "alice" { value = penstock_self_service_env.alice.endpoint }
output "accepted" { value = penstock_stage.acceptance.passed.build }
`
	c.SetAlarm("errors", "OK")
	origin := func(id string) {
		t.Helper()
		_, err := ssm.NewFromConfig(c.Own()).PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/penstock/team/base"), Value: aws.String(id), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
	}
	origin(cloudtest.BaseImage)
	s := newSite(t, config)
	if out := s.bootstrap(c); !strings.Contains(out, "Table") {
		t.Errorf("bootstrap says:\n%s", out)
	}
	c.ResetCalls()
	s.apply()
	if got := s.answer(s.output("production")); got != "1" {
		t.Errorf("production answers %q", got)
	}
	if got := s.answer(s.output("alice")); got != "1" {
		t.Errorf("alice's environment answers %q", got)
	}
	c.ResetCalls()
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after an apply is not empty:\n%s", out)
	}
	const names = 2 // one request to each region that has the image's parameter, whose value is compared
	if calls := c.Calls(); len(calls) > 12+names {
		t.Errorf("a plan took %d requests: %v %+v", len(calls), c.Count(), calls)
	}
	const newer = "ami-0ba5e000000000002"
	origin(newer)
	if _, out := s.planned(); strings.Contains(out, "will be updated") || !strings.Contains(out, newer) {
		t.Errorf("with a newer origin, which the next bake takes up, the plan says:\n%s", out)
	}
	s.commit("2")
	endpoint := regexp.MustCompile(`(?m)^ +[~+-] (production|endpoint) +=.*`)
	if _, out := s.planned(); endpoint.MatchString(out) {
		t.Errorf("a deployment leaves the endpoint as it is, and the plan says %q", endpoint.FindString(out))
	}
	s.apply()
	if _, out := s.planned(); endpoint.MatchString(out) {
		t.Errorf("after a deployment the endpoint is another one: %s", endpoint.FindString(out))
	}
	if got := s.output("base"); got != cloudtest.BaseImage+" "+newer {
		t.Errorf("the base image was baked from, and could be from, %s", got)
	}
	if got := s.answer(s.output("production")); got != "2" {
		t.Errorf("after a commit production answers %q", got)
	}
	launch(t, s, c)
	decide(t, s, c)
	if out := s.penstock("status"); !strings.Contains(out, "production") || !strings.Contains(out, "running") {
		t.Errorf("status says:\n%s", out)
	}
	s.penstock("ledger", "verify")
	elsewhere := t.TempDir()
	s.env = append(s.env, "XDG_CACHE_HOME="+elsewhere)
	if out := s.run(elsewhere, binary, "status", "--stack", "penstock", "--region", cloudtest.Region); !strings.Contains(out, "production") {
		t.Errorf("from elsewhere status says:\n%s", out)
	}
	s.commit("3 broken")
	if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err == nil || !strings.Contains(out, "this version does not start") {
		t.Errorf("a broken commit: %v\n%s", err, out)
	}
	if got := s.answer(s.output("production")); got != "2" {
		t.Errorf("after a broken commit production answers %q", got)
	}
	if left := s.garbage(); len(left) > 0 {
		t.Errorf("there is garbage: %v", left)
	}
	s.destroy()
	if left := c.Running(); len(left) > 0 {
		t.Errorf("instances are left: %v", left)
	}
	for _, region := range []string{cloudtest.Region, "us-east-1"} {
		there := ec2.NewFromConfig(c.Own(), func(o *ec2.Options) { o.Region = region })
		images, err := there.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
		if err != nil || len(images.Images) > 0 {
			t.Errorf("images are left in %s: %v, %v", region, images.Images, err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".penstock")); !os.IsNotExist(err) {
		t.Errorf("the data directory is left: %v", err)
	}
}

// launch launches and ends an environment by a configuration that has nothing else, as
// people with the launcher's role do.
func launch(t *testing.T, s *site, c *cloudtest.Cloud) {
	t.Helper()
	build, dir := s.output("accepted"), filepath.Join(s.root, "bob")
	s.must(os.Mkdir(dir, 0o755))
	s.write(filepath.Join(dir, "main.tf"), `
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }
resource "penstock_self_service_env" "bob" {
  pipeline = "p"
  name     = "bob"
  build    = "`+build+`"
  ttl      = "1h"
}
output "bob" { value = penstock_self_service_env.bob.endpoint }
`)
	s.run(dir, terraform, "init", "-no-color", "-input=false")
	c.ResetCalls()
	defer s.as(c, cloudtest.Launcher)()
	s.run(dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	if got := s.answer(strings.TrimSpace(s.run(dir, terraform, "output", "-raw", "bob"))); got != "2" {
		t.Errorf("bob's environment answers %q", got)
	}
	s.run(dir, terraform, "destroy", "-auto-approve", "-no-color", "-input=false")
}

// decide looks, and decides, as people with the approver's role do while environments
// run.
func decide(t *testing.T, s *site, c *cloudtest.Cloud) {
	t.Helper()
	build := s.output("accepted")
	c.ResetCalls()
	defer s.as(c, cloudtest.Approver)()
	for _, args := range [][]string{
		{"status"}, {"builds", "p"}, {"env", "list", "p"}, {"images"},
		{"reject", "p", "acceptance", build, "--reason", "it is slow"},
		{"approve", "--lift", "p", "acceptance", build, "--yes"},
	} {
		s.penstock(args...)
	}
}
