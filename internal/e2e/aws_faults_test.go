// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// awsFaultConfig is the pipeline of faultConfig on the test cloud.
func awsFaultConfig() string {
	return strings.NewReplacer(
		`provider "penstock" {}`, `provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }`,
		`from     = { directory = "image/rootfs" }`, `from     = { ami = "`+cloudtest.BaseImage+`" }`,
		`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`, `command = "mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`after    = [penstock_stage.acceptance.passed]
}`, `after    = [penstock_stage.acceptance.passed]
  environment = { drain_timeout = "1s" }
}`,
		`interval = "50ms"`, `interval = "50ms", start_timeout = "30s"`,
	).Replace(faultConfig())
}

// newAWSSite makes a site in a bootstrapped account.
func newAWSSite(t *testing.T, config string) (*site, *cloudtest.Cloud) {
	t.Helper()
	c := cloudtest.New(t)
	s := newSite(t, config)
	s.bootstrap(c)
	return s, c
}

// TestKilledAtRequestOnAWS ends the provider with SIGKILL when AWS gets, or has carried
// out, one of its requests, then applies again: everything converges, and nothing is left
// over. By default it is killed at a few requests of an apply that bakes, builds, launches
// and deploys; PENSTOCK_SOAK sets at how many, distributed over all of them.
func TestKilledAtRequestOnAWS(t *testing.T) {
	kills := 3
	if testing.Short() {
		kills = 1
	}
	if n, err := strconv.Atoi(os.Getenv("PENSTOCK_SOAK")); err == nil {
		kills = n
	}
	s, c := newAWSSite(t, awsFaultConfig())
	version := 1
	next := func() string {
		version++
		v := fmt.Sprint(version)
		s.write(filepath.Join(s.repo, "image/rootfs/etc/motd"), v)
		s.commit(v)
		return v
	}
	s.apply()
	next()
	c.ResetCalls()
	s.apply()
	requests := len(c.Calls())
	seed := uint64(time.Now().UnixNano())
	t.Logf("an apply makes %d requests; seed %d", requests, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range kills {
		want := next()
		k, after := 1+(requests*i+random.IntN(requests))/kills, i%2 == 1
		when := fmt.Sprintf("killed at request %d, after its effect: %t", k, after)
		c.ResetCalls()
		c.Fail(cloudtest.Fault{Nth: k, After: after, Do: func() { s.killProvider() }})
		said, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
		c.Mend()
		if err == nil && len(c.Calls()) >= k {
			t.Fatalf("%s: the apply ended well:\n%s", when, said)
		}
		if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err != nil {
			t.Fatalf("%s: the next apply: %v\n%s\nthe killed one had said:\n%s", when, err, out, said)
		} else if strings.Contains(out, "No changes") { // it was killed when all was done but the collection of garbage
			s.penstock("gc", "--yes")
		}
		s.checkWholeOnAWS(c, when, want)
	}
	s.destroy()
	s.wantNothingOnAWS(c)
}

// killProvider ends the provider that works for the site.
func (s *site) killProvider() {
	for pid, line := range s.processes() {
		if strings.Contains(line, "terraform-provider-penstock") && !strings.Contains(line, " __") {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	}
}

// checkWholeOnAWS asserts that the last apply reached what the configuration says, and
// that nothing else exists.
func (s *site) checkWholeOnAWS(c *cloudtest.Cloud, when, version string) {
	s.t.Helper()
	s.checkApplied(when, version)
	if running := c.Running(); len(running) != 2 {
		s.t.Fatalf("%s: %d instances run, want production's 2", when, len(running))
	}
	groups, err := autoscaling.NewFromConfig(c.Own()).DescribeAutoScalingGroups(s.t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
	s.must(err)
	balancers := elb.NewFromConfig(c.Own())
	targets, err := balancers.DescribeTargetGroups(s.t.Context(), &elb.DescribeTargetGroupsInput{})
	s.must(err)
	front, err := balancers.DescribeLoadBalancers(s.t.Context(), &elb.DescribeLoadBalancersInput{})
	s.must(err)
	if len(groups.AutoScalingGroups) != 1 || len(targets.TargetGroups) != 1 || len(front.LoadBalancers) != 1 {
		s.t.Fatalf("%s: %d groups, %d target groups and %d load balancers, want one of each", when, len(groups.AutoScalingGroups), len(targets.TargetGroups), len(front.LoadBalancers))
	}
}

// wantNothingOnAWS asserts that nothing of the pipeline is left in the account.
func (s *site) wantNothingOnAWS(c *cloudtest.Cloud) {
	s.t.Helper()
	machines := ec2.NewFromConfig(c.Own())
	images, err := machines.DescribeImages(s.t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	s.must(err)
	snapshots, err := machines.DescribeSnapshots(s.t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	s.must(err)
	templates, err := machines.DescribeLaunchTemplates(s.t.Context(), &ec2.DescribeLaunchTemplatesInput{})
	s.must(err)
	own := 0
	for _, snapshot := range snapshots.Snapshots {
		if aws.ToString(snapshot.OwnerId) == c.ID {
			own++
		}
	}
	if n := len(c.Running()); n+len(images.Images)+own+len(templates.LaunchTemplates) > 0 {
		s.t.Errorf("%d instances, %d images, %d snapshots and %d launch templates are left", n, len(images.Images), own, len(templates.LaunchTemplates))
	}
}
