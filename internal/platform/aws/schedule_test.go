// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// An end moves to any time, also back to one that it had before, and one that has gone by
// comes soon.
func TestScheduleMoves(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	client := scheduler.NewFromConfig(b.cloud.Own())
	first, gone := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(-time.Hour)
	for n, at := range []time.Time{first, first.Add(time.Hour), first, gone} {
		b.must(b.stack.Schedule(t.Context(), "e-1", at, stack.EndInstances("instances", "s", []string{"i-0123456789abcdef0"})))
		out, err := client.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String("penstock-e-1-instances")})
		b.must(err)
		ends, err := time.Parse("at(2006-01-02T15:04:05)", aws.ToString(out.ScheduleExpression))
		b.must(err)
		if at != gone && !ends.Equal(at) || at == gone && (ends.Before(time.Now()) || ends.After(first)) {
			t.Errorf("schedule %d, of %v, is due at %v", n, at, ends)
		}
	}
}

// Launchers keep the schedules of self-service environments in a group of their own, of every
// kind of environment, and can neither move nor remove those of stages.
func TestLaunchersSchedules(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	deployer := b.Platform
	b.Platform = New(Options{Config: b.cloud.As(cloudtest.Launcher), Settings: b.stack.Settings, Pause: 20 * time.Millisecond, Current: b.leases.current})
	for n, instances := range []int{1, 2} {
		environment, fleet := fmt.Sprintf("s-e%d", n+1), fmt.Sprintf("s-f%d", n+1)
		r := b.request(environment, fleet, image)
		r.Instances, r.Labels.Stage, r.ExpiresAt = instances, "", time.Now().Add(time.Hour).Truncate(time.Second)
		b.must(b.deploy(r))
		b.must(b.Extend(t.Context(), environment, r.ExpiresAt.Add(time.Hour)))
	}
	out, err := b.scheduler.ListSchedules(t.Context(), &scheduler.ListSchedulesInput{})
	b.must(err)
	var there []string
	for _, s := range out.Schedules {
		there = append(there, aws.ToString(s.GroupName)+"/"+aws.ToString(s.Name))
	}
	slices.Sort(there)
	own := b.stack.Settings.LauncherScheduleGroup
	want := []string{own + "/penstock-s-e2-balancer", own + "/penstock-s-f1-instances", own + "/penstock-s-f2-group"}
	if own == "" || !slices.Equal(there, want) {
		t.Errorf("these schedules are there: %v, want %v", there, want)
	}
	staged := stack.EndInstances("instances", "s", []string{"i-0123456789abcdef0"})
	b.must(deployer.stack.Schedule(t.Context(), "f-9", time.Now().Add(time.Hour), staged))
	b.wantError(b.stack.Schedule(t.Context(), "f-9", time.Now().Add(2*time.Hour), staged), pipeline.CodeNotAllowed, "scheduler:CreateSchedule")
	b.wantError(b.stack.Unschedule(t.Context(), "f-9", "instances", "s"), pipeline.CodeNotAllowed, "scheduler:DeleteSchedule")
	b.must(deployer.stack.Forget(t.Context(), "f-9", "instances"))
	for _, environment := range []string{"s-e1", "s-e2"} {
		b.must(b.Destroy(t.Context(), environment))
	}
	b.wantNothing()
}
