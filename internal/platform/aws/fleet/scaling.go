// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const (
	opLabel  = "label fleet"
	opResize = "resize environment"
)

// groupName names a fleet's launch template, Auto Scaling group and target group.
func groupName(fleet string) string { return "penstock-" + fleet }

// scalingGroup is the Auto Scaling group of a fleet.
type scalingGroup struct {
	name    string
	fleet   string
	targets []string // ARNs of target groups
	least   int      // number of instances
	desired int      // number of instances
	key     string   // of what it was made from
	serving bool
	fence   string // token of the lease under which it was made, or got its traffic
	kept    string // until when, for a rollback; empty where it is not
	ending  bool
	most    int    // number of instances
	bounds  bounds // that it was made with
	held    bounds // its least number, and the one that it has while its traffic goes over; zero where it is not held
	warm    bool   // its warm pool was declared
	told    string // which attributes of its target group were declared
	group   types.AutoScalingGroup

	stage, environment, endpoint string
}

// fleetKey distinguishes fleets that were made from different things.
func fleetKey(r pipeline.FleetRequest) string {
	text, _ := json.Marshal([]any{r.Image, r.InstanceType, r.Machine, r.Lasting, r.Profile, r.Groups, r.ExtraGroups, r.Subnets, r.TargetGroups, serviceEnv(r), port(r.Service), r.Service.HealthCheck, r.TargetAttributes, r.DNS}) // plain values
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// scaling is Auto Scaling.
type scaling struct {
	stack  *stack.Stack
	client *autoscaling.Client
}

// create makes the Auto Scaling group of a fleet, with what the group before was made with. An
// instance counts as healthy for grace after its launch. Hooks are there for its first
// instances; what else is attached comes when the fleet has the traffic.
func (a *scaling) create(ctx context.Context, r pipeline.FleetRequest, up rising, template string, grace time.Duration) error {
	name := groupName(r.Fleet)
	tags := []types.Tag{}
	of := tagsOf(ctx, r)
	of[stack.TagKey], of[tagScaling], of[tagDeclared] = fleetKey(r), scalingTag(sizeOf(r)), declaredTag(r.TargetAttributes)
	for _, t := range a.stack.TagsOf(r.Labels, of) {
		tags = append(tags, groupTag(name, aws.ToString(t.Key), aws.ToString(t.Value)))
	}
	before := up.before.group
	_, err := a.client.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName:   aws.String(name),
		MinSize:                aws.Int32(int32(up.least)),
		MaxSize:                aws.Int32(int32(up.most)),
		DesiredCapacity:        aws.Int32(int32(up.desired)),
		LaunchTemplate:         &types.LaunchTemplateSpecification{LaunchTemplateId: aws.String(template), Version: aws.String("1")},
		VPCZoneIdentifier:      aws.String(strings.Join(subnets(a.stack.Settings, r), ",")),
		TargetGroupARNs:        slices.Concat([]string{up.target}, r.TargetGroups),
		HealthCheckType:        aws.String("EC2"),
		HealthCheckGracePeriod: aws.Int32(int32(grace / time.Second)),
		Tags:                   tags,

		CapacityRebalance: before.CapacityRebalance, DefaultCooldown: before.DefaultCooldown, DefaultInstanceWarmup: before.DefaultInstanceWarmup,
		InstanceMaintenancePolicy: before.InstanceMaintenancePolicy, LifecycleHookSpecificationList: specifications(up.attached.hooks),
		MaxInstanceLifetime: before.MaxInstanceLifetime, NewInstancesProtectedFromScaleIn: before.NewInstancesProtectedFromScaleIn,
		TerminationPolicies: before.TerminationPolicies,
	})
	if cloud.Is(err, "AlreadyExists") {
		return nil
	}
	return hookFault(ctx, up.attached.hooks, err)
}

// subnets returns those of a fleet's instances.
func subnets(s stack.Settings, r pipeline.FleetRequest) []string {
	if len(r.Subnets) > 0 {
		return r.Subnets
	}
	return s.Subnets
}

// sizeOf returns the size that a fleet is asked for with.
func sizeOf(r pipeline.FleetRequest) pipeline.Size {
	return pipeline.Size{Instances: r.Instances, Scaling: r.Scaling}
}

const warmWord = " warm"

// scalingTag says what of a group's scaling was declared.
func scalingTag(to pipeline.Size) string {
	text := boundsOf(to).String()
	if to.Scaling != nil && to.Scaling.WarmPool != nil {
		text += warmWord
	}
	return text
}

// specifications returns hooks as a group is made with them.
func specifications(hooks []types.LifecycleHook) (list []types.LifecycleHookSpecification) {
	for _, h := range hooks {
		list = append(list, types.LifecycleHookSpecification{
			LifecycleHookName: h.LifecycleHookName, LifecycleTransition: h.LifecycleTransition, DefaultResult: h.DefaultResult, HeartbeatTimeout: h.HeartbeatTimeout,
			NotificationMetadata: h.NotificationMetadata, NotificationTargetARN: h.NotificationTargetARN, RoleARN: h.RoleARN,
		})
	}
	return list
}

// groupTag is a tag of a group, and of what it launches later.
func groupTag(name, key, value string) types.Tag {
	return types.Tag{
		Key: aws.String(key), Value: aws.String(value), PropagateAtLaunch: aws.Bool(true),
		ResourceId: aws.String(name), ResourceType: aws.String("auto-scaling-group"),
	}
}

// replaceUnhealthy lets Auto Scaling replace instances whose service is not healthy.
// While a deployment migrates, none is, and none may be replaced for that.
func (a *scaling) replaceUnhealthy(ctx context.Context, fleet string) error {
	_, err := a.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(groupName(fleet)), HealthCheckType: aws.String("ELB"),
	})
	return cloud.Fault(ctx, opPrepare, err)
}

// setSize sets the numbers of instances of a group, which says in a tag how they came about.
func (a *scaling) setSize(ctx context.Context, g scalingGroup, to pipeline.Size, n sizes) (rising, error) {
	up := rising{target: g.targets[0], sizes: n}
	before, err := a.activities(ctx, g.fleet, 1)
	if err != nil {
		return up, err
	}
	if len(before) > 0 {
		up.since = aws.ToString(before[0].ActivityId)
	}
	_, err = a.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(g.name), MinSize: aws.Int32(int32(n.least)),
		MaxSize: aws.Int32(int32(n.most)), DesiredCapacity: aws.Int32(int32(n.desired)),
	})
	if err != nil {
		return up, cloud.Fault(ctx, "resize fleet "+g.fleet, err)
	}
	return up, a.label(ctx, g.fleet, map[string]string{tagScaling: scalingTag(to), tagHeld: ""})
}

// hold keeps a group from losing instances while its traffic goes over, and may come back.
func (a *scaling) hold(ctx context.Context, g scalingGroup) error {
	least := int(aws.ToInt32(g.group.MinSize))
	if g.desired <= least || g.held.most == least { // the second: it is held
		return nil
	}
	if err := a.label(ctx, g.fleet, map[string]string{tagHeld: bounds{g.least, g.desired}.String()}); err != nil {
		return err
	}
	return a.setLeast(ctx, g.name, g.desired)
}

// release undoes hold. A least number that somebody has set meanwhile stays.
func (a *scaling) release(ctx context.Context, g scalingGroup) error {
	if g.held == (bounds{}) {
		return nil
	}
	if int(aws.ToInt32(g.group.MinSize)) == g.held.most {
		if err := a.setLeast(ctx, g.name, g.held.least); err != nil {
			return err
		}
	}
	return a.label(ctx, g.fleet, map[string]string{tagHeld: ""})
}

// grow gives a group more instances.
func (a *scaling) grow(ctx context.Context, g scalingGroup, size int) (rising, error) {
	up := rising{target: g.targets[0], sizes: sizes{g.least, size, max(g.most, size)}}
	_, err := a.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(g.name), MaxSize: aws.Int32(int32(up.most)), DesiredCapacity: aws.Int32(int32(size)),
	})
	return up, cloud.Fault(ctx, opShift, err)
}

func (a *scaling) setLeast(ctx context.Context, group string, least int) error {
	_, err := a.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String(group), MinSize: aws.Int32(int32(least))})
	return cloud.Fault(ctx, opShift, err)
}

// rising is a group whose instances are awaited.
type rising struct {
	sizes
	target   string       // its target group
	since    string       // ID of its newest scaling activity before; empty for a new group
	before   scalingGroup // that serves; zero for none
	attached attached     // to that
}

// label sets tags on the group of a fleet, and on what it launches later. That others have
// ended it is no error.
func (a *scaling) label(ctx context.Context, fleet string, tags map[string]string) error {
	var list []types.Tag
	for _, k := range stack.Sorted(tags) {
		list = append(list, groupTag(groupName(fleet), k, tags[k]))
	}
	_, err := a.client.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: list})
	if err != nil && !absent(err) {
		return cloud.Fault(ctx, opLabel, err)
	}
	return nil
}

// of lists the Auto Scaling groups of an environment.
func (a *scaling) of(ctx context.Context, environment string) ([]scalingGroup, error) {
	return a.list(ctx, TagEnvironment, environment)
}

// list lists the Auto Scaling groups that have a tag.
func (a *scaling) list(ctx context.Context, key, value string) ([]scalingGroup, error) {
	var list []scalingGroup
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(a.client, &autoscaling.DescribeAutoScalingGroupsInput{
		MaxRecords: aws.Int32(100), Filters: []types.Filter{
			{Name: aws.String("tag:" + key), Values: []string{value}}, {Name: aws.String("tag:" + stack.TagStack), Values: []string{a.stack.Settings.Stack}},
		},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list Auto Scaling groups", err)
		}
		for _, g := range page.AutoScalingGroups {
			list = append(list, describeGroup(g))
		}
	}
	return list, nil
}

// ownTargets leaves out the target groups that Penstock has not made.
func ownTargets(arns []string) []string {
	var own []string
	for _, arn := range arns {
		if strings.Contains(arn, ":targetgroup/"+groupName("")) {
			own = append(own, arn)
		}
	}
	return own
}

func describeGroup(g types.AutoScalingGroup) scalingGroup {
	tags := map[string]string{}
	for _, t := range g.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	name := aws.ToString(g.AutoScalingGroupName)
	least, held := int(aws.ToInt32(g.MinSize)), parseBounds(tags[tagHeld])
	if held.most == least && held != (bounds{}) {
		least = held.least
	}
	return scalingGroup{
		told: tags[tagDeclared], bounds: parseBounds(tags[tagScaling]), warm: strings.HasSuffix(tags[tagScaling], warmWord), held: held, group: g, most: int(aws.ToInt32(g.MaxSize)),
		name: name, fleet: strings.TrimPrefix(name, groupName("")), targets: ownTargets(g.TargetGroupARNs),
		least: least, desired: int(aws.ToInt32(g.DesiredCapacity)),
		key: tags[stack.TagKey], serving: tags[TagServing] == "true", fence: tags[tagFence], kept: tags[TagKept],
		ending: aws.ToString(g.Status) != "", // Auto Scaling sets it only on groups that are being deleted
		stage:  tags[stack.TagStage], environment: tags[TagEnvironment], endpoint: tags[TagEndpoint],
	}
}

// launchTries is how often in a row Auto Scaling must have failed to launch an instance
// before it counts as unable to: what one try lacked, the next may find.
const launchTries = 3

// failures reports launches that failed after a known activity, and after the newest
// successful one: in words for a state, and as an error where there are many. It only
// explains why instances are missing: what can't be read is left out.
func (a *scaling) failures(ctx context.Context, fleet, since string) (failed string, stuck error) {
	list, _ := a.activities(ctx, fleet, 10)
	var why []string
	for _, activity := range list {
		if aws.ToString(activity.ActivityId) == since || activity.StatusCode == types.ScalingActivityStatusCodeSuccessful {
			break
		}
		if activity.StatusCode == types.ScalingActivityStatusCodeFailed {
			why = append(why, aws.ToString(activity.StatusMessage))
		}
	}
	if len(why) == 0 {
		return "", nil
	}
	if len(why) >= launchTries {
		stuck = pipeline.Errorf(pipeline.CodeFailed, opPrepare, "Auto Scaling can't launch an instance: %s", why[0]).
			WithHint("Correct what AWS names; for capacity, choose another instance_type or more subnets.")
	}
	return "; a launch failed: " + why[0], stuck
}

// activities returns the newest scaling activities of a fleet's group, the newest first.
func (a *scaling) activities(ctx context.Context, fleet string, most int32) ([]types.Activity, error) {
	out, err := a.client.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{
		AutoScalingGroupName: aws.String(groupName(fleet)), MaxRecords: aws.Int32(most),
	})
	if err != nil {
		return nil, cloud.Fault(ctx, "read scaling activities of fleet "+fleet, err)
	}
	return out.Activities, nil
}

// remove removes the group of a fleet with its instances; one that does not exist, or that
// is being removed, is no error.
func (a *scaling) remove(ctx context.Context, fleet string) error {
	name := groupName(fleet)
	list, err := a.named(ctx, name)
	if err != nil {
		return cloud.Fault(ctx, "remove fleet "+fleet, err)
	}
	if len(list) == 1 && list[0].WarmPoolConfiguration != nil && list[0].WarmPoolConfiguration.Status != types.WarmPoolStatusPendingDelete {
		if err := a.removeWarmPool(ctx, name); err != nil {
			return cloud.Fault(ctx, "remove fleet "+fleet, err)
		}
	}
	err = whenUnused(ctx, a.stack, "Auto Scaling group "+name, func() error {
		_, err := a.client.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{
			AutoScalingGroupName: aws.String(name), ForceDelete: aws.Bool(true),
		})
		if cloud.Is(err, "ScalingActivityInProgress") && a.ends(ctx, name) {
			return nil
		}
		if cloud.Is(err, "AccessDenied") && a.gone(ctx, name) { // what does not exist has no tag that would allow it
			return nil
		}
		return err
	})
	if err != nil && !absent(err) {
		return cloud.Fault(ctx, "remove fleet "+fleet, err)
	}
	return nil
}

// ends reports whether a group is being deleted, which takes minutes.
func (a *scaling) ends(ctx context.Context, name string) bool {
	list, err := a.named(ctx, name)
	return err == nil && len(list) == 1 && aws.ToString(list[0].Status) != ""
}

// gone reports whether there is no such group.
func (a *scaling) gone(ctx context.Context, name string) bool {
	list, err := a.named(ctx, name)
	return err == nil && len(list) == 0
}

func (a *scaling) named(ctx context.Context, name string) ([]types.AutoScalingGroup, error) {
	out, err := a.client.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		return nil, err
	}
	return out.AutoScalingGroups, nil
}

// absent reports whether Auto Scaling does not have the group. It has no code of its
// own for that: the name is all that a deletion could be wrong about.
func absent(err error) bool { return cloud.Is(err, "ValidationError") }

// unusedLimit is how long what was just given up may count as used.
const unusedLimit = 2 * time.Minute

// whenUnused removes a thing, again while AWS says that it is used: it takes a moment
// to notice that it no longer is.
func whenUnused(ctx context.Context, s *stack.Stack, what string, remove func() error) error {
	return s.Wait(ctx, "the end of the use of "+what, unusedLimit, func(context.Context) (poll.Probe, error) {
		err := remove()
		if cloud.Is(err, "ResourceInUse", "ScalingActivityInProgress") {
			return poll.Probe{State: err.Error()}, nil
		}
		return poll.Probe{Done: true}, err
	})
}
