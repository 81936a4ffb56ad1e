// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

func TestBake(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Boot: 50 * time.Millisecond, Agent: 50 * time.Millisecond, Image: 50 * time.Millisecond})
	source := t.TempDir()
	b.must(os.WriteFile(filepath.Join(source, "packages.sh"), []byte("test -e \"$PENSTOCK_SOURCE/packages.sh\"\necho from-script > \"$PENSTOCK_ROOT/script\"\n"), 0o644))
	r := b.bakeRequest("r-1")
	r.Source, r.Cleanup = source, []string{"mv script cleaned", `test "$PENSTOCK_ROOT" != ""`, "echo openssl 9.9.9"}
	r.Commands = append(r.Commands,
		pipeline.Command{Name: "script", Script: "packages.sh", Env: map[string]string{"A": "it's"}},
		pipeline.Command{Name: "dpkg", Line: `mkdir -p "$PENSTOCK_ROOT/var/lib/dpkg" && printf 'Package: %s\nStatus: install ok installed\nArchitecture: all\nMaintainer: m\nVersion: 1:%s\nDescription: d\n\n' shop-base 2.0 libshop 3.1 > "$PENSTOCK_ROOT/var/lib/dpkg/status"`},
		pipeline.Command{Name: "forgery", Line: `echo openssl 9.9.9; echo == package openssl 9.9.9`},
		pipeline.Command{Name: "secret", Line: `test "$TOKEN" = "hush" && echo "the token is $TOKEN"`, Secrets: pipeline.Secrets{"TOKEN": "hush"}},
	)
	image, err := b.Bake(t.Context(), r)
	b.must(err)
	if image.Size == 0 || !strings.HasPrefix(image.ID, "ami-") {
		t.Errorf("baked %+v", image)
	}
	if log := b.log.String(); !strings.Contains(log, "installing") || strings.Contains(log, "hush") || !strings.Contains(log, "the token is ***") {
		t.Errorf("the log is:\n%s", log)
	}
	if got := fmt.Sprint(image.Packages); got != "[{libshop 1:3.1} {shop-base 1:2.0}]" {
		t.Errorf("the packages are %s", got)
	}
	b.wantNothing()
	look, err := b.instances.Run(t.Context(), instance.Launch{
		Token: "look", Image: image.ID, Access: b.stack.Settings.Test, Tags: b.stack.TagsOf(pipeline.Labels{}, nil),
	})
	b.must(err)
	for name, want := range map[string]bool{"baked": true, "script": false, "cleaned": true, "var/tmp/penstock-source": false} {
		if _, err := os.Stat(filepath.Join(b.cloud.Root(instance.ID(look)), name)); (err == nil) != want {
			t.Errorf("the image has %s: %v", name, err)
		}
	}
	for _, left := range []string{"var/lib/amazon/ssm/*", instance.CommandDir, "run/penstock-clean"} {
		if found, err := filepath.Glob(filepath.Join(b.cloud.Root(instance.ID(look)), left)); err != nil || len(found) > 0 {
			t.Errorf("the image has %v, %v", found, err)
		}
	}
	b.must(b.instances.Terminate(t.Context(), instance.ID(look)))
	found, err := b.ownImages(stack.Filter("image-id", image.ID))
	b.must(err)
	for key, want := range map[string]string{stack.TagStack: "penstock", stack.TagPipeline: "shop", stack.TagRun: "r-1", stack.TagKey: "k-1"} {
		if got := stack.Tag(found[0].Tags, key); got != want {
			t.Errorf("tag %s is %q, want %q", key, got, want)
		}
	}
	again, err := b.Bake(t.Context(), b.bakeRequest("r-2"))
	b.must(err)
	if again.ID != image.ID {
		t.Errorf("the same inputs gave %s after %s", again.ID, image.ID)
	}
	images, err := b.Images(t.Context())
	b.must(err)
	if len(images) != 1 {
		t.Errorf("images %v", images)
	}
	b.must(b.RemoveImage(t.Context(), image.ID))
	b.must(b.RemoveImage(t.Context(), image.ID))
	images, err = b.Images(t.Context())
	b.must(err)
	snapshots, err := b.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{Filters: []types.Filter{stack.Filter("tag:"+stack.TagKey, "k-1")}})
	b.must(err)
	if len(images)+len(snapshots.Snapshots) != 0 {
		t.Errorf("after the removal there are %v and %v", images, snapshots.Snapshots)
	}
}

// A bake without steps takes at most thirteen requests, and looks at its lease when it begins
// and before each of the six that change something.
func TestBakeRequests(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.bakeRequest("r-1")
	r.Commands = nil
	b.stack.Pause = 20 * time.Second // so that what ends at once has ended at the first look
	_, err := b.Under(pipeline.Fence{Key: "shop/image/base", Token: 1}).Bake(t.Context(), r)
	b.must(err)
	if calls := b.cloud.Calls(); len(calls) > 13 || b.leases.looks > 7 {
		t.Errorf("%d requests, and %d looks at the lease: %v", len(calls), b.leases.looks, b.cloud.Count())
	}
}

func TestBakeFails(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.bakeRequest("r-1")
	r.Commands = append(r.Commands, pipeline.Command{Name: "broken", Line: "echo no such package; exit 3"})
	_, err := b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, `step broken failed`, "exit status 3", "no such package")
	b.wantNothing()

	r = b.bakeRequest("r-2")
	r.Commands[0] = pipeline.Command{Name: "slow", Line: "sleep 60", Timeout: time.Second}
	_, err = b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "did not end within 1s")
	b.wantNothing()

	r.Token = "r-3"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r.Commands[0].Timeout = time.Minute
	_, err = b.Bake(ctx, r)
	b.wantError(err, pipeline.CodeCancelled)
	b.wantNothing()

	r = b.bakeRequest("r-4")
	r.Image = "ami-00000000000000000"
	_, err = b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeNotFound, "ami-00000000000000000")
	_, err = b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-5", Tree: t.TempDir()})
	b.wantError(err, pipeline.CodeInvalid, "directory", "ami")
	images, err := b.Images(t.Context())
	b.must(err)
	if len(images) > 0 {
		t.Errorf("images %v are left", images)
	}
	b.stack.Settings.Builder = stack.Access{}
	_, err = b.Bake(t.Context(), b.bakeRequest("r-6"))
	b.wantError(err, pipeline.CodeInvalid, "security group for builders", "penstock bootstrap")
	b.wantNothing()
}

// An image that was pending when its baker died is taken up by the next bake of the
// same inputs, and the builder ends.
func TestBakeIsFinished(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Image: time.Hour})
	r := b.bakeRequest("r-1")
	builder, err := b.instances.Run(t.Context(), instance.Launch{
		Token: "r-1", Image: r.Image, Access: b.stack.Settings.Builder,
		Tags: b.stack.TagsOf(r.Labels, map[string]string{stack.TagKey: r.Inputs, stack.TagRole: "builder"}),
	})
	b.must(err)
	tags := b.stack.TagsOf(r.Labels, map[string]string{stack.TagKey: r.Inputs, stack.TagRun: r.Token})
	made, err := b.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{
		InstanceId: builder.InstanceId, Name: aws.String("begun"), TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeImage, Tags: tags}, {ResourceType: types.ResourceTypeSnapshot, Tags: tags},
		},
	})
	b.must(err)
	id := aws.ToString(made.ImageId)
	b.must(b.Abandon(t.Context(), "r-1"))
	if len(b.cloud.Running()) != 1 {
		t.Error("Abandon ended a builder whose image is being made")
	}
	if bakes, images, err := b.Orphans(t.Context()); err != nil || len(bakes)+len(images) > 0 {
		t.Errorf("while it is being made there remain %v, %v, %v", bakes, images, err)
	}
	b.wantError(b.RemoveImage(t.Context(), id), pipeline.CodeConflict, "is not finished")
	b.cloud.CompleteImages()
	if bakes, _, err := b.Orphans(t.Context()); err != nil || !slices.Equal(bakes, []string{"r-1"}) {
		t.Errorf("when it is made there remain %v, %v", bakes, err)
	}
	image, err := b.Bake(t.Context(), b.bakeRequest("r-2"))
	b.must(err)
	if image.ID != id {
		t.Errorf("the next bake gave %s, want %s", image.ID, id)
	}
	b.wantNothing()

	_, err = b.instances.Run(t.Context(), instance.Launch{
		Token: "r-3", Image: r.Image, Access: b.stack.Settings.Builder,
		Tags: b.stack.TagsOf(pipeline.Labels{Run: "r-3"}, map[string]string{stack.TagRole: "builder"}),
	})
	b.must(err)
	if bakes, _, err := b.Orphans(t.Context()); err != nil || !slices.Equal(bakes, []string{"r-3"}) {
		t.Errorf("there remain %v, %v", bakes, err)
	}
	b.must(b.Abandon(t.Context(), "r-3"))
	b.must(b.Abandon(t.Context(), "r-3"))
	b.wantNothing()
}

// A bake that is cancelled while its image is made leaves the builder to that, with an
// end that needs nobody: what was begun is finished by the next bake, or not at all.
func TestBakeIsCancelled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Image: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Bake(ctx, b.bakeRequest("r-1"))
		done <- err
	}()
	b.eventually("the image is being made", func() bool { return strings.Contains(b.log.String(), "is being made") })
	cancel()
	b.wantError(<-done, pipeline.CodeCancelled)
	if left := b.cloud.Running(); len(left) != 1 {
		t.Errorf("the builders %v are left", left)
	}
	builders, err := b.instances.List(t.Context(), stack.Filter("tag:"+stack.TagRole, "builder"), instance.Alive)
	b.must(err)
	if len(builders) != 1 || stack.Tag(builders[0].Tags, stack.TagExpires) == "" {
		t.Errorf("the builder is %+v", builders)
	}
	interfaces, err := b.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{})
	b.must(err)
	if list := interfaces.NetworkInterfaces; len(list) != 1 || len(list[0].Groups) != 1 || aws.ToString(list[0].Groups[0].GroupId) != b.stack.Settings.Builder.Groups[0] || stack.Tag(list[0].TagSet, stack.TagStack) == "" {
		t.Errorf("its network interface is %+v", list)
	}
	if ran := b.cloud.RunSchedules(time.Now().Add(2*time.Hour + time.Minute)); len(ran) != 1 {
		t.Errorf("the schedules %v were carried out", ran)
	}
	b.wantNothing()
}

// The image of an environment is finished by the next bake, whatever the one before had
// come to: the instance has been stopped, or is gone and the image is being made.
func TestEnvironmentBakeIsFinished(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]string{"stopped": "StopInstances", "gone": "CreateImage"} {
		b := newBed(t)
		r := b.request("e-1", "f-1", b.base())
		r.Artifact, r.Service.Install = b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
		_, err := b.Prepare(t.Context(), r)
		b.must(err)
		q := pipeline.BakeRequest{Token: "r-1", Name: "acceptance", Environment: "e-1", Log: b.log}
		b.cloud.Fail(cloudtest.Fault{Action: after, After: true, Code: "InvalidParameterValue"})
		_, err = b.Bake(t.Context(), q)
		b.wantError(err, pipeline.CodeInvalid)
		b.cloud.Mend()
		if name == "gone" {
			b.must(b.Destroy(t.Context(), "e-1"))
		}
		image, err := b.Bake(t.Context(), q)
		b.must(err)
		list, err := b.ownImages(stack.Filter("tag:"+stack.TagRun, "r-1"), stack.Filter("tag:"+stack.TagKey, "r-1"))
		b.must(err)
		if len(list) != 1 || aws.ToString(list[0].ImageId) != image.ID {
			t.Errorf("%s: it gave %s, of %v", name, image.ID, list)
		}
		b.must(b.Destroy(t.Context(), "e-1"))
		b.wantNothing()
	}
}

// noRetry returns the configuration without the SDK's own repeated requests.
func (b *bed) noRetry() aws.Config {
	cfg := b.cloud.Config()
	cfg.RetryMaxAttempts = 1
	return cfg
}

func TestResolve(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, from := range []pipeline.ImageFrom{
		{AMI: cloudtest.BaseImage}, {Image: cloudtest.BaseImage}, {Filter: &pipeline.ImageFilter{Name: "al2023-*", Owners: []string{"137112412989"}, Architecture: "x86_64"}},
	} {
		id, err := b.Resolve(t.Context(), from)
		b.must(err)
		if id != cloudtest.BaseImage {
			t.Errorf("%+v gives %s", from, id)
		}
	}
	b.cloud.Deprecate(cloudtest.BaseImage)
	if _, ok, err := b.instances.Image(t.Context(), cloudtest.BaseImage); err != nil || !ok {
		t.Errorf("an image that its owner has deprecated is there: %v, %v", ok, err)
	}
	id, err := b.Resolve(t.Context(), pipeline.ImageFrom{SSMParameter: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"})
	b.must(err)
	if !strings.HasPrefix(id, "ami-") {
		t.Errorf("the parameter gives %q", id)
	}
	_, err = b.Resolve(t.Context(), pipeline.ImageFrom{SSMParameter: "/penstock/no/such"})
	b.wantError(err, pipeline.CodeNotFound, "/penstock/no/such")
	_, err = b.Resolve(t.Context(), pipeline.ImageFrom{Filter: &pipeline.ImageFilter{Name: "nothing-*", Owners: []string{"self"}}})
	b.wantError(err, pipeline.CodeNotFound, "nothing-*")
}

// A builder that AWS takes away in the middle of a step is an error that says so, long
// before SSM would; the next bake succeeds.
func TestBuilderDies(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.bakeRequest("r-1")
	r.Commands = []pipeline.Command{{Name: "long", Line: "echo begun; sleep 300"}}
	done := make(chan error, 1)
	go func() {
		_, err := b.Bake(t.Context(), r)
		done <- err
	}()
	b.eventually("the step runs", func() bool { return strings.Contains(b.log.String(), "begun") })
	b.cloud.Terminate(b.cloud.Running()...)
	b.wantError(<-done, pipeline.CodeFailed, "terminated")
	b.wantNothing()
	r = b.bakeRequest("r-2")
	_, err := b.Bake(t.Context(), r)
	b.must(err)
}
