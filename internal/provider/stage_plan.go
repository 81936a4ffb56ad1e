// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ModifyPlan implements resource.ResourceWithModifyPlan: it says in the plan what
// an apply would do to the stage, as far as that can be known. What runs exports
// unknown values, so that the stages below are planned as well; what does not move
// shows no change.
func (r *stageResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if !r.toPlan(ctx, req, resp) {
		return
	}
	var plan, config stageModel
	var state *stageModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Name = config.Name
	if config.Name.IsNull() {
		plan.Name = config.Type
	}
	var was stageModel
	if state != nil {
		was = *state
	}
	if refuseForeign("Stage", plan.Name.ValueString(), plan.Pipeline, plan.After, &resp.Diagnostics) {
		return
	}
	if !applying(req) && r.refuseElsewhere(ctx, plan, &resp.Diagnostics) {
		return
	}
	moves := !plan.Name.Equal(was.Name) || !plan.Pipeline.Equal(was.Pipeline) || !plan.Type.Equal(was.Type)
	own := r.named(ctx, "stage", plan.Pipeline, plan.Name, was.ID, moves, req, resp)
	if state == nil && !applying(req) && !r.free(ctx, plan.Pipeline, plan.Name, own, &resp.Diagnostics) {
		return
	}
	if state != nil && sameSource(ctx, plan.Source, state.Source) {
		plan.Source = state.Source
	}
	var at *engine.Position
	if state != nil && plan.Pipeline.Equal(state.Pipeline) { // else it moves to the history of another
		at = readAt(ctx, req.Private, &resp.Diagnostics)
	}
	r.plan(ctx, &plan, state, at, resp)
	if resp.Diagnostics.HasError() {
		return
	}
	if state != nil && sameStages(plan.After, state.After) {
		plan.After = state.After // the ledger says which builds passed them
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, plan)...)
}

// plan plans what becomes of the stage and writes it into the plan.
func (r *stageResource) plan(ctx context.Context, plan, state *stageModel, at *engine.Position, resp *resource.ModifyPlanResponse) {
	if !known(ctx, plan.Pipeline, plan.Type, plan.Name) {
		plan.markUnknown(plan.Name)
		return
	}
	want := gate.Want{Unknown: !plan.decided(ctx), Create: state == nil}
	if want.Unknown { // enough for other stages to come after it
		want.Stage = pipeline.Stage{
			Pipeline: r.session.pipelineName(plan.Pipeline), Name: plan.Name.ValueString(), Type: pipeline.StageType(plan.Type.ValueString()),
			After: expandGates(plan.After).stages, Elsewhere: expandGates(plan.After).elsewhere, Owner: r.session.Owner,
		}.WithDefaults(nil, nil)
	} else if want.Stage = expandStage(ctx, *plan, r.session, &resp.Diagnostics); resp.Diagnostics.HasError() {
		return
	}
	stage := want.Stage
	if plan.BaseImage.IsUnknown() {
		r.session.overlay.startsFrom(stage.Pipeline)
	}
	r.session.overlay.wantStage(want, expandGates(plan.After))
	planned, err := r.session.overlay.planApply(ctx, stage.Pipeline, at)
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("pipeline"), partOf("plan stage", stage.Name), stage.Pipeline, err)
		return
	}
	if want.Unknown {
		plan.markUnknown(plan.Name)
		return
	}
	move := planned.Stage(stage.Name)
	if move.Refusal == nil && stage.Pin != "" { // one that is refused since is refused early
		if newest, err := r.session.overlay.planApply(ctx, stage.Pipeline, nil); err == nil {
			move.Refusal = newest.Stage(stage.Name).Refusal
		}
	}
	if !r.place(planned, stage, resp) {
		return
	}
	if move.Moves() && !r.foresee(ctx, planned, stage, move, resp) || !r.reaches(ctx, planned, stage, move, resp) {
		return
	}
	r.session.warnUnused(planned.State(), stage, &resp.Diagnostics)
	warnEnds(planned.State(), stage, &resp.Diagnostics)
	warnInfrastructure(planned.State(), stage, move, &resp.Diagnostics)
	warnStray(planned.State(), stage.Name, &resp.Diagnostics)
	if err := move.Err(); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("build"), partOf("move stage", stage.Name), stage.Pipeline, err)
		return
	}
	plan.render(move, planned, state)
}

// foresee looks at what the deployment that is planned will meet. It reports whether that can
// be made.
func (r *stageResource) foresee(ctx context.Context, planned gate.Planned, stage pipeline.Stage, move gate.Move, resp *resource.ModifyPlanResponse) bool {
	stages := r.session.Engine.Stages
	err := stages.CheckLaunch(ctx, planned.State(), stage, move.Candidate.ID)
	var carried string
	if deploys := move.Action == gate.ActionRun || move.Action == gate.ActionRestore; err == nil && deploys {
		carried, err = stages.Foresee(ctx, planned.State(), stage)
	}
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("environment"), partOf("plan stage", stage.Name), stage.Pipeline, err)
		return false
	}
	if carried != "" {
		resp.Diagnostics.AddAttributeWarning(path.Root("environment"), "Carried over to the next deployment", fmt.Sprintf(
			"Others have attached this to the Auto Scaling group of stage %q, and it goes on with the group of the next build: %s.\n\nRemove there what is to end, or declare it with environment.scaling.", stage.Name, carried))
	}
	return true
}

// reaches reports whether the image of the build that the stage may move to can get to where its
// environments are, and to those that it is published for.
func (r *stageResource) reaches(ctx context.Context, planned gate.Planned, stage pipeline.Stage, move gate.Move, resp *resource.ModifyPlanResponse) bool {
	var baked *pipeline.ImageDefinition
	switch {
	case move.Action == gate.ActionUnknown:
		var comes bool
		if baked, comes = r.session.overlay.base(stage.Pipeline); comes && baked == nil {
			return true
		}
	case !move.Moves() && !move.Publishes:
		return true
	}
	err := r.session.Engine.Stages.CheckReach(ctx, planned.State(), stage, move.Candidate.ID, baked)
	if err == nil {
		return true
	}
	at := path.Root("publish")
	if stage.Spread() || !stage.At.Home() {
		at = placeOf(stage)
	}
	addAttributeError(&resp.Diagnostics, at, partOf("plan stage", stage.Name), stage.Pipeline, err)
	return false
}

// placeOf is the argument that says where the environments of a stage are.
func placeOf(stage pipeline.Stage) path.Path {
	if stage.Spread() {
		return path.Root("targets")
	}
	return path.Root("aws")
}

// warnEnds warns of environments that end as the stage is at other places, with their data.
func warnEnds(st *pipeline.State, stage pipeline.Stage, diags *diag.Diagnostics) {
	var ends []string
	left := pipeline.LeftPlaces(st, stage)
	for _, env := range st.EnvironmentsInOrder() {
		if env.Serves() && slices.Contains(left, env.Stage) {
			ends = append(ends, env.Describe())
		}
	}
	if len(ends) > 0 {
		diags.AddAttributeWarning(path.Root("targets"), "Environments end", fmt.Sprintf(
			"Once stage %q serves at all places that its configuration names, these end with their data: %s.", stage.Name, strings.Join(ends, ", ")))
	}
}

// place checks that the stage can be where it is: after what it comes after.
func (r *stageResource) place(planned gate.Planned, stage pipeline.Stage, resp *resource.ModifyPlanResponse) bool {
	if err := r.session.Engine.Stages.CheckRunner(stage.Runner); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("runner"), partOf("plan stage", stage.Name), stage.Pipeline, err)
		return false
	}
	if planned.PipelineUnknown && stage.Env != nil {
		return true
	}
	st := planned.State()
	err := r.session.Engine.Stages.Check(st, stage)
	imageless := false
	if err == nil && !planned.Undefined(stage.Name) {
		err = pipeline.CheckImages(st, stage)
		imageless = err != nil
	}
	if err == nil {
		return true
	}
	at := path.Root("after")
	switch {
	case r.session.Engine.Stages.CheckPlaces(st, stage) != nil:
		at = placeOf(stage)
	case imageless, pipeline.CheckChannel(st, stage.Name, stage.Publish) != nil, r.session.Engine.Stages.CheckPublication(stage) != nil:
		at = path.Root("publish")
	case pipeline.CheckStage(st, stage) == nil:
		at = path.Root("environment")
	case stage.Env != nil && st.Pipeline.Service.Start == "":
		at = path.Root("type")
	}
	addAttributeError(&resp.Diagnostics, at, partOf("plan stage", stage.Name), stage.Pipeline, err)
	return false
}

// render writes what becomes of a stage into its plan. What a plan knows is the same in both
// plans of an apply: it depends on the move and on the definition alone, and where the move
// is not known, it is what all moves have in common.
func (m *stageModel) render(move gate.Move, planned gate.Planned, state *stageModel) {
	stage, st := move.Stage, planned.State()
	m.markUnknown(m.Name)
	if planned.PipelineUnknown && stage.Env != nil {
		return
	}
	m.Instances = intOrNull(move.Instances)
	m.renderByTarget(move, st, state)
	m.FinishDue = types.StringNull() // the apply sees to it
	stays := state != nil && move.Action != gate.ActionUnknown && !move.Moves()
	if !move.Candidate.Unknown && !(stays && move.Redefined) { // else an apply has to record the definition: unknown makes it an update
		m.Candidate = orNull(move.Candidate.ID)
	}
	if !move.Publishes {
		m.Published = types.ObjectNull(publishedTypes)
		if state != nil {
			m.Published = state.Published
		}
	}
	if !move.Passed.Unknown {
		m.Passed = flattenPassed(m.Pipeline.ValueString(), stage.Name, orNull(move.Passed.ID))
	}
	switch {
	case !stage.Bake && !stage.Persistent():
		m.ImageID = types.StringNull()
	case stays:
		m.ImageID = state.ImageID
	}
	switch {
	case stays:
		m.Drift = state.Drift
	case !checksDrift(st.Pipeline, stage):
		m.Drift = types.ListNull(driftType)
	}
	_, paused := st.Pauses[stage.Name]
	switch {
	case move.Action == gate.ActionRestore:
	case !stage.Persistent() && !(stage.Env != nil && stage.Approval): // what it has ends with its run
		if m.Endpoint = types.StringNull(); paused && state != nil {
			m.Endpoint = state.Endpoint // of a definition before the pause
		}
	case move.Action == gate.ActionEnd:
		m.Endpoint = types.StringNull()
	case stage.Spread() && !m.EndpointByTarget.IsUnknown():
		m.Endpoint = m.firstEndpoint(stage)
	case stage.Spread() || state != nil && !state.EndpointByTarget.IsNull(): // its environments are others
	case stays, stage.Persistent() && state != nil && !state.Endpoint.IsNull() && sameFront(m.Environment, state.Environment):
		m.Endpoint = state.Endpoint
	}
}

// positionKey is where a resource's state notes at which position of the ledger it was read.
const positionKey = "position"

// readAt returns the position that a resource was read at, which both plans of an apply go
// by; nil where there is none, as of one that is created.
func readAt(ctx context.Context, private privateGetter, diags *diag.Diagnostics) *engine.Position {
	data, d := private.GetKey(ctx, positionKey)
	diags.Append(d...)
	var at engine.Position
	if json.Unmarshal(data, &at) != nil || at.Sequence == 0 {
		return nil
	}
	return &at
}

// noteRead notes the position that a resource was read at.
func noteRead(ctx context.Context, private privateSetter, at engine.Position, diags *diag.Diagnostics) {
	diags.Append(private.SetKey(ctx, positionKey, []byte(at.Key()))...)
}
