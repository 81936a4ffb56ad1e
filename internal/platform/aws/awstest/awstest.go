// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package awstest has what the tests of the platform on AWS share: an installation in an
// account of its own of the test cloud, and a measure of how soon Penstock knows what AWS
// has. It knows neither images nor fleets.
package awstest

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Bed is an installation in an account of its own, with what the bootstrap stack makes.
type Bed struct {
	testing.TB
	Cloud     *cloudtest.Cloud
	Stack     *stack.Stack
	Instances *instance.Instances
}

// New makes an installation, in which nothing has been requested yet.
func New(t testing.TB) *Bed {
	t.Helper()
	c := cloudtest.New(t)
	b := &Bed{TB: t, Cloud: c}
	b.Stack = stack.New(stack.Options{Config: c.Config(), Settings: Settings(t, c), Pause: 20 * time.Millisecond})
	b.Instances = instance.New(b.Stack)
	c.ResetCalls()
	return b
}

// Settings makes what the bootstrap stack makes.
func Settings(t testing.TB, c *cloudtest.Cloud) stack.Settings {
	t.Helper()
	return SettingsIn(t, c, cloudtest.Region)
}

// SettingsIn makes what the bootstrap stack makes in a region.
func SettingsIn(t testing.TB, c *cloudtest.Cloud, region string) stack.Settings {
	t.Helper()
	b := &Bed{TB: t}
	ctx, cfg := t.Context(), c.Own()
	cfg.Region = region
	s := stack.Settings{Stack: "penstock", Bucket: "penstock-" + c.ID,
		SchedulerRole: c.Stack().Outputs["SchedulerRole"], LauncherSchedulerRole: c.Stack().Outputs["LauncherSchedulerRole"],
		LauncherScheduleGroup: c.Stack().Outputs["LauncherScheduleGroup"],
	}
	machines := ec2.NewFromConfig(cfg)
	subnets, err := machines.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	b.Must(err)
	for _, n := range subnets.Subnets {
		s.VPC = aws.ToString(n.VpcId)
		s.PublicSubnets = append(s.PublicSubnets, aws.ToString(n.SubnetId))
	}
	s.Subnets = s.PublicSubnets
	group, err := machines.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{stack.Filter("vpc-id", s.VPC)}})
	b.Must(err)
	s.LoadBalancerGroup = aws.ToString(group.SecurityGroups[0].GroupId)
	for name, of := range map[string]*stack.Access{"": &s.Lasting, "Test": &s.Test, "Builder": &s.Builder} {
		of.Profile = c.Stack().Outputs[name+"InstanceProfile"]
		_, err = iam.NewFromConfig(cfg).CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String(of.Profile)})
		b.Must(err)
		made, err := machines.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(name + "instances"), Description: aws.String(name + "instances"), VpcId: aws.String(s.VPC),
		})
		b.Must(err)
		of.Groups = []string{aws.ToString(made.GroupId)}
	}
	_, err = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: aws.String(s.Bucket), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(region)},
	})
	b.Must(err)
	return s
}

// Must ends the test when there is an error.
func (b *Bed) Must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v (hint: %s)", err, reason.Hint(err))
	}
}

// Machine launches an instance with user data, which ends with the test.
func (b *Bed) Machine(data string) string {
	b.Helper()
	return b.machine(data, "")
}

func (b *Bed) machine(data, key string) string {
	b.Helper()
	one, err := b.Instances.Run(b.Context(), instance.Launch{
		Token: "machine", Image: cloudtest.BaseImage, Access: b.Stack.Settings.Test, UserData: data, KMSKey: key, Tags: b.Stack.TagsOf(pipeline.Labels{}, nil),
	})
	b.Must(err)
	id := instance.ID(one)
	b.Cleanup(func() { b.Cloud.Terminate(id) })
	return id
}

// Image makes an image of an instance that is not Penstock's work, and waits for it.
func (b *Bed) Image(id string) string {
	b.Helper()
	client := ec2.NewFromConfig(b.Cloud.Own())
	tags := b.Stack.TagsOf(pipeline.Labels{}, nil)
	out, err := client.CreateImage(b.Context(), &ec2.CreateImageInput{
		InstanceId: aws.String(id), Name: aws.String("image of " + id), TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeImage, Tags: tags}, {ResourceType: types.ResourceTypeSnapshot, Tags: tags},
		},
	})
	b.Must(err)
	waiter := ec2.NewImageAvailableWaiter(client, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay, o.MaxDelay = b.Stack.Pause, b.Stack.Pause })
	b.Must(waiter.Wait(context.WithoutCancel(b.Context()), &ec2.DescribeImagesInput{ImageIds: []string{aws.ToString(out.ImageId)}}, time.Minute))
	return aws.ToString(out.ImageId)
}

// Key makes a key of KMS with an alias in a region, and returns its ARN.
func (b *Bed) Key(region, alias string) string {
	b.Helper()
	cfg := b.Cloud.Own()
	cfg.Region = region
	client := kms.NewFromConfig(cfg)
	made, err := client.CreateKey(b.Context(), &kms.CreateKeyInput{})
	b.Must(err)
	_, err = client.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: made.KeyMetadata.KeyId})
	b.Must(err)
	return aws.ToString(made.KeyMetadata.Arn)
}

// Shareable is Image with a key that lets others use it.
func (b *Bed) Shareable() string {
	b.Helper()
	return b.Image(b.machine("", b.Key(cloudtest.Region, "alias/penstock/images")))
}
