// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// InUse returns the names of the pipelines that a table holds.
type InUse func(ctx context.Context, table string) ([]string, error)

// Kept is what a deletion leaves: it contains what nobody can make again.
type Kept struct {
	Bucket string `json:"bucket,omitempty"`
	Table  string `json:"table,omitempty"`
}

// Delete deletes the stack, reports each event, and waits for the end. The bucket and
// the table that the stack made stay as they are. Without a stack there is nothing to
// delete. It refuses with CodeConflict while the table holds pipelines. What is left
// of a failed creation or deletion is deleted without a question.
func (s *Stack) Delete(ctx context.Context, inUse InUse, progress func(Event)) (Kept, error) {
	if err := s.check(); err != nil {
		return Kept{}, err
	}
	found, err := s.describe(ctx, s.name)
	if err != nil || found == nil {
		return Kept{}, err
	}
	kept, err := s.deletable(ctx, found, inUse)
	if err != nil {
		return Kept{}, err
	}
	id := aws.ToString(found.StackId)
	follower := &follower{stack: s, id: id, progress: progress}
	if err := follower.skip(ctx); err != nil {
		return Kept{}, err
	}
	_, err = s.client.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(id), ClientRequestToken: aws.String("penstock-" + rand.Text())})
	if err != nil {
		return Kept{}, cloud.Fault(ctx, s.op("delete"), err)
	}
	status, err := follower.follow(ctx, "the deletion of stack "+s.name)
	if err != nil {
		return Kept{}, err
	}
	if status != string(types.StackStatusDeleteComplete) {
		return Kept{}, pipeline.Errorf(pipeline.CodeFailed, s.op("delete"), "%s", follower.cause(status)).
			WithHint("Remove what still uses the resource, and try again.").WithAdvice(s.advice(pipeline.VerbDestroyStack))
	}
	return kept, nil
}

// deletable refuses a stack that must not be deleted, and returns what will be kept.
func (s *Stack) deletable(ctx context.Context, found *types.Stack, inUse InUse) (Kept, error) {
	op := s.op("delete")
	if strings.HasSuffix(string(found.StackStatus), "_IN_PROGRESS") && found.StackStatus != types.StackStatusReviewInProgress {
		return Kept{}, pipeline.Errorf(pipeline.CodeLocked, op, "another change is under way (%s)", found.StackStatus).WithHint("Wait until it has ended, and try again.")
	}
	if !s.tagged(found) { // then its outputs must identify it
		if _, err := s.version(found); err != nil {
			return Kept{}, err
		}
	}
	r := s.resources(found, 0)
	// What is left of a failed attempt can't be opened by anybody, nor asked.
	if r.Table != "" && !broken(found.StackStatus) {
		names, err := inUse(ctx, r.Table)
		if err != nil {
			return Kept{}, err
		}
		if len(names) > 0 {
			return Kept{}, pipeline.Errorf(pipeline.CodeConflict, op, "it is in use by %s", strings.Join(slices.Sorted(slices.Values(names)), ", ")).
				WithHint("Destroy these pipelines with Terraform first.")
		}
	}
	kept := Kept{Bucket: r.Bucket, Table: r.Table}
	for _, p := range found.Parameters { // what was given is not the stack's
		switch aws.ToString(p.ParameterKey) + "=" + aws.ToString(p.ParameterValue) {
		case "BucketName=" + r.Bucket:
			kept.Bucket = ""
		case "TableName=" + r.Table:
			kept.Table = ""
		}
	}
	return kept, nil
}

// tagged reports whether Plan made the stack. One that never got as far as to have
// outputs has nothing else to be known by.
func (s *Stack) tagged(found *types.Stack) bool {
	for _, t := range found.Tags {
		if aws.ToString(t.Key) == tagStack {
			return true
		}
	}
	return false
}
