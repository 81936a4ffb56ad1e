// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// known reports whether values, with everything inside them, are known.
func known(ctx context.Context, values ...attr.Value) bool {
	for _, v := range values {
		raw, err := v.ToTerraformValue(ctx)
		if err != nil || !raw.IsFullyKnown() {
			return false
		}
	}
	return true
}

// orNull returns a null string for an empty one.
func orNull(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

// trueOrNull returns a null bool for false.
func trueOrNull(b bool) types.Bool {
	if !b {
		return types.BoolNull()
	}
	return types.BoolValue(true)
}

// intOrNull returns a null number for zero.
func intOrNull[T int | int64](n T) types.Int64 {
	if n == 0 {
		return types.Int64Null()
	}
	return types.Int64Value(int64(n))
}

// expandDuration reads a duration that a validator has accepted; zero for null.
func expandDuration(s types.String) time.Duration {
	d, _ := time.ParseDuration(s.ValueString())
	return d
}

// flattenDuration writes a duration as people do: "8h", not "8h0m0s".
func flattenDuration(d time.Duration) types.String {
	if d == 0 {
		return types.StringNull()
	}
	return types.StringValue(pipeline.Period(d))
}

// expandStrings reads a map of strings; nil for null.
func expandStrings(ctx context.Context, m types.Map, diags *diag.Diagnostics) map[string]string {
	if m.IsNull() || m.IsUnknown() {
		return nil
	}
	var out map[string]string
	diags.Append(m.ElementsAs(ctx, &out, false)...)
	return out
}

func flattenStrings(m map[string]string) types.Map {
	if len(m) == 0 {
		return types.MapNull(types.StringType)
	}
	values := make(map[string]attr.Value, len(m))
	for k, v := range m {
		values[k] = types.StringValue(v)
	}
	return types.MapValueMust(types.StringType, values)
}

// expandSecrets reads a write-only map.
func expandSecrets(ctx context.Context, m types.Map, diags *diag.Diagnostics) pipeline.Secrets {
	plain := expandStrings(ctx, m, diags)
	if plain == nil {
		return nil
	}
	secrets := make(pipeline.Secrets, len(plain))
	for k, v := range plain {
		secrets[k] = pipeline.Secret(v)
	}
	return secrets
}

// sourceModel is a revision: { repository, directory, commit, digest, components, paths, web }.
type sourceModel struct {
	Repository types.String `tfsdk:"repository"`
	Directory  types.String `tfsdk:"directory"`
	Commit     types.String `tfsdk:"commit"`
	Digest     types.String `tfsdk:"digest"`
	Components types.Object `tfsdk:"components"`
	Paths      types.Map    `tfsdk:"paths"`
	Web        types.String `tfsdk:"web"`
}

var (
	// pathsType is that of patterns by component.
	pathsType      = types.MapType{ElemType: types.ListType{ElemType: types.StringType}}
	componentTypes = map[string]attr.Type{
		"application": types.StringType, "configuration": types.StringType, "infrastructure": types.StringType, "data": types.StringType, "module": types.StringType,
	}
	sourceTypes = map[string]attr.Type{
		"repository": types.StringType, "directory": types.StringType, "commit": types.StringType, "digest": types.StringType,
		"components": types.ObjectType{AttrTypes: componentTypes}, "paths": pathsType, "web": types.StringType,
	}
)

// patterns are the lists of patterns by what HCL calls them, as attributes of a
// penstock_source and as keys of a revision's paths.
func patterns(p *pipeline.Paths) map[string]*[]string {
	return map[string]*[]string{
		"include": &p.Include, "module": &p.Module, "infrastructure": &p.Infrastructure, "configuration": &p.Configuration, "data": &p.Data, "ignore": &p.Ignore,
	}
}

// expandPaths reads patterns by component, and their directory; nil if both are null.
func expandPaths(ctx context.Context, m types.Map, directory types.String, diags *diag.Diagnostics) *pipeline.Paths {
	if m.IsNull() && directory.ValueString() == "" || m.IsUnknown() {
		return nil
	}
	var lists map[string][]string
	diags.Append(m.ElementsAs(ctx, &lists, false)...)
	p := &pipeline.Paths{Directory: directory.ValueString()}
	for name, list := range patterns(p) {
		*list = lists[name]
	}
	return p
}

func flattenPaths(p *pipeline.Paths) types.Map {
	if p == nil {
		return types.MapNull(pathsType.ElemType)
	}
	lists := map[string]attr.Value{}
	for name, list := range patterns(p) {
		values := []attr.Value{}
		for _, pattern := range *list {
			values = append(values, types.StringValue(pattern))
		}
		if len(values) > 0 {
			lists[name] = types.ListValueMust(types.StringType, values)
		}
	}
	return types.MapValueMust(pathsType.ElemType, lists)
}

// expandComponents reads the digests of components; none for null.
func expandComponents(ctx context.Context, o types.Object, diags *diag.Diagnostics) (c pipeline.Components) {
	if o.IsNull() || o.IsUnknown() {
		return c
	}
	var m struct {
		Application    types.String `tfsdk:"application"`
		Configuration  types.String `tfsdk:"configuration"`
		Infrastructure types.String `tfsdk:"infrastructure"`
		Data           types.String `tfsdk:"data"`
		Module         types.String `tfsdk:"module"`
	}
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return pipeline.Components{
		Application: m.Application.ValueString(), Configuration: m.Configuration.ValueString(),
		Infrastructure: m.Infrastructure.ValueString(), Data: m.Data.ValueString(), Module: m.Module.ValueString(),
	}
}

func flattenComponents(c pipeline.Components) types.Object {
	if c == (pipeline.Components{}) {
		return types.ObjectNull(componentTypes)
	}
	return types.ObjectValueMust(componentTypes, map[string]attr.Value{
		"application": types.StringValue(c.Application), "configuration": types.StringValue(c.Configuration),
		"infrastructure": types.StringValue(c.Infrastructure), "data": types.StringValue(c.Data), "module": orNull(c.Module),
	})
}

func expandSource(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.SourceRef {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var m sourceModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return &pipeline.SourceRef{
		Repository: m.Repository.ValueString(), Commit: m.Commit.ValueString(), Digest: m.Digest.ValueString(),
		Components: expandComponents(ctx, m.Components, diags), Paths: expandPaths(ctx, m.Paths, m.Directory, diags), Web: m.Web.ValueString(),
	}
}

func flattenSource(s *pipeline.SourceRef) types.Object {
	if s == nil {
		return types.ObjectNull(sourceTypes)
	}
	return types.ObjectValueMust(sourceTypes, map[string]attr.Value{
		"repository": types.StringValue(s.Repository), "directory": orNull(s.Directory()), "commit": types.StringValue(s.Commit), "digest": types.StringValue(s.Digest),
		"components": flattenComponents(s.Components), "paths": flattenPaths(s.Paths), "web": orNull(s.Web),
	})
}

// sameSource reports whether two revisions have the same repository and the same
// files that matter: then a move from one to the other moves nothing (rule 8). Those of
// different pages are not the same, so that links change.
func sameSource(ctx context.Context, a, b types.Object) bool {
	if !known(ctx, a, b) || a.IsNull() || b.IsNull() {
		return false
	}
	var diags diag.Diagnostics
	x, y := expandSource(ctx, a, &diags), expandSource(ctx, b, &diags)
	return !diags.HasError() && x.Repository == y.Repository && x.Digest == y.Digest && x.Web == y.Web
}

// gateTypes are those of { pipeline, stage, build }: what a stage exports as passed, and
// what the next one takes in after.
var gateTypes = map[string]attr.Type{"pipeline": types.StringType, "stage": types.StringType, "build": types.StringType}

// afterType is that of an entry of after: passed of a stage, or of a penstock_passed.
var afterType = types.ObjectType{AttrTypes: passedTypes}

// flattenAfter writes an entry of after: a stage of the same pipeline.
func flattenAfter(pipelineName, stage, build string) types.Object {
	return types.ObjectValueMust(passedTypes, map[string]attr.Value{
		"pipeline": types.StringValue(pipelineName), "stage": types.StringValue(stage), "build": orNull(build), "ledger": types.StringNull(), "head": types.StringNull(),
	})
}

// flattenElsewhere writes what a stage of another pipeline has passed.
func flattenElsewhere(e pipeline.Elsewhere) types.Object {
	return types.ObjectValueMust(passedTypes, map[string]attr.Value{
		"pipeline": types.StringValue(e.Pipeline), "stage": types.StringValue(e.Stage), "build": orNull(e.Build), "ledger": types.StringValue(e.Ledger), "head": types.StringValue(e.Head.String()),
	})
}

// isElsewhere reports whether an entry of after is of a penstock_passed.
func isElsewhere(entry types.Object) bool {
	ledger := entry.Attributes()["ledger"]
	return ledger != nil && !ledger.IsNull()
}

// expandElsewhere reads such an entry, which is known.
func expandElsewhere(entry types.Object) pipeline.Elsewhere {
	text := func(name string) string {
		s, _ := entry.Attributes()[name].(types.String)
		return s.ValueString()
	}
	head, _ := pipeline.ParseAnchor(text("head")) // a validator has accepted it
	return pipeline.Elsewhere{Ledger: text("ledger"), Pipeline: text("pipeline"), Stage: text("stage"), Build: text("build"), Head: head}
}

func flattenPassed(pipelineName, stage string, build types.String) types.Object {
	return types.ObjectValueMust(gateTypes, map[string]attr.Value{
		"pipeline": types.StringValue(pipelineName), "stage": types.StringValue(stage), "build": build,
	})
}

// gates is what is known of an after list.
type gates struct {
	stages  []string          // names, in order
	builds  map[string]string // that passed them, as far as it is known
	pending map[string]bool   // stages whose newest passed build is not known yet
	unknown bool              // not even the stages are known

	elsewhere []pipeline.Elsewhere // stages of other pipelines, in order
}

func expandGates(after types.List) gates {
	g := gates{builds: map[string]string{}, pending: map[string]bool{}}
	if after.IsUnknown() {
		g.unknown = true
	}
	for _, element := range after.Elements() {
		o, ok := element.(types.Object)
		if !ok || o.IsUnknown() || o.IsNull() {
			g.unknown = true
			continue
		}
		if isElsewhere(o) {
			if !known(context.Background(), o) {
				g.unknown = true
				continue
			}
			g.elsewhere = append(g.elsewhere, expandElsewhere(o))
			continue
		}
		stage, _ := o.Attributes()["stage"].(types.String)
		if stage.IsUnknown() {
			g.unknown = true
			continue
		}
		g.stages = append(g.stages, stage.ValueString())
		build, _ := o.Attributes()["build"].(types.String)
		g.builds[stage.ValueString()] = build.ValueString()
		if build.IsUnknown() {
			g.pending[stage.ValueString()] = true
		}
	}
	return g
}

// validateGates reports entries without a stage.
func validateGates(after types.List) diag.Diagnostics {
	var diags diag.Diagnostics
	for i, element := range after.Elements() {
		if o, ok := element.(types.Object); ok && !o.IsUnknown() && o.Attributes()["stage"].IsNull() {
			diags.AddAttributeError(path.Root("after").AtListIndex(i), "Missing stage",
				"An entry of after names no stage. Use passed of another stage, as in penstock_stage.acceptance.passed.")
		} else if ok && isElsewhere(o) && (o.Attributes()["pipeline"].IsNull() || o.Attributes()["head"].IsNull()) {
			diags.AddAttributeError(path.Root("after").AtListIndex(i), "Unverified stage of another pipeline",
				"An entry of after has a ledger, but no pipeline or no head. Use passed of a data \"penstock_passed\", all of it.")
		}
	}
	return diags
}

// refuseForeign reports, with true, entries that are another pipeline's: builds do not go
// from one pipeline to another. What is not known yet is found when it is.
func refuseForeign(what, name string, pipelineName types.String, after types.List, diags *diag.Diagnostics) bool {
	found := false
	for i, element := range after.Elements() {
		o, ok := element.(types.Object)
		if !ok || pipelineName.IsNull() || pipelineName.IsUnknown() {
			continue
		}
		from, _ := o.Attributes()["pipeline"].(types.String)
		stage, _ := o.Attributes()["stage"].(types.String)
		if isElsewhere(o) {
			continue
		}
		if from.IsNull() || from.IsUnknown() || from.Equal(pipelineName) {
			continue
		}
		found = true
		diags.AddAttributeError(path.Root("after").AtListIndex(i), "Stage of another pipeline", fmt.Sprintf(
			"%s of pipeline %q can't come after stage %q of pipeline %q: the builds of one pipeline are not those of another. "+
				"Use passed of a stage of pipeline %q, or a data \"penstock_passed\", which lets the stage wait until the other one has passed any build.",
			strings.TrimSpace(what+" "+quotedOrNone(name)), pipelineName.ValueString(), stage.ValueString(), from.ValueString(), pipelineName.ValueString()))
	}
	return found
}

// quotedOrNone quotes a name; one that is not known yet is left out.
func quotedOrNone(name string) string {
	if name == "" {
		return ""
	}
	return strconv.Quote(name)
}

// open reports whether all builds are known.
func (g gates) open() bool { return !g.unknown && len(g.pending) == 0 }

// sameStages reports whether two after lists name the same stages in one order, and those of
// other pipelines with the same builds.
func sameStages(a, b types.List) bool {
	x, y := expandGates(a), expandGates(b)
	if x.unknown || y.unknown || len(x.stages) != len(y.stages) || a.IsNull() != b.IsNull() {
		return false
	}
	return slices.Equal(x.stages, y.stages) && slices.EqualFunc(x.elsewhere, y.elsewhere, pipeline.Elsewhere.Says)
}
