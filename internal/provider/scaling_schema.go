// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"cmp"
	"context"
	"fmt"
	"regexp"

	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
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

const (
	maxInstances     = 1000
	defaultStatistic = "Average"
	defaultWarmState = pipeline.WarmStopped
)

var (
	isCron       = stringvalidator.RegexMatches(regexp.MustCompile(`^([0-9A-Za-z*,/-]+ +){4}[0-9A-Za-z*,/-]+$`), `must have the five fields minute, hour, day of the month, month and day of the week, as in "0 8 * * MON-FRI"`)
	isTimeZone   = stringvalidator.RegexMatches(regexp.MustCompile(`^(UTC|[A-Za-z_+-]+(/[A-Za-z0-9_+-]+)+)$`), `must be a time zone of the IANA database, as in "Europe/Berlin"`)
	isMetricName = stringvalidator.LengthBetween(1, 255)
)

func scalingAttribute() schema.SingleNestedAttribute {
	count := func(text string, least int64) schema.Int64Attribute {
		return schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(least, maxInstances)}, MarkdownDescription: text}
	}
	most := count("Largest number of instances.", 1)
	most.Optional, most.Required = false, true
	positive := []validator.Float64{float64validator.AtLeast(0.001)}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "How the number of instances of a persistent environment follows its load. `instances` is then the number that a first deployment starts with, and a deployment has as many as the one before has by then. " +
			"A change takes effect without a deployment. What is attached to the Auto Scaling group by other means stays beside it; without `scaling`, so does its maximum. On AWS. Default: `instances`, no more and no fewer.",
		Attributes: map[string]schema.Attribute{
			"min": count("Smallest number of instances. Default: `instances`.", 1),
			"max": most,
			"target": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "Keeps a metric near a value. Exactly one of the arguments is set.",
				Attributes: map[string]schema.Attribute{
					"cpu":                 schema.Float64Attribute{Optional: true, Validators: []validator.Float64{float64validator.Between(1, 100)}, MarkdownDescription: "Average CPU utilization of the instances, in percent."},
					"requests_per_target": schema.Float64Attribute{Optional: true, Validators: positive, MarkdownDescription: "Requests that each instance gets in a minute."},
					"metric": schema.SingleNestedAttribute{
						Optional: true, MarkdownDescription: "A metric of CloudWatch that falls as instances are added.",
						Attributes: map[string]schema.Attribute{
							"namespace":  required("Namespace of the metric.", isMetricName),
							"name":       required("Name of the metric.", isMetricName),
							"dimensions": schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Dimensions of the metric. Default: none."},
							"statistic":  optional("Statistic of the metric. Default: `Average`.", stringvalidator.OneOf("Average", "Minimum", "Maximum", "SampleCount", "Sum")),
							"value":      schema.Float64Attribute{Required: true, Validators: positive, MarkdownDescription: "Value to keep it near."},
						},
					},
				},
			},
			"schedule": schema.ListNestedAttribute{
				Optional: true, Validators: []validator.List{listvalidator.SizeAtLeast(1)}, MarkdownDescription: "Times at which the numbers change.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"name":      required("Name of the time, unique in the list.", isName()),
					"cron":      required("When, as five fields of cron: `0 8 * * MON-FRI`.", isCron),
					"time_zone": optional("Time zone of `cron`, as in `Europe/Berlin`. Default: UTC.", isTimeZone),
					"min":       count("Smallest number of instances from then on. Default: as it is.", 0),
					"max":       count("Largest number of instances from then on. Default: as it is.", 0),
					"desired":   count("Number of instances at that time. Default: as it is.", 0),
				}},
			},
			"warm_pool": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "Instances that have started once, and wait to be added.",
				Attributes: map[string]schema.Attribute{
					"min_size":          count("Smallest number of instances that wait. Default: 0.", 0),
					"max_prepared":      count("Largest number of instances that wait or serve. Default: `max`.", 1),
					"state":             optional("How they wait: `stopped`, `running` or `hibernated`. Default: `stopped`.", stringvalidator.OneOf(pipeline.WarmStopped, pipeline.WarmRunning, pipeline.WarmHibernated)),
					"reuse_on_scale_in": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether instances that are no longer needed wait again, and are not ended. Default: false."},
				},
			},
		},
	}
}

// scalingModel is environment.scaling.
type scalingModel struct {
	Min      types.Int64  `tfsdk:"min"`
	Max      types.Int64  `tfsdk:"max"`
	Target   types.Object `tfsdk:"target"`
	Schedule types.List   `tfsdk:"schedule"`
	WarmPool types.Object `tfsdk:"warm_pool"`
}

type scalingTargetModel struct {
	CPU      types.Float64 `tfsdk:"cpu"`
	Requests types.Float64 `tfsdk:"requests_per_target"`
	Metric   types.Object  `tfsdk:"metric"`
}

type scalingMetricModel struct {
	Namespace  types.String  `tfsdk:"namespace"`
	Name       types.String  `tfsdk:"name"`
	Dimensions types.Map     `tfsdk:"dimensions"`
	Statistic  types.String  `tfsdk:"statistic"`
	Value      types.Float64 `tfsdk:"value"`
}

type scheduledSizeModel struct {
	Name     types.String `tfsdk:"name"`
	Cron     types.String `tfsdk:"cron"`
	TimeZone types.String `tfsdk:"time_zone"`
	Min      types.Int64  `tfsdk:"min"`
	Max      types.Int64  `tfsdk:"max"`
	Desired  types.Int64  `tfsdk:"desired"`
}

type warmPoolModel struct {
	MinSize     types.Int64  `tfsdk:"min_size"`
	MaxPrepared types.Int64  `tfsdk:"max_prepared"`
	State       types.String `tfsdk:"state"`
	Reuse       types.Bool   `tfsdk:"reuse_on_scale_in"`
}

var unknownIsEmpty = basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true, UnhandledNullAsEmpty: true}

func expandScaling(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.Scaling {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var m scalingModel
	diags.Append(o.As(ctx, &m, unknownIsEmpty)...)
	s := &pipeline.Scaling{Min: int(m.Min.ValueInt64()), Max: int(m.Max.ValueInt64())}
	if !m.Target.IsNull() {
		var t scalingTargetModel
		diags.Append(m.Target.As(ctx, &t, unknownIsEmpty)...)
		s.Target = &pipeline.ScalingTarget{CPU: t.CPU.ValueFloat64(), RequestsPerTarget: t.Requests.ValueFloat64()}
		if !t.Metric.IsNull() {
			var metric scalingMetricModel
			diags.Append(t.Metric.As(ctx, &metric, unknownIsEmpty)...)
			s.Target.Metric = &pipeline.ScalingMetric{
				Namespace: metric.Namespace.ValueString(), Name: metric.Name.ValueString(), Dimensions: expandStrings(ctx, metric.Dimensions, diags),
				Statistic: cmp.Or(metric.Statistic.ValueString(), defaultStatistic), Value: metric.Value.ValueFloat64(),
			}
		}
	}
	var sizes []scheduledSizeModel
	diags.Append(m.Schedule.ElementsAs(ctx, &sizes, false)...)
	number := func(n types.Int64) *int {
		if n.IsNull() {
			return nil
		}
		v := int(n.ValueInt64())
		return &v
	}
	for _, size := range sizes {
		s.Schedule = append(s.Schedule, pipeline.ScheduledSize{
			Name: size.Name.ValueString(), Cron: size.Cron.ValueString(), TimeZone: size.TimeZone.ValueString(),
			Min: number(size.Min), Max: number(size.Max), Desired: number(size.Desired),
		})
	}
	if !m.WarmPool.IsNull() {
		var w warmPoolModel
		diags.Append(m.WarmPool.As(ctx, &w, unknownIsEmpty)...)
		s.WarmPool = &pipeline.WarmPool{
			MinSize: int(w.MinSize.ValueInt64()), MaxPrepared: int(w.MaxPrepared.ValueInt64()), State: cmp.Or(w.State.ValueString(), defaultWarmState),
			ReuseOnScaleIn: w.Reuse.ValueBool(),
		}
	}
	return s
}

func flattenScaling(ctx context.Context, s *pipeline.Scaling, of map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if s == nil {
		return types.ObjectNull(of)
	}
	object := func(name string, in map[string]attr.Type, model any) types.Object {
		o, d := types.ObjectValueFrom(ctx, in[name].(types.ObjectType).AttrTypes, model)
		diags.Append(d...)
		return o
	}
	null := func(name string, in map[string]attr.Type) types.Object {
		return types.ObjectNull(in[name].(types.ObjectType).AttrTypes)
	}
	m := scalingModel{Min: intOrNull(s.Min), Max: types.Int64Value(int64(s.Max)), Target: null("target", of), WarmPool: null("warm_pool", of)}
	if t := s.Target; t != nil {
		in := of["target"].(types.ObjectType).AttrTypes
		target := scalingTargetModel{Metric: null("metric", in)}
		if t.CPU > 0 {
			target.CPU = types.Float64Value(t.CPU)
		}
		if t.RequestsPerTarget > 0 {
			target.Requests = types.Float64Value(t.RequestsPerTarget)
		}
		if t.Metric != nil {
			target.Metric = object("metric", in, scalingMetricModel{
				Namespace: types.StringValue(t.Metric.Namespace), Name: types.StringValue(t.Metric.Name), Dimensions: flattenStrings(t.Metric.Dimensions),
				Statistic: orDefault(t.Metric.Statistic, defaultStatistic), Value: types.Float64Value(t.Metric.Value),
			})
		}
		m.Target = object("target", of, target)
	}
	element := of["schedule"].(types.ListType).ElemType
	m.Schedule = types.ListNull(element)
	if len(s.Schedule) > 0 {
		number := func(n *int) types.Int64 {
			if n == nil {
				return types.Int64Null()
			}
			return types.Int64Value(int64(*n))
		}
		var sizes []scheduledSizeModel
		for _, size := range s.Schedule {
			sizes = append(sizes, scheduledSizeModel{
				Name: types.StringValue(size.Name), Cron: types.StringValue(size.Cron), TimeZone: orNull(size.TimeZone),
				Min: number(size.Min), Max: number(size.Max), Desired: number(size.Desired),
			})
		}
		var d diag.Diagnostics
		m.Schedule, d = types.ListValueFrom(ctx, element, sizes)
		diags.Append(d...)
	}
	if w := s.WarmPool; w != nil {
		pool := warmPoolModel{MinSize: intOrNull(w.MinSize), MaxPrepared: intOrNull(w.MaxPrepared), State: orDefault(w.State, defaultWarmState)}
		if w.ReuseOnScaleIn {
			pool.Reuse = types.BoolValue(true)
		}
		m.WarmPool = object("warm_pool", of, pool)
	}
	o, d := types.ObjectValueFrom(ctx, of, m)
	diags.Append(d...)
	return o
}

// orDefault returns null for what is the default.
func orDefault(v, def string) types.String {
	if v == def {
		return types.StringNull()
	}
	return types.StringValue(v)
}

// validateScaling finds numbers that contradict each other.
func validateScaling(ctx context.Context, at path.Path, o types.Object, instances types.Int64) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var m scalingModel
	diags.Append(o.As(ctx, &m, unknownIsEmpty)...)
	known := func(n types.Int64) bool { return !n.IsNull() && !n.IsUnknown() }
	above := func(at path.Path, low, high types.Int64, what, limit string) {
		if known(low) && known(high) && low.ValueInt64() > high.ValueInt64() {
			diags.AddAttributeError(at, "Numbers of instances contradict each other",
				fmt.Sprintf("%s is %d, and %s is %d. Make the first at most the second.", what, low.ValueInt64(), limit, high.ValueInt64()))
		}
	}
	above(at.AtName("min"), m.Min, m.Max, "min", "max")
	above(at.AtName("max"), instances, m.Max, "instances", "scaling.max")
	if set, unknown := 0, false; !m.Target.IsNull() && !m.Target.IsUnknown() {
		for _, v := range m.Target.Attributes() {
			unknown = unknown || v.IsUnknown()
			if !v.IsNull() {
				set++
			}
		}
		if set != 1 && !unknown {
			diags.AddAttributeError(at.AtName("target"), "Not one target", fmt.Sprintf("%d of cpu, requests_per_target and metric are set. Set one.", set))
		}
	}
	names := map[string]bool{}
	for i, v := range m.Schedule.Elements() {
		size, ok := v.(types.Object)
		if !ok || size.IsUnknown() {
			continue
		}
		var s scheduledSizeModel
		diags.Append(size.As(ctx, &s, unknownIsEmpty)...)
		entry := at.AtName("schedule").AtListIndex(i)
		if s.Min.IsNull() && s.Max.IsNull() && s.Desired.IsNull() {
			diags.AddAttributeError(entry, "Time changes nothing", "Set min, max or desired.")
		}
		above(entry.AtName("min"), s.Min, s.Max, "min", "max")
		above(entry.AtName("desired"), s.Desired, s.Max, "desired", "max")
		above(entry.AtName("min"), s.Min, s.Desired, "min", "desired")
		if name := s.Name.ValueString(); name != "" && names[name] {
			diags.AddAttributeError(entry.AtName("name"), "Time twice", fmt.Sprintf("Two times of the schedule are named %q. Give each its own name.", name))
		}
		names[s.Name.ValueString()] = true
	}
	return diags
}
