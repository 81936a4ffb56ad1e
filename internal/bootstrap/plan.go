// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Change is what happens to one resource of the stack.
type Change struct {
	Action      string `json:"action"`                // Add, Modify, Remove, …
	Resource    string `json:"resource"`              // logical ID
	Type        string `json:"type"`                  // as in AWS::S3::Bucket
	Physical    string `json:"physical_id,omitempty"` // empty for what does not exist yet
	Replacement string `json:"replacement,omitempty"` // True, False or Conditional; empty unless it is modified
}

// Changes is a change set that waits to be applied or discarded.
type Changes struct {
	List []Change
	New  bool // the stack does not exist yet

	stack   *Stack
	id      string // of the change set; empty for none
	stackID string
	token   string
}

// None reports whether the stack is already what was asked for. A change of outputs
// alone has no entry in the list, and is none the less a change.
func (c *Changes) None() bool { return c.id == "" }

// Plan makes a change set for the parameters. It changes nothing yet. The caller
// applies or discards the result.
//
// Errors are CodeInvalid for wrong parameters, CodeLocked while another change is
// under way, and CodeConflict for a stack that must be removed or fixed first, or
// that is not Penstock's.
func (s *Stack) Plan(ctx context.Context, p Parameters) (*Changes, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	found, err := s.describe(ctx, s.name)
	if err != nil {
		return nil, err
	}
	if err := s.plannable(found); err != nil {
		return nil, err
	}
	if err := p.checkPath(found); err != nil {
		return nil, err
	}
	if found == nil && len(s.name) > newNameLength {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "name stack", "%q has %d characters, and what the stack makes is named after it", s.name, len(s.name)).WithHint("Use at most %d.", newNameLength)
	}
	c := &Changes{stack: s, New: found == nil || found.StackStatus == types.StackStatusReviewInProgress}
	input := &cloudformation.CreateChangeSetInput{
		StackName: aws.String(s.name), ChangeSetType: types.ChangeSetTypeUpdate,
		Capabilities: []types.Capability{types.CapabilityCapabilityIam}, Description: aws.String("Made by Penstock"),
	}
	if c.New {
		found = nil
		input.ChangeSetType = types.ChangeSetTypeCreate
	}
	input.Parameters, input.Tags = p.expand(found, s.client.Options().Region), p.tags(s.name, found)
	if err := p.applies(input.Parameters); err != nil {
		return nil, err
	}
	if err := p.checkWebhook(input.Parameters); err != nil {
		return nil, err
	}
	if err := s.checkRunner(found, input.Parameters); err != nil {
		return nil, err
	}
	if err := p.checkPrivate(input.Parameters); err != nil {
		return nil, err
	}
	if err := p.checkTarget(input.Parameters); err != nil {
		return nil, err
	}
	c.token = digest(s.name, s.template, render(input.Parameters), renderTags(input.Tags), state(found))
	input.ClientToken, input.ChangeSetName = aws.String(c.token), aws.String("penstock-"+c.token)
	remove, err := s.attach(ctx, input)
	if err != nil {
		return nil, err
	}
	if err = s.create(ctx, input, c); err == nil {
		err = s.await(ctx, c)
	}
	if removed := remove(context.WithoutCancel(ctx)); err == nil && removed != nil {
		err = errors.Join(removed, c.Discard(context.WithoutCancel(ctx)))
	}
	return c, err
}

// plannable refuses a stack that can't take a change set.
func (s *Stack) plannable(found *types.Stack) error {
	op := s.op("plan changes of")
	if found == nil || found.StackStatus == types.StackStatusReviewInProgress {
		return nil
	}
	status := found.StackStatus
	reason := string(status)
	if r := aws.ToString(found.StackStatusReason); r != "" {
		reason += ": " + r
	}
	switch {
	case strings.HasSuffix(string(status), "_IN_PROGRESS"):
		return pipeline.Errorf(pipeline.CodeLocked, op, "another change is under way (%s)", reason).WithHint("Wait until it has ended, and try again.")
	case status == types.StackStatusUpdateRollbackFailed:
		return pipeline.Errorf(pipeline.CodeConflict, op, "a failed change could not be rolled back (%s)", reason).
			WithHint("Fix the cause, and run `aws cloudformation continue-update-rollback --region %s --stack-name %s`.", s.client.Options().Region, s.name)
	case broken(status):
		return pipeline.Errorf(pipeline.CodeConflict, op, "a failed attempt left resources (%s)", reason).
			WithHint("Remove them, and try again.").WithAdvice(s.advice(pipeline.VerbDestroyStack))
	}
	version, err := s.version(found)
	switch {
	case err != nil:
		return err
	case version > TemplateVersion:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "it has version %d of the template, but this program has version %d", version, TemplateVersion).
			WithHint("Use the newest penstock.")
	}
	return nil
}

// broken reports whether a stack in a status can only be deleted.
func broken(status types.StackStatus) bool {
	switch status {
	case types.StackStatusRollbackComplete, types.StackStatusRollbackFailed, types.StackStatusCreateFailed, types.StackStatusDeleteFailed:
		return true
	}
	return false
}

// create makes the change set. One of the same content may be there from before: it
// is taken when it can still be executed, and replaced when not.
func (s *Stack) create(ctx context.Context, input *cloudformation.CreateChangeSetInput, c *Changes) error {
	op := s.op("plan changes of")
	for range 2 {
		out, err := s.client.CreateChangeSet(ctx, input)
		if err == nil {
			c.id, c.stackID = aws.ToString(out.Id), aws.ToString(out.StackId)
			return nil
		}
		if !cloud.Is(err, "AlreadyExistsException") {
			return cloud.Fault(ctx, op, err)
		}
		old, err := s.client.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{StackName: input.StackName, ChangeSetName: input.ChangeSetName})
		if cloud.Is(err, "ChangeSetNotFound") {
			continue
		}
		if err != nil {
			return cloud.Fault(ctx, op, err)
		}
		if old.ExecutionStatus == types.ExecutionStatusAvailable || old.Status == types.ChangeSetStatusCreatePending || old.Status == types.ChangeSetStatusCreateInProgress {
			c.id, c.stackID = aws.ToString(old.ChangeSetId), aws.ToString(old.StackId)
			return nil
		}
		if _, err := s.client.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: old.ChangeSetId}); err != nil {
			return cloud.Fault(ctx, op, err)
		}
	}
	return pipeline.Errorf(pipeline.CodeLocked, op, "another plan with the same content is under way").WithHint("Try again when it has ended.")
}

// await waits for the change set, and reads it. One that failed, or holds nothing, is
// removed again.
func (s *Stack) await(ctx context.Context, c *Changes) error {
	var set *cloudformation.DescribeChangeSetOutput
	err := s.wait(ctx, "the change set of stack "+s.name, func(ctx context.Context) (poll.Probe, error) {
		var err error
		set, err = s.client.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: aws.String(c.id)})
		if err != nil {
			return poll.Probe{}, err
		}
		done := set.Status == types.ChangeSetStatusCreateComplete || set.Status == types.ChangeSetStatusFailed
		return poll.Probe{Done: done, State: string(set.Status)}, nil
	})
	if err == nil && set.Status == types.ChangeSetStatusCreateComplete {
		err = s.read(ctx, c, set)
	} else if err == nil && !unchanged(aws.ToString(set.StatusReason)) {
		err = pipeline.Errorf(pipeline.CodeFailed, s.op("plan changes of"), "AWS refuses the change set: %s", aws.ToString(set.StatusReason)).
			WithHint("Correct what AWS names, and try again.")
	}
	if err != nil || set.Status == types.ChangeSetStatusFailed {
		discarded := c.Discard(context.WithoutCancel(ctx))
		if err == nil {
			err = discarded
		}
	}
	return err
}

// unchanged reports whether a change set failed because there is nothing to change.
// CloudFormation says so in this text alone; its own command line reads it, too.
func unchanged(reason string) bool {
	return strings.Contains(reason, "didn't contain changes") || strings.Contains(reason, "No updates are to be performed")
}

// read reads the pages of the change set.
func (s *Stack) read(ctx context.Context, c *Changes, page *cloudformation.DescribeChangeSetOutput) error {
	for {
		for _, change := range page.Changes {
			r := change.ResourceChange
			if r == nil {
				continue
			}
			c.List = append(c.List, Change{
				Action: string(r.Action), Resource: aws.ToString(r.LogicalResourceId), Type: aws.ToString(r.ResourceType),
				Physical: aws.ToString(r.PhysicalResourceId), Replacement: string(r.Replacement),
			})
		}
		if aws.ToString(page.NextToken) == "" {
			return nil
		}
		var err error
		page, err = s.client.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: aws.String(c.id), NextToken: page.NextToken})
		if err != nil {
			return cloud.Fault(ctx, s.op("plan changes of"), err)
		}
	}
}

// Discard removes the change set, and the empty stack that CloudFormation made for it.
func (c *Changes) Discard(ctx context.Context) error {
	if c.None() {
		return nil
	}
	s, op := c.stack, c.stack.op("discard changes of")
	_, err := s.client.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: aws.String(c.id)})
	if err != nil && !cloud.Is(err, "ChangeSetNotFound") {
		return cloud.Fault(ctx, op, err)
	}
	c.id = ""
	if !c.New {
		return nil
	}
	found, err := s.describe(ctx, c.stackID)
	if err != nil || found == nil || found.StackStatus != types.StackStatusReviewInProgress {
		return err
	}
	// Somebody else may be about to make this stack.
	others, err := s.client.ListChangeSets(ctx, &cloudformation.ListChangeSetsInput{StackName: aws.String(c.stackID)})
	if err != nil || len(others.Summaries) > 0 {
		return cloud.Fault(ctx, op, err)
	}
	_, err = s.client.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(c.stackID)})
	return cloud.Fault(ctx, op, err)
}

// state returns what makes a stack differ from itself before its last change.
func state(found *types.Stack) string {
	if found == nil {
		return ""
	}
	return fmt.Sprint(aws.ToString(found.StackId), aws.ToTime(found.LastUpdatedTime).UTC().Format(time.RFC3339Nano))
}

// digest returns the same short text for the same parts.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
