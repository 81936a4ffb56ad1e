// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const stable = "/penstock/shop/stable"

// flip places an image in all regions, for accounts, and lets the channel lead to it.
func (b *bed) flip(id, build string, keys map[string]string, accounts ...string) error {
	l := pipeline.Labels{Pipeline: "shop", Stage: "release", Build: build}
	images, err := b.Publish(b.Context(), pipeline.PublishRequest{
		Image: id, Labels: l, Log: b.log, Publication: pipeline.Publication{Regions: elsewhere, KMSKeys: keys, Accounts: accounts},
	})
	if err != nil {
		return err
	}
	return b.Point(b.Context(), pipeline.PointRequest{Name: stable, Images: images, Labels: l, Log: b.log})
}

// leads returns the image that the channel leads to in a region; empty where it is not there.
func (b *bed) leads(region string) string {
	out, err := b.in(region).ssm.GetParameter(b.Context(), &ssm.GetParameterInput{Name: aws.String(stable)})
	if err != nil {
		return ""
	}
	return aws.ToString(out.Parameter.Value)
}

// two bakes two images with a key.
func (b *bed) two(key string) (one, two string) {
	b.Helper()
	var ids []string
	for _, run := range []string{"r-1", "r-2"} {
		r := b.bakeRequest(run)
		r.Inputs, r.KMSKey = run, key
		baked, err := b.Bake(b.Context(), r)
		b.must(err)
		ids = append(ids, baked.ID)
	}
	return ids[0], ids[1]
}

// template makes a launch template in a region that names an image in some way.
func (b *bed) template(region, name, image string) func() {
	b.Helper()
	made, err := b.in(region).ec2.CreateLaunchTemplate(b.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String(name), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(image)},
	})
	b.must(err)
	return func() {
		_, err := b.in(region).ec2.DeleteLaunchTemplate(b.Context(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: made.LaunchTemplate.LaunchTemplateId})
		b.must(err)
	}
}

// A launch template that names a parameter uses what the parameter says, in the version or with
// the label that it names: also an image that the channel has left, and a copy.
func TestResolvedByTemplates(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	one, two := b.two("")
	b.must(b.flip(one, "b-1", nil))
	b.must(b.flip(two, "b-2", nil))
	b.wantError(b.RemoveImage(t.Context(), two), pipeline.CodeConflict, "parameter "+stable)
	arn := fmt.Sprintf("arn:aws:ssm:%s:%s:parameter%s", elsewhere[0], b.cloud.ID, stable)
	for _, alias := range []string{stable + ":1", stable + ":b-1", arn + ":1"} {
		for _, region := range []string{cloudtest.Region, elsewhere[0]} {
			remove := b.template(region, "theirs", "resolve:ssm:"+alias)
			b.wantError(b.RemoveImage(t.Context(), one), pipeline.CodeConflict, "launch template theirs (by parameter "+stable, region)
			remove()
		}
	}
	for i, alias := range []string{stable, stable + ":b-2", stable + ":9", "/theirs/base"} { // which say another image, or nothing
		defer b.template(cloudtest.Region, fmt.Sprint("other-", i), "resolve:ssm:"+alias)()
	}
	b.must(b.RemoveImage(t.Context(), one))
}

// Whoever launches what the channel leads to, in another account and another region, gets an
// image that can be launched there, at any time of a flip.
func TestConsumerDuringFlips(t *testing.T) {
	t.Parallel()
	b, consumer := newBed(t), newBed(t)
	one, two := b.two(b.imageKey(cloudtest.Region))
	keys := map[string]string{}
	for _, region := range elsewhere {
		keys[region] = b.imageKey(region)
	}
	b.must(b.flip(one, "b-1", keys, consumer.cloud.ID))
	first := b.leads(elsewhere[1])
	b.cloud.SetPace(cloudtest.Pace{Image: 500 * time.Millisecond, Parameter: 100 * time.Millisecond})
	b.cloud.SetCopyTime(elsewhere[0], 2*time.Second)
	done := make(chan struct{})
	var wg sync.WaitGroup
	launched := map[string]int{}
	var mu sync.Mutex
	for _, region := range append([]string{cloudtest.Region}, elsewhere...) {
		wg.Go(func() {
			for last := false; ; {
				image := b.leads(region)
				out, err := consumer.in(region).ec2.RunInstances(t.Context(), &ec2.RunInstancesInput{
					ImageId: aws.String(image), InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
				})
				if err != nil {
					t.Errorf("in %s, what the channel leads to can't be launched: %v", region, err)
					return
				}
				found, err := consumer.in(region).ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{aws.ToString(out.Instances[0].InstanceId)}})
				if err != nil || found.Reservations[0].Instances[0].State.Name != types.InstanceStateNameRunning {
					t.Errorf("in %s, the instance of %s is %+v, %v", region, image, found, err)
				}
				mu.Lock()
				launched[region+" "+image]++
				mu.Unlock()
				consumer.cloud.Terminate(aws.ToString(out.Instances[0].InstanceId))
				if last {
					return
				}
				select {
				case <-done:
					last = true
				default:
				}
			}
		})
	}
	err := b.flip(two, "b-2", keys, consumer.cloud.ID)
	close(done)
	wg.Wait()
	b.must(err)
	if len(launched) != 6 || b.leads(elsewhere[1]) == first { // both images in three regions
		t.Errorf("launched were %v", launched)
	}
	// Without the key's grant an instance ends at once, and without the sharing there is none.
	_, err = b.Publish(t.Context(), pipeline.PublishRequest{Image: one, Labels: pipeline.Labels{Pipeline: "shop", Stage: "release"}, Log: b.log, Publication: pipeline.Publication{Regions: elsewhere, KMSKeys: keys}})
	b.must(err)
	_, err = consumer.in(elsewhere[1]).ec2.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: aws.String(first), InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	if err == nil || !strings.Contains(err.Error(), "InvalidAMIID.NotFound") {
		t.Errorf("an image that is not shared any more can be launched: %v", err)
	}
}

// What goes wrong before all copies are available moves the channel nowhere; when it is over, the
// next flip goes on.
func TestChannelStays(t *testing.T) {
	t.Parallel()
	down := cloudtest.Fault{Region: elsewhere[1], Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Times: math.MaxInt}
	later := down
	later.Nth = 4 // after the copy has begun
	for name, tt := range map[string]struct {
		begin func(*cloudtest.Cloud)
		code  pipeline.Code
	}{
		"a region is down":                {func(c *cloudtest.Cloud) { c.Fail(down) }, pipeline.CodeFailed},
		"a region goes down in the midst": {func(c *cloudtest.Cloud) { c.Fail(later) }, pipeline.CodeFailed},
		"the role is taken away": {func(c *cloudtest.Cloud) {
			c.Fail(cloudtest.Fault{Nth: 6, Code: "UnauthorizedOperation", Status: http.StatusForbidden, Times: math.MaxInt})
		}, pipeline.CodeNotAllowed},
		"copies fail": {func(c *cloudtest.Cloud) { c.FailCopies(elsewhere[1], "no more space") }, pipeline.CodeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			one, two := b.two("")
			b.must(b.flip(one, "b-1", nil))
			before := map[string]string{}
			regions := append([]string{cloudtest.Region}, elsewhere...)
			for _, region := range regions {
				before[region] = b.leads(region)
			}
			b.Platform = New(Options{Config: b.noRetry(), Settings: b.stack.Settings, Pause: 10 * time.Millisecond})
			tt.begin(b.cloud)
			for range 3 {
				if err := b.flip(two, "b-2", nil); pipeline.CodeOf(err) != tt.code {
					t.Fatalf("the flip ended with %v", err)
				}
			}
			b.cloud.Mend()
			b.cloud.FailCopies(elsewhere[1], "")
			for _, region := range regions {
				if got := b.leads(region); got != before[region] || got == "" {
					t.Errorf("in %s the channel leads to %s, and did to %s", region, got, before[region])
				}
			}
			b.must(b.flip(two, "b-2", nil))
			for _, region := range regions {
				if got := b.leads(region); got == before[region] || len(b.registered(region)) != 2 {
					t.Errorf("in %s the channel leads to %s, and there are %v", region, got, b.registered(region))
				}
			}
		})
	}
}

// A region that answers slowly holds nothing up but itself.
func TestSlowRegion(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	one, _ := b.two("")
	b.cloud.Fail(cloudtest.Fault{Region: elsewhere[0], Slow: 200 * time.Millisecond, Times: math.MaxInt})
	b.must(b.flip(one, "b-1", nil))
	if b.leads(elsewhere[0]) == "" {
		t.Error("the channel is not there")
	}
}

// AWS is asked to finish copies in time.
func TestCopyWithin(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.publishRequest(b.base())
	r.Publication = pipeline.Publication{Regions: elsewhere[:1], CopyWithin: 20 * time.Minute} // which no configuration can ask for
	_, err := b.Publish(t.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "15 minute increments")
	r.Publication.CopyWithin = 75 * time.Minute
	_, err = b.Publish(t.Context(), r)
	b.must(err)
}

// A plan learns with one request to each region which parameters something else has changed, and
// with one more for each of those whose it is now. Who may not read them sees nothing wrong.
func TestStrays(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	regions := append([]string{cloudtest.Region}, elsewhere...)
	var placed []map[string]string
	one, two := b.two("")
	for _, image := range []string{one, two} {
		copies, err := b.Publish(t.Context(), pipeline.PublishRequest{Image: image, Labels: pipeline.Labels{Pipeline: "shop", Stage: "release"}, Log: b.log, Publication: pipeline.Publication{Regions: elsewhere}})
		b.must(err)
		placed = append(placed, copies)
	}
	images := placed[0]
	var led []pipeline.PointRequest
	for n := range 12 {
		r := pipeline.PointRequest{Name: fmt.Sprint("c", n), Images: images, Labels: pipeline.Labels{Pipeline: "shop", Stage: fmt.Sprint("s", n)}, Log: b.log}
		if n < 4 {
			b.must(b.Point(t.Context(), r))
		}
		led = append(led, r)
	}
	strays := func(of []pipeline.PointRequest, want ...pipeline.Stray) {
		t.Helper()
		got, err := b.Strays(t.Context(), of...)
		b.must(err)
		if !slices.Equal(got, want) {
			t.Errorf("said is %+v, want %+v", got, want)
		}
	}
	b.cloud.ResetCalls()
	strays(led[:4], pipeline.Stray{}, pipeline.Stray{}, pipeline.Stray{}, pipeline.Stray{})
	if n := b.cloud.Count(); n["GetParameters"] != len(regions) || len(b.cloud.Calls()) != len(regions) {
		t.Errorf("that took %v", n)
	}
	name := func(n int) *string {
		return aws.String(fmt.Sprintf("/penstock/%s/shop/c%d", b.stack.Settings.Stack, n))
	}
	there, other := b.in(elsewhere[0]).ssm, placed[1][elsewhere[0]]
	_, err := there.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: name(0)})
	b.must(err)
	put := &ssm.PutParameterInput{Name: name(1), Value: aws.String(other), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)}
	_, err = there.PutParameter(t.Context(), put)
	b.must(err)
	_, err = there.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: name(2)})
	b.must(err)
	put.Name, put.Overwrite, put.DataType = name(2), nil, aws.String("aws:ec2:image")
	_, err = there.PutParameter(t.Context(), put)
	b.must(err)
	wrong := []pipeline.Stray{{Region: elsewhere[0]}, {Region: elsewhere[0], Image: other}, {Region: elsewhere[0], Image: other, Foreign: true}, {}}
	b.cloud.ResetCalls()
	strays(led[:4], wrong...)
	if n := b.cloud.Count(); n["GetParameters"] != len(regions) || len(b.cloud.Calls()) != len(regions)+2 {
		t.Errorf("that took %v", n)
	}
	b.cloud.ResetCalls()
	if _, err := b.Strays(t.Context(), led...); err != nil || b.cloud.Count()["GetParameters"] != 2*len(regions) {
		t.Errorf("12 names took %v, %v", b.cloud.Count(), err)
	}
	denied := cloudtest.Fault{Action: "ListTagsForResource", Code: "AccessDeniedException", Times: math.MaxInt}
	b.cloud.Fail(denied)
	wrong[2].Foreign = false
	strays(led[:4], wrong...)
	denied.Action = "GetParameters"
	b.cloud.Fail(denied)
	strays(led[:4], make([]pipeline.Stray, 4)...)
	b.cloud.Mend()
	b.Platform = New(Options{Config: b.noRetry(), Settings: b.stack.Settings, Pause: 10 * time.Millisecond})
	down := cloudtest.Fault{Region: elsewhere[0], Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Times: math.MaxInt}
	b.cloud.Fail(down)
	strays(led[:4], make([]pipeline.Stray, 4)...)
	b.cloud.Mend()
	down.Region = cloudtest.Region
	b.cloud.Fail(down)
	if _, err := b.Strays(t.Context(), led...); err == nil {
		t.Error("the installation's own region is down, and nothing is said")
	}
}
