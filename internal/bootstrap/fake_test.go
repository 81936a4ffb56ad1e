// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
)

const stackID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/penstock/1"

// fake is a CloudFormation with one stack, which does what the simulator can't.
type fake struct {
	t      *testing.T
	region string
	stack  *types.Stack
	sets   map[string]*cfn.DescribeChangeSetOutput // by name

	refusal string             // of the next change set; its reason
	script  []types.StackEvent // of the next execution or deletion, oldest first
	events  []types.StackEvent // so far, newest first
	page    int                // events on a page
	made    []*cfn.CreateChangeSetInput
	calls   []string
	errs    map[string]error // of the next call of an action
}

func newFake(t *testing.T, status types.StackStatus) *fake {
	f := &fake{t: t, sets: map[string]*cfn.DescribeChangeSetOutput{}, errs: map[string]error{}, page: 3}
	if status == "" {
		return f
	}
	f.stack = &types.Stack{StackName: aws.String("penstock"), StackId: aws.String(stackID), StackStatus: status,
		Tags: []types.Tag{{Key: aws.String("penstock:stack"), Value: aws.String("penstock")}}}
	f.output("TemplateVersion", "1")
	f.happen(event("penstock", status, ""))
	return f
}

func (f *fake) stackOf() *bootstrap.Stack { return bootstrap.NewWith(f, f, "penstock", 1) }

func (f *fake) output(key, value string) {
	f.stack.Outputs = append(f.stack.Outputs, types.Output{OutputKey: aws.String(key), OutputValue: aws.String(value)})
}

// event is one of the stack, or of a resource whose type is made from its name.
func event(resource string, status types.StackStatus, reason string) types.StackEvent {
	e := types.StackEvent{LogicalResourceId: aws.String(resource), ResourceStatus: types.ResourceStatus(status), ResourceStatusReason: aws.String(reason),
		ResourceType: aws.String("AWS::Test::" + resource), PhysicalResourceId: aws.String("physical-" + resource)}
	if resource == "penstock" {
		e.PhysicalResourceId = aws.String(stackID)
	}
	return e
}

func (f *fake) happen(events ...types.StackEvent) {
	for _, e := range events {
		e.EventId = aws.String(fmt.Sprint(len(f.events)))
		f.events = slices.Insert(f.events, 0, e)
		if aws.ToString(e.PhysicalResourceId) == stackID {
			f.stack.StackStatus = types.StackStatus(e.ResourceStatus)
		}
	}
}

// call notes a call, and returns the error that a test set for it.
func (f *fake) call(action string) error {
	f.calls = append(f.calls, action)
	err := f.errs[action]
	delete(f.errs, action)
	return err
}

func (f *fake) called(action string) bool { return slices.Contains(f.calls, action) }

func fault(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "refused by the test"}
}

// Upload implements bootstrap.Uploader.
func (f *fake) Upload(_ context.Context, stack, _ string) (string, func(context.Context) error, error) {
	err := f.call("Upload")
	return "https://" + stack + ".example.com", func(context.Context) error { return f.call("remove") }, err
}

func (f *fake) Options() cfn.Options { return cfn.Options{Region: cmp.Or(f.region, "eu-west-1")} }

func (f *fake) DescribeStacks(_ context.Context, in *cfn.DescribeStacksInput, _ ...func(*cfn.Options)) (*cfn.DescribeStacksOutput, error) {
	if err := f.call("DescribeStacks"); err != nil {
		return nil, err
	}
	gone := f.stack != nil && f.stack.StackStatus == types.StackStatusDeleteComplete && aws.ToString(in.StackName) != stackID
	if f.stack == nil || gone {
		return nil, fault("ValidationError")
	}
	return &cfn.DescribeStacksOutput{Stacks: []types.Stack{*f.stack}}, nil
}

func (f *fake) DescribeStackEvents(_ context.Context, in *cfn.DescribeStackEventsInput, _ ...func(*cfn.Options)) (*cfn.DescribeStackEventsOutput, error) {
	if err := f.call("DescribeStackEvents"); err != nil {
		return nil, err
	}
	start := 0
	if in.NextToken != nil {
		_, _ = fmt.Sscan(*in.NextToken, &start)
	}
	end := min(start+f.page, len(f.events))
	out := &cfn.DescribeStackEventsOutput{StackEvents: f.events[start:end]}
	if end < len(f.events) {
		out.NextToken = aws.String(fmt.Sprint(end))
	}
	return out, nil
}

func (f *fake) DeleteStack(_ context.Context, in *cfn.DeleteStackInput, _ ...func(*cfn.Options)) (*cfn.DeleteStackOutput, error) {
	if err := f.call("DeleteStack"); err != nil {
		return nil, err
	}
	if aws.ToString(in.StackName) != stackID {
		f.t.Errorf("deletion of %s, which is no ID", aws.ToString(in.StackName))
	}
	if f.script == nil {
		f.script = []types.StackEvent{event("penstock", types.StackStatusDeleteComplete, "")}
	}
	f.happen(f.script...)
	return &cfn.DeleteStackOutput{}, nil
}

func (f *fake) CreateChangeSet(_ context.Context, in *cfn.CreateChangeSetInput, _ ...func(*cfn.Options)) (*cfn.CreateChangeSetOutput, error) {
	if err := f.call("CreateChangeSet"); err != nil {
		return nil, err
	}
	f.made = append(f.made, in)
	name := aws.ToString(in.ChangeSetName)
	if f.sets[name] != nil {
		return nil, fault("AlreadyExistsException")
	}
	if (in.ChangeSetType == types.ChangeSetTypeCreate) != (f.stack == nil || f.stack.StackStatus == types.StackStatusReviewInProgress) {
		return nil, fault("ValidationError")
	}
	if f.stack == nil {
		f.stack = &types.Stack{StackName: in.StackName, StackId: aws.String(stackID), Tags: in.Tags}
		f.happen(event("penstock", types.StackStatusReviewInProgress, ""))
	}
	set := &cfn.DescribeChangeSetOutput{ChangeSetId: aws.String("set/" + name), ChangeSetName: in.ChangeSetName, StackId: aws.String(stackID),
		Status: types.ChangeSetStatusCreateComplete, ExecutionStatus: types.ExecutionStatusAvailable, Parameters: in.Parameters}
	if f.refusal != "" {
		set.Status, set.ExecutionStatus, set.StatusReason = types.ChangeSetStatusFailed, types.ExecutionStatusUnavailable, aws.String(f.refusal)
	}
	f.sets[name] = set
	return &cfn.CreateChangeSetOutput{Id: set.ChangeSetId, StackId: set.StackId}, nil
}

// find finds a change set by name or ID.
func (f *fake) find(name *string) (*cfn.DescribeChangeSetOutput, error) {
	if set := f.sets[strings.TrimPrefix(aws.ToString(name), "set/")]; set != nil {
		return set, nil
	}
	return nil, fault("ChangeSetNotFound")
}

// DescribeChangeSet returns the change set in two pages.
func (f *fake) DescribeChangeSet(_ context.Context, in *cfn.DescribeChangeSetInput, _ ...func(*cfn.Options)) (*cfn.DescribeChangeSetOutput, error) {
	if err := f.call("DescribeChangeSet"); err != nil {
		return nil, err
	}
	set, err := f.find(in.ChangeSetName)
	if err != nil || set.Status != types.ChangeSetStatusCreateComplete {
		return set, err
	}
	page := *set
	change := types.ResourceChange{Action: types.ChangeActionAdd, LogicalResourceId: aws.String("Bucket"), ResourceType: aws.String("AWS::S3::Bucket")}
	if in.NextToken == nil {
		page.NextToken = aws.String("more")
	} else {
		change = types.ResourceChange{Action: types.ChangeActionModify, LogicalResourceId: aws.String("Table"), ResourceType: aws.String("AWS::DynamoDB::Table"),
			PhysicalResourceId: aws.String("t"), Replacement: types.ReplacementTrue}
	}
	page.Changes = []types.Change{{Type: types.ChangeTypeResource, ResourceChange: &change}}
	return &page, nil
}

func (f *fake) ListChangeSets(context.Context, *cfn.ListChangeSetsInput, ...func(*cfn.Options)) (*cfn.ListChangeSetsOutput, error) {
	if err := f.call("ListChangeSets"); err != nil {
		return nil, err
	}
	return &cfn.ListChangeSetsOutput{Summaries: make([]types.ChangeSetSummary, len(f.sets))}, nil
}

func (f *fake) ExecuteChangeSet(_ context.Context, in *cfn.ExecuteChangeSetInput, _ ...func(*cfn.Options)) (*cfn.ExecuteChangeSetOutput, error) {
	failed := f.call("ExecuteChangeSet")
	set, err := f.find(in.ChangeSetName)
	if err != nil {
		return nil, err
	}
	if set.ExecutionStatus != types.ExecutionStatusAvailable {
		return nil, fault("InvalidChangeSetStatus")
	}
	set.ExecutionStatus = types.ExecutionStatusExecuteInProgress
	f.happen(f.script...)
	return &cfn.ExecuteChangeSetOutput{}, failed
}

func (f *fake) DeleteChangeSet(_ context.Context, in *cfn.DeleteChangeSetInput, _ ...func(*cfn.Options)) (*cfn.DeleteChangeSetOutput, error) {
	if err := f.call("DeleteChangeSet"); err != nil {
		return nil, err
	}
	delete(f.sets, strings.TrimPrefix(aws.ToString(in.ChangeSetName), "set/"))
	return &cfn.DeleteChangeSetOutput{}, nil
}

// none is the answer of a table without pipelines.
func none(context.Context, string) ([]string, error) { return nil, nil }
