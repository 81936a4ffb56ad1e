// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// shared makes an image that another account may launch, and which a removal asks about for no
// longer than the limit.
func shared(t *testing.T, limit time.Duration) (*awstest.Bed, *Images, string) {
	t.Helper()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	m.reports = limit
	id := b.Shareable()
	_, err := m.Publish(t.Context(), pipeline.PublishRequest{Image: id, Publication: pipeline.Publication{Accounts: []string{"999999999999"}}})
	b.Must(err)
	return b, m, id
}

// conflict asserts that an image stays, and what is said of why.
func conflict(t *testing.T, err error, text ...string) {
	t.Helper()
	if pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Fatalf("the image was removed, or the code is another: %v", err)
	}
	for _, want := range text {
		if !strings.Contains(err.Error()+" "+reason.Hint(err), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
}

// A report that is not made in time keeps the image, and the next removal goes on with it; one
// that AWS can't make keeps it, too. No report is left.
func TestReportTakesLong(t *testing.T) {
	t.Parallel()
	b, m, id := shared(t, 100*time.Millisecond)
	b.Cloud.SetPace(cloudtest.Pace{Report: time.Hour})
	conflict(t, m.Remove(t.Context(), id), "has not said yet which accounts", "goes on with the report")
	conflict(t, m.Remove(t.Context(), id), "has not said yet")
	if n := b.Cloud.Count()["CreateImageUsageReport"]; n != 1 {
		t.Errorf("%d reports were asked for", n)
	}
	b.Cloud.FinishReports()
	b.Cloud.SetPace(cloudtest.Pace{})
	b.Must(m.Remove(t.Context(), id))
	if n := b.Cloud.Reports(); n != 0 {
		t.Errorf("%d reports are left", n)
	}
}

// AWS makes one report on an image at a time. While somebody else's is being made the image counts
// as in use, also where they ask at the same time; once it is made it does not matter, and stays.
func TestReportOfOthers(t *testing.T) {
	t.Parallel()
	b, m, id := shared(t, time.Minute)
	ask := func() {
		_, err := ec2.NewFromConfig(b.Cloud.Own()).CreateImageUsageReport(t.Context(), &ec2.CreateImageUsageReportInput{
			ImageId: aws.String(id), ResourceTypes: []types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:Instance")}},
		})
		b.Must(err)
	}
	b.Cloud.SetPace(cloudtest.Pace{Report: time.Hour})
	ask()
	conflict(t, m.Remove(t.Context(), id), "counts as in use", "somebody else's, amiur-", "Clean up again")
	if n := b.Cloud.Count()["CreateImageUsageReport"]; n != 1 {
		t.Errorf("%d reports were asked for", n)
	}
	b.Cloud.FinishReports()
	b.Cloud.Fail(cloudtest.Fault{Action: "CreateImageUsageReport", Slow: time.Nanosecond, Do: ask}) // just before
	conflict(t, m.Remove(t.Context(), id), "counts as in use", "somebody else's, amiur-")
	b.Cloud.FinishReports()
	b.Cloud.SetPace(cloudtest.Pace{})
	b.Must(m.Remove(t.Context(), id))
	if n := b.Cloud.Reports(); n != 2 {
		t.Errorf("%d reports of others are left", n)
	}
}

func TestReportFails(t *testing.T) {
	t.Parallel()
	b, m, id := shared(t, time.Minute)
	b.Cloud.FailReports("internal error")
	conflict(t, m.Remove(t.Context(), id), "can't say which accounts", "internal error")
	b.Cloud.FailReports("")
	b.Must(m.Remove(t.Context(), id))
	if n := b.Cloud.Reports(); n != 0 {
		t.Errorf("%d reports are left", n)
	}
}

// What may not be asked counts as in use, whichever right is missing.
func TestUsersUnknown(t *testing.T) {
	t.Parallel()
	for _, action := range []string{
		"DescribeImageReferences", "DescribeLaunchTemplateVersions", "DescribeAutoScalingGroups", "DescribeImageAttribute",
		"CreateImageUsageReport", "DescribeImageUsageReports", "DescribeImageUsageReportEntries",
	} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			b, m, id := shared(t, time.Minute)
			b.Cloud.Fail(cloudtest.Fault{Action: action, Code: "UnauthorizedOperation", Message: "no right to " + action, Status: 403})
			conflict(t, m.Remove(t.Context(), id), "counts as in use", action, "the guide to IAM")
			b.Must(m.Remove(t.Context(), id))
			if n := b.Cloud.Reports(); n != 0 {
				t.Errorf("%d reports are left", n)
			}
		})
	}
}

// What names an image keeps it: a version of a launch template that is not the newest, a
// parameter of somebody's, and recipes of Image Builder. An error names a few.
func TestReferences(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	b.Cloud.Terminate(b.Cloud.Running()...)
	for _, kind := range []string{"image-recipe", "container-recipe"} {
		b.Cloud.AddRecipe(cloudtest.Region, kind, "theirs", id)
		conflict(t, m.Remove(t.Context(), id), strings.ReplaceAll(kind, "-", " ")+" theirs/1.0.0")
		b.Cloud.RemoveRecipes()
	}
	client := ec2.NewFromConfig(b.Cloud.Own())
	for range 7 {
		made, err := client.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("theirs-" + time.Now().Format("150405.000000")), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(id)},
		})
		b.Must(err)
		of := made.LaunchTemplate.LaunchTemplateId
		_, err = client.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: of, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(cloudtest.BaseImage)}})
		b.Must(err)
		_, err = client.ModifyLaunchTemplate(t.Context(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: of, DefaultVersion: aws.String("2")})
		b.Must(err)
	}
	conflict(t, m.Remove(t.Context(), id), "launch template lt-", "more")
	list, err := client.DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{})
	b.Must(err)
	for _, l := range list.LaunchTemplates {
		_, err := client.DeleteLaunchTemplate(t.Context(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: l.LaunchTemplateId})
		b.Must(err)
	}
	b.Must(m.Remove(t.Context(), id))
}

// A group may name a version of a launch template that was deleted. It keeps no image, and hides
// none of the other versions that groups name.
func TestVersionIsGone(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	b.Cloud.Terminate(b.Cloud.Running()...)
	client, scaling := ec2.NewFromConfig(b.Cloud.Own()), autoscaling.NewFromConfig(b.Cloud.Own())
	made, err := client.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("theirs"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(id)}})
	b.Must(err)
	template := made.LaunchTemplate.LaunchTemplateId
	for range 2 {
		_, err = client.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: template, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(cloudtest.BaseImage)}})
		b.Must(err)
	}
	_, err = client.ModifyLaunchTemplate(t.Context(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: template, DefaultVersion: aws.String("3")})
	b.Must(err)
	for _, version := range []string{"1", "2"} {
		_, err = scaling.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
			AutoScalingGroupName: aws.String("theirs-" + version), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), DesiredCapacity: aws.Int32(0), AvailabilityZones: []string{cloudtest.Region + "a"},
			LaunchTemplate: &groups.LaunchTemplateSpecification{LaunchTemplateId: template, Version: aws.String(version)},
		})
		b.Must(err)
	}
	forget := func(version string) {
		t.Helper()
		out, err := client.DeleteLaunchTemplateVersions(t.Context(), &ec2.DeleteLaunchTemplateVersionsInput{LaunchTemplateId: template, Versions: []string{version}})
		b.Must(err)
		if len(out.SuccessfullyDeletedLaunchTemplateVersions) != 1 {
			t.Fatalf("version %s was not deleted", version)
		}
	}
	forget("2")
	conflict(t, m.Remove(t.Context(), id), "launch template theirs in")
	forget("1")
	b.Must(m.Remove(t.Context(), id))
}

// AWS drops a version of a parameter whose image the account can't use in the region, after it
// has answered; another takes a while.
func TestPointReadsBack(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	point := func(id string) error {
		return m.Point(t.Context(), pipeline.PointRequest{Name: "stable", Images: map[string]string{cloudtest.Region: id}, Labels: pipeline.Labels{Pipeline: "shop", Stage: "release", Build: "b-1"}})
	}
	b.Cloud.SetPace(cloudtest.Pace{Parameter: 200 * time.Millisecond})
	b.Must(point(id))
	m.parameters = 500 * time.Millisecond
	if err := point("ami-00000000000000001"); pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "AWS did not accept image ami-00000000000000001") {
		t.Errorf("an image that is not there: %v", err)
	}
	if p, err := m.home().findParameter(t.Context(), "/penstock/penstock/shop/stable"); err != nil || p.image != id || p.version != 1 {
		t.Errorf("the parameter is %+v, %v", p, err)
	}
}

// Two removals of an image at once end with no image, and without an error, wherever the other one
// is when it has gone.
func TestRemovedByAnother(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	m.images = 10 * time.Second
	machine, gone := b.Machine(""), false
	for k := 1; ; k++ {
		id := b.Image(machine)
		_, err := copied(t, m, id, abroad)
		b.Must(err)
		gone = false
		b.Cloud.Fail(cloudtest.Fault{Nth: k, Slow: time.Nanosecond, Do: func() {
			gone = true
			if err := m.Remove(t.Context(), id); err != nil {
				t.Errorf("request %d: the other removal: %v", k, err)
			}
		}})
		if err := m.Remove(t.Context(), id); err != nil {
			t.Errorf("request %d: another removal has removed it: %v", k, err)
		}
		b.Cloud.Mend()
		if there, err := m.in(abroad).copiesOf(t.Context(), id); err != nil || len(there) > 0 {
			t.Errorf("request %d: %d copies are left, %v", k, len(there), err)
		}
		for _, region := range []regional{m.home(), m.in(abroad)} {
			if left, err := region.snapshots(t.Context()); err != nil || len(left) > 0 {
				t.Errorf("request %d: %d snapshots are left in %s, %v", k, len(left), region.region, err)
			}
		}
		if !gone {
			t.Logf("a removal makes %d requests", k-1)
			return
		}
	}
}
