// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"cmp"
	"context"
	"io"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// PlanInfrastructure returns what the module of a build would do to the infrastructure of a
// stage's persistent environment, or of that at one of its targets, if the name is of that. It
// returns the stored plan if there is one, it is not out of date and says what would be done;
// else it makes one and stores it. What can't be planned is no error: the plan's Unknown says why. A plan that the caller may not store is returned all
// the same. CodeInvalid says that there is nothing to plan: no such environment, or no module.
func (s *Stages) PlanInfrastructure(ctx context.Context, pipelineName, stageName, build string) (pipeline.StagePlan, error) {
	st, err := s.states.State(ctx, pipelineName)
	if err != nil {
		return pipeline.StagePlan{}, err
	}
	stage, ok := pipeline.StageOf(st, stageName)
	if !ok {
		return pipeline.StagePlan{}, state.NoStage(pipelineName, stageName)
	}
	plan, current, _ := pipeline.PlanOf(st, stage, build)
	switch {
	case stage.Spread():
		return pipeline.StagePlan{}, pipeline.Errorf(pipeline.CodeInvalid, "plan infrastructure", "stage %q has an environment at each of several targets", stageName).
			WithHint("Name one of them, as in %s.", stage.AtTargets()[0].Name)
	case pipeline.PlanBasis(st, stage, build) == "":
		return pipeline.StagePlan{}, pipeline.Errorf(pipeline.CodeInvalid, "plan infrastructure", "stage %q has no persistent environment, or build %s has no module", stageName, build)
	case current && plan.Unknown == "":
		return plan, nil
	}
	return s.planStage(ctx, st, stage, build)
}

// planNext plans what the next release would do to the infrastructure of a stage and of
// those below it, wherever people decide about it: they see that before. Nothing that goes
// wrong here is a failure of what was done.
func (s *Stages) planNext(ctx context.Context, pipelineName, after string) {
	st, err := s.states.State(ctx, pipelineName)
	if err != nil || st.Pipeline.Module == nil {
		return
	}
	for _, stage := range st.StagesInOrder() {
		if !stage.Persistent() || stage.Name != after && !slices.Contains(st.Ancestors(stage.After), after) {
			continue
		}
		build, waits := gate.NextRelease(st, stage)
		if build == "" || waits == "" && stage.Trigger != pipeline.TriggerManual { // it moves by itself
			continue
		}
		due := slices.DeleteFunc(stage.AtPlaces(), func(at pipeline.Stage) bool {
			_, current, _ := pipeline.PlanOf(st, at, build)
			env, _ := st.RunEnvironment(at.Name, pipeline.ForStage)
			return current || env.Build == build || pipeline.PlanBasis(st, at, build) == ""
		})
		eachPlace(due, func(at pipeline.Stage) {
			if _, err := s.planStage(ctx, st, at, build); err != nil {
				s.logger.Warn("plan the infrastructure of a stage", "stage", at.Name, "build", build, "error", err)
			}
		})
	}
}

// planStage makes a plan and stores it.
func (s *Stages) planStage(ctx context.Context, st *pipeline.State, stage pipeline.Stage, build string) (pipeline.StagePlan, error) {
	env, exists := st.RunEnvironment(stage.Name, pipeline.ForStage)
	plan := pipeline.StagePlan{
		Stage: stage.Name, Build: build, Environment: env.ID, Package: st.Builds[build].Module.Digest, Serving: env.Build,
		Basis: pipeline.PlanBasis(st, stage, build), Actor: s.holder.Actor, At: s.now().UTC(),
	}
	next := env
	if !exists {
		next = pipeline.Environment{ID: s.states.NewID("e-"), Pipeline: stage.Pipeline, Name: stage.Name, Purpose: pipeline.ForStage, Stage: stage.Name, Target: stage.At}
	}
	next.Build, next.Spec, next.Instances = build, stage.EnvironmentFor(st.Pipeline), stage.Instances(st.Pipeline)
	found, err := s.planModule(ctx, st, stage, next, exists && env.Status != pipeline.EnvLaunching)
	switch {
	case ctx.Err() != nil:
		return plan, cmp.Or(err, context.Cause(ctx))
	case err != nil:
		plan.Unknown = err.Error()
		if !exists && stage.Env.VariablesVersion > 0 {
			plan.Unknown = "write-only variables are not known before the first apply with them: " + plan.Unknown
		}
	default:
		plan.ModuleCounts = pipeline.CountChanges(found.Changes)
		plan.Changes, plan.Drift = pipeline.ListChanges(found.Changes), pipeline.ListChanges(found.Drift)
	}
	err = s.states.Append(ctx, stage.Pipeline, nil, pipeline.Event{Kind: pipeline.BuildPlanned, Facts: pipeline.Facts{StagePlan: &plan}})
	if err != nil {
		s.logger.Warn("store the plan of an environment", "stage", stage.Name, "build", build, "error", err)
	}
	return plan, nil
}

// planModule plans the module of an environment's build.
func (s *Stages) planModule(ctx context.Context, st *pipeline.State, stage pipeline.Stage, env pipeline.Environment, lives bool) (pipeline.ModulePlan, error) {
	module, err := checkModule(st, env, st.Builds[env.Build].Module, lives)
	if err != nil {
		return pipeline.ModulePlan{}, err
	}
	var from string
	if source, ok := pipeline.DataSource(st, stage); ok {
		if other, exists := st.RunEnvironment(source.Name, pipeline.ForStage); exists && other.Serves() {
			from = other.ID
		}
	}
	req, err := s.moduleRequest(ctx, st, env, moduleInputs{
		module: module, image: st.Launch(stage, env.Build).Image, from: from, lasting: stage.Lasting(), log: io.Discard,
	})
	if err != nil {
		return pipeline.ModulePlan{}, err
	}
	return s.modules.Plan(ctx, req)
}
