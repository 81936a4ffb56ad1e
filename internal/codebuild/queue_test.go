// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// TestQueueIsFull ends a build that never got a machine: the error names the quota, and in a
// build itself that the two wait for each other.
func TestQueueIsFull(t *testing.T) {
	b := &build{id: "penstock-runner:1", output: &output{}, Build: types.Build{
		BuildStatus: types.StatusTypeTimedOut, Environment: &types.ProjectEnvironment{ComputeType: types.ComputeTypeBuildGeneral1Medium},
		Phases: []types.BuildPhase{{PhaseType: types.BuildPhaseTypeSubmitted, PhaseStatus: types.StatusTypeSucceeded}, {PhaseType: types.BuildPhaseTypeQueued, PhaseStatus: types.StatusTypeTimedOut}},
	}}
	const inside = "This apply is such a build itself"
	for id, limit := range map[string]int32{"": 30, "penstock-apply:1": 10} {
		t.Setenv("CODEBUILD_BUILD_ID", id)
		err := b.failure(&types.ResourceNotFoundException{})
		hint := reason.Hint(err)
		if !strings.Contains(hint, `"Concurrently running builds for Linux/Medium environment"`) || strings.Contains(hint, inside) != (id != "") {
			t.Errorf("inside of build %q the hint is %q", id, hint)
		}
		if pipeline.CodeOf(err) != pipeline.CodeFailed || *minutes(queueTime()) != limit {
			t.Errorf("inside of build %q: %v, after %d minutes", id, err, *minutes(queueTime()))
		}
	}
	b.Phases[1].PhaseStatus = types.StatusTypeSucceeded
	if hint := reason.Hint(b.failure(nil)); strings.Contains(hint, "quota") || strings.Contains(hint, "Quotas") {
		t.Errorf("a build that ran is refused for a quota: %q", hint)
	}
}
