// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Infrastructure is what the module of a build would do in the persistent environment of a
// stage, as far as a stored plan says it.
type Infrastructure struct {
	Stage string `json:"stage"` // with the target behind an @, of a stage with several
	Build string `json:"build"`
	// Plan is the stored plan; null if none has been made.
	Plan *pipeline.StagePlan `json:"plan,omitempty" shape:"stage_plan"`
	// Outdated says that the plan is of another environment than the present one, or of other
	// variables: another would be made now.
	Outdated bool `json:"outdated,omitempty"`
	// Refused are the changes by which data would be lost, and for which a run is refused
	// until the stage has allow_destroy.
	Refused []pipeline.ModuleChange `json:"refused,omitempty"`
}

// Known reports whether the plan says what would be done now.
func (i Infrastructure) Known() bool { return i.Plan != nil && !i.Outdated && i.Plan.Unknown == "" }

// InfrastructureOf returns what is stored of what a build would do in the environment of a
// stage; false if there is nothing to plan, as the build serves there, or has no module.
func InfrastructureOf(st *pipeline.State, stage pipeline.Stage, build string) (Infrastructure, bool) {
	if env, ok := st.RunEnvironment(stage.Name, pipeline.ForStage); ok && env.Build == build || pipeline.PlanBasis(st, stage, build) == "" {
		return Infrastructure{}, false
	}
	if plan, _, stored := pipeline.PlanOf(st, stage, build); stored {
		return Planned(st, plan), true
	}
	return Infrastructure{Stage: stage.Name, Build: build}, true
}

// Planned returns what a plan says, whether or not it could be stored.
func Planned(st *pipeline.State, plan pipeline.StagePlan) Infrastructure {
	stage, _ := pipeline.StageOf(st, plan.Stage)
	i := Infrastructure{Stage: plan.Stage, Build: plan.Build, Plan: &plan, Outdated: plan.Basis != pipeline.PlanBasis(st, stage, plan.Build)}
	if stage.Lasting() && stage.Env != nil && !stage.Env.AllowDestroy {
		i.Refused = plan.Losing()
	}
	return i
}

// infrastructure returns it for the stages that a build releases to next by way of one.
func infrastructure(st *pipeline.State, stage pipeline.Stage, build string) (list []Infrastructure) {
	for _, at := range pipeline.Releases(st, stage) {
		if i, ok := InfrastructureOf(st, at, build); ok {
			list = append(list, i)
		}
	}
	return list
}

// infrastructureBetween returns it for what two builds are compared for: a stage, or else the
// stages in which the first serves.
func infrastructureBetween(st *pipeline.State, d Diff) (list []Infrastructure) {
	if stage, ok := st.Stages[d.Stage]; ok {
		return infrastructure(st, stage, d.To)
	}
	for _, stage := range st.StagesInOrder() {
		for _, at := range stage.AtPlaces() {
			env, ok := st.RunEnvironment(at.Name, pipeline.ForStage)
			if !ok || env.Build != d.From || !at.Persistent() {
				continue
			}
			if i, ok := InfrastructureOf(st, at, d.To); ok {
				list = append(list, i)
			}
		}
	}
	return slices.Clip(list)
}
