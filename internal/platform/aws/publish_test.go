// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

var elsewhere = []string{"eu-west-2", "us-east-1"}

// registered lists the images of the account in a region, but for the simulator's own.
func (b *bed) registered(region string) []types.Image {
	b.Helper()
	out, err := b.in(region).ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{stack.Filter("tag:"+stack.TagStack, "penstock")}})
	b.must(err)
	return out.Images
}

// leftOf returns what there is of images anywhere.
func (b *bed) leftOf() (left []string) {
	b.Helper()
	for _, region := range append([]string{cloudtest.Region}, elsewhere...) {
		for _, i := range b.registered(region) {
			left = append(left, region+" "+aws.ToString(i.ImageId))
		}
		snapshots, err := b.in(region).ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{Filters: []types.Filter{stack.Filter("tag:"+stack.TagStack, "penstock")}})
		b.must(err)
		for _, s := range snapshots.Snapshots {
			left = append(left, region+" "+aws.ToString(s.SnapshotId))
		}
		parameters, err := b.in(region).ssm.DescribeParameters(b.Context(), &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{"/penstock"}}}})
		b.must(err)
		for _, p := range parameters.Parameters {
			left = append(left, region+" "+aws.ToString(p.Name))
		}
	}
	return left
}

// publish places an image, and lets the parameter lead to it.
func (b *bed) publish(r pipeline.PublishRequest) (copies map[string]string, err error) {
	if copies, err = b.Publish(b.Context(), r); err != nil || r.Publication.Channel == "" {
		return copies, err
	}
	return copies, b.Point(b.Context(), pipeline.PointRequest{Name: r.Publication.Channel, Images: copies, Labels: r.Labels, Log: b.log})
}

// unpoint removes the parameter everywhere.
func (b *bed) unpoint() error {
	return b.Unpoint(b.Context(), pipeline.UnpointRequest{
		Name: "/penstock/shop/base", Regions: append([]string{cloudtest.Region}, elsewhere...), Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base"}, Log: b.log,
	})
}

func (b *bed) publishRequest(image string) pipeline.PublishRequest {
	keys := map[string]string{}
	for _, region := range elsewhere {
		keys[region] = b.imageKey(region)
	}
	return pipeline.PublishRequest{
		Image: image, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: b.log,
		Publication: pipeline.Publication{
			Regions: elsewhere, KMSKeys: keys, Accounts: []string{"999999999999"}, Channel: "/penstock/shop/base", DeprecateAfter: 24 * time.Hour, Protected: true,
		},
	}
}

// permissions lists the accounts that may launch an image.
func (b *bed) permissions(region, image string) (map[string]bool, error) {
	out, err := b.in(region).ec2.DescribeImageAttribute(b.Context(), &ec2.DescribeImageAttributeInput{
		ImageId: aws.String(image), Attribute: types.ImageAttributeNameLaunchPermission,
	})
	if err != nil {
		return nil, err
	}
	with := map[string]bool{}
	for _, l := range out.LaunchPermissions {
		with[aws.ToString(l.UserId)] = true
	}
	return with, nil
}

// protected reports whether an image can't be deregistered.
func protected(image types.Image) bool {
	state := aws.ToString(image.DeregistrationProtection)
	return state != "" && state != "disabled"
}

func (b *bed) parameterIn(region string) string {
	b.Helper()
	out, err := b.in(region).ssm.GetParameter(b.Context(), &ssm.GetParameterInput{Name: aws.String("/penstock/shop/base")})
	b.must(err)
	return aws.ToString(out.Parameter.Value)
}

// An image is copied, shared, named, deprecated and protected in three regions; what
// the next publication does not say is taken back; the end leaves nothing.
func TestPublish(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.shareable()
	r := b.publishRequest(id)
	copies, err := b.publish(r)
	b.must(err)
	again, err := b.publish(r)
	b.must(err)
	if len(copies) != 3 || copies[cloudtest.Region] != id || fmt.Sprint(copies) != fmt.Sprint(again) {
		t.Errorf("published as %v, and then as %v", copies, again)
	}
	for region, copied := range copies {
		list := b.registered(region)
		if len(list) != 1 || aws.ToString(list[0].ImageId) != copied || !protected(list[0]) || aws.ToString(list[0].DeprecationTime) == "" || stack.Tag(list[0].Tags, stack.TagPipeline) != "shop" {
			t.Errorf("in %s there are %+v", region, list)
		}
		with, err := b.permissions(region, copied)
		b.must(err)
		if len(with) != 1 || !with["999999999999"] || b.parameterIn(region) != copied {
			t.Errorf("in %s it may be launched by %v, and the parameter is %s", region, with, b.parameterIn(region))
		}
		snapshots, err := b.in(region).ec2.DescribeSnapshotAttribute(t.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: aws.String(instance.Snapshots(list[0])[0]), Attribute: types.SnapshotAttributeNameCreateVolumePermission})
		b.must(err)
		if len(snapshots.CreateVolumePermissions) != 1 {
			t.Errorf("in %s the snapshot is shared with %v", region, snapshots.CreateVolumePermissions)
		}
	}
	r.Publication = pipeline.Publication{Regions: elsewhere[:1]}
	_, err = b.Publish(t.Context(), r)
	b.wantError(err, pipeline.CodeConflict, "parameter /penstock/shop/base", elsewhere[1]) // which leads to the copy
	b.must(b.unpoint())
	b.must(b.unpoint())
	copies, err = b.Publish(t.Context(), r)
	b.must(err)
	if left := b.leftOf(); len(copies) != 2 || len(left) != 4 { // two images with a snapshot each
		t.Errorf("published as %v, there are %v", copies, left)
	}
	for region, copied := range copies {
		with, err := b.permissions(region, copied)
		b.must(err)
		if list := b.registered(region); len(with) > 0 || protected(list[0]) || aws.ToString(list[0].DeprecationTime) != "" {
			t.Errorf("in %s it may be launched by %v: %+v", region, with, list)
		}
	}
	b.must(b.RemoveImage(t.Context(), id))
	b.must(b.RemoveImage(t.Context(), id))
	if left := b.leftOf(); len(left) > 0 {
		t.Errorf("after the removal there are %v", left)
	}
}

// A stack of the same name in the region of a copy does not take it for what nobody needs.
func TestCopiesFromAnotherRegion(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	_, err := b.Publish(t.Context(), b.publishRequest(b.shareable()))
	b.must(err)
	cfg := b.cloud.Config()
	cfg.Region = elsewhere[0]
	there := New(Options{Config: cfg, Settings: b.stack.Settings, Pause: 20 * time.Millisecond, Current: b.leases.current})
	images, err := there.Images(t.Context())
	b.must(err)
	bakes, halves, err := there.Orphans(t.Context())
	b.must(err)
	if len(images)+len(bakes)+len(halves) > 0 {
		t.Errorf("in %s it has the images %v, and what is left of the bakes %v and the images %v", elsewhere[0], images, bakes, halves)
	}
}

// The next image takes the parameter over, with the label of its build; another's parameter
// is left alone, unless it is adopted.
func TestParameter(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	one := b.base()
	next := b.bakeRequest("r-2")
	next.Inputs = "k-2"
	two, err := b.Bake(t.Context(), next)
	b.must(err)
	point := func(name, id, build string, adopt bool) error {
		return b.Point(t.Context(), pipeline.PointRequest{
			Name: name, Images: map[string]string{cloudtest.Region: id}, Labels: pipeline.Labels{Pipeline: "shop", Stage: "production", Build: build}, Adopt: adopt, Log: b.log,
		})
	}
	labels := func(name string) map[string][]string {
		t.Helper()
		out, err := b.ssm.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: aws.String(name)})
		b.must(err)
		by := map[string][]string{}
		for _, v := range out.Parameters {
			by[aws.ToString(v.Value)] = append(by[aws.ToString(v.Value)], v.Labels...)
		}
		return by
	}
	const name = "/penstock/penstock/shop/stable"
	for range 2 {
		b.must(point("stable", one, "b-1", false))
	}
	b.must(point("stable", two.ID, "b-2", false))
	b.must(point("stable", two.ID, "b-3", false))
	if got := labels(name); !slices.Equal(got[one], []string{"b-1"}) || !slices.Equal(got[two.ID], []string{"b-2", "b-3"}) {
		t.Errorf("the labels are %v", got)
	}
	b.must(point(name, one, "b-1", false)) // back; and the same parameter by its whole name
	if got, err := b.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(name + ":b-1")}); err != nil || aws.ToString(got.Parameter.Value) != one || got.Parameter.Version != 3 {
		t.Errorf("b-1 is %+v, %v", got, err)
	}
	if got, err := b.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(name)}); err != nil || aws.ToString(got.Parameter.DataType) != "aws:ec2:image" {
		t.Errorf("the parameter is %+v, %v", got, err)
	}
	_, err = b.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/penstock/other"), Value: aws.String(cloudtest.BaseImage), Type: ssmtypes.ParameterTypeString, DataType: aws.String("aws:ec2:image")})
	b.must(err)
	b.wantError(point("/penstock/other", two.ID, "b-2", false), pipeline.CodeConflict, "/penstock/other", "adopt")
	labelsOf := pipeline.Labels{Pipeline: "shop", Stage: "production"}
	b.must(b.Unpoint(t.Context(), pipeline.UnpointRequest{Name: "/penstock/other", Regions: []string{cloudtest.Region}, Labels: labelsOf}))
	if got, err := b.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/penstock/other")}); err != nil || aws.ToString(got.Parameter.Value) != cloudtest.BaseImage {
		t.Errorf("another's parameter is %+v, %v", got, err)
	}
	b.must(point("/penstock/other", two.ID, "b-2", true))
	for _, p := range []string{"/penstock/other", "stable"} {
		b.must(b.Unpoint(t.Context(), pipeline.UnpointRequest{Name: p, Regions: []string{cloudtest.Region}, Labels: labelsOf}))
	}
	b.must(b.RemoveImage(t.Context(), one))
	b.must(b.RemoveImage(t.Context(), two.ID))
	if left := b.leftOf(); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
}

// A parameter that can't become one for images is not taken over, and nothing at it is changed: it
// is not removed with the channel either.
func TestParameterOfAnotherType(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.base()
	labels := pipeline.Labels{Pipeline: "shop", Stage: "production", Build: "b-1"}
	for name, tt := range map[string]struct {
		value string
		kind  ssmtypes.ParameterType
		says  string
	}{
		"/penstock/theirs/text":   {cloudtest.BaseImage, ssmtypes.ParameterTypeString, "data type text"},
		"/penstock/theirs/same":   {id, ssmtypes.ParameterTypeString, "data type text"},
		"/penstock/theirs/list":   {id + "," + id, ssmtypes.ParameterTypeStringList, "StringList"},
		"/penstock/theirs/secret": {id, ssmtypes.ParameterTypeSecureString, "SecureString"},
	} {
		_, err := b.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String(name), Value: aws.String(tt.value), Type: tt.kind})
		b.must(err)
		err = b.Point(t.Context(), pipeline.PointRequest{Name: name, Images: map[string]string{cloudtest.Region: id}, Labels: labels, Adopt: true, Log: b.log})
		b.wantError(err, pipeline.CodeConflict, name, tt.says, "Choose another name")
		b.must(b.Unpoint(t.Context(), pipeline.UnpointRequest{Name: name, Regions: []string{cloudtest.Region}, Labels: labels}))
		has, err := b.ssm.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: aws.String(name)})
		b.must(err)
		if len(has.Parameters) != 1 || len(has.Parameters[0].Labels) > 0 {
			t.Errorf("%s has the versions %+v", name, has.Parameters)
		}
	}
}

// A parameter has room for as many builds as come: a version for 10 labels, and 100 versions,
// of which AWS removes none that has a label.
func TestParameterLimits(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	one := b.base()
	next := b.bakeRequest("r-2")
	next.Inputs = "k-2"
	two, err := b.Bake(t.Context(), next)
	b.must(err)
	r := pipeline.PointRequest{Name: "/penstock/shop/base", Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base"}, Log: b.log}
	for i := range 120 {
		r.Images, r.Labels.Build = map[string]string{cloudtest.Region: one}, fmt.Sprintf("b-%d", i)
		if i >= 12 && i%2 == 0 {
			r.Images = map[string]string{cloudtest.Region: two.ID}
		}
		b.must(b.Point(t.Context(), r))
		if got := b.parameterIn(cloudtest.Region); got != r.Images[cloudtest.Region] {
			t.Fatalf("%d: the parameter is %s", i, got)
		}
	}
	out, err := b.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/penstock/shop/base:b-119")})
	if b.must(err); aws.ToString(out.Parameter.Value) != one || out.Parameter.Version < 100 {
		t.Errorf("the label of the newest build is of %+v", out.Parameter)
	}
	b.must(b.unpoint())
}

// What is used, or shared on purpose, stays.
func TestImageInUse(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.appOn(b.shareable())
	r := b.persistent("f-1", id)
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	b.wantError(b.RemoveImage(t.Context(), id), pipeline.CodeConflict, "i-", "penstock-f-1")
	b.must(b.Destroy(t.Context(), "e-1"))
	q := b.publishRequest(id)
	q.Publication.KeepShared = true
	_, err = b.Publish(t.Context(), q)
	b.must(err)
	b.wantError(b.RemoveImage(t.Context(), id), pipeline.CodeConflict, "999999999999", "keep_shared")
	q.Publication = pipeline.Publication{}
	_, err = b.Publish(t.Context(), q)
	b.must(err)
	b.must(b.RemoveImage(t.Context(), id))
}

// An image that is shared is seen in the other account, by its ID.
func TestSharedAccount(t *testing.T) {
	t.Parallel()
	b, other := newBed(t), newBed(t)
	id := b.shareable()
	if _, ok, err := other.instances.Image(t.Context(), id); err != nil || ok {
		t.Errorf("before, the other account sees it: %v, %v", ok, err)
	}
	r := b.publishRequest(id)
	r.Publication = pipeline.Publication{Accounts: []string{other.cloud.ID}}
	_, err := b.Publish(t.Context(), r)
	b.must(err)
	if i, ok, err := other.instances.Image(t.Context(), id); err != nil || !ok || i.State != types.ImageStateAvailable {
		t.Errorf("after, the other account sees %+v, %v, %v", i.ImageId, ok, err)
	}
	if got, err := other.Resolve(t.Context(), pipeline.ImageFrom{AMI: id}); err != nil || got != id {
		t.Errorf("it resolves to %s, %v", got, err)
	}
	b.must(b.RemoveImage(t.Context(), id))
}

// Others take the place of an account: AWS adds or takes back permissions of a snapshot in one
// request, and not both.
func TestSharedWithOthers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.shareable()
	r := b.publishRequest(id)
	for _, accounts := range [][]string{{"999999999999"}, {"777777777777", "888888888888"}, {"888888888888", "999999999999"}, nil} {
		r.Publication = pipeline.Publication{Accounts: accounts}
		_, err := b.Publish(t.Context(), r)
		b.must(err)
		with, err := b.permissions(cloudtest.Region, id)
		b.must(err)
		if got := stack.Sorted(with); !slices.Equal(got, accounts) {
			t.Errorf("it may be launched by %v, want %v", got, accounts)
		}
		grants, err := kms.NewFromConfig(b.cloud.Own()).ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: aws.String(b.imageKey(cloudtest.Region))})
		b.must(err)
		if len(grants.Grants) != len(accounts) {
			t.Errorf("the key has %d grants, want %d", len(grants.Grants), len(accounts))
		}
	}
	b.must(b.RemoveImage(t.Context(), id))
}

// The key of an image is that which was asked for, and others are granted its use.
func TestKey(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.bakeRequest("r-1")
	r.KMSKey = b.key("alias/penstock/images")
	baked, err := b.Bake(t.Context(), r)
	b.must(err)
	for name, tt := range map[string]pipeline.ImageDefinition{
		"own region":         {Publish: &pipeline.Publication{Regions: []string{cloudtest.Region}}},
		"publish.share_with": {Publish: &pipeline.Publication{Accounts: []string{"999999999999"}}},
		"publish.kms_keys":   {KMSKey: r.KMSKey, Publish: &pipeline.Publication{Accounts: []string{"999999999999"}, Regions: elsewhere}},
	} {
		b.wantError(b.CheckImage(tt), pipeline.CodeInvalid, name)
	}
	q := b.publishRequest(baked.ID)
	q.Publication = pipeline.Publication{Accounts: []string{"999999999999"}}
	_, err = b.Publish(t.Context(), q)
	b.must(err)
	grants := func() (to []string) {
		out, err := kms.NewFromConfig(b.cloud.Own()).ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: aws.String(r.KMSKey)})
		b.must(err)
		for _, g := range out.Grants {
			to = append(to, aws.ToString(g.GranteePrincipal))
		}
		return to
	}
	if to := grants(); len(to) != 1 || !strings.Contains(to[0], "999999999999") {
		t.Errorf("the grants are to %v", to)
	}
	next := b.bakeRequest("r-2")
	next.Inputs, next.KMSKey = "k-2", r.KMSKey
	second, err := b.Bake(t.Context(), next)
	b.must(err)
	q.Image = second.ID
	_, err = b.Publish(t.Context(), q)
	b.must(err)
	q.Image, q.Publication = baked.ID, pipeline.Publication{}
	_, err = b.Publish(t.Context(), q)
	b.must(err)
	if to := grants(); len(to) != 1 {
		t.Errorf("when one of two images is shared, the grants are to %v", to)
	}
	b.must(b.RemoveImage(t.Context(), second.ID))
	if to := grants(); len(to) != 0 {
		t.Errorf("when no image is shared, the grants are to %v", to)
	}
}

// The date of an image's deprecation is set when it changes, and never to a past one,
// which AWS refuses.
func TestDeprecation(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.base()
	r := b.publishRequest(id)
	publish := func(after time.Duration) (sent int, at time.Time) {
		t.Helper()
		r.Publication = pipeline.Publication{DeprecateAfter: after}
		b.cloud.ResetCalls()
		_, err := b.Publish(t.Context(), r)
		b.must(err)
		at, _ = time.Parse(time.RFC3339, aws.ToString(b.registered(cloudtest.Region)[0].DeprecationTime))
		return b.cloud.Count()["EnableImageDeprecation"], at
	}
	for _, tt := range []struct {
		after time.Duration
		sent  int
	}{{24 * time.Hour, 1}, {24 * time.Hour, 0}, {48 * time.Hour, 1}, {time.Second, 1}, {time.Second, 0}} {
		sent, at := publish(tt.after)
		if sent != tt.sent || !at.After(time.Now()) {
			t.Errorf("deprecate_after %s was sent %d times, and is %s", tt.after, sent, at)
		}
	}
	if _, at := publish(0); !at.IsZero() {
		t.Errorf("without deprecate_after it is %s", at)
	}
	b.must(b.RemoveImage(t.Context(), id))
}

// A group launches the version of its template that it names, whatever is the newest; and
// an image of which one copy is used stays in all regions.
func TestImageInUseElsewhere(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.shareable()
	r := b.publishRequest(id)
	copies, err := b.Publish(t.Context(), r)
	b.must(err)
	region := slices.Max(r.Publication.Regions) // the one that comes last
	there := b.in(region)
	made, err := there.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("theirs"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(copies[region])}})
	b.must(err)
	template := made.LaunchTemplate.LaunchTemplateId
	_, err = there.ec2.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: template, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(cloudtest.BaseImage)}})
	b.must(err)
	_, err = there.ec2.ModifyLaunchTemplate(t.Context(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: template, DefaultVersion: aws.String("2")})
	b.must(err)
	_, err = there.groups.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("theirs"), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), DesiredCapacity: aws.Int32(0), AvailabilityZones: []string{region + "a"},
		LaunchTemplate: &groups.LaunchTemplateSpecification{LaunchTemplateId: template, Version: aws.String("1")},
	})
	b.must(err)
	b.wantError(b.RemoveImage(t.Context(), id), pipeline.CodeConflict, "theirs", region)
	for region := range copies {
		if len(b.registered(region)) != 1 {
			t.Errorf("in %s there are %v", region, b.registered(region))
		}
	}
	_, err = there.groups.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("theirs"), ForceDelete: aws.Bool(true)})
	b.must(err)
	b.wantError(b.RemoveImage(t.Context(), id), pipeline.CodeConflict, aws.ToString(template)) // somebody may go back to it
	_, err = there.ec2.DeleteLaunchTemplate(t.Context(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: template})
	b.must(err)
	b.must(b.RemoveImage(t.Context(), id))
	if left := b.leftOf(); len(left) > 0 {
		t.Errorf("after the removal there are %v", left)
	}
}

// Two publish the same image at the same time: there is one copy in each region.
func TestPublishTogether(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Image: 200 * time.Millisecond})
	id := b.shareable()
	r := b.publishRequest(id)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := b.Publish(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, region := range elsewhere {
		if list := b.registered(region); len(list) != 1 {
			t.Errorf("in %s there are %d copies", region, len(list))
		}
	}
	b.must(b.RemoveImage(t.Context(), id))
	if left := b.leftOf(); len(left) > 0 {
		t.Errorf("after the removal there are %v", left)
	}
}

// Whichever request of a publication or a removal goes wrong, the next one completes
// it, and nothing else is there.
func TestPublishFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		b.trouble(fault)
		k, step := sample(25)
		for done := false; !done; k += step {
			r := b.bakeRequest(fmt.Sprintf("r-%d", k))
			r.KMSKey = b.imageKey(cloudtest.Region)
			baked, err := b.Bake(t.Context(), r)
			b.must(err)
			id := baked.ID
			q := b.publishRequest(id)
			b.cloud.ResetCalls()
			b.cloud.Fail(fault.at(k)...)
			_, err = b.publish(q)
			done = err == nil && len(b.cloud.Calls()) < k
			b.cloud.Mend()
			if fault.repeated && err != nil {
				t.Errorf("request %d: %v", k, err)
			}
			time.Sleep(fault.visible)
			copies, err := b.publish(q)
			b.must(err)
			if left := b.leftOf(); len(copies) != 3 || len(left) != 9 { // image, snapshot and parameter in three regions
				t.Errorf("request %d: published as %v, there are %v", k, copies, left)
			}
			b.cloud.Fail(fault.at(k)...)
			err = b.unpoint()
			if err == nil {
				err = b.RemoveImage(t.Context(), id)
			}
			b.cloud.Mend()
			if fault.repeated && err != nil {
				t.Errorf("request %d of the removal: %v", k, err)
			}
			b.must(b.unpoint())
			b.must(b.RemoveImage(t.Context(), id))
			if left := b.leftOf(); len(left) > 0 {
				t.Errorf("request %d: after the removal there are %v", k, left)
			}
		}
	})
}
