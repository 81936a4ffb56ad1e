// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// A schedule is refused that nobody could carry out, what has its token is not done twice,
// and it is carried out under its role, again when the service was busy.
func TestSchedules(t *testing.T) {
	t.Parallel()
	told := &failing{TB: t}
	c := cloudtest.New(told)
	cfg, ctx := c.Own(), t.Context()
	client := scheduler.NewFromConfig(cfg)
	id := run(t, ec2.NewFromConfig(cfg), cloudtest.BaseImage, "one")
	at := func(in time.Duration) string {
		return fmt.Sprintf("at(%s)", time.Now().Add(in).UTC().Format("2006-01-02T15:04:05"))
	}
	target := func(role string) *types.Target {
		return &types.Target{
			Arn: aws.String("arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"), RoleArn: aws.String(c.Stack().Role(role).ARN),
			Input: aws.String(`{"InstanceIds": ["` + id + `"]}`), RetryPolicy: &types.RetryPolicy{MaximumRetryAttempts: aws.Int32(2)},
		}
	}
	window := &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff}
	create := func(name, token, expression, role string) error {
		in := &scheduler.CreateScheduleInput{
			Name: aws.String(name), ScheduleExpression: aws.String(expression), FlexibleTimeWindow: window, Target: target(role), ActionAfterCompletion: types.ActionAfterCompletionDelete,
		}
		if token != "" {
			in.ClientToken = aws.String(token)
		}
		_, err := client.CreateSchedule(ctx, in)
		return err
	}
	for _, expression := range []string{at(-time.Hour), "at(tomorrow)", "soon"} {
		if err := create("past", "", expression, "SchedulerRole"); !cloud.Is(err, "ValidationException") {
			t.Errorf("%s: %v", expression, err)
		}
	}
	c.SetClock(2 * time.Hour)
	if err := create("past", "", at(time.Hour), "SchedulerRole"); !cloud.Is(err, "ValidationException") {
		t.Errorf("by the clock of the account it has gone by: %v", err)
	}
	c.SetClock(0)
	first, second := at(time.Hour), at(2*time.Hour)
	must(t, create("end", "t-1", first, "SchedulerRole"))
	_, err := client.UpdateSchedule(ctx, &scheduler.UpdateScheduleInput{Name: aws.String("end"), ScheduleExpression: aws.String(second), FlexibleTimeWindow: window, Target: target("SchedulerRole"), ActionAfterCompletion: types.ActionAfterCompletionDelete})
	must(t, err)
	if err := create("end", "t-1", first, "SchedulerRole"); err != nil {
		t.Errorf("a token that comes again: %v", err)
	}
	if err := create("end", "", first, "SchedulerRole"); !cloud.Is(err, "ConflictException") {
		t.Errorf("a name that is there: %v", err)
	}
	if ran := c.RunSchedules(time.Now().Add(90 * time.Minute)); len(ran) != 0 {
		t.Errorf("the replay has moved it: %v", ran)
	}

	// The instance has not the tags that the role's policy asks for.
	told.take()
	if ran := c.RunSchedules(time.Now().Add(3 * time.Hour)); len(ran) != 1 || !strings.Contains(told.take(), "not authorized to perform ec2:TerminateInstances") {
		t.Errorf("ran %v", ran)
	}
	must(t, create("end", "", first, "DeployerRole"))
	if ran := c.RunSchedules(time.Now().Add(3 * time.Hour)); len(ran) != 1 || !strings.Contains(told.take(), "sts:AssumeRole") {
		t.Errorf("ran %v under a role that does not trust it", ran)
	}
	if len(c.Running()) != 1 {
		t.Error("the instance ended all the same")
	}
	_, err = ec2.NewFromConfig(cfg).CreateTags(ctx, tagsOf(id, map[string]string{"penstock:stack": "penstock", "penstock:environment": "e-1", "penstock:expires": "2099-01-01T00:00:00Z", "penstock:stage": "s"}))
	must(t, err)
	for _, tt := range []struct{ busy, left int }{{3, 1}, {2, 0}} { // of three attempts
		must(t, create("end", "", first, "SchedulerRole"))
		c.Fail(cloudtest.Fault{Service: "ec2", Action: "TerminateInstances", Code: "RequestLimitExceeded", Times: tt.busy})
		c.RunSchedules(time.Now().Add(3 * time.Hour))
		c.Mend()
		said := told.take()
		if len(c.Running()) != tt.left || (said != "") != (tt.left > 0) {
			t.Errorf("%d busy answers: %d instances run, and the test was told %q", tt.busy, len(c.Running()), said)
		}
	}
}

func tagsOf(id string, tags map[string]string) *ec2.CreateTagsInput {
	in := &ec2.CreateTagsInput{Resources: []string{id}}
	for k, v := range tags {
		in.Tags = append(in.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return in
}
