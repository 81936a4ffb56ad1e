// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

func run(t *testing.T, client *ec2.Client, image, token string) string {
	t.Helper()
	out, err := client.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: aws.String(image), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String(token), InstanceType: ec2types.InstanceTypeT3Micro,
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Instances[0].InstanceId)
}

// command runs a line on an instance and returns its invocation.
func command(t *testing.T, client *ssm.Client, instance, line string) *ssm.GetCommandInvocationOutput {
	t.Helper()
	schedule := poll.Schedule{First: 10 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 2, Limit: 10 * time.Second, What: "the command"}
	var id string
	must(t, poll.Until(t.Context(), schedule, func(ctx context.Context) (poll.Probe, error) {
		sent, err := client.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: []string{instance}, Parameters: map[string][]string{"commands": {line}},
		})
		if cloud.Is(err, "InvalidInstanceId") {
			return poll.Probe{State: "not registered"}, nil
		}
		if err == nil {
			id = aws.ToString(sent.Command.CommandId)
		}
		return poll.Probe{Done: err == nil}, err
	}))
	var got *ssm.GetCommandInvocationOutput
	must(t, poll.Until(t.Context(), schedule, func(ctx context.Context) (poll.Probe, error) {
		var err error
		got, err = client.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: aws.String(id), InstanceId: aws.String(instance)})
		return poll.Probe{Done: err == nil && got.Status != "InProgress" && got.Status != "Pending"}, err
	}))
	return got
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What a command writes on one instance is in the image of it, and on the
// instances of that.
func TestBakedFiles(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	c.SetPace(cloudtest.Pace{Boot: 3 * time.Second, Agent: 100 * time.Millisecond, Image: 100 * time.Millisecond})
	machines, agent := ec2.NewFromConfig(c.Own()), ssm.NewFromConfig(c.Own())
	first := run(t, machines, cloudtest.BaseImage, "one")
	if again := run(t, machines, cloudtest.BaseImage, "one"); again != first {
		t.Errorf("a repeated launch made %s beside %s", again, first)
	}
	described, err := machines.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{first}})
	must(t, err)
	if state := described.Reservations[0].Instances[0].State.Name; state != "pending" {
		t.Errorf("a new instance is %s", state)
	}
	got := command(t, agent, first, `echo baked > "$PENSTOCK_SYSROOT/file"; echo said; exit 3`)
	if got.Status != "Failed" || got.ResponseCode != 3 || strings.TrimSpace(aws.ToString(got.StandardOutputContent)) != "said" {
		t.Errorf("the command ended %s, %d, %q", got.Status, got.ResponseCode, aws.ToString(got.StandardOutputContent))
	}
	create := &ec2.CreateImageInput{InstanceId: aws.String(first), Name: aws.String("image"), TagSpecifications: []ec2types.TagSpecification{
		{ResourceType: ec2types.ResourceTypeSnapshot, Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}},
	}}
	image, err := machines.CreateImage(t.Context(), create)
	must(t, err)
	if _, err := machines.CreateImage(t.Context(), create); cloud.Code(err) != "InvalidAMIName.Duplicate" {
		t.Errorf("a second image of the name: %v", err)
	}
	must(t, ec2.NewImageAvailableWaiter(machines, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay = 50 * time.Millisecond }).Wait(
		t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{aws.ToString(image.ImageId)}}, time.Minute))
	second := run(t, machines, aws.ToString(image.ImageId), "two")
	if got := command(t, agent, second, `cat "$PENSTOCK_SYSROOT/file"`); aws.ToString(got.StandardOutputContent) != "baked\n" {
		t.Errorf("the second instance has %q", aws.ToString(got.StandardOutputContent))
	}
	for range 2 { // it may be repeated
		ended, err := machines.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{first, second}})
		must(t, err)
		if len(ended.TerminatingInstances) != 2 {
			t.Errorf("%d instances were terminated", len(ended.TerminatingInstances))
		}
	}
	if _, err := os.Stat(c.Root(first)); !os.IsNotExist(err) {
		t.Errorf("the files of a terminated instance: %v", err)
	}
	if n := c.Count(); n["RunInstances"] != 3 || n["CreateImage"] != 2 {
		t.Errorf("counted %v", n)
	}
}

// A service that systemctl starts outlives the command.
func TestService(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	machines, agent := ec2.NewFromConfig(c.Own()), ssm.NewFromConfig(c.Own())
	id := run(t, machines, cloudtest.BaseImage, "one")
	got := command(t, agent, id, `mkdir -p "$PENSTOCK_SYSROOT/etc/systemd/system"
printf '[Service]\nExecStart=/bin/sh ${PENSTOCK_SYSROOT}/serve\n' > "$PENSTOCK_SYSROOT/etc/systemd/system/s.service"
echo 'touch "$PENSTOCK_SYSROOT/served"; sleep 300' > "$PENSTOCK_SYSROOT/serve"
systemctl daemon-reload && systemctl enable --now s`)
	if got.Status != "Success" {
		t.Fatalf("%s: %s", got.Status, aws.ToString(got.StandardErrorContent))
	}
	must(t, poll.Until(t.Context(), poll.Schedule{First: 10 * time.Millisecond, Limit: 5 * time.Second, What: "the service"}, func(context.Context) (poll.Probe, error) {
		_, err := os.Stat(filepath.Join(c.Root(id), "served"))
		return poll.Probe{Done: err == nil}, nil
	}))
}

// Faults strike before or after the effect, and an action that moto lacks is an
// error at once.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	cfg := c.Own()
	cfg.RetryMaxAttempts = 1
	store := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	bucket := aws.String("faults-" + c.ID)
	c.Fail(cloudtest.Fault{Service: "s3", Code: "SlowDown", Status: 503})
	create := &s3.CreateBucketInput{Bucket: bucket, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region}}
	if _, err := store.CreateBucket(t.Context(), create); cloud.Code(err) != "SlowDown" {
		t.Errorf("a fault: %v", err)
	}
	c.Fail(cloudtest.Fault{Service: "s3", After: true})
	if _, err := store.CreateBucket(t.Context(), create); err == nil || cloud.Code(err) != "" {
		t.Errorf("a lost answer: %v", err)
	}
	if _, err := store.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: bucket}); err != nil {
		t.Errorf("the request whose answer was lost had no effect: %v", err)
	}
	_, err := ec2.NewFromConfig(cfg).DescribeFastLaunchImages(t.Context(), &ec2.DescribeFastLaunchImagesInput{})
	if cloud.Code(err) != "UnsupportedOperation" {
		t.Errorf("what moto lacks: %v", err)
	}
}

// A machine starts as cloud-init and systemd have it: what the user data hooks into each
// boot, then the enabled services whose conditions hold, then, once, its script. A restart
// runs a command again that asked for it, or that it met.
func TestBoot(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	c.SetPace(cloudtest.Pace{Minute: 50 * time.Millisecond})
	machines, agent := ec2.NewFromConfig(c.Own()), ssm.NewFromConfig(c.Own())
	const data = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/cloud-boothook\n\n" +
		"#cloud-boothook\n#!/bin/sh\necho \"hook ${HOME-homeless}\" >> \"$PENSTOCK_SYSROOT/order\"\n\n--b\nContent-Type: text/x-shellscript\n\n" +
		"#!/bin/sh\necho script >> \"$PENSTOCK_SYSROOT/order\"\n\n--b--\n"
	out, err := machines.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: aws.String(cloudtest.BaseImage), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: ec2types.InstanceTypeT3Micro,
		UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(data))), InstanceInitiatedShutdownBehavior: ec2types.ShutdownBehaviorTerminate,
	})
	must(t, err)
	id := aws.ToString(out.Instances[0].InstanceId)
	got := command(t, agent, id, `cd "$PENSTOCK_SYSROOT"
cloud-init status --wait
echo "boot $(cat proc/sys/kernel/random/boot_id)" >> boots
[ -e again ] && { cat order; exit 5; }
mkdir -p etc/systemd/system
for unit in one two; do printf '[Unit]\nConditionPathExists=%s/again\n[Service]\nType=oneshot\nExecStart=/bin/sh ${PENSTOCK_SYSROOT}/unit\n' "$not" > etc/systemd/system/$unit.service; not='!'; done
echo 'echo unit >> "$PENSTOCK_SYSROOT/order"' > unit
systemctl enable one two
touch again; exit 194`)
	if got.ResponseCode != 5 || aws.ToString(got.StandardOutputContent) != "hook homeless\nscript\nhook homeless\nunit\n" {
		t.Errorf("it ended %s, %d, after\n%s", got.Status, got.ResponseCode, aws.ToString(got.StandardOutputContent))
	}
	if boots, err := os.ReadFile(filepath.Join(c.Root(id), "boots")); err != nil || len(strings.Fields(string(boots))) != 4 || strings.Fields(string(boots))[1] == strings.Fields(string(boots))[3] {
		t.Errorf("the boots were %q, %v", boots, err)
	}
	command(t, agent, id, "shutdown -P +30; shutdown -c; shutdown -P +20")
	must(t, poll.Until(t.Context(), poll.Schedule{First: 10 * time.Millisecond, Limit: time.Minute, What: "the end"}, func(ctx context.Context) (poll.Probe, error) {
		out, err := machines.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			return poll.Probe{}, err
		}
		one := out.Reservations[0].Instances[0]
		return poll.Probe{Done: one.State.Name == "terminated" && aws.ToString(one.StateReason.Code) == "Client.InstanceInitiatedShutdown", State: string(one.State.Name)}, nil
	}))
}
