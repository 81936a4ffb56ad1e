// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ask_test

import (
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

func TestInfrastructure(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	plan := pipeline.StagePlan{ModuleCounts: pipeline.ModuleCounts{Added: 2, Destroyed: 1}, At: now.Add(-time.Hour)}
	failed := pipeline.StagePlan{Unknown: "no such variable", At: now}
	lost := pipeline.ModuleChange{Address: "db.main", Action: pipeline.ModuleReplace, Reason: "a change of engine", Stateful: true}
	e := report.Evidence{Verb: "promote", Pipeline: "shop", Stage: "live", Build: report.Named{ID: "b-1"}}
	for want, got := range map[string]string{
		"not planned yet": ask.Infrastructure(report.Infrastructure{}, now),
		"2 to add, 0 to change, 1 to destroy, planned 1h ago":                          ask.Infrastructure(report.Infrastructure{Plan: &plan}, now),
		"2 to add, 0 to change, 1 to destroy, by a plan of 1h ago that is out of date": ask.Infrastructure(report.Infrastructure{Plan: &plan, Outdated: true}, now),
		"not known, as a plan failed 0s ago: no such variable":                         ask.Infrastructure(report.Infrastructure{Plan: &failed}, now),
		"no changes": ask.Counts(pipeline.ModuleCounts{}),
		"`penstock evidence promote shop live b-1` plans it now.":                 ask.Replan(e, report.Infrastructure{}),
		"db.main is destroyed and made again (a change of engine), with its data": ask.ModuleChange(lost),
		"and 2 more, which are not listed":                                        ask.Unlisted(pipeline.ModuleCounts{Added: 2, Destroyed: 1}, []pipeline.ModuleChange{{Action: pipeline.ModuleDestroy}}),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := ask.Replan(e, report.Infrastructure{Plan: &plan}) + ask.Refusal(report.Infrastructure{Plan: &plan}) + ask.Unlisted(plan.ModuleCounts, []pipeline.ModuleChange{{Action: pipeline.ModuleCreate}, {Action: pipeline.ModuleReplace}}); got != "" {
		t.Errorf("of a plan without a fault it says %q", got)
	}
}
