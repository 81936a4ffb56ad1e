// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

// The kinds of schedules.
const (
	kindInstances = "instances" // ends a fleet without a load balancer
	kindGroup     = "group"     // ends a fleet's group
	kindKept      = "kept"      // ends the group of a fleet that is kept for a while
	kindBalancer  = "balancer"  // ends an environment's load balancer
)

// endOfGroup ends the group of a fleet.
func endOfGroup(kind, fleet string) ending {
	return ending{kind, "autoscaling:deleteAutoScalingGroup", map[string]any{"AutoScalingGroupName": groupName(fleet), "ForceDelete": true}}
}

// endAt makes or moves the schedule of an end; with a zero time it removes it.
func (p *Platform) endAt(ctx context.Context, id string, at time.Time, e ending) error {
	if at.IsZero() {
		return p.removeSchedule(ctx, id, e.name)
	}
	return p.schedule(ctx, id, at, e)
}

// endInstancesAt sets when the instances of a fleet end that has no load balancer.
func (p *Platform) endInstancesAt(ctx context.Context, fleet string, at time.Time, ids ...string) error {
	return p.endAt(ctx, fleet, at, ending{kindInstances, "ec2:terminateInstances", map[string]any{"InstanceIds": ids}})
}

// endGroupsAt sets when all that an environment has behind its load balancer ends.
func (p *Platform) endGroupsAt(ctx context.Context, environment, balancer string, at time.Time) error {
	list, err := p.groupsOf(ctx, environment)
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.ending {
			continue
		}
		if err := p.endAt(ctx, g.fleet, at, endOfGroup(kindGroup, g.fleet)); err != nil {
			return err
		}
	}
	return p.endAt(ctx, environment, at, ending{kindBalancer, "elasticloadbalancingv2:deleteLoadBalancer", map[string]any{"LoadBalancerArn": balancer}})
}

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

func (p *Platform) removeSchedule(ctx context.Context, id, kind string) error {
	_, err := p.scheduler.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String(scheduleName(id, kind))})
	if cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, "remove the schedules of "+id, err)
}

// Extend sets when the environment ends by itself: in the schedules, in the tags, and
// on single instances, whose own deadline is the second line.
func (p *Platform) Extend(ctx context.Context, environment string, at time.Time) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	lb, err := p.balancer(ctx, environment)
	if err != nil {
		return err
	}
	if lb != nil {
		return p.extendGroups(ctx, environment, lb.arn, at)
	}
	list, err := p.ofEnvironment(ctx, environment)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return noLonger(environment)
	}
	script := preamble + "shutdown -c >/dev/null 2>&1 || true\n"
	if life := p.untilExpiry(at); life > 0 {
		script += fmt.Sprintf("shutdown -P +%d >/dev/null 2>&1\n", max(int(life/time.Minute), 1))
	}
	for _, i := range list {
		id := aws.ToString(i.InstanceId)
		if err := p.endInstancesAt(ctx, tag(i.Tags, tagFleet), at, id); err != nil {
			return err
		}
		if err := p.must(ctx, id, command{what: "setting the deadline", script: script, timeout: time.Minute}); err != nil {
			return err
		}
	}
	tags := []types.Tag{{Key: aws.String(tagExpires), Value: aws.String(timestamp(at))}}
	_, err = p.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: idsOf(list), Tags: tags})
	return cloud.Fault(ctx, "extend environment "+environment, err)
}

func (p *Platform) extendGroups(ctx context.Context, environment, balancer string, at time.Time) error {
	list, err := p.groupsOf(ctx, environment)
	if err != nil {
		return err
	}
	if list = slices.DeleteFunc(list, func(g group) bool { return g.ending }); len(list) == 0 {
		return noLonger(environment)
	}
	if err := p.endGroupsAt(ctx, environment, balancer, at); err != nil {
		return err
	}
	for _, g := range list {
		if err := p.label(ctx, environment, g.fleet, map[string]string{tagExpires: timestamp(at)}); err != nil {
			return err
		}
	}
	return nil
}

func noLonger(environment string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, "extend environment", "environment %s is gone", environment).WithHint("Apply again to launch it anew.")
}

// timestamp is how tags tell a time; empty for none.
func timestamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
