// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// templates are the launch templates of fleets.
type templates struct {
	stack     *stack.Stack
	instances *instance.Instances
	ec2       *ec2.Client
	keys      *keys
}

// create makes the fleet's launch template, and returns its ID.
func (l *templates) create(ctx context.Context, r pipeline.FleetRequest) (string, error) {
	root, err := l.instances.LaunchRoot(ctx, r.Image, r.InstanceType, r.Machine.Volume)
	if err != nil {
		return "", err
	}
	if err := l.keys.grant(ctx, r.Log, root.Of, scalingRole); err != nil {
		return "", err
	}
	if r.Machine.Spot {
		if err := l.keys.grant(ctx, r.Log, root.Of, spotRole); err != nil {
			return "", err
		}
	}
	own := tagsOf(ctx, r)
	tags := l.stack.TagsOf(r.Labels, own)
	maps.Copy(own, placeTags(r))
	name := groupName(r.Fleet)
	out, err := l.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
		ClientToken: aws.String(r.Fleet), LaunchTemplateName: aws.String(name),
		TagSpecifications:  []types.TagSpecification{{ResourceType: types.ResourceTypeLaunchTemplate, Tags: l.stack.TagsOf(r.Labels, own)}},
		LaunchTemplateData: l.data(r, root, tags),
	})
	if cloud.Is(err, "InvalidLaunchTemplateName.AlreadyExistsException", "IdempotentParameterMismatch") { // of the process before this one
		found, err := l.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{name}})
		if err != nil || len(found.LaunchTemplates) == 0 {
			return "", cloud.Fault(ctx, opPrepare, errors.Join(err, errors.New("the launch template "+name+" exists, and is not listed")))
		}
		return aws.ToString(found.LaunchTemplates[0].LaunchTemplateId), nil
	}
	if err != nil {
		return "", cloud.Fault(ctx, opPrepare, err)
	}
	return aws.ToString(out.LaunchTemplate.LaunchTemplateId), nil
}

func (l *templates) data(r pipeline.FleetRequest, root instance.RootVolume, tags []types.Tag) *types.RequestLaunchTemplateData {
	start := firstBoot(serviceEnv(r), port(r.Service), false)
	settings, access := l.stack.Settings, access(l.stack.Settings, r)
	return &types.RequestLaunchTemplateData{
		ImageId:            aws.String(r.Image),
		InstanceType:       types.InstanceType(cmp.Or(r.InstanceType, settings.InstanceType)),
		UserData:           aws.String(base64.StdEncoding.EncodeToString([]byte(start))),
		IamInstanceProfile: &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String(access.Profile)},
		MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{
			HttpTokens:              types.LaunchTemplateHttpTokensStateRequired,
			HttpEndpoint:            types.LaunchTemplateInstanceMetadataEndpointStateEnabled,
			HttpPutResponseHopLimit: aws.Int32(int32(hops(r))),
		},
		NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{
			DeviceIndex: aws.Int32(0), Groups: access.Groups,
			AssociatePublicIpAddress: aws.Bool(settings.AssignPublicAddress), DeleteOnTermination: aws.Bool(true),
		}},
		BlockDeviceMappings:   volumes(root, r.Machine.Volume),
		InstanceMarketOptions: market(r.Machine),
		TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
			{ResourceType: types.ResourceTypeInstance, Tags: tags}, {ResourceType: types.ResourceTypeVolume, Tags: tags},
			{ResourceType: types.ResourceTypeNetworkInterface, Tags: tags},
		},
	}
}

// volumes are those of an instance, as a launch template names them.
func volumes(root instance.RootVolume, want *pipeline.Volume) []types.LaunchTemplateBlockDeviceMappingRequest {
	var list []types.LaunchTemplateBlockDeviceMappingRequest
	for _, v := range instance.Volumes(root, want, "") {
		list = append(list, types.LaunchTemplateBlockDeviceMappingRequest{DeviceName: v.DeviceName, Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{
			Encrypted: v.Ebs.Encrypted, DeleteOnTermination: v.Ebs.DeleteOnTermination, SnapshotId: v.Ebs.SnapshotId,
			VolumeSize: v.Ebs.VolumeSize, VolumeType: v.Ebs.VolumeType, Iops: v.Ebs.Iops, Throughput: v.Ebs.Throughput,
		}})
	}
	return list
}

// market returns how the instances are bought; nil is on demand.
func market(m pipeline.Machine) *types.LaunchTemplateInstanceMarketOptionsRequest {
	if !m.Spot {
		return nil
	}
	return &types.LaunchTemplateInstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
}

// fleets lists the fleets of which an environment has a template.
func (l *templates) fleets(ctx context.Context, environment string) ([]string, error) {
	out, err := l.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{
		Filters: []types.Filter{stack.Filter("tag:"+TagEnvironment, environment)},
	})
	if err != nil {
		return nil, cloud.Fault(ctx, "list launch templates", err)
	}
	var fleets []string
	for _, t := range out.LaunchTemplates {
		fleets = append(fleets, strings.TrimPrefix(aws.ToString(t.LaunchTemplateName), groupName("")))
	}
	return fleets, nil
}

// Left lists the environments of which there are launch templates: that of a fleet goes last,
// so that it finds also what the end of a time to live, or a crash, has left.
func (f *Fleets) Left(ctx context.Context) ([]string, error) {
	found := map[string]bool{}
	pages := ec2.NewDescribeLaunchTemplatesPaginator(f.templates.ec2, &ec2.DescribeLaunchTemplatesInput{Filters: []types.Filter{f.stack.Mine()}, MaxResults: aws.Int32(200)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list launch templates", err)
		}
		for _, t := range page.LaunchTemplates {
			if id := stack.Tag(t.Tags, TagEnvironment); id != "" {
				found[id] = true
			}
		}
	}
	return stack.Sorted(found), nil
}

// remove removes a fleet's template; one that does not exist is no error.
func (l *templates) remove(ctx context.Context, fleet string) error {
	_, err := l.ec2.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String(groupName(fleet))})
	if err != nil && !cloud.IsNotFound(err) {
		return cloud.Fault(ctx, "remove fleet "+fleet, err)
	}
	return nil
}
