// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"fmt"
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
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Neither the agent of SSM nor systemd says who runs a command, or where his home is. Every
// command and the service itself are told, also those that take no unset variable.
func TestLogin(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const look = `set -u; cd "$HOME"; echo "$HOME $USER $LOGNAME $LANG" >> `
	baked := b.bakeRequest("r-base")
	baked.Commands = append(baked.Commands, pipeline.Command{Line: look + `"$PENSTOCK_ROOT/login"`})
	image, err := b.Bake(t.Context(), baked)
	b.must(err)
	r := b.request("e-1", "f-1", image.ID)
	r.Artifact, r.Service.Install = b.file("the artifact"), look+`"$PENSTOCK_ROOT/install"`
	r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: look + `"$PENSTOCK_ROOT/migrate"`}, {Name: "service.seed", Line: look + `"$PENSTOCK_ROOT/seed"`, Once: true}}
	r.Service.Start = "set -u\nprintf '%s' \"$HOME $USER $LOGNAME $LANG\" > start\n" + r.Service.Start
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: look + `"$PENSTOCK_ROOT/step"`, Secrets: pipeline.Secrets{"TOKEN": "hush"}}, b.log)
	if err != nil || exit != 0 {
		t.Errorf("the step ended %d, %v\n%s", exit, err, b.log)
	}
	root := b.cloud.Root(b.cloud.Running()[0])
	for file, home := range map[string]string{
		"login": "root", "srv/penstock/install": "root", "srv/penstock/migrate": "penstock-service", "srv/penstock/seed": "penstock-service",
		"srv/penstock/start": "penstock-service", "srv/penstock/step": "penstock-service",
	} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if got := strings.Fields(string(text)); err != nil || len(got) != 4 || filepath.Base(got[0]) != home || home != "root" && got[1] != home || got[1] != got[2] || got[3] != "C.UTF-8" {
			t.Errorf("%s has %q, %v", file, text, err)
		}
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Steps of an image and the service's commands restart their machine by exit status 194. The
// service does not start before all is done, and starts again with the machine.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const restart = `[ "$PENSTOCK_REBOOTS" -gt 0 ] || exit 194; `
	baked := b.bakeRequest("r-base")
	baked.Commands = append(baked.Commands, pipeline.Command{Line: restart + `echo "$PENSTOCK_REBOOTS" > "$PENSTOCK_ROOT/baked"`})
	image, err := b.Bake(t.Context(), baked)
	b.must(err)
	r := b.request("e-1", "f-1", image.ID)
	r.Artifact, r.Service.Install = b.file("the artifact"), restart+`cp "$PENSTOCK_ARTIFACT" version`
	r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: restart + `[ ! -e started ]; cat "$root/baked" > migrated`}}
	r.Service.Start = ": > started\n" + r.Service.Start
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	if got := b.get(fleet.Endpoint+"/file/migrated") + b.get(fleet.Endpoint+"/file/version"); got != "1\nthe artifact" {
		t.Errorf("after restarts there is %q", got)
	}
	id := b.cloud.Running()[0]
	b.must(os.Remove(filepath.Join(b.cloud.Root(id), "srv/penstock/started")))
	b.cloud.Reboot(id)
	b.must(b.stack.Wait(t.Context(), "the service", time.Minute, func(context.Context) (poll.Probe, error) {
		_, err := os.Stat(filepath.Join(b.cloud.Root(id), "srv/penstock/started"))
		return poll.Probe{Done: err == nil}, nil
	}))
	image, err = b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "app", Environment: "e-1", Log: b.log})
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-1"))
	next := b.request("e-2", "f-2", image.ID)
	fleet, err = b.Prepare(t.Context(), next)
	b.must(err)
	if got := b.get(fleet.Endpoint + "/file/version"); got != "the artifact" {
		t.Errorf("the image has %q", got)
	}
	b.must(b.Destroy(t.Context(), "e-2"))
	b.wantNothing()
}

// What a process asked for that died is asked for again by another, hours later and under
// another lease: it takes what is there.
func TestRepeatLater(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	later := New(Options{Config: b.cloud.Config(), Settings: b.stack.Settings, Pause: b.stack.Pause, Current: b.leases.current, Now: func() time.Time { return time.Now().Add(5 * time.Hour) }})
	before := func(key string) pipeline.Platform { return b.Under(pipeline.Fence{Key: key, Token: 1}) }
	after := func(key string) pipeline.Platform { return later.Under(pipeline.Fence{Key: key, Token: 2}) }

	bake := b.bakeRequest("r-base")
	bake.Started = time.Now()
	b.cloud.Fail(cloudtest.Fault{Action: "SendCommand", Code: "AccessDeniedException"}, cloudtest.Fault{Action: "TerminateInstances", Code: "UnauthorizedOperation", Times: 9})
	_, err := before("image").Bake(t.Context(), bake)
	b.wantError(err, pipeline.CodeNotAllowed)
	b.cloud.Mend()
	image, err := after("image").Bake(t.Context(), bake)
	b.must(err)

	single := b.request("e-1", "f-1", image.ID)
	single.Artifact, single.ExpiresAt = b.file("the artifact"), time.Now().Add(10*time.Hour)
	_, err = before("one").Prepare(t.Context(), single)
	b.must(err)
	_, err = after("one").Prepare(t.Context(), single)
	b.must(err)
	if got := b.cloud.Running(); len(got) != 1 {
		t.Errorf("instances %v", got)
	}
	app, err := after("one").Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "app", Environment: "e-1", Log: b.log})
	b.must(err)
	b.must(later.Destroy(t.Context(), "e-1"))
	_, err = after("one").Prepare(t.Context(), single)
	b.wantError(err, pipeline.CodeFailed, "was terminated")

	group := b.persistent("f-2", app.ID)
	_, err = before("two").Prepare(t.Context(), group)
	b.must(err)
	_, err = after("two").Prepare(t.Context(), group)
	b.must(err)
	if got := b.cloud.Running(); len(got) != 2 {
		t.Errorf("instances %v", got)
	}
	b.must(later.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Variables that don't fit into user data are refused before anything is launched.
func TestUserDataLimit(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for length, refused := range map[int]bool{10 << 10: false, 16 << 10: true} {
		env := map[string]string{"LONG": strings.Repeat("x", length)}
		if err := b.Check(pipeline.EnvironmentSpec{Env: env}); (err != nil) != refused {
			t.Errorf("variables of %d bytes: %v", length, err)
		} else if refused {
			b.wantError(err, pipeline.CodeInvalid, "environment.env", "EC2 takes 16384", "let the service read long values")
		}
	}
	r := b.request("e-1", "f-1", b.base())
	r.Env["LONG"] = strings.Repeat("x", 16<<10)
	b.cloud.ResetCalls()
	_, err := b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "environment.env")
	if n := len(b.cloud.Calls()); n > 0 {
		t.Errorf("%d requests were made: %v", n, b.cloud.Count())
	}
}

// What an environment says of its machines is what EC2 is asked for; every volume is
// encrypted and goes with its instance.
func TestMachine(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	bake := b.bakeRequest("r-base")
	bake.Volume = &pipeline.Volume{Size: 21, Type: "gp3"}
	image, err := b.Bake(t.Context(), bake)
	b.must(err)
	volume, err := b.ec2.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-west-1a"), Size: aws.Int32(7)})
	b.must(err)
	snapshot, err := b.ec2.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	b.must(err)
	b.cloud.AddVolume(image.ID, "/dev/sdb", aws.ToString(snapshot.SnapshotId), 7)

	r := b.request("e-1", "f-1", image.ID)
	r.Artifact, r.Service.Install = b.file("the artifact"), "true # docker run shop"
	r.Machine = pipeline.Machine{Volume: &pipeline.Volume{Size: 30, Type: "gp3", IOPS: 4000, Throughput: 250}, Spot: true}
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	list, err := b.instances.List(t.Context(), instance.Alive)
	b.must(err)
	if got := list[0]; aws.ToInt32(got.MetadataOptions.HttpPutResponseHopLimit) != 2 || got.InstanceLifecycle != types.InstanceLifecycleTypeSpot {
		t.Errorf("hops %d, lifecycle %q", aws.ToInt32(got.MetadataOptions.HttpPutResponseHopLimit), got.InstanceLifecycle)
	}
	volumes, err := b.ec2.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{stack.Filter("attachment.instance-id", instance.ID(list[0]))}})
	b.must(err)
	sizes := map[int32]types.Volume{}
	for _, d := range list[0].BlockDeviceMappings {
		if !aws.ToBool(d.Ebs.DeleteOnTermination) {
			t.Errorf("%s stays", aws.ToString(d.DeviceName))
		}
	}
	for _, v := range volumes.Volumes {
		sizes[aws.ToInt32(v.Size)] = v
		if !aws.ToBool(v.Encrypted) {
			t.Errorf("volume %+v", v)
		}
	}
	if len(sizes) != 2 || sizes[30].VolumeType != "gp3" || aws.ToString(sizes[7].SnapshotId) != aws.ToString(snapshot.SnapshotId) {
		t.Errorf("volumes %+v", volumes.Volumes)
	}
	b.must(b.Destroy(t.Context(), "e-1"))

	app := b.app()
	b.cloud.AddVolume(app, "/dev/sdb", aws.ToString(snapshot.SnapshotId), 7)
	g := b.request("e-2", "f-2", app)
	g.Instances, g.Machine = 2, pipeline.Machine{Hops: 3, Spot: true, Volume: &pipeline.Volume{Size: 40}}
	_, err = b.Prepare(t.Context(), g)
	b.must(err)
	of, err := b.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: aws.String("penstock-f-2"), Versions: []string{"$Latest"}})
	b.must(err)
	data := of.LaunchTemplateVersions[0].LaunchTemplateData
	if len(data.BlockDeviceMappings) != 2 || aws.ToInt32(data.BlockDeviceMappings[0].Ebs.VolumeSize) != 40 || !aws.ToBool(data.BlockDeviceMappings[1].Ebs.Encrypted) ||
		!aws.ToBool(data.BlockDeviceMappings[1].Ebs.DeleteOnTermination) || aws.ToInt32(data.MetadataOptions.HttpPutResponseHopLimit) != 3 || data.InstanceMarketOptions == nil {
		t.Errorf("the launch template has %+v", data)
	}
	b.must(b.Destroy(t.Context(), "e-2"))
	b.wantNothing()
}

// Where one zone has no capacity, another is tried, and only once for one launch.
func TestCapacityOfZones(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	subnets := b.stack.Settings.Subnets
	for n, code := range []string{"InsufficientInstanceCapacity", "Unsupported"} {
		b.cloud.Lack(code, subnets[1:]...)
		r := b.bakeRequest(fmt.Sprintf("r-%d", n))
		r.Inputs = ""
		_, err := b.Bake(t.Context(), r)
		b.must(err)
	}
	r := b.bakeRequest("r-9")
	r.Inputs = ""
	b.cloud.Fail(cloudtest.Fault{Action: "SendCommand", Code: "AccessDeniedException"}, cloudtest.Fault{Action: "TerminateInstances", Code: "UnauthorizedOperation", Times: 9})
	_, err := b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeNotAllowed)
	b.cloud.Mend()
	b.cloud.Lack("", subnets...)
	_, err = b.Bake(t.Context(), r) // now the first one has capacity, too
	b.must(err)
	if left := b.cloud.Running(); len(left) > 0 {
		t.Errorf("instances are left: %v", left)
	}
	b.cloud.Lack("InsufficientInstanceCapacity", subnets...)
	r.Token = "r-10"
	_, err = b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "no subnet can take an instance of type t3.small", subnets[0], subnets[1], "another instance type", "more zones")
	b.cloud.Lack("", subnets...)
	for code, hint := range map[string]string{"VcpuLimitExceeded": "L-1216C47A", "MaxSpotInstanceCountExceeded": "L-34B43A08", "VolumeLimitExceeded": "Amazon EBS"} {
		b.cloud.Fail(cloudtest.Fault{Action: "RunInstances", Code: code, Times: 3})
		r.Token = "r-" + strings.ToLower(code)
		_, err = b.Bake(t.Context(), r)
		b.wantError(err, pipeline.CodeFailed, code, hint)
		b.cloud.Mend()
	}
}

// An image of another architecture than the instances, a type that there is not, and a
// volume that is too small are refused without a launch.
func TestCheckLaunch(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for name, c := range map[string]struct {
		image, kind string
		volume      *pipeline.Volume
		want        string
	}{
		"fits":            {image: cloudtest.BaseImage},
		"fits on arm":     {image: cloudtest.ArmImage, kind: "m7g.large"},
		"arm by default":  {image: cloudtest.ArmImage, want: `of architecture arm64, and instance type "t3.small" has`},
		"x86 on arm":      {image: cloudtest.BaseImage, kind: "m7g.large", want: "take an image of architecture arm64"},
		"no such type":    {image: cloudtest.BaseImage, kind: "t3.smal", want: `no instance type "t3.smal"`},
		"no such image":   {image: "ami-00000000000000001"},
		"a small volume":  {image: cloudtest.BaseImage, volume: &pipeline.Volume{Size: 1}, want: "volume.size is 1 GiB"},
		"a larger volume": {image: cloudtest.BaseImage, volume: &pipeline.Volume{Size: 100}},
	} {
		err := b.CheckLaunch(t.Context(), c.image, c.kind, c.volume)
		if c.want == "" {
			b.must(err)
			continue
		}
		if err == nil {
			t.Errorf("%s is not refused", name)
			continue
		}
		b.wantError(err, pipeline.CodeInvalid, c.want)
	}
	if n := b.cloud.Count()["DescribeInstanceTypes"]; n > 3 {
		t.Errorf("AWS was asked %d times for three types", n)
	}
	r := b.bakeRequest("r-1")
	r.Image = cloudtest.ArmImage
	_, err := b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "arm64")
	r.Builder = "t4g.small"
	arm, err := b.Bake(t.Context(), r)
	b.must(err)
	one := b.request("e-1", "f-1", arm.ID)
	one.Artifact = b.file("the artifact")
	_, err = b.Prepare(t.Context(), one)
	b.wantError(err, pipeline.CodeInvalid, "arm64")
	one.InstanceType = "t4g.small"
	_, err = b.Prepare(t.Context(), one)
	b.must(err)
	if n := b.cloud.Count()["RunInstances"]; n != 2 {
		t.Errorf("%d instances were launched", n)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
