// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package moduletest is a provider of Terraform for tests of modules, "cloud", whose resources
// can be changed behind Terraform's back: a directory is the cloud, a file in it a database.
// Files of other names make it misbehave: slow-NAME (its content is how long a creation or a
// destruction takes), fail-NAME (neither works), lose-NAME (the first answer of a creation is
// lost, and the file removed).
//
// The test binary is the provider:
//
//	func TestMain(m *testing.M) {
//		moduletest.Serve()
//		…
package moduletest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

const address = "registry.terraform.io/acme/cloud"

// Serve serves the provider if Terraform has started this binary, and does not return then.
func Serve() {
	if os.Getenv("TF_PLUGIN_MAGIC_COOKIE") == "" || filepath.Base(os.Args[0]) != "terraform-provider-cloud" {
		return
	}
	err := providerserver.Serve(context.Background(), func() provider.Provider { return &cloudProvider{} }, providerserver.ServeOpts{Address: address, ProtocolVersion: 6})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Install puts the provider into a directory that Terraform takes for a mirror of registries.
// The calling binary is the provider: its TestMain calls Serve first.
func Install(mirror string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, at := range []string{address, strings.Replace(address, "terraform.io", "opentofu.org", 1)} {
		to := filepath.Join(mirror, at, "1.0.0", runtime.GOOS+"_"+runtime.GOARCH)
		if err := errors.Join(os.MkdirAll(to, 0o755), os.Symlink(self, filepath.Join(to, "terraform-provider-cloud"))); err != nil {
			return err
		}
	}
	return nil
}

type cloudProvider struct{}

var _ provider.Provider = (*cloudProvider)(nil)

func (*cloudProvider) Metadata(_ context.Context, _ provider.MetadataRequest, r *provider.MetadataResponse) {
	r.TypeName = "cloud"
}

func (*cloudProvider) Schema(_ context.Context, _ provider.SchemaRequest, r *provider.SchemaResponse) {
	r.Schema = providerschema.Schema{Attributes: map[string]providerschema.Attribute{"dir": providerschema.StringAttribute{Optional: true}}}
}

func (*cloudProvider) Configure(ctx context.Context, q provider.ConfigureRequest, r *provider.ConfigureResponse) {
	var c struct {
		Dir types.String `tfsdk:"dir"`
	}
	r.Diagnostics.Append(q.Config.Get(ctx, &c)...)
	r.ResourceData = cmp.Or(c.Dir.ValueString(), os.Getenv("CLOUD_DIR"))
}

func (*cloudProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (*cloudProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return &cloudDatabase{} }}
}

type cloudDatabase struct{ dir string }

var _ resource.ResourceWithConfigure = (*cloudDatabase)(nil)

type database struct {
	ID       types.String `tfsdk:"id"`
	Name     types.String `tfsdk:"name"`
	Engine   types.String `tfsdk:"engine"`
	Size     types.Int64  `tfsdk:"size"`
	Password types.String `tfsdk:"password"`
}

func (*cloudDatabase) Metadata(_ context.Context, _ resource.MetadataRequest, r *resource.MetadataResponse) {
	r.TypeName = "cloud_database"
}

func (*cloudDatabase) Schema(_ context.Context, _ resource.SchemaRequest, r *resource.SchemaResponse) {
	replaced := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	r.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"id":       schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
		"name":     schema.StringAttribute{Required: true, PlanModifiers: replaced},
		"engine":   schema.StringAttribute{Optional: true, PlanModifiers: replaced},
		"size":     schema.Int64Attribute{Optional: true},
		"password": schema.StringAttribute{Optional: true, Sensitive: true},
	}}
}

func (d *cloudDatabase) Configure(_ context.Context, q resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	d.dir, _ = q.ProviderData.(string)
}

func (d *cloudDatabase) path(name string) string { return filepath.Join(d.dir, name+".db") }

// delay takes as long as the cloud does, or until Terraform asks to stop.
func (d *cloudDatabase) delay(ctx context.Context, name string) error {
	text, err := os.ReadFile(filepath.Join(d.dir, "slow-"+name))
	if err != nil {
		return nil
	}
	long, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
	}
	return nil
}

func (d *cloudDatabase) there(file string) bool {
	_, err := os.Stat(filepath.Join(d.dir, file))
	return err == nil
}

func (d *cloudDatabase) write(of database) error {
	doc, err := json.Marshal(map[string]any{"engine": of.Engine.ValueString(), "size": of.Size.ValueInt64()})
	if err != nil {
		return err
	}
	return os.WriteFile(d.path(of.Name.ValueString()), doc, 0o600)
}

func (d *cloudDatabase) Create(ctx context.Context, q resource.CreateRequest, r *resource.CreateResponse) {
	var of database
	r.Diagnostics.Append(q.Plan.Get(ctx, &of)...)
	name := of.Name.ValueString()
	if d.there("fail-" + name) {
		r.Diagnostics.AddError("The cloud is full", "There is no room for database "+name+".\nAsk for more.")
		return
	}
	if err := d.write(of); err != nil { // with its name as the client token
		r.Diagnostics.AddError("Create database", err.Error())
		return
	}
	if d.there("lose-" + name) {
		_ = os.Remove(filepath.Join(d.dir, "lose-"+name))
		r.Diagnostics.AddError("No answer", "The cloud did not answer in time.")
		return
	}
	of.ID = types.StringValue(fmt.Sprintf("db-%s-%d", name, time.Now().UnixNano()))
	r.Diagnostics.Append(r.State.Set(ctx, &of)...)
	if err := d.delay(ctx, name); err != nil { // its ID is known: it is tainted
		r.Diagnostics.AddError("Wait for database "+name, err.Error())
	}
}

func (d *cloudDatabase) Read(ctx context.Context, q resource.ReadRequest, r *resource.ReadResponse) {
	var of database
	r.Diagnostics.Append(q.State.Get(ctx, &of)...)
	doc, err := os.ReadFile(d.path(of.Name.ValueString()))
	if errors.Is(err, fs.ErrNotExist) {
		r.State.RemoveResource(ctx)
		return
	}
	var is struct {
		Size int64 `json:"size"`
	}
	if err == nil {
		err = json.Unmarshal(doc, &is)
	}
	if err != nil {
		r.Diagnostics.AddError("Read database", err.Error())
		return
	}
	if is.Size != of.Size.ValueInt64() {
		of.Size = types.Int64Value(is.Size)
	}
	r.Diagnostics.Append(r.State.Set(ctx, &of)...)
}

func (d *cloudDatabase) Update(ctx context.Context, q resource.UpdateRequest, r *resource.UpdateResponse) {
	var of database
	r.Diagnostics.Append(q.Plan.Get(ctx, &of)...)
	if err := d.write(of); err != nil {
		r.Diagnostics.AddError("Update database", err.Error())
		return
	}
	r.Diagnostics.Append(r.State.Set(ctx, &of)...)
}

func (d *cloudDatabase) Delete(ctx context.Context, q resource.DeleteRequest, r *resource.DeleteResponse) {
	var of database
	r.Diagnostics.Append(q.State.Get(ctx, &of)...)
	name := of.Name.ValueString()
	err := d.delay(ctx, name)
	if d.there("fail-" + name) {
		err = errors.New("it is protected")
	}
	if err == nil {
		if err = os.Remove(d.path(name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		r.Diagnostics.AddError("Destroy database "+name, err.Error())
	}
}
