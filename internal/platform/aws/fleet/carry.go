// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

const opCarry = "carry over what is attached to the Auto Scaling group"

// place is a fleet as what is attached to it names it.
type place struct {
	group    string // name
	balancer string // ARN
	target   string // ARN of the target group
}

// after returns the end of an ARN, as metrics name the load balancer or target group.
func after(arn, word string) string {
	_, name, _ := strings.Cut(arn, word)
	return name
}

// label names a target group behind a load balancer in a metric of requests.
func (p place) label() string {
	return after(p.balancer, ":loadbalancer/") + "/targetgroup/" + after(p.target, ":targetgroup/")
}

// wanted returns what a group is to have beside its instances: what people attached to the
// one before, about this group, and what is declared. What was declared for the one before
// is neither.
func wanted(before attached, from scalingGroup, to place, s *pipeline.Scaling, now time.Time) attached {
	want := attached{
		hooks: before.hooks, notifications: before.notifications, suspended: before.suspended, metrics: before.metrics, warm: before.warm,
	}
	if from.warm {
		want.warm = nil
	}
	for _, p := range before.policies {
		if !strings.HasPrefix(aws.ToString(p.PolicyName), own) {
			want.policies = append(want.policies, about(p, from.name, to))
		}
	}
	for _, a := range before.actions {
		if strings.HasPrefix(aws.ToString(a.ScheduledActionName), own) || a.EndTime != nil && a.EndTime.Before(now) {
			continue
		}
		a.Time = nil // the old name of StartTime
		if a.StartTime != nil && a.StartTime.Before(now.Add(time.Minute)) {
			if a.Recurrence == nil { // it is over, or will be before AWS takes it
				continue
			}
			a.StartTime = nil
		}
		want.actions = append(want.actions, a)
	}
	if s == nil {
		return want
	}
	if s.Target != nil {
		want.policies = append(want.policies, targetPolicy(s.Target, to))
	}
	for _, size := range s.Schedule {
		want.actions = append(want.actions, scheduled(size))
	}
	if w := s.WarmPool; w != nil {
		want.warm = &types.WarmPoolConfiguration{MinSize: aws.Int32(int32(w.MinSize)), PoolState: warmStates[w.State]}
		if w.MaxPrepared > 0 {
			want.warm.MaxGroupPreparedCapacity = aws.Int32(int32(w.MaxPrepared))
		}
		if w.ReuseOnScaleIn {
			want.warm.InstanceReusePolicy = &types.InstanceReusePolicy{ReuseOnScaleIn: aws.Bool(true)}
		}
	}
	return want
}

var warmStates = map[string]types.WarmPoolState{
	pipeline.WarmStopped: types.WarmPoolStateStopped, pipeline.WarmRunning: types.WarmPoolStateRunning, pipeline.WarmHibernated: types.WarmPoolStateHibernated,
}

// targetPolicy keeps a metric at a value.
func targetPolicy(t *pipeline.ScalingTarget, to place) types.ScalingPolicy {
	config := &types.TargetTrackingConfiguration{}
	predefined := func(kind types.MetricType, value float64) {
		config.TargetValue, config.PredefinedMetricSpecification = aws.Float64(value), &types.PredefinedMetricSpecification{PredefinedMetricType: kind}
	}
	switch {
	case t.CPU > 0:
		predefined(types.MetricTypeASGAverageCPUUtilization, t.CPU)
	case t.RequestsPerTarget > 0:
		predefined(types.MetricTypeALBRequestCountPerTarget, t.RequestsPerTarget)
		config.PredefinedMetricSpecification.ResourceLabel = aws.String(to.label())
	case t.Metric != nil:
		config.TargetValue = aws.Float64(t.Metric.Value)
		metric := &types.CustomizedMetricSpecification{
			Namespace: aws.String(t.Metric.Namespace), MetricName: aws.String(t.Metric.Name), Statistic: types.MetricStatistic(t.Metric.Statistic),
		}
		for _, k := range stack.Sorted(t.Metric.Dimensions) {
			metric.Dimensions = append(metric.Dimensions, types.MetricDimension{Name: aws.String(k), Value: aws.String(t.Metric.Dimensions[k])})
		}
		config.CustomizedMetricSpecification = metric
	}
	return types.ScalingPolicy{PolicyName: aws.String(own + "target"), PolicyType: aws.String("TargetTrackingScaling"), TargetTrackingConfiguration: config}
}

func scheduled(s pipeline.ScheduledSize) types.ScheduledUpdateGroupAction {
	number := func(n *int) *int32 {
		if n == nil {
			return nil
		}
		return aws.Int32(int32(*n))
	}
	return types.ScheduledUpdateGroupAction{
		ScheduledActionName: aws.String(own + s.Name), Recurrence: aws.String(s.Cron), TimeZone: aws.String(cmp.Or(s.TimeZone, "Etc/UTC")),
		MinSize: number(s.Min), MaxSize: number(s.Max), DesiredCapacity: number(s.Desired),
	}
}

var targetName = regexp.MustCompile(`targetgroup/[^/"]+/[0-9a-f]+`)

// about returns a thing that names a group, or a target group of this environment, with the
// names of another one. Metrics name them in many places.
func about[T any](v T, group string, to place) T {
	text, err := json.Marshal(v)
	if err != nil {
		return v
	}
	quoted := func(s string) string { q, _ := json.Marshal(s); return string(q) }
	renamed := strings.ReplaceAll(string(text), quoted(group), quoted(to.group))
	renamed = targetName.ReplaceAllStringFunc(renamed, func(name string) string {
		if strings.HasPrefix(name, "targetgroup/"+group+"/") { // fleets' groups and target groups have one name
			return "targetgroup/" + after(to.target, ":targetgroup/")
		}
		return name
	})
	var next T
	if err := json.Unmarshal([]byte(renamed), &next); err != nil {
		return v
	}
	return next
}

// attach gives a group what it is to have beside its instances, and takes from it what it is
// not to have. What is there already is no error. It returns the ARNs of policies by name.
func (a *scaling) attach(ctx context.Context, g scalingGroup, want attached) (policies map[string]string, err error) {
	have, err := a.attached(ctx, g)
	if err != nil {
		return nil, err
	}
	if err := a.detach(ctx, g, have, want); err != nil {
		return nil, cloud.Fault(ctx, opCarry, err)
	}
	for _, h := range want.hooks {
		in := putHook(g.name, h)
		if slices.ContainsFunc(have.hooks, func(h types.LifecycleHook) bool { return alike(in, putHook(g.name, h)) }) {
			continue
		}
		if _, err := a.client.PutLifecycleHook(ctx, in); err != nil {
			return nil, hookFault(ctx, want.hooks, err)
		}
	}
	if policies, err = a.putPolicies(ctx, g.name, have.policies, want.policies); err != nil {
		return nil, err
	}
	for _, s := range want.actions {
		in := putAction(g.name, s)
		if slices.ContainsFunc(have.actions, func(s types.ScheduledUpdateGroupAction) bool { return alike(in, putAction(g.name, s)) }) {
			continue
		}
		if _, err := a.client.PutScheduledUpdateGroupAction(ctx, in); err != nil {
			return nil, cloud.Fault(ctx, opCarry, err)
		}
	}
	name, had, topics := aws.String(g.name), have.topics(), want.topics()
	for _, topic := range stack.Sorted(topics) {
		if len(without(topics[topic], had[topic]))+len(without(had[topic], topics[topic])) == 0 {
			continue
		}
		_, err = a.client.PutNotificationConfiguration(ctx, &autoscaling.PutNotificationConfigurationInput{
			AutoScalingGroupName: name, TopicARN: aws.String(topic), NotificationTypes: topics[topic],
		})
		if err != nil {
			return nil, cloud.Fault(ctx, opCarry, err)
		}
	}
	if more := without(want.metrics, have.metrics); len(more) > 0 {
		_, err = a.client.EnableMetricsCollection(ctx, &autoscaling.EnableMetricsCollectionInput{
			AutoScalingGroupName: name, Granularity: aws.String("1Minute"), Metrics: more,
		})
		if err != nil {
			return nil, cloud.Fault(ctx, opCarry, err)
		}
	}
	if want.warm != nil && !alike(putWarmPool(g.name, want.warm), putWarmPool(g.name, have.warm)) {
		if _, err = a.client.PutWarmPool(ctx, putWarmPool(g.name, want.warm)); err != nil {
			return nil, cloud.Fault(ctx, opCarry, err)
		}
	}
	return policies, a.suspend(ctx, g.name, have.suspended, want.suspended) // last: until then nothing that is attached acts on a kept fleet
}

func putHook(group string, h types.LifecycleHook) *autoscaling.PutLifecycleHookInput {
	return &autoscaling.PutLifecycleHookInput{
		AutoScalingGroupName: aws.String(group), LifecycleHookName: h.LifecycleHookName, LifecycleTransition: h.LifecycleTransition, DefaultResult: h.DefaultResult,
		HeartbeatTimeout: h.HeartbeatTimeout, NotificationMetadata: h.NotificationMetadata, NotificationTargetARN: h.NotificationTargetARN, RoleARN: h.RoleARN,
	}
}

func putPolicy(group string, p types.ScalingPolicy) *autoscaling.PutScalingPolicyInput {
	return &autoscaling.PutScalingPolicyInput{
		AutoScalingGroupName: aws.String(group), PolicyName: p.PolicyName, PolicyType: p.PolicyType, AdjustmentType: p.AdjustmentType, Cooldown: p.Cooldown,
		Enabled: aws.Bool(p.Enabled == nil || *p.Enabled), EstimatedInstanceWarmup: p.EstimatedInstanceWarmup, MetricAggregationType: p.MetricAggregationType,
		MinAdjustmentMagnitude: p.MinAdjustmentMagnitude, ScalingAdjustment: p.ScalingAdjustment, StepAdjustments: p.StepAdjustments,
		TargetTrackingConfiguration: p.TargetTrackingConfiguration, PredictiveScalingConfiguration: p.PredictiveScalingConfiguration,
	}
}

func putAction(group string, s types.ScheduledUpdateGroupAction) *autoscaling.PutScheduledUpdateGroupActionInput {
	return &autoscaling.PutScheduledUpdateGroupActionInput{
		AutoScalingGroupName: aws.String(group), ScheduledActionName: s.ScheduledActionName, Recurrence: s.Recurrence, StartTime: s.StartTime, EndTime: s.EndTime,
		TimeZone: s.TimeZone, MinSize: s.MinSize, MaxSize: s.MaxSize, DesiredCapacity: s.DesiredCapacity,
	}
}

func putWarmPool(group string, w *types.WarmPoolConfiguration) *autoscaling.PutWarmPoolInput {
	in := &autoscaling.PutWarmPoolInput{AutoScalingGroupName: aws.String(group)}
	if w != nil {
		in.MinSize, in.MaxGroupPreparedCapacity, in.PoolState, in.InstanceReusePolicy = w.MinSize, w.MaxGroupPreparedCapacity, w.PoolState, w.InstanceReusePolicy
	}
	return in
}

// alike reports whether two requests ask for the same.
func alike[T any](a, b *T) bool {
	x, failed := json.Marshal(a)
	y, err := json.Marshal(b)
	return failed == nil && err == nil && string(x) == string(y)
}

func (a *scaling) putPolicies(ctx context.Context, group string, have, want []types.ScalingPolicy) (map[string]string, error) {
	policies := map[string]string{}
	for _, p := range want {
		in := putPolicy(group, p)
		if i := slices.IndexFunc(have, func(p types.ScalingPolicy) bool { return alike(in, putPolicy(group, p)) }); i >= 0 {
			policies[aws.ToString(p.PolicyName)] = aws.ToString(have[i].PolicyARN)
			continue
		}
		out, err := a.client.PutScalingPolicy(ctx, in)
		if err != nil {
			return nil, cloud.Fault(ctx, opCarry, err)
		}
		policies[aws.ToString(p.PolicyName)] = aws.ToString(out.PolicyARN)
	}
	return policies, nil
}

// detach takes from a group what it has and is not to have.
func (a *scaling) detach(ctx context.Context, g scalingGroup, have, want attached) error {
	name := aws.String(g.name)
	var errs error
	for _, p := range have.policies {
		if !slices.ContainsFunc(want.policies, func(w types.ScalingPolicy) bool { return *w.PolicyName == *p.PolicyName }) {
			_, err := a.client.DeletePolicy(ctx, &autoscaling.DeletePolicyInput{AutoScalingGroupName: name, PolicyName: p.PolicyName})
			errs = errors.Join(errs, err)
		}
	}
	for _, s := range have.actions {
		if !slices.ContainsFunc(want.actions, func(w types.ScheduledUpdateGroupAction) bool { return *w.ScheduledActionName == *s.ScheduledActionName }) {
			_, err := a.client.DeleteScheduledAction(ctx, &autoscaling.DeleteScheduledActionInput{AutoScalingGroupName: name, ScheduledActionName: s.ScheduledActionName})
			errs = errors.Join(errs, err)
		}
	}
	for _, h := range have.hooks {
		if !slices.ContainsFunc(want.hooks, func(w types.LifecycleHook) bool { return *w.LifecycleHookName == *h.LifecycleHookName }) {
			_, err := a.client.DeleteLifecycleHook(ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: name, LifecycleHookName: h.LifecycleHookName})
			errs = errors.Join(errs, err)
		}
	}
	topics := want.topics()
	for topic := range have.topics() {
		if topics[topic] == nil {
			_, err := a.client.DeleteNotificationConfiguration(ctx, &autoscaling.DeleteNotificationConfigurationInput{AutoScalingGroupName: name, TopicARN: aws.String(topic)})
			errs = errors.Join(errs, err)
		}
	}
	if gone := without(have.metrics, want.metrics); len(gone) > 0 {
		_, err := a.client.DisableMetricsCollection(ctx, &autoscaling.DisableMetricsCollectionInput{AutoScalingGroupName: name, Metrics: gone})
		errs = errors.Join(errs, err)
	}
	if have.warm != nil && want.warm == nil {
		errs = errors.Join(errs, a.removeWarmPool(ctx, g.name))
	}
	return errs
}

// without returns what of a list is not in another.
func without(list, other []string) (left []string) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			left = append(left, s)
		}
	}
	return left
}

// cool removes the warm pool that was declared and is not any more, while the group's tag says
// that it was: afterwards it would be somebody's.
func (a *scaling) cool(ctx context.Context, g *scalingGroup, to pipeline.Size) error {
	pool := g.group.WarmPoolConfiguration
	declared := to.Scaling != nil && to.Scaling.WarmPool != nil
	if !g.warm || declared || pool == nil || pool.Status == types.WarmPoolStatusPendingDelete {
		return nil
	}
	if err := a.removeWarmPool(ctx, g.name); err != nil {
		return err
	}
	g.group.WarmPoolConfiguration = nil
	return nil
}

// removeWarmPool ends what waits in a group's warm pool.
func (a *scaling) removeWarmPool(ctx context.Context, group string) error {
	_, err := a.client.DeleteWarmPool(ctx, &autoscaling.DeleteWarmPoolInput{AutoScalingGroupName: aws.String(group), ForceDelete: aws.Bool(true)})
	if absent(err) { // the pool, or the group
		return nil
	}
	return err
}

// suspend makes the suspended processes of a group others.
func (a *scaling) suspend(ctx context.Context, group string, have, want []string) error {
	if more := without(want, have); len(more) > 0 {
		_, err := a.client.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String(group), ScalingProcesses: more})
		if err != nil {
			return cloud.Fault(ctx, opCarry, err)
		}
	}
	if gone := without(have, want); len(gone) > 0 {
		_, err := a.client.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: aws.String(group), ScalingProcesses: gone})
		if err != nil {
			return cloud.Fault(ctx, opCarry, err)
		}
	}
	return nil
}

// deciding are the processes by which policies and scheduled actions act on a group.
var deciding = []string{"AlarmNotification", "ScheduledActions"}

// rest lets nothing act on a group that is kept, and keeps nothing warm for it.
func (a *scaling) rest(ctx context.Context, fleet string) error {
	list, err := a.named(ctx, groupName(fleet))
	if err != nil || len(list) == 0 {
		return err
	}
	_, err = a.client.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: list[0].AutoScalingGroupName, ScalingProcesses: deciding})
	if err == nil && list[0].WarmPoolConfiguration != nil {
		err = a.removeWarmPool(ctx, groupName(fleet))
	}
	return cloud.Fault(ctx, "keep fleet "+fleet, err)
}

// hookFault explains what a lifecycle hook takes that the caller may not have.
func hookFault(ctx context.Context, hooks []types.LifecycleHook, err error) error {
	fault := cloud.Fault(ctx, opCarry, err)
	for _, h := range hooks {
		if role := aws.ToString(h.RoleARN); role != "" && pipeline.CodeOf(fault) == pipeline.CodeNotAllowed {
			return pipeline.Errorf(pipeline.CodeNotAllowed, opCarry, "lifecycle hook %q: %w", aws.ToString(h.LifecycleHookName), err).
				WithHint("Allow the deployer iam:PassRole of %s, or let EventBridge take the events of the hook, which then needs no role.", role)
		}
	}
	return fault
}
