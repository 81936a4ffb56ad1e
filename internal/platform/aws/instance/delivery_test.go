// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Whatever keeps a command from its end, the error says what, and what to do.
func TestCommandUnfinished(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		delivery string
		pace     cloudtest.Pace
		before   func(b *awstest.Bed, id string)
		script   string
		want     []string
		cancels  bool
	}{
		"undeliverable":     {delivery: cloudtest.Undeliverable, want: []string{"did not reach instance", "Undeliverable", "larger instance_type"}},
		"delivery time-out": {delivery: cloudtest.DeliveryTimedOut, pace: cloudtest.Pace{Minute: 100 * time.Millisecond}, want: []string{"did not reach instance", "DeliveryTimedOut", "system log"}},
		"delayed for ever":  {delivery: cloudtest.Delayed, want: []string{"did not reach instance", "SSM says Delayed", "system log"}, cancels: true},
		"slow": {pace: cloudtest.Pace{Command: 1500 * time.Millisecond}, script: "echo on the way\nsleep 300\n",
			want: []string{"did not end within 2s", "on the way", "longer timeout"}},
		"killed":  {script: "kill -9 $$\n", want: []string{"exit status 137", "lack of memory"}},
		"stopped": {script: "sleep 300\n", before: stopSoon, want: []string{"was stopped", "launches another"}, cancels: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := awstest.New(t)
			id := b.Machine("")
			b.Must(b.Instances.Must(t.Context(), id, instance.Command{What: "first", Script: "true\n", Timeout: time.Minute})) // it has registered
			b.Cloud.SetPace(c.pace)
			b.Cloud.SetDelivery(c.delivery)
			b.Cloud.ResetCalls()
			if c.before != nil {
				c.before(b, id)
			}
			err := b.Instances.Must(t.Context(), id, instance.Command{What: "step 1", Script: instance.Preamble + c.script, Timeout: 2 * time.Second})
			text := fmt.Sprint(err, "\n", reason.Hint(err))
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("the error does not say %q: %s", want, text)
				}
			}
			if n := b.Cloud.Count()["CancelCommand"]; (n > 0) != c.cancels {
				t.Errorf("it was cancelled %d times", n)
			}
		})
	}
}

// stopSoon stops an instance as its owner may.
func stopSoon(b *awstest.Bed, id string) {
	go func() {
		time.Sleep(300 * time.Millisecond)
		_, _ = ec2.NewFromConfig(b.Cloud.Own()).StopInstances(b.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
	}()
}

// The whole of a long output comes to the bucket after the command has ended.
func TestOutputLate(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id := b.Machine("")
	b.Cloud.SetPace(cloudtest.Pace{Output: 500 * time.Millisecond})
	_, output, err := b.Instances.Execute(t.Context(), id, instance.Command{What: "long", Script: "seq 10000\n", Timeout: time.Minute})
	if err != nil || len(strings.Fields(output)) != 10000 || strings.Contains(output, "missing") {
		t.Errorf("of 10000 lines %d came, %v", len(strings.Fields(output)), err)
	}
}

// An image without all that Penstock needs is told from a command that fails.
func TestImageLacks(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	b.Cloud.Without("tar", "cloud-init")
	id := b.Machine("")
	err := b.Instances.Must(t.Context(), id, instance.Command{What: "step 1", Script: "true\n", Timeout: time.Minute})
	text := fmt.Sprint(err, "\n", reason.Hint(err))
	for _, want := range []string{"the image of instance " + id + " lacks cloud-init, tar, which step 1 needs", "Start from an image that has it", "the guide to AWS"} {
		if !strings.Contains(text, want) {
			t.Errorf("the error does not say %q: %s", want, text)
		}
	}
}
