// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package provider is the Terraform face of Penstock: it turns configuration into
// definitions, asks package gate what an apply would do, renders that, and calls the
// engine to do it. It has no rule of its own about builds and gates.
//
//	p := provider.New("1.2.3")
//	err := providerserver.Serve(ctx, func() provider.Provider { return p }, opts)
//	p.Close(ctx)
package provider

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
)

// Provider is the provider "penstock".
type Provider struct {
	version string

	mu   sync.Mutex
	apps []*app.App // that Configure opened
}

var _ provider.Provider = (*Provider)(nil)

// New makes the provider of a version.
func New(version string) *Provider { return &Provider{version: version} }

// settleLimit bounds what is recorded at the end: Terraform kills a plugin that takes two
// seconds to go.
const settleLimit = 1500 * time.Millisecond

// Close closes what Configure opened. Call it when nothing is being served any more, as
// Terraform ended the provider: by then its state has what was created. What can't be
// recorded of that now, the next plan records.
func (p *Provider) Close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	soon, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for _, a := range p.apps {
		_ = a.Engine.Creations.Finish(soon) // there is nobody left to report an error to
		_ = a.Close(ctx)
	}
	p.apps = nil
}

// Abandon releases what others wait for while this process lives. Call it before the process
// ends after its Terraform was killed: the content of Terraform's state is unknown then, so
// nothing is recorded. It takes no longer than ctx allows.
func (p *Provider) Abandon(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.apps {
		a.Engine.Close(ctx)
	}
}

// Metadata implements provider.Provider.
func (p *Provider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = "penstock", p.version
}

type providerModel struct {
	DataDir   types.String `tfsdk:"data_dir"`
	Namespace types.String `tfsdk:"namespace"`
	AWS       types.Object `tfsdk:"aws"`
}

// Schema implements provider.Provider.
func (p *Provider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Penstock makes a deployment pipeline a set of resources. An apply builds, bakes, tests and promotes machine images through gated stages.",
		Attributes: map[string]schema.Attribute{
			"data_dir": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Directory of the ledger, the images and the environments of the local platform. On AWS, this machine caches what it needs there. Default: the environment variable `" +
					app.DataDirVariable + "`, otherwise `" + app.DataDirName + "` in the directory that Terraform runs in.",
			},
			"namespace": schema.StringAttribute{
				Optional: true, Validators: []validator.String{isNamespace()},
				MarkdownDescription: "Namespace of the pipelines of this provider block, as in `namespace = terraform.workspace`. Pipelines of different namespaces can share a data directory, or a stack on AWS, and never meet. " +
					"In the ledger, in the command and on AWS, the pipeline `shop` of namespace `two` is named `two.shop`. In the configuration and in import IDs it stays `shop`. `default` is the same as none.",
			},
			"aws": awsAttribute(),
		},
	}
}

// session is what Configure passes to resources: one for each walk of Terraform.
type session struct {
	*app.App
	overlay   *overlay
	elsewhere *elsewhere
	namespace string // of the pipelines' names; empty for none
}

// Configure implements provider.Provider.
func (p *Provider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.DataDir.IsUnknown() {
		resp.Diagnostics.AddAttributeError(path.Root("data_dir"), "Unknown data directory",
			"data_dir must be known when Terraform plans, because the plan reads the ledger there. Use a literal value or a variable.")
		return
	}
	if m.Namespace.IsUnknown() {
		resp.Diagnostics.AddAttributeError(path.Root("namespace"), "Unknown namespace",
			"namespace must be known when Terraform plans, because it identifies the pipelines of the configuration. Use terraform.workspace, a literal value or a variable.")
		return
	}
	at := expandAWS(ctx, m.AWS, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	dir := m.DataDir.ValueString()
	if dir == "" {
		dir = os.Getenv(app.DataDirVariable)
	}
	if dir == "" {
		dir = app.DataDirName
	}
	a, err := app.Open(ctx, app.Options{DataDir: dir, AWS: at, Logger: newLogger(ctx), Instances: true})
	switch {
	case err != nil && at != nil:
		addAttributeError(&resp.Diagnostics, path.Root("aws"), "open the AWS stack for data directory", dir, err)
		return
	case err != nil:
		addError(&resp.Diagnostics, "open data directory", dir, err)
		return
	}
	p.mu.Lock()
	p.apps = append(p.apps, a)
	p.mu.Unlock()
	s := &session{App: a, overlay: newOverlay(a.Engine), elsewhere: newElsewhere(a, at)}
	if name := m.Namespace.ValueString(); name != noNamespace {
		s.namespace = name
	}
	resp.ResourceData, resp.DataSourceData = s, s
}

// Resources implements provider.Provider.
func (p *Provider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{newPipelineResource, newBakedImageResource, newStageResource, newSelfServiceEnvResource}
}

// DataSources implements provider.Provider.
func (p *Provider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{newSourceDataSource, newPipelineDataSource, newBuildDataSource, newImageDataSource, newPassedDataSource}
}
