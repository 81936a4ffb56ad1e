// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

// refused makes AWS refuse an action, for a reason that repeating does not mend.
func (b *bed) refused(action, code string) func() {
	return func() {
		b.cloud.Fail(cloudtest.Fault{Action: action, Code: code, Message: "AWS says no to " + action, Times: 9})
	}
}

// failure is a way in which AWS refuses a bake or a deployment.
type failure struct {
	name   string
	begin  func()
	change func(*pipeline.FleetRequest) // of a deployment; nil: nothing
	bake   func(*pipeline.BakeRequest)  // of a bake; nil: nothing
	during func()                       // what happens when the log says that it has begun; nil: nothing
	want   []string                     // of the error and its hint
}

// restore ends what a failure does to AWS.
func (b *bed) restore() {
	b.cloud.Mend()
	b.cloud.FailImages("")
	b.cloud.SetActivities()
	b.cloud.SetPace(cloudtest.Pace{})
}

// terminated takes the instances away that were not there before, once they have begun
// their work.
func (b *bed) terminated(before []string) func() {
	return func() {
		b.cloud.Terminate(slices.DeleteFunc(b.cloud.Running(), func(id string) bool { return slices.Contains(before, id) })...)
	}
}

// Whatever AWS refuses a bake, the error says what and what to do, nothing is left, and
// the next try succeeds.
func TestBakeFailures(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	cases := []failure{
		{name: "no capacity", begin: b.refused("RunInstances", "InsufficientInstanceCapacity"), want: []string{"InsufficientInstanceCapacity", "AWS says no", "another instance type"}},
		{name: "vCPU quota", begin: b.refused("RunInstances", "VcpuLimitExceeded"), want: []string{"VcpuLimitExceeded", "higher quota"}},
		{name: "instance quota", begin: b.refused("RunInstances", "InstanceLimitExceeded"), want: []string{"InstanceLimitExceeded", "higher quota"}},
		{name: "snapshot quota", begin: b.refused("CreateImage", "SnapshotLimitExceeded"), want: []string{"SnapshotLimitExceeded", "higher quota"}},
		{name: "failed image", begin: func() {
			b.cloud.SetPace(cloudtest.Pace{Image: 100 * time.Millisecond})
			b.cloud.FailImages("the snapshot of the volume failed")
		}, want: []string{"is failed", "the snapshot of the volume failed"}},
		{name: "timed out", begin: func() { b.cloud.SetPace(cloudtest.Pace{Command: time.Second}) },
			bake: func(r *pipeline.BakeRequest) { r.Commands[0].Line = "sleep 300" }, want: []string{"step packages did not end", "timeout"}},
		{name: "terminated", begin: func() {}, during: b.terminated(nil),
			bake: func(r *pipeline.BakeRequest) { r.Commands[0].Line = "echo begun; sleep 300" }, want: []string{"terminated", "Try again"}},
	}
	for n, c := range cases {
		b.log = &syncBuffer{}
		r := b.bakeRequest(fmt.Sprintf("r-%d-a", n))
		r.Inputs = fmt.Sprint("k-", n)
		if c.bake != nil {
			c.bake(&r)
		}
		c.begin()
		err := b.whatever(c, func() error { _, err := b.Bake(t.Context(), r); return err })
		b.restore()
		t.Log(c.name, err)
		b.wantError(err, pipeline.CodeFailed, c.want...)
		b.wantNothing()
		again := b.bakeRequest(fmt.Sprintf("r-%d-b", n))
		again.Inputs = r.Inputs
		image, err := b.Bake(t.Context(), again)
		b.must(err)
		list, err := b.Images(t.Context())
		b.must(err)
		for _, i := range list { // one that failed is listed, too, so that it can be removed
			if i.ID == image.ID {
				image.Size = 0
			}
			b.must(b.RemoveImage(t.Context(), i.ID))
		}
		if image.Size != 0 {
			t.Errorf("%s: the image of the next try is not among %v", c.name, list)
		}
		if left := b.leftOf(); len(left) > 0 {
			t.Errorf("%s: there are left %v", c.name, left)
		}
		b.wantNothing()
	}
}

// whatever does the work that a failure happens to.
func (b *bed) whatever(c failure, do func() error) error {
	b.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	if c.during != nil {
		b.eventually("it has begun", func() bool { return strings.Contains(b.log.String(), "begun") })
		c.during()
	}
	return <-done
}

// Whatever AWS refuses a deployment, the error says what and what to do, what served
// before serves on, nothing of the new fleet is left, and the next try succeeds.
func TestDeploymentFailures(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-0", image)))
	activities := func(message string) func() {
		return func() {
			b.cloud.SetActivities(cloudtest.Activity{ID: "a-3", Status: "Failed", Message: message}, cloudtest.Activity{ID: "a-2", Status: "Failed", Message: message}, cloudtest.Activity{ID: "a-1", Status: "Failed", Message: message})
		}
	}
	migrating := func(r *pipeline.FleetRequest) {
		r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: "echo begun; sleep 300"}}
	}
	other := func(more func(*pipeline.FleetRequest)) func(*pipeline.FleetRequest) { // a first deployment
		return func(r *pipeline.FleetRequest) {
			r.Environment = "e-2"
			more(r)
		}
	}
	single := other(func(r *pipeline.FleetRequest) { r.Persistent, r.Instances = false, 1 })
	const noCapacity = "We currently do not have sufficient t3.small capacity. Launching EC2 instance failed."
	const noQuota = "You have requested more vCPU capacity than your current vCPU limit of 32 allows."
	cases := []failure{
		{name: "no capacity", begin: activities(noCapacity), want: []string{noCapacity, "more subnets"}},
		{name: "vCPU quota", begin: activities(noQuota), want: []string{noQuota, "Correct what AWS names"}},
		{name: "no capacity for an instance", begin: b.refused("RunInstances", "InsufficientInstanceCapacity"), change: single, want: []string{"InsufficientInstanceCapacity", "subnets in more zones"}},
		{name: "quota of load balancers", begin: b.refused("CreateLoadBalancer", "TooManyLoadBalancers"), change: other(func(*pipeline.FleetRequest) {}), want: []string{"TooManyLoadBalancers", "higher quota"}},
		{name: "quota of target groups", begin: b.refused("CreateTargetGroup", "TooManyTargetGroups"), want: []string{"TooManyTargetGroups", "higher quota"}},
		{name: "quota of groups", begin: b.refused("CreateAutoScalingGroup", "LimitExceeded"), want: []string{"LimitExceeded", "higher quota"}},
		{name: "never healthy", begin: func() {}, change: func(r *pipeline.FleetRequest) {
			r.Service.HealthCheck = &pipeline.HealthCheck{Path: "/healthz", StartTimeout: time.Second}
			r.Env[platformtest.Mode] = platformtest.ModeSick
		}, want: []string{"0 healthy", "Target.FailedHealthChecks", "health_check"}},
		{name: "timed out", begin: func() { b.cloud.SetPace(cloudtest.Pace{Command: time.Second}) }, change: migrating, want: []string{"service.migrate did not end", "timeout"}},
		{name: "terminated", begin: func() {}, change: migrating, want: []string{"terminated", "Try again"}},
		{name: "a single instance terminated", begin: func() {}, change: func(r *pipeline.FleetRequest) { migrating(r); single(r) }, want: []string{"terminated", "Try again"}},
	}
	serving := "f-0"
	for n, c := range cases {
		b.log = &syncBuffer{}
		r := b.persistent(fmt.Sprintf("f-%d-a", n), image)
		if c.change != nil {
			c.change(&r)
		}
		if c.want[0] == "terminated" {
			c.during = b.terminated(b.cloud.Running())
		}
		c.begin()
		err := b.whatever(c, func() error { return b.deploy(r) })
		b.restore()
		t.Log(c.name, err)
		b.wantError(err, pipeline.CodeFailed, c.want...)
		if got := b.serves(5); got[serving] != 5 || len(b.cloud.Running()) != 2 {
			t.Errorf("%s: the requests are answered by %v, on %v", c.name, got, b.cloud.Running())
		}
		if left, err := b.target(r.Fleet); err != nil || left != "" {
			t.Errorf("%s: the target group %s is left, %v", c.name, left, err)
		}
		next := b.persistent(fmt.Sprintf("f-%d-b", n), image)
		if next.Environment = r.Environment; r.Environment != "e-1" {
			next.Persistent, next.Instances = r.Persistent, r.Instances
			b.must(b.deploy(next))
			b.must(b.Destroy(t.Context(), next.Environment))
			continue
		}
		b.must(b.deploy(next))
		serving = next.Fleet
		if got := b.serves(5); got[serving] != 5 {
			t.Errorf("%s: after the next try the requests are answered by %v", c.name, got)
		}
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
