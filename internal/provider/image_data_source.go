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
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// imageDataSource is data penstock_image.
type imageDataSource struct{ dataBase }

var (
	_ datasource.DataSourceWithConfigure        = (*imageDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*imageDataSource)(nil)
)

func newImageDataSource() datasource.DataSource { return &imageDataSource{dataBase{kind: "image"}} }

type imageDataModel struct {
	Pipeline  types.String `tfsdk:"pipeline"`
	ID        types.String `tfsdk:"id"`
	Name      types.String `tfsdk:"name"`
	Commit    types.String `tfsdk:"commit"`
	Build     types.String `tfsdk:"build"`
	Size      types.Int64  `tfsdk:"size"`
	CreatedAt types.String `tfsdk:"created_at"`
}

// Schema implements datasource.DataSource.
func (d *imageDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "One image of a pipeline. Select it by ID, or by name for the current image of that name.",
		Attributes: map[string]schema.Attribute{
			"pipeline": schema.StringAttribute{Required: true, MarkdownDescription: "Name of the pipeline.", Validators: []validator.String{isName()}},
			"id": schema.StringAttribute{
				Optional: true, Computed: true, MarkdownDescription: "Image ID. Exactly one of `id` and `name` is set.",
			},
			"name": schema.StringAttribute{
				Optional: true, Computed: true, Validators: []validator.String{isName()},
				MarkdownDescription: "Name of the baked image, or of the stage that baked it.",
			},
			"commit":     export("Full ID of the commit that the image was baked from."),
			"build":      export("Build whose application image this is; null for a base image."),
			"size":       schema.Int64Attribute{Computed: true, MarkdownDescription: "Size in bytes."},
			"created_at": export("When the image was baked, in RFC 3339."),
		},
	}
}

// ConfigValidators implements datasource.DataSourceWithConfigValidators.
func (d *imageDataSource) ConfigValidators(context.Context) []datasource.ConfigValidator {
	return []datasource.ConfigValidator{datasourcevalidator.ExactlyOneOf(path.MatchRoot("id"), path.MatchRoot("name"))}
}

// Read implements datasource.DataSource.
func (d *imageDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m imageDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	st, err := existing(ctx, d.session, m.Pipeline)
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("pipeline"), "read image of pipeline", m.Pipeline.ValueString(), err)
		return
	}
	var image pipeline.Image
	for _, i := range st.Images {
		if (i.ID == m.ID.ValueString() || i.Name == m.Name.ValueString()) && i.Order > image.Order {
			image = i
		}
	}
	if definition, ok := st.ImageDefinitions[m.Name.ValueString()]; ok {
		image, _ = run.ImageOf(st, definition)
	}
	if image.ID == "" {
		err := pipeline.Errorf(pipeline.CodeNotFound, "find image", "pipeline %q has no such image: id = %s, name = %s", m.Pipeline.ValueString(), m.ID, m.Name).
			WithHint("`penstock status %s` shows its images.", d.session.pipelineName(m.Pipeline))
		addError(&resp.Diagnostics, "read image of pipeline", m.Pipeline.ValueString(), err)
		return
	}
	m.ID, m.Name, m.Commit = types.StringValue(image.ID), types.StringValue(image.Name), orNull(image.Commit)
	m.Build, m.Size = orNull(image.Build), types.Int64Value(image.Size)
	m.CreatedAt = types.StringValue(image.CreatedAt.UTC().Format(time.RFC3339))
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
