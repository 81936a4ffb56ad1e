// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/datasourcevalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
)

// passedDataSource is data penstock_passed.
type passedDataSource struct{ dataBase }

var (
	_ datasource.DataSourceWithConfigure        = (*passedDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*passedDataSource)(nil)
)

func newPassedDataSource() datasource.DataSource { return &passedDataSource{dataBase{kind: "passed"}} }

type passedDataModel struct {
	Pipeline       types.String `tfsdk:"pipeline"`
	Stage          types.String `tfsdk:"stage"`
	DataDir        types.String `tfsdk:"data_dir"`
	AWS            types.Object `tfsdk:"aws"`
	Passed         types.Object `tfsdk:"passed"`
	Build          types.String `tfsdk:"build"`
	Number         types.Int64  `tfsdk:"number"`
	PassedAt       types.String `tfsdk:"passed_at"`
	Repository     types.String `tfsdk:"repository"`
	Commit         types.String `tfsdk:"commit"`
	Components     types.Object `tfsdk:"components"`
	ArtifactDigest types.String `tfsdk:"artifact_digest"`
	ImageID        types.String `tfsdk:"image_id"`
	BaseImage      types.String `tfsdk:"base_image"`
	ImageIDs       types.Map    `tfsdk:"image_ids"`
	Ledger         types.String `tfsdk:"ledger"`
	Head           types.String `tfsdk:"head"`
}

// passedTypes are those of what a stage takes in after.
var passedTypes = map[string]attr.Type{
	"pipeline": types.StringType, "stage": types.StringType, "build": types.StringType, "ledger": types.StringType, "head": types.StringType,
}

// Schema implements datasource.DataSource.
func (d *passedDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description, Validators: append(v, stringvalidator.LengthAtLeast(1))}
	}
	component := func(of string) schema.StringAttribute {
		return export("Digest of the files of " + of + ".")
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The build that a stage of another pipeline has passed, of this ledger or of another one: in another data directory, or in another region or account of AWS. " +
			"A stage takes `passed` in `after`, and opens only while there is such a build.\n\n" +
			"It reads the whole history of that pipeline and verifies it, and changes nothing there: it makes no file and no directory, and takes no lease. A history that is not what was written is an error.\n\n" +
			"The build is the newest that passed the stage and that nobody has rejected, at any stage of its pipeline. While there is none, `build` is null, and the stages after it wait.",
		Attributes: map[string]schema.Attribute{
			"pipeline": schema.StringAttribute{Required: true, MarkdownDescription: "Name of the pipeline. In another ledger, with its namespace, as in `two.shop`.", Validators: []validator.String{isName()}},
			"stage":    schema.StringAttribute{Required: true, MarkdownDescription: "Name of the stage, which takes builds.", Validators: []validator.String{isName()}},
			"data_dir": text("Data directory of the other ledger, relative to the directory that Terraform runs in. At most one of `data_dir` and `aws` is set; without both it is the ledger of this provider."),
			"aws": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "Where in AWS the other ledger is. What it leaves out is as in the provider's `aws`, whose roles are assumed first.",
				Attributes: map[string]schema.Attribute{
					"region":      text("Region of the stack. Default: that of the provider, of the environment or of the profile.", isRegion()),
					"profile":     text("Profile of the shared configuration, in place of the provider's credentials and roles."),
					"stack":       text("Name of the stack that `penstock bootstrap` made. Default: that of the provider, or `penstock`."),
					"role_arn":    text("ARN of a role to assume, which may be in another account: the stack's reader role, from its output `ReaderRole`.", isRoleARN()),
					"external_id": text("External ID that the role's trust policy requires.", isExternalID(), stringvalidator.AlsoRequires(path.MatchRoot("aws").AtName("role_arn"))),
				},
			},
			"passed": schema.SingleNestedAttribute{
				Computed: true, MarkdownDescription: "What a stage takes in `after`.",
				Attributes: map[string]schema.Attribute{
					"pipeline": export("Name of the pipeline."), "stage": export("Name of the stage."), "build": export("Build ID; null if none has passed."),
					"ledger": export("ID of the ledger."), "head": export("The newest event of the history, which was verified up to it."),
				},
			},
			"build":      export("ID of the build; null if none has passed, as is all that follows of it."),
			"number":     schema.Int64Attribute{Computed: true, MarkdownDescription: "Number of the build in its pipeline, which people say."},
			"passed_at":  export("When it passed, in RFC 3339: its run ended, or the last person approved it."),
			"repository": export("Repository that the build was made from."),
			"commit":     export("Full ID of the commit."),
			"components": schema.SingleNestedAttribute{
				Computed: true, MarkdownDescription: "Digests of the build's components; null if they are not known.",
				Attributes: map[string]schema.Attribute{
					"application": component("the application"), "configuration": component("its configuration"), "infrastructure": component("its infrastructure"),
					"data": component("its data"), "module": component("its module; null if it has none"),
				},
			},
			"artifact_digest": export("Digest of its artifact: `sha256:` and 64 hexadecimal digits; null if it has none."),
			"image_id":        export("Its image: the application image if a stage has baked one, otherwise the base image; null if it has none."),
			"base_image":      export("The base image that it starts from; null if it has none."),
			"image_ids":       schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "IDs of `image_id` by region, where it is published, or in the region of the ledger; null on the local platform."},
			"ledger":          export("ID of the ledger, which it keeps when it is moved or restored."),
			"head":            export("The newest event of the pipeline's history when it was read, as `penstock ledger head` prints it: its number, a colon and its hash. The history was verified up to it."),
		},
	}
}

// ConfigValidators implements datasource.DataSourceWithConfigValidators.
func (d *passedDataSource) ConfigValidators(context.Context) []datasource.ConfigValidator {
	return []datasource.ConfigValidator{datasourcevalidator.Conflicting(path.MatchRoot("data_dir"), path.MatchRoot("aws"))}
}

// Read implements datasource.DataSource.
func (d *passedDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m passedDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	name, at, other := d.session.pipelineName(m.Pipeline), path.Empty(), (*app.AWS)(nil)
	switch {
	case !m.AWS.IsNull():
		place := d.session.elsewhere.expand(ctx, m.AWS, &resp.Diagnostics)
		name, at, other = m.Pipeline.ValueString(), path.Root("aws"), &place
	case !m.DataDir.IsNull():
		name, at = m.Pipeline.ValueString(), path.Root("data_dir")
	}
	if resp.Diagnostics.HasError() {
		return
	}
	const doing = "read what passed of pipeline"
	view, err := d.session.elsewhere.view(ctx, m.DataDir.ValueString(), other)
	if err != nil {
		addAttributeError(&resp.Diagnostics, at, doing, name, err)
		return
	}
	passed, err := d.session.elsewhere.passed(ctx, view, name, m.Stage.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, doing, name, err)
		return
	}
	m.flatten(passed)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// flatten fills in what was read.
func (m *passedDataModel) flatten(p app.Passed) {
	head := types.StringValue(p.Head.String())
	m.Ledger, m.Head, m.Build, m.Number = types.StringValue(p.Ledger), head, orNull(p.Build), intOrNull(p.Number)
	m.Passed = types.ObjectValueMust(passedTypes, map[string]attr.Value{
		"pipeline": types.StringValue(p.Pipeline), "stage": types.StringValue(p.Stage), "build": m.Build, "ledger": m.Ledger, "head": head,
	})
	b := p.Of
	m.Repository, m.Commit, m.Components = orNull(b.Revision.Repository), orNull(b.Revision.Commit), flattenComponents(b.Revision.Components)
	m.ImageID, m.BaseImage, m.ImageIDs = orNull(b.Image), orNull(b.BaseImage), flattenStrings(p.Images)
	if m.ImageID.IsNull() {
		m.ImageID = m.BaseImage
	}
	m.ArtifactDigest, m.PassedAt = types.StringNull(), types.StringNull()
	if b.Artifact != nil {
		m.ArtifactDigest = types.StringValue(b.Artifact.Digest)
	}
	if !p.At.IsZero() {
		m.PassedAt = types.StringValue(p.At.UTC().Format(time.RFC3339))
	}
}
