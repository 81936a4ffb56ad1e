// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// defaultKeepImages is how many older images a baked image retains: enough to go
// back over a bad one.
const defaultKeepImages = 2

// bakedImageResource is penstock_baked_image.
type bakedImageResource struct{ base }

var (
	_ resource.ResourceWithConfigure      = (*bakedImageResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*bakedImageResource)(nil)
	_ resource.ResourceWithImportState    = (*bakedImageResource)(nil)
	_ resource.ResourceWithValidateConfig = (*bakedImageResource)(nil)
)

func newBakedImageResource() resource.Resource {
	return &bakedImageResource{base{kind: "baked_image", record: pipeline.RecordImageDefinition}}
}

type bakedImageModel struct {
	ID       types.String   `tfsdk:"id"`
	Pipeline types.String   `tfsdk:"pipeline"`
	Name     types.String   `tfsdk:"name"`
	From     types.Object   `tfsdk:"from"`
	Source   types.Object   `tfsdk:"source"`
	Steps    types.List     `tfsdk:"steps"`
	Keep     types.Int64    `tfsdk:"keep"`
	Timeouts timeouts.Value `tfsdk:"timeouts"`
	Follow   types.Bool     `tfsdk:"follow_source"`
	Cleanup  types.List     `tfsdk:"cleanup"`
	KMSKey   types.String   `tfsdk:"kms_key"`
	Volume   types.Object   `tfsdk:"volume"`
	Profile  types.String   `tfsdk:"instance_profile"`
	Groups   types.List     `tfsdk:"security_groups"`
	Publish  types.Object   `tfsdk:"publish"`
	ImageIDs types.Map      `tfsdk:"image_ids"`
	Base     types.String   `tfsdk:"source_image_id"`
	Latest   types.String   `tfsdk:"latest_source_image_id"`
	ImageID  types.String   `tfsdk:"image_id"`
	Size     types.Int64    `tfsdk:"size"`
	Run      types.String   `tfsdk:"run"`
	Log      types.String   `tfsdk:"log"`

	InstanceType types.String `tfsdk:"instance_type"`
}

type fromModel struct {
	Directory    types.String      `tfsdk:"directory"`
	Image        types.String      `tfsdk:"image"`
	AMI          types.String      `tfsdk:"ami"`
	SSMParameter types.String      `tfsdk:"ssm_parameter"`
	Filter       *imageFilterModel `tfsdk:"filter"`
}

type imageFilterModel struct {
	Name         types.String `tfsdk:"name"`
	Owners       types.List   `tfsdk:"owners"`
	Architecture types.String `tfsdk:"architecture"`
}

// origins are the kinds of from.
var origins = []string{"directory", "image", "ami", "ssm_parameter", "filter"}

type bakeStepModel struct {
	Name       types.String `tfsdk:"name"`
	Script     types.String `tfsdk:"script"`
	Command    types.String `tfsdk:"command"`
	Env        types.Map    `tfsdk:"env"`
	EnvWO      types.Map    `tfsdk:"env_wo"`
	EnvVersion types.Int64  `tfsdk:"env_wo_version"`
	Timeout    types.String `tfsdk:"timeout"`
}

// Schema implements resource.Resource.
func (r *bakedImageResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	steps := envAttributes("the step's command")
	maps.Copy(steps, map[string]schema.Attribute{
		"name":    required("Name of the step, unique in the image.", stringvalidator.LengthBetween(1, 100)),
		"script":  optional("File of the source to run in the root of the image: directly if it is executable, otherwise with `/bin/sh -e`. `$PENSTOCK_SOURCE` is the checkout. Exactly one of `script` and `command` is set.", isInside()),
		"command": optional("Command line for `/bin/sh -e`, run in the root of the image.", stringvalidator.LengthAtLeast(1)),
		"timeout": optional("How long the step may take. Default: `1h`.", isDuration()),
	})
	resp.Schema = schema.Schema{
		MarkdownDescription: "A base image. It is baked from the source whenever its infrastructure or configuration changes. A new bake produces a new `image_id`; older images stay as long as a build, an environment or `keep` needs them.",
		Attributes: map[string]schema.Attribute{
			"id":       idAttribute(),
			"pipeline": replace(required("Name of the pipeline. A change replaces the image.", isName())),
			"name":     replace(required("Name of the image, unique in the pipeline. A change replaces the image.", isName())),
			"from": schema.SingleNestedAttribute{
				Required: true, MarkdownDescription: "What the bake starts from: exactly one of `directory` (on the local platform), `image`, `ami`, `ssm_parameter` and `filter` (on AWS).",
				Attributes: map[string]schema.Attribute{
					"directory":     optional("Directory of the source whose tree becomes the image's root.", isInside()),
					"image":         optional("Another image: `image_id` of a `penstock_baked_image`."),
					"ami":           optional("ID of an AMI.", isAMI()),
					"ssm_parameter": optional("Name of an SSM parameter that holds the ID of an AMI, such as `/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64`.", stringvalidator.LengthAtLeast(1)),
					"filter": schema.SingleNestedAttribute{
						Optional: true, MarkdownDescription: "The newest AMI with a matching name.",
						Attributes: map[string]schema.Attribute{
							"name": required("Name, with `*` and `?` as wildcards.", stringvalidator.LengthAtLeast(1)),
							"owners": schema.ListAttribute{
								Required: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.SizeAtLeast(1)},
								MarkdownDescription: "Account IDs, `self` or `amazon`. Without an owner, anybody could publish an image of that name, and you would boot it.",
							},
							"architecture": optional("Architecture.", stringvalidator.OneOf("x86_64", "arm64")),
						},
					},
				},
			},
			"source": sourceAttribute("Revision to bake from: `image_revision` of a `penstock_source`.", true),
			"steps": schema.ListNestedAttribute{
				Optional: true, MarkdownDescription: "What to do to the tree, in order.",
				NestedObject: schema.NestedAttributeObject{Attributes: steps},
			},
			"keep": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(defaultKeepImages), Validators: []validator.Int64{int64validator.AtLeast(0)},
				MarkdownDescription: "Number of older images to retain besides those in use. Default: 2.",
			},
			"follow_source": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether to bake again when `from` resolves to a newer image. Default: false, which uses the newer image in the next bake for another reason.",
			},
			"cleanup": schema.ListAttribute{
				Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.ValueStringsAre(stringvalidator.LengthAtLeast(1))},
				MarkdownDescription: "Command lines for the shell that run in the root of the image after the steps. On AWS, machine-specific files are removed first: host keys, machine ID, logs, histories, the state of cloud-init and of the SSM agent.",
			},
			"instance_profile":       optional("Name of the instance profile of the machine that bakes. The deployer role must be allowed to pass its role. Default: the stack's for builders, which may only do what Penstock needs. On AWS.", isInstanceProfile()),
			"security_groups":        groupsAttribute("the machine that bakes, instead of the stack's, which lets nobody in"),
			"kms_key":                optional("KMS key that encrypts the image, by ID or ARN. Default: the account's default key for EBS, which can't be shared. On AWS.", stringvalidator.LengthAtLeast(1)),
			"publish":                publishAttribute(),
			"instance_type":          optional("Type of the instance that bakes the image, of the same architecture as `from`. A change bakes nothing. Default: the provider's. On AWS.", stringvalidator.LengthAtLeast(1)),
			"volume":                 volumeAttribute("the instance that bakes the image, and so of the image"),
			"image_ids":              schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "ID of the newest image by region; null if it is not published."},
			"timeouts":               timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true}),
			"source_image_id":        computed("ID of the image that the newest one was baked from; null for a directory."),
			"latest_source_image_id": computed("ID of the image that `from` resolves to now. If it differs from `source_image_id`, it is newer: the next bake uses it, and with `follow_source` the next apply bakes. Null for a directory."),
			"image_id":               computed("ID of the newest image."),
			"size":                   schema.Int64Attribute{Computed: true, MarkdownDescription: "Size of the newest image in bytes."},
			"run":                    computed("ID of the run that baked it."),
			"log":                    computed("Location of that run's log."),
		},
	}
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *bakedImageResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m bakedImageModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !m.From.IsUnknown() {
		resp.Diagnostics.Append(exactlyOne(path.Root("from"), m.From, "argument from", origins...)...)
	}
	resp.Diagnostics.Append(validateSteps(m.Steps, false, "script", "command")...)
	resp.Diagnostics.Append(validatePublish(m.Publish)...)
	resp.Diagnostics.Append(validateCopyTime(ctx, m.Publish, m.Timeouts)...)
	resp.Diagnostics.Append(validateVolume(ctx, path.Root("volume"), m.Volume)...)
}

func expandImageDefinition(ctx context.Context, m bakedImageModel, at *session, diags *diag.Diagnostics) pipeline.ImageDefinition {
	var from fromModel
	diags.Append(m.From.As(ctx, &from, basetypes.ObjectAsOptions{})...)
	r := pipeline.ImageDefinition{
		Pipeline: at.pipelineName(m.Pipeline), Name: m.Name.ValueString(), Keep: int(m.Keep.ValueInt64()), Owner: at.Owner,
		Follow: m.Follow.ValueBool(), KMSKey: m.KMSKey.ValueString(), Publish: expandPublish(ctx, m.Publish, diags),
		Builder: m.InstanceType.ValueString(), Volume: expandVolume(m.Volume),
		From: pipeline.ImageFrom{
			Directory: from.Directory.ValueString(), Image: from.Image.ValueString(), AMI: from.AMI.ValueString(), SSMParameter: from.SSMParameter.ValueString(),
		},
	}
	if f := from.Filter; f != nil {
		r.From.Filter = &pipeline.ImageFilter{Name: f.Name.ValueString(), Architecture: f.Architecture.ValueString()}
		diags.Append(f.Owners.ElementsAs(ctx, &r.From.Filter.Owners, false)...)
	}
	if src := expandSource(ctx, m.Source, diags); src != nil {
		r.Source = *src
	}
	r.Profile = m.Profile.ValueString()
	diags.Append(m.Groups.ElementsAs(ctx, &r.Groups, false)...)
	diags.Append(m.Cleanup.ElementsAs(ctx, &r.Cleanup, false)...)
	var steps []bakeStepModel
	if !m.Steps.IsNull() {
		diags.Append(m.Steps.ElementsAs(ctx, &steps, false)...)
	}
	for _, s := range steps {
		r.Steps = append(r.Steps, pipeline.Step{
			Name: s.Name.ValueString(), Script: s.Script.ValueString(), Command: s.Command.ValueString(),
			Env: expandStrings(ctx, s.Env, diags), SecretsVersion: s.EnvVersion.ValueInt64(), Timeout: expandDuration(s.Timeout),
		})
	}
	return r
}

// flattenImageDefinition fills in the arguments of an imported image.
func flattenImageDefinition(ctx context.Context, r pipeline.ImageDefinition, sch schema.Schema, m *bakedImageModel, diags *diag.Diagnostics) {
	var d diag.Diagnostics
	m.Keep, m.Source = types.Int64Value(int64(r.Keep)), flattenSource(&r.Source)
	fromTypes := sch.Attributes["from"].GetType().(types.ObjectType).AttrTypes
	m.Follow, m.KMSKey, m.Cleanup = types.BoolValue(r.Follow), orNull(r.KMSKey), stringList(ctx, r.Cleanup, diags)
	m.Profile, m.Groups = orNull(r.Profile), stringList(ctx, r.Groups, diags)
	m.Publish = flattenPublish(ctx, r.Publish, sch.Attributes["publish"].GetType().(types.ObjectType).AttrTypes, diags)
	m.InstanceType, m.Volume = orNull(r.Builder), flattenVolume(r.Volume, sch.Attributes["volume"].GetType().(types.ObjectType).AttrTypes)
	from := fromModel{Directory: orNull(r.From.Directory), Image: orNull(r.From.Image), AMI: orNull(r.From.AMI), SSMParameter: orNull(r.From.SSMParameter)}
	if f := r.From.Filter; f != nil {
		from.Filter = &imageFilterModel{Name: orNull(f.Name), Architecture: orNull(f.Architecture)}
		from.Filter.Owners, d = types.ListValueFrom(ctx, types.StringType, f.Owners)
		diags.Append(d...)
	}
	m.From, d = types.ObjectValueFrom(ctx, fromTypes, from)
	diags.Append(d...)
	stepType := sch.Attributes["steps"].GetType().(types.ListType).ElemType
	m.Steps = types.ListNull(stepType)
	var steps []bakeStepModel
	for _, s := range r.Steps {
		steps = append(steps, bakeStepModel{
			Name: types.StringValue(s.Name), Script: orNull(s.Script), Command: orNull(s.Command), Env: flattenStrings(s.Env),
			EnvWO: types.MapNull(types.StringType), EnvVersion: intOrNull(s.SecretsVersion), Timeout: flattenDuration(s.Timeout),
		})
	}
	if len(steps) > 0 {
		m.Steps, d = types.ListValueFrom(ctx, stepType, steps)
		diags.Append(d...)
	}
}

// export fills in what the resource exports of an image; the zero image for none.
func (r *bakedImageResource) export(definition pipeline.ImageDefinition, image pipeline.Image, m *bakedImageModel) {
	m.ID, m.ImageID, m.Run = types.StringValue(definition.ID), orNull(image.ID), orNull(image.Run)
	m.Size, m.Log, m.Base = types.Int64Null(), types.StringNull(), orNull(definition.Base)
	if image.ID != "" {
		m.Size = types.Int64Value(image.Size)
		m.Log = types.StringValue(r.session.Engine.Reports.LogLocation(definition.Pipeline, image.Run))
	}
}

// imagesIn returns where an image was published by its definition, by region.
func imagesIn(st *pipeline.State, definition pipeline.ImageDefinition, image string) map[string]string {
	if c := st.Channels[pipeline.ImageRun(definition.Name)]; c.Image == image && image != "" {
		return c.Images
	}
	return nil
}

// ModifyPlan implements resource.ResourceWithModifyPlan: an update to inputs of which
// an image exists shows that image; all else shows an unknown one.
func (r *bakedImageResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if !r.toPlan(ctx, req, resp) {
		return
	}
	var m bakedImageModel
	var state *bakedImageModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	var was bakedImageModel
	if state != nil {
		was = *state
		if sameSource(ctx, m.Source, state.Source) {
			m.Source = state.Source
		}
	}
	own := r.named(ctx, "image", m.Pipeline, m.Name, was.ID, !m.Name.Equal(was.Name) || !m.Pipeline.Equal(was.Pipeline), req, resp)
	if state == nil && !applying(req) && !r.free(ctx, m.Pipeline, m.Name, own, &resp.Diagnostics) {
		return
	}
	m.ImageID, m.Size, m.Run, m.Log = types.StringUnknown(), types.Int64Unknown(), types.StringUnknown(), types.StringUnknown()
	m.Base, m.Latest, m.ImageIDs = types.StringUnknown(), types.StringUnknown(), types.MapUnknown(types.StringType)
	if known(ctx, m.Pipeline, m.Name, m.From, m.Source, m.Steps, m.Cleanup, m.KMSKey, m.Profile, m.Groups, m.Publish, m.InstanceType, m.Volume) {
		if err := r.plan(ctx, &m, state, resp); err != nil {
			addError(&resp.Diagnostics, partOf("plan image", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), err)
			return
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

func (r *bakedImageResource) plan(ctx context.Context, m, state *bakedImageModel, resp *resource.ModifyPlanResponse) error {
	definition := expandImageDefinition(ctx, *m, r.session, &resp.Diagnostics)
	if err := r.session.Engine.Images.Check(definition); err != nil {
		return err
	}
	var image pipeline.Image
	var found bool // and will be there
	st, err := r.session.overlay.newest(ctx, definition.Pipeline)
	if err != nil {
		return err
	}
	if definition, err = r.session.Engine.Images.Rebased(ctx, st, definition); err != nil {
		return err
	}
	if _, exists := st.ImageDefinitions[definition.Name]; state != nil || !exists { // else what is replaced goes with its images
		m.Base = orNull(definition.Base)
	}
	if state != nil { // else an earlier image may go in this apply, with what needed it
		image, found = run.FindBaked(st, definition)
	}
	if !found { // it will be baked
		r.session.overlay.bakes(definition)
		return r.session.Engine.Images.CheckBuilder(ctx, definition)
	}
	if exists, err := r.session.Engine.Images.Exists(ctx, image.ID); err != nil || !exists {
		return err
	}
	id := m.ID
	if state != nil {
		m.Latest = state.Latest
	}
	r.export(definition, image, m)
	m.ID = id
	m.ImageIDs = flattenStrings(imagesIn(st, definition, image.ID))
	wanted := st.Clone()
	definition.Image = image.ID
	wanted.ImageDefinitions[definition.Name] = definition
	if pipeline.ChannelDue(wanted, pipeline.ImageRun(definition.Name)) {
		m.ImageIDs = types.MapUnknown(types.StringType)
	}
	warnStray(wanted, pipeline.ImageRun(definition.Name), &resp.Diagnostics)
	return pipeline.CheckChannel(wanted, pipeline.ImageRun(definition.Name), definition.Publish)
}

// Create implements resource.Resource. A failed bake leaves nothing.
func (r *bakedImageResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	r.note(ctx, resp.Private, &resp.Diagnostics)
	r.apply(ctx, req.Plan, req.Config, &resp.State, &resp.Diagnostics, func(m bakedImageModel) (time.Duration, diag.Diagnostics) {
		return m.Timeouts.Create(ctx, defaultTimeout)
	})
}

// Update implements resource.Resource. When the bake fails, the state stays as it was.
func (r *bakedImageResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.apply(ctx, req.Plan, req.Config, &resp.State, &resp.Diagnostics, func(m bakedImageModel) (time.Duration, diag.Diagnostics) {
		return m.Timeouts.Update(ctx, defaultTimeout)
	})
}

func (r *bakedImageResource) apply(ctx context.Context, plan tfsdk.Plan, config tfsdk.Config, state *tfsdk.State, diags *diag.Diagnostics, timeout func(bakedImageModel) (time.Duration, diag.Diagnostics)) {
	var m, secret bakedImageModel
	diags.Append(plan.Get(ctx, &m)...)
	diags.Append(config.Get(ctx, &secret)...)
	if diags.HasError() {
		return
	}
	limit, d := timeout(m)
	diags.Append(d...)
	create := m.ID.IsUnknown()
	if create && !r.stillFree(ctx, m.Pipeline, m.Name, diags) {
		return
	}
	definition := expandImageDefinition(ctx, m, r.session, diags)
	secrets := expandStepSecrets(ctx, secret.Steps, diags)
	if diags.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	image, err := r.session.Engine.Images.Bake(ctx, run.BakeRequest{Definition: definition, Create: create, Secrets: secrets})
	if err != nil {
		addError(diags, partOf("bake image", definition.Name), definition.Pipeline, err)
		return
	}
	st, err := r.session.Engine.State(ctx, definition.Pipeline)
	if err != nil {
		addError(diags, partOf("read image", definition.Name), definition.Pipeline, err)
		return
	}
	r.export(st.ImageDefinitions[definition.Name], image, &m)
	m.ImageIDs = flattenStrings(imagesIn(st, definition, image.ID))
	if m.Latest.IsUnknown() {
		m.Latest = r.latest(ctx, definition.From)
	}
	diags.Append(state.Set(ctx, m)...)
}

// Read implements resource.Resource. An image that the platform has lost reads as
// null, so that the next apply bakes it again.
func (r *bakedImageResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m bakedImageModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	name := m.Name.ValueString()
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, partOf("read image", name), r.session.pipelineName(m.Pipeline), &resp.Diagnostics) {
		return
	}
	st, err := r.session.Engine.State(ctx, r.session.pipelineName(m.Pipeline))
	if err != nil {
		addError(&resp.Diagnostics, partOf("read image", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	definition, ok := st.ImageDefinitions[name]
	if !ok || !r.same(m.ID, definition.ID, name, &resp.Diagnostics) {
		resp.State.RemoveResource(ctx)
		return
	}
	r.recorded(ctx, st, name, definition.ID)
	r.note(ctx, resp.Private, &resp.Diagnostics)
	if m.From.IsNull() { // imported
		flattenImageDefinition(ctx, definition, schemaOf(ctx, r), &m, &resp.Diagnostics)
	}
	image, _ := run.ImageOf(st, definition)
	exists, err := r.session.Engine.Images.Exists(ctx, definition.Image)
	if err != nil {
		addError(&resp.Diagnostics, partOf("read image", name), r.session.pipelineName(m.Pipeline), err)
		return
	}
	if !exists {
		image = pipeline.Image{}
	}
	r.export(definition, image, &m)
	m.ImageIDs = flattenStrings(imagesIn(st, definition, image.ID))
	m.Latest = r.latest(ctx, definition.From)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// latest returns the image that an origin leads to now; null for a directory, and where
// it leads nowhere, which is no matter before the next bake.
func (r *bakedImageResource) latest(ctx context.Context, from pipeline.ImageFrom) types.String {
	id, err := r.session.Engine.Images.Resolve(ctx, from)
	if err != nil {
		return types.StringNull()
	}
	return orNull(id)
}

// Delete implements resource.Resource.
func (r *bakedImageResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m bakedImageModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, d := m.Timeouts.Delete(ctx, defaultTimeout)
	resp.Diagnostics.Append(d...)
	if resp.Diagnostics.HasError() || !r.here(ctx, req.Private, partOf("remove image", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), &resp.Diagnostics) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.session.Engine.Images.Remove(ctx, r.session.pipelineName(m.Pipeline), m.Name.ValueString(), m.ID.ValueString()); err != nil {
		addError(&resp.Diagnostics, partOf("remove image", m.Name.ValueString()), r.session.pipelineName(m.Pipeline), err)
	}
}

// ImportState implements resource.ResourceWithImportState: the ID is PIPELINE/NAME.
func (r *bakedImageResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importPair(ctx, req, resp, "name")
}
