// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// persistent asks for a fleet of a persistent environment.
func (b *bed) persistent(fleet, image string) pipeline.FleetRequest {
	r := b.request("e-1", fleet, image)
	r.Persistent, r.Instances, r.Service.HealthCheck.StartTimeout = true, 2, time.Minute
	return r
}

// serves counts which fleets answer n requests.
func (b *bed) serves(n int) map[string]int {
	b.Helper()
	reports, err := b.Describe(b.Context(), "e-1")
	b.must(err)
	got := map[string]int{}
	for range n {
		got[b.get(reports["e-1"].Endpoint+"/env/VERSION")]++
	}
	return got
}

// A shift in steps pauses at each; an alarm sends the traffic back and leaves
// nothing of the new fleet.
func TestShiftInSteps(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	b.cloud.SetAlarm("errors", "OK")
	b.cloud.SetAlarm("old trouble", "ALARM")
	r := b.persistent("f-2", image)
	r.Alarms = []string{"errors", "no such"}
	_, err := b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, `"no such"`, "environment.alarms")
	r.Alarms = []string{"errors", "old trouble"}
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	traffic := pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 30, Pause: time.Minute}, {Percent: 60, Pause: time.Minute}}, Alarms: r.Alarms, Log: b.log}
	done := make(chan error, 1)
	go func() {
		_, err := b.Shift(t.Context(), "e-1", "f-2", traffic)
		done <- err
	}()
	b.eventually("both fleets serve", func() bool { return len(b.serves(20)) == 2 })
	b.cloud.SetAlarm("errors", "ALARM")
	b.wantError(<-done, pipeline.CodeFailed, `"errors"`)
	b.must(b.Discard(t.Context(), "e-1", "f-2"))
	if got := b.serves(20); got["f-1"] != 20 || len(b.cloud.Running()) != 2 {
		t.Errorf("after the alarm the requests are answered by %v, on %v", got, b.cloud.Running())
	}
	b.cloud.SetAlarm("errors", "OK")

	// Killed in a pause, it goes on where it was; cancelled, the traffic goes back.
	_, err = b.Prepare(t.Context(), b.persistent("f-3", image))
	b.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := b.Shift(ctx, "e-1", "f-3", traffic)
		done <- err
	}()
	b.eventually("both fleets serve", func() bool { return len(b.serves(20)) == 2 })
	cancel()
	b.wantError(<-done, pipeline.CodeCancelled)
	if got := b.serves(20); got["f-1"] != 20 {
		t.Errorf("after the cancel the requests are answered by %v", got)
	}
	b.share(map[string]int32{"f-3": 60, "f-1": 40}) // as a process left it that was killed
	b.cloud.SetAlarm("old trouble", "OK")
	began := time.Now()
	_, err = b.Shift(t.Context(), "e-1", "f-3", traffic)
	b.must(err)
	if got := b.serves(20); got["f-3"] != 20 || time.Since(began) > 30*time.Second || len(b.cloud.Running()) != 2 {
		t.Errorf("resumed, it took %s; the requests are answered by %v, on %v", time.Since(began), got, b.cloud.Running())
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// The fleet before is kept, and a rollback takes it again; capacity that a policy
// added is carried over.
func TestKeepPrevious(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	keep := pipeline.Traffic{KeepPrevious: time.Hour, Log: b.log}
	deploy := func(fleet, version string) string {
		t.Helper()
		r := b.persistent(fleet, image)
		r.Env["VERSION"] = version
		f, err := b.Prepare(t.Context(), r)
		b.must(err)
		_, err = b.Shift(t.Context(), "e-1", f.ID, keep)
		b.must(err)
		return f.ID
	}
	deploy("f-1", "one")
	_, err := b.groups.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("penstock-f-1"), DesiredCapacity: aws.Int32(3), MaxSize: aws.Int32(3),
	})
	b.must(err)
	deploy("f-2", "two")
	reports, err := b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"]; got.Instances != 3 || got.Serving != "f-2" || got.Pending != "" || len(b.cloud.Running()) != 6 {
		t.Errorf("after the second deployment: %+v, on %v", got, b.cloud.Running())
	}
	if got := b.schedules(); len(got) != 1 || !strings.Contains(got[0], "f-1") {
		t.Errorf("these ends are scheduled: %v", got)
	}
	running := func() []string { return slices.Sorted(slices.Values(b.cloud.Running())) }
	before := running()
	if got := deploy("f-3", "one"); got != "f-1" {
		t.Errorf("the rollback is to fleet %s", got)
	}
	if got := b.serves(5); got["one"] != 5 || !slices.Equal(running(), before) {
		t.Errorf("after the rollback %v answers, on %v; before there were %v", got, b.cloud.Running(), before)
	}
	if got := b.schedules(); len(got) != 1 || !strings.Contains(got[0], "f-2") {
		t.Errorf("after the rollback these ends are scheduled: %v", got)
	}
	deploy("f-4", "four")
	if got := b.serves(5); got["four"] != 5 || len(b.cloud.Running()) != 6 {
		t.Errorf("after the next deployment %v answers, on %v", got, b.cloud.Running())
	}
	// The schedule ends the group; what costs nothing goes with the next deployment.
	if ran := b.cloud.RunSchedules(time.Now().Add(2 * time.Hour)); len(ran) != 1 || len(b.cloud.Running()) != 3 {
		t.Errorf("after two hours these schedules run: %v; instances %v", ran, b.cloud.Running())
	}
	if got := deploy("f-5", "one"); got != "f-5" {
		t.Errorf("a fleet that has ended is taken again: %s", got)
	}
	keep.KeepPrevious = 0
	deploy("f-6", "six")
	if got := b.schedules(); len(got) != 0 || len(b.cloud.Running()) != 3 {
		t.Errorf("without keep_previous these ends are scheduled: %v; instances %v", got, b.cloud.Running())
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Under traffic the new instances become unhealthy: the traffic goes back.
func TestShiftUnhealthy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	r := b.persistent("f-2", image)
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	done := make(chan error, 1)
	go func() {
		_, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 50, Pause: time.Minute}}})
		done <- err
	}()
	b.eventually("both fleets serve", func() bool { return len(b.serves(20)) == 2 })
	b.setSick("f-2", true)
	b.wantError(<-done, pipeline.CodeFailed, "0 of 2 new instances are healthy")
	if got := b.serves(20); got["f-1"] != 20 {
		t.Errorf("the requests are answered by %v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// eventually waits until something is so.
func (b *bed) eventually(what string, so func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); {
		if time.Now().After(deadline) {
			b.Fatalf("it does not come about that %s\n%s", what, b.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What no longer serves is removed though AWS refuses it once: the deployment is not left with an
// idle fleet until the next one.
func TestRetiredAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	b.cloud.Fail(cloudtest.Fault{Action: "DeleteAutoScalingGroup", Code: "AccessDenied", Status: http.StatusForbidden})
	b.must(b.deploy(b.persistent("f-2", image)))
	if left, err := b.target("f-1"); err != nil || left != "" || len(b.cloud.Running()) != 2 {
		t.Errorf("of the fleet before, %q is left, with %v running: %v", left, b.cloud.Running(), err)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
