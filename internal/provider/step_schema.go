// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// stepModel is one step of a stage.
type stepModel struct {
	Name       types.String `tfsdk:"name"`
	Command    types.String `tfsdk:"command"`
	On         types.String `tfsdk:"on"`
	Directory  types.String `tfsdk:"directory"`
	Env        types.Map    `tfsdk:"env"`
	EnvWO      types.Map    `tfsdk:"env_wo"`
	EnvVersion types.Int64  `tfsdk:"env_wo_version"`
	Timeout    types.String `tfsdk:"timeout"`
	Retries    types.Int64  `tfsdk:"retries"`
	Report     types.String `tfsdk:"report"`
	AllowEmpty types.Bool   `tfsdk:"allow_empty_report"`
	HTTP       *httpModel   `tfsdk:"http"`
	Load       *loadModel   `tfsdk:"load"`
}

type httpModel struct {
	URL      types.String `tfsdk:"url"`
	Path     types.String `tfsdk:"path"`
	Method   types.String `tfsdk:"method"`
	Headers  types.Map    `tfsdk:"headers"`
	Body     types.String `tfsdk:"body"`
	Status   types.Int64  `tfsdk:"status"`
	Contains types.String `tfsdk:"contains"`
}

type loadModel struct {
	Rate          types.Float64 `tfsdk:"rate"`
	Duration      types.String  `tfsdk:"duration"`
	URL           types.String  `tfsdk:"url"`
	Path          types.String  `tfsdk:"path"`
	Method        types.String  `tfsdk:"method"`
	Headers       types.Map     `tfsdk:"headers"`
	Body          types.String  `tfsdk:"body"`
	P50           types.String  `tfsdk:"p50"`
	P95           types.String  `tfsdk:"p95"`
	P99           types.String  `tfsdk:"p99"`
	Max           types.String  `tfsdk:"max"`
	ErrorRate     types.Float64 `tfsdk:"error_rate"`
	MinThroughput types.Float64 `tfsdk:"min_throughput"`
	Machines      types.Int64   `tfsdk:"machines"`
	Ramp          types.String  `tfsdk:"ramp"`
}

// optional makes an optional string attribute.
func optional(text string, v ...validator.String) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: text, Validators: v}
}

func required(text string, v ...validator.String) schema.StringAttribute {
	return schema.StringAttribute{Required: true, MarkdownDescription: text, Validators: v}
}

func computed(text string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: text}
}

// envAttributes are the three arguments that set a command's environment.
func envAttributes(of string) map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"env": schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Environment variables of " + of + ", by name."},
		"env_wo": schema.MapAttribute{
			Optional: true, WriteOnly: true, ElementType: types.StringType,
			MarkdownDescription: "Secret environment variables of " + of + ", by name. Write-only: they reach neither state, plan, ledger nor log. Needs Terraform 1.11 or newer, and `env_wo_version`.",
		},
		"env_wo_version": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
			MarkdownDescription: "Version of `env_wo`. Terraform can't see that a write-only value changed; a new number here tells it.",
		},
	}
}

func stepsAttribute() schema.ListNestedAttribute {
	attributes := envAttributes("the step's command")
	for name, a := range map[string]schema.Attribute{
		"name":      required("Name of the step, unique in the stage.", stringvalidator.LengthBetween(1, 100)),
		"command":   optional("Command line for `/bin/sh -e`, run in a clean checkout of the build's source. Exactly one of `command`, `http` and `load` is set.", stringvalidator.LengthAtLeast(1)),
		"on":        optional("`environment` runs the command inside the stage's environment, in the root of an instance, instead of in the checkout; `instances` in each instance, one after another, until one fails.", stringvalidator.OneOf(string(pipeline.OnEnvironment), string(pipeline.OnInstances))),
		"directory": optional("Directory of the checkout to run the command in. Default: its root.", isInside()),
		"timeout":   optional("How long one attempt may take. Default: `1h` for a command, `30s` for an HTTP check.", isDuration()),
		"retries": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.Between(0, 1000)},
			MarkdownDescription: "Further attempts after a failure. Default: 0.",
		},
		"report": optional("JUnit XML that the command writes: a path or pattern in the checkout. Penstock counts its tests. The step fails if a test failed, if there is no test, or if the run wrote no such file. Not together with `on`.", isReport()),
		"allow_empty_report": schema.BoolAttribute{
			Optional: true, MarkdownDescription: "Whether a `report` without any test also passes. Default: false.",
		},
		"http": schema.SingleNestedAttribute{
			Optional: true, MarkdownDescription: "An HTTP request and its expected answer.",
			Attributes: map[string]schema.Attribute{
				"url":     optional("Absolute URL. Exactly one of `url` and `path` is set.", isHTTPURL()),
				"path":    optional("Path on the endpoint of the stage's environment.", isHTTPPath()),
				"method":  optional("Default: `GET`.", isMethod()),
				"headers": schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Request headers, by name."},
				"body":    optional("Body of the request."),
				"status": schema.Int64Attribute{
					Optional: true, Validators: []validator.Int64{int64validator.Between(100, 599)},
					MarkdownDescription: "Expected status. Default: 200.",
				},
				"contains": optional("Regular expression (RE2) that the body must match.", isRegexp()),
			},
		},
		"load": loadAttribute(),
	} {
		attributes[name] = a
	}
	return schema.ListNestedAttribute{
		Optional: true, NestedObject: schema.NestedAttributeObject{Attributes: attributes},
		MarkdownDescription: "What a run does, in order: commands, HTTP checks and loads. The first failure fails the run.",
	}
}

func loadAttribute() schema.SingleNestedAttribute {
	rate := func(text string) schema.Float64Attribute {
		return schema.Float64Attribute{Optional: true, MarkdownDescription: text, Validators: []validator.Float64{float64validator.AtLeast(0)}}
	}
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: "A constant rate of requests and the thresholds that it must meet.",
		Attributes: map[string]schema.Attribute{
			"rate": schema.Float64Attribute{
				Required: true, MarkdownDescription: "Requests per second, more than 0.",
				Validators: []validator.Float64{float64validator.Between(0.001, 100_000)},
			},
			"duration": required("How long to make requests.", isDuration()),
			"ramp":     optional("How long the rate grows evenly from nothing, before `duration` begins. Its requests count for no figure and no threshold; the report has their number. It lets a load balancer grow, which on AWS starts small. Default: none.", isDuration()),
			"url":      optional("Absolute URL. Exactly one of `url` and `path` is set.", isHTTPURL()),
			"path":     optional("Path on the endpoint of the stage's environment.", isHTTPPath()),
			"method":   optional("Default: `GET`.", isMethod()),
			"headers":  schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Request headers, by name."},
			"body":     optional("Body of each request."),
			"p50":      optional("Longest median latency that passes.", isDuration()),
			"p95":      optional("Longest 95th percentile of latency that passes.", isDuration()),
			"p99":      optional("Longest 99th percentile of latency that passes.", isDuration()),
			"max":      optional("Longest latency that passes.", isDuration()),
			"error_rate": schema.Float64Attribute{
				Optional: true, Validators: []validator.Float64{float64validator.Between(0, 1)},
				MarkdownDescription: "Largest share of failed requests that passes, from 0 to 1. Default: 0.",
			},
			"min_throughput": rate("Fewest successful requests per second that pass."),
			"machines": schema.Int64Attribute{
				Optional: true, Validators: []validator.Int64{int64validator.Between(1, 100)},
				MarkdownDescription: "Number of builds that share the rate, in a stage with `runner = \"codebuild\"`. They begin at the same time, and their measurements are evaluated as one. Default: one for each 500 requests per second.",
			},
		},
	}
}

// validateSteps finds the mistakes between the arguments of steps. environment
// reports whether the stage has one; choices are the arguments of which each step
// must set exactly one.
func validateSteps(steps types.List, environment bool, choices ...string) diag.Diagnostics {
	var diags diag.Diagnostics
	names := map[string]bool{}
	for i, element := range steps.Elements() {
		o, ok := element.(types.Object)
		if !ok || o.IsUnknown() || o.IsNull() {
			continue
		}
		at, a := path.Root("steps").AtListIndex(i), o.Attributes()
		name, _ := a["name"].(types.String)
		if !name.IsUnknown() && names[name.ValueString()] {
			diags.AddAttributeError(at.AtName("name"), "Duplicate step name", fmt.Sprintf("Two steps are named %q. Give each its own name.", name.ValueString()))
		}
		names[name.ValueString()] = true
		diags.Append(exactlyOne(at, o, fmt.Sprintf("step %q", name.ValueString()), choices...)...)
		for _, only := range []string{"on", "directory", "report", "allow_empty_report", "env", "env_wo"} {
			if v, ok := a[only]; ok && !v.IsNull() && a["http"] != nil && a["command"].IsNull() && !v.IsUnknown() {
				diags.AddAttributeError(at.AtName(only), "Argument of a command", fmt.Sprintf("Step %q sets %s, which only a step with a command may have. Remove it.", name.ValueString(), only))
			}
		}
		diags.Append(needsVersion(at, o)...)
		for _, kind := range []string{"http", "load"} {
			if sub, ok := a[kind].(types.Object); ok && !sub.IsNull() && !sub.IsUnknown() {
				diags.Append(exactlyOne(at.AtName(kind), sub, fmt.Sprintf("%s of step %q", kind, name.ValueString()), "url", "path")...)
				if p := sub.Attributes()["path"]; !p.IsNull() && !environment {
					diags.Append(needsEnvironment(at.AtName(kind).AtName("path"), name.ValueString()))
				}
			}
		}
		if on, ok := a["on"]; ok && !on.IsNull() && !environment {
			diags.Append(needsEnvironment(at.AtName("on"), name.ValueString()))
		}
		if empty, ok := a["allow_empty_report"].(types.Bool); ok && empty.ValueBool() && a["report"].IsNull() {
			diags.AddAttributeError(at.AtName("allow_empty_report"), "Missing report",
				fmt.Sprintf("Step %q sets allow_empty_report without report. Set report, or remove allow_empty_report.", name.ValueString()))
		}
		if on, report := a["on"], a["report"]; on != nil && !on.IsNull() && !on.IsUnknown() && !report.IsNull() {
			diags.AddAttributeError(at.AtName("report"), "Report out of reach",
				fmt.Sprintf("Step %q has a report, which is read from the checkout, but its command runs on the environment. Remove report, or on.", name.ValueString()))
		}
		diags.Append(validateLoadTime(at, a)...)
	}
	return diags
}

// validateLoadTime reports a load that its step's time-out would cut off.
func validateLoadTime(at path.Path, step map[string]attr.Value) (diags diag.Diagnostics) {
	load, ok := step["load"].(types.Object)
	if !ok || load.IsNull() || load.IsUnknown() {
		return nil
	}
	timeout, _ := step["timeout"].(types.String)
	duration, _ := load.Attributes()["duration"].(types.String)
	ramp, _ := load.Attributes()["ramp"].(types.String)
	if limit, takes := expandDuration(timeout), expandDuration(ramp)+expandDuration(duration); limit > 0 && limit < takes {
		diags.AddAttributeError(at.AtName("timeout"), "Time-out shorter than the load",
			fmt.Sprintf("The load takes %s, but timeout = %q ends it earlier. Raise timeout, or remove it.", takes, timeout.ValueString()))
	}
	return diags
}

func needsEnvironment(at path.Path, step string) diag.Diagnostic {
	return diag.NewAttributeErrorDiagnostic(at, "No environment",
		fmt.Sprintf("Step %q needs the stage's environment, but the stage has none. Set environment = {} on the stage, or a url on the step.", step))
}

// needsVersion reports secrets without the version that says when they change.
func needsVersion(at path.Path, o types.Object) diag.Diagnostics {
	var diags diag.Diagnostics
	if wo, version := o.Attributes()["env_wo"], o.Attributes()["env_wo_version"]; wo != nil && !wo.IsNull() && version.IsNull() {
		diags.AddAttributeError(at.AtName("env_wo_version"), "Missing version of secrets",
			"env_wo is set without env_wo_version. Set env_wo_version = 1, and a higher number whenever the secrets change.")
	}
	return diags
}

// exactlyOne reports when not exactly one of the named attributes is set.
func exactlyOne(at path.Path, o types.Object, what string, names ...string) diag.Diagnostics {
	var diags diag.Diagnostics
	var set []string
	open := false // something may be set, or may be null
	for _, name := range names {
		switch v := o.Attributes()[name]; {
		case v == nil || v.IsNull():
		case v.IsUnknown():
			open = true
		default:
			set = append(set, name)
		}
	}
	if len(set) > 1 || len(set) == 0 && !open {
		got := "none is"
		if len(set) > 1 {
			got = fmt.Sprintf("%v are", set)
		}
		diags.AddAttributeError(at, "Exactly one is needed", fmt.Sprintf("Exactly one of %v must be set in the %s; %s set.", names, what, got))
	}
	return diags
}

// expandSteps reads steps that are wholly known.
func expandSteps(ctx context.Context, list types.List, diags *diag.Diagnostics) []pipeline.Step {
	var models []stepModel
	if list.IsNull() {
		return nil
	}
	diags.Append(list.ElementsAs(ctx, &models, false)...)
	var steps []pipeline.Step
	for _, m := range models {
		s := pipeline.Step{
			Name: m.Name.ValueString(), Command: m.Command.ValueString(), On: pipeline.StepPlace(m.On.ValueString()),
			Directory: m.Directory.ValueString(), Env: expandStrings(ctx, m.Env, diags), SecretsVersion: m.EnvVersion.ValueInt64(),
			Timeout: expandDuration(m.Timeout), Retries: int(m.Retries.ValueInt64()), Report: m.Report.ValueString(),
			AllowEmptyReport: m.AllowEmpty.ValueBool(),
		}
		if h := m.HTTP; h != nil {
			s.HTTP = &pipeline.HTTPCheck{
				URL: h.URL.ValueString(), Path: h.Path.ValueString(), Method: h.Method.ValueString(), Headers: expandStrings(ctx, h.Headers, diags),
				Body: h.Body.ValueString(), Status: int(h.Status.ValueInt64()), Contains: h.Contains.ValueString(),
			}
		}
		if l := m.Load; l != nil {
			s.Load = &pipeline.Load{
				Rate: l.Rate.ValueFloat64(), Duration: expandDuration(l.Duration), URL: l.URL.ValueString(), Path: l.Path.ValueString(),
				Method: l.Method.ValueString(), Headers: expandStrings(ctx, l.Headers, diags), Body: l.Body.ValueString(),
				P50: expandDuration(l.P50), P95: expandDuration(l.P95), P99: expandDuration(l.P99), Max: expandDuration(l.Max),
				ErrorRate: l.ErrorRate.ValueFloat64(), MinThroughput: l.MinThroughput.ValueFloat64(), Machines: int(l.Machines.ValueInt64()), Ramp: expandDuration(l.Ramp),
			}
		}
		steps = append(steps, s)
	}
	return steps
}

// expandStepSecrets reads the write-only variables of steps from the configuration.
func expandStepSecrets(ctx context.Context, list types.List, diags *diag.Diagnostics) []pipeline.Secrets {
	var all []pipeline.Secrets
	for _, element := range list.Elements() {
		var secrets pipeline.Secrets
		if o, ok := element.(types.Object); ok {
			if wo, ok := o.Attributes()["env_wo"].(types.Map); ok {
				secrets = expandSecrets(ctx, wo, diags)
			}
		}
		all = append(all, secrets)
	}
	return all
}

func flattenSteps(steps []pipeline.Step) []stepModel {
	var models []stepModel
	for _, s := range steps {
		m := stepModel{
			Name: types.StringValue(s.Name), Command: orNull(s.Command), On: orNull(string(s.On)), Directory: orNull(s.Directory),
			Env: flattenStrings(s.Env), EnvWO: types.MapNull(types.StringType), EnvVersion: intOrNull(s.SecretsVersion),
			Timeout: flattenDuration(s.Timeout), Retries: intOrNull(s.Retries), Report: orNull(s.Report),
			AllowEmpty: trueOrNull(s.AllowEmptyReport),
		}
		if h := s.HTTP; h != nil {
			m.HTTP = &httpModel{
				URL: orNull(h.URL), Path: orNull(h.Path), Method: orNull(h.Method), Headers: flattenStrings(h.Headers),
				Body: orNull(h.Body), Status: intOrNull(h.Status), Contains: orNull(h.Contains),
			}
		}
		if l := s.Load; l != nil {
			m.Load = &loadModel{
				Rate: types.Float64Value(l.Rate), Duration: flattenDuration(l.Duration), URL: orNull(l.URL), Path: orNull(l.Path),
				Method: orNull(l.Method), Headers: flattenStrings(l.Headers), Body: orNull(l.Body), P50: flattenDuration(l.P50),
				P95: flattenDuration(l.P95), P99: flattenDuration(l.P99), Max: flattenDuration(l.Max),
				ErrorRate: floatOrNull(l.ErrorRate), MinThroughput: floatOrNull(l.MinThroughput), Machines: intOrNull(l.Machines), Ramp: flattenDuration(l.Ramp),
			}
		}
		models = append(models, m)
	}
	return models
}

func floatOrNull(f float64) types.Float64 {
	if f == 0 {
		return types.Float64Null()
	}
	return types.Float64Value(f)
}
