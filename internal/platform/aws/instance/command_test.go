// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

// The agent registers before an instance has done what it does at its first boot, and
// commands wait for that.
func TestCommandWaitsForBoot(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id := b.Machine(instance.Preamble + "sleep 2\necho booted > \"$root/order\"\n")
	exit, output, err := b.Instances.Execute(t.Context(), id, instance.Command{What: "look", Script: instance.Preamble + "cat \"$root/order\"\n", Timeout: time.Minute})
	if err != nil || exit != 0 || output != "booted\n" {
		t.Errorf("the command gave %d, %q, %v", exit, output, err)
	}
}

// A request to run a command is repeated when its answer is lost. The command runs once,
// and how it ended is known.
func TestCommandRunsOnce(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id, log := b.Machine(""), bytes.Buffer{}
	for name, c := range map[string]instance.Command{
		"plain": {Log: &log}, "live": {Log: &log, Live: true},
		"with a secret": {Log: &log, Live: true, Secrets: pipeline.Secrets{"TOKEN": "hush"}},
	} {
		c.What, c.Timeout = name, time.Minute
		c.Script = instance.Preamble + "echo \"$root\" >> \"$root/ran\"\nsleep 1\necho told\nexit 3\n"
		b.Cloud.ResetCalls()
		b.Cloud.Fail(cloudtest.Fault{Action: "SendCommand", After: true})
		exit, output, err := b.Instances.Execute(t.Context(), id, c)
		if err != nil || exit != 3 || output != "told\n" {
			t.Errorf("%s: it gave %d, %q, %v", name, exit, output, err)
		}
		if n := b.Cloud.Count()["SendCommand"]; n != 2 {
			t.Errorf("%s: it was sent %d times", name, n)
		}
		ran, err := os.ReadFile(filepath.Join(b.Cloud.Root(id), "ran"))
		b.Must(err)
		b.Must(os.Remove(filepath.Join(b.Cloud.Root(id), "ran")))
		if string(ran) != b.Cloud.Root(id)+"\n" {
			t.Errorf("%s: it ran more than once: %s", name, ran)
		}
	}
}
