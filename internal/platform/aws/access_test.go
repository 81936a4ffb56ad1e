// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
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
	for name, tt := range map[string]struct {
		change func(*pipeline.FleetRequest)
		want   stack.Access
	}{
		"test":    {func(*pipeline.FleetRequest) {}, s.Test},
		"lasting": {func(r *pipeline.FleetRequest) { r.Lasting = true }, s.Lasting},
		"own":     {func(r *pipeline.FleetRequest) { r.Lasting, r.Groups = true, s.Builder.Groups }, stack.Access{Profile: s.Lasting.Profile, Groups: s.Builder.Groups}},
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
			len(groups) != 1 || aws.ToString(groups[0].GroupId) != tt.want.Groups[0] {
			t.Errorf("%s: it has %s and %v, want %v", name, profile, groups, tt.want)
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
	b.wantNothing()
}
