// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Ending is a request that a schedule makes when something is to end.
type Ending struct {
	Kind   string // suffix of the schedule's name
	Stage  string // that runs it; empty for a self-service environment, which another role ends
	Action string // service:action, as EventBridge Scheduler names them
	Input  any
}

// EndInstances is the end of instances, which a stage runs unless that is empty.
func EndInstances(kind, stage string, ids []string) Ending {
	return Ending{kind, stage, "ec2:terminateInstances", map[string]any{"InstanceIds": ids}}
}

// ends returns the role by which something ends. Who launches environments may hand over
// the one alone that can end nothing of a stage.
func (s Settings) ends(e Ending) string {
	if e.Stage == "" {
		return s.LauncherSchedulerRole
	}
	return s.SchedulerRole
}

// group returns the group that the schedules of a stage are in, or, with none, those of
// self-service environments, which launchers may change. Nil is the account's default group.
func (s Settings) group(stage string) *string {
	if stage != "" || s.LauncherScheduleGroup == "" {
		return nil
	}
	return aws.String(s.LauncherScheduleGroup)
}

// scheduleName names the schedule of an environment's, a fleet's or a bake's end.
func scheduleName(id, kind string) string { return "penstock-" + id + "-" + kind }

// soon is the least time until something ends: AWS takes no time that has gone by.
const soon = time.Minute

// Schedule makes or moves the schedule by which something with an ID ends. It has no token:
// its name is unique, and AWS would answer the move back to a time that it once had with the
// answer of then, and move nothing.
func (s *Stack) Schedule(ctx context.Context, id string, at time.Time, e Ending) error {
	op := "schedule the end of " + id
	input, err := json.Marshal(e.Input)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInternal, op, "%w", err)
	}
	target := &types.Target{
		Arn:         aws.String("arn:" + s.Settings.partition(s.Config.Region) + ":scheduler:::aws-sdk:" + e.Action),
		RoleArn:     aws.String(s.Settings.ends(e)),
		Input:       aws.String(string(input)),
		RetryPolicy: &types.RetryPolicy{MaximumRetryAttempts: aws.Int32(20)},
	}
	if least := time.Now().Add(soon); at.Before(least) {
		at = least
	}
	expression := aws.String(fmt.Sprintf("at(%s)", at.UTC().Format("2006-01-02T15:04:05")))
	window := &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff}
	name, group := aws.String(scheduleName(id, e.Kind)), s.Settings.group(e.Stage)
	// With a token that follows from the time, AWS would take a move back for a repetition.
	_, err = s.scheduler.CreateSchedule(ctx, &scheduler.CreateScheduleInput{
		Name: name, GroupName: group, ScheduleExpression: expression, Target: target, FlexibleTimeWindow: window, ActionAfterCompletion: types.ActionAfterCompletionDelete,
	})
	if cloud.Is(err, "ConflictException") {
		_, err = s.scheduler.UpdateSchedule(ctx, &scheduler.UpdateScheduleInput{
			Name: name, GroupName: group, ScheduleExpression: expression, Target: target, FlexibleTimeWindow: window, ActionAfterCompletion: types.ActionAfterCompletionDelete,
		})
	}
	return cloud.Fault(ctx, op, err)
}

// Unschedule removes a schedule of what a stage runs, or, with none, of what belongs to a
// self-service environment. One that does not exist is no error.
func (s *Stack) Unschedule(ctx context.Context, id, kind, stage string) error {
	_, err := s.scheduler.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String(scheduleName(id, kind)), GroupName: s.Settings.group(stage)})
	if cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, "remove the schedules of "+id, err)
}

// Forget removes a schedule of what is ended now, whoever ran it. Who launches environments
// may not remove those of stages: one of a stage that stays finds nothing to end, and is gone.
func (s *Stack) Forget(ctx context.Context, id, kind string) error {
	if err := s.Unschedule(ctx, id, kind, ""); err != nil || s.Settings.group("") == nil {
		return err
	}
	err := s.Unschedule(ctx, id, kind, anyStage)
	if pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
		return nil
	}
	return err
}

// anyStage stands for whichever stage: their schedules are in one group.
const anyStage = "*"
