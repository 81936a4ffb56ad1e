// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	alarms "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// suffix returns the end of an ARN, as metrics have it.
func suffix(arn, word string) string {
	_, name, _ := strings.Cut(arn, word)
	return name
}

// requestsOf names the requests of a fleet's targets, as a scaling policy does.
func (b *bed) requestsOf(environment, fleet string) string {
	b.Helper()
	target, err := b.target(fleet)
	b.must(err)
	return suffix(b.front(environment).balancer, ":loadbalancer/") + "/targetgroup/" + suffix(target, ":targetgroup/")
}

// equip attaches to the group of a fleet what people attach to one, with alarms.
func (b *bed) equip(environment, fleet string) {
	b.Helper()
	ctx, name := b.Context(), aws.String("penstock-"+fleet)
	_, err := b.groups.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: name, MaxSize: aws.Int32(9), TerminationPolicies: []string{"OldestInstance"}, DefaultInstanceWarmup: aws.Int32(77),
		InstanceMaintenancePolicy: &groups.InstanceMaintenancePolicy{MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(120)},
	})
	b.must(err)
	_, err = b.groups.PutScalingPolicy(ctx, &autoscaling.PutScalingPolicyInput{
		AutoScalingGroupName: name, PolicyName: aws.String("requests"), PolicyType: aws.String("TargetTrackingScaling"),
		TargetTrackingConfiguration: &groups.TargetTrackingConfiguration{TargetValue: aws.Float64(500), PredefinedMetricSpecification: &groups.PredefinedMetricSpecification{
			PredefinedMetricType: groups.MetricTypeALBRequestCountPerTarget, ResourceLabel: aws.String(b.requestsOf(environment, fleet)),
		}},
	})
	b.must(err)
	_, err = b.groups.PutScalingPolicy(ctx, &autoscaling.PutScalingPolicyInput{
		AutoScalingGroupName: name, PolicyName: aws.String("forecast"), PolicyType: aws.String("PredictiveScaling"),
		PredictiveScalingConfiguration: &groups.PredictiveScalingConfiguration{MetricSpecifications: []groups.PredictiveScalingMetricSpecification{{
			TargetValue: aws.Float64(50), PredefinedMetricPairSpecification: &groups.PredictiveScalingPredefinedMetricPair{PredefinedMetricType: groups.PredefinedMetricPairTypeASGCPUUtilization},
		}}},
	})
	b.must(err)
	step, err := b.groups.PutScalingPolicy(ctx, &autoscaling.PutScalingPolicyInput{
		AutoScalingGroupName: name, PolicyName: aws.String("out"), PolicyType: aws.String("StepScaling"), AdjustmentType: aws.String("ChangeInCapacity"),
		StepAdjustments: []groups.StepAdjustment{{MetricIntervalLowerBound: aws.Float64(0), ScalingAdjustment: aws.Int32(2)}},
	})
	b.must(err)
	_, err = b.groups.PutScalingPolicy(ctx, &autoscaling.PutScalingPolicyInput{
		AutoScalingGroupName: name, PolicyName: aws.String("in"), PolicyType: aws.String("SimpleScaling"), AdjustmentType: aws.String("ChangeInCapacity"), ScalingAdjustment: aws.Int32(-1),
	})
	b.must(err)
	_, err = b.groups.PutScheduledUpdateGroupAction(ctx, &autoscaling.PutScheduledUpdateGroupActionInput{
		AutoScalingGroupName: name, ScheduledActionName: aws.String("night"), Recurrence: aws.String("0 20 * * *"), TimeZone: aws.String("Europe/Berlin"), MinSize: aws.Int32(1),
	})
	b.must(err)
	_, err = b.groups.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{
		AutoScalingGroupName: name, LifecycleHookName: aws.String("drain"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(60),
	})
	b.must(err)
	_, err = b.groups.PutNotificationConfiguration(ctx, &autoscaling.PutNotificationConfigurationInput{
		AutoScalingGroupName: name, TopicARN: aws.String("arn:aws:sns:eu-west-1:1:ops"), NotificationTypes: []string{"autoscaling:EC2_INSTANCE_LAUNCH_ERROR"},
	})
	b.must(err)
	_, err = b.groups.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: name, ScalingProcesses: []string{"AZRebalance"}})
	b.must(err)
	_, err = b.groups.EnableMetricsCollection(ctx, &autoscaling.EnableMetricsCollectionInput{AutoScalingGroupName: name, Granularity: aws.String("1Minute"), Metrics: []string{"GroupTotalInstances"}})
	b.must(err)
	_, err = b.groups.PutWarmPool(ctx, &autoscaling.PutWarmPoolInput{AutoScalingGroupName: name, MinSize: aws.Int32(1), PoolState: groups.WarmPoolStateStopped})
	b.must(err)
	target, err := b.target(fleet)
	b.must(err)
	tag := []alarms.Tag{{Key: aws.String("penstock:stack"), Value: aws.String("penstock")}}
	for alarm, in := range map[string]cloudwatch.PutMetricAlarmInput{
		"busy": {Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"), Statistic: alarms.StatisticAverage, Period: aws.Int32(60),
			Dimensions: []alarms.Dimension{{Name: aws.String("AutoScalingGroupName"), Value: name}}, AlarmActions: []string{aws.ToString(step.PolicyARN)}, Tags: tag},
		"slow": {Metrics: []alarms.MetricDataQuery{{Id: aws.String("a"), MetricStat: &alarms.MetricStat{Period: aws.Int32(60), Stat: aws.String("p99"), Metric: &alarms.Metric{
			Namespace: aws.String("AWS/ApplicationELB"), MetricName: aws.String("TargetResponseTime"),
			Dimensions: []alarms.Dimension{{Name: aws.String("TargetGroup"), Value: aws.String("targetgroup/" + suffix(target, ":targetgroup/"))}},
		}}}}, Tags: tag},
		"others": {Namespace: aws.String("X"), MetricName: aws.String("Y"), Dimensions: []alarms.Dimension{{Name: aws.String("AutoScalingGroupName"), Value: aws.String("another")}}},
	} {
		in.AlarmName, in.EvaluationPeriods, in.Threshold, in.ComparisonOperator = aws.String(alarm), aws.Int32(1), aws.Float64(1), alarms.ComparisonOperatorGreaterThanThreshold
		_, err = b.watch.PutMetricAlarm(ctx, &in)
		b.must(err)
	}
}

// equipment tells all that a fleet's group has beside its instances, and the alarms, with
// the fleet's own names as F.
func (b *bed) equipment(environment, fleet string) string {
	b.Helper()
	ctx, name := b.Context(), aws.String("penstock-"+fleet)
	g := b.autoScalingGroup(fleet)
	policies, err := b.groups.DescribePolicies(ctx, &autoscaling.DescribePoliciesInput{AutoScalingGroupName: name})
	b.must(err)
	actions, err := b.groups.DescribeScheduledActions(ctx, &autoscaling.DescribeScheduledActionsInput{AutoScalingGroupName: name})
	b.must(err)
	hooks, err := b.groups.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: name})
	b.must(err)
	told, err := b.groups.DescribeNotificationConfigurations(ctx, &autoscaling.DescribeNotificationConfigurationsInput{AutoScalingGroupNames: []string{"penstock-" + fleet}})
	b.must(err)
	watched, err := b.watch.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{})
	b.must(err)
	var text strings.Builder
	for _, v := range []any{
		g.MinSize, g.MaxSize, g.TerminationPolicies, g.DefaultInstanceWarmup, g.InstanceMaintenancePolicy, g.SuspendedProcesses, g.EnabledMetrics, g.WarmPoolConfiguration,
		policies.ScalingPolicies, actions.ScheduledUpdateGroupActions, hooks.LifecycleHooks, told.NotificationConfigurations, watched.MetricAlarms,
	} {
		line, err := json.Marshal(v)
		b.must(err)
		fmt.Fprintf(&text, "%T %s\n", v, line)
	}
	target, err := b.target(fleet)
	b.must(err)
	arn := fmt.Sprintf("scalingPolicy:%08x", len(fleet)+len("penstock-"))
	return strings.NewReplacer(suffix(target, ":targetgroup/"), "T", "penstock-"+fleet, "F", arn, "scalingPolicy:P").Replace(text.String())
}

func (b *bed) wantEquipment(environment, fleet, want string) {
	b.Helper()
	got := strings.Split(b.equipment(environment, fleet), "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(got) || got[i] != line {
			b.Errorf("the group of fleet %s has\n%s\nand not\n%s", fleet, got[min(i, len(got)-1)], line)
		}
	}
}

// What people attach to the group that serves goes on with the next one: policies, schedules,
// hooks, alarms. Nothing of it acts on a group before that has all of the traffic, or while
// it is kept; a rollback to the kept one has it, too.
func TestCarryOver(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	b.equip("e-1", "f-1")
	want := b.equipment("e-1", "f-1")
	r := b.persistent("f-2", image)
	r.Env["VERSION"] = "two"
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	for _, said := range []string{"scaling policy requests", "scheduled action night", "lifecycle hook drain", "notifications to arn:aws:sns:eu-west-1:1:ops", "the warm pool"} {
		if !strings.Contains(b.log.String(), said) {
			t.Errorf("the log does not say %q", said)
		}
	}
	policies, err := b.groups.DescribePolicies(t.Context(), &autoscaling.DescribePoliciesInput{AutoScalingGroupName: aws.String("penstock-f-2")})
	b.must(err)
	hooks, err := b.groups.DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("penstock-f-2")})
	b.must(err)
	if len(policies.ScalingPolicies) != 0 || len(hooks.LifecycleHooks) != 1 {
		t.Errorf("before it serves, the new group has the policies %v and the hooks %v", policies.ScalingPolicies, hooks.LifecycleHooks)
	}
	_, err = b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{KeepPrevious: time.Hour, Log: b.log})
	b.must(err)
	b.wantEquipment("e-1", "f-2", want)
	kept := b.autoScalingGroup("f-1")
	for _, p := range []string{"AlarmNotification", "ScheduledActions"} {
		if !slices.ContainsFunc(kept.SuspendedProcesses, func(s groups.SuspendedProcess) bool { return aws.ToString(s.ProcessName) == p }) {
			t.Errorf("on the group that is kept %s is not suspended", p)
		}
	}
	if kept.WarmPoolConfiguration != nil {
		t.Error("the group that is kept keeps instances warm")
	}
	// Back to the first, which is taken again. What was taken from the second, or changed there,
	// is no more with the first, either.
	for _, name := range []string{"in", "forecast"} {
		_, err = b.groups.DeletePolicy(t.Context(), &autoscaling.DeletePolicyInput{AutoScalingGroupName: aws.String("penstock-f-2"), PolicyName: aws.String(name)})
		b.must(err)
	}
	_, err = b.groups.DeleteScheduledAction(t.Context(), &autoscaling.DeleteScheduledActionInput{AutoScalingGroupName: aws.String("penstock-f-2"), ScheduledActionName: aws.String("night")})
	b.must(err)
	_, err = b.groups.DeleteLifecycleHook(t.Context(), &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String("penstock-f-2"), LifecycleHookName: aws.String("drain")})
	b.must(err)
	_, err = b.groups.PutLifecycleHook(t.Context(), &autoscaling.PutLifecycleHookInput{
		AutoScalingGroupName: aws.String("penstock-f-2"), LifecycleHookName: aws.String("register"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"),
	})
	b.must(err)
	_, err = b.groups.DeleteNotificationConfiguration(t.Context(), &autoscaling.DeleteNotificationConfigurationInput{AutoScalingGroupName: aws.String("penstock-f-2"), TopicARN: aws.String("arn:aws:sns:eu-west-1:1:ops")})
	b.must(err)
	_, err = b.groups.DisableMetricsCollection(t.Context(), &autoscaling.DisableMetricsCollectionInput{AutoScalingGroupName: aws.String("penstock-f-2")})
	b.must(err)
	want = b.equipment("e-1", "f-2")
	back := b.persistent("f-3", image)
	back.Env["VERSION"] = "f-1"
	f, err := b.Prepare(t.Context(), back)
	b.must(err)
	_, err = b.Shift(t.Context(), "e-1", f.ID, pipeline.Traffic{Log: b.log})
	b.must(err)
	if f.ID != "f-1" {
		t.Errorf("the rollback is to fleet %s", f.ID)
	}
	b.wantEquipment("e-1", "f-1", want)
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// A shift that goes back leaves the alarms, and the number of instances, with the fleet
// before, and no policy takes instances from it meanwhile.
func TestCarryBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	b.equip("e-1", "f-1")
	_, err := b.groups.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String("penstock-f-1"), DesiredCapacity: aws.Int32(3)})
	b.must(err)
	want := b.equipment("e-1", "f-1")
	b.cloud.SetAlarm("errors", "OK")
	_, err = b.Prepare(t.Context(), b.persistent("f-2", image))
	b.must(err)
	done := make(chan error, 1)
	go func() {
		_, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 50, Pause: time.Minute}}, Alarms: []string{"errors"}, Log: b.log})
		done <- err
	}()
	b.eventually("both fleets serve", func() bool { return len(b.serves(20)) == 2 })
	if g := b.autoScalingGroup("f-1"); aws.ToInt32(g.MinSize) != 3 || aws.ToInt32(g.DesiredCapacity) != 3 {
		t.Errorf("while its traffic goes over, the fleet before has %d instances, %d at least", aws.ToInt32(g.DesiredCapacity), aws.ToInt32(g.MinSize))
	}
	b.cloud.SetAlarm("errors", "ALARM")
	b.wantError(<-done, pipeline.CodeFailed, `"errors"`)
	b.must(b.Discard(t.Context(), "e-1", "f-2"))
	got := strings.ReplaceAll(b.equipment("e-1", "f-1"), `"AlarmName":"errors"`, "")
	if !strings.HasPrefix(got, want[:strings.Index(want, "[]types.MetricAlarm")]) {
		t.Errorf("after the shift went back the group has\n%s\nand not\n%s", got, want)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// An alarm by which a policy acts, and which may not be changed, fails a deployment before
// it launches anything.
func TestCarryAlarm(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	put := func(name string, actions ...string) {
		_, err := b.watch.PutMetricAlarm(t.Context(), &cloudwatch.PutMetricAlarmInput{
			AlarmName: aws.String(name), Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"), Statistic: alarms.StatisticAverage, Period: aws.Int32(60),
			EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1), ComparisonOperator: alarms.ComparisonOperatorGreaterThanThreshold,
			Dimensions: []alarms.Dimension{{Name: aws.String("AutoScalingGroupName"), Value: aws.String("penstock-f-1")}}, AlarmActions: actions,
		})
		b.must(err)
	}
	put("only looks")
	_, err := b.Prepare(t.Context(), b.persistent("f-2", image))
	b.must(err)
	if !strings.Contains(b.log.String(), `alarm "only looks" watches the fleet that serves`) {
		t.Error("the log does not say that an alarm is lost")
	}
	b.must(b.Discard(t.Context(), "e-1", "f-2"))
	put("acts", "arn:aws:autoscaling:eu-west-1:1:scalingPolicy:0:autoScalingGroupName/penstock-f-1:policyName/out")
	_, err = b.Prepare(t.Context(), b.persistent("f-3", image))
	b.wantError(err, pipeline.CodeInvalid, `"acts"`, "penstock:stack = penstock", "environment.scaling")
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// A command runs on the instances that serve, and on none that waits in the warm pool.
func TestWarmPoolRunsNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	b.equip("e-1", "f-1")
	list, err := b.fleets.Instances(t.Context(), "e-1")
	b.must(err)
	tags := []ec2types.Tag{{Key: aws.String("penstock:stack"), Value: aws.String("penstock")}, {Key: aws.String("penstock:role"), Value: aws.String("instance")},
		{Key: aws.String("penstock:environment"), Value: aws.String("e-1")}, {Key: aws.String("penstock:fleet"), Value: aws.String("f-1")}}
	out, err := b.ec2.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: aws.String(image), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: ec2types.InstanceTypeT3Small, SubnetId: list[0].SubnetId,
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: tags}},
	})
	b.must(err)
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: "echo here-it-runs", Everywhere: true}, b.log)
	b.must(err)
	if n := strings.Count(b.log.String(), "here-it-runs"); exit != 0 || n != 2 {
		t.Errorf("the command ran %d times", n)
	}
	b.cloud.Terminate(aws.ToString(out.Instances[0].InstanceId))
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// What is declared is there from the first deployment on, changes without one, and goes when
// it is declared no more. What people attached stays beside it.
func TestDeclaredScaling(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	one := 1
	declared := &pipeline.Scaling{
		Min: 1, Max: 5, Target: &pipeline.ScalingTarget{RequestsPerTarget: 1000}, WarmPool: &pipeline.WarmPool{MinSize: 1, State: pipeline.WarmStopped},
		Schedule: []pipeline.ScheduledSize{{Name: "night", Cron: "0 20 * * *", Min: &one}},
	}
	deploy := func(fleet string, s *pipeline.Scaling) {
		t.Helper()
		r := b.persistent(fleet, image)
		r.Scaling = s
		_, err := b.Prepare(t.Context(), r)
		b.must(err)
		_, err = b.Shift(t.Context(), "e-1", fleet, pipeline.Traffic{Scaling: s, Log: b.log})
		b.must(err)
	}
	has := func(fleet string, names ...string) {
		t.Helper()
		var got []string
		policies, err := b.groups.DescribePolicies(t.Context(), &autoscaling.DescribePoliciesInput{AutoScalingGroupName: aws.String("penstock-" + fleet)})
		b.must(err)
		for _, p := range policies.ScalingPolicies {
			got = append(got, aws.ToString(p.PolicyName))
			if m := p.TargetTrackingConfiguration.PredefinedMetricSpecification; m.ResourceLabel != nil && aws.ToString(m.ResourceLabel) != b.requestsOf("e-1", fleet) {
				t.Errorf("policy %s watches %s", aws.ToString(p.PolicyName), aws.ToString(m.ResourceLabel))
			}
		}
		actions, err := b.groups.DescribeScheduledActions(t.Context(), &autoscaling.DescribeScheduledActionsInput{AutoScalingGroupName: aws.String("penstock-" + fleet)})
		b.must(err)
		for _, a := range actions.ScheduledUpdateGroupActions {
			got = append(got, aws.ToString(a.ScheduledActionName))
		}
		g := b.autoScalingGroup(fleet)
		got = append(got, fmt.Sprintf("%d to %d", aws.ToInt32(g.MinSize), aws.ToInt32(g.MaxSize)))
		if g.WarmPoolConfiguration != nil {
			got = append(got, "warm")
		}
		slices.Sort(got)
		if slices.Sort(names); !slices.Equal(got, names) {
			t.Errorf("fleet %s has %v, want %v", fleet, got, names)
		}
	}
	deploy("f-1", declared)
	has("f-1", "penstock-target", "penstock-night", "1 to 5", "warm")
	_, err := b.groups.PutScalingPolicy(t.Context(), &autoscaling.PutScalingPolicyInput{
		AutoScalingGroupName: aws.String("penstock-f-1"), PolicyName: aws.String("cpu"), PolicyType: aws.String("TargetTrackingScaling"),
		TargetTrackingConfiguration: &groups.TargetTrackingConfiguration{TargetValue: aws.Float64(50), PredefinedMetricSpecification: &groups.PredefinedMetricSpecification{PredefinedMetricType: groups.MetricTypeASGAverageCPUUtilization}},
	})
	b.must(err)
	deploy("f-2", declared)
	has("f-2", "penstock-target", "penstock-night", "cpu", "1 to 5", "warm")
	less := &pipeline.Scaling{Min: 2, Max: 8, Target: declared.Target}
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 2, Scaling: less}))
	has("f-2", "penstock-target", "cpu", "2 to 8")
	b.cloud.ResetCalls()
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 2, Scaling: less}))
	if n := b.cloud.Count(); n["PutScalingPolicy"]+n["PutWarmPool"]+n["DeletePolicy"] > 0 {
		t.Errorf("what is there already is made again: %v", n)
	}
	deploy("f-3", nil)
	has("f-3", "cpu", "2 to 2")
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// A plan says what goes on with the next deployment, and refuses subnets in which AWS can't make
// a load balancer, with five requests at most.
func TestForesee(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.must(b.deploy(b.persistent("f-1", b.app())))
	foresee := func(f pipeline.Foresight) (string, error) {
		b.cloud.ResetCalls()
		carried, err := b.Foresee(t.Context(), f)
		if n := len(b.cloud.Calls()); n > 5 {
			t.Errorf("it takes %d requests: %v", n, b.cloud.Count())
		}
		return carried, err
	}
	if carried, err := foresee(pipeline.Foresight{Fleet: "f-1"}); err != nil || carried != "" {
		t.Errorf("of a group that has nothing it says %q, %v", carried, err)
	}
	b.equip("e-1", "f-1")
	carried, err := foresee(pipeline.Foresight{Fleet: "f-1"})
	b.must(err)
	for _, want := range []string{"scaling policy requests", "scheduled action night", "lifecycle hook drain", "notifications to arn:aws:sns:eu-west-1:1:ops", "suspended process AZRebalance", "the warm pool"} {
		if !strings.Contains(carried, want) {
			t.Errorf("of %q it says %q", want, carried)
		}
	}
	if carried, err := foresee(pipeline.Foresight{Fleet: "gone"}); err != nil || carried != "" {
		t.Errorf("of a group that is gone it says %q, %v", carried, err)
	}
	_, err = foresee(pipeline.Foresight{})
	b.must(err)
	first := b.stack.Settings.PublicSubnets[0]
	twin, err := b.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: aws.String(b.stack.Settings.VPC), CidrBlock: aws.String("172.31.96.0/20"), AvailabilityZone: aws.String(b.zoneOf(first))})
	b.must(err)
	before := b.stack.Settings.PublicSubnets
	b.stack.Settings.PublicSubnets = []string{first, aws.ToString(twin.Subnet.SubnetId)}
	_, err = foresee(pipeline.Foresight{})
	b.wantError(err, pipeline.CodeInvalid, "both in zone", "--public-subnets")
	b.stack.Settings.PublicSubnets = before
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// zoneOf returns the zone of a subnet.
func (b *bed) zoneOf(subnet string) string {
	b.Helper()
	out, err := b.ec2.DescribeSubnets(b.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}})
	b.must(err)
	return aws.ToString(out.Subnets[0].AvailabilityZone)
}
