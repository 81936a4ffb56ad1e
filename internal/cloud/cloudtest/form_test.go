// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// failing is a test that is to fail: it keeps what it is told.
type failing struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

// take returns what the test was told since the last time.
func (f *failing) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	said := strings.Join(f.said, "\n")
	f.said = nil
	return said
}

// A request that AWS would refuse for its form is refused as its service does it, and fails
// the test.
func TestRequestsOfTheWrongForm(t *testing.T) {
	t.Parallel()
	told := &failing{TB: t}
	cfg := cloudtest.New(told).Own()
	ctx := t.Context()
	schedule := func(target, input string) error {
		_, err := scheduler.NewFromConfig(cfg).CreateSchedule(ctx, &scheduler.CreateScheduleInput{
			Name: aws.String("a"), ScheduleExpression: aws.String("at(2099-01-01T00:00:00)"), FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
			Target: &schedulertypes.Target{Arn: aws.String("arn:aws:scheduler:::aws-sdk:" + target), RoleArn: aws.String("arn:aws:iam::123456789012:role/r"), Input: aws.String(input)},
		})
		return err
	}
	for name, tt := range map[string]struct {
		call        func() error
		code, wants string
	}{
		"json": {func() error {
			_, err := ssm.NewFromConfig(cfg).SendCommand(ctx, &ssm.SendCommandInput{DocumentName: aws.String("AWS-RunShellScript"), TimeoutSeconds: aws.Int32(29)})
			return err
		}, "ValidationException", "'timeoutSeconds' failed to satisfy constraint: Member must have value greater than or equal to 30"},
		"json, another code": {func() error {
			_, err := codebuild.NewFromConfig(cfg).StartBuild(ctx, &codebuild.StartBuildInput{ProjectName: aws.String("p"), TimeoutInMinutesOverride: aws.Int32(2161)})
			return err
		}, "InvalidInputException", "'timeoutInMinutesOverride'"},
		"query": {func() error {
			_, err := elasticloadbalancingv2.NewFromConfig(cfg).CreateTargetGroup(ctx, &elasticloadbalancingv2.CreateTargetGroupInput{Name: aws.String("a"), HealthCheckIntervalSeconds: aws.Int32(301)})
			return err
		}, "ValidationError", "'healthCheckIntervalSeconds'"},
		"query, of a name": {func() error {
			_, err := autoscaling.NewFromConfig(cfg).DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("")})
			return err
		}, "ValidationError", "'autoScalingGroupName'"},
		"ec2": {func() error {
			_, err := ec2.NewFromConfig(cfg).RunInstances(ctx, &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceInitiatedShutdownBehavior: "burn"})
			return err
		}, "InvalidParameterValue", "'instanceInitiatedShutdownBehavior'"},
		"dynamodb": {func() error {
			_, err := dynamodb.NewFromConfig(cfg).GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(""), Key: map[string]dynamotypes.AttributeValue{}})
			return err
		}, "ValidationException", "'tableName'"},
		"rest": {func() error {
			_, err := scheduler.NewFromConfig(cfg).DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String("a b")})
			return err
		}, "ValidationException", "'name'"},
		"a target of a schedule":       {func() error { return schedule("ec2:terminateInstances", `{"instanceIds": ["i-1"]}`) }, "ValidationException", "'instanceIds'"},
		"one of another name":          {func() error { return schedule("elasticloadbalancingv2:deleteLoadBalancer", `{}`) }, "ValidationException", "'loadBalancerArn'"},
		"one of an unknown operation":  {func() error { return schedule("autoscaling:deleteEverything", `{}`) }, "ValidationException", "DeleteEverything"},
		"one that is no API's, passes": {func() error { return schedule("ec2:terminateInstances", `{"InstanceIds": ["i-1"]}`) }, "", ""},
	} {
		err := tt.call()
		said := told.take()
		if tt.code == "" {
			if err != nil || said != "" {
				t.Errorf("%s: %v, told %q", name, err, said)
			}
			continue
		}
		if !cloud.Is(err, tt.code) || !strings.Contains(err.Error(), tt.wants) || !strings.Contains(said, tt.wants) {
			t.Errorf("%s: %v, and the test was told %q; want %s, %s", name, err, said, tt.code, tt.wants)
		}
	}
	// What is right passes, and is not told.
	if _, err := ec2.NewFromConfig(cfg).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}); err != nil || told.take() != "" {
		t.Error(err)
	}
}
