// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// alarms are those of CloudWatch.
type alarms struct {
	stack  *stack.Stack
	client *cloudwatch.Client
}

// each calls f with every alarm of a metric that there is.
func (a *alarms) each(ctx context.Context, f func(types.MetricAlarm) error) error {
	pages := cloudwatch.NewDescribeAlarmsPaginator(a.client, &cloudwatch.DescribeAlarmsInput{
		MaxRecords: aws.Int32(100), AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return cloud.Fault(ctx, "list alarms", err)
		}
		for _, m := range page.MetricAlarms {
			if err := f(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// Ringing returns those of some alarms that go off now.
func (f *Fleets) Ringing(ctx context.Context, names []string) (ringing []string, err error) {
	states, err := f.alarms.states(ctx, names)
	for _, name := range stack.Sorted(states) {
		if states[name] == types.StateValueAlarm {
			ringing = append(ringing, name)
		}
	}
	return ringing, err
}

// policyOf returns the name of a scaling policy of one of the groups, from its ARN; empty
// where it is of another group, or the ARN is of something else.
func policyOf(arn string, groups []string) string {
	_, rest, _ := strings.Cut(arn, ":autoScalingGroupName/")
	group, policy, ok := strings.Cut(rest, ":policyName/")
	if !ok || !slices.Contains(groups, group) {
		return ""
	}
	return policy
}

// tracking begins the names of the alarms that AWS itself makes for policies that keep a
// metric at a value, and changes with them.
const tracking = "TargetTracking-"

// moved returns an alarm about a group, or its target group, as one about another place: its
// metrics, and the scaling policies that it calls. It reports whether it is another alarm.
func moved(m types.MetricAlarm, groups []string, policies map[string]string, to place) (types.MetricAlarm, bool) {
	before, _ := json.Marshal(m) // plain values
	next := m
	for _, group := range groups {
		next = about(next, group, to)
	}
	for _, actions := range []*[]string{&next.AlarmActions, &next.OKActions, &next.InsufficientDataActions} {
		*actions = slices.Clone(*actions)
		for i, arn := range *actions {
			if p := policyOf(arn, groups); policies[p] != "" {
				(*actions)[i] = policies[p]
			}
		}
	}
	after, _ := json.Marshal(next)
	return next, string(before) != string(after)
}

// move makes the alarms about groups, or what they have as target groups, alarms about
// another place. Their names, states and histories stay, so composite alarms hold. Alarms
// that the caller may not change are told to the log.
func (a *alarms) move(ctx context.Context, log io.Writer, groups []string, policies map[string]string, to place) error {
	return a.each(ctx, func(m types.MetricAlarm) error {
		if strings.HasPrefix(aws.ToString(m.AlarmName), tracking) {
			return nil
		}
		next, other := moved(m, groups, policies, to)
		if !other {
			return nil
		}
		_, err := a.client.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
			AlarmName: next.AlarmName, ComparisonOperator: next.ComparisonOperator, EvaluationPeriods: next.EvaluationPeriods, ActionsEnabled: next.ActionsEnabled,
			AlarmActions: next.AlarmActions, AlarmDescription: next.AlarmDescription, DatapointsToAlarm: next.DatapointsToAlarm, Dimensions: next.Dimensions,
			EvaluateLowSampleCountPercentile: next.EvaluateLowSampleCountPercentile, ExtendedStatistic: next.ExtendedStatistic,
			InsufficientDataActions: next.InsufficientDataActions, MetricName: next.MetricName, Metrics: next.Metrics, Namespace: next.Namespace,
			OKActions: next.OKActions, Period: next.Period, Statistic: next.Statistic, Threshold: next.Threshold, ThresholdMetricId: next.ThresholdMetricId,
			TreatMissingData: next.TreatMissingData, Unit: next.Unit,
		})
		fault := cloud.Fault(ctx, "move alarm "+aws.ToString(m.AlarmName), err)
		if pipeline.CodeOf(fault) == pipeline.CodeNotAllowed {
			stack.Logf(log, "alarm %q still watches the fleet before, and must be moved by hand: %v", aws.ToString(m.AlarmName), err)
			return nil
		}
		if err == nil {
			stack.Logf(log, "alarm %q watches this fleet from now on", aws.ToString(m.AlarmName))
		}
		return fault
	})
}

// check refuses alarms by which the scaling policies of a group act, and which could not be
// carried over: CodeInvalid. Those that only watch the group are told to the log.
func (a *alarms) check(ctx context.Context, log io.Writer, group string) error {
	groups := []string{group}
	nowhere := place{group: "-", target: ":targetgroup/-/0"}
	return a.each(ctx, func(m types.MetricAlarm) error {
		name := aws.ToString(m.AlarmName)
		calls := slices.ContainsFunc(slices.Concat(m.AlarmActions, m.OKActions, m.InsufficientDataActions), func(arn string) bool { return policyOf(arn, groups) != "" })
		_, names := moved(m, groups, nil, nowhere)
		if strings.HasPrefix(name, tracking) || !calls && !names {
			return nil
		}
		out, err := a.client.ListTagsForResource(ctx, &cloudwatch.ListTagsForResourceInput{ResourceARN: m.AlarmArn})
		if err != nil {
			return cloud.Fault(ctx, "read tags of alarm "+name, err)
		}
		for _, t := range out.Tags {
			if aws.ToString(t.Key) == stack.TagStack && aws.ToString(t.Value) == a.stack.Settings.Stack {
				return nil
			}
		}
		tag := stack.TagStack + " = " + a.stack.Settings.Stack
		if calls {
			return pipeline.Errorf(pipeline.CodeInvalid, opPrepare, "alarm %q calls a scaling policy of the fleet that serves, and can't be carried over: it does not have the tag %s", name, tag).
				WithHint("Give the alarm that tag, or set environment.scaling instead of it.")
		}
		stack.Logf(log, "alarm %q watches the fleet that serves, and will watch nothing after this deployment: give it the tag %s", name, tag)
		return nil
	})
}

// states returns the states of alarms by name. CodeInvalid for an alarm
// that does not exist.
func (a *alarms) states(ctx context.Context, names []string) (map[string]types.StateValue, error) {
	states := map[string]types.StateValue{}
	for chunk := range slices.Chunk(names, 100) { // that many fit in a request
		out, err := a.client.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{
			AlarmNames: chunk, MaxRecords: aws.Int32(100),
			AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm, types.AlarmTypeCompositeAlarm},
		})
		if err != nil {
			return nil, cloud.Fault(ctx, "read alarms", err)
		}
		for _, m := range out.MetricAlarms {
			states[aws.ToString(m.AlarmName)] = m.StateValue
		}
		for _, c := range out.CompositeAlarms {
			states[aws.ToString(c.AlarmName)] = c.StateValue
		}
	}
	for _, name := range names {
		if _, ok := states[name]; !ok {
			return nil, pipeline.Errorf(pipeline.CodeInvalid, "read alarms",
				"environment.alarms: CloudWatch has no alarm %q in %s", name, a.stack.Config.Region).
				WithHint("Correct the name, or create the alarm first.")
		}
	}
	return states, nil
}
