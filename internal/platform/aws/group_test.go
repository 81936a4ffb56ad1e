// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// autoScalingGroup returns the group of a fleet as AWS has it.
func (b *bed) autoScalingGroup(fleet string) groups.AutoScalingGroup {
	b.Helper()
	out, err := b.groups.DescribeAutoScalingGroups(b.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"penstock-" + fleet}})
	b.must(err)
	if len(out.AutoScalingGroups) != 1 {
		b.Fatalf("there is no group of fleet %s", fleet)
	}
	return out.AutoScalingGroups[0]
}

// Another number of instances keeps what scaling policies have added, and launches
// that failed before, or once, are no reason to give up.
func TestResizeGroup(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	wantSize := func(least, desired int32) {
		t.Helper()
		if g := b.autoScalingGroup("f-1"); aws.ToInt32(g.MinSize) != least || aws.ToInt32(g.DesiredCapacity) != desired || aws.ToInt32(g.MaxSize) < desired {
			t.Errorf("the group has %d instances, %d at least, %d at most, want %d and %d", aws.ToInt32(g.DesiredCapacity), aws.ToInt32(g.MinSize), aws.ToInt32(g.MaxSize), desired, least)
		}
	}
	failure := func(id string) cloudtest.Activity {
		return cloudtest.Activity{ID: id, Status: "Failed", Message: "no capacity " + id}
	}
	b.cloud.SetActivities(failure("a-3"), failure("a-2"), failure("a-1"))
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 3}))
	wantSize(3, 3)
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 1}))
	wantSize(1, 1)
	_, err := b.groups.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{ // as a person, and a policy then
		AutoScalingGroupName: aws.String("penstock-f-1"), DesiredCapacity: aws.Int32(2), MaxSize: aws.Int32(6),
	})
	b.must(err)
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 2}))
	wantSize(2, 2)
	_, err = b.groups.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String("penstock-f-1"), DesiredCapacity: aws.Int32(4)})
	b.must(err)
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 3}))
	wantSize(3, 4)
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 1}))
	wantSize(1, 4)
	b.must(b.Destroy(t.Context(), "e-1"))

	// A new group fails when it can launch nothing again and again, and says why.
	r := b.persistent("f-2", image)
	r.Service.Start, r.Service.HealthCheck = "", &pipeline.HealthCheck{Path: "/none", StartTimeout: time.Minute}
	r.Service.Start = "true"
	b.cloud.SetActivities(failure("b-3"), failure("b-2"), cloudtest.Activity{ID: "b-1", Status: "Successful"}, failure("b-0"))
	done := make(chan error, 1)
	go func() {
		_, err := b.Prepare(t.Context(), r)
		done <- err
	}()
	b.eventually("it looks for failures", func() bool { return b.cloud.Count()["DescribeScalingActivities"] > 20 })
	b.cloud.SetActivities(failure("b-4"), failure("b-3"), failure("b-2"), cloudtest.Activity{ID: "b-1", Status: "Successful"})
	b.wantError(<-done, pipeline.CodeFailed, "can't launch an instance: no capacity b-4", "instance_type")
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// While a deployment migrates, no instance is replaced for its health. A migration that
// was done is not done again, whichever instance it was done on.
func TestMigrationOfGroup(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.persistent("f-1", b.app())
	dir := b.cloud.Dir()
	r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: "echo migrated >> " + dir + "/log; until [ -e " + dir + "/go ]; do sleep 0.05; done"}}
	done := make(chan error, 1)
	go func() {
		_, err := b.Prepare(t.Context(), r)
		done <- err
	}()
	b.eventually("it migrates", func() bool { _, err := os.Stat(filepath.Join(dir, "log")); return err == nil })
	if got := aws.ToString(b.autoScalingGroup("f-1").HealthCheckType); got != "EC2" {
		t.Errorf("while it migrates instances are replaced by the health that %s sees", got)
	}
	b.must(os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	b.must(<-done)
	if got := aws.ToString(b.autoScalingGroup("f-1").HealthCheckType); got != "ELB" {
		t.Errorf("after the launch instances are replaced by the health that %s sees", got)
	}
	list, err := b.fleets.Instances(t.Context(), "e-1")
	b.must(err)
	mark := []types.Tag{{Key: aws.String("penstock:ready"), Value: aws.String("true")}}
	_, err = b.ec2.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: instance.IDs(list[:1]), Tags: mark})
	b.must(err)
	_, err = b.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: instance.IDs(list[1:]), Tags: mark})
	b.must(err)
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || string(log) != "migrated\n" {
		t.Errorf("the migration's log is %q, %v", log, err)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Where Auto Scaling replaces the only instance of a persistent environment, the
// environment is degraded and not gone.
func TestDescribeWithoutInstance(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.persistent("f-1", b.app())
	r.Instances = 1
	b.must(b.deploy(r))
	_, err := b.groups.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{ // the test cloud would replace an instance at once
		AutoScalingGroupName: aws.String("penstock-f-1"), MinSize: aws.Int32(0), DesiredCapacity: aws.Int32(0),
	})
	b.must(err)
	reports, err := b.Describe(t.Context(), "e-1", "e-2")
	b.must(err)
	if got := reports["e-1"]; got.Status != pipeline.EnvDegraded || got.Serving != "f-1" || got.Endpoint == "" || got.Healthy != 0 || got.Reason == "" {
		t.Errorf("without its instance it is reported as %+v", got)
	}
	if got := reports["e-2"]; got.Status != pipeline.EnvGone {
		t.Errorf("what never was is reported as %+v", got)
	}
	b.cloud.SetPace(cloudtest.Pace{End: time.Hour})
	_, err = b.groups.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("penstock-f-1"), ForceDelete: aws.Bool(true)})
	b.must(err)
	reports, err = b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"]; got.Status != pipeline.EnvGone {
		t.Errorf("while its group ends it is reported as %+v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Each fleet of an environment ends at its time, and a group that ends already takes no
// schedule from another.
func TestGroupsExpire(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	request := func(fleet string) pipeline.FleetRequest {
		r := b.persistent(fleet, image)
		r.Persistent, r.ExpiresAt = false, time.Now().Add(time.Hour).Truncate(time.Second)
		return r
	}
	b.must(b.deploy(request("f-1")))
	b.cloud.SetPace(cloudtest.Pace{End: time.Hour})
	b.must(b.deploy(request("f-2"))) // f-1 is still there, and ends
	_, err := b.Prepare(t.Context(), request("f-3"))
	b.must(err)
	later := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	b.must(b.Extend(t.Context(), "e-1", later))
	for _, fleet := range []string{"f-2", "f-3"} {
		for _, tag := range b.autoScalingGroup(fleet).Tags {
			if aws.ToString(tag.Key) == stack.TagExpires && aws.ToString(tag.Value) != stack.Timestamp(later) {
				t.Errorf("the group of %s has it that it ends at %s", fleet, aws.ToString(tag.Value))
			}
		}
	}
	want := []string{"penstock-e-1-balancer", "penstock-f-2-group", "penstock-f-3-group"}
	if got := slices.Sorted(slices.Values(b.schedules())); !slices.Equal(got, want) {
		t.Errorf("these ends are scheduled: %v, want %v", got, want)
	}
	if ran := b.cloud.RunSchedules(later); len(ran) != 3 || len(b.cloud.Running()) != 0 {
		t.Errorf("at the end these schedules run: %v; instances %v", ran, b.cloud.Running())
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// A failed redeployment of a single instance leaves the end of the one that serves.
func TestInstanceExpiresAfterFailure(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("e-1", "f-1", b.app())
	r.ExpiresAt = time.Now().Add(time.Hour).Truncate(time.Second)
	b.must(b.deploy(r))
	r.Fleet, r.Hooks = "f-2", []pipeline.Hook{{Name: "service.migrate", Line: "echo no; exit 1"}}
	_, err := b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "service.migrate")
	if got := b.schedules(); len(got) != 1 || !strings.Contains(got[0], "f-1") {
		t.Errorf("these ends are scheduled: %v", got)
	}
	if ran := b.cloud.RunSchedules(r.ExpiresAt); len(ran) != 1 || len(b.cloud.Running()) != 0 {
		t.Errorf("at the end these schedules run: %v; instances %v", ran, b.cloud.Running())
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
