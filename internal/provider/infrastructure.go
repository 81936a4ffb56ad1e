// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// warnInfrastructure says in the plan of a move what the stored plan says of the stage's
// infrastructure. It plans nothing itself: a plan of the configuration has to be quick.
func warnInfrastructure(st *pipeline.State, stage pipeline.Stage, move gate.Move, diags *diag.Diagnostics) {
	if !move.Moves() || move.Candidate.Unknown || !stage.Persistent() {
		return
	}
	plan, current, stored := pipeline.PlanOf(st, stage, move.Candidate.ID)
	if !stored || !current || plan.Unknown != "" || plan.None() {
		return
	}
	lines := []string{fmt.Sprintf("Build %s: %s in the environment of stage %q, planned at %s.", move.Candidate.ID, ask.Counts(plan.ModuleCounts), stage.Name, pipeline.Moment(plan.At))}
	for _, c := range plan.Changes {
		lines = append(lines, "  "+ask.ModuleChange(c))
	}
	if more := ask.Unlisted(plan.ModuleCounts, plan.Changes); more != "" {
		lines = append(lines, "  "+more)
	}
	summary := "The infrastructure changes"
	if refusal := ask.Refusal(report.Planned(st, plan)); refusal != "" {
		summary = "The infrastructure would lose data"
		lines = append(lines, refusal)
	}
	diags.AddWarning(summary, strings.Join(lines, "\n"))
}
