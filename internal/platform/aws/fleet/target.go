// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
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
	target := aws.ToString(out.TargetGroups[0].TargetGroupArn)
	drain := int(cmp.Or(r.DrainTimeout, pipeline.DefaultDrainTimeout) / time.Second)
	_, err = b.client.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: aws.String(target),
		Attributes:     []types.TargetGroupAttribute{{Key: aws.String(drainAttribute), Value: aws.String(fmt.Sprint(min(drain, 3600)))}},
	})
	return target, cloud.Fault(ctx, opPrepare, err)
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
		if t.TargetHealth.State == types.TargetHealthStateEnumHealthy {
			healthy++
			continue
		}
		why := cmp.Or(aws.ToString(t.TargetHealth.Description), string(t.TargetHealth.Reason))
		state = fmt.Sprintf("%s is %s (%s)", aws.ToString(t.Target.Id), t.TargetHealth.State, why)
	}
	return healthy, len(out.TargetHealthDescriptions), state, nil
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
