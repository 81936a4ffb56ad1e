// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// aroundLines is how many of the last lines of CodeBuild's own an error shows.
const aroundLines = 12

// output is what a command prints, found in the log of its build: the job says in
// the log where it begins and ends. The rest is CodeBuild's own.
type output struct {
	id   string // of the transfer: what no other build prints
	log  io.Writer
	next *string // token of the next page

	ready, begun, ended bool
	own                 []string // the last lines of CodeBuild's
}

// logged reports whether the build has a log: not before it has a machine, nor ever
// where its project keeps none.
func (b *build) logged() bool {
	return b.Logs != nil && aws.ToString(b.Logs.GroupName) != "" && aws.ToString(b.Logs.StreamName) != ""
}

// read passes on what has come into the log since the last time.
func (w *Worker) read(ctx context.Context, b *build) error {
	if !b.logged() {
		return nil
	}
	for {
		page, err := w.logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{
			LogGroupName: b.Logs.GroupName, LogStreamName: b.Logs.StreamName, NextToken: b.output.next, StartFromHead: aws.Bool(true),
		})
		if cloud.IsNotFound(err) {
			return nil // it has printed nothing yet
		}
		if err != nil {
			return cloud.Fault(ctx, "read log of build", err)
		}
		for _, e := range page.Events {
			if err := b.output.take(aws.ToString(e.Message)); err != nil {
				return pipeline.Errorf(pipeline.CodeFailed, "write log", "%w", err)
			}
		}
		end := aws.ToString(page.NextForwardToken) == aws.ToString(b.output.next)
		b.output.next = page.NextForwardToken
		if end {
			return nil
		}
	}
}

// drain reads on until the end of the output has come, where the job said it. A log
// whose end does not come is no reason to fail the command.
func (w *Worker) drain(ctx context.Context, b *build) error {
	if !b.output.begun || b.output.ended || b.BuildStatus != types.StatusTypeSucceeded && b.BuildStatus != types.StatusTypeFailed {
		return w.read(ctx, b)
	}
	limited, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	err := poll.Until(limited, poll.Schedule{First: min(w.Pause, time.Second), What: "the end of the output of build " + b.id}, func(ctx context.Context) (poll.Probe, error) {
		err := w.read(ctx, b)
		return poll.Probe{Done: b.output.ended}, err
	})
	if limited.Err() != nil && ctx.Err() == nil {
		w.Logger.Warn("the end of a build's output is not in its log", "build", b.id)
		return nil
	}
	return err
}

// take takes an event of the log: a line, or several.
func (o *output) take(message string) error {
	var out strings.Builder
	for line := range strings.Lines(message) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case o.begun && !o.ended:
			if rest, ok := strings.CutSuffix(line, o.mark("ends")); ok {
				o.ended = true
				if line = rest; line == "" {
					continue
				}
			}
			out.WriteString(line + "\n")
		case line == o.mark("ready"):
			o.ready = true
		case line == o.mark("begins"):
			o.begun = true
		default:
			if o.own = append(o.own, line); len(o.own) > aroundLines {
				o.own = o.own[1:]
			}
		}
	}
	if out.Len() == 0 || o.log == nil {
		return nil
	}
	_, err := io.WriteString(o.log, out.String())
	return err
}

func (o *output) mark(what string) string { return "penstock " + o.id + " " + what }

// around returns the last lines of the log that are not the command's.
func (o *output) around() string {
	if len(o.own) == 0 {
		return ""
	}
	return "  " + strings.Join(o.own, "\n  ")
}
