// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// TestSweepAfterCrashOnAWS kills the provider in the middle of the route, leaves everything as
// it is, and sweeps. Of what the route made nothing is left, and what others made stays.
func TestSweepAfterCrashOnAWS(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a pipeline through half of its stages; `make test` runs it")
	}
	a := simulated(t)
	s := newSite(t.Context(), t, a)
	s.strangers()
	before := s.inventory()
	s.bootstrap()
	killed := s.killAt("CreateAutoScalingGroup") // of capacity, which has all there is of a fleet
	out, err := s.try(cloudtest.Deployer, s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	if !killed() || err == nil {
		t.Fatalf("the provider was not killed: %v\n%s", err, out)
	}
	s.launch(s.newest())
	// A bootstrap that was killed leaves this.
	template := bootstrap.TemplateBucket(a.stack, a.id, a.region)
	s.makeBucket(template)

	listed, err := left(t.Context(), a)
	s.must(err)
	removed := s.sweep()
	t.Logf("removed: %v", removed)
	for _, k := range a.kinds() {
		if is := func(name string) bool { return strings.HasPrefix(name, k.name+" ") }; k.name != "volume" && !slices.ContainsFunc(removed, is) {
			t.Errorf("the route left no %s, so this test does not show that it is removed", k.name)
		}
	}
	if !slices.Contains(removed, "bucket "+template) {
		t.Errorf("the bucket %s stayed", template)
	}
	for _, name := range listed { // instances may have gone with their groups
		if !slices.Contains(removed, name) && !strings.HasPrefix(name, "instance ") {
			t.Errorf("%s would have been removed, and was not", name)
		}
	}
	after := s.inventory()
	for _, thing := range beyond(after, before) {
		t.Errorf("after the sweep there is %s", thing)
	}
	for _, thing := range beyond(before, after) {
		t.Errorf("the sweep removed %s, which another made", thing)
	}
}

// TestSweepLeavesAStackOfOthers: a name alone is no reason to remove a stack.
func TestSweepLeavesAStackOfOthersOnAWS(t *testing.T) {
	a := simulated(t)
	s := newSite(t.Context(), t, a)
	s.penstock(cloudtest.Owner, "bootstrap", "--region", a.region, "--stack", a.stack, "--yes")
	before := s.inventory()
	if removed, err := sweep(t.Context(), a); err == nil || len(removed) > 0 || !strings.Contains(err.Error(), "was not made by this program") {
		t.Errorf("removed %v: %v", removed, err)
	}
	if all, err := left(t.Context(), a); err == nil || len(all) > 0 {
		t.Errorf("would remove %v: %v", all, err)
	}
	if after := s.inventory(); !slices.Equal(before, after) {
		t.Errorf("there was %v, and there is %v", before, after)
	}
}

// newest returns the newest build.
func (s *site) newest() string {
	s.t.Helper()
	var builds []struct {
		ID string `json:"id"`
	}
	s.must(json.Unmarshal([]byte(s.penstock(cloudtest.Deployer, "builds", "--json")), &builds))
	if len(builds) == 0 {
		s.t.Fatal("there are no builds")
	}
	return builds[0].ID
}

// strangers makes what is like the program's own, and is not.
func (s *site) strangers() {
	s.t.Helper()
	ctx, machines, traffic := s.ctx, ec2.NewFromConfig(s.own), elb.NewFromConfig(s.own)
	tags := []ec2types.Tag{{Key: aws.String(stack.TagStack), Value: aws.String(s.stack)}, {Key: aws.String(mark), Value: aws.String("eu-north-1")}}
	ofImage := append(slices.Clone(tags), ec2types.Tag{Key: aws.String("penstock:image"), Value: aws.String("ami-0123456789abcdef0")})
	made, err := machines.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String(cloudtest.BaseImage), InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: tags}, {ResourceType: ec2types.ResourceTypeVolume, Tags: tags}},
	})
	s.must(err)
	instance := made.Instances[0]
	_, err = machines.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: instance.InstanceId, Name: aws.String("a copy from another region"), TagSpecifications: []ec2types.TagSpecification{
		{ResourceType: ec2types.ResourceTypeImage, Tags: ofImage}, {ResourceType: ec2types.ResourceTypeSnapshot, Tags: ofImage}}})
	s.must(err)
	_, err = machines.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("others"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String(cloudtest.BaseImage)},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeLaunchTemplate, Tags: tags}}})
	s.must(err)
	_, err = traffic.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("others"), Port: aws.Int32(80), Protocol: elbtypes.ProtocolEnumHttp, VpcId: instance.VpcId, TargetType: elbtypes.TargetTypeEnumInstance,
		Tags: []elbtypes.Tag{{Key: aws.String(stack.TagStack), Value: aws.String(s.stack)}}})
	s.must(err)
	for _, name := range []string{"/penstock/" + s.stack + "/other", "/penstock/" + s.stack + "-2/base"} {
		_, err = ssm.NewFromConfig(s.own).PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(name), Value: aws.String("ami-1"), Type: ssmtypes.ParameterTypeString})
		s.must(err)
	}
	for _, name := range []string{s.stack + "-bucket-of-others", s.stack + "-template-" + s.id + "-eu-north-1"} {
		s.makeBucket(name)
	}
	_, err = dynamodb.NewFromConfig(s.own).CreateTable(ctx, &dynamodb.CreateTableInput{TableName: aws.String(s.stack + "-Table-OTHERS"), BillingMode: dynamotypes.BillingModePayPerRequest,
		AttributeDefinitions: []dynamotypes.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: dynamotypes.ScalarAttributeTypeS}},
		KeySchema:            []dynamotypes.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: dynamotypes.KeyTypeHash}}})
	s.must(err)
	_, err = scheduler.NewFromConfig(s.own).CreateSchedule(ctx, &scheduler.CreateScheduleInput{
		Name: aws.String("penstock-other"), ScheduleExpression: aws.String("at(2099-01-01T00:00:00)"), FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
		Target: &schedulertypes.Target{Arn: aws.String("arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"), Input: aws.String(`{"InstanceIds":["i-1"]}`),
			RoleArn: aws.String("arn:aws:iam::" + s.id + ":role/" + s.stack + "-2-SchedulerRole-ABC")},
	})
	s.must(err)
}

func (s *site) makeBucket(name string) {
	s.t.Helper()
	_, err := s3.NewFromConfig(s.own, cloud.Objects).CreateBucket(s.ctx, &s3.CreateBucketInput{Bucket: aws.String(name),
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(s.region)}})
	s.must(err)
}

// inventory is all that an account has in the two regions, whoever made it.
func (s *site) inventory() (all []string) {
	s.t.Helper()
	for _, region := range []string{s.region, s.second} {
		for kind, ids := range s.things(region) {
			for _, id := range ids {
				all = append(all, kind+" "+id+" in "+region)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// things are what a region has, by kind. It is asked by another way than sweep asks.
func (s *site) things(region string) map[string][]string {
	s.t.Helper()
	ctx, cfg := s.ctx, s.at(region)
	machines, traffic, rights := ec2.NewFromConfig(cfg), elb.NewFromConfig(cfg), iam.NewFromConfig(cfg)
	all := map[string][]string{}
	add := func(kind string, id *string) { all[kind] = append(all[kind], aws.ToString(id)) }

	instances, err := machines.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	s.must(err)
	for _, r := range instances.Reservations {
		for _, i := range r.Instances {
			if i.State.Name != ec2types.InstanceStateNameTerminated {
				add("instance", i.InstanceId)
			}
		}
	}
	volumes, err := machines.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
	s.must(err)
	for _, v := range volumes.Volumes {
		if len(v.Attachments) == 0 || slices.Contains(all["instance"], aws.ToString(v.Attachments[0].InstanceId)) {
			add("volume", v.VolumeId) // the simulator leaves some that AWS deletes with their instances
		}
	}
	interfaces, err := machines.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{})
	s.must(err)
	for _, n := range interfaces.NetworkInterfaces {
		if n.Attachment == nil || slices.Contains(all["instance"], aws.ToString(n.Attachment.InstanceId)) {
			add("network interface", n.NetworkInterfaceId)
		}
	}
	images, err := machines.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	s.must(err)
	for _, i := range images.Images {
		add("image", i.ImageId)
	}
	snapshots, err := machines.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	s.must(err)
	for _, n := range snapshots.Snapshots {
		add("snapshot", n.SnapshotId)
	}
	templates, err := machines.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{})
	s.must(err)
	for _, l := range templates.LaunchTemplates {
		add("launch template", l.LaunchTemplateId)
	}
	s.network(machines, add)
	groups, err := autoscaling.NewFromConfig(cfg).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	s.must(err)
	for _, g := range groups.AutoScalingGroups {
		add("Auto Scaling group", g.AutoScalingGroupName)
	}
	balancers, err := traffic.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	s.must(err)
	for _, b := range balancers.LoadBalancers {
		add("load balancer", b.LoadBalancerArn)
	}
	targets, err := traffic.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
	s.must(err)
	for _, g := range targets.TargetGroups {
		add("target group", g.TargetGroupArn)
	}
	s.stored(cfg, add)
	s.around(cfg, add)
	roles, err := rights.ListRoles(ctx, &iam.ListRolesInput{})
	s.must(err)
	for _, r := range roles.Roles {
		add("role", r.RoleName)
	}
	profiles, err := rights.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{})
	s.must(err)
	for _, p := range profiles.InstanceProfiles {
		add("instance profile", p.InstanceProfileName)
	}
	policies, err := rights.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: "Local"})
	s.must(err)
	for _, p := range policies.Policies {
		add("policy", p.Arn)
	}
	return all
}

// network adds what instances are in.
func (s *site) network(machines *ec2.Client, add func(string, *string)) {
	s.t.Helper()
	networks, err := machines.DescribeVpcs(s.ctx, &ec2.DescribeVpcsInput{})
	s.must(err)
	for _, v := range networks.Vpcs {
		add("VPC", v.VpcId)
	}
	subnets, err := machines.DescribeSubnets(s.ctx, &ec2.DescribeSubnetsInput{})
	s.must(err)
	for _, n := range subnets.Subnets {
		add("subnet", n.SubnetId)
	}
	groups, err := machines.DescribeSecurityGroups(s.ctx, &ec2.DescribeSecurityGroupsInput{})
	s.must(err)
	for _, g := range groups.SecurityGroups {
		add("security group", g.GroupId)
	}
	routes, err := machines.DescribeRouteTables(s.ctx, &ec2.DescribeRouteTablesInput{})
	s.must(err)
	for _, r := range routes.RouteTables {
		add("route table", r.RouteTableId)
	}
	gateways, err := machines.DescribeInternetGateways(s.ctx, &ec2.DescribeInternetGatewaysInput{})
	s.must(err)
	for _, g := range gateways.InternetGateways {
		add("internet gateway", g.InternetGatewayId)
	}
	endpoints, err := machines.DescribeVpcEndpoints(s.ctx, &ec2.DescribeVpcEndpointsInput{})
	s.must(err)
	for _, e := range endpoints.VpcEndpoints {
		if e.State != "deleted" {
			add("endpoint", e.VpcEndpointId)
		}
	}
}

// stored adds what holds data.
func (s *site) stored(cfg aws.Config, add func(string, *string)) {
	s.t.Helper()
	buckets, err := s3.NewFromConfig(cfg, cloud.Objects).ListBuckets(s.ctx, &s3.ListBucketsInput{})
	s.must(err)
	for _, b := range buckets.Buckets {
		add("bucket", b.Name)
	}
	tables, err := dynamodb.NewFromConfig(cfg).ListTables(s.ctx, &dynamodb.ListTablesInput{})
	s.must(err)
	for _, name := range tables.TableNames {
		add("table", aws.String(name))
	}
	parameters, err := ssm.NewFromConfig(cfg).DescribeParameters(s.ctx, &ssm.DescribeParametersInput{})
	s.must(err)
	for _, p := range parameters.Parameters {
		add("parameter", p.Name)
	}
	keys, err := kms.NewFromConfig(cfg).ListKeys(s.ctx, &kms.ListKeysInput{})
	s.must(err)
	for _, k := range keys.Keys {
		d, err := kms.NewFromConfig(cfg).DescribeKey(s.ctx, &kms.DescribeKeyInput{KeyId: k.KeyId})
		s.must(err)
		if d.KeyMetadata.KeyManager != kmstypes.KeyManagerTypeAws {
			add("key", k.KeyId)
		}
	}
	logs, err := cloudwatchlogs.NewFromConfig(cfg).DescribeLogGroups(s.ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	s.must(err)
	for _, l := range logs.LogGroups {
		add("log group", l.LogGroupName)
	}
}

// around adds what makes things happen, and tells of them.
func (s *site) around(cfg aws.Config, add func(string, *string)) {
	s.t.Helper()
	schedules, err := scheduler.NewFromConfig(cfg).ListSchedules(s.ctx, &scheduler.ListSchedulesInput{})
	s.must(err)
	for _, n := range schedules.Schedules {
		add("schedule", n.Name)
	}
	rules, err := eventbridge.NewFromConfig(cfg).ListRules(s.ctx, &eventbridge.ListRulesInput{})
	s.must(err)
	for _, r := range rules.Rules {
		add("rule", r.Name)
	}
	alarms, err := cloudwatch.NewFromConfig(cfg).DescribeAlarms(s.ctx, &cloudwatch.DescribeAlarmsInput{})
	s.must(err)
	for _, m := range alarms.MetricAlarms {
		add("alarm", m.AlarmName)
	}
	topics, err := sns.NewFromConfig(cfg).ListTopics(s.ctx, &sns.ListTopicsInput{})
	s.must(err)
	for _, topic := range topics.Topics {
		add("topic", topic.TopicArn)
	}
	projects, err := codebuild.NewFromConfig(cfg).ListProjects(s.ctx, &codebuild.ListProjectsInput{})
	s.must(err)
	for _, name := range projects.Projects {
		add("project", aws.String(name))
	}
}
