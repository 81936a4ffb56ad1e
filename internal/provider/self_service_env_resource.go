// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// selfServiceEnvResource is penstock_self_service_env.
type selfServiceEnvResource struct{ base }

var (
	_ resource.ResourceWithConfigure      = (*selfServiceEnvResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*selfServiceEnvResource)(nil)
	_ resource.ResourceWithImportState    = (*selfServiceEnvResource)(nil)
	_ resource.ResourceWithValidateConfig = (*selfServiceEnvResource)(nil)
)

func newSelfServiceEnvResource() resource.Resource {
	return &selfServiceEnvResource{base{kind: "self_service_env", record: pipeline.RecordEnvironment}}
}

type selfServiceEnvModel struct {
	ID               types.String   `tfsdk:"id"`
	Pipeline         types.String   `tfsdk:"pipeline"`
	Name             types.String   `tfsdk:"name"`
	After            types.List     `tfsdk:"after"`
	Build            types.String   `tfsdk:"build"`
	Follow           types.Bool     `tfsdk:"follow"`
	TTL              types.String   `tfsdk:"ttl"`
	Instances        types.Int64    `tfsdk:"instances"`
	Owner            types.String   `tfsdk:"owner"`
	Env              types.Map      `tfsdk:"env"`
	EnvWO            types.Map      `tfsdk:"env_wo"`
	EnvVersion       types.Int64    `tfsdk:"env_wo_version"`
	Kind             types.String   `tfsdk:"instance_type"`
	Volume           types.Object   `tfsdk:"volume"`
	Hops             types.Int64    `tfsdk:"metadata_hop_limit"`
	Spot             types.Bool     `tfsdk:"spot"`
	Address          types.String   `tfsdk:"address"`
	Port             types.Int64    `tfsdk:"port"`
	Trusted          types.List     `tfsdk:"trusted_proxies"`
	Variables        types.Dynamic  `tfsdk:"variables"`
	VariablesWO      types.Dynamic  `tfsdk:"variables_wo"`
	VariablesVersion types.Int64    `tfsdk:"variables_wo_version"`
	Timeouts         timeouts.Value `tfsdk:"timeouts"`
	Status           types.String   `tfsdk:"status"`
	Endpoint         types.String   `tfsdk:"endpoint"`
	ExpiresAt        types.String   `tfsdk:"expires_at"`
	ImageID          types.String   `tfsdk:"image_id"`
}

// Schema implements resource.Resource.
func (r *selfServiceEnvResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attributes := envAttributes("the service")
	maps.Copy(attributes, variablesAttributes())
	maps.Copy(attributes, map[string]schema.Attribute{
		"id":       idAttribute(),
		"pipeline": replace(required("Name of the pipeline. A change replaces the environment.", isName())),
		"name":     replace(required("Name of the environment, unique in the pipeline. A change replaces the environment.", isName())),
		"after":    afterAttribute("Stages that the build must have passed: `passed` of stages of this pipeline. Default: the pipeline's acceptance stages."),
		"build": schema.StringAttribute{
			Optional: true, Computed: true, Validators: []validator.String{isBuildID()},
			MarkdownDescription: "Build to run. Default: the newest that has passed at launch. The environment then keeps that build.",
		},
		"follow": schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			MarkdownDescription: "Whether the environment moves to each newer build that passes. Not together with `build`. Default: false.",
		},
		"ttl": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString("8h"), Validators: []validator.String{isDuration()},
			MarkdownDescription: "Time to live, from the launch. The environment then ends by itself, and stays ended until a longer `ttl` or another build renews it. An extension with `penstock env extend` applies until `ttl` changes. The maximum is set by the pipeline's `self_service`, otherwise `168h`. Default: `8h`.",
		},
		"instances": schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(1), Validators: []validator.Int64{int64validator.Between(1, 100)},
			MarkdownDescription: "Number of instances. Default: 1.",
		},
		"owner": schema.StringAttribute{
			Optional: true, Computed: true, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			MarkdownDescription: "Owner of the environment. Default: whoever applies. To name somebody else, you need the deploy right. A change replaces the environment.",
			PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplace()},
		},
		"address": optional("IP address that the endpoint listens on. Default: loopback.", isAddress()),
		"port": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
			MarkdownDescription: "Port of the endpoint. Default: any free one, which stays the same for the environment's life.",
		},
		"trusted_proxies":    trustedProxiesAttribute(),
		"instance_type":      optional("Type of the instances, if the platform has types. A change launches the environment again. Default: the provider's."),
		"volume":             volumeAttribute("the instances"),
		"metadata_hop_limit": hopsAttribute(),
		"spot":               spotAttribute(),

		"timeouts":   timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true}),
		"status":     computed("`running`, `degraded`, `expired` or `gone`."),
		"endpoint":   computed("URL at which the environment answers; null if it has ended."),
		"expires_at": computed("When it ends by itself, in RFC 3339."),
		"image_id":   computed("Image that the environment runs from; null for a build without one."),
	})
	resp.Schema = schema.Schema{
		MarkdownDescription: "A person's own, scaled-down environment. It runs a build that passed acceptance, until its time to live is over.",
		Attributes:          attributes,
	}
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *selfServiceEnvResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m selfServiceEnvModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(validateGates(m.After)...)
	refuseForeign("Environment", m.Name.ValueString(), m.Pipeline, m.After, &resp.Diagnostics)
	withoutElsewhere(m.After, &resp.Diagnostics)
	if !m.Build.IsNull() && !m.After.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("after"), "Conflicting arguments",
			"build already names the build, so after has no effect. Remove one of the two.")
	}
	if !m.Build.IsNull() && m.Follow.ValueBool() {
		resp.Diagnostics.AddAttributeError(path.Root("follow"), "Conflicting arguments",
			"build pins the environment, so it can't follow newer builds. Remove one of the two.")
	}
	if !m.EnvWO.IsNull() && m.EnvVersion.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("env_wo_version"), "Missing version of secrets",
			"env_wo is set without env_wo_version. Set env_wo_version = 1, and a higher number whenever the secrets change.")
	}
	resp.Diagnostics.Append(validateVolume(ctx, path.Root("volume"), m.Volume)...)
	resp.Diagnostics.Append(validateOwnVariables(path.Empty(), m.Variables, m.VariablesWO, m.VariablesVersion)...)
}

// ModifyPlan implements resource.ResourceWithModifyPlan.
func (r *selfServiceEnvResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if !r.toPlan(ctx, req, resp) {
		return
	}
	var m, config selfServiceEnvModel
	var state *selfServiceEnvModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	var was selfServiceEnvModel
	if state != nil {
		was = *state
	}
	if refuseForeign("Environment", m.Name.ValueString(), m.Pipeline, m.After, &resp.Diagnostics) || withoutElsewhere(m.After, &resp.Diagnostics) {
		return
	}
	moves := !m.Name.Equal(was.Name) || !m.Pipeline.Equal(was.Pipeline) || !m.Owner.Equal(was.Owner)
	own := r.named(ctx, "environment", m.Pipeline, m.Name, was.ID, moves, req, resp)
	if state == nil && !applying(req) && !r.free(ctx, m.Pipeline, m.Name, own, &resp.Diagnostics) {
		return
	}
	m.Build = config.Build
	if known(ctx, m.Pipeline, m.Name) {
		var at *engine.Position
		if state != nil && m.Pipeline.Equal(state.Pipeline) { // else it moves to the history of another
			at = readAt(ctx, req.Private, &resp.Diagnostics)
		}
		r.planBuild(ctx, &m, state, at, known(ctx, config.TTL, config.Owner), resp)
	} else if config.Build.IsNull() {
		m.Build = types.StringUnknown()
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if state == nil {
		m.unknownExports()
		resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
		return
	}
	if sameStages(m.After, state.After) {
		m.After = state.After // the ledger says which builds passed them
	}
	m.Status, m.Endpoint, m.ExpiresAt, m.ImageID = state.Status, state.Endpoint, state.ExpiresAt, state.ImageID
	if state.Status.ValueString() == string(pipeline.EnvGone) {
		m.unknownExports()
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
	if !resp.Plan.Raw.Equal(req.State.Raw) {
		m.unknownExports()
		resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
	}
}

func (m *selfServiceEnvModel) unknownExports() {
	m.Status, m.Endpoint, m.ExpiresAt, m.ImageID = types.StringUnknown(), types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
}

// planBuild chooses the build: the pin, the one that runs, or the newest that passed.
// Where it is decided how long a new one lives, and whose it is, it is checked whether
// that is allowed.
func (r *selfServiceEnvResource) planBuild(ctx context.Context, m, state *selfServiceEnvModel, at *engine.Position, decided bool, resp *resource.ModifyPlanResponse) {
	name := m.Name.ValueString()
	g := expandGates(m.After)
	pinned := !m.Build.IsNull()
	keeps := state != nil && !pinned && !m.Follow.ValueBool()
	if keeps {
		m.Build = state.Build
	}
	planned, err := r.session.overlay.planApply(ctx, r.session.pipelineName(m.Pipeline), at)
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("pipeline"), partOf("plan environment", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	st, atPlan := planned.State(g.stages...), r.session.overlay.knownAtPlan(r.session.pipelineName(m.Pipeline), g)
	longer := known(ctx, m.TTL) && (state == nil || !m.TTL.Equal(state.TTL))
	if err := run.CheckTTL(st, r.request(*m, nil)); longer && err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("ttl"), partOf("launch environment", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	if err := r.session.Engine.Environments.CheckLaunch(st, r.request(*m, nil)); state == nil && decided && err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("pipeline"), partOf("launch environment", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	if err := r.session.Engine.Environments.CheckSpec(r.request(*m, nil).Spec); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("name"), partOf("launch environment", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	switch {
	case keeps, m.Build.IsUnknown(), !atPlan && pinned:
	case !atPlan:
		m.Build = types.StringUnknown()
	default:
		r.chooseBuild(st, g, m, state, pinned, resp)
	}
}

// chooseBuild plans the build where all gates are known.
func (r *selfServiceEnvResource) chooseBuild(st *pipeline.State, g gates, m, state *selfServiceEnvModel, pinned bool, resp *resource.ModifyPlanResponse) {
	name := m.Name.ValueString()
	for _, up := range g.stages {
		if _, ok := st.Stages[up]; !ok {
			addAttributeError(&resp.Diagnostics, path.Root("after"), partOf("launch environment", name), r.session.pipelineName(m.Pipeline),
				pipeline.Errorf(pipeline.CodeInvalid, "launch environment", "pipeline %q has no stage %q to come after", m.Pipeline.ValueString(), up).
					WithHint("Refer to the resource, as in penstock_stage.acceptance.passed."))
			return
		}
	}
	if pinned && state != nil && m.Build.Equal(state.Build) {
		return
	}
	build, err := run.ChooseBuild(st, r.request(*m, nil))
	switch {
	case err != nil && pinned:
		addAttributeError(&resp.Diagnostics, path.Root("build"), partOf("launch environment", name), r.session.pipelineName(m.Pipeline), err)
	case err != nil && len(g.stages) == 0:
		m.Build = types.StringUnknown() // the acceptance stages may run in this apply
	case err != nil:
		addAttributeError(&resp.Diagnostics, path.Root("after"), partOf("launch environment", name), r.session.pipelineName(m.Pipeline), err)
	case state == nil && !pinned: // what people decide until it is launched is not known
		m.Build = types.StringUnknown()
	default:
		m.Build = types.StringValue(build)
	}
}

func (r *selfServiceEnvResource) request(m selfServiceEnvModel, env map[string]string) run.LaunchRequest {
	var none diag.Diagnostics // what is validated can be expanded
	return run.LaunchRequest{
		Pipeline: r.session.pipelineName(m.Pipeline), Name: m.Name.ValueString(), Owner: m.Owner.ValueString(), Build: m.Build.ValueString(),
		After: expandGates(m.After).stages, TTL: expandDuration(m.TTL), Configured: r.session.Owner,
		Spec: pipeline.EnvironmentSpec{
			Instances: int(m.Instances.ValueInt64()), Env: env, SecretsVersion: m.EnvVersion.ValueInt64(),
			Address: m.Address.ValueString(), Port: int(m.Port.ValueInt64()), TrustedProxies: expandProxies(m.Trusted),
			InstanceType: m.Kind.ValueString(), Machine: pipeline.Machine{Volume: expandVolume(m.Volume), Hops: int(m.Hops.ValueInt64()), Spot: m.Spot.ValueBool()},
			Variables: expandVariables(m.Variables, &none), VariablesVersion: m.VariablesVersion.ValueInt64(),
		},
	}
}

// Create implements resource.Resource. A failed launch leaves nothing.
func (r *selfServiceEnvResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	r.note(ctx, resp.Private, &resp.Diagnostics)
	r.apply(ctx, req.Plan, req.Config, nil, &resp.State, &resp.Diagnostics, func(m selfServiceEnvModel) (time.Duration, diag.Diagnostics) {
		return m.Timeouts.Create(ctx, defaultTimeout)
	})
}

// Update implements resource.Resource. When it fails, what ran runs on.
func (r *selfServiceEnvResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.apply(ctx, req.Plan, req.Config, &req.State, &resp.State, &resp.Diagnostics, func(m selfServiceEnvModel) (time.Duration, diag.Diagnostics) {
		return m.Timeouts.Update(ctx, defaultTimeout)
	})
}

func (r *selfServiceEnvResource) apply(ctx context.Context, plan tfsdk.Plan, config tfsdk.Config, prior, state *tfsdk.State, diags *diag.Diagnostics, timeout func(selfServiceEnvModel) (time.Duration, diag.Diagnostics)) {
	var m, secret selfServiceEnvModel
	diags.Append(plan.Get(ctx, &m)...)
	diags.Append(config.Get(ctx, &secret)...)
	if diags.HasError() {
		return
	}
	limit, d := timeout(m)
	diags.Append(d...)
	refuseForeign("Environment", m.Name.ValueString(), m.Pipeline, m.After, diags)
	if prior == nil && !r.stillFree(ctx, m.Pipeline, m.Name, diags) {
		return
	}
	req := r.request(m, expandStrings(ctx, m.Env, diags))
	req.Secrets, req.Create = expandSecrets(ctx, secret.EnvWO, diags), prior == nil
	req.ModuleSecrets = expandSecretVariables(secret.VariablesWO, diags)
	if req.Secrets == nil {
		req.Secrets = pipeline.Secrets{} // the configuration has none
	}
	if prior != nil {
		var was selfServiceEnvModel
		diags.Append(prior.Get(ctx, &was)...)
		req.Renew, req.SameTTL = was.Status.ValueString() == string(pipeline.EnvExpired), was.TTL.Equal(m.TTL)
	}
	if diags.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	env, err := r.session.Engine.Environments.Launch(ctx, req)
	if err != nil {
		addError(diags, partOf("launch environment", req.Name), req.Pipeline, err)
		return
	}
	exportEnvironment(env, &m)
	diags.Append(state.Set(ctx, m)...)
}

func exportEnvironment(env pipeline.Environment, m *selfServiceEnvModel) {
	m.ID, m.Build, m.Owner = types.StringValue(env.ID), orNull(env.Build), types.StringValue(env.Owner)
	m.Status, m.Endpoint, m.ImageID = types.StringValue(string(env.Status)), orNull(env.Endpoint), orNull(env.Image)
	m.ExpiresAt = types.StringNull()
	if !env.ExpiresAt.IsZero() {
		m.ExpiresAt = types.StringValue(env.ExpiresAt.UTC().Format(time.RFC3339))
	}
}

// Read implements resource.Resource. An environment whose time is over stays in
// the state as expired. One of which no number of instances is recorded, as a change of
// it was interrupted, reads as null: whatever number is wanted, the next apply sees to it.
func (r *selfServiceEnvResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m selfServiceEnvModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	name := m.Name.ValueString()
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, partOf("read environment", name), r.session.pipelineName(m.Pipeline), &resp.Diagnostics) {
		return
	}
	at, position, err := r.session.overlay.snapshot(ctx, r.session.pipelineName(m.Pipeline))
	if err != nil {
		addError(&resp.Diagnostics, partOf("read environment", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	st := at.State()
	noteRead(ctx, resp.Private, position, &resp.Diagnostics)
	env, ok := st.PersonEnvironment(name)
	if !ok || !r.same(m.ID, env.ID, name, &resp.Diagnostics) {
		resp.State.RemoveResource(ctx)
		return
	}
	r.recorded(ctx, st, name, env.ID)
	if !m.ID.IsNull() && run.ByHand(env) { // imported since
		if err := r.session.Engine.Environments.Configure(ctx, st, env, r.session.Owner); err != nil {
			r.session.Logger().Debug("record that a configuration has an environment", "name", name, "error", err)
		}
	}
	r.note(ctx, resp.Private, &resp.Diagnostics)
	if m.ID.IsNull() { // imported
		m.Follow, m.TTL = types.BoolValue(false), flattenDuration(env.TTL)
		m.After, m.Instances = types.ListNull(afterType), types.Int64Value(int64(env.Instances))
		m.Kind, m.Hops, m.Spot = orNull(env.Spec.InstanceType), intOrNull(env.Spec.Hops), trueOrNull(env.Spec.Spot)
		m.Volume = flattenVolume(env.Spec.Volume, m.Volume.AttributeTypes(ctx))
		m.Env, m.EnvWO, m.EnvVersion = flattenStrings(env.Spec.Env), types.MapNull(types.StringType), intOrNull(env.Spec.SecretsVersion)
		m.Variables, m.VariablesWO, m.VariablesVersion = flattenVariables(env.Spec.Variables, &resp.Diagnostics), types.DynamicNull(), intOrNull(env.Spec.VariablesVersion)
		m.Address, m.Port, m.Trusted = orNull(env.Spec.Address), intOrNull(env.Spec.Port), flattenProxies(env.Spec.TrustedProxies)
	}
	if env.Serves() {
		m.Instances = intOrNull(env.Instances)
	}
	exportEnvironment(env, &m)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Delete implements resource.Resource.
func (r *selfServiceEnvResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m selfServiceEnvModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, d := m.Timeouts.Delete(ctx, defaultTimeout)
	resp.Diagnostics.Append(d...)
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, partOf("end environment", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), &resp.Diagnostics) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.session.Engine.Environments.End(ctx, r.session.pipelineName(m.Pipeline), m.Name.ValueString(), m.ID.ValueString()); err != nil {
		addError(&resp.Diagnostics, partOf("end environment", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), err)
	}
}

// ImportState implements resource.ResourceWithImportState: the ID is PIPELINE/NAME.
func (r *selfServiceEnvResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importPair(ctx, req, resp, "name")
}
