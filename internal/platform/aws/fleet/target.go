// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// createTarget makes the target group of a fleet, and returns its ARN.
func (b *balancers) createTarget(ctx context.Context, r pipeline.FleetRequest) (string, error) {
	in := &elb.CreateTargetGroupInput{
		Name: aws.String(groupName(r.Fleet)), VpcId: aws.String(b.stack.Settings.VPC),
		Port: aws.Int32(int32(port(r.Service))), Protocol: types.ProtocolEnumHttp,
		TargetType: types.TargetTypeEnumInstance, Tags: b.tags(ctx, r), HealthCheckPath: aws.String("/"), HealthCheckIntervalSeconds: aws.Int32(10),
		HealthCheckTimeoutSeconds: aws.Int32(5), HealthyThresholdCount: aws.Int32(2), UnhealthyThresholdCount: aws.Int32(3),
		Matcher: &types.Matcher{HttpCode: aws.String("200-499")}, // without a health_check, any answer is one
	}
	if c := r.Service.HealthCheck; c != nil {
		in.HealthCheckPath, in.Matcher.HttpCode = aws.String(c.Path), aws.String("200-299")
		if c.Status != 0 {
			in.Matcher.HttpCode = aws.String(fmt.Sprint(c.Status))
		}
		in.HealthCheckTimeoutSeconds = aws.Int32(int32(min(max(cmp.Or(c.Timeout, pipeline.DefaultHealthTimeout)/time.Second, 2), 120)))
		in.HealthCheckIntervalSeconds = aws.Int32(min(max(int32(c.Interval/time.Second), aws.ToInt32(in.HealthCheckTimeoutSeconds)+1, 5), 300))
	}
	out, err := b.client.CreateTargetGroup(ctx, in)
	if cloud.Is(err, "DuplicateTargetGroupName") {
		return b.target(ctx, r.Fleet)
	}
	if err != nil {
		return "", cloud.Fault(ctx, opPrepare, err)
	}
	return aws.ToString(out.TargetGroups[0].TargetGroupArn), nil
}

// setAttributes sets the attributes of a fleet's target group: those of the one before, which
// people may have changed, what is declared, and how long requests may take to end.
func (b *balancers) setAttributes(ctx context.Context, r pipeline.FleetRequest, target string, before scalingGroup) error {
	all := map[string]string{}
	if len(before.targets) > 0 {
		had, err := b.attributes(ctx, before.targets[0])
		if err != nil {
			return err
		}
		for k, v := range had {
			if v != usual[k] && !strings.Contains(before.told, shortened(k)) { // people have set it
				all[k] = v
			}
		}
	}
	maps.Copy(all, r.TargetAttributes)
	drain := int(cmp.Or(r.DrainTimeout, pipeline.DefaultDrainTimeout) / time.Second)
	all[drainAttribute] = fmt.Sprint(min(drain, 3600))
	in := &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: aws.String(target)}
	for _, k := range stack.Sorted(all) {
		in.Attributes = append(in.Attributes, types.TargetGroupAttribute{Key: aws.String(k), Value: aws.String(all[k])})
	}
	_, err := b.client.ModifyTargetGroupAttributes(ctx, in)
	return cloud.Fault(ctx, opPrepare, err)
}

// usual is what AWS sets by itself.
var usual = map[string]string{
	"load_balancing.algorithm.anomaly_mitigation": "off", "load_balancing.algorithm.type": "round_robin", "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
	"slow_start.duration_seconds": "0", "stickiness.app_cookie.duration_seconds": "86400", "stickiness.enabled": "false",
	"stickiness.lb_cookie.duration_seconds": "86400", "stickiness.type": "lb_cookie",
	"target_group_health.dns_failover.minimum_healthy_targets.count": "1", "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1", "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}

// shortened stands for the name of an attribute in a tag, which would be too short for all.
func shortened(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%08x", h.Sum32())
}

// declaredTag says which attributes are declared: what is declared no more is not carried
// over, and what people have set is.
func declaredTag(attributes map[string]string) string {
	var names []string
	for _, k := range stack.Sorted(attributes) {
		names = append(names, shortened(k))
	}
	return strings.Join(names, " ")
}

// attributes returns the attributes of a target group that others can have.
func (b *balancers) attributes(ctx context.Context, target string) (map[string]string, error) {
	out, err := b.client.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: aws.String(target)})
	if err != nil {
		return nil, cloud.Fault(ctx, "read target group", err)
	}
	all := map[string]string{}
	for _, a := range out.Attributes {
		if key := aws.ToString(a.Key); pipeline.TargetAttribute(key) {
			all[key] = aws.ToString(a.Value)
		}
	}
	return all, nil
}

const drainAttribute = "deregistration_delay.timeout_seconds"

// target finds a fleet's target group; empty for none.
func (b *balancers) target(ctx context.Context, fleet string) (string, error) {
	out, err := b.client.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{groupName(fleet)}})
	if cloud.IsNotFound(err) || err == nil && len(out.TargetGroups) == 0 {
		return "", nil
	}
	if err != nil {
		return "", cloud.Fault(ctx, "read target group", err)
	}
	return aws.ToString(out.TargetGroups[0].TargetGroupArn), nil
}

// removeTarget removes a fleet's target group; one that does not exist is no error.
func (b *balancers) removeTarget(ctx context.Context, fleet string) error {
	target, err := b.target(ctx, fleet)
	if err != nil || target == "" {
		return err
	}
	err = whenUnused(ctx, b.stack, "target group "+groupName(fleet), func() error {
		_, err := b.client.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(target)})
		return err
	})
	if err != nil && !cloud.IsNotFound(err) {
		return cloud.Fault(ctx, "remove target group of fleet "+fleet, err)
	}
	return nil
}

// health returns the numbers of healthy and of all targets, and in words what one of
// the others is.
func (b *balancers) health(ctx context.Context, target string) (healthy, all int, state string, err error) {
	out, err := b.client.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String(target)})
	if err != nil {
		return 0, 0, "", err
	}
	state = "no targets yet"
	for _, t := range out.TargetHealthDescriptions {
		switch t.TargetHealth.State {
		case types.TargetHealthStateEnumDraining: // another one takes its place
			continue
		case types.TargetHealthStateEnumHealthy:
			healthy, all = healthy+1, all+1
			continue
		}
		all++
		why := string(t.TargetHealth.Reason) // a code; the description has words, and may be missing
		if words := aws.ToString(t.TargetHealth.Description); words != "" {
			why += ": " + words
		}
		state = fmt.Sprintf("%s is %s (%s)", aws.ToString(t.Target.Id), t.TargetHealth.State, why)
	}
	return healthy, all, state, nil
}

// Targets are the instances that a load balancer sends requests of a fleet to.
type Targets struct {
	Healthy, All int    // All are without those that are drained
	State        string // in words, of one that is not healthy
}

// Targets returns the targets of a fleet behind a load balancer. CodeNotFound where it has no
// target group.
func (f *Fleets) Targets(ctx context.Context, fleet string) (t Targets, err error) {
	target, err := f.balancers.target(ctx, fleet)
	if err != nil {
		return t, err
	}
	if target == "" {
		return t, pipeline.Errorf(pipeline.CodeNotFound, "read targets", "fleet %s has no target group", fleet)
	}
	t.Healthy, t.All, t.State, err = f.balancers.health(ctx, target)
	return t, cloud.Fault(ctx, "read targets of fleet "+fleet, err)
}

// drainTimeout reads how long requests may take to end from a target group.
func (b *balancers) drainTimeout(ctx context.Context, target string) (time.Duration, error) {
	out, err := b.client.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: aws.String(target)})
	if err != nil {
		return 0, cloud.Fault(ctx, opShift, err)
	}
	for _, a := range out.Attributes {
		if aws.ToString(a.Key) == drainAttribute {
			return time.Duration(number(aws.ToString(a.Value))) * time.Second, nil
		}
	}
	return pipeline.DefaultDrainTimeout, nil
}
