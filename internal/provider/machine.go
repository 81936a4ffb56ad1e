// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
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

// volumeModel is the root volume of instances.
type volumeModel struct {
	Size       types.Int64  `tfsdk:"size"`
	Type       types.String `tfsdk:"type"`
	IOPS       types.Int64  `tfsdk:"iops"`
	Throughput types.Int64  `tfsdk:"throughput"`
}

// The types of EBS volumes that an instance can start from, and what each can be given. The
// limits are those of the user guide of EBS.
const (
	volumeGP3 = "gp3"
	volumeGP2 = "gp2"
	volumeIO1 = "io1"
	volumeIO2 = "io2"
)

// iopsOf are the least and the most operations a second of the types that take a number.
var iopsOf = map[string][2]int64{volumeGP3: {3000, 80000}, volumeIO1: {100, 64000}, volumeIO2: {100, 256000}}

// volumeAttribute describes the root volume of what of names.
func volumeAttribute(of string) schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: "Root volume of " + of + ". All volumes are encrypted and go with their instance, also those that only the image names. Default: as the image has it. On AWS.",
		Attributes: map[string]schema.Attribute{
			"size":       schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65536)}, MarkdownDescription: "Size in GiB, at least that of the image."},
			"type":       optional("Type: `gp3`, `gp2`, `io1` or `io2`.", stringvalidator.OneOf(volumeGP3, volumeGP2, volumeIO1, volumeIO2)),
			"iops":       schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(100, 256000)}, MarkdownDescription: "Operations a second that are provisioned. With type `gp3` (at least 3000), or `io1` and `io2`, which need it."},
			"throughput": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(125, 2000)}, MarkdownDescription: "MiB a second that are provisioned. With type `gp3`."},
		},
	}
}

func hopsAttribute() schema.Int64Attribute {
	return schema.Int64Attribute{
		Optional: true, Validators: []validator.Int64{int64validator.Between(1, 64)},
		MarkdownDescription: "How many network hops an answer of the instance metadata service may take. A container with a network of its own needs 2 for the instance's role. Default: 2 if `service.install` or `service.start` names `docker`, `podman` or `nerdctl`, otherwise 1. On AWS.",
	}
}

func spotAttribute() schema.BoolAttribute {
	return schema.BoolAttribute{
		Optional: true, MarkdownDescription: "Whether to launch spot instances, which are cheaper, and which AWS ends when it needs their capacity. Not for a persistent environment, and not for a stage that bakes. Default: false. On AWS.",
	}
}

// expandVolume reads a volume that is known; nil for one that says nothing.
func expandVolume(o types.Object) *pipeline.Volume {
	number := func(name string) int {
		v, _ := o.Attributes()[name].(types.Int64)
		return int(v.ValueInt64())
	}
	kind, _ := o.Attributes()["type"].(types.String)
	v := pipeline.Volume{Size: number("size"), Type: kind.ValueString(), IOPS: number("iops"), Throughput: number("throughput")}
	if v == (pipeline.Volume{}) {
		return nil
	}
	return &v
}

func flattenVolume(v *pipeline.Volume, attrTypes map[string]attr.Type) types.Object {
	if v == nil {
		return types.ObjectNull(attrTypes)
	}
	return types.ObjectValueMust(attrTypes, map[string]attr.Value{
		"size": intOrNull(v.Size), "type": orNull(v.Type), "iops": intOrNull(v.IOPS), "throughput": intOrNull(v.Throughput),
	})
}

// validateVolume finds what a type of volume can't be given, or needs.
func validateVolume(ctx context.Context, at path.Path, o types.Object) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var m volumeModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})...)
	if diags.HasError() || m.Type.IsUnknown() {
		return diags
	}
	const summary = "Invalid volume"
	kind, refused := m.Type.ValueString(), func(name, format string, args ...any) {
		diags.AddAttributeError(at.AtName(name), summary, fmt.Sprintf(format, args...))
	}
	limits, takes := iopsOf[kind]
	switch {
	case m.IOPS.IsUnknown():
	case !m.IOPS.IsNull() && !takes:
		refused("iops", "A volume of type %q takes no iops. Set type to gp3, io1 or io2, or remove iops.", kind)
	case !m.IOPS.IsNull() && (m.IOPS.ValueInt64() < limits[0] || m.IOPS.ValueInt64() > limits[1]):
		refused("iops", "A volume of type %q has %d to %d iops, and not %d.", kind, limits[0], limits[1], m.IOPS.ValueInt64())
	case m.IOPS.IsNull() && (kind == volumeIO1 || kind == volumeIO2):
		refused("iops", "A volume of type %q needs iops. Set it, or set type to gp3.", kind)
	}
	if !m.Throughput.IsNull() && !m.Throughput.IsUnknown() && kind != volumeGP3 {
		refused("throughput", "A volume of type %q takes no throughput. Set type to gp3, or remove throughput.", kind)
	}
	return diags
}

// validateMachine finds machines that an environment can't have: spot instances where
// instances last, or are stopped for an image.
func validateMachine(ctx context.Context, kind pipeline.StageType, o types.Object, bake types.Bool) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var e environmentModel
	diags.Append(o.As(ctx, &e, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})...)
	at := path.Root("environment")
	diags.Append(validateVolume(ctx, at.AtName("volume"), e.Volume)...)
	if !e.Spot.ValueBool() {
		return diags
	}
	switch bakes := bake.ValueBool() || bake.IsNull() && kind == pipeline.TypeAcceptance; {
	case kind == pipeline.TypeProduction || e.Keep.ValueBool():
		diags.AddAttributeError(at.AtName("spot"), "Environment is persistent", "AWS ends spot instances when it needs their capacity. Remove spot, or set keep = false.")
	case bakes && !bake.IsUnknown():
		diags.AddAttributeError(at.AtName("spot"), "Stage bakes", "An image is made of a stopped instance, and AWS does not stop a spot instance. Remove spot, or set bake = false.")
	}
	return diags
}
