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

// warnInfrastructure says in the plan of a move what the stored plans say of the stage's
// infrastructure, at each of its targets. It plans nothing itself: a plan of the configuration
// has to be quick.
func warnInfrastructure(st *pipeline.State, stage pipeline.Stage, move gate.Move, diags *diag.Diagnostics) {
	if !move.Moves() || move.Candidate.Unknown || !stage.Persistent() {
		return
	}
	for _, at := range stage.AtPlaces() {
		warnStored(st, at, move.Candidate.ID, diags)
	}
}

// warnStored says what the stored plan says of the infrastructure of a stage where it has one
// environment.
func warnStored(st *pipeline.State, at pipeline.Stage, build string, diags *diag.Diagnostics) {
	plan, current, stored := pipeline.PlanOf(st, at, build)
	if !stored || !current || plan.Unknown != "" || plan.None() {
		return
	}
	where := fmt.Sprintf("stage %q", at.Name)
	if stage, target := pipeline.CutTarget(at.Name); target != "" {
		where = fmt.Sprintf("target %q of stage %q", target, stage)
	}
	lines := []string{fmt.Sprintf("Build %s: %s in the environment of %s, planned at %s.", build, ask.Counts(plan.ModuleCounts), where, pipeline.Moment(plan.At))}
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
