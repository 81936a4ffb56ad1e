// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	balancers "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// groupName names a fleet's launch template, Auto Scaling group and target group.
func groupName(fleet string) string { return "penstock-" + fleet }

// group is a fleet as an Auto Scaling group.
type group struct {
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

	environment, endpoint string
}

// grown gives the present number of instances of a group whose least number is to be
// another: what scaling policies have added stays.
func (g group) grown(instances int) int {
	if g.desired > g.least {
		return max(g.desired, instances)
	}
	return instances
}

// prepareGroup brings up a fleet as an Auto Scaling group whose targets get requests
// of the test listener only. Where a kept fleet is taken again, r gets its ID.
func (p *Platform) prepareGroup(ctx context.Context, r *pipeline.FleetRequest) (pipeline.Fleet, error) {
	lb, err := p.ensureBalancer(ctx, *r)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	if _, err := p.alarmStates(ctx, r.Alarms); err != nil { // before an hour's deployment fails on a name
		return pipeline.Fleet{}, err
	}
	there, err := p.groupsOf(ctx, r.Environment)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	size := r.Instances
	for _, g := range there {
		if g.serving {
			size = g.grown(r.Instances)
		}
	}
	up, err := p.bringUp(ctx, r, size, there)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	logf(r.Log, "Auto Scaling group %s of %d instances of image %s", groupName(r.Fleet), size, r.Image)
	if err := p.point(ctx, lb.test, map[string]int32{up.target: 1}); err != nil {
		return pipeline.Fleet{}, err
	}
	if !r.ExpiresAt.IsZero() {
		if err := p.endGroupsAt(ctx, r.Environment, lb.arn, r.ExpiresAt); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	if err := p.readyGroup(ctx, *r, up); err != nil {
		return pipeline.Fleet{}, err
	}
	if err := p.awaitTargets(ctx, *r, size, up); err != nil {
		return pipeline.Fleet{}, err
	}
	if err := p.replaceUnhealthy(ctx, r.Fleet); err != nil {
		return pipeline.Fleet{}, err
	}
	return pipeline.Fleet{ID: r.Fleet, Endpoint: lb.endpoint(front{port: lb.testPort})}, nil
}

// rising is a group whose instances are awaited.
type rising struct {
	target string // its target group
	since  string // ID of its newest scaling activity before; empty for a new group
}

// bringUp makes the fleet's group. A fleet of the same things that serves no more,
// which was kept for that, is taken instead: then r gets its ID.
func (p *Platform) bringUp(ctx context.Context, r *pipeline.FleetRequest, size int, there []group) (up rising, err error) {
	for _, g := range there {
		if g.serving || g.ending || g.key != fleetKey(*r) || len(g.targets) != 1 {
			continue
		}
		logf(r.Log, "fleet %s of the same build is still there", g.fleet)
		r.Fleet = g.fleet
		// Should this process die now, it is ended all the same.
		if err := p.endGroupAt(ctx, g.fleet, p.Now().Add(reuseLimit)); err != nil {
			return up, err
		}
		if err := p.label(ctx, r.Environment, g.fleet, map[string]string{tagKept: ""}); err != nil {
			return up, err
		}
		return p.setSize(ctx, g, r.Instances, size)
	}
	template, err := p.createTemplate(ctx, *r) // first: Destroy finds a fleet by it
	if err != nil {
		return up, err
	}
	if up.target, err = p.createTargetGroup(ctx, *r); err != nil {
		return up, err
	}
	return up, p.createGroup(ctx, *r, size, template, up.target)
}

// reuseLimit is how long a deployment to a fleet that is taken again may take.
const reuseLimit = 24 * time.Hour

// fleetKey tells fleets apart that were made from different things.
func fleetKey(r pipeline.FleetRequest) string {
	text, _ := json.Marshal([]any{r.Image, r.InstanceType, serviceEnv(r), port(r.Service), r.Service.HealthCheck}) // plain values
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// readyGroup does on one instance what is done once for a deployment.
func (p *Platform) readyGroup(ctx context.Context, r pipeline.FleetRequest, up rising) error {
	migrate, seed := r.Migrate && r.Service.Migrate != "", r.Seed && r.Service.Seed != ""
	if !migrate && !seed && r.DataFrom == "" {
		return nil
	}
	var first types.Instance
	err := p.wait(ctx, "the first instance of "+groupName(r.Fleet), startLimit, func(ctx context.Context) (poll.Probe, error) {
		list, err := p.ofEnvironment(ctx, r.Environment, filter("tag:"+tagFleet, r.Fleet))
		if err != nil || len(list) == 0 {
			failed, stuck := p.launchFailures(ctx, r.Fleet, up.since)
			return poll.Probe{State: "no instance yet" + failed}, errors.Join(err, stuck)
		}
		first = list[0]
		for _, i := range list {
			if tag(i.Tags, tagReady) == "true" { // an interrupted deployment did it there
				first = i
			}
		}
		return poll.Probe{Done: true}, nil
	})
	if err != nil {
		return cloud.Fault(ctx, opPrepare, err)
	}
	return p.ready(ctx, first, r)
}

func (p *Platform) createTemplate(ctx context.Context, r pipeline.FleetRequest) (string, error) {
	root, err := p.rootVolume(ctx, r.Image)
	if err != nil {
		return "", err
	}
	if err := p.grantScaling(ctx, root.of); err != nil {
		return "", err
	}
	tags := p.tags(r.Labels, p.fleetTags(r))
	data := userData(0, serviceEnv(r), port(r.Service), true)
	out, err := p.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
		ClientToken: aws.String(r.Fleet), LaunchTemplateName: aws.String(groupName(r.Fleet)),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeLaunchTemplate, Tags: tags}},
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String(r.Image), InstanceType: types.InstanceType(cmp.Or(r.InstanceType, p.Settings.InstanceType)), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(data))),
			IamInstanceProfile: &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String(p.Settings.InstanceProfile)},
			MetadataOptions:    &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: types.LaunchTemplateHttpTokensStateRequired, HttpEndpoint: types.LaunchTemplateInstanceMetadataEndpointStateEnabled, HttpPutResponseHopLimit: aws.Int32(1)},
			NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{
				DeviceIndex: aws.Int32(0), Groups: []string{p.Settings.InstanceGroup}, AssociatePublicIpAddress: aws.Bool(p.Settings.AssignPublicAddress), DeleteOnTermination: aws.Bool(true),
			}},
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{{
				DeviceName: aws.String(root.device), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true), VolumeSize: root.size},
			}},
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{{ResourceType: types.ResourceTypeInstance, Tags: tags}, {ResourceType: types.ResourceTypeVolume, Tags: tags}, {ResourceType: types.ResourceTypeNetworkInterface, Tags: tags}},
		},
	})
	if cloud.Is(err, "InvalidLaunchTemplateName.AlreadyExistsException") {
		found, err := p.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{groupName(r.Fleet)}})
		if err != nil || len(found.LaunchTemplates) == 0 {
			return "", cloud.Fault(ctx, opPrepare, errors.Join(err, errors.New("the launch template "+groupName(r.Fleet)+" exists, and is not listed")))
		}
		return aws.ToString(found.LaunchTemplates[0].LaunchTemplateId), nil
	}
	if err != nil {
		return "", cloud.Fault(ctx, opPrepare, err)
	}
	return aws.ToString(out.LaunchTemplate.LaunchTemplateId), nil
}

// createGroup makes the Auto Scaling group. Its number of instances may be changed
// by scaling policies: ours is the minimum and the start.
func (p *Platform) createGroup(ctx context.Context, r pipeline.FleetRequest, size int, template, target string) error {
	name := groupName(r.Fleet)
	tags := []groups.Tag{}
	own := p.fleetTags(r)
	own[tagKey] = fleetKey(r)
	for _, t := range p.tags(r.Labels, own) {
		tags = append(tags, groups.Tag{Key: t.Key, Value: t.Value, PropagateAtLaunch: aws.Bool(true), ResourceId: aws.String(name), ResourceType: aws.String("auto-scaling-group")})
	}
	_, err := p.groups.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(name), MinSize: aws.Int32(int32(r.Instances)), MaxSize: aws.Int32(maxSize(r.Instances, size)), DesiredCapacity: aws.Int32(int32(size)),
		LaunchTemplate:    &groups.LaunchTemplateSpecification{LaunchTemplateId: aws.String(template), Version: aws.String("1")},
		VPCZoneIdentifier: aws.String(strings.Join(p.Settings.Subnets, ",")), TargetGroupARNs: []string{target},
		HealthCheckType: aws.String("EC2"), HealthCheckGracePeriod: aws.Int32(int32((startTimeout(r.Service) + p.boot()) / time.Second)), Tags: tags,
	})
	if cloud.Is(err, "AlreadyExists") {
		return nil
	}
	return cloud.Fault(ctx, opPrepare, err)
}

// replaceUnhealthy lets Auto Scaling replace instances whose service is not healthy.
// While a deployment migrates, none is, and none may be replaced for that.
func (p *Platform) replaceUnhealthy(ctx context.Context, fleet string) error {
	_, err := p.groups.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String(groupName(fleet)), HealthCheckType: aws.String("ELB")})
	return cloud.Fault(ctx, opPrepare, err)
}

// maxSize is how far scaling policies may let a group of so many instances grow.
func maxSize(instances, size int) int32 { return int32(max(2*instances, size)) }

func startTimeout(s pipeline.Service) time.Duration {
	if s.HealthCheck == nil {
		return pipeline.DefaultStartTimeout
	}
	return cmp.Or(s.HealthCheck.StartTimeout, pipeline.DefaultStartTimeout)
}

// awaitTargets waits until as many targets as wanted are healthy.
func (p *Platform) awaitTargets(ctx context.Context, r pipeline.FleetRequest, size int, up rising) error {
	err := p.wait(ctx, fmt.Sprintf("%d healthy instances of %s", size, groupName(r.Fleet)), startTimeout(r.Service)+2*p.boot(), func(ctx context.Context) (poll.Probe, error) {
		healthy, _, state, err := p.health(ctx, up.target)
		if err != nil || healthy >= size {
			return poll.Probe{Done: err == nil}, err
		}
		failed, stuck := p.launchFailures(ctx, r.Fleet, up.since)
		return poll.Probe{State: fmt.Sprintf("%d healthy; %s%s", healthy, state, failed)}, stuck
	})
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return cloud.Fault(ctx, opPrepare, err)
	}
	tail := "no instance"
	if list, listed := p.ofEnvironment(ctx, r.Environment, filter("tag:"+tagFleet, r.Fleet)); listed == nil && len(list) > 0 {
		_, tail, listed = p.execute(ctx, aws.ToString(list[0].InstanceId), command{what: "reading the service's log", script: preamble + "journalctl -u penstock --no-pager -n 20\n", timeout: time.Minute})
		if listed != nil {
			tail = listed.Error()
		}
	}
	return pipeline.Errorf(pipeline.CodeFailed, opPrepare, "%w%s", err, lastLines(tail)).
		WithHint("Let the service listen on $HOST:$PORT, or correct health_check or raise its start_timeout.")
}

// health gives the numbers of healthy and of all targets, and in words what one of
// the others is.
func (p *Platform) health(ctx context.Context, target string) (healthy, all int, state string, err error) {
	out, err := p.balancers.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String(target)})
	if err != nil {
		return 0, 0, "", err
	}
	state = "no targets yet"
	for _, t := range out.TargetHealthDescriptions {
		if t.TargetHealth.State == balancers.TargetHealthStateEnumHealthy {
			healthy++
			continue
		}
		state = fmt.Sprintf("%s is %s (%s)", aws.ToString(t.Target.Id), t.TargetHealth.State, cmp.Or(aws.ToString(t.TargetHealth.Description), string(t.TargetHealth.Reason)))
	}
	return healthy, len(out.TargetHealthDescriptions), state, nil
}

// launchTries is how often in a row Auto Scaling must have failed to launch an instance
// before it counts as unable to: what one try lacked, the next may find.
const launchTries = 3

// launchFailures tells of launches that failed after an activity that is known, and
// after the newest that did not: in words for a state, and as an error where there are
// many. It only tells why instances are missing: what can't be read is left out.
func (p *Platform) launchFailures(ctx context.Context, fleet, since string) (failed string, stuck error) {
	list, _ := p.activities(ctx, fleet, 10)
	var why []string
	for _, a := range list {
		if aws.ToString(a.ActivityId) == since || a.StatusCode == groups.ScalingActivityStatusCodeSuccessful {
			break
		}
		if a.StatusCode == groups.ScalingActivityStatusCodeFailed {
			why = append(why, aws.ToString(a.StatusMessage))
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

// activities gives the newest scaling activities of a fleet's group, the newest first.
func (p *Platform) activities(ctx context.Context, fleet string, most int32) ([]groups.Activity, error) {
	out, err := p.groups.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String(groupName(fleet)), MaxRecords: aws.Int32(most)})
	if err != nil {
		return nil, cloud.Fault(ctx, "read scaling activities of fleet "+fleet, err)
	}
	return out.Activities, nil
}

// groupsOf lists the Auto Scaling groups of an environment.
func (p *Platform) groupsOf(ctx context.Context, environment string) ([]group, error) {
	return p.listGroups(ctx, tagEnvironment, environment)
}

// listGroups lists the Auto Scaling groups that have a tag.
func (p *Platform) listGroups(ctx context.Context, key, value string) ([]group, error) {
	var list []group
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(p.groups, &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(100), Filters: []groups.Filter{
		{Name: aws.String("tag:" + key), Values: []string{value}}, {Name: aws.String("tag:" + tagStack), Values: []string{p.Settings.Stack}},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list Auto Scaling groups", err)
		}
		for _, g := range page.AutoScalingGroups {
			one := group{name: aws.ToString(g.AutoScalingGroupName), targets: g.TargetGroupARNs}
			one.fleet = strings.TrimPrefix(one.name, groupName(""))
			one.ending = aws.ToString(g.Status) != "" // Auto Scaling gives one only to what is being deleted
			one.least, one.desired = int(aws.ToInt32(g.MinSize)), int(aws.ToInt32(g.DesiredCapacity))
			tags := map[string]string{}
			for _, t := range g.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			one.key, one.serving, one.kept = tags[tagKey], tags[tagServing] == "true", tags[tagKept]
			one.fence = tags[tagFence]
			one.environment, one.endpoint = tags[tagEnvironment], tags[tagEndpoint]
			list = append(list, one)
		}
	}
	return list, nil
}

// setSize sets the least number of instances of a group, and the present one.
func (p *Platform) setSize(ctx context.Context, g group, instances, size int) (rising, error) {
	up := rising{target: g.targets[0]}
	before, err := p.activities(ctx, g.fleet, 1)
	if err != nil {
		return up, err
	}
	if len(before) > 0 {
		up.since = aws.ToString(before[0].ActivityId)
	}
	_, err = p.groups.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(g.name), MinSize: aws.Int32(int32(instances)), MaxSize: aws.Int32(maxSize(instances, size)), DesiredCapacity: aws.Int32(int32(size)),
	})
	return up, cloud.Fault(ctx, "resize fleet "+g.fleet, err)
}

// resizeGroup changes the size of the group that serves.
func (p *Platform) resizeGroup(ctx context.Context, environment string, instances int) error {
	list, err := p.groupsOf(ctx, environment)
	if err != nil {
		return err
	}
	for _, g := range list {
		if !g.serving || g.ending || len(g.targets) == 0 {
			continue
		}
		size := g.grown(instances)
		up, err := p.setSize(ctx, g, instances, size)
		if err != nil {
			return err
		}
		return p.awaitTargets(ctx, pipeline.FleetRequest{Environment: environment, Fleet: g.fleet}, size, up)
	}
	return pipeline.Errorf(pipeline.CodeNotFound, "resize environment", "environment %s has no fleet that serves", environment).WithHint("Apply again, which restores it.")
}

// discardGroup removes a fleet, unless it has traffic, which the listener alone says
// for sure. An environment in which nothing has goes with it.
func (p *Platform) discardGroup(ctx context.Context, lb balancer, environment, fleet string) error {
	if len(lb.weights) == 0 {
		return p.Destroy(ctx, environment)
	}
	target, err := p.targetGroup(ctx, fleet)
	if err != nil || lb.weights[target] > 0 {
		return err
	}
	if target != "" && lb.test != "" {
		if err := p.point(ctx, lb.test, nil); err != nil {
			return err
		}
	}
	return p.deleteGroup(ctx, fleet)
}

func (p *Platform) deleteGroup(ctx context.Context, fleet string) error {
	op, name := "remove fleet "+fleet, groupName(fleet)
	for _, kind := range []string{kindKept, kindGroup} {
		if err := p.removeSchedule(ctx, fleet, kind); err != nil {
			return err
		}
	}
	err := p.whenUnused(ctx, "Auto Scaling group "+name, func() error {
		_, err := p.groups.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String(name), ForceDelete: aws.Bool(true)})
		if cloud.Is(err, "ScalingActivityInProgress") && p.ends(ctx, name) {
			return nil
		}
		return err
	})
	if err != nil && !absent(err) {
		return cloud.Fault(ctx, op, err)
	}
	if err := p.deleteTargetGroup(ctx, fleet); err != nil {
		return err
	}
	_, err = p.ec2.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String(name)})
	if err != nil && !cloud.IsNotFound(err) {
		return cloud.Fault(ctx, op, err)
	}
	return nil
}

// ends reports whether a group is being deleted, which takes minutes.
func (p *Platform) ends(ctx context.Context, name string) bool {
	out, err := p.groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	return err == nil && len(out.AutoScalingGroups) == 1 && aws.ToString(out.AutoScalingGroups[0].Status) != ""
}

// absent reports whether Auto Scaling does not have the group. It has no code of its
// own for that: the name is all that a deletion could be wrong about.
func absent(err error) bool { return cloud.Is(err, "ValidationError") }
