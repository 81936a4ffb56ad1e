// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// scalingRights are those of what is attached to groups, and of the alarms about them.
func (b *rightsBed) scalingRights() map[string]right {
	scale := func(group string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).PutScalingPolicy(b.Context(), &autoscaling.PutScalingPolicyInput{
				AutoScalingGroupName: aws.String(group), PolicyName: aws.String("out"), AdjustmentType: aws.String("ChangeInCapacity"), ScalingAdjustment: aws.Int32(1),
			})
			return err
		}
	}
	suspend := func(group string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).SuspendProcesses(b.Context(), &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String(group)})
			return err
		}
	}
	hook := func(role string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).PutLifecycleHook(b.Context(), &autoscaling.PutLifecycleHookInput{
				AutoScalingGroupName: aws.String("serving"), LifecycleHookName: aws.String("h"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"),
				NotificationTargetARN: aws.String("arn:aws:sqs:eu-west-1:123456789012:q"), RoleARN: aws.String(role),
			})
			return err
		}
	}
	put := func(cfg aws.Config, alarm, action string, tags []types.Tag) error {
		_, err := cloudwatch.NewFromConfig(cfg).PutMetricAlarm(b.Context(), &cloudwatch.PutMetricAlarmInput{
			AlarmName: aws.String(alarm), AlarmActions: []string{action}, EvaluationPeriods: aws.Int32(1), ComparisonOperator: types.ComparisonOperatorGreaterThanThreshold,
			Threshold: aws.Float64(1), MetricName: aws.String("a"), Namespace: aws.String("b"), Period: aws.Int32(60), Statistic: types.StatisticAverage, Tags: tags,
		})
		return err
	}
	const topic = "arn:aws:sns:eu-west-1:123456789012:ops"
	for alarm, tags := range map[string][]types.Tag{"ours": {{Key: aws.String("penstock:stack"), Value: aws.String("penstock")}}, "theirs": nil} {
		b.must(put(b.cloud.Own(), alarm, topic, tags))
	}
	move := func(alarm, action string) func(aws.Config) error {
		return func(cfg aws.Config) error { return put(cfg, alarm, action, nil) }
	}
	return map[string]right{
		"scale a group of the stack":     {"D L", scale("free")},
		"scale the group of a stage":     {"D", scale("serving")},
		"scale another's group":          {"", scale("other")},
		"let a group of the stack rest":  {"D L", suspend("free")},
		"let the group of a stage rest":  {"D", suspend("serving")},
		"let another's group rest":       {"", suspend("other")},
		"hand a role to a hook":          {"", hook("arn:aws:iam::123456789012:role/queue")},
		"move an alarm that has the tag": {"D", move("ours", topic)},
		"move an alarm that scales":      {"D", move("ours", "arn:aws:autoscaling:eu-west-1:123456789012:scalingPolicy:0:autoScalingGroupName/g:policyName/p")},
		"make an alarm end instances":    {"", move("ours", "arn:aws:automate:eu-west-1:ec2:terminate")},
		"make an alarm start a function": {"", move("ours", "arn:aws:lambda:eu-west-1:123456789012:function:f")},
		"move another's alarm":           {"", move("theirs", topic)},
		"make an alarm":                  {"", move("new", topic)},
	}
}
