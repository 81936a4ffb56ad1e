// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// dataBase is what the data sources have in common.
type dataBase struct {
	kind    string
	session *session
}

// Metadata implements datasource.DataSource.
func (b *dataBase) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + b.kind
}

// Configure implements datasource.DataSourceWithConfigure.
func (b *dataBase) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	if s, ok := req.ProviderData.(*session); ok {
		b.session = s
	}
}

// export makes a computed string attribute of a data source.
func export(text string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: text}
}

// sourceDataSource is data penstock_source.
type sourceDataSource struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*sourceDataSource)(nil)

func newSourceDataSource() datasource.DataSource { return &sourceDataSource{dataBase{kind: "source"}} }

type sourceDataModel struct {
	ID             types.String `tfsdk:"id"`
	Repository     types.String `tfsdk:"repository"`
	Ref            types.String `tfsdk:"ref"`
	Directory      types.String `tfsdk:"directory"`
	Include        types.List   `tfsdk:"include"`
	Module         types.List   `tfsdk:"module"`
	Infrastructure types.List   `tfsdk:"infrastructure"`
	Configuration  types.List   `tfsdk:"configuration"`
	Data           types.List   `tfsdk:"data"`
	Ignore         types.List   `tfsdk:"ignore"`
	Web            types.String `tfsdk:"web"`
	Commit         types.String `tfsdk:"commit"`
	Author         types.String `tfsdk:"author"`
	Time           types.String `tfsdk:"time"`
	Message        types.String `tfsdk:"message"`
	Components     types.Object `tfsdk:"components"`
	Revision       types.Object `tfsdk:"revision"`
	ImageRevision  types.Object `tfsdk:"image_revision"`
}

// Schema implements datasource.DataSource.
func (d *sourceDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	globs := func(text string) schema.ListAttribute {
		return schema.ListAttribute{
			Optional: true, ElementType: types.StringType, MarkdownDescription: text,
			Validators: []validator.List{listvalidator.ValueStringsAre(isGlob())},
		}
	}
	components := schema.SingleNestedAttribute{
		Computed: true, MarkdownDescription: "Digest of the files of each component.",
		Attributes: map[string]schema.Attribute{
			"application": export("Digest of the application's files."), "configuration": export("Digest of the configuration's files."),
			"infrastructure": export("Digest of the infrastructure's files."), "data": export("Digest of the data's files."),
			"module": export("Digest of the module's files; null without patterns for them."),
		},
	}
	revision := func(text string) schema.SingleNestedAttribute {
		return schema.SingleNestedAttribute{Computed: true, MarkdownDescription: text, Attributes: map[string]schema.Attribute{
			"repository": export("Repository."),
			"directory":  export("Directory of the repository; null for the whole repository."),
			"commit":     export("Full ID of the commit."),
			"digest":     export("Digest of the files."),
			"components": components,
			"paths":      schema.MapAttribute{Computed: true, ElementType: pathsType.ElemType, MarkdownDescription: "The patterns above, by component."},
			"web":        export("Address of the repository's pages; null if it is not set."),
		}}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The newest commit of a branch, read at every plan, with a digest of the files of each component. In a repository of several services, `directory` names the part that counts. A file belongs to the first of `ignore`, `module`, `infrastructure`, `configuration` and `data` that has a pattern for it, otherwise to the application.",
		Attributes: map[string]schema.Attribute{
			"id": export("The commit."),
			"repository": schema.StringAttribute{
				Required: true, Validators: []validator.String{isRepository()},
				MarkdownDescription: "Git repository: a URL, `user@host:path`, or a path on this machine, relative to the directory that Terraform runs in.",
			},
			"ref": schema.StringAttribute{
				Optional: true, Validators: []validator.String{isRef()},
				MarkdownDescription: "Branch, tag, full ref or whole commit ID. Default: the repository's HEAD.",
			},
			"directory": schema.StringAttribute{
				Optional: true, Validators: []validator.String{isDirectory()},
				MarkdownDescription: "The part of the repository that the pipeline builds, such as `services/shop`. Only files below it count, patterns are relative to it, and commands run in it, within a checkout of the whole commit. Default: the whole repository.",
			},
			"include": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				Validators:          []validator.List{listvalidator.ValueStringsAre(isGlob()), listvalidator.AlsoRequires(path.MatchRoot("directory"))},
				MarkdownDescription: "Patterns of files outside `directory` that also belong to the application, such as shared libraries. They are relative to the repository's root.",
			},
			"module":         globs("Patterns of the files of the Terraform module that makes the environments, as in `penstock_pipeline.module`. Without them, its files belong to the other components, and move what those move."),
			"infrastructure": globs("Patterns of the infrastructure's files. `**` matches any number of directories; a pattern without `/` matches at any depth."),
			"configuration":  globs("Patterns of the configuration's files."),
			"data":           globs("Patterns of the data's files: migrations, seeds."),
			"ignore":         globs("Patterns of files that belong to no component, and move nothing."),
			"web": schema.StringAttribute{
				Optional: true, Validators: []validator.String{isWeb()},
				MarkdownDescription: "Address of the repository's pages, for links from the board and the commands to commits, comparisons and issues. It is needed only if the repository is not on GitHub, GitLab, Bitbucket, Gitea or Forgejo, or if the host's name does not say so. An address that ends with `/-` is one of GitLab. One with `{commit}` in it is that of a commit alone.",
			},
			"commit":         export("Full ID of the commit."),
			"author":         export("Author of the commit."),
			"time":           export("Time of the commit, in RFC 3339."),
			"message":        export("First line of the commit's message."),
			"components":     components,
			"revision":       revision("Application, configuration, data and module: the `source` of a commit stage."),
			"image_revision": revision("Infrastructure and configuration: the `source` of a baked image."),
		},
	}
}

// Read implements datasource.DataSource.
func (d *sourceDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m sourceDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	q := source.Query{Repository: m.Repository.ValueString(), Ref: m.Ref.ValueString(), Paths: pipeline.Paths{Directory: m.Directory.ValueString()}}
	for name, list := range patterns(&q.Paths) {
		resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root(name), list)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	snap, err := d.session.Source.Snapshot(ctx, q)
	if err != nil {
		addError(&resp.Diagnostics, "read source", q.Repository, err)
		return
	}
	m.ID, m.Commit, m.Author = types.StringValue(snap.Commit), types.StringValue(snap.Commit), types.StringValue(snap.Author)
	m.Time, m.Message = types.StringValue(snap.Time.UTC().Format(time.RFC3339)), types.StringValue(snap.Message)
	m.Components = flattenComponents(snap.Components)
	snap.Source.Web, snap.Image.Web = m.Web.ValueString(), m.Web.ValueString()
	m.Revision, m.ImageRevision = flattenSource(&snap.Source), flattenSource(&snap.Image)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
