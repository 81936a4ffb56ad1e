// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

const opExtend = "extend environment"

// The kinds of schedules.
const (
	kindInstances = "instances" // ends a fleet without a load balancer
	kindGroup     = "group"     // ends a fleet's group
	kindKept      = "kept"      // ends the group of a fleet that is kept for a while
	kindBalancer  = "balancer"  // ends an environment's load balancer
)

// endOfGroup ends the group of a fleet, which a stage runs unless that is empty.
func endOfGroup(kind, stage, fleet string) stack.Ending {
	return stack.Ending{
		Kind: kind, Stage: stage, Action: "autoscaling:deleteAutoScalingGroup", Input: map[string]any{"AutoScalingGroupName": groupName(fleet), "ForceDelete": true},
	}
}

// endOfBalancer ends a load balancer.
func endOfBalancer(stage, arn string) stack.Ending {
	return stack.Ending{Kind: kindBalancer, Stage: stage, Action: "elasticloadbalancingv2:deleteLoadBalancer", Input: map[string]any{"LoadBalancerArn": arn}}
}

// endAt makes or moves the schedule of an end; with a zero time it removes it.
func endAt(ctx context.Context, s *stack.Stack, id string, at time.Time, e stack.Ending) error {
	if at.IsZero() {
		return s.Unschedule(ctx, id, e.Kind, e.Stage)
	}
	return s.Schedule(ctx, id, at, e)
}
