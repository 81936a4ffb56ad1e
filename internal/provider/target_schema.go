// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// placeModel is where in AWS environments are.
type placeModel struct {
	RoleARN    types.String `tfsdk:"role_arn"`
	ReaderRole types.String `tfsdk:"reader_role_arn"`
	ExternalID types.String `tfsdk:"external_id"`
	Region     types.String `tfsdk:"region"`
	Stack      types.String `tfsdk:"stack"`
	KMSKey     types.String `tfsdk:"kms_key"`
}

// targetModel is one of the targets of a stage.
type targetModel struct {
	Name       types.String `tfsdk:"name"`
	Wave       types.Int64  `tfsdk:"wave"`
	Instances  types.Int64  `tfsdk:"instances"`
	RoleARN    types.String `tfsdk:"role_arn"`
	ReaderRole types.String `tfsdk:"reader_role_arn"`
	ExternalID types.String `tfsdk:"external_id"`
	Region     types.String `tfsdk:"region"`
	Stack      types.String `tfsdk:"stack"`
	KMSKey     types.String `tfsdk:"kms_key"`
}

// rolloutModel is how a build goes over the targets.
type rolloutModel struct {
	Pause     types.String `tfsdk:"pause"`
	OnFailure types.String `tfsdk:"on_failure"`
}

func placeAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"role_arn":        optional("ARN of the role to assume in the account: `TargetRole` of the stack that `penstock bootstrap target` makes there. Default: the account of the provider, by its own credentials.", isRoleARN()),
		"reader_role_arn": optional("ARN of the role to assume in the account by whoever only looks at what runs there, as approvers and launchers do with `penstock status` and the board: `TargetReaderRole` of that stack. A change takes effect at once, and replaces nothing. Default: that of `role_arn`, which deployers alone may assume.", isRoleARN()),
		"external_id":     optional("External ID that the trust policies of the roles ask for.", isExternalID()),
		"region":          optional("Region. Default: that of the provider.", isRegion()),
		"stack":           optional("Name of the stack there that `penstock bootstrap target` made. Default: the name of the provider's stack.", stringvalidator.LengthAtLeast(1)),
		"kms_key":         optional("KMS key of the provider's account, in that region, that encrypts the copies of images. An account that is not the provider's needs one. Default: the account's default key for EBS there.", stringvalidator.LengthAtLeast(1)),
	}
}

func placeAttribute() schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, Attributes: placeAttributes(), PlanModifiers: []planmodifier.Object{objectplanmodifier.RequiresReplaceIf(moves, moved, moved)},
		MarkdownDescription: "Where the stage's environments are, if not where the pipeline is: another account, another region, or both. Images are shared and copied there before a run needs them. A change of anything but `reader_role_arn` replaces the stage, with its environment. On AWS.",
	}
}

// moved is why a stage is replaced.
const moved = "Another place has another environment."

// moves reports whether another aws is another place: another reader of the same one is none.
func moves(_ context.Context, req planmodifier.ObjectRequest, resp *objectplanmodifier.RequiresReplaceIfFuncResponse) {
	is, was := req.PlanValue.Attributes(), req.StateValue.Attributes()
	delete(is, "reader_role_arn") // of copies
	delete(was, "reader_role_arn")
	resp.RequiresReplace = req.PlanValue.IsNull() != req.StateValue.IsNull() || !maps.EqualFunc(is, was, attr.Value.Equal)
}

func targetsAttribute() schema.ListNestedAttribute {
	attributes := placeAttributes()
	maps.Copy(attributes, map[string]schema.Attribute{
		"name":      required("Name of the target, unique in the stage. A target at another place needs another name.", isName()),
		"wave":      schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 1000)}, MarkdownDescription: "Targets of a lower wave get a build first; those of one wave get it side by side. Default: 1."},
		"instances": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 1000)}, MarkdownDescription: "Number of instances there. Default: that of the stage."},
	})
	return schema.ListNestedAttribute{
		Optional: true, Validators: []validator.List{listvalidator.SizeAtLeast(1)},
		NestedObject:        schema.NestedAttributeObject{Attributes: attributes},
		MarkdownDescription: "The places that the stage deploys to, if there are several: accounts and regions of AWS, or, on the local platform, data directories of their own below the pipeline's. Each has a persistent environment. The steps run at each target before its traffic moves. A build is the stage's current one once all targets run it. A target that is removed ends, with its data, once all others serve; so does the stage's one environment when it gets targets, and its targets when it gets one environment.",
	}
}

func rolloutAttribute() schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: "How a build goes over the `targets`.",
		Attributes: map[string]schema.Attribute{
			"pause":      optional("How long to watch what has moved, after each wave but the last: its health and `environment.alarms`, and at the end the HTTP checks of `steps`. Default: no pause, but the checks.", isDuration()),
			"on_failure": optional("What becomes of targets that have moved when another fails. `restore` takes them back to the build that all targets had. `keep` leaves them; `current_by_target` says which has which. Default: `restore`.", stringvalidator.OneOf(string(pipeline.RolloutRestore), string(pipeline.RolloutKeep))),
		},
	}
}

// byTargetAttributes are what a stage exports of each target.
func byTargetAttributes() map[string]schema.Attribute {
	of := func(text string) schema.MapAttribute {
		return schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: text}
	}
	return map[string]schema.Attribute{
		"current_by_target":  of("Build that each of the `targets` runs, by the target's name; null without targets."),
		"endpoint_by_target": of("URL at which the environment of each of the `targets` answers, by the target's name; null without targets."),
	}
}

func expandPlace(name types.String, m placeModel) pipeline.Target {
	return pipeline.Target{
		Name: name.ValueString(), RoleARN: m.RoleARN.ValueString(), ReaderRoleARN: m.ReaderRole.ValueString(), ExternalID: m.ExternalID.ValueString(),
		Region: m.Region.ValueString(), Stack: m.Stack.ValueString(), KMSKey: m.KMSKey.ValueString(),
	}
}

// expandTargets reads where a stage's environments are.
func expandTargets(ctx context.Context, m stageModel, s *pipeline.Stage, diags *diag.Diagnostics) {
	if !m.AWS.IsNull() {
		var p placeModel
		diags.Append(m.AWS.As(ctx, &p, basetypes.ObjectAsOptions{})...)
		s.At = expandPlace(types.StringNull(), p)
	}
	var targets []targetModel
	diags.Append(m.Targets.ElementsAs(ctx, &targets, false)...)
	for _, t := range targets {
		wave := int64(1)
		if !t.Wave.IsNull() {
			wave = t.Wave.ValueInt64()
		}
		s.Targets = append(s.Targets, pipeline.StageTarget{
			Target: expandPlace(t.Name, placeModel{t.RoleARN, t.ReaderRole, t.ExternalID, t.Region, t.Stack, t.KMSKey}), Wave: int(wave), Instances: int(t.Instances.ValueInt64()),
		})
	}
	if !m.Rollout.IsNull() {
		var r rolloutModel
		diags.Append(m.Rollout.As(ctx, &r, basetypes.ObjectAsOptions{})...)
		s.Rollout = pipeline.Rollout{Pause: expandDuration(r.Pause), OnFailure: pipeline.RolloutOnFailure(r.OnFailure.ValueString())}
	}
}

// flattenTargets fills in where the environments of an imported stage are.
func flattenTargets(ctx context.Context, s pipeline.Stage, sch schema.Schema, m *stageModel, diags *diag.Diagnostics) {
	set := func(to *types.Object, name string, is bool, value any) {
		attrTypes := sch.Attributes[name].GetType().(types.ObjectType).AttrTypes
		if *to = types.ObjectNull(attrTypes); is {
			o, d := types.ObjectValueFrom(ctx, attrTypes, value)
			diags.Append(d...)
			*to = o
		}
	}
	place := func(t pipeline.Target) placeModel {
		return placeModel{orNull(t.RoleARN), orNull(t.ReaderRoleARN), orNull(t.ExternalID), orNull(t.Region), orNull(t.Stack), orNull(t.KMSKey)}
	}
	set(&m.AWS, "aws", s.At != pipeline.Target{}, place(s.At))
	set(&m.Rollout, "rollout", s.Rollout != pipeline.Rollout{}, rolloutModel{flattenDuration(s.Rollout.Pause), orNull(string(s.Rollout.OnFailure))})
	targetType := sch.Attributes["targets"].GetType().(types.ListType).ElemType
	m.Targets = types.ListNull(targetType)
	var targets []targetModel
	for _, t := range s.Targets {
		p, wave := place(t.Target), types.Int64Value(int64(t.Wave))
		if t.Wave == 1 {
			wave = types.Int64Null()
		}
		targets = append(targets, targetModel{orNull(t.Name), wave, intOrNull(t.Instances), p.RoleARN, p.ReaderRole, p.ExternalID, p.Region, p.Stack, p.KMSKey})
	}
	if len(targets) > 0 {
		list, d := types.ListValueFrom(ctx, targetType, targets)
		diags.Append(d...)
		m.Targets = list
	}
}

// validateTargets finds targets that no stage can have.
func validateTargets(ctx context.Context, m stageModel, diags *diag.Diagnostics) {
	if !m.Targets.IsNull() && !m.AWS.IsNull() {
		diags.AddAttributeError(path.Root("aws"), "Two places", "aws says where the stage's only environment is, and targets has several places. Remove one of the two.")
	}
	if m.Targets.IsNull() && !m.Rollout.IsNull() {
		diags.AddAttributeError(path.Root("rollout"), "Rollout without targets", "rollout says how a build goes over targets, and the stage has none. Add targets, or remove rollout.")
	}
	if m.Targets.IsUnknown() {
		return
	}
	seen := map[string]bool{}
	var targets []targetModel
	diags.Append(m.Targets.ElementsAs(ctx, &targets, true)...)
	for i, t := range targets {
		if name := t.Name.ValueString(); name != "" && seen[name] {
			diags.AddAttributeError(path.Root("targets").AtListIndex(i).AtName("name"), "Target twice", fmt.Sprintf("Two targets have the name %q. Give each a name of its own.", name))
		} else {
			seen[name] = true
		}
	}
}

// flattenByTarget fills in what each target of a stage runs.
func flattenByTarget(targets []gate.TargetStanding, m *stageModel) {
	m.CurrentByTarget, m.EndpointByTarget = types.MapNull(types.StringType), types.MapNull(types.StringType)
	if len(targets) == 0 {
		return
	}
	builds, endpoints := map[string]attr.Value{}, map[string]attr.Value{}
	for _, t := range targets {
		builds[t.Name], endpoints[t.Name] = orNull(t.Build), types.StringNull()
		if t.Environment != nil {
			endpoints[t.Name] = orNull(t.Environment.Endpoint)
		}
	}
	m.CurrentByTarget, m.EndpointByTarget = types.MapValueMust(types.StringType, builds), types.MapValueMust(types.StringType, endpoints)
}

// renderByTarget plans what each target of a stage will run, and where it answers: a deployment
// keeps the endpoint of an environment that is there.
func (m *stageModel) renderByTarget(move gate.Move, st *pipeline.State, state *stageModel) {
	stage := move.Stage
	switch {
	case !stage.Spread():
		m.CurrentByTarget, m.EndpointByTarget = types.MapNull(types.StringType), types.MapNull(types.StringType)
		return
	case state == nil || len(stage.Targets) != len(m.Targets.Elements()):
		return
	}
	if !move.Moves() && move.Action != gate.ActionUnknown {
		m.CurrentByTarget = kept(move, st, state.CurrentByTarget)
	}
	if sameFront(m.Environment, state.Environment) {
		m.EndpointByTarget = kept(move, st, state.EndpointByTarget)
	}
}

// kept returns what a map says of the targets of a stage whose environments are there, and of all
// if nothing is done to them; what others will have is unknown.
func kept(move gate.Move, st *pipeline.State, has types.Map) types.Map {
	by := map[string]attr.Value{}
	for _, t := range move.Stage.Targets {
		by[t.Name] = types.StringUnknown()
		env, ok := st.RunEnvironment(pipeline.AtTarget(move.Stage.Name, t.Name), pipeline.ForStage)
		if v := has.Elements()[t.Name]; v != nil && (move.Action == gate.ActionNone || ok && env.Serves() && !v.IsNull()) {
			by[t.Name] = v
		}
	}
	return types.MapValueMust(types.StringType, by)
}

// firstEndpoint returns the endpoint of a stage with targets: that of the first one, of the first
// wave.
func (m *stageModel) firstEndpoint(stage pipeline.Stage) types.String {
	first, ok := m.EndpointByTarget.Elements()[stage.AtTargets()[0].At.Name].(types.String)
	if !ok {
		return types.StringNull()
	}
	return first
}
