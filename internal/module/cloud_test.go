// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

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
	"slices"
	"strings"
	"testing"
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

// The test binary is also a provider for Terraform, "cloud": a directory is the cloud, a file
// in it a database. Files of other names make it misbehave: slow-NAME (its content is how
// long a creation or a destruction takes), fail-NAME (neither works) and lose-NAME (the first answer of a
// creation is lost, and the file removed).

const cloudAddress = "registry.terraform.io/acme/cloud"

// serveCloud serves the provider if Terraform has started this binary.
func serveCloud() {
	if os.Getenv("TF_PLUGIN_MAGIC_COOKIE") == "" || filepath.Base(os.Args[0]) != "terraform-provider-cloud" {
		return
	}
	err := providerserver.Serve(context.Background(), func() provider.Provider { return &cloudProvider{} }, providerserver.ServeOpts{Address: cloudAddress, ProtocolVersion: 6})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// installCloud makes the provider known to Terraform, for all tests, in a directory.
func installCloud(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, address := range []string{cloudAddress, strings.Replace(cloudAddress, "terraform.io", "opentofu.org", 1)} {
		to := filepath.Join(dir, address, "1.0.0", runtime.GOOS+"_"+runtime.GOARCH)
		if err := errors.Join(os.MkdirAll(to, 0o755), os.Symlink(self, filepath.Join(to, "terraform-provider-cloud"))); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "terraformrc")
	text := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", dir)
	return errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Setenv("TF_CLI_CONFIG_FILE", file))
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
	return writeFile(d.path(of.Name.ValueString()), doc)
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
		err = removeFile(d.path(name))
	}
	if err != nil {
		r.Diagnostics.AddError("Destroy database "+name, err.Error())
	}
}

// databases is a module of databases in a cloud.
const databases = `
terraform {
  required_providers {
    cloud = { source = "acme/cloud" }
  }
}
variable "dir" { type = string }
variable "names" {
  type    = set(string)
  default = ["a"]
}
variable "engine" {
  type    = string
  default = "postgres"
}
variable "size" {
  type    = number
  default = 1
}
variable "password" {
  type      = string
  sensitive = true
  default   = "none"
}
provider "cloud" { dir = var.dir }
resource "cloud_database" "main" {
  for_each = var.names
  name     = each.key
  engine   = var.engine
  size     = var.size
  password = var.password
}
output "env" {
  sensitive = true
  value     = { PASSWORD = var.password }
}
output "data" { value = { ids = [for d in cloud_database.main : d.id] } }
`

// cloud returns a cloud, and the variables of a module for databases in it.
func (w *world) cloud(names ...string) (string, map[string]json.RawMessage) {
	w.Helper()
	dir := w.TempDir()
	return dir, map[string]json.RawMessage{"dir": raw(dir), "names": raw(names)}
}

// has checks which databases a cloud has.
func (w *world) has(dir string, names ...string) {
	w.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.db"))
	w.ok(err)
	for i, name := range found {
		found[i] = strings.TrimSuffix(filepath.Base(name), ".db")
	}
	if !slices.Equal(found, names) {
		w.Errorf("the cloud has %q, want %q", found, names)
	}
}

// behave writes a file that makes a cloud misbehave.
func (w *world) behave(dir, file, text string) {
	w.Helper()
	w.ok(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
}

// shortly waits until something holds.
func (w *world) shortly(what string, holds func() bool) {
	w.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			w.Fatal("no " + what)
		}
	}
}

var _ testing.TB = (*world)(nil)
