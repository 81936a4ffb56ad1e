// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestBake(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Boot: 50 * time.Millisecond, Agent: 50 * time.Millisecond, Image: 50 * time.Millisecond})
	source := t.TempDir()
	b.must(os.WriteFile(filepath.Join(source, "packages.sh"), []byte("test -e \"$PENSTOCK_SOURCE/packages.sh\"\necho from-script > \"$PENSTOCK_ROOT/script\"\n"), 0o644))
	r := b.bakeRequest("r-1")
	r.Source, r.Cleanup = source, []string{"mv script cleaned", `test "$PENSTOCK_ROOT" != ""`}
	r.Commands = append(r.Commands,
		pipeline.Command{Name: "script", Script: "packages.sh", Env: map[string]string{"A": "it's"}},
		pipeline.Command{Name: "dpkg", Line: `mkdir -p "$PENSTOCK_ROOT/var/lib/dpkg" && printf 'Package: %s\nStatus: install ok installed\nArchitecture: all\nMaintainer: m\nVersion: 1:%s\nDescription: d\n\n' shop-base 2.0 libshop 3.1 > "$PENSTOCK_ROOT/var/lib/dpkg/status"`},
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
	packages := map[string]string{}
	for line := range strings.Lines(b.log.String()) {
		if name, version, ok := pipeline.ParsePackage(line); ok {
			packages[name] = version
		}
	}
	if len(packages) != 2 || packages["libshop"] != "1:3.1" || packages["shop-base"] != "1:2.0" {
		t.Errorf("the log lists the packages %v", packages)
	}
	b.wantNothing()
	look, err := b.run(t.Context(), launch{token: "look", image: image.ID, count: 1, tags: b.tags(pipeline.Labels{}, nil)})
	b.must(err)
	for name, want := range map[string]bool{"baked": true, "script": false, "cleaned": true, "var/tmp/penstock-source": false} {
		if _, err := os.Stat(filepath.Join(b.cloud.Root(aws.ToString(look[0].InstanceId)), name)); (err == nil) != want {
			t.Errorf("the image has %s: %v", name, err)
		}
	}
	for _, left := range []string{"var/lib/amazon/ssm/*", commandDir, "run/penstock-clean"} {
		if found, err := filepath.Glob(filepath.Join(b.cloud.Root(aws.ToString(look[0].InstanceId)), left)); err != nil || len(found) > 0 {
			t.Errorf("the image has %v, %v", found, err)
		}
	}
	b.must(b.terminate(t.Context(), idsOf(look)...))
	found, err := b.findImages(t.Context(), []string{"self"}, filter("image-id", image.ID))
	b.must(err)
	for key, want := range map[string]string{tagStack: "penstock", tagPipeline: "shop", tagRun: "r-1", tagKey: "k-1"} {
		if got := tag(found[0].Tags, key); got != want {
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
	snapshots, err := b.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:"+tagKey, "k-1")}})
	b.must(err)
	if len(images)+len(snapshots.Snapshots) != 0 {
		t.Errorf("after the removal there are %v and %v", images, snapshots.Snapshots)
	}
}

// A bake without steps takes at most ten requests.
func TestBakeRequests(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.bakeRequest("r-1")
	r.Commands = nil
	b.Pause = time.Second // so that what ends at once has ended at the first look
	_, err := b.Bake(t.Context(), r)
	b.must(err)
	if calls := b.cloud.Calls(); len(calls) > 10 {
		t.Errorf("%d requests: %v", len(calls), b.cloud.Count())
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
}

// An image that was pending when its baker died is taken up by the next bake of the
// same inputs, and the builder ends.
func TestBakeIsFinished(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Image: time.Second})
	r := b.bakeRequest("r-1")
	builders, err := b.run(t.Context(), launch{
		token: "r-1", image: r.Image, count: 1, tags: b.tags(r.Labels, map[string]string{tagKey: r.Key, tagRole: roleBuilder}),
	})
	b.must(err)
	id, err := b.createImage(t.Context(), aws.ToString(builders[0].InstanceId), r)
	b.must(err)
	if again, err := b.createImage(t.Context(), aws.ToString(builders[0].InstanceId), r); err != nil || again != id {
		t.Errorf("a repeated CreateImage gave %s, %v, want %s", again, err, id)
	}
	b.must(b.Abandon(t.Context(), "r-1"))
	if len(b.cloud.Running()) != 1 {
		t.Error("Abandon ended a builder whose image is being made")
	}
	image, err := b.Bake(t.Context(), b.bakeRequest("r-2"))
	b.must(err)
	if image.ID != id {
		t.Errorf("the next bake gave %s, want %s", image.ID, id)
	}
	b.wantNothing()

	_, err = b.run(t.Context(), launch{token: "r-3", image: r.Image, count: 1, tags: b.tags(pipeline.Labels{Run: "r-3"}, map[string]string{tagRole: roleBuilder})})
	b.must(err)
	b.must(b.Abandon(t.Context(), "r-3"))
	b.must(b.Abandon(t.Context(), "r-3"))
	b.wantNothing()
}

// Whichever request of a bake fails or loses its answer, the next bake yields one
// image, and nothing else is left.
func TestBakeFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		for k := 1; ; k++ {
			b := newBed(t)
			b.Platform = New(Options{Config: b.noRetry(), Settings: b.Settings, Pause: 10 * time.Millisecond})
			b.cloud.Fail(fault(k)...)
			_, err := b.Bake(t.Context(), b.bakeRequest("r-1"))
			b.cloud.Mend()
			if err == nil && len(b.cloud.Calls()) < k {
				break
			}
			b.must(b.Abandon(t.Context(), "r-1"))
			image, err := b.Bake(t.Context(), b.bakeRequest("r-2"))
			b.must(err)
			images, err := b.Images(t.Context())
			b.must(err)
			if len(images) != 1 || images[0].ID != image.ID {
				t.Errorf("%s (request %d): there are images %v, and the bake gave %s", name, k, images, image.ID)
			}
			b.wantNothing()
		}
	}
}

// noRetry gives the configuration without the SDK's own repeated requests.
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
	id, err := b.Resolve(t.Context(), pipeline.ImageFrom{SSMParameter: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"})
	b.must(err)
	if !strings.HasPrefix(id, "ami-") {
		t.Errorf("the parameter gives %q", id)
	}
	_, err = b.Resolve(t.Context(), pipeline.ImageFrom{SSMParameter: "/no/such"})
	b.wantError(err, pipeline.CodeNotFound, "/no/such")
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
