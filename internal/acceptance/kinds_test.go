// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// tagged are the filters of EC2 for what the program made.
func (a *account) tagged() []ec2types.Filter {
	return []ec2types.Filter{stack.Filter("tag:"+stack.TagStack, a.stack), stack.Filter("tag:"+mark, a.region)}
}

// ending are the schedules. They have no tags, but work with the stack's roles.
func (a *account) ending() []kind {
	client := scheduler.NewFromConfig(a.own)
	role := regexp.MustCompile(`:role/` + regexp.QuoteMeta(a.stack) + `-(Launcher)?SchedulerRole-[A-Za-z0-9]+$`)
	return []kind{{"schedule", func(ctx context.Context) ([]string, error) {
		pages := scheduler.NewListSchedulesPaginator(client, &scheduler.ListSchedulesInput{NamePrefix: aws.String("penstock-")})
		return collect(ctx, pages, func(page *scheduler.ListSchedulesOutput) (ids []string, err error) {
			for _, found := range page.Schedules {
				s, err := client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: found.Name, GroupName: found.GroupName})
				if cloud.Is(err, "ResourceNotFoundException") {
					continue // it has just happened
				}
				if err != nil {
					return nil, err
				}
				if role.MatchString(aws.ToString(s.Target.RoleArn)) {
					ids = append(ids, aws.ToString(found.GroupName)+"/"+aws.ToString(found.Name))
				}
			}
			return ids, nil
		})
	}, func(ctx context.Context, id string) error {
		group, name, _ := strings.Cut(id, "/")
		_, err := client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String(name), GroupName: aws.String(group)})
		return gone(err, "ResourceNotFoundException")
	}}}
}

// machines are the groups, their instances and what they are launched from.
func (a *account) machines() []kind {
	groups, machines := autoscaling.NewFromConfig(a.own), ec2.NewFromConfig(a.own)
	return []kind{
		{"Auto Scaling group", func(ctx context.Context) ([]string, error) {
			in := &autoscaling.DescribeAutoScalingGroupsInput{Filters: []asgtypes.Filter{{Name: aws.String("tag:" + stack.TagStack), Values: []string{a.stack}}}}
			return collect(ctx, autoscaling.NewDescribeAutoScalingGroupsPaginator(groups, in), func(page *autoscaling.DescribeAutoScalingGroupsOutput) (ids []string, err error) {
				for _, g := range page.AutoScalingGroups {
					if a.mine(tagsOf(g.Tags, func(t asgtypes.TagDescription) (*string, *string) { return t.Key, t.Value })) {
						ids = append(ids, aws.ToString(g.AutoScalingGroupName))
					}
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error {
			_, err := groups.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String(id), ForceDelete: aws.Bool(true)})
			return err
		}},
		{"instance", func(ctx context.Context) ([]string, error) {
			in := &ec2.DescribeInstancesInput{Filters: append(a.tagged(), stack.Filter("instance-state-name", "pending", "running", "stopping", "stopped", "shutting-down"))}
			return collect(ctx, ec2.NewDescribeInstancesPaginator(machines, in), instancesOf)
		}, func(ctx context.Context, id string) error {
			_, err := machines.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
			return err
		}},
		{"launch template", func(ctx context.Context) ([]string, error) {
			pages := ec2.NewDescribeLaunchTemplatesPaginator(machines, &ec2.DescribeLaunchTemplatesInput{Filters: a.tagged()})
			return collect(ctx, pages, func(page *ec2.DescribeLaunchTemplatesOutput) (ids []string, err error) {
				for _, l := range page.LaunchTemplates {
					ids = append(ids, aws.ToString(l.LaunchTemplateId))
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error {
			_, err := machines.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: aws.String(id)})
			return err
		}},
		// These go with their instances. One that an instance has lost stays.
		{"volume", func(ctx context.Context) ([]string, error) {
			in := &ec2.DescribeVolumesInput{Filters: append(a.tagged(), stack.Filter("status", "available"))}
			return collect(ctx, ec2.NewDescribeVolumesPaginator(machines, in), func(page *ec2.DescribeVolumesOutput) (ids []string, err error) {
				for _, v := range page.Volumes {
					ids = append(ids, aws.ToString(v.VolumeId))
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error {
			_, err := machines.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(id)})
			return err
		}},
	}
}

func instancesOf(page *ec2.DescribeInstancesOutput) (ids []string, err error) {
	for _, r := range page.Reservations {
		for _, i := range r.Instances {
			ids = append(ids, aws.ToString(i.InstanceId))
		}
	}
	return ids, nil
}

// traffic are the load balancers, which take their listeners along, and target groups.
func (a *account) traffic() []kind {
	client := elb.NewFromConfig(a.own)
	return []kind{
		{"load balancer", func(ctx context.Context) ([]string, error) {
			all, err := collect(ctx, elb.NewDescribeLoadBalancersPaginator(client, &elb.DescribeLoadBalancersInput{}), func(page *elb.DescribeLoadBalancersOutput) (ids []string, err error) {
				for _, b := range page.LoadBalancers {
					ids = append(ids, aws.ToString(b.LoadBalancerArn))
				}
				return ids, nil
			})
			if err != nil {
				return nil, err
			}
			return a.withTags(ctx, client, all)
		}, func(ctx context.Context, id string) error {
			_, err := client.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: aws.String(id), Attributes: []elbtypes.LoadBalancerAttribute{
				{Key: aws.String("deletion_protection.enabled"), Value: aws.String("false")}}})
			if err != nil {
				return err
			}
			_, err = client.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: aws.String(id)})
			return err
		}},
		{"target group", func(ctx context.Context) ([]string, error) {
			all, err := collect(ctx, elb.NewDescribeTargetGroupsPaginator(client, &elb.DescribeTargetGroupsInput{}), func(page *elb.DescribeTargetGroupsOutput) (ids []string, err error) {
				for _, g := range page.TargetGroups {
					ids = append(ids, aws.ToString(g.TargetGroupArn))
				}
				return ids, nil
			})
			if err != nil {
				return nil, err
			}
			return a.withTags(ctx, client, all)
		}, func(ctx context.Context, id string) error {
			_, err := client.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(id)})
			return err
		}},
	}
}

// withTags returns those of some load balancers or target groups that the program made.
func (a *account) withTags(ctx context.Context, client *elb.Client, all []string) (own []string, err error) {
	for some := range slices.Chunk(all, 20) { // of which one request may ask
		found, err := client.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: some})
		if err != nil {
			return nil, err
		}
		for _, d := range found.TagDescriptions {
			if a.mine(tagsOf(d.Tags, func(t elbtypes.Tag) (*string, *string) { return t.Key, t.Value })) {
				own = append(own, aws.ToString(d.ResourceArn))
			}
		}
	}
	return own, nil
}

// images are the images of a region, and the snapshots that they leave.
func (a *account) images(region string) []kind {
	client := ec2.NewFromConfig(a.at(region))
	return []kind{
		{"image in " + region, func(ctx context.Context) ([]string, error) {
			in := &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: a.tagged(), IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true)}
			return collect(ctx, ec2.NewDescribeImagesPaginator(client, in), func(page *ec2.DescribeImagesOutput) (ids []string, err error) {
				for _, i := range page.Images {
					ids = append(ids, aws.ToString(i.ImageId))
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error {
			_, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
			return err
		}},
		{"snapshot in " + region, func(ctx context.Context) ([]string, error) {
			in := &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: a.tagged()}
			return collect(ctx, ec2.NewDescribeSnapshotsPaginator(client, in), func(page *ec2.DescribeSnapshotsOutput) (ids []string, err error) {
				for _, s := range page.Snapshots {
					ids = append(ids, aws.ToString(s.SnapshotId))
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error {
			_, err := client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
			return err
		}},
	}
}

// parameters are those of a region that name published images.
func (a *account) parameters(region string) []kind {
	client := ssm.NewFromConfig(a.at(region))
	return []kind{{"parameter in " + region, func(ctx context.Context) ([]string, error) {
		in := &ssm.GetParametersByPathInput{Path: aws.String("/penstock/" + a.stack), Recursive: aws.Bool(true)}
		return collect(ctx, ssm.NewGetParametersByPathPaginator(client, in), func(page *ssm.GetParametersByPathOutput) (ids []string, err error) {
			for _, p := range page.Parameters {
				found, err := client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: p.Name})
				if cloud.Is(err, "InvalidResourceId") {
					continue // it has just gone
				}
				if err != nil {
					return nil, err
				}
				if a.mine(tagsOf(found.TagList, func(t ssmtypes.Tag) (*string, *string) { return t.Key, t.Value })) {
					ids = append(ids, aws.ToString(p.Name))
				}
			}
			return ids, nil
		})
	}, func(ctx context.Context, id string) error {
		_, err := client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(id)})
		return gone(err, "ParameterNotFound")
	}}}
}

// foundation is the stack, the bucket and the table that it leaves, and the bucket that a
// killed bootstrap leaves. CloudFormation gives them the stack's tags.
func (a *account) foundation() []kind {
	stacks, buckets, tables := cloudformation.NewFromConfig(a.own), s3.NewFromConfig(a.own, cloud.Objects), dynamodb.NewFromConfig(a.own)
	return []kind{
		{"stack", func(ctx context.Context) ([]string, error) {
			found, err := a.find(ctx)
			if err != nil || found == nil {
				return nil, err
			}
			return []string{aws.ToString(found.StackId)}, a.strange(ctx)
		}, func(ctx context.Context, id string) error {
			_, err := stacks.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(id)})
			return err
		}},
		{"bucket", func(ctx context.Context) ([]string, error) {
			pages := s3.NewListBucketsPaginator(buckets, &s3.ListBucketsInput{})
			return collect(ctx, pages, func(page *s3.ListBucketsOutput) (ids []string, err error) {
				for _, b := range page.Buckets {
					if !strings.HasPrefix(aws.ToString(b.Name), strings.ToLower(a.stack)+"-") {
						continue
					}
					own, err := a.ownsBucket(ctx, buckets, aws.ToString(b.Name))
					if err != nil {
						return nil, err
					}
					if own {
						ids = append(ids, aws.ToString(b.Name))
					}
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error { return empty(ctx, buckets, id) }},
		{"table", func(ctx context.Context) ([]string, error) {
			return collect(ctx, dynamodb.NewListTablesPaginator(tables, &dynamodb.ListTablesInput{}), func(page *dynamodb.ListTablesOutput) (ids []string, err error) {
				for _, name := range page.TableNames {
					if !strings.HasPrefix(name, a.stack+"-") {
						continue
					}
					own, err := a.ownsTable(ctx, tables, name)
					if err != nil {
						return nil, err
					}
					if own {
						ids = append(ids, name)
					}
				}
				return ids, nil
			})
		}, func(ctx context.Context, id string) error {
			_, err := tables.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: aws.String(id), DeletionProtectionEnabled: aws.Bool(false)})
			if err != nil && !cloud.Is(err, "ResourceInUseException", "ValidationException") { // it is off
				return err
			}
			_, err = tables.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(id)})
			return gone(err, "ResourceNotFoundException")
		}},
	}
}

// ownsBucket reports whether the program made a bucket: by its tags, or as that of a template,
// whose name has the account and the region.
func (a *account) ownsBucket(ctx context.Context, client *s3.Client, name string) (bool, error) {
	if name == bootstrap.TemplateBucket(a.stack, a.id, a.region) {
		return true, nil
	}
	found, err := client.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: aws.String(name)})
	// One of another region is not the program's.
	if cloud.Is(err, "NoSuchTagSet", "NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return a.mine(tagsOf(found.TagSet, func(t s3types.Tag) (*string, *string) { return t.Key, t.Value })), nil
}

func (a *account) ownsTable(ctx context.Context, client *dynamodb.Client, name string) (bool, error) {
	d, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(name)})
	if cloud.Is(err, "ResourceNotFoundException") {
		return false, nil // it has just gone
	}
	if err != nil {
		return false, err
	}
	found, err := client.ListTagsOfResource(ctx, &dynamodb.ListTagsOfResourceInput{ResourceArn: d.Table.TableArn})
	if err != nil {
		return false, gone(err, "ResourceNotFoundException")
	}
	return a.mine(tagsOf(found.Tags, func(t dynamotypes.Tag) (*string, *string) { return t.Key, t.Value })), nil
}

// empty removes a bucket with every version of its objects.
func empty(ctx context.Context, client *s3.Client, bucket string) error {
	versions, err := collect(ctx, s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)}), versionsOf)
	if err != nil {
		return gone(err, "NoSuchBucket")
	}
	for some := range slices.Chunk(versions, 1000) { // of which one request may remove
		done, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &s3types.Delete{Objects: some, Quiet: aws.Bool(true)}})
		if err != nil {
			return err
		}
		if len(done.Errors) > 0 {
			return errors.New(aws.ToString(done.Errors[0].Message))
		}
	}
	_, err = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)})
	return gone(err, "NoSuchBucket")
}

// versionsOf returns the versions of objects on a page, and the marks that some were deleted.
func versionsOf(page *s3.ListObjectVersionsOutput) (all []s3types.ObjectIdentifier, err error) {
	for _, v := range page.Versions {
		all = append(all, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
	}
	for _, m := range page.DeleteMarkers {
		all = append(all, s3types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
	}
	return all, nil
}
