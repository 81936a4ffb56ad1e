// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// pipelineResource is penstock_pipeline.
type pipelineResource struct{ base }

var (
	_ resource.ResourceWithConfigure      = (*pipelineResource)(nil)
	_ resource.ResourceWithValidateConfig = (*pipelineResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*pipelineResource)(nil)
	_ resource.ResourceWithImportState    = (*pipelineResource)(nil)
)

func newPipelineResource() resource.Resource {
	return &pipelineResource{base{kind: "pipeline", record: pipeline.RecordPipeline}}
}

type pipelineModel struct {
	ID           types.String   `tfsdk:"id"`
	Name         types.String   `tfsdk:"name"`
	Qualified    types.String   `tfsdk:"qualified_name"`
	Service      types.Object   `tfsdk:"service"`
	Module       types.Object   `tfsdk:"module"`
	Scale        types.Object   `tfsdk:"scale"`
	Authorize    types.Object   `tfsdk:"authorize"`
	SelfService  types.Object   `tfsdk:"self_service"`
	Notify       types.List     `tfsdk:"notify"`
	Keep         types.Int64    `tfsdk:"keep"`
	History      types.String   `tfsdk:"retain_history"`
	ForceDestroy types.Bool     `tfsdk:"force_destroy"`
	Timeouts     timeouts.Value `tfsdk:"timeouts"`
}

type serviceModel struct {
	Install      types.String `tfsdk:"install"`
	Start        types.String `tfsdk:"start"`
	Migrate      types.String `tfsdk:"migrate"`
	ReadOnlyRoot types.Bool   `tfsdk:"read_only_root"`
	Seed         types.String `tfsdk:"seed"`
	Backup       types.String `tfsdk:"backup"`
	Restore      types.String `tfsdk:"restore"`
	Copy         types.String `tfsdk:"copy"`
	Mask         types.String `tfsdk:"mask"`
	Finish       types.String `tfsdk:"finish"`
	FinishAfter  types.String `tfsdk:"finish_after"`
	HookTimeout  types.String `tfsdk:"hook_timeout"`
	Port         types.Int64  `tfsdk:"port"`
	Protocol     types.String `tfsdk:"protocol"`
	User         types.String `tfsdk:"user"`
	HealthCheck  *healthModel `tfsdk:"health_check"`
}

type healthModel struct {
	Path         types.String `tfsdk:"path"`
	Status       types.Int64  `tfsdk:"status"`
	Interval     types.String `tfsdk:"interval"`
	Timeout      types.String `tfsdk:"timeout"`
	StartTimeout types.String `tfsdk:"start_timeout"`
}

type scaleModel struct {
	Instances    types.Int64  `tfsdk:"instances"`
	InstanceType types.String `tfsdk:"instance_type"`
}

// Schema implements resource.Resource.
func (r *pipelineResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	command := func(text string) schema.StringAttribute { return optional(text, stringvalidator.LengthAtLeast(1)) }
	resp.Schema = schema.Schema{
		MarkdownDescription: "A pipeline: one application's way from commit to production. It says how to install, start and check the application. Its stages are separate resources.",
		Attributes: map[string]schema.Attribute{
			"id":   idAttribute(),
			"name": replace(required("Name of the pipeline, unique in the data directory. A change replaces the pipeline.", isName())),
			"qualified_name": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Name with the provider's `namespace` before it, if there is one. The `penstock` command, the board and AWS use this name.",
			},
			"service": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "How the application runs. `/bin/sh -e` runs the commands in the root of an instance. Required if a stage has an environment that `module` does not make as a whole.",
				Attributes: withHooks(map[string]schema.Attribute{
					"install": command("Installs the artifact, the file `$PENSTOCK_ARTIFACT`, on the base image."),
					"start":   command("Starts the service, which must listen on `$PORT` and stay in the foreground. Files that must outlive an instance go to `$PENSTOCK_DATA`."),
					"migrate": command("Migrates the data, once for each deployment, before the new build gets traffic."),
					"seed":    command("Fills a new environment that does not last with sample data, after `migrate`. It is not run where the data comes from another environment."),
					"port": schema.Int64Attribute{
						Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
						MarkdownDescription: "Port of the service, if the platform does not choose one. The local platform chooses, and sets `$PORT`.",
					},
					"user": optional("User of the instance that runs the service, `migrate`, `seed` and the commands in an environment, on AWS. "+
						"`install` makes it if it does not exist. `root` is the only one that may do everything. Default: `penstock-service`. "+
						"The local platform refuses it: there everything runs as the user that runs Terraform.", isUser()),
					"protocol": optional("`h2c`: requests and health checks reach the service over HTTP/2 without TLS, by prior knowledge, as gRPC requires. Not on AWS. Default: HTTP/1.1.", stringvalidator.OneOf(pipeline.ProtocolH2C)),
					"read_only_root": schema.BoolAttribute{
						Optional:            true,
						MarkdownDescription: "Whether the service never writes to the files of its image. Instances then share those files if the platform can, and start at once from large images. The service writes to `$PENSTOCK_DATA` instead. Default: false.",
					},
					"health_check": schema.SingleNestedAttribute{
						Optional: true, MarkdownDescription: "An instance is healthy when an HTTP GET returns the expected status. Without a `health_check`, it is healthy when it accepts a connection.",
						Attributes: map[string]schema.Attribute{
							"path": required("Path to request.", isHTTPPath()),
							"status": schema.Int64Attribute{
								Optional: true, Validators: []validator.Int64{int64validator.Between(100, 599)},
								MarkdownDescription: "Expected status. Default: any from 200 to 299.",
							},
							"interval":      optional("Time between two checks. Default: `2s`.", isDuration()),
							"timeout":       optional("How long one check may take. Default: `2s`.", isDuration()),
							"start_timeout": optional("How long an instance may take to become healthy. Default: `1m`.", isDuration()),
						},
					},
				}),
			},
			"module": moduleAttribute(),
			"scale": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "Size of production. Capacity, pre-production and production stages run at this size. Default: one instance.",
				Attributes: map[string]schema.Attribute{
					"instances": schema.Int64Attribute{
						Required: true, Validators: []validator.Int64{int64validator.Between(1, 1000)}, MarkdownDescription: "Number of instances.",
					},
					"instance_type": optional("Type of the instances of these stages, if the platform has types. A change deploys a persistent environment again, and repeats no other stage. Default: the provider's."),
				},
			},
			"authorize":    authorizeAttribute(),
			"self_service": selfServiceAttribute(),
			"notify":       notifyAttribute(),
			"keep": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(pipeline.DefaultKeep), Validators: []validator.Int64{int64validator.AtLeast(1)},
				MarkdownDescription: "Number of builds to retain, with their images, artifacts and logs. Builds in use, and builds that a rollback may need, are retained in addition. Default: 50.",
			},
			"force_destroy": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether a destroy also ends the remaining environments, and the channels that `on_removal = \"keep\"` of `publish` has kept, with their images. Default: false, which refuses to destroy a pipeline that has any.",
			},
			"retain_history": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("30d"), Validators: []validator.String{isHistory()},
				MarkdownDescription: "How long to keep the history after the pipeline is destroyed: in days as in `30d`, or as in `12h`; `0s` keeps none. `penstock ledger archive` lists it. Default: `30d`.",
			},
			"timeouts": timeouts.Attributes(ctx, timeouts.Opts{Delete: true}),
		},
	}
}

func expandPipeline(ctx context.Context, m pipelineModel, s *session, diags *diag.Diagnostics) pipeline.Pipeline {
	p := pipeline.Pipeline{Name: s.pipelineName(m.Name), Keep: int(m.Keep.ValueInt64()), Owner: s.Owner}
	p.RetainHistory, _ = parseHistory(m.History.ValueString()) // the schema has seen to it
	if !m.Service.IsNull() {
		var s serviceModel
		diags.Append(m.Service.As(ctx, &s, basetypes.ObjectAsOptions{})...)
		p.Service = pipeline.Service{
			Install: s.Install.ValueString(), Start: s.Start.ValueString(), Migrate: s.Migrate.ValueString(), ReadOnlyRoot: s.ReadOnlyRoot.ValueBool(),
			Seed: s.Seed.ValueString(), Backup: s.Backup.ValueString(), Restore: s.Restore.ValueString(), Copy: s.Copy.ValueString(), Mask: s.Mask.ValueString(),
			Finish: s.Finish.ValueString(), FinishAfter: expandDuration(s.FinishAfter), HookTimeout: expandDuration(s.HookTimeout), Port: int(s.Port.ValueInt64()), Protocol: s.Protocol.ValueString(), User: s.User.ValueString(),
		}
		if h := s.HealthCheck; h != nil {
			p.Service.HealthCheck = &pipeline.HealthCheck{
				Path: h.Path.ValueString(), Status: int(h.Status.ValueInt64()), Interval: expandDuration(h.Interval),
				Timeout: expandDuration(h.Timeout), StartTimeout: expandDuration(h.StartTimeout),
			}
		}
	}
	p.Module = expandModule(ctx, m.Module, diags)
	if !m.Scale.IsNull() {
		var s scaleModel
		diags.Append(m.Scale.As(ctx, &s, basetypes.ObjectAsOptions{})...)
		p.Scale = pipeline.Scale{Instances: int(s.Instances.ValueInt64()), InstanceType: s.InstanceType.ValueString()}
	}
	p.Authorization, p.SelfService = expandAuthorization(ctx, m.Authorize, diags), expandSelfService(ctx, m.SelfService, diags)
	p.Notify = expandNotify(ctx, m.Notify, diags)
	return p
}

// flattenPipeline fills in the arguments of an imported pipeline.
func flattenPipeline(ctx context.Context, p pipeline.Pipeline, sch schema.Schema, m *pipelineModel, diags *diag.Diagnostics) {
	attrTypes := func(name string) map[string]attr.Type {
		return sch.Attributes[name].GetType().(types.ObjectType).AttrTypes
	}
	m.Keep, m.ForceDestroy = types.Int64Value(int64(p.Retained())), types.BoolValue(false)
	m.History = flattenHistory(p.RetainHistory)
	m.Service, m.Scale = types.ObjectNull(attrTypes("service")), types.ObjectNull(attrTypes("scale"))
	m.Module = flattenModule(ctx, p.Module, attrTypes("module"), diags)
	m.Authorize = flattenAuthorization(ctx, p.Authorization, attrTypes("authorize"), diags)
	m.SelfService = flattenSelfService(ctx, p.SelfService, attrTypes("self_service"), diags)
	m.Notify = flattenNotify(ctx, p.Notify, sch.Attributes["notify"].GetType(), diags)
	if p.Service != (pipeline.Service{}) {
		s := serviceModel{
			Install: orNull(p.Service.Install), Start: orNull(p.Service.Start), Migrate: orNull(p.Service.Migrate),
			Seed: orNull(p.Service.Seed), Backup: orNull(p.Service.Backup), Restore: orNull(p.Service.Restore), Copy: orNull(p.Service.Copy), Mask: orNull(p.Service.Mask),
			Finish: orNull(p.Service.Finish), FinishAfter: flattenDuration(p.Service.FinishAfter), HookTimeout: flattenDuration(p.Service.HookTimeout), Port: intOrNull(p.Service.Port), Protocol: orNull(p.Service.Protocol), User: orNull(p.Service.User), ReadOnlyRoot: trueOrNull(p.Service.ReadOnlyRoot),
		}
		if h := p.Service.HealthCheck; h != nil {
			s.HealthCheck = &healthModel{
				Path: types.StringValue(h.Path), Status: intOrNull(h.Status), Interval: flattenDuration(h.Interval),
				Timeout: flattenDuration(h.Timeout), StartTimeout: flattenDuration(h.StartTimeout),
			}
		}
		var d diag.Diagnostics
		m.Service, d = types.ObjectValueFrom(ctx, attrTypes("service"), s)
		diags.Append(d...)
	}
	if p.Scale.Instances > 0 {
		var d diag.Diagnostics
		m.Scale, d = types.ObjectValueFrom(ctx, attrTypes("scale"), scaleModel{Instances: intOrNull(p.Scale.Instances), InstanceType: orNull(p.Scale.InstanceType)})
		diags.Append(d...)
	}
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *pipelineResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m pipelineModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	validateNotify(ctx, m.Notify, &resp.Diagnostics)
	validateHooks(m.Service, &resp.Diagnostics)
	resp.Diagnostics.Append(validateModule(ctx, m.Module)...)
	if resp.Diagnostics.HasError() || !known(ctx, m.Authorize) {
		return
	}
	if err := expandAuthorization(ctx, m.Authorize, &resp.Diagnostics).Check(); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("authorize").AtName("approvals"), "define pipeline", m.Name.ValueString(), err)
	}
}

// flattenHistory writes how long a history is kept: in days, where it is whole ones.
func flattenHistory(d time.Duration) types.String {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return types.StringValue("0s")
	case d%day == 0:
		return types.StringValue(fmt.Sprintf("%dd", d/day))
	default:
		return flattenDuration(d)
	}
}

// ModifyPlan implements resource.ResourceWithModifyPlan: it makes the planned
// definition known to the plans of the stages, and says what a destroy takes along.
func (r *pipelineResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	going := !r.toPlan(ctx, req, resp)
	if r.session == nil || resp.Diagnostics.HasError() {
		return
	}
	var m, was pipelineModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	}
	if going {
		r.planRemoval(ctx, was, "destroyed", &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || m.Name.IsUnknown() {
		return
	}
	own := r.named(ctx, "pipeline", types.StringValue(""), m.Name, was.ID, !m.Name.Equal(was.Name), req, resp)
	name := r.session.pipelineName(m.Name)
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("qualified_name"), name)...)
	st, err := r.session.Engine.State(ctx, name)
	if err == nil {
		err = r.session.checkName(name)
	}
	creates := req.State.Raw.IsNull() && !applying(req)
	if err == nil && creates {
		err = r.claim(ctx, st, name, m.Name.ValueString(), r.replaces(own), "")
	}
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("name"), "plan pipeline", name, err)
		return
	}
	switch {
	case !req.State.Raw.IsNull() && !m.Name.Equal(was.Name): // its stages are replaced, too
		r.planRemoval(ctx, was, "replaced", &resp.Diagnostics)
	case creates && st.Exists(): // by -replace: Terraform shows no warning of this call
		if err := run.RemovalOf(st).RefusedAlone(m.ForceDestroy.ValueBool()); err != nil {
			addError(&resp.Diagnostics, "replace pipeline", name, err)
		}
	}
	if !known(ctx, m.Service, m.Module, m.Scale, m.Authorize, m.SelfService, m.Notify, m.Keep) {
		r.session.overlay.planPipeline(name, nil)
		return
	}
	p := expandPipeline(ctx, m, r.session, &resp.Diagnostics)
	for i, t := range p.Notify {
		if err := r.session.CheckTarget(t); err != nil {
			addAttributeError(&resp.Diagnostics, path.Root("notify").AtListIndex(i), "define pipeline", name, err)
		}
	}
	if err := r.session.Engine.Pipelines.CheckService(p.Service); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("service"), "define pipeline", name, err)
	}
	if err := r.session.Engine.Pipelines.CheckModule(p.Module); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("module"), "define pipeline", name, err)
	}
	r.session.overlay.planPipeline(name, &p)
}

// planRemoval says what goes with a pipeline that is to be destroyed, or replaced, and
// refuses a destroy that is bound to fail.
func (r *pipelineResource) planRemoval(ctx context.Context, m pipelineModel, verb string, diags *diag.Diagnostics) {
	name := r.session.pipelineName(m.Name)
	st, err := r.session.Engine.State(ctx, name)
	if err != nil {
		addError(diags, "plan the removal of pipeline", name, err)
		return
	}
	if !st.Exists() {
		return
	}
	removal := run.RemovalOf(st)
	if err := removal.Refused(m.ForceDestroy.ValueBool()); err != nil {
		addError(diags, "destroy pipeline", name, err)
		return
	}
	diags.AddWarning(fmt.Sprintf("Pipeline %s is %s with everything that belongs to it", name, verb), describeRemoval(removal, st.Pipeline))
}

// Create implements resource.Resource.
func (r *pipelineResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m pipelineModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	p := expandPipeline(ctx, m, r.session, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	st, err := r.session.Engine.State(ctx, p.Name)
	if err == nil {
		err = r.claim(ctx, st, p.Name, m.Name.ValueString(), nil, early)
	}
	if err == nil {
		p, err = r.session.Engine.Pipelines.Create(ctx, p)
	}
	if err != nil {
		addError(&resp.Diagnostics, "create pipeline", p.Name, err)
		return
	}
	m.ID, m.Qualified = types.StringValue(p.ID), types.StringValue(p.Name)
	r.note(ctx, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(r.session.keepAnchor(ctx, p.Name, resp.Private)...)
}

// Update implements resource.Resource.
func (r *pipelineResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m pipelineModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	p := expandPipeline(ctx, m, r.session, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	p.ID = m.ID.ValueString()
	p, err := r.session.Engine.Pipelines.Update(ctx, p)
	if err != nil {
		addError(&resp.Diagnostics, "change pipeline", p.Name, err)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(r.session.keepAnchor(ctx, p.Name, resp.Private)...)
}

// Read implements resource.Resource. A pipeline of the name that is another one is not this
// state's, whose own is gone.
func (r *pipelineResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m pipelineModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	name := r.session.pipelineName(m.Name)
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, "read pipeline", name, &resp.Diagnostics) {
		return
	}
	st, err := r.session.Engine.State(ctx, name)
	if err != nil {
		addError(&resp.Diagnostics, "read pipeline", name, err)
		return
	}
	if !st.Exists() || !r.same(m.ID, st.Pipeline.ID, name, &resp.Diagnostics) {
		resp.State.RemoveResource(ctx)
		return
	}
	if m.ID.ValueString() == st.Pipeline.ID {
		resp.Diagnostics.Append(r.session.checkAnchor(ctx, st.Pipeline.Name, req.Private)...)
		if resp.Diagnostics.HasError() {
			return
		}
	}
	r.session.Watch(st)
	if m.ID.IsNull() { // imported
		flattenPipeline(ctx, st.Pipeline, schemaOf(ctx, r), &m, &resp.Diagnostics)
	}
	m.ID, m.Qualified = types.StringValue(st.Pipeline.ID), types.StringValue(name)
	r.recorded(ctx, st, name, st.Pipeline.ID)
	r.note(ctx, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(r.session.keepAnchor(ctx, st.Pipeline.Name, resp.Private)...)
}

// Delete implements resource.Resource.
func (r *pipelineResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m pipelineModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, d := m.Timeouts.Delete(ctx, 10*time.Minute)
	resp.Diagnostics.Append(d...)
	name := r.session.pipelineName(m.Name)
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, "remove pipeline", name, &resp.Diagnostics) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.session.Engine.Pipelines.Remove(ctx, name, m.ID.ValueString(), m.ForceDestroy.ValueBool()); err != nil {
		addError(&resp.Diagnostics, "remove pipeline", name, err)
	}
	r.session.Settle(ctx)
}

// ImportState implements resource.ResourceWithImportState: the ID is the name.
func (r *pipelineResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resource.ImportStatePassthroughID(ctx, path.Root("name"), req, resp)
}
