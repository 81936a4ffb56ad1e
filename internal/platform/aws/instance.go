// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// How long changes of an instance may take. AWS needs a minute or so for each;
// a stop waits for the operating system.
const (
	startLimit = 15 * time.Minute
	stopLimit  = 15 * time.Minute
	listLimit  = 30 * time.Second // AWS needs seconds
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// launch says what instances to run.
type launch struct {
	token        string
	image        string
	instanceType string
	count        int
	userData     string
	tags         []types.Tag
	key          string // of KMS, for the root volume; empty: the account's default
	group        string // security group
}

// run launches instances. Their root volume is encrypted and goes with them, they
// take no metadata requests of version 1, have no key, and a power-off from inside
// terminates them.
func (p *Platform) run(ctx context.Context, l launch) ([]types.Instance, error) {
	root, err := p.rootVolume(ctx, l.image)
	if err != nil {
		return nil, err
	}
	in := &ec2.RunInstancesInput{
		ClientToken: aws.String(l.token), ImageId: aws.String(l.image), MinCount: aws.Int32(int32(l.count)), MaxCount: aws.Int32(int32(l.count)),
		InstanceType: types.InstanceType(cmp.Or(l.instanceType, p.Settings.InstanceType)), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(l.userData))),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		IamInstanceProfile:                &types.IamInstanceProfileSpecification{Name: aws.String(p.Settings.InstanceProfile)},
		MetadataOptions:                   &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpPutResponseHopLimit: aws.Int32(1)},
		BlockDeviceMappings:               []types.BlockDeviceMapping{{DeviceName: aws.String(root.device), Ebs: &types.EbsBlockDevice{Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true), VolumeSize: root.size}}},
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), SubnetId: aws.String(p.subnet(l.token)), Groups: []string{l.group},
			AssociatePublicIpAddress: aws.Bool(p.Settings.AssignPublicAddress), DeleteOnTermination: aws.Bool(true),
		}},
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: l.tags}, {ResourceType: types.ResourceTypeVolume, Tags: l.tags},
			{ResourceType: types.ResourceTypeNetworkInterface, Tags: l.tags},
		},
	}
	if l.key != "" {
		in.BlockDeviceMappings[0].Ebs.KmsKeyId = aws.String(l.key)
	}
	out, err := p.ec2.RunInstances(ctx, in)
	if err != nil {
		return nil, cloud.Fault(ctx, "launch instance", err)
	}
	return out.Instances, nil
}

// subnet spreads launches over the subnets.
func (p *Platform) subnet(token string) string {
	sum := 0
	for _, c := range token {
		sum += int(c)
	}
	return p.Settings.Subnets[sum%len(p.Settings.Subnets)]
}

// rootVolume is the root volume of an image.
type rootVolume struct {
	device string
	size   *int32 // GiB; nil where AWS does not say
	of     types.Image
}

// rootVolume gives the root volume of an image.
func (p *Platform) rootVolume(ctx context.Context, image string) (rootVolume, error) {
	i, ok, err := p.images.Get(ctx, image)
	switch {
	case err != nil:
		return rootVolume{}, err
	case !ok:
		return rootVolume{}, pipeline.Errorf(pipeline.CodeNotFound, "launch instance", "there is no image %s in region %s, or this account may not use it", image, p.Config.Region).
			WithHint("Bake it anew, or correct its ID.")
	}
	root := rootVolume{of: i, device: cmp.Or(aws.ToString(i.RootDeviceName), "/dev/xvda")}
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && (aws.ToString(d.DeviceName) == root.device || len(i.BlockDeviceMappings) == 1) {
			root.size = d.Ebs.VolumeSize
		}
	}
	return root, nil
}

// fetchInstances reads instances by ID. One that AWS no longer lists is not there.
func (p *Platform) fetchInstances(ctx context.Context, ids []string) (map[string]types.Instance, error) {
	list, err := p.list(ctx, filter("instance-id", ids...))
	found := map[string]types.Instance{}
	for _, i := range list {
		found[aws.ToString(i.InstanceId)] = i
	}
	return found, err
}

// alive are the states of instances that exist and cost.
var alive = filter("instance-state-name", "pending", "running", "stopping", "stopped")

// list lists the instances that match all filters.
func (p *Platform) list(ctx context.Context, filters ...types.Filter) ([]types.Instance, error) {
	var list []types.Instance
	pages := ec2.NewDescribeInstancesPaginator(p.ec2, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(1000)})
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

// awaitState waits until an instance is in a state. One that ended meanwhile is an
// error that says why.
func (p *Platform) awaitState(ctx context.Context, id string, want types.InstanceStateName, limit time.Duration) (found types.Instance, err error) {
	err = p.wait(ctx, fmt.Sprintf("instance %s to be %s", id, want), limit, func(ctx context.Context) (poll.Probe, error) {
		i, ok, err := p.instances.Get(ctx, id)
		if err != nil {
			return poll.Probe{}, err
		}
		if !ok { // AWS may not list a new instance at once
			return poll.Probe{State: "not listed yet"}, nil
		}
		found = i
		if i.State.Name == want {
			return poll.Probe{Done: true}, nil
		}
		return poll.Probe{State: string(i.State.Name)}, ended(i)
	})
	return found, cloud.Fault(ctx, "wait for instance "+id, err)
}

// untilListed waits until AWS lists an instance that it has just launched, so that who
// is to end it finds it; also where the work is cancelled.
func (p *Platform) untilListed(ctx context.Context, id string) {
	err := p.wait(context.WithoutCancel(ctx), "instance "+id+" to be listed", listLimit, func(ctx context.Context) (poll.Probe, error) {
		_, ok, err := p.instances.Get(ctx, id)
		return poll.Probe{Done: ok, State: "not listed yet"}, err
	})
	if err != nil {
		p.Logger.Warn("list new instance", "instance", id, "error", err)
	}
}

// ended gives an error for an instance that has ended.
func ended(i types.Instance) error {
	if i.State == nil || i.State.Name != types.InstanceStateNameTerminated && i.State.Name != types.InstanceStateNameShuttingDown {
		return nil
	}
	why := aws.ToString(i.StateTransitionReason)
	if i.StateReason != nil {
		why = aws.ToString(i.StateReason.Message)
	}
	return pipeline.Errorf(pipeline.CodeFailed, "wait for instance", "instance %s was terminated: %s", aws.ToString(i.InstanceId), cmp.Or(why, "AWS gives no reason")).
		WithHint("Try again. If it ends again, look at the instance's events in the EC2 console.")
}

// terminate ends instances; those that don't exist are no error.
func (p *Platform) terminate(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := p.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	if cloud.IsNotFound(err) && len(ids) > 1 { // AWS ends none when one does not exist
		for _, id := range ids {
			if err := p.terminate(ctx, id); err != nil {
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

func idsOf(list []types.Instance) []string {
	var ids []string
	for _, i := range list {
		ids = append(ids, aws.ToString(i.InstanceId))
	}
	return ids
}
