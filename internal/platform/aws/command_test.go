// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// machine launches an instance with user data.
func (b *bed) machine(data string) string {
	b.Helper()
	list, err := b.run(b.Context(), launch{token: "machine", image: cloudtest.BaseImage, count: 1, group: b.Settings.InstanceGroup, userData: data, tags: b.tags(pipeline.Labels{}, nil)})
	b.must(err)
	b.Cleanup(func() { b.cloud.Terminate(idsOf(list)...) })
	return aws.ToString(list[0].InstanceId)
}

// The agent registers before an instance has done what it does at its first boot, and
// commands wait for that.
func TestCommandWaitsForBoot(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.machine(preamble + "sleep 2\necho booted > \"$root/order\"\n")
	exit, output, err := b.execute(t.Context(), id, command{what: "look", script: preamble + "cat \"$root/order\"\n", timeout: time.Minute})
	if err != nil || exit != 0 || output != "booted\n" {
		t.Errorf("the command gave %d, %q, %v", exit, output, err)
	}
}

// A request to run a command is repeated when its answer is lost. The command runs once,
// and how it ended is known.
func TestCommandRunsOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.machine("")
	for name, c := range map[string]command{
		"plain": {log: b.log}, "live": {log: b.log, live: true}, "with a secret": {log: b.log, live: true, secrets: pipeline.Secrets{"TOKEN": "hush"}},
	} {
		c.what, c.timeout = name, time.Minute
		c.script = preamble + "echo \"$root\" >> \"$root/ran\"\nsleep 1\necho told\nexit 3\n"
		b.cloud.ResetCalls()
		b.cloud.Fail(cloudtest.Fault{Action: "SendCommand", After: true})
		exit, output, err := b.execute(t.Context(), id, c)
		if err != nil || exit != 3 || output != "told\n" {
			t.Errorf("%s: it gave %d, %q, %v", name, exit, output, err)
		}
		if n := b.cloud.Count()["SendCommand"]; n != 2 {
			t.Errorf("%s: it was sent %d times", name, n)
		}
		ran, err := os.ReadFile(filepath.Join(b.cloud.Root(id), "ran"))
		b.must(err)
		b.must(os.Remove(filepath.Join(b.cloud.Root(id), "ran")))
		if string(ran) != b.cloud.Root(id)+"\n" {
			t.Errorf("%s: it ran more than once: %s", name, ran)
		}
	}
}
