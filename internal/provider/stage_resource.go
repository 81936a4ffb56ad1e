// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// defaultTimeout bounds an apply of one resource that sets no timeouts: longer than
// a slow acceptance suite.
const defaultTimeout = time.Hour

// base is what the resources have in common.
type base struct {
	kind    string // completes penstock_
	record  pipeline.RecordKind
	session *session // nil while only the configuration is validated
}

// Metadata implements resource.Resource.
func (b *base) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + b.kind
}

// Configure implements resource.ResourceWithConfigure.
func (b *base) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if s, ok := req.ProviderData.(*session); ok {
		b.session = s
	}
}

// ownKey is where a plan notes its resource's ID. Terraform plans a replacement like a
// creation, with the private data of the plan before it.
const ownKey = "id"

// named checks that no other resource of the configuration has the planned name. id is
// null for a resource that is to be created; moves says that it leaves the name that it
// has. It returns the ID of the resource that the planned one is or replaces; empty for none.
func (b *base) named(ctx context.Context, noun string, pipelineName, name, id types.String, moves bool, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) (own string) {
	if own = id.ValueString(); id.IsNull() {
		data, diags := req.Private.GetKey(ctx, ownKey)
		resp.Diagnostics.Append(diags...)
		_ = json.Unmarshal(data, &own) // nothing there: it replaces nothing
	} else {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, ownKey, []byte(strconv.Quote(own)))...)
		if moves {
			b.leaves(ctx, req, resp)
			return own
		}
		b.session.overlay.plan(own) // where another one has the name that is found below
	}
	if pipelineName.IsUnknown() || name.IsUnknown() || b.session.overlay.claim(noun, b.session.pipelineName(pipelineName), name.ValueString(), own) {
		return own
	}
	addAttributeError(&resp.Diagnostics, path.Root("name"), partOf("plan "+noun, name.ValueString()), b.session.pipelineName(pipelineName),
		pipeline.Errorf(pipeline.CodeConflict, "plan "+noun, "two resources of this configuration are named %q", name.ValueString()).WithHint("Give each its own name."))
	return own
}

// stageResource is penstock_stage.
type stageResource struct{ base }

var (
	_ resource.ResourceWithConfigure      = (*stageResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*stageResource)(nil)
	_ resource.ResourceWithImportState    = (*stageResource)(nil)
	_ resource.ResourceWithValidateConfig = (*stageResource)(nil)
)

func newStageResource() resource.Resource {
	return &stageResource{base{kind: "stage", record: pipeline.RecordStage}}
}

// ValidateConfig implements resource.ResourceWithValidateConfig: it finds the
// mistakes between arguments.
func (r *stageResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m stageModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || m.Type.IsUnknown() {
		return
	}
	resp.Diagnostics.Append(validateGates(m.After)...)
	refuseForeign("Stage", cmp.Or(m.Name.ValueString(), m.Type.ValueString()), m.Pipeline, m.After, &resp.Diagnostics)
	kind := pipeline.StageType(m.Type.ValueString())
	var def pipeline.Stage
	def.Type = kind
	environment := def.WithDefaults(nil, nil).Env != nil || !m.Environment.IsNull()
	resp.Diagnostics.Append(validateSteps(m.Steps, environment, "command", "http", "load")...)
	if !m.Environment.IsNull() && !m.Environment.IsUnknown() {
		resp.Diagnostics.Append(needsVersion(path.Root("environment"), m.Environment)...)
		if keep, ok := m.Environment.Attributes()["keep"].(types.Bool); ok && kind == pipeline.TypeProduction && !keep.IsUnknown() && !keep.IsNull() && !keep.ValueBool() {
			resp.Diagnostics.AddAttributeError(path.Root("environment").AtName("keep"), "Production is persistent",
				"The environment of a production stage is always persistent. Remove keep, or use type = \"pre-production\" for an environment that ends with its run.")
		}
	}
	r.validateByType(kind, m, environment, &resp.Diagnostics)
	resp.Diagnostics.Append(validateRunner(m.Runner, m.Steps)...)
	resp.Diagnostics.Append(validatePublish(m.Publish)...)
	resp.Diagnostics.Append(validateCopyTime(ctx, m.Publish, m.Timeouts)...)
	resp.Diagnostics.Append(validateTraffic(ctx, kind, m.Environment)...)
	resp.Diagnostics.Append(validateMachine(ctx, kind, m.Environment, m.Bake)...)
	validateTargets(ctx, m, &resp.Diagnostics)
}

// validateRunner finds loads that several machines are to make where there is one.
func validateRunner(runner types.String, steps types.List) (diags diag.Diagnostics) {
	if runner.IsUnknown() || expandRunner(runner) != pipeline.RunnerLocal {
		return nil
	}
	for i, element := range steps.Elements() {
		step, ok := element.(types.Object)
		if !ok {
			continue
		}
		if load, ok := step.Attributes()["load"].(types.Object); ok && load.Attributes()["machines"] != nil && !load.Attributes()["machines"].IsNull() {
			diags.AddAttributeError(path.Root("steps").AtListIndex(i).AtName("load").AtName("machines"), "One machine",
				"The steps run on the machine that runs Terraform, so no other machine can share a load. Set runner = \"codebuild\" on the stage, or remove machines.")
		}
	}
	return diags
}

// validateTraffic finds steps of a shift that don't grow, and arguments that only a
// persistent environment has.
func validateTraffic(ctx context.Context, kind pipeline.StageType, o types.Object) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var e environmentModel
	diags.Append(o.As(ctx, &e, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})...)
	at := path.Root("environment")
	persistent := kind == pipeline.TypeProduction || e.Keep.ValueBool() || e.Keep.IsUnknown()
	for _, name := range []string{"shift", "alarms", "keep_previous", "certificate", "scaling", "target_attributes", "listener_arn", "dns"} {
		if !persistent && !o.Attributes()[name].IsNull() {
			diags.AddAttributeError(at.AtName(name), "Environment is not persistent",
				fmt.Sprintf("Only a persistent environment can have %s. Set keep = true, or remove it.", name))
		}
	}
	diags.Append(validateListener(at, o, e)...)
	diags.Append(validateScaling(ctx, at.AtName("scaling"), e.Scaling, e.Instances)...)
	diags.Append(validateOwnVariables(at, e.Variables, e.VariablesWO, e.VariablesVersion)...)
	if e.Shift.IsUnknown() {
		return diags
	}
	before := int64(0)
	for i, v := range e.Shift.Elements() {
		step, ok := v.(types.Object)
		if !ok || step.IsUnknown() {
			continue
		}
		percent, ok := step.Attributes()["percent"].(types.Int64)
		if !ok || percent.IsUnknown() {
			continue
		}
		if percent.ValueInt64() <= before {
			diags.AddAttributeError(at.AtName("shift").AtListIndex(i).AtName("percent"), "Shift does not grow",
				fmt.Sprintf("This step has %d %% of the traffic, and the previous one %d %%. Give each step more than the previous one.", percent.ValueInt64(), before))
		}
		before = percent.ValueInt64()
	}
	return diags
}

// validateByType finds arguments that the stage's type lacks or does not have.
func (r *stageResource) validateByType(kind pipeline.StageType, m stageModel, environment bool, diags *diag.Diagnostics) {
	forbid := func(name string, set bool, why string) {
		if set {
			diags.AddAttributeError(path.Root(name), "Argument of another type of stage",
				fmt.Sprintf("A stage of type %q has no %s: %s. Remove it.", kind, name, why))
		}
	}
	commit, bootstrap := kind == pipeline.TypeCommit, kind == pipeline.TypeBootstrap
	if commit && m.Source.IsNull() {
		diags.AddAttributeError(path.Root("source"), "Missing source",
			"A stage of type \"commit\" needs a source. Set source = data.penstock_source.NAME.revision.")
	}
	forbid("source", !commit && !bootstrap && !m.Source.IsNull(), "it takes the builds of the commit stage")
	forbid("base_image", !commit && !m.BaseImage.IsNull(), "the commit stage chooses it")
	forbid("artifact", !commit && !m.Artifact.IsNull(), "the commit stage makes it")
	forbid("build", (commit || bootstrap) && !m.Build.IsNull(), "only stages that take builds can be pinned")
	forbid("trigger", (commit || bootstrap) && !m.Trigger.IsNull(), "it runs when its source or definition changes")
	forbid("environment", bootstrap && !m.Environment.IsNull(), "there is no build to launch yet")
	forbid("publish", bootstrap && !m.Publish.IsNull(), "there is no build whose image could be published")
	forbid("approval", bootstrap && m.Approval.ValueBool(), "there is no build to approve")
	forbid("bake", m.Bake.ValueBool() && !environment, "it has no environment to bake from; set environment = {}")
	if m.Name.IsNull() {
		m.Name = m.Type
	}
	m.checkAfter(diags)
}

// checkAfter refuses a stage after itself, and twice after the same one.
func (m stageModel) checkAfter(diags *diag.Diagnostics) {
	seen := map[string]bool{}
	for i, element := range m.After.Elements() {
		gates := expandGates(types.ListValueMust(m.After.ElementType(context.Background()), []attr.Value{element}))
		if len(gates.stages) == 0 { // of another pipeline, or not known yet
			continue
		}
		up, of := gates.stages[0], element.(types.Object).Attributes()["pipeline"].String()
		at := path.Root("after").AtListIndex(i)
		if !m.Name.IsUnknown() && up == m.Name.ValueString() {
			diags.AddAttributeError(at, "Stage after itself", fmt.Sprintf("Stage %q can't come after itself. Remove it from after.", up))
		}
		if seen[of+up] {
			diags.AddAttributeError(at, "Stage twice", fmt.Sprintf("Stage %q is in after twice. Remove one.", up))
		}
		seen[of+up] = true
	}
}

// Create implements resource.Resource. When the stage's first run fails, nothing
// is kept in Terraform's state: the next apply goes on from the ledger.
func (r *stageResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	r.note(ctx, resp.Private, &resp.Diagnostics)
	r.apply(ctx, req.Plan, req.Config, &resp.State, nil, resp.Private, &resp.Diagnostics, func(m stageModel) (time.Duration, diag.Diagnostics) {
		return m.Timeouts.Create(ctx, defaultTimeout)
	})
}

// Update implements resource.Resource. When it fails, the state stays as it was.
func (r *stageResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.apply(ctx, req.Plan, req.Config, &resp.State, readAt(ctx, req.Private, &resp.Diagnostics), resp.Private, &resp.Diagnostics, func(m stageModel) (time.Duration, diag.Diagnostics) {
		return m.Timeouts.Update(ctx, defaultTimeout)
	})
}

func (r *stageResource) apply(ctx context.Context, plan tfsdk.Plan, config tfsdk.Config, state *tfsdk.State, planned *engine.Position, private privateSetter, diags *diag.Diagnostics, timeout func(stageModel) (time.Duration, diag.Diagnostics)) {
	var m, secret stageModel
	diags.Append(plan.Get(ctx, &m)...)
	diags.Append(config.Get(ctx, &secret)...)
	if diags.HasError() {
		return
	}
	limit, d := timeout(m)
	diags.Append(d...)
	refuseForeign("Stage", m.Name.ValueString(), m.Pipeline, m.After, diags)
	create := m.ID.IsUnknown()
	if create && !r.stillFree(ctx, m.Pipeline, m.Name, diags) {
		return
	}
	stage := expandStage(ctx, m, r.session, diags)
	stage.Elsewhere = expandGates(secret.After).elsewhere // as it was read: the plan keeps what only has come further
	request := run.AdvanceRequest{Stage: stage, Create: create, Intent: gate.Intent{Candidate: gate.Unknown}}
	if !m.Candidate.IsUnknown() {
		request.Intent.Candidate = gate.Value{ID: m.Candidate.ValueString()}
	}
	if planned != nil {
		request.Intent.Position = planned.Sequence
	}
	request.Secrets.Steps = expandStepSecrets(ctx, secret.Steps, diags)
	if wo, ok := secret.Environment.Attributes()["env_wo"].(types.Map); ok {
		request.Secrets.Environment = expandSecrets(ctx, wo, diags)
	}
	if wo, ok := secret.Environment.Attributes()["variables_wo"].(types.Dynamic); ok {
		request.Secrets.Module = expandSecretVariables(wo, diags)
	}
	if diags.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	status, err := r.session.Engine.Stages.Advance(ctx, request)
	if err != nil {
		addError(diags, partOf("move stage", stage.Name), stage.Pipeline, err)
		return
	}
	was := m
	at, position, err := r.session.Engine.Snapshot(ctx, stage.Pipeline)
	if err != nil { // what was done goes into the state all the same; the next read notes where
		r.session.Logger().Debug("note the position of a stage", "stage", stage.Name, "error", err)
		flattenStatus(status, pipeline.Pipeline{}, &m)
	} else {
		flattenStatus(status, at.State().Pipeline, &m)
		noteRead(ctx, private, position, diags)
	}
	if !known(ctx, was.Passed) {
		r.session.overlay.foundOut(stage.Pipeline, stage.Name, status.Passed)
	}
	m.keep(ctx, was)
	diags.Append(state.Set(ctx, m)...)
}

// Read implements resource.Resource.
func (r *stageResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m stageModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	name := m.Name.ValueString()
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, partOf("read stage", name), r.session.pipelineName(m.Pipeline), &resp.Diagnostics) {
		return
	}
	at, position, err := r.session.overlay.snapshot(ctx, r.session.pipelineName(m.Pipeline))
	if err != nil {
		addError(&resp.Diagnostics, partOf("read stage", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	st := at.State()
	stage, ok := st.Stages[name]
	if !ok || !r.same(m.ID, stage.ID, name, &resp.Diagnostics) {
		resp.State.RemoveResource(ctx)
		return
	}
	r.recorded(ctx, st, name, stage.ID)
	r.note(ctx, resp.Private, &resp.Diagnostics)
	if m.Type.IsNull() { // imported
		flattenStage(ctx, st, stage, schemaOf(ctx, r), &m, &resp.Diagnostics)
	}
	status := r.session.Engine.Reports.StageViewIn(st, stage)
	r.session.drift(ctx, &status, &resp.Diagnostics)
	flattenStatus(status, st.Pipeline, &m)
	noteRead(ctx, resp.Private, position, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Delete implements resource.Resource.
func (r *stageResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m stageModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, d := m.Timeouts.Delete(ctx, defaultTimeout)
	resp.Diagnostics.Append(d...)
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, partOf("remove stage", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), &resp.Diagnostics) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.session.Engine.Stages.Remove(ctx, r.session.pipelineName(m.Pipeline), m.Name.ValueString(), m.ID.ValueString()); err != nil {
		addError(&resp.Diagnostics, partOf("remove stage", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), err)
	}
}

// ImportState implements resource.ResourceWithImportState: the ID is PIPELINE/STAGE.
func (r *stageResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importPair(ctx, req, resp, "stage")
}

// importPair takes an import ID of the form PIPELINE/NAME apart.
func importPair(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse, noun string) {
	pipelineName, name, ok := strings.Cut(req.ID, "/")
	if !ok || pipelineName == "" || name == "" || strings.Contains(name, "/") {
		resp.Diagnostics.AddError("Invalid import ID", fmt.Sprintf("%q is not of the form PIPELINE/%s, as in shop/%s.", req.ID, strings.ToUpper(noun), noun))
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("pipeline"), pipelineName)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), name)...)
}

// schemaOf returns a resource's schema.
func schemaOf(ctx context.Context, r resource.Resource) schema.Schema {
	var s resource.SchemaResponse
	r.Schema(ctx, resource.SchemaRequest{}, &s)
	return s.Schema
}
