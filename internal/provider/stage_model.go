// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// stageModel is a penstock_stage.
type stageModel struct {
	ID          types.String   `tfsdk:"id"`
	Pipeline    types.String   `tfsdk:"pipeline"`
	Type        types.String   `tfsdk:"type"`
	Name        types.String   `tfsdk:"name"`
	After       types.List     `tfsdk:"after"`
	Build       types.String   `tfsdk:"build"`
	Trigger     types.String   `tfsdk:"trigger"`
	Source      types.Object   `tfsdk:"source"`
	BaseImage   types.String   `tfsdk:"base_image"`
	Artifact    types.String   `tfsdk:"artifact"`
	Steps       types.List     `tfsdk:"steps"`
	Environment types.Object   `tfsdk:"environment"`
	Approval    types.Bool     `tfsdk:"approval"`
	Bake        types.Bool     `tfsdk:"bake"`
	OnFailure   types.String   `tfsdk:"on_failure"`
	Runner      types.String   `tfsdk:"runner"`
	AWS         types.Object   `tfsdk:"aws"`
	Targets     types.List     `tfsdk:"targets"`
	Rollout     types.Object   `tfsdk:"rollout"`
	Publish     types.Object   `tfsdk:"publish"`
	Timeouts    timeouts.Value `tfsdk:"timeouts"`

	Candidate types.String `tfsdk:"candidate"`
	Passed    types.Object `tfsdk:"passed"`
	ImageID   types.String `tfsdk:"image_id"`
	Endpoint  types.String `tfsdk:"endpoint"`
	Instances types.Int64  `tfsdk:"instances"`
	FinishDue types.String `tfsdk:"finish_due"`
	Drift     types.List   `tfsdk:"drift"`
	Published types.Object `tfsdk:"published"`

	CurrentByTarget  types.Map `tfsdk:"current_by_target"`
	EndpointByTarget types.Map `tfsdk:"endpoint_by_target"`
}

// environmentModel is a stage's environment.
type environmentModel struct {
	Instances        types.Int64   `tfsdk:"instances"`
	Env              types.Map     `tfsdk:"env"`
	EnvWO            types.Map     `tfsdk:"env_wo"`
	EnvVersion       types.Int64   `tfsdk:"env_wo_version"`
	Keep             types.Bool    `tfsdk:"keep"`
	Address          types.String  `tfsdk:"address"`
	Port             types.Int64   `tfsdk:"port"`
	Certificate      types.String  `tfsdk:"certificate"`
	DataFrom         types.String  `tfsdk:"data_from"`
	Unmasked         types.Bool    `tfsdk:"unmasked"`
	DrainTimeout     types.String  `tfsdk:"drain_timeout"`
	InstanceType     types.String  `tfsdk:"instance_type"`
	Profile          types.String  `tfsdk:"instance_profile"`
	Groups           types.List    `tfsdk:"security_groups"`
	Balancer         types.Object  `tfsdk:"load_balancer"`
	Shift            types.List    `tfsdk:"shift"`
	Alarms           types.List    `tfsdk:"alarms"`
	KeepPrevious     types.String  `tfsdk:"keep_previous"`
	Trusted          types.List    `tfsdk:"trusted_proxies"`
	Variables        types.Dynamic `tfsdk:"variables"`
	VariablesWO      types.Dynamic `tfsdk:"variables_wo"`
	VariablesVersion types.Int64   `tfsdk:"variables_wo_version"`
	AllowDestroy     types.Bool    `tfsdk:"allow_destroy"`
	Volume           types.Object  `tfsdk:"volume"`
	Hops             types.Int64   `tfsdk:"metadata_hop_limit"`
	Spot             types.Bool    `tfsdk:"spot"`
	Scaling          types.Object  `tfsdk:"scaling"`
	Attributes       types.Map     `tfsdk:"target_attributes"`
	Listener         types.String  `tfsdk:"listener_arn"`
	Host             types.String  `tfsdk:"host"`
	Path             types.String  `tfsdk:"path"`
	Priority         types.Int64   `tfsdk:"priority"`
	DNS              types.Object  `tfsdk:"dns"`
}

// shiftModel is a step of a shift of traffic.
type shiftModel struct {
	Percent types.Int64  `tfsdk:"percent"`
	Pause   types.String `tfsdk:"pause"`
}

// decided reports whether everything that decides what a stage is and does is
// known. The builds of after need not be.
func (m stageModel) decided(ctx context.Context) bool {
	return known(ctx, m.Pipeline, m.Type, m.Build, m.Trigger, m.Source, m.BaseImage, m.Artifact,
		m.Steps, m.Environment, m.Approval, m.Bake, m.OnFailure, m.Runner, m.AWS, m.Targets, m.Rollout, m.Publish) && !expandGates(m.After).unknown
}

// expandStage reads a stage that is decided, with the defaults of its type.
func expandStage(ctx context.Context, m stageModel, at *session, diags *diag.Diagnostics) pipeline.Stage {
	s := pipeline.Stage{
		Pipeline: at.pipelineName(m.Pipeline), Name: m.Name.ValueString(), Type: pipeline.StageType(m.Type.ValueString()),
		After: expandGates(m.After).stages, Elsewhere: expandGates(m.After).elsewhere, Pin: m.Build.ValueString(), Trigger: pipeline.Trigger(m.Trigger.ValueString()),
		Source: expandSource(ctx, m.Source, diags), BaseImage: m.BaseImage.ValueString(), Artifact: m.Artifact.ValueString(),
		Steps: expandSteps(ctx, m.Steps, diags), OnFailure: pipeline.OnFailure(m.OnFailure.ValueString()), Owner: at.Owner,
		Runner: expandRunner(m.Runner), Publish: expandStagePublish(ctx, m.Publish, m.Name.ValueString(), diags),
	}
	if !m.Environment.IsNull() {
		var e environmentModel
		diags.Append(m.Environment.As(ctx, &e, basetypes.ObjectAsOptions{})...)
		s.Env = &pipeline.EnvironmentSpec{
			Instances: int(e.Instances.ValueInt64()), Env: expandStrings(ctx, e.Env, diags), SecretsVersion: e.EnvVersion.ValueInt64(),
			Keep: e.Keep.ValueBool(), Address: e.Address.ValueString(), Port: int(e.Port.ValueInt64()), Certificate: e.Certificate.ValueString(), DataFrom: e.DataFrom.ValueString(),
			Unmasked: e.Unmasked.ValueBool(), DrainTimeout: expandDuration(e.DrainTimeout), InstanceType: e.InstanceType.ValueString(), Profile: e.Profile.ValueString(), Balancer: expandBalancer(ctx, e.Balancer, diags),
			Shift: expandShift(ctx, e.Shift, diags), KeepPrevious: expandDuration(e.KeepPrevious), TrustedProxies: expandProxies(e.Trusted),
			Machine:          pipeline.Machine{Volume: expandVolume(e.Volume), Hops: int(e.Hops.ValueInt64()), Spot: e.Spot.ValueBool()},
			Scaling:          expandScaling(ctx, e.Scaling, diags),
			TargetAttributes: expandStrings(ctx, e.Attributes, diags),
			Variables:        expandVariables(e.Variables, diags), VariablesVersion: e.VariablesVersion.ValueInt64(), AllowDestroy: e.AllowDestroy.ValueBool(),
			Rule: expandRule(e), DNS: expandAlias(ctx, e.DNS, diags),
		}
		diags.Append(e.Alarms.ElementsAs(ctx, &s.Env.Alarms, false)...)
		diags.Append(e.Groups.ElementsAs(ctx, &s.Env.Groups, false)...)
	}
	expandTargets(ctx, m, &s, diags)
	return s.WithDefaults(m.Approval.ValueBoolPointer(), m.Bake.ValueBoolPointer())
}

// expandProxies distinguishes an empty list, which trusts nobody, from none.
func expandProxies(list types.List) []string {
	if list.IsNull() || list.IsUnknown() {
		return nil
	}
	proxies := []string{}
	for _, v := range list.Elements() {
		proxies = append(proxies, v.(types.String).ValueString())
	}
	return proxies
}

func flattenProxies(proxies []string) types.List {
	if proxies == nil {
		return types.ListNull(types.StringType)
	}
	values := make([]attr.Value, len(proxies))
	for i, p := range proxies {
		values[i] = types.StringValue(p)
	}
	return types.ListValueMust(types.StringType, values)
}

// localRunner is what a configuration calls the runner that has no name elsewhere.
const localRunner = "local"

func expandRunner(v types.String) pipeline.RunnerKind {
	if v.ValueString() == localRunner {
		return pipeline.RunnerLocal
	}
	return pipeline.RunnerKind(v.ValueString())
}

func expandShift(ctx context.Context, list types.List, diags *diag.Diagnostics) []pipeline.ShiftStep {
	var models []shiftModel
	diags.Append(list.ElementsAs(ctx, &models, false)...)
	var steps []pipeline.ShiftStep
	for _, m := range models {
		steps = append(steps, pipeline.ShiftStep{Percent: int(m.Percent.ValueInt64()), Pause: expandDuration(m.Pause)})
	}
	return steps
}

// flattenStage fills in the arguments of an imported stage.
func flattenStage(ctx context.Context, st *pipeline.State, s pipeline.Stage, sch schema.Schema, m *stageModel, diags *diag.Diagnostics) {
	def := pipeline.Stage{Type: s.Type}.WithDefaults(nil, nil)
	m.Type, m.Build, m.Source = types.StringValue(string(s.Type)), orNull(s.Pin), flattenSource(s.Source)
	m.BaseImage, m.Artifact = orNull(s.BaseImage), orNull(s.Artifact)
	if s.Trigger != def.Trigger {
		m.Trigger = orNull(string(s.Trigger))
	}
	if s.OnFailure != def.OnFailure {
		m.OnFailure = orNull(string(s.OnFailure))
	}
	m.Runner = orNull(string(s.Runner))
	if s.Approval != def.Approval {
		m.Approval = types.BoolValue(s.Approval)
	}
	if s.Bake != def.Bake {
		m.Bake = types.BoolValue(s.Bake)
	}
	m.After = types.ListNull(afterType)
	if len(s.After)+len(s.Elsewhere) > 0 {
		var after []attr.Value
		for _, up := range s.After {
			after = append(after, flattenAfter(m.Pipeline.ValueString(), up, st.NewestPassed(up)))
		}
		for _, e := range s.Elsewhere {
			after = append(after, flattenElsewhere(e))
		}
		m.After = types.ListValueMust(afterType, after)
	}
	stepType := sch.Attributes["steps"].GetType().(types.ListType).ElemType
	m.Steps = types.ListNull(stepType)
	if len(s.Steps) > 0 {
		var d diag.Diagnostics
		m.Steps, d = types.ListValueFrom(ctx, stepType, flattenSteps(s.Steps))
		diags.Append(d...)
	}
	flattenTargets(ctx, s, sch, m, diags)
	envTypes := sch.Attributes["environment"].GetType().(types.ObjectType).AttrTypes
	m.Environment = flattenEnvironment(ctx, s.Env, def.Env, envTypes, diags)
	m.Publish = flattenStagePublish(ctx, s.Publish, s.Name, sch.Attributes["publish"].GetType().(types.ObjectType).AttrTypes, diags)
}

// flattenEnvironment returns null for the environment that the type has by default.
func flattenEnvironment(ctx context.Context, e, def *pipeline.EnvironmentSpec, envTypes map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if e == nil || def != nil && e.Equal(*def) {
		return types.ObjectNull(envTypes)
	}
	m := environmentModel{
		Instances: intOrNull(e.Instances), Env: flattenStrings(e.Env), EnvWO: types.MapNull(types.StringType), EnvVersion: intOrNull(e.SecretsVersion),
		Address: orNull(e.Address), Port: intOrNull(e.Port), Certificate: orNull(e.Certificate), DataFrom: orNull(e.DataFrom), DrainTimeout: flattenDuration(e.DrainTimeout),
		InstanceType: orNull(e.InstanceType), Profile: orNull(e.Profile), Groups: stringList(ctx, e.Groups, diags), Balancer: flattenBalancer(ctx, e.Balancer, envTypes["load_balancer"], diags), Shift: types.ListNull(envTypes["shift"].(types.ListType).ElemType), Alarms: types.ListNull(types.StringType),
		Unmasked: trueOrNull(e.Unmasked), KeepPrevious: flattenDuration(e.KeepPrevious), Trusted: flattenProxies(e.TrustedProxies),
		Volume: flattenVolume(e.Volume, envTypes["volume"].(types.ObjectType).AttrTypes), Hops: intOrNull(e.Hops), Spot: trueOrNull(e.Spot),
		Scaling:    flattenScaling(ctx, e.Scaling, envTypes["scaling"].(types.ObjectType).AttrTypes, diags),
		Attributes: flattenStrings(e.TargetAttributes),
		Variables:  flattenVariables(e.Variables, diags), VariablesWO: types.DynamicNull(), VariablesVersion: intOrNull(e.VariablesVersion), AllowDestroy: trueOrNull(e.AllowDestroy),
		DNS: flattenAlias(ctx, e.DNS, envTypes["dns"], diags),
	}
	flattenRule(e.Rule, &m)
	var d diag.Diagnostics
	if len(e.Alarms) > 0 {
		m.Alarms, d = types.ListValueFrom(ctx, types.StringType, e.Alarms)
		diags.Append(d...)
	}
	if len(e.Shift) > 0 {
		var steps []shiftModel
		for _, s := range e.Shift {
			steps = append(steps, shiftModel{types.Int64Value(int64(s.Percent)), flattenDuration(s.Pause)})
		}
		m.Shift, d = types.ListValueFrom(ctx, m.Shift.ElementType(ctx), steps)
		diags.Append(d...)
	}
	if def == nil || e.Keep != def.Keep {
		m.Keep = types.BoolValue(e.Keep)
	}
	if def != nil && e.Instances == def.Instances || def == nil && e.Instances == 1 {
		m.Instances = types.Int64Null()
	}
	o, d := types.ObjectValueFrom(ctx, envTypes, m)
	diags.Append(d...)
	return o
}

// flattenStatus fills in what a stage exports. The candidate of one that an apply would
// move is its current build, so that the plan shows the move.
func flattenStatus(st report.StageView, p pipeline.Pipeline, m *stageModel) {
	m.ID, m.Name = types.StringValue(st.Stage.ID), types.StringValue(st.Stage.Name)
	m.Candidate = orNull(st.Move.Candidate.ID)
	if st.Move.Moves() {
		m.Candidate = orNull(st.Current.Build)
	}
	m.Passed = flattenPassed(m.Pipeline.ValueString(), st.Stage.Name, orNull(st.Passed))
	m.ImageID, m.Endpoint = orNull(st.Image), types.StringNull()
	m.Instances = intOrNull(st.Stage.Instances(p))
	flattenByTarget(st.Current.Targets, m)
	m.Drift = flattenDrift(st)
	m.Published = flattenPublished(st.Channel)
	m.FinishDue = types.StringNull()
	if st.Move.Action == gate.ActionFinish {
		m.FinishDue = orNull(st.Move.Candidate.ID)
	}
	if env := st.Environment; env != nil && env.Purpose != pipeline.ForRun { // one that a failed run left is none of the stage's
		m.Endpoint = orNull(env.Endpoint)
		if env.Purpose == pipeline.ForStage && !st.Stage.Spread() {
			m.Instances = intOrNull(env.Instances)
		}
	}
	if st.Stage.Spread() {
		m.Endpoint = m.firstEndpoint(st.Stage)
	}
}

// keep takes back what was planned, as far as the plan knew it: Terraform takes no other
// answer. Decisions that were made meanwhile show at the next refresh.
func (m *stageModel) keep(ctx context.Context, planned stageModel) {
	exports, was := m.exports(), planned.exports()
	for i, v := range exports {
		if !was[i].IsUnknown() {
			*v = *was[i]
		}
	}
	if known(ctx, planned.Passed) {
		m.Passed = planned.Passed
	}
	m.CurrentByTarget = asPlanned(m.CurrentByTarget, planned.CurrentByTarget)
	m.EndpointByTarget = asPlanned(m.EndpointByTarget, planned.EndpointByTarget)
	if known(ctx, planned.Published) {
		m.Published = planned.Published
	}
	if !planned.Instances.IsUnknown() {
		m.Instances = planned.Instances
	}
	if !planned.Drift.IsUnknown() {
		m.Drift = planned.Drift
	}
}

// exports lists the strings that the stage exports.
func (m *stageModel) exports() []*types.String {
	return []*types.String{&m.Candidate, &m.ImageID, &m.Endpoint, &m.FinishDue}
}

// markUnknown makes everything that the stage exports unknown, but what can't change.
func (m *stageModel) markUnknown(name types.String) {
	for _, v := range m.exports() {
		*v = types.StringUnknown()
	}
	m.Passed = types.ObjectUnknown(gateTypes)
	if !name.IsUnknown() && !m.Pipeline.IsUnknown() {
		m.Passed = flattenPassed(m.Pipeline.ValueString(), name.ValueString(), types.StringUnknown())
	}
	m.Instances, m.Drift, m.Published = types.Int64Unknown(), types.ListUnknown(driftType), types.ObjectUnknown(publishedTypes)
	m.CurrentByTarget, m.EndpointByTarget = types.MapUnknown(types.StringType), types.MapUnknown(types.StringType)
}

// asPlanned returns a map of targets, with what was planned of it.
func asPlanned(now, planned types.Map) types.Map {
	switch {
	case planned.IsUnknown():
		return now
	case planned.IsNull():
		return planned
	}
	by := planned.Elements() // a copy
	for name, v := range by {
		if has, ok := now.Elements()[name]; v.IsUnknown() && ok {
			by[name] = has
		} else if v.IsUnknown() {
			by[name] = types.StringNull()
		}
	}
	return types.MapValueMust(types.StringType, by)
}

// sameFront reports whether two definitions of a persistent environment have the
// same endpoint, which a deployment then keeps.
func sameFront(a, b types.Object) bool {
	for _, name := range []string{"keep", "address", "port", "certificate", "listener_arn", "host", "dns"} {
		x, y := a.Attributes()[name], b.Attributes()[name]
		unset := func(v attr.Value) bool { return v == nil || v.IsNull() }
		if unset(x) != unset(y) || !unset(x) && !x.Equal(y) {
			return false
		}
	}
	return true
}
