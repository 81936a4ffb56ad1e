// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// A command that ends with 194 restarts the machine and is run again; which of its two
// requests is followed makes no difference.
func TestRebootStatus(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id := b.Machine(instance.UserData(time.Time{}, ""))
	for name, c := range map[string]instance.Command{
		"plain": {}, "live": {Live: true}, "with a secret": {Secrets: pipeline.Secrets{"TOKEN": "hush"}},
	} {
		var log bytes.Buffer
		c.What, c.Timeout, c.Log = name, time.Minute, &log
		c.Script = instance.Preamble + "echo \"run $PENSTOCK_REBOOTS\"\nsleep 0.2\n[ \"$PENSTOCK_REBOOTS\" -eq 2 ] || exit 194\nexit 3\n"
		b.Cloud.Fail(cloudtest.Fault{Action: "SendCommand", After: true})
		exit, output, err := b.Instances.Execute(t.Context(), id, c)
		if err != nil || exit != 3 || output != "run 0\nrun 1\nrun 2\n" || log.String() != output {
			t.Errorf("%s: it gave %d, %q, %v, and logged %q", name, exit, output, err, log.String())
		}
	}
}

// A command that always asks for a restart ends, and so does one that a restart met.
func TestRebootUnasked(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id := b.Machine("")
	err := b.Instances.Must(t.Context(), id, instance.Command{What: "step 1", Script: instance.Preamble + "exit 194\n", Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "restarted the machine 10 times") {
		t.Errorf("a command that restarts for ever: %v", err)
	}
	ended := make(chan error)
	go func() {
		ended <- b.Instances.Must(context.WithoutCancel(t.Context()), id, instance.Command{
			What: "step 2", Script: instance.Preamble + "echo x >> \"$root/ran\"\nsleep 300\n", Timeout: time.Minute,
		})
	}()
	ran := filepath.Join(b.Cloud.Root(id), "ran")
	b.Must(poll.Until(t.Context(), poll.Schedule{First: 10 * time.Millisecond, Limit: time.Minute, What: "the command"}, func(context.Context) (poll.Probe, error) {
		_, err := os.Stat(ran)
		return poll.Probe{Done: err == nil}, nil
	}))
	b.Cloud.Reboot(id)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "restarted while this ran") || !strings.Contains(err.Error(), "exit status 194") {
		t.Errorf("a command in whose middle the machine restarted: %v", err)
	}
	if text, err := os.ReadFile(ran); string(text) != "x\n" {
		t.Errorf("it ran %q, %v", text, err)
	}
}

// An instance powers off at its deadline, also after a restart, and also at one that was
// set later; nothing that schedules or cancels a shutdown matters.
func TestDeadline(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	b.Cloud.SetPace(cloudtest.Pace{Minute: 50 * time.Millisecond})
	run := func(id, line string) {
		t.Helper()
		b.Must(b.Instances.Must(t.Context(), id, instance.Command{What: "step", Script: instance.Preamble + line + "\n", Timeout: time.Minute}))
	}
	launch := func(token string, deadline time.Time) string {
		t.Helper()
		one, err := b.Instances.Run(t.Context(), instance.Launch{
			Token: token, Image: cloudtest.BaseImage, Access: b.Stack.Settings.Test, UserData: instance.UserData(deadline, ""), Tags: b.Stack.TagsOf(pipeline.Labels{}, nil),
		})
		b.Must(err)
		run(instance.ID(one), "true")
		return instance.ID(one)
	}
	wantEnd := func(what, id string) {
		t.Helper()
		b.Must(poll.Until(t.Context(), poll.Schedule{First: 10 * time.Millisecond, Limit: time.Minute, What: "the end of the instance " + what}, func(context.Context) (poll.Probe, error) {
			return poll.Probe{Done: !slices.Contains(b.Cloud.Running(), id)}, nil
		}))
		err := b.Instances.CheckAlive(t.Context(), id)
		if err == nil || !strings.Contains(err.Error(), "Instance initiated shutdown") {
			t.Errorf("of the instance %s AWS says %v", what, err)
		}
	}
	soon, never := time.Now().Add(time.Hour), time.Now().Add(1000*time.Hour) // 3 s, and nearly an hour
	wantEnd("with a deadline", launch("one", soon))

	restarted := launch("two", soon)
	run(restarted, "shutdown -c")
	b.Cloud.Reboot(restarted)
	wantEnd("that restarted", restarted)

	shorter := launch("three", never)
	b.Must(b.Instances.SetDeadline(t.Context(), shorter, "", soon))
	b.Cloud.Reboot(shorter)
	wantEnd("with a new deadline", shorter)

	longer, last := launch("four", time.Now().Add(10*time.Hour)), launch("five", soon)
	b.Must(b.Instances.SetDeadline(t.Context(), longer, "", never))
	b.Must(b.Instances.SetDeadline(t.Context(), longer, "", time.Time{}))
	b.Cloud.Reboot(longer)
	wantEnd("beside it", last)
	run(longer, "true")
	// What an image has of another instance's deadline is nothing to this one.
	other := launch("six", never)
	run(other, "mkdir -p \"$root/etc/penstock\"; echo '"+longer+" 1' > \"$root/etc/penstock/deadline\"")
	b.Cloud.Reboot(other)
	run(other, "true")
}
