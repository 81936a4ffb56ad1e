// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// pipelineDataSource is data penstock_pipeline.
type pipelineDataSource struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*pipelineDataSource)(nil)

func newPipelineDataSource() datasource.DataSource {
	return &pipelineDataSource{dataBase{kind: "pipeline"}}
}

type pipelineDataModel struct {
	ID     types.String                `tfsdk:"id"`
	Name   types.String                `tfsdk:"name"`
	Stages map[string]pipelineDataItem `tfsdk:"stages"`
}

type pipelineDataItem struct {
	Type       types.String `tfsdk:"type"`
	After      types.List   `tfsdk:"after"`
	Current    types.String `tfsdk:"current"`
	Candidate  types.String `tfsdk:"candidate"`
	Passed     types.Object `tfsdk:"passed"`
	Status     types.String `tfsdk:"status"`
	WaitingFor types.String `tfsdk:"waiting_for"`
	Run        types.String `tfsdk:"run"`
	Log        types.String `tfsdk:"log"`
	Artifact   types.String `tfsdk:"artifact_digest"`
	Endpoint   types.String `tfsdk:"endpoint"`
	Drift      types.List   `tfsdk:"drift"`
}

// Schema implements datasource.DataSource.
func (d *pipelineDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A pipeline with the status of each stage, its latest run and that run's log. These change with an apply. If something refers to the data source, make it depend on the stages with `depends_on`, so that it is read after them.",
		Attributes: map[string]schema.Attribute{
			"id": export("Identifier of the pipeline."),
			"name": schema.StringAttribute{
				Required: true, MarkdownDescription: "Name of the pipeline.", Validators: []validator.String{isName()},
			},
			"stages": schema.MapNestedAttribute{
				Computed: true, MarkdownDescription: "The stages, by name.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"type":      export("Type of the stage."),
					"after":     schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Names of the stages that this one comes after."},
					"current":   export("Build that the stage has moved to; null before the first."),
					"candidate": export("Build that the next apply moves the stage to, or else its current build."),
					"passed": schema.SingleNestedAttribute{
						Computed: true, MarkdownDescription: "The newest build that passed, for use in `after`.",
						Attributes: map[string]schema.Attribute{"pipeline": export("Name of the pipeline."), "stage": export("Name of the stage."), "build": export("Build ID; null if none has passed yet.")},
					},
					"status":          export("The stage in one word: `idle`, `running`, `passed`, `failed`, `waiting` (for a person, or for a stage above), `rejected` or `paused`. It is that of the time of the plan."),
					"waiting_for":     export("What the stage waits for, in words; null if it waits for nothing."),
					"run":             export("ID of its latest run; null before the first."),
					"log":             export("Location of the log of its latest run; null before the first."),
					"artifact_digest": export("Digest of the artifact of its current build: `sha256:` and 64 hexadecimal digits; null if it has none."),
					"endpoint":        export("URL at which its environment answers; null if it has none."),
					"drift":           driftExport(),
				}},
			},
		},
	}
}

// Read implements datasource.DataSource.
func (d *pipelineDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m pipelineDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	st, err := existing(ctx, d.session, m.Name)
	if err != nil {
		addError(&resp.Diagnostics, "read pipeline", m.Name.ValueString(), err)
		return
	}
	m.ID, m.Stages = types.StringValue(st.Pipeline.ID), map[string]pipelineDataItem{}
	for name, s := range st.Stages {
		at := d.session.Engine.Reports.StageViewIn(st, s)
		after := []attr.Value{}
		for _, up := range s.After {
			after = append(after, types.StringValue(up))
		}
		item := pipelineDataItem{
			Type: types.StringValue(string(s.Type)), After: types.ListValueMust(types.StringType, after), Current: orNull(at.Current.Build),
			Candidate: orNull(at.Move.Candidate.ID), Passed: flattenPassed(m.Name.ValueString(), name, orNull(at.Passed)), Status: types.StringValue(string(at.Status)),
			WaitingFor: orNull(reason.WaitingFor(at.Next)), Run: orNull(at.Run.ID), Log: orNull(at.Log), Artifact: types.StringNull(), Endpoint: types.StringNull(), Drift: flattenDrift(at),
		}
		if at.Artifact != nil {
			item.Artifact = types.StringValue(at.Artifact.Digest)
		}
		if at.Environment != nil {
			item.Endpoint = orNull(at.Environment.Endpoint)
		}
		m.Stages[name] = item
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// existing returns the state of a pipeline that must exist.
func existing(ctx context.Context, s *session, short types.String) (*pipeline.State, error) {
	name := s.pipelineName(short)
	st, err := s.Engine.State(ctx, name)
	if err == nil && !st.Exists() {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read pipeline", "there is no pipeline %q", name).
			WithHint("`penstock status` lists the pipelines of the data directory.")
	}
	return st, err
}
