// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The plan of a move shows the stored plan of the infrastructure: what would be refused, and
// nothing that is out of date, or about a stage that stays.
func TestWarnInfrastructure(t *testing.T) {
	stage := pipeline.Stage{Pipeline: "shop", Name: "live", Type: pipeline.TypeProduction, Env: &pipeline.EnvironmentSpec{Keep: true}}
	build := pipeline.Build{ID: "b-1", Module: &pipeline.ModulePackage{Artifact: pipeline.Artifact{Digest: "sha256:1"}}}
	st := &pipeline.State{
		Pipeline: pipeline.Pipeline{Name: "shop", Module: &pipeline.Module{Directory: "environment"}},
		Stages:   map[string]pipeline.Stage{"live": stage}, Builds: map[string]pipeline.Build{"b-1": build},
	}
	lost := pipeline.ModuleChange{Address: "acme_database.main", Action: pipeline.ModuleDestroy, Stateful: true}
	plan := pipeline.StagePlan{Stage: "live", Build: "b-1", Basis: pipeline.PlanBasis(st, stage, "b-1"), ModuleCounts: pipeline.ModuleCounts{Destroyed: 1}, Changes: []pipeline.ModuleChange{lost}}
	move := gate.Move{Action: gate.ActionRun, Candidate: gate.Value{ID: "b-1"}}
	for name, test := range map[string]struct {
		change func(s *pipeline.Stage, p *pipeline.StagePlan, m *gate.Move)
		want   string
	}{
		"refused": {func(*pipeline.Stage, *pipeline.StagePlan, *gate.Move) {}, "will refuse it without allow_destroy"},
		"allowed": {func(s *pipeline.Stage, _ *pipeline.StagePlan, _ *gate.Move) { s.Env.AllowDestroy = true }, "0 to add, 0 to change, 1 to destroy in the environment of stage \"live\""},
		"nothing": {func(_ *pipeline.Stage, p *pipeline.StagePlan, _ *gate.Move) {
			p.ModuleCounts, p.Changes = pipeline.ModuleCounts{}, nil
		}, ""},
		"out of date": {func(_ *pipeline.Stage, p *pipeline.StagePlan, _ *gate.Move) { p.Basis = "other" }, ""},
		"not known":   {func(_ *pipeline.Stage, p *pipeline.StagePlan, _ *gate.Move) { p.Unknown = "no" }, ""},
		"it stays":    {func(_ *pipeline.Stage, _ *pipeline.StagePlan, m *gate.Move) { m.Action = gate.ActionNone }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			at, p, m, env := stage, plan, move, *stage.Env
			at.Env = &env
			test.change(&at, &p, &m)
			st.Stages["live"], st.Plans = at, map[string]pipeline.StagePlan{pipeline.StageBuild("live", "b-1"): p}
			var diags diag.Diagnostics
			warnInfrastructure(st, at, m, &diags)
			said := ""
			for _, d := range diags {
				said += d.Summary() + "\n" + d.Detail()
			}
			if (said == "") != (test.want == "") || !strings.Contains(said, test.want) {
				t.Errorf("it says %q, want %q", said, test.want)
			}
		})
	}
}
