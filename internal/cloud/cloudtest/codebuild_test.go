// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

func startInput(token, command string) *codebuild.StartBuildInput {
	return &codebuild.StartBuildInput{
		ProjectName: aws.String("p"), IdempotencyToken: aws.String(token), SourceTypeOverride: types.SourceTypeNoSource, TimeoutInMinutesOverride: aws.Int32(5),
		BuildspecOverride:            aws.String("version: 0.2\nphases: {build: {commands: ['" + command + "']}}"),
		EnvironmentVariablesOverride: []types.EnvironmentVariable{{Name: aws.String("NAME"), Value: aws.String("value")}},
	}
}

// ended waits for the end of a build.
func ended(t *testing.T, client *codebuild.Client, id *string) (b types.Build) {
	t.Helper()
	schedule := poll.Schedule{First: 10 * time.Millisecond, Limit: 10 * time.Second, What: "the build"}
	must(t, poll.Until(t.Context(), schedule, func(ctx context.Context) (poll.Probe, error) {
		out, err := client.BatchGetBuilds(ctx, &codebuild.BatchGetBuildsInput{Ids: []string{aws.ToString(id)}})
		if err == nil {
			b = out.Builds[0]
		}
		return poll.Probe{Done: err == nil && b.BuildComplete}, err
	}))
	return b
}

// A build runs its commands once, however often it is asked for, and its log is read
// in pages.
func TestBuild(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	client, logs := codebuild.NewFromConfig(c.Own()), cloudwatchlogs.NewFromConfig(c.Own())
	in := startInput("one", "seq 120; echo $NAME; exit 3")
	if _, err := client.StartBuild(t.Context(), in); cloud.Code(err) != "ResourceNotFoundException" {
		t.Errorf("without a project: %v", err)
	}
	c.SetProject("p", cloudtest.Project{})
	c.SetPace(cloudtest.Pace{Build: 50 * time.Millisecond})
	first, err := client.StartBuild(t.Context(), in)
	must(t, err)
	again, err := client.StartBuild(t.Context(), in)
	must(t, err)
	if aws.ToString(first.Build.Id) != aws.ToString(again.Build.Id) || first.Build.BuildComplete {
		t.Errorf("the build is %+v, then %+v", first.Build, again.Build)
	}
	if _, err := client.StartBuild(t.Context(), startInput("one", "exit 4")); cloud.Code(err) != "InvalidInputException" {
		t.Errorf("the same token for another build: %v", err)
	}
	b := ended(t, client, first.Build.Id)
	failed := ""
	for _, p := range b.Phases {
		if p.PhaseStatus == types.StatusTypeFailed {
			failed = string(p.PhaseType) + ": " + aws.ToString(p.Contexts[0].Message)
		}
	}
	if b.BuildStatus != types.StatusTypeFailed || !strings.HasPrefix(failed, "BUILD: COMMAND_EXECUTION_ERROR") || !strings.Contains(failed, "exit status 3") {
		t.Errorf("the build ended %s, %q", b.BuildStatus, failed)
	}
	var text strings.Builder
	var next *string
	pages := 0
	for {
		page, err := logs.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: b.Logs.GroupName, LogStreamName: b.Logs.StreamName, NextToken: next, StartFromHead: aws.Bool(true)})
		must(t, err)
		for _, e := range page.Events {
			text.WriteString(aws.ToString(e.Message))
		}
		if aws.ToString(next) == aws.ToString(page.NextForwardToken) {
			break
		}
		next = page.NextForwardToken
		pages++
	}
	if !strings.Contains(text.String(), "\n119\n120\nvalue\n") || pages < 3 {
		t.Errorf("in %d pages the log says\n%s", pages, &text)
	}
	_, err = logs.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: b.Logs.GroupName, LogStreamName: aws.String("other"), StartFromHead: aws.Bool(true)})
	if !cloud.IsNotFound(err) {
		t.Errorf("a stream that is none: %v", err)
	}
}

// A build that is stopped, takes too long, or gets no machine ends so, with all that
// it started; one that is lost is not found.
func TestBuildEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pace    cloudtest.Pace
		project cloudtest.Project
		stop    bool
		want    types.StatusType
	}{
		"stopped":    {stop: true, want: types.StatusTypeStopped},
		"too long":   {pace: cloudtest.Pace{Minute: 20 * time.Millisecond}, want: types.StatusTypeTimedOut},
		"no machine": {project: cloudtest.Project{Fault: "CLIENT_ERROR: none"}, want: types.StatusTypeFault},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cloudtest.New(t)
			c.SetPace(tt.pace)
			c.SetProject("p", tt.project)
			client := codebuild.NewFromConfig(c.Own())
			out, err := client.StartBuild(t.Context(), startInput("one", "sleep 300 & sleep 300"))
			must(t, err)
			if tt.stop {
				_, err := client.StopBuild(t.Context(), &codebuild.StopBuildInput{Id: out.Build.Id})
				must(t, err)
			}
			if b := ended(t, client, out.Build.Id); b.BuildStatus != tt.want {
				t.Errorf("the build ended %s, want %s", b.BuildStatus, tt.want)
			}
		})
	}
	c := cloudtest.New(t)
	c.SetProject("p", cloudtest.Project{Lost: true})
	client := codebuild.NewFromConfig(c.Own())
	out, err := client.StartBuild(t.Context(), startInput("one", "true"))
	must(t, err)
	got, err := client.BatchGetBuilds(t.Context(), &codebuild.BatchGetBuildsInput{Ids: []string{aws.ToString(out.Build.Id)}})
	if err != nil || len(got.Builds) != 0 || len(got.BuildsNotFound) != 1 {
		t.Errorf("a lost build: %+v, %v", got, err)
	}
}
