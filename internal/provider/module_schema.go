// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// moduleModel is the module of a pipeline.
type moduleModel struct {
	Directory types.String  `tfsdk:"directory"`
	Source    types.String  `tfsdk:"source"`
	Version   types.String  `tfsdk:"version"`
	Variables types.Dynamic `tfsdk:"variables"`
	Terraform types.String  `tfsdk:"terraform"`
	Timeout   types.String  `tfsdk:"timeout"`
	Stateful  types.List    `tfsdk:"stateful"`

	DetectDrift types.Bool   `tfsdk:"detect_drift"`
	DriftEvery  types.String `tfsdk:"drift_every"`
}

func moduleAttribute() schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, Validators: nil,
		MarkdownDescription: "Terraform module that makes the infrastructure of the pipeline's environments: the same module for each, as it was when the build was committed. If it has an output `endpoint`, the module is the environment; otherwise it makes what the instances need. See the [guide on modules](../guides/modules.md).",
		Attributes: map[string]schema.Attribute{
			"directory": optional("Directory of the module in the build's checkout, relative to the source's `directory`. Exactly one of `directory` and `source` is set.", isInside()),
			"source":    optional("Address of the module, as in a `module` block: of a registry, of a Git repository, or a URL. The commit stage fetches it, and stores it with the build.", stringvalidator.LengthAtLeast(1)),
			"version":   optional("Version constraint of a `source` that is in a registry. A change makes a new build.", stringvalidator.LengthAtLeast(1)),
			"variables": schema.DynamicAttribute{
				Optional: true, MarkdownDescription: "Values of the module's variables, as an object. An environment's own `variables` add to them and override them. A change runs the stages with environments again.",
			},
			"terraform": optional("Path or name of the Terraform or OpenTofu that applies the module. Default: the one that applies this configuration.", stringvalidator.LengthAtLeast(1)),
			"timeout":   optional("How long one apply of the module may take. Default: `2h`.", isDuration()),
			"detect_drift": schema.BoolAttribute{
				Optional: true, MarkdownDescription: "Whether the persistent environments of stages are checked for drift: for what somebody else has changed of their infrastructure. A plan or an apply of this configuration, and `penstock watch`, check it with a refresh that changes nothing, if it is due. `drift` of the stage and `penstock status` show what differs; nothing moves because of it. A check takes at most `timeout`, and ten minutes. Default: false.",
			},
			"drift_every": optional("How much time passes between two checks of a stage for drift, whoever makes them. Needs `detect_drift`. Default: `1h`.", isDuration()),
			"stateful": schema.ListAttribute{
				Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.ValueStringsAre(stringvalidator.LengthAtLeast(1))},
				MarkdownDescription: "Patterns of the types or addresses of resources that keep data, in addition to the known types, such as databases and buckets. An apply that would destroy or replace one of them in a lasting environment is refused, unless the environment sets `allow_destroy`.",
			},
		},
	}
}

// variablesAttributes are the arguments by which an environment sets variables of its module.
func variablesAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"variables": schema.DynamicAttribute{
			Optional: true, MarkdownDescription: "Values of the variables of the pipeline's `module`, as an object. They add to those of the pipeline and override them.",
		},
		"variables_wo": schema.DynamicAttribute{
			Optional: true, WriteOnly: true, MarkdownDescription: "Secret values of variables of the module, as an object. Write-only: they reach neither this configuration's state nor the plan, the ledger or the log. The state of the module may have them, as its resources do. Needs Terraform 1.11 or newer, and `variables_wo_version`.",
		},
		"variables_wo_version": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
			MarkdownDescription: "Version of `variables_wo`. Terraform can't see that a write-only value changed; a new number here tells it.",
		},
	}
}

// validateModule finds the mistakes between the arguments of a module.
func validateModule(ctx context.Context, o types.Object) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	at := path.Root("module")
	diags.Append(exactlyOne(at, o, "module", "directory", "source")...)
	var m moduleModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	if !m.Version.IsNull() && m.Source.IsNull() {
		diags.AddAttributeError(at.AtName("version"), "Version of no source", "Only a source in a registry has versions. Set source, or remove version.")
	}
	if !m.DriftEvery.IsNull() && !m.DetectDrift.IsUnknown() && !m.DetectDrift.ValueBool() {
		diags.AddAttributeError(at.AtName("drift_every"), "Time of no check", "Nothing is checked for drift without detect_drift. Set detect_drift = true, or remove drift_every.")
	}
	diags.Append(validateVariables(at.AtName("variables"), m.Variables)...)
	return diags
}

// validateVariables refuses values that are no object.
func validateVariables(at path.Path, v types.Dynamic) (diags diag.Diagnostics) {
	if v.IsNull() || v.IsUnknown() || v.IsUnderlyingValueNull() || v.IsUnderlyingValueUnknown() {
		return nil
	}
	if _, ok := elementsOf(v.UnderlyingValue()); !ok {
		diags.AddAttributeError(at, "Variables are no object", fmt.Sprintf("They are a %s. Write them as an object, with the name of each variable: { size = \"small\" }.", v.UnderlyingValue().Type(context.Background())))
	}
	return diags
}

// validateOwnVariables finds mistakes in the variables of an environment.
func validateOwnVariables(at path.Path, plain, secret types.Dynamic, version types.Int64) (diags diag.Diagnostics) {
	diags.Append(validateVariables(at.AtName("variables"), plain)...)
	diags.Append(validateVariables(at.AtName("variables_wo"), secret)...)
	if !secret.IsNull() && version.IsNull() {
		diags.AddAttributeError(at.AtName("variables_wo_version"), "Missing version of secrets",
			"variables_wo is set without variables_wo_version. Set variables_wo_version = 1, and a higher number whenever the secrets change.")
	}
	return diags
}

// elementsOf returns the elements of an object or a map.
func elementsOf(v attr.Value) (map[string]attr.Value, bool) {
	switch v := v.(type) {
	case types.Object:
		return v.Attributes(), true
	case types.Map:
		return v.Elements(), true
	}
	return nil, false
}

func expandModule(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.Module {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var m moduleModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	module := &pipeline.Module{
		Directory: m.Directory.ValueString(), Source: m.Source.ValueString(), Version: m.Version.ValueString(),
		Variables: expandVariables(m.Variables, diags), Program: m.Terraform.ValueString(), Timeout: expandDuration(m.Timeout),
		DetectDrift: m.DetectDrift.ValueBool(), DriftEvery: expandDuration(m.DriftEvery),
	}
	diags.Append(m.Stateful.ElementsAs(ctx, &module.Stateful, false)...)
	return module
}

func flattenModule(ctx context.Context, m *pipeline.Module, attrTypes map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if m == nil {
		return types.ObjectNull(attrTypes)
	}
	o, d := types.ObjectValueFrom(ctx, attrTypes, moduleModel{
		Directory: orNull(m.Directory), Source: orNull(m.Source), Version: orNull(m.Version), Variables: flattenVariables(m.Variables, diags),
		Terraform: orNull(m.Program), Timeout: flattenDuration(m.Timeout), Stateful: stringList(ctx, m.Stateful, diags),
		DetectDrift: trueOrNull(m.DetectDrift), DriftEvery: flattenDuration(m.DriftEvery),
	})
	diags.Append(d...)
	return o
}

// expandVariables returns the values by name, in JSON. A variable that is null is left out: it
// has its default.
func expandVariables(v types.Dynamic, diags *diag.Diagnostics) map[string]json.RawMessage {
	elements, _ := elementsOf(v.UnderlyingValue())
	var values map[string]json.RawMessage
	for name, element := range elements {
		if isNull(element) {
			continue
		}
		doc, err := json.Marshal(expandAny(element))
		if err != nil {
			diags.AddError("Invalid variable", fmt.Sprintf("Variable %q of the module can't be passed on: %s", name, err))
			continue
		}
		if values == nil {
			values = map[string]json.RawMessage{}
		}
		values[name] = doc
	}
	return values
}

// expandSecretVariables returns write-only values by name, in JSON.
func expandSecretVariables(v types.Dynamic, diags *diag.Diagnostics) map[string]pipeline.Secret {
	secrets := map[string]pipeline.Secret{}
	for name, doc := range expandVariables(v, diags) {
		secrets[name] = pipeline.Secret(doc)
	}
	return secrets
}

func isNull(v attr.Value) bool {
	if d, ok := v.(types.Dynamic); ok {
		return d.IsNull() || d.IsUnderlyingValueNull()
	}
	return v.IsNull()
}

// expandAny returns a known value as JSON has it.
func expandAny(v attr.Value) any {
	if isNull(v) {
		return nil
	}
	switch v := v.(type) {
	case types.Dynamic:
		return expandAny(v.UnderlyingValue())
	case types.String:
		return v.ValueString()
	case types.Bool:
		return v.ValueBool()
	case types.Number:
		return json.Number(v.ValueBigFloat().Text('f', -1))
	case types.Int64:
		return v.ValueInt64()
	case types.Float64:
		return v.ValueFloat64()
	case interface{ Elements() []attr.Value }: // a list, a set or a tuple
		list := []any{}
		for _, element := range v.Elements() {
			list = append(list, expandAny(element))
		}
		return list
	}
	object := map[string]any{}
	elements, _ := elementsOf(v)
	for name, element := range elements {
		object[name] = expandAny(element)
	}
	return object
}

// flattenVariables returns the values as an object; null for none.
func flattenVariables(values map[string]json.RawMessage, diags *diag.Diagnostics) types.Dynamic {
	if len(values) == 0 {
		return types.DynamicNull()
	}
	object := map[string]any{}
	for name, doc := range values {
		var v any
		decoder := json.NewDecoder(bytes.NewReader(doc))
		decoder.UseNumber()
		if err := decoder.Decode(&v); err != nil {
			diags.AddError("Invalid variable", fmt.Sprintf("Variable %q of the module can't be read: %s", name, err))
		}
		object[name] = v
	}
	return types.DynamicValue(flattenAny(object))
}

func flattenAny(v any) attr.Value {
	switch v := v.(type) {
	case nil:
		return types.DynamicNull()
	case string:
		return types.StringValue(v)
	case bool:
		return types.BoolValue(v)
	case json.Number:
		f, _, err := big.ParseFloat(v.String(), 10, 512, big.ToNearestEven)
		if err != nil {
			return types.NumberNull()
		}
		return types.NumberValue(f)
	case []any:
		var kinds []attr.Type
		var values []attr.Value
		for _, element := range v {
			value := flattenAny(element)
			kinds, values = append(kinds, value.Type(context.Background())), append(values, value)
		}
		return types.TupleValueMust(kinds, values)
	}
	kinds, values := map[string]attr.Type{}, map[string]attr.Value{}
	object, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		values[name] = flattenAny(object[name])
		kinds[name] = values[name].Type(context.Background())
	}
	return types.ObjectValueMust(kinds, values)
}
