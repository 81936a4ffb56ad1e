// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// attached is what belongs to an Auto Scaling group beside its instances.
type attached struct {
	policies      []types.ScalingPolicy
	actions       []types.ScheduledUpdateGroupAction
	hooks         []types.LifecycleHook
	notifications []types.NotificationConfiguration
	suspended     []string                     // processes
	metrics       []string                     // that are collected
	warm          *types.WarmPoolConfiguration // nil for none
}

// Foresee returns in words what people have attached to the group of the fleet that serves, and
// goes on with the next one. Where none serves, it refuses subnets in which AWS can't make a
// load balancer: CodeInvalid.
func (f *Fleets) Foresee(ctx context.Context, of pipeline.Foresight) (string, error) {
	if of.Fleet == "" {
		if of.Env.Rule != nil {
			return "", nil
		}
		return "", f.balancers.checkZones(ctx, f.balancers.subnets())
	}
	list, err := f.scaling.named(ctx, groupName(of.Fleet))
	if err != nil || len(list) == 0 { // one by hand, or none any more
		return "", cloud.Fault(ctx, "read fleet "+of.Fleet, err)
	}
	g := describeGroup(list[0])
	has, err := f.scaling.attached(ctx, g)
	if g.warm {
		has.warm = nil // which was declared
	}
	return has.String(), err
}

// own begins the names of what a definition declares: the rest was attached by people.
const own = "penstock-"

// attached reads what a group has beside its instances.
func (a *scaling) attached(ctx context.Context, g scalingGroup) (at attached, err error) {
	op, name := "read what is attached to fleet "+g.fleet, aws.String(g.name)
	if w := g.group.WarmPoolConfiguration; w != nil && w.Status != types.WarmPoolStatusPendingDelete {
		at.warm = w
	}
	for _, m := range g.group.EnabledMetrics {
		at.metrics = append(at.metrics, aws.ToString(m.Metric))
	}
	for _, p := range g.group.SuspendedProcesses {
		at.suspended = append(at.suspended, aws.ToString(p.ProcessName))
	}
	policies := autoscaling.NewDescribePoliciesPaginator(a.client, &autoscaling.DescribePoliciesInput{AutoScalingGroupName: name})
	for policies.HasMorePages() {
		page, err := policies.NextPage(ctx)
		if err != nil {
			return at, cloud.Fault(ctx, op, err)
		}
		at.policies = append(at.policies, page.ScalingPolicies...)
	}
	actions := autoscaling.NewDescribeScheduledActionsPaginator(a.client, &autoscaling.DescribeScheduledActionsInput{AutoScalingGroupName: name})
	for actions.HasMorePages() {
		page, err := actions.NextPage(ctx)
		if err != nil {
			return at, cloud.Fault(ctx, op, err)
		}
		at.actions = append(at.actions, page.ScheduledUpdateGroupActions...)
	}
	told := autoscaling.NewDescribeNotificationConfigurationsPaginator(a.client, &autoscaling.DescribeNotificationConfigurationsInput{AutoScalingGroupNames: []string{g.name}})
	for told.HasMorePages() {
		page, err := told.NextPage(ctx)
		if err != nil {
			return at, cloud.Fault(ctx, op, err)
		}
		at.notifications = append(at.notifications, page.NotificationConfigurations...)
	}
	hooks, err := a.client.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: name})
	if err != nil {
		return at, cloud.Fault(ctx, op, err)
	}
	at.hooks = hooks.LifecycleHooks
	return at, nil
}

// String lists what is attached, for the log; empty for nothing.
func (at attached) String() string {
	var list []string
	add := func(what string, names ...string) {
		for _, n := range slices.Sorted(slices.Values(names)) {
			if !strings.HasPrefix(n, own) {
				list = append(list, strings.TrimSpace(what+" "+n))
			}
		}
	}
	for _, p := range at.policies {
		add("scaling policy", aws.ToString(p.PolicyName))
	}
	for _, s := range at.actions {
		add("scheduled action", aws.ToString(s.ScheduledActionName))
	}
	for _, h := range at.hooks {
		add("lifecycle hook", aws.ToString(h.LifecycleHookName))
	}
	for topic := range at.topics() {
		add("notifications to", topic)
	}
	add("suspended process", at.suspended...)
	if len(at.metrics) > 0 {
		list = append(list, "the collection of metrics")
	}
	if at.warm != nil {
		list = append(list, "the warm pool")
	}
	return strings.Join(list, ", ")
}

// topics returns the types of notifications by topic.
func (at attached) topics() map[string][]string {
	topics := map[string][]string{}
	for _, n := range at.notifications {
		topics[aws.ToString(n.TopicARN)] = append(topics[aws.ToString(n.TopicARN)], aws.ToString(n.NotificationType))
	}
	return topics
}
