// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// Launch says what instance to run.
type Launch struct {
	Token    string // a repeated Run with it launches nothing more
	Image    string
	Type     string // empty: the installation's
	UserData string
	Tags     []types.Tag
	KMSKey   string // for the volumes; empty: the account's default
	Access   stack.Access
	Volume   *pipeline.Volume
	Hops     int // of answers of the metadata service; 0 means 1
	Spot     bool
	Subnets  []string // that it may be in; none: the installation's
	// Keys makes the keys of the image's volumes usable, before the launch; nil: nothing has to.
	Keys func(context.Context, types.Image) error
}

const opLaunch = "launch instance"

// Run launches an instance. Its volumes are encrypted and go with it, it takes no metadata
// requests of version 1, has no key, and a power-off from inside terminates it. Where the
// zone of one subnet has no capacity for it, another is tried.
func (i *Instances) Run(ctx context.Context, l Launch) (types.Instance, error) {
	root, err := i.LaunchRoot(ctx, l.Image, l.Type, l.Volume)
	if err != nil {
		return types.Instance{}, err
	}
	if l.KMSKey != "" { // who may not look may use it all the same
		if _, err := i.Key(ctx, opLaunch, l.KMSKey); pipeline.CodeOf(err) == pipeline.CodeFailed {
			return types.Instance{}, err
		}
	}
	if l.Keys != nil {
		if err := l.Keys(ctx, root.Of); err != nil {
			return types.Instance{}, err
		}
	}
	subnets := i.subnets(l)
	if len(subnets) > 1 { // a process before this one may have launched in another subnet
		there, err := i.List(ctx, stack.Filter("client-token", tokens(l.Token, len(subnets))...), Alive)
		if err != nil || len(there) > 0 {
			return first(there), err
		}
	}
	var lacking []error
	for n, subnet := range subnets {
		in := i.request(l, root, subnet)
		in.ClientToken = aws.String(tokens(l.Token, len(subnets))[n])
		out, err := i.ec2.RunInstances(ctx, in)
		switch {
		case err == nil:
			return out.Instances[0], nil
		case cloud.Is(err, "IdempotentParameterMismatch"):
			return i.launchedBy(ctx, l.Token, err)
		case !cloud.Is(err, lackOf...):
			return types.Instance{}, cloud.Fault(ctx, opLaunch, err)
		}
		i.stack.Logger.Info("no capacity", "subnet", subnet, "error", err)
		lacking = append(lacking, fmt.Errorf("in subnet %s: %w", subnet, err))
	}
	return types.Instance{}, pipeline.Errorf(pipeline.CodeFailed, opLaunch, "no subnet can take an instance of type %s: %w", i.typeOf(l), errors.Join(lacking...)).
		WithHint("Choose another instance type (instance_type), or give the stack subnets in more zones. If capacity is short, try again later.")
}

// lackOf are the error codes by which the zone of a subnet, or the subnet, has no room.
var lackOf = []string{"InsufficientInstanceCapacity", "Unsupported", "InsufficientFreeAddressesInSubnet", "InsufficientHostCapacity"}

func first(list []types.Instance) types.Instance {
	if len(list) == 0 {
		return types.Instance{}
	}
	return list[0]
}

// tokens are the client tokens of the tries of a launch in several subnets.
func tokens(token string, tries int) []string {
	list := []string{token}
	for n := 2; n <= tries; n++ {
		list = append(list, stack.Cut(token, 60)+fmt.Sprintf("-%d", n))
	}
	return list
}

func (i *Instances) typeOf(l Launch) types.InstanceType {
	return types.InstanceType(cmp.Or(l.Type, i.stack.Settings.InstanceType))
}

func (i *Instances) request(l Launch, root RootVolume, subnet string) *ec2.RunInstancesInput {
	settings := i.stack.Settings
	in := &ec2.RunInstancesInput{
		ImageId:                           aws.String(l.Image),
		MinCount:                          aws.Int32(1),
		MaxCount:                          aws.Int32(1),
		InstanceType:                      i.typeOf(l),
		UserData:                          aws.String(base64.StdEncoding.EncodeToString([]byte(l.UserData))),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		IamInstanceProfile:                &types.IamInstanceProfileSpecification{Name: aws.String(l.Access.Profile)},
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled,
			HttpPutResponseHopLimit: aws.Int32(int32(max(l.Hops, 1))),
		},
		BlockDeviceMappings: Volumes(root, l.Volume, l.KMSKey),
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), SubnetId: aws.String(subnet), Groups: l.Access.Groups,
			AssociatePublicIpAddress: aws.Bool(settings.AssignPublicAddress), DeleteOnTermination: aws.Bool(true),
		}},
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: l.Tags}, {ResourceType: types.ResourceTypeVolume, Tags: l.Tags},
			{ResourceType: types.ResourceTypeNetworkInterface, Tags: l.Tags},
		},
	}
	if l.Spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	}
	return in
}

// Volumes returns the volumes of an instance of an image: all are encrypted, and go with it.
func Volumes(root RootVolume, want *pipeline.Volume, key string) []types.BlockDeviceMapping {
	ebs := func(size *int32) *types.EbsBlockDevice {
		v := &types.EbsBlockDevice{Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true), VolumeSize: size}
		if key != "" {
			v.KmsKeyId = aws.String(key)
		}
		return v
	}
	own := ebs(root.Size)
	if want != nil {
		if want.Size > 0 {
			own.VolumeSize = aws.Int32(int32(want.Size))
		}
		own.VolumeType = types.VolumeType(want.Type)
		own.Iops, own.Throughput = positive(want.IOPS), positive(want.Throughput)
	}
	list := []types.BlockDeviceMapping{{DeviceName: aws.String(root.Device), Ebs: own}}
	for _, d := range root.Of.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.DeviceName) != root.Device && len(root.Of.BlockDeviceMappings) > 1 {
			data := ebs(d.Ebs.VolumeSize)
			data.SnapshotId = d.Ebs.SnapshotId
			list = append(list, types.BlockDeviceMapping{DeviceName: d.DeviceName, Ebs: data})
		}
	}
	return list
}

func positive(n int) *int32 {
	if n == 0 {
		return nil
	}
	return aws.Int32(int32(n))
}

// containers are what runs containers, as a command names it.
var containers = regexp.MustCompile(`\b(docker|podman|nerdctl)\b`)

// Hops returns how many hops the answers of the metadata service may take: what is asked for,
// or else as many as what the commands run needs.
func Hops(asked int, commands ...string) int {
	if asked == 0 && slices.ContainsFunc(commands, containers.MatchString) {
		return 2
	}
	return max(asked, 1)
}

// launchedBy returns the instance that another request with a token launched: that of the
// process before this one, whose lease, which is in the tags, was another.
func (i *Instances) launchedBy(ctx context.Context, token string, refused error) (types.Instance, error) {
	list, err := i.List(ctx, stack.Filter("client-token", token))
	if err != nil {
		return types.Instance{}, err
	}
	if len(list) != 1 {
		return types.Instance{}, cloud.Fault(ctx, opLaunch, refused)
	}
	return list[0], i.ended(ctx, list[0])
}

// subnets returns the subnets in the order in which a launch tries them, which spreads
// launches.
func (i *Instances) subnets(l Launch) []string {
	sum := 0
	for _, c := range l.Token {
		sum += int(c)
	}
	all := l.Subnets
	if len(all) == 0 {
		all = i.stack.Settings.Subnets
	}
	at := sum % len(all)
	return slices.Concat(all[at:], all[:at])
}
