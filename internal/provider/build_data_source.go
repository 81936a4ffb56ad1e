// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/datasourcevalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// buildDataSource is data penstock_build.
type buildDataSource struct{ dataBase }

var (
	_ datasource.DataSourceWithConfigure        = (*buildDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*buildDataSource)(nil)
)

func newBuildDataSource() datasource.DataSource { return &buildDataSource{dataBase{kind: "build"}} }

type buildDataModel struct {
	Pipeline       types.String `tfsdk:"pipeline"`
	ID             types.String `tfsdk:"id"`
	Number         types.Int64  `tfsdk:"number"`
	Passed         types.String `tfsdk:"passed"`
	Repository     types.String `tfsdk:"repository"`
	Commit         types.String `tfsdk:"commit"`
	Author         types.String `tfsdk:"author"`
	Message        types.String `tfsdk:"message"`
	ArtifactDigest types.String `tfsdk:"artifact_digest"`
	ArtifactPath   types.String `tfsdk:"artifact_path"`
	ImageID        types.String `tfsdk:"image_id"`
	BaseImage      types.String `tfsdk:"base_image"`
	CreatedAt      types.String `tfsdk:"created_at"`
}

// Schema implements datasource.DataSource.
func (d *buildDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "One build with its images and its artifact, for use in other configurations. Select it by ID, or as the newest that passed a stage.",
		Attributes: map[string]schema.Attribute{
			"pipeline": schema.StringAttribute{Required: true, MarkdownDescription: "Name of the pipeline.", Validators: []validator.String{isName()}},
			"id": schema.StringAttribute{
				Optional: true, Computed: true, Validators: []validator.String{isBuildID()},
				MarkdownDescription: "Build ID. Exactly one of `id` and `passed` is set.",
			},
			"passed": schema.StringAttribute{
				Optional: true, Validators: []validator.String{isName()},
				MarkdownDescription: "Name of a stage: reads the newest build that passed it.",
			},
			"number":          schema.Int64Attribute{Computed: true, MarkdownDescription: "Number of the build in its pipeline, which people say and commands take."},
			"repository":      export("Repository that the build was made from."),
			"commit":          export("Full ID of the commit."),
			"author":          export("Author of the commit."),
			"message":         export("First line of the commit's message."),
			"artifact_digest": export("Digest of its artifact; null if it has none."),
			"artifact_path":   export("File of its artifact on this machine, verified; null if it has none."),
			"image_id":        export("Its application image; null if none has been baked yet."),
			"base_image":      export("The base image that it starts from; null if it has none."),
			"created_at":      export("When the build was first recorded, in RFC 3339."),
		},
	}
}

// ConfigValidators implements datasource.DataSourceWithConfigValidators.
func (d *buildDataSource) ConfigValidators(context.Context) []datasource.ConfigValidator {
	return []datasource.ConfigValidator{datasourcevalidator.ExactlyOneOf(path.MatchRoot("id"), path.MatchRoot("passed"))}
}

// Read implements datasource.DataSource.
func (d *buildDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m buildDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	st, err := existing(ctx, d.session, m.Pipeline)
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("pipeline"), "read build of pipeline", m.Pipeline.ValueString(), err)
		return
	}
	b, err := findBuild(st, m.ID.ValueString(), m.Passed.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, "read build of pipeline", m.Pipeline.ValueString(), err)
		return
	}
	m.Number = types.Int64Value(b.Number)
	m.ID, m.Repository, m.Commit = types.StringValue(b.ID), orNull(b.Revision.Repository), orNull(b.Revision.Commit)
	m.Author, m.Message = orNull(b.Revision.Author), orNull(b.Revision.Message)
	m.ImageID, m.BaseImage = orNull(b.Image), orNull(b.BaseImage)
	m.CreatedAt = types.StringValue(b.CreatedAt.UTC().Format(time.RFC3339))
	m.ArtifactDigest, m.ArtifactPath = types.StringNull(), types.StringNull()
	if b.Artifact != nil {
		file, err := d.session.Engine.Reports.Artifact(ctx, *b.Artifact)
		if err != nil {
			addError(&resp.Diagnostics, "read artifact of build", b.ID, err)
			return
		}
		m.ArtifactDigest, m.ArtifactPath = types.StringValue(b.Artifact.Digest), types.StringValue(file)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func findBuild(st *pipeline.State, id, passed string) (pipeline.Build, error) {
	if id == "" {
		if _, ok := st.Stages[passed]; !ok {
			return pipeline.Build{}, pipeline.Errorf(pipeline.CodeNotFound, "find build", "there is no stage %q", passed).
				WithHint("`penstock status %s` lists the stages.", st.Pipeline.Name)
		}
		if id = st.NewestPassed(passed); id == "" {
			return pipeline.Build{}, pipeline.Errorf(pipeline.CodeNotFound, "find build", "no build has passed stage %q yet", passed).
				WithHint("Apply the pipeline first; `penstock status %s` shows what its stages wait for.", st.Pipeline.Name)
		}
	}
	b, ok := st.Builds[id]
	if !ok {
		return b, pipeline.Errorf(pipeline.CodeNotFound, "find build", "there is no build %s", id).
			WithHint("`penstock builds %s` lists them.", st.Pipeline.Name)
	}
	return b, nil
}
