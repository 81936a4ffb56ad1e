// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// TestSweepAccount removes what a run on an account of AWS's has left, as after a crash.
func TestSweepAccount(t *testing.T) {
	a := real(t)
	removed, err := sweep(t.Context(), a)
	if err != nil {
		t.Error(err)
	}
	t.Logf("removed from account %s: %v", a.id, removed)
}

// kind is a kind of things that the route leaves when it crashes.
type kind struct {
	name   string
	list   func(ctx context.Context) (ids []string, err error)
	remove func(ctx context.Context, id string) error
}

// sweepLimit bounds the removal of the things of one kind. A stack with a VPC takes longest.
const sweepLimit = 20 * time.Minute

// sweep removes everything of the account's stack, and waits until it is gone. What
// Penstock makes is known by its tag, and what has none by its name or its role. It returns
// what there was.
func sweep(ctx context.Context, a *account) (removed []string, err error) {
	for _, k := range slices.Concat(a.ending(), a.machines(), a.traffic(), a.images(a.region), a.images(a.second), a.parameters(), a.foundation()) {
		seen := map[string]bool{}
		schedule := poll.Schedule{First: 50 * time.Millisecond, Max: 15 * time.Second, Factor: 2, Limit: sweepLimit, What: "the end of every " + k.name}
		failed := poll.Until(ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
			ids, err := k.list(ctx)
			if err != nil {
				return poll.Probe{}, err
			}
			var refused error
			for _, id := range ids {
				if !seen[id] {
					seen[id] = true
					removed = append(removed, k.name+" "+id)
				}
				// What is in use, or ending already, is refused: it is asked for again.
				refused = errors.Join(refused, k.remove(ctx, id))
			}
			probe := poll.Probe{Done: len(ids) == 0, State: strings.Join(ids, ", ")}
			if refused != nil {
				probe.State += ": " + refused.Error()
			}
			return probe, nil
		})
		err = errors.Join(err, failed) // and goes on: the rest costs money, too
	}
	return removed, err
}

// tagged are the filters of what Penstock made in the stack.
func (a *account) tagged() []ec2types.Filter {
	return []ec2types.Filter{stack.Filter("tag:"+stack.TagStack, a.stack)}
}

// ending are the schedules. They have no tags, but work with the stack's roles.
func (a *account) ending() []kind {
	client := scheduler.NewFromConfig(a.own)
	return []kind{{"schedule", func(ctx context.Context) (ids []string, err error) {
		for pages := scheduler.NewListSchedulesPaginator(client, &scheduler.ListSchedulesInput{NamePrefix: aws.String("penstock-")}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, found := range page.Schedules {
				s, err := client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: found.Name})
				if cloud.Is(err, "ResourceNotFoundException") {
					continue // it has just happened
				}
				if err != nil {
					return nil, err
				}
				if strings.Contains(aws.ToString(s.Target.RoleArn), ":role/"+a.stack+"-") {
					ids = append(ids, aws.ToString(found.Name))
				}
			}
		}
		return ids, nil
	}, func(ctx context.Context, id string) error {
		_, err := client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String(id)})
		return err
	}}}
}

// machines are the groups, their instances and what they are launched from.
func (a *account) machines() []kind {
	groups, machines := autoscaling.NewFromConfig(a.own), ec2.NewFromConfig(a.own)
	return []kind{
		{"Auto Scaling group", func(ctx context.Context) (ids []string, err error) {
			in := &autoscaling.DescribeAutoScalingGroupsInput{Filters: []asgtypes.Filter{{Name: aws.String("tag:" + stack.TagStack), Values: []string{a.stack}}}}
			for pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(groups, in); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, g := range page.AutoScalingGroups {
					ids = append(ids, aws.ToString(g.AutoScalingGroupName))
				}
			}
			return ids, nil
		}, func(ctx context.Context, id string) error {
			_, err := groups.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String(id), ForceDelete: aws.Bool(true)})
			return err
		}},
		{"instance", func(ctx context.Context) (ids []string, err error) {
			in := &ec2.DescribeInstancesInput{Filters: append(a.tagged(), stack.Filter("instance-state-name", "pending", "running", "stopping", "stopped", "shutting-down"))}
			for pages := ec2.NewDescribeInstancesPaginator(machines, in); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, r := range page.Reservations {
					for _, i := range r.Instances {
						ids = append(ids, aws.ToString(i.InstanceId))
					}
				}
			}
			return ids, nil
		}, func(ctx context.Context, id string) error {
			_, err := machines.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
			return err
		}},
		{"launch template", func(ctx context.Context) (ids []string, err error) {
			for pages := ec2.NewDescribeLaunchTemplatesPaginator(machines, &ec2.DescribeLaunchTemplatesInput{Filters: a.tagged()}); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, l := range page.LaunchTemplates {
					ids = append(ids, aws.ToString(l.LaunchTemplateId))
				}
			}
			return ids, nil
		}, func(ctx context.Context, id string) error {
			_, err := machines.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: aws.String(id)})
			return err
		}},
	}
}

// traffic are the load balancers, which take their listeners along, and target groups.
func (a *account) traffic() []kind {
	client := elb.NewFromConfig(a.own)
	return []kind{
		{"load balancer", func(ctx context.Context) ([]string, error) {
			var all []string
			for pages := elb.NewDescribeLoadBalancersPaginator(client, &elb.DescribeLoadBalancersInput{}); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, b := range page.LoadBalancers {
					all = append(all, aws.ToString(b.LoadBalancerArn))
				}
			}
			return a.ofStack(ctx, client, all)
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
			var all []string
			for pages := elb.NewDescribeTargetGroupsPaginator(client, &elb.DescribeTargetGroupsInput{}); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, g := range page.TargetGroups {
					all = append(all, aws.ToString(g.TargetGroupArn))
				}
			}
			return a.ofStack(ctx, client, all)
		}, func(ctx context.Context, id string) error {
			_, err := client.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(id)})
			return err
		}},
	}
}

// ofStack returns those of some load balancers or target groups that have the stack's tag.
func (a *account) ofStack(ctx context.Context, client *elb.Client, all []string) (own []string, err error) {
	for some := range slices.Chunk(all, 20) { // of which one request may ask
		found, err := client.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: some})
		if err != nil {
			return nil, err
		}
		for _, d := range found.TagDescriptions {
			for _, tag := range d.Tags {
				if aws.ToString(tag.Key) == stack.TagStack && aws.ToString(tag.Value) == a.stack {
					own = append(own, aws.ToString(d.ResourceArn))
				}
			}
		}
	}
	return own, nil
}

// images are the images of a region, and the snapshots that they leave.
func (a *account) images(region string) []kind {
	client := ec2.NewFromConfig(a.at(region))
	return []kind{
		{"image in " + region, func(ctx context.Context) (ids []string, err error) {
			found, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: a.tagged(), IncludeDeprecated: aws.Bool(true)})
			if err != nil {
				return nil, err
			}
			for _, i := range found.Images {
				ids = append(ids, aws.ToString(i.ImageId))
			}
			return ids, nil
		}, func(ctx context.Context, id string) error {
			_, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
			return err
		}},
		{"snapshot in " + region, func(ctx context.Context) (ids []string, err error) {
			for pages := ec2.NewDescribeSnapshotsPaginator(client, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: a.tagged()}); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, s := range page.Snapshots {
					ids = append(ids, aws.ToString(s.SnapshotId))
				}
			}
			return ids, nil
		}, func(ctx context.Context, id string) error {
			_, err := client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
			return err
		}},
	}
}

// parameters are those that name published images.
func (a *account) parameters() []kind {
	client := ssm.NewFromConfig(a.own)
	return []kind{{"parameter", func(ctx context.Context) (ids []string, err error) {
		for pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: aws.String("/penstock/" + a.stack)}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, p := range page.Parameters {
				ids = append(ids, aws.ToString(p.Name))
			}
		}
		return ids, nil
	}, func(ctx context.Context, id string) error {
		_, err := client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(id)})
		return err
	}}}
}

// foundation is the stack, and the bucket and the table that it leaves. CloudFormation
// names these after the stack.
func (a *account) foundation() []kind {
	stacks, buckets, tables := cloudformation.NewFromConfig(a.own), s3.NewFromConfig(a.own, cloud.Objects), dynamodb.NewFromConfig(a.own)
	return []kind{
		{"stack", func(ctx context.Context) ([]string, error) {
			_, err := stacks.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(a.stack)})
			if cloud.Is(err, "ValidationError") { // there is none
				return nil, nil
			}
			return []string{a.stack}, err
		}, func(ctx context.Context, id string) error {
			_, err := stacks.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(id)})
			return err
		}},
		{"bucket", func(ctx context.Context) (ids []string, err error) {
			found, err := buckets.ListBuckets(ctx, &s3.ListBucketsInput{})
			if err != nil {
				return nil, err
			}
			for _, b := range found.Buckets {
				if strings.HasPrefix(aws.ToString(b.Name), strings.ToLower(a.stack)+"-bucket-") {
					ids = append(ids, aws.ToString(b.Name))
				}
			}
			return ids, nil
		}, func(ctx context.Context, id string) error { return empty(ctx, buckets, id) }},
		{"table", func(ctx context.Context) (ids []string, err error) {
			for pages := dynamodb.NewListTablesPaginator(tables, &dynamodb.ListTablesInput{}); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, name := range page.TableNames {
					if strings.HasPrefix(name, a.stack+"-Table-") {
						ids = append(ids, name)
					}
				}
			}
			return ids, nil
		}, func(ctx context.Context, id string) error {
			_, err := tables.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: aws.String(id), DeletionProtectionEnabled: aws.Bool(false)})
			if err != nil && !cloud.Is(err, "ResourceInUseException", "ValidationException") { // it is off
				return err
			}
			_, err = tables.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(id)})
			return err
		}},
	}
}

// empty removes a bucket with every version of its objects.
func empty(ctx context.Context, client *s3.Client, bucket string) error {
	for pages := s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		var all []s3types.ObjectIdentifier
		for _, v := range page.Versions {
			all = append(all, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			all = append(all, s3types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if len(all) == 0 {
			continue
		}
		done, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &s3types.Delete{Objects: all, Quiet: aws.Bool(true)}})
		if err != nil {
			return err
		}
		if len(done.Errors) > 0 {
			return errors.New(aws.ToString(done.Errors[0].Message))
		}
	}
	_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)})
	return err
}
