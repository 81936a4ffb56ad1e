// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package instance launches instances of EC2, runs commands on them through SSM Run
// Command, and ends them. It knows no fleets, and of images only what it takes to launch
// one.
package instance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// How long changes of an instance may take. AWS needs a minute or so for each;
// a stop waits for the operating system.
const (
	StartLimit = 15 * time.Minute
	StopLimit  = 15 * time.Minute
	listLimit  = 30 * time.Second // AWS needs seconds
)

// Instances are the instances of an installation. They may be used concurrently.
type Instances struct {
	stack   *stack.Stack
	ec2     *ec2.Client
	ssm     *ssm.Client
	kms     *kms.Client
	s3      *s3.Client
	presign *s3.PresignClient

	byID   *cloud.Batcher[string, types.Instance]
	images *cloud.Batcher[string, types.Image] // by ID
	kinds  kinds
}

// New returns the instances of an installation.
func New(s *stack.Stack) *Instances {
	objects := s3.NewFromConfig(s.Config, cloud.Objects)
	i := &Instances{stack: s, ec2: ec2.NewFromConfig(s.Config), ssm: ssm.NewFromConfig(s.Config), kms: kms.NewFromConfig(s.Config), s3: objects, presign: s3.NewPresignClient(objects)}
	i.byID = cloud.NewBatcher(i.fetch)
	i.images = cloud.NewBatcher(i.fetchImages)
	return i
}

func (i *Instances) fetch(ctx context.Context, ids []string) (map[string]types.Instance, error) {
	list, err := i.List(ctx, stack.Filter("instance-id", ids...))
	found := map[string]types.Instance{}
	for _, one := range list {
		found[ID(one)] = one
	}
	return found, err
}

// Alive is the filter of instances that exist and cost.
var Alive = stack.Filter("instance-state-name", "pending", "running", "stopping", "stopped")

// List lists the instances of the account that match all filters.
func (i *Instances) List(ctx context.Context, filters ...types.Filter) ([]types.Instance, error) {
	var list []types.Instance
	pages := ec2.NewDescribeInstancesPaginator(i.ec2, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list instances", err)
		}
		for _, r := range page.Reservations {
			list = append(list, r.Instances...)
		}
	}
	return list, nil
}

// CheckAlive refuses to go on waiting for an instance that has ended, or was stopped. One
// that AWS does not list may be new.
func (i *Instances) CheckAlive(ctx context.Context, id string) error {
	one, ok, err := i.byID.Get(ctx, id)
	if err != nil || !ok {
		return err
	}
	if s := one.State.Name; s == types.InstanceStateNameStopping || s == types.InstanceStateNameStopped {
		return pipeline.Errorf(pipeline.CodeFailed, opWait, "instance %s was stopped: %s", id, cmp.Or(aws.ToString(one.StateTransitionReason), "AWS gives no reason")).
			WithHint("Penstock never stops an instance that has work to do. Apply again: that launches another.")
	}
	return i.ended(ctx, one)
}

// AwaitState waits until an instance is in a state. One that ended meanwhile is an
// error that says why.
func (i *Instances) AwaitState(ctx context.Context, id string, want types.InstanceStateName, limit time.Duration) (found types.Instance, err error) {
	err = i.stack.Wait(ctx, fmt.Sprintf("instance %s to be %s", id, want), limit, func(ctx context.Context) (poll.Probe, error) {
		one, ok, err := i.byID.Get(ctx, id)
		if err != nil {
			return poll.Probe{}, err
		}
		if !ok { // AWS may not list a new instance at once
			return poll.Probe{State: "not listed yet"}, nil
		}
		found = one
		if one.State.Name == want {
			return poll.Probe{Done: true}, nil
		}
		return poll.Probe{State: string(one.State.Name)}, i.ended(ctx, one)
	})
	return found, cloud.Fault(ctx, "wait for instance "+id, err)
}

// UntilListed waits until AWS lists an instance that it has just launched, so that who
// is to end it finds it; also where the work is cancelled.
func (i *Instances) UntilListed(ctx context.Context, id string) {
	err := i.stack.Wait(context.WithoutCancel(ctx), "instance "+id+" to be listed", listLimit, func(ctx context.Context) (poll.Probe, error) {
		_, ok, err := i.byID.Get(ctx, id)
		return poll.Probe{Done: ok, State: "not listed yet"}, err
	})
	if err != nil {
		i.stack.Logger.Warn("list new instance", "instance", id, "error", err)
	}
}

// Stop stops an instance, and waits until it has.
func (i *Instances) Stop(ctx context.Context, id string) error {
	if _, err := i.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		return cloud.Fault(ctx, "stop instance "+id, err)
	}
	_, err := i.AwaitState(ctx, id, types.InstanceStateNameStopped, StopLimit)
	return err
}

// Terminate ends instances; those that don't exist are no error.
func (i *Instances) Terminate(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := i.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	if cloud.IsNotFound(err) && len(ids) > 1 { // AWS ends none when one does not exist
		for _, id := range ids {
			if err := i.Terminate(ctx, id); err != nil {
				return err
			}
		}
		return nil
	}
	if cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, "terminate instances "+strings.Join(ids, ", "), err)
}

// SetTags sets tags of instances; none is no error.
func (i *Instances) SetTags(ctx context.Context, op string, list []types.Instance, tags map[string]string) error {
	return stack.SetTags(ctx, i.ec2, op, IDs(list), tags)
}

const opWait = "wait for instance"

// Ended returns an error for an instance that has ended.
func Ended(one types.Instance) error {
	if one.State == nil || one.State.Name != types.InstanceStateNameTerminated && one.State.Name != types.InstanceStateNameShuttingDown {
		return nil
	}
	why, hint := aws.ToString(one.StateTransitionReason), "Try again. If it ends again, look at the instance's events in the EC2 console."
	if one.StateReason != nil {
		why = aws.ToString(one.StateReason.Message)
		if code := aws.ToString(one.StateReason.Code); slices.Contains(keyFaults, code) {
			hint = KeyHint()
		} else if code == "Server.SpotInstanceTermination" || code == "Server.SpotInstanceShutdown" {
			hint = "AWS took the capacity of the spot instance back. Apply again, or remove environment.spot."
		}
	}
	return pipeline.Errorf(pipeline.CodeFailed, opWait, "instance %s was terminated: %s", ID(one), cmp.Or(why, "AWS gives no reason")).WithHint("%s", hint)
}

// TagGroup is the tag by which AWS says of an instance which Auto Scaling group it is of.
const TagGroup = "aws:autoscaling:groupName"

// ID returns the ID of an instance.
func ID(one types.Instance) string { return aws.ToString(one.InstanceId) }

// IDs returns the IDs of instances.
func IDs(list []types.Instance) []string {
	var ids []string
	for _, one := range list {
		ids = append(ids, ID(one))
	}
	return ids
}
