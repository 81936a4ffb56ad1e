// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestDelete(t *testing.T) {
	f := newFake(t, types.StackStatusUpdateComplete)
	f.output("Bucket", "given")
	f.output("Table", "made")
	f.stack.Parameters = []types.Parameter{{ParameterKey: aws.String("BucketName"), ParameterValue: aws.String("given")}, {ParameterKey: aws.String("TableName"), ParameterValue: aws.String("")}}
	_, err := f.stackOf().Delete(t.Context(), func(_ context.Context, table string) ([]string, error) { return []string{"shop", table}, nil }, nil)
	check(t, err, pipeline.CodeConflict, "in use by made, shop", "Destroy these pipelines")
	if f.called("DeleteStack") {
		t.Fatal("deleted, though in use")
	}
	kept, err := f.stackOf().Delete(t.Context(), none, nil)
	must(t, err)
	if want := (bootstrap.Kept{Table: "made"}); kept != want {
		t.Errorf("kept %+v, want %+v", kept, want)
	}
	_, err = f.stackOf().Delete(t.Context(), none, nil)
	must(t, err) // there is none any more
}

func TestFailedDeletion(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	f.script = []types.StackEvent{event("penstock", types.StackStatusDeleteInProgress, ""), event("InstanceSecurityGroup", types.StackStatusDeleteFailed, "it has a dependent object"),
		event("penstock", types.StackStatusDeleteFailed, "")}
	_, err := f.stackOf().Delete(t.Context(), none, nil)
	check(t, err, pipeline.CodeFailed, "InstanceSecurityGroup (AWS::Test::InstanceSecurityGroup) failed: it has a dependent object", "--destroy")
	f.script = nil
	_, err = f.stackOf().Delete(t.Context(), none, nil)
	must(t, err)

	_, err = newFake(t, types.StackStatusUpdateInProgress).stackOf().Delete(t.Context(), none, nil)
	check(t, err, pipeline.CodeLocked, "UPDATE_IN_PROGRESS", "Wait")
}

// A ledger that can't be read may hold pipelines; what is left of a failed attempt can't
// be asked.
func TestDeletionAsksTheLedger(t *testing.T) {
	unreadable := func(context.Context, string) ([]string, error) { return nil, errors.New("the ledger can't be read") }
	for status, refused := range map[types.StackStatus]bool{types.StackStatusUpdateComplete: true, types.StackStatusDeleteFailed: false} {
		f := newFake(t, status)
		f.output("Table", "made")
		_, err := f.stackOf().Delete(t.Context(), unreadable, nil)
		if (err != nil) != refused || f.called("DeleteStack") == refused {
			t.Errorf("%s: %v, calls %v", status, err, f.calls)
		}
	}
}
