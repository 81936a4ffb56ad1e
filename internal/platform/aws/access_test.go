// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// What tests have on AWS, production has not, and the other way round, unless a stage names
// its own: of single instances, and of those of a group.
func TestAccess(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.stack.Settings
	_, err := iam.NewFromConfig(b.cloud.Own()).CreateInstanceProfile(t.Context(), &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("shop")})
	b.must(err)
	app := b.app()
	joined, err := elb.NewFromConfig(b.cloud.Own()).CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{Name: aws.String("another"), Port: aws.Int32(80), Protocol: elbtypes.ProtocolEnumHttp, VpcId: aws.String(s.VPC)})
	b.must(err)
	foreign := aws.ToString(joined.TargetGroups[0].TargetGroupArn)
	for name, tt := range map[string]struct {
		change func(*pipeline.FleetRequest)
		want   stack.Access
	}{
		"test":    {func(*pipeline.FleetRequest) {}, s.Test},
		"lasting": {func(r *pipeline.FleetRequest) { r.Lasting = true }, s.Lasting},
		"module": {func(r *pipeline.FleetRequest) {
			r.Lasting, r.ExtraGroups, r.Subnets = true, s.Builder.Groups, s.Subnets[1:]
			if r.Persistent {
				r.TargetGroups = []string{foreign}
			}
		}, stack.Access{Profile: s.Lasting.Profile, Groups: slices.Concat(s.Lasting.Groups, s.Builder.Groups)}},
		"own": {func(r *pipeline.FleetRequest) { r.Lasting, r.Groups = true, s.Builder.Groups }, stack.Access{Profile: s.Lasting.Profile, Groups: s.Builder.Groups}},
	} {
		r := b.request("e-"+name, "f-"+name, app)
		tt.change(&r)
		_, err := b.Prepare(t.Context(), r)
		b.must(err)
		list, err := b.fleets.Instances(t.Context(), r.Environment)
		b.must(err)
		faces, err := b.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{stack.Filter("attachment.instance-id", instance.ID(list[0]))}})
		b.must(err)
		if profile, groups := aws.ToString(list[0].IamInstanceProfile.Arn), faces.NetworkInterfaces[0].Groups; profile != "arn:aws:iam::"+b.cloud.ID+":instance-profile/"+tt.want.Profile ||
			len(groups) != len(tt.want.Groups) || aws.ToString(groups[0].GroupId) != tt.want.Groups[0] {
			t.Errorf("%s: it has %s and %v, want %v", name, profile, groups, tt.want)
		}
		if on := aws.ToString(list[0].SubnetId); len(r.Subnets) > 0 && !slices.Contains(r.Subnets, on) {
			t.Errorf("%s: it is in subnet %s, want one of %v", name, on, r.Subnets)
		}
		r = b.persistent("p-"+name, r.Image)
		r.Environment = "p-" + name
		tt.change(&r)
		_, err = b.Prepare(t.Context(), r)
		b.must(err)
		out, err := b.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: aws.String("penstock-" + r.Fleet)})
		b.must(err)
		data := out.LaunchTemplateVersions[0].LaunchTemplateData
		if got := aws.ToString(data.IamInstanceProfile.Name); got != tt.want.Profile || !slices.Equal(data.NetworkInterfaces[0].Groups, tt.want.Groups) {
			t.Errorf("%s: a group has %s and %v, want %v", name, got, data.NetworkInterfaces[0].Groups, tt.want)
		}
		scaled, err := autoscaling.NewFromConfig(b.cloud.Own()).DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"penstock-" + r.Fleet}})
		b.must(err)
		group := scaled.AutoScalingGroups[0]
		if len(r.Subnets) > 0 && aws.ToString(group.VPCZoneIdentifier) != strings.Join(r.Subnets, ",") || slices.Contains(group.TargetGroupARNs, foreign) != (len(r.TargetGroups) > 0) {
			t.Errorf("%s: the group is in %s with the targets %v", name, aws.ToString(group.VPCZoneIdentifier), group.TargetGroupARNs)
		}
		b.must(b.Destroy(t.Context(), "e-"+name))
		b.must(b.Destroy(t.Context(), "p-"+name))
	}
	// A role that nobody gave to the stack can't be handed over.
	r := b.request("e-given", "f-given", app)
	r.Profile = "shop"
	_, err = b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeNotAllowed, "iam:PassRole", "role/shop")
	b.cloud.Given(map[string]string{"InstanceRoles": "arn:aws:iam::" + b.cloud.ID + ":role/shop"})
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-given"))
	_, err = elb.NewFromConfig(b.cloud.Own()).DeleteTargetGroup(t.Context(), &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(foreign)}) // it is there: no end of an environment took it
	b.must(err)
	b.wantNothing()
}
