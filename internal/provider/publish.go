// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"regexp"

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

// publishModel says where a baked image is copied, and with which accounts it is
// shared.
type publishModel struct {
	Regions        types.List      `tfsdk:"regions"`
	KMSKeys        types.Map       `tfsdk:"kms_keys"`
	ShareWith      *shareWithModel `tfsdk:"share_with"`
	Parameter      types.String    `tfsdk:"ssm_parameter"`
	CopyWithin     types.String    `tfsdk:"copy_within"`
	DeprecateAfter types.String    `tfsdk:"deprecate_after"`
	Protected      types.Bool      `tfsdk:"deregistration_protection"`
	KeepShared     types.Bool      `tfsdk:"keep_shared"`
}

type shareWithModel struct {
	Accounts      types.List `tfsdk:"accounts"`
	Organizations types.List `tfsdk:"organizations"`
	Units         types.List `tfsdk:"organizational_units"`
}

var (
	regionPattern  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	orgPattern     = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]+$`)
	unitPattern    = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]+/ou-[a-z0-9-]+$`)
)

func publishAttribute() schema.SingleNestedAttribute {
	list := func(text string, each *regexp.Regexp, what string) schema.ListAttribute {
		return schema.ListAttribute{
			Optional: true, ElementType: types.StringType, MarkdownDescription: text,
			Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.UniqueValues(), listvalidator.ValueStringsAre(stringvalidator.RegexMatches(each, what))},
		}
	}
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: "Where the newest image is copied, and who may launch it. A change bakes no new image, and undoes whatever it no longer says. On AWS.",
		Attributes: map[string]schema.Attribute{
			"regions":  list("Regions that get a copy, besides the provider's.", regionPattern, "must be a region, as in eu-west-2"),
			"kms_keys": schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "KMS keys that encrypt the copies, by region. Default: the account's default key for EBS there."},
			"share_with": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "Who else may launch the image and its copies. Needs `kms_key`, and a key in `kms_keys` for each region: Penstock grants their use to accounts. For organizations, the policy of the key must grant it.",
				Attributes: map[string]schema.Attribute{
					"accounts":             list("Account IDs.", accountPattern, "must be an account's ID of 12 digits"),
					"organizations":        list("ARNs of organizations.", orgPattern, "must be the ARN of an organization"),
					"organizational_units": list("ARNs of organizational units.", unitPattern, "must be the ARN of an organizational unit"),
				},
			},
			"ssm_parameter":             optional("Name of an SSM parameter of data type `aws:ec2:image` for the ID of the newest image, in each region. The deployer role of the stack may write parameters below `/penstock/`, and below the path that `penstock bootstrap --parameter-path` gives.", stringvalidator.RegexMatches(regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`), "must begin with a slash and have letters, digits, and ._-/")),
			"copy_within":               optional("How soon AWS must finish a copy: 15 minutes to 48 hours, in steps of 15 minutes, such as `30m` or `1h15m`. AWS bills each gigabyte that it copies so. Default: AWS copies when it can.", isCopyTime(), stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName("regions"))),
			"deprecate_after":           optional("How long after the bake the image is deprecated. That hides it from the lists of other accounts.", isDuration()),
			"deregistration_protection": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether AWS refuses to deregister the image. Penstock lifts the protection once nothing needs the image. Default: false."},
			"keep_shared":               schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether an image stays for as long as others may launch it, even if the resource is destroyed. Default: false."},
		},
	}
}

// validatePublish finds keys of regions without a copy.
func validatePublish(ctx context.Context, o types.Object) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	var m publishModel
	if diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{UnhandledNullAsEmpty: true, UnhandledUnknownAsEmpty: true})...); diags.HasError() || m.Regions.IsUnknown() || m.KMSKeys.IsUnknown() {
		return diags
	}
	regions := map[attr.Value]bool{}
	for _, r := range m.Regions.Elements() {
		regions[r] = true
	}
	for region := range m.KMSKeys.Elements() {
		if !regions[types.StringValue(region)] && !regions[types.StringUnknown()] {
			diags.AddAttributeError(path.Root("publish").AtName("kms_keys"), "Key of a region without a copy",
				fmt.Sprintf("kms_keys has a key for %q, which is not in regions. Add the region, or remove the key.", region))
		}
	}
	return diags
}

func expandPublish(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.Publication {
	if o.IsNull() {
		return nil
	}
	var m publishModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	p := &pipeline.Publication{
		KMSKeys: expandStrings(ctx, m.KMSKeys, diags), Parameter: m.Parameter.ValueString(), DeprecateAfter: expandDuration(m.DeprecateAfter),
		CopyWithin: expandDuration(m.CopyWithin),
		Protected:  m.Protected.ValueBool(), KeepShared: m.KeepShared.ValueBool(),
	}
	diags.Append(m.Regions.ElementsAs(ctx, &p.Regions, false)...)
	if s := m.ShareWith; s != nil {
		diags.Append(s.Accounts.ElementsAs(ctx, &p.Accounts, false)...)
		diags.Append(s.Organizations.ElementsAs(ctx, &p.Organizations, false)...)
		diags.Append(s.Units.ElementsAs(ctx, &p.Units, false)...)
	}
	return p
}

func flattenPublish(ctx context.Context, p *pipeline.Publication, attrTypes map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if p == nil {
		return types.ObjectNull(attrTypes)
	}
	m := publishModel{
		Regions: stringList(ctx, p.Regions, diags), KMSKeys: flattenStrings(p.KMSKeys), Parameter: orNull(p.Parameter), DeprecateAfter: flattenDuration(p.DeprecateAfter),
		CopyWithin: flattenDuration(p.CopyWithin),
		Protected:  boolOrNull(p.Protected), KeepShared: boolOrNull(p.KeepShared),
	}
	if p.Shared() {
		m.ShareWith = &shareWithModel{stringList(ctx, p.Accounts, diags), stringList(ctx, p.Organizations, diags), stringList(ctx, p.Units, diags)}
	}
	o, d := types.ObjectValueFrom(ctx, attrTypes, m)
	diags.Append(d...)
	return o
}

// stringList returns null for no values.
func stringList(ctx context.Context, values []string, diags *diag.Diagnostics) types.List {
	if len(values) == 0 {
		return types.ListNull(types.StringType)
	}
	list, d := types.ListValueFrom(ctx, types.StringType, values)
	diags.Append(d...)
	return list
}

func boolOrNull(b bool) types.Bool {
	if !b {
		return types.BoolNull()
	}
	return types.BoolValue(true)
}
