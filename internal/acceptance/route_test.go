// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// TestRouteOnAWS takes the route on the test cloud.
func TestRouteOnAWS(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a pipeline through all its stages; `make test` runs it")
	}
	s := newSite(t.Context(), t, simulated(t))
	s.route()
	wantShapes(t, s.records())
	report(t, s)
	if s.meter.instances < 2 || s.meter.balancers < 1 {
		t.Errorf("the meter saw %s", &s.meter)
	}
}

// TestOnAccount takes the route on an account of AWS's. It says first what that may cost,
// and asks.
func TestOnAccount(t *testing.T) {
	a, agreed := realAccount(t)
	ctx, cancel := context.WithTimeoutCause(interruptible(t), limit, fmt.Errorf("the time is up, after %s", limit))
	defer cancel()
	before, err := left(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := agreed.ask(ctx, proposal(a, before), ceiling()); err != nil {
		t.Fatal(err)
	}
	where, err := address(ctx)
	if err != nil {
		t.Fatalf("find the address of this machine, which alone may reach the instances: %v", err)
	}
	a.flags = []string{"--public-instances", "--clients", where + "/32", "--test-clients", where + "/32"}
	s := newSite(ctx, t, a)
	defer report(t, s)
	s.route()
}

// ttl is the time to live of the self-service environment.
const ttl = 10 * time.Minute

// config returns examples/aws as the route has it: small, quick, and with a copy of the
// image in a second region. Each edit must find its text.
func config(t *testing.T, a *account) string {
	t.Helper()
	text, err := os.ReadFile(examples("aws/main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for _, edit := range append(a.edits, [][2]string{
		{`= "penstock"  # that`, `= "` + a.stack + `"  # that`},
		{`{ team = "shop" }`, `{ team = "shop", ` + mark + ` = "` + a.region + `" }`},
		{`instance_type    = "t4g.small"`, `instance_type    = "` + a.instanceType + `"`},
		{`{ instances = 2, instance_type = "m7g.large" }`, `{ instances = 1, instance_type = "` + a.instanceType + `" }`},
		{`"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"`, `"` + a.image + `"`},
		{`{ ssm_parameter = "/penstock/shop/base" }`, `{ ssm_parameter = "/penstock/` + a.stack + `/base", regions = ["` + a.second + `"] }`},
		{`GOOS=linux GOARCH=arm64`, `GOOS=linux GOARCH=` + a.architecture},
		{`{ instance_type = "t4g.small" }`, `{ instance_type = "` + a.instanceType + `" }`}, // of acceptance
		{`{ instance_type = "t4g.small" }`, `{ instance_type = "` + a.instanceType + `" }`}, // of exploratory
		{`{ port = 82 }`, `{ port = 82, instances = 2` + a.extra + ` }`},
		{`duration = "2m", path = "/products", p99 = "200ms"`, `duration = "` + a.load + `", path = "/products", p99 = "10s"`},
		{`duration = "2m", path = "/products", p99 = "500ms"`, `duration = "` + a.load + `", path = "/products", p99 = "10s"`},
		{`{ port = 84 }`, `{ port = 84` + a.extra + ` }`},
		{`[{ percent = 10, pause = "5m" }, { percent = 50, pause = "5m" }]`, `[{ percent = 10, pause = "` + a.pause + `" }, { percent = 50, pause = "` + a.pause + `" }]`},
		{`keep_previous = "1h"`, `keep_previous = "1h"` + strings.Replace(a.extra, ", ", "\n    ", 1)},
	}...) {
		if edit[0] == edit[1] {
			continue
		}
		if !strings.Contains(config, edit[0]) {
			t.Fatalf("examples/aws/main.tf has no %s any more: change the edits of this test", edit[0])
		}
		config = strings.Replace(config, edit[0], edit[1], 1)
	}
	return config
}

// route goes from an empty account to production and back, and leaves it empty, also when
// it fails.
func (s *site) route() {
	t, a := s.t, s.account
	t.Helper()
	// What a run before has left would be in the way.
	s.step("sweep what was left", func() { t.Logf("removed: %v", s.sweep()) })
	t.Cleanup(s.sweepAtEnd)
	ctx, stop := context.WithCancelCause(s.ctx)
	defer stop(nil)
	s.ctx = ctx
	go s.watch(ctx, stop)
	s.step("bootstrap", s.bootstrap)
	s.step("bake, build, acceptance, capacity", s.apply)
	s.step("check the copy in "+a.second, s.wantCopy)
	first := s.toProduction("first")
	s.change("01-feature", "Add a product")
	s.step("the next build, with the provider killed", s.killed)
	second := s.toProduction("second")
	if first == second {
		t.Errorf("two commits are one build, %s", first)
	}
	s.step("roll back", func() {
		s.produce(first)
		s.wantVersion(s.output("production"), first)
	})
	s.selfService(second)
	s.penstock(cloudtest.Deployer, "ledger", "verify")
	s.step("destroy", func() {
		s.run(cloudtest.Deployer, s.dir, terraform, "destroy", "-auto-approve", "-no-color", "-input=false")
	})
	s.step("remove the stack", func() {
		s.penstock(cloudtest.Owner, "bootstrap", "--region", a.region, "--stack", a.stack, "--destroy", "--yes")
	})
	s.step("sweep", func() {
		for _, name := range s.sweep() {
			// The stack keeps what nobody can make again, and its group removes schedules in its own time.
			if !strings.HasPrefix(name, "bucket ") && !strings.HasPrefix(name, "table ") {
				t.Errorf("a destroy left %s", name)
			}
		}
	})
}

// bootstrap makes the stack, with the mark.
func (s *site) bootstrap() {
	s.t.Helper()
	args := []string{"bootstrap", "--region", s.region, "--stack", s.stack, "--tags", mark + "=" + s.region, "--yes"}
	s.penstock(cloudtest.Owner, append(args, s.flags...)...)
	s.run(cloudtest.Owner, s.dir, terraform, "init", "-no-color", "-input=false")
}

func (s *site) sweep() []string {
	s.t.Helper()
	removed, err := sweep(s.ctx, s.account)
	s.must(err)
	return removed
}

// sweepAtEnd removes what is left of a route that failed. The time of the test has ended then.
func (s *site) sweepAtEnd() {
	s.t.Helper()
	removed, err := sweep(context.WithoutCancel(s.ctx), s.account)
	if err != nil {
		s.t.Errorf("%v\nremove what is left with `make acceptance-aws-sweep`", err)
	}
	if len(removed) > 0 {
		s.t.Logf("removed at the end: %v", removed)
	}
}

// change commits a change of the shop.
func (s *site) change(name, message string) {
	s.t.Helper()
	overlay := examples("quickstart/commits/" + name)
	s.must(filepath.WalkDir(overlay, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(overlay, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(s.repo, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	}))
	s.commit(message)
}

// killed applies, kills the provider when it has asked for an image, and applies again.
// Nothing is there twice.
func (s *site) killed() {
	s.t.Helper()
	killed := s.killAt("CreateImage")
	out, err := s.try(cloudtest.Deployer, s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	if !killed() || err == nil {
		s.t.Fatalf("the provider was not killed: %v\n%s", err, out)
	}
	s.apply()
	if left := s.garbage(); len(left) > 0 {
		s.t.Errorf("after a kill there is garbage: %v", left)
	}
}

// toProduction approves the newest build, and deploys it. It returns the build.
func (s *site) toProduction(which string) (build string) {
	s.t.Helper()
	s.step("approve the "+which+" build", func() {
		s.penstock(cloudtest.Approver, "approve", "shop", "exploratory", "--reason", "tried it", "--yes")
	})
	s.step("the "+which+" build in pre-production", s.apply)
	s.step("the "+which+" build in production", func() {
		build = s.output("ready")
		s.produce(build)
		s.wantVersion(s.output("production"), build)
	})
	return build
}

// produce makes a build production's.
func (s *site) produce(build string) {
	s.t.Helper()
	s.write(filepath.Join(s.dir, "production.auto.tfvars"), fmt.Sprintf("production_build = %q\n", build))
	s.apply()
}

// wantCopy asserts that the second region has the image.
func (s *site) wantCopy() {
	s.t.Helper()
	images, err := ec2.NewFromConfig(s.at(s.second)).DescribeImages(s.ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: s.tagged()})
	s.must(err)
	if len(images.Images) != 1 {
		s.t.Errorf("%s has %d images, want one", s.second, len(images.Images))
	}
}

// launch launches an environment as a launcher, from a configuration that has nothing else. It
// returns what runs Terraform there.
func (s *site) launch(build string) (launcher func(args ...string) string) {
	s.t.Helper()
	dir := filepath.Join(s.root, "bob")
	s.must(os.Mkdir(dir, 0o755))
	s.write(filepath.Join(dir, "main.tf"), fmt.Sprintf(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {
  aws = {
    region           = %q
    stack            = %q
    instance_type    = %q
    public_endpoints = %t
    default_tags     = { %s = %q }
  }
}
resource "penstock_self_service_env" "bob" {
  pipeline = "shop"
  name     = "bob"
  build    = %q
  ttl      = "%s"
}
output "bob" { value = penstock_self_service_env.bob.endpoint }
`, s.region, s.stack, s.instanceType, s.outside, mark, s.region, build, ttl))
	launcher = func(args ...string) string {
		s.t.Helper()
		return s.run(cloudtest.Launcher, dir, terraform, args...)
	}
	launcher("init", "-no-color", "-input=false")
	launcher("apply", "-auto-approve", "-no-color", "-input=false")
	s.wantVersion(strings.TrimSpace(launcher("output", "-raw", "bob")), build)
	return launcher
}

// selfService launches an environment, and lets its time go by: AWS ends it.
func (s *site) selfService(build string) {
	s.t.Helper()
	var launcher func(args ...string) string
	s.step("a self-service environment", func() { launcher = s.launch(build) })
	s.step("its time to live", func() {
		if n := s.personal(); n != 1 {
			s.t.Errorf("the environment has %d instances, want one", n)
		}
		s.must(s.pass(s.ctx, ttl))
		schedule := poll.Schedule{First: time.Second, Max: 15 * time.Second, Factor: 1.5, Limit: 10 * time.Minute, What: "AWS to end the environment at its time"}
		s.must(poll.Until(s.ctx, schedule, func(context.Context) (poll.Probe, error) {
			n := s.personal()
			return poll.Probe{Done: n == 0, State: fmt.Sprintf("%d running", n)}, nil
		}))
		launcher("destroy", "-auto-approve", "-no-color", "-input=false")
	})
}

// personal returns how many instances there are of self-service environments: those that
// no stage runs.
func (s *site) personal() (n int) {
	s.t.Helper()
	filters := append(s.tagged(), stack.Filter("tag:"+stack.TagRole, fleet.RoleInstance), stack.Filter("instance-state-name", "pending", "running", "stopping", "stopped"))
	found, err := ec2.NewFromConfig(s.own).DescribeInstances(s.ctx, &ec2.DescribeInstancesInput{Filters: filters})
	s.must(err)
	for _, r := range found.Reservations {
		for _, i := range r.Instances {
			if stack.Tag(i.Tags, stack.TagStage) == "" {
				n++
			}
		}
	}
	return n
}
