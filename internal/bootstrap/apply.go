// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Event is a step that CloudFormation took.
type Event struct {
	Time     time.Time
	Resource string // logical ID; the stack's name for the stack itself
	Type     string
	Physical string // ID or name of the thing; may be empty
	Status   string // as in CREATE_COMPLETE
	Reason   string // may be empty
}

// String renders the event in a line.
func (e Event) String() string {
	text := e.Status + " " + e.Type + " " + e.Resource
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func (e Event) failed() bool { return strings.HasSuffix(e.Status, "_FAILED") }

// Apply executes the change set, reports each event in order, and waits for the end.
// progress may be nil. A change that fails is taken back by CloudFormation; the error,
// of CodeFailed, names the resource that failed first and AWS's reason.
func (c *Changes) Apply(ctx context.Context, progress func(Event)) error {
	if c.None() {
		return nil
	}
	s := c.stack
	follower := &follower{stack: s, id: c.stackID, progress: progress}
	if err := follower.skip(ctx); err != nil {
		return err
	}
	if err := c.execute(ctx); err != nil {
		return err
	}
	c.id = ""
	status, err := follower.follow(ctx, "the change of stack "+s.name)
	switch {
	case err != nil:
		return err
	case status == string(types.StackStatusCreateComplete) || status == string(types.StackStatusUpdateComplete):
		return nil
	}
	return c.failure(follower, status)
}

// execute starts the change. An answer that was lost is no reason to fail.
func (c *Changes) execute(ctx context.Context) error {
	s, op := c.stack, c.stack.op("change")
	_, err := s.client.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{ChangeSetName: aws.String(c.id), ClientRequestToken: aws.String(c.token)})
	if !cloud.Is(err, "InvalidChangeSetStatus") {
		return cloud.Fault(ctx, op, err)
	}
	set, described := s.client.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: aws.String(c.id)})
	if described == nil && strings.HasPrefix(string(set.ExecutionStatus), "EXECUTE_") {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeConflict, op, "the change set can no longer be executed: %w", err).
		WithHint("The stack has changed since. Review the changes again.").WithAdvice(s.advice(pipeline.VerbUpdateStack))
}

// failure says what failed, and what to do.
func (c *Changes) failure(f *follower, status string) error {
	s := c.stack
	failed := pipeline.Errorf(pipeline.CodeFailed, s.op("change"), "%s", f.cause(status))
	switch {
	case c.New:
		hint := "Fix the cause, remove what is left, and try again."
		if len(f.kept) > 0 {
			hint += " These were kept: " + strings.Join(f.kept, ", ") + "; remove them by hand, or pass them with --bucket and --table."
		}
		return failed.WithHint("%s", hint).WithAdvice(s.advice(pipeline.VerbDestroyStack))
	case status == string(types.StackStatusUpdateRollbackFailed):
		return failed.WithHint("The change could not be rolled back either. Fix the cause, and run `aws cloudformation continue-update-rollback --region %s --stack-name %s`.",
			s.client.Options().Region, s.name)
	default:
		return failed.WithHint("The stack is as it was before. Fix the cause, and try again.")
	}
}

// follower reads the events of a stack as they come.
type follower struct {
	stack    *Stack
	id       string // of the stack
	progress func(Event)
	last     string   // ID of the newest event that was seen
	first    *Event   // resource that failed first
	whole    *Event   // the newest event of the stack itself
	kept     []string // what was not deleted with the rest
}

// skip passes over the events so far.
func (f *follower) skip(ctx context.Context) error {
	out, err := f.stack.client.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: aws.String(f.id)})
	if err != nil {
		return cloud.Fault(ctx, f.stack.op("read events of"), err)
	}
	if len(out.StackEvents) > 0 {
		f.last = aws.ToString(out.StackEvents[0].EventId)
	}
	return nil
}

// follow reports the events until one says that the stack has come to rest, and
// returns the stack's final status. The stack's own status may still be the previous
// one when a change has just begun; its events are never mistaken.
func (f *follower) follow(ctx context.Context, what string) (string, error) {
	err := f.stack.wait(ctx, what, func(ctx context.Context) (poll.Probe, error) {
		fresh, err := f.fresh(ctx)
		if err != nil {
			return poll.Probe{}, err
		}
		for _, e := range fresh {
			f.take(e)
		}
		if f.whole == nil {
			return poll.Probe{State: "not begun"}, nil
		}
		return poll.Probe{Done: !strings.HasSuffix(f.whole.Status, "_IN_PROGRESS"), State: f.whole.Status}, nil
	})
	if err != nil {
		return "", err
	}
	return f.whole.Status, nil
}

// take notes and reports an event.
func (f *follower) take(raw types.StackEvent) {
	e := Event{
		Time: aws.ToTime(raw.Timestamp), Resource: aws.ToString(raw.LogicalResourceId), Type: aws.ToString(raw.ResourceType),
		Physical: aws.ToString(raw.PhysicalResourceId), Status: string(raw.ResourceStatus), Reason: aws.ToString(raw.ResourceStatusReason),
	}
	own := e.Physical == f.id
	switch {
	case own:
		f.whole = &e
	case e.failed() && f.first == nil:
		f.first = &e
	case e.Status == string(types.ResourceStatusDeleteSkipped) && e.Physical != "":
		f.kept = append(f.kept, e.Physical)
	}
	if f.progress != nil {
		f.progress(e)
	}
}

// fresh returns the events since the last one seen, oldest first.
func (f *follower) fresh(ctx context.Context) ([]types.StackEvent, error) {
	var list []types.StackEvent
	input := &cloudformation.DescribeStackEventsInput{StackName: aws.String(f.id)}
	for {
		out, err := f.stack.client.DescribeStackEvents(ctx, input)
		if err != nil {
			return nil, err
		}
		for _, e := range out.StackEvents { // newest first
			if aws.ToString(e.EventId) == f.last {
				input.NextToken, out.NextToken = nil, nil
				break
			}
			list = append(list, e)
		}
		if aws.ToString(out.NextToken) == "" {
			break
		}
		input.NextToken = out.NextToken
	}
	if len(list) > 0 {
		f.last = aws.ToString(list[0].EventId)
	}
	slices.Reverse(list)
	return list, nil
}

// cause names the resource that failed first and AWS's reason.
func (f *follower) cause(status string) string {
	switch {
	case f.first != nil:
		return fmt.Sprintf("%s (%s) failed: %s", f.first.Resource, f.first.Type, f.first.Reason)
	case f.whole != nil && f.whole.Reason != "":
		return fmt.Sprintf("it ended in %s: %s", status, f.whole.Reason)
	default:
		return "it ended in " + status
	}
}
