// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// deadlineGrace is how long after its TTL an instance powers itself off, in case
// that EventBridge Scheduler did not end it.
const deadlineGrace = 15 * time.Minute

// untilExpiry gives the deadline that an instance enforces itself; 0 for none.
func (p *Platform) untilExpiry(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(at.Sub(p.Now()), 0) + deadlineGrace
}

// ending is a request that a schedule makes at the TTL.
type ending struct {
	name   string // suffix of the schedule's
	action string // service:action, as EventBridge Scheduler names them
	input  any
}

// scheduleEnd makes the schedules that end an environment; with a zero time it
// removes them. An existing schedule is moved.
func (p *Platform) scheduleEnd(ctx context.Context, environment string, at time.Time, instances []string, group bool) error {
	if at.IsZero() {
		return p.removeSchedules(ctx, environment)
	}
	endings := []ending{{"instances", "ec2:terminateInstances", map[string]any{"InstanceIds": instances}}}
	if group {
		endings = nil
		groups, err := p.groupsOf(ctx, environment)
		if err != nil {
			return err
		}
		for _, g := range groups {
			endings = append(endings, ending{"group", "autoscaling:deleteAutoScalingGroup", map[string]any{"AutoScalingGroupName": g.name, "ForceDelete": true}})
		}
		lb, err := p.balancer(ctx, environment)
		if err != nil {
			return err
		}
		if lb != nil {
			endings = append(endings, ending{"balancer", "elasticloadbalancingv2:deleteLoadBalancer", map[string]any{"LoadBalancerArn": lb.arn}})
		}
	}
	for _, e := range endings {
		if err := p.schedule(ctx, environment, at, e); err != nil {
			return err
		}
	}
	return nil
}

// kindKept is the suffix of the schedule that ends a fleet that is kept for a while.
const kindKept = "kept"

// scheduleKinds are the suffixes of an environment's schedules.
var scheduleKinds = []string{"instances", "group", "balancer"}

// scheduleName names a schedule of an environment or of a fleet.
func scheduleName(id, kind string) string { return "penstock-" + id + "-" + kind }

// schedule makes or moves a schedule of an environment or a fleet.
func (p *Platform) schedule(ctx context.Context, id string, at time.Time, e ending) error {
	op := "schedule the end of " + id
	input, err := json.Marshal(e.input)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInternal, op, "%w", err)
	}
	target := &schedulertypes.Target{
		Arn: aws.String("arn:" + partition(p.Config.Region) + ":scheduler:::aws-sdk:" + e.action), RoleArn: aws.String(p.Settings.SchedulerRole), Input: aws.String(string(input)),
		RetryPolicy: &schedulertypes.RetryPolicy{MaximumRetryAttempts: aws.Int32(20)},
	}
	expression := aws.String(fmt.Sprintf("at(%s)", at.UTC().Format("2006-01-02T15:04:05")))
	window := &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff}
	name := aws.String(scheduleName(id, e.name))
	_, err = p.scheduler.CreateSchedule(ctx, &scheduler.CreateScheduleInput{
		Name: name, ClientToken: aws.String(cut(id+"-"+e.name+"-"+fmt.Sprint(at.Unix()), 64)), ScheduleExpression: expression,
		Target: target, FlexibleTimeWindow: window, ActionAfterCompletion: schedulertypes.ActionAfterCompletionDelete,
	})
	if cloud.Is(err, "ConflictException") {
		_, err = p.scheduler.UpdateSchedule(ctx, &scheduler.UpdateScheduleInput{
			Name: name, ScheduleExpression: expression, Target: target, FlexibleTimeWindow: window, ActionAfterCompletion: schedulertypes.ActionAfterCompletionDelete,
		})
	}
	return cloud.Fault(ctx, op, err)
}

// partition gives the partition of a region.
func partition(region string) string {
	for prefix, name := range map[string]string{"cn-": "aws-cn", "us-gov-": "aws-us-gov"} {
		if len(region) > len(prefix) && region[:len(prefix)] == prefix {
			return name
		}
	}
	return "aws"
}

func (p *Platform) removeSchedules(ctx context.Context, environment string) error {
	for _, kind := range scheduleKinds {
		if err := p.removeSchedule(ctx, environment, kind); err != nil {
			return err
		}
	}
	return nil
}

func (p *Platform) removeSchedule(ctx context.Context, id, kind string) error {
	_, err := p.scheduler.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String(scheduleName(id, kind))})
	if cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, "remove the schedules of "+id, err)
}

// Extend sets when the environment ends by itself: in the schedule, in the tags, and
// on the instances, whose own deadline is the second line.
func (p *Platform) Extend(ctx context.Context, environment string, at time.Time) error {
	list, err := p.ofEnvironment(ctx, environment)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return pipeline.Errorf(pipeline.CodeNotFound, "extend environment", "environment %s is gone", environment).WithHint("Apply again to launch it anew.")
	}
	lb, err := p.balancer(ctx, environment)
	if err != nil {
		return err
	}
	if err := p.scheduleEnd(ctx, environment, at, idsOf(list), lb != nil); err != nil {
		return err
	}
	if lb == nil {
		script := preamble + "shutdown -c >/dev/null 2>&1 || true\n"
		if life := p.untilExpiry(at); life > 0 {
			script += fmt.Sprintf("shutdown -P +%d >/dev/null 2>&1\n", max(int(life/time.Minute), 1))
		}
		for _, id := range idsOf(list) {
			if err := p.must(ctx, id, command{what: "setting the deadline", script: script, timeout: time.Minute}); err != nil {
				return err
			}
		}
	}
	tags := []types.Tag{{Key: aws.String(tagExpires), Value: aws.String("")}}
	if !at.IsZero() {
		tags[0].Value = aws.String(at.UTC().Format(time.RFC3339))
	}
	_, err = p.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: idsOf(list), Tags: tags})
	return cloud.Fault(ctx, "extend environment "+environment, err)
}
