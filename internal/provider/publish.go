// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
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

// placementModel says where an image is copied, and with which accounts it is shared.
type placementModel struct {
	Regions        types.List      `tfsdk:"regions"`
	KMSKeys        types.Map       `tfsdk:"kms_keys"`
	ShareWith      *shareWithModel `tfsdk:"share_with"`
	CopyWithin     types.String    `tfsdk:"copy_within"`
	DeprecateAfter types.String    `tfsdk:"deprecate_after"`
	Protected      types.Bool      `tfsdk:"deregistration_protection"`
	KeepShared     types.Bool      `tfsdk:"keep_shared"`
}

// publishModel is what a baked image publishes.
type publishModel struct {
	placementModel
	Parameter types.String `tfsdk:"ssm_parameter"`
	Adopt     types.Bool   `tfsdk:"adopt"`
	OnRemoval types.String `tfsdk:"on_removal"`
}

// stagePublishModel is what a stage publishes.
type stagePublishModel struct {
	placementModel
	Channel   types.String `tfsdk:"channel"`
	Adopt     types.Bool   `tfsdk:"adopt"`
	OnRemoval types.String `tfsdk:"on_removal"`
	Keep      types.Int64  `tfsdk:"keep"`
}

type shareWithModel struct {
	Accounts      types.List `tfsdk:"accounts"`
	Organizations types.List `tfsdk:"organizations"`
	Units         types.List `tfsdk:"organizational_units"`
}

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	orgPattern     = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]+$`)
	unitPattern    = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]+/ou-[a-z0-9-]+$`)
)

// publishAttribute is publish of a baked image.
func publishAttribute() schema.SingleNestedAttribute {
	attributes := placementAttributes("the newest image", "Needs `kms_key`, and a key in `kms_keys` for each region")
	attributes["ssm_parameter"] = optional("Name of an SSM parameter of data type `aws:ec2:image` for the ID of the newest image, in each region. It is written once the image is available in all of them. The deployer role of the stack may write parameters below `/penstock/`, and below the path that `penstock bootstrap --parameter-path` gives.",
		stringvalidator.RegexMatches(regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`), "must begin with a slash and have letters, digits, and ._-/"))
	return schema.SingleNestedAttribute{
		Optional: true, Attributes: attributes,
		MarkdownDescription: "Where the newest image is copied, and who may launch it. This follows bakes, whether anything tests them or not: what passed is published by `publish` of a `penstock_stage`. A change bakes no new image, and undoes whatever it no longer says. On AWS.",
	}
}

// stagePublishAttribute is publish of a stage.
func stagePublishAttribute() schema.SingleNestedAttribute {
	attributes := placementAttributes("the image", "Needs an image that is encrypted with a key of yours (`kms_key` of the baked image that it is made from), and a key in `kms_keys` for each region")
	attributes["channel"] = optional("Name that leads to the image. On AWS it is an SSM parameter of data type `aws:ec2:image` in each region: the path of one, or a last part, such that `stable` becomes `/penstock/STACK/PIPELINE/stable`. Its labels name the builds, so that `NAME:b-3f2a1bc9d0` is the image of one. On the local platform, `penstock images --channel` reads it. Default: the stage's name.",
		stringvalidator.LengthAtMost(900), stringvalidator.RegexMatches(regexp.MustCompile(`^((/[A-Za-z0-9_.-]+)+|[A-Za-z0-9][A-Za-z0-9_.-]*)$`), "must be a path that begins with a slash, or a name of letters, digits, and ._-"))
	attributes["keep"] = schema.Int64Attribute{
		Optional: true, Validators: []validator.Int64{int64validator.Between(0, 100)},
		MarkdownDescription: "How many images stay that the channel named before, for those who still run them. On AWS they are deprecated, and an image that something uses stays anyhow. Default: 1.",
	}
	return schema.SingleNestedAttribute{
		Optional: true, Attributes: attributes,
		MarkdownDescription: "Publishes the image of the build that the stage gives out: the application image if a stage has baked one, else the base image. The image is copied and shared first. Once it is available everywhere, the channel leads to it. A failed run moves nothing. A rollback, a pin to an older build, and a rejection move the channel back. If no build is left that passed, the channel is removed.",
	}
}

// placementAttributes say where an image is copied, and who may launch it.
func placementAttributes(image, needs string) map[string]schema.Attribute {
	list := func(text string, each validator.String) schema.ListAttribute {
		return schema.ListAttribute{
			Optional: true, ElementType: types.StringType, MarkdownDescription: text,
			Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.UniqueValues(), listvalidator.ValueStringsAre(each)},
		}
	}
	return map[string]schema.Attribute{
		"regions":  list("Regions that get a copy of "+image+", besides the provider's.", isRegion()),
		"kms_keys": schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "KMS keys that encrypt the copies, by region. Default: the account's default key for EBS there."},
		"share_with": schema.SingleNestedAttribute{
			Optional: true, MarkdownDescription: "Who else may launch the image and its copies. " + needs + ": Penstock grants their use to accounts. For organizations, the policy of the key must grant it.",
			Attributes: map[string]schema.Attribute{
				"accounts":             list("Account IDs.", stringvalidator.RegexMatches(accountPattern, "must be an account's ID of 12 digits")),
				"organizations":        list("ARNs of organizations.", stringvalidator.RegexMatches(orgPattern, "must be the ARN of an organization")),
				"organizational_units": list("ARNs of organizational units.", stringvalidator.RegexMatches(unitPattern, "must be the ARN of an organizational unit")),
			},
		},
		"copy_within":               optional("How soon AWS must finish a copy: 15 minutes to 48 hours, in steps of 15 minutes, such as `30m` or `1h15m`. AWS bills each gigabyte that it copies so. Default: AWS copies when it can.", isCopyTime(), stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName("regions"))),
		"deprecate_after":           optional("How long after its bake the image is deprecated. That hides it from the lists of other accounts.", isDuration()),
		"deregistration_protection": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether AWS refuses to deregister the image. Penstock lifts the protection once nothing needs the image. Default: false."},
		"keep_shared":               schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether an image stays for as long as others may launch it, even if the resource is destroyed. Default: false."},
		"adopt":                     schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether a parameter, or a channel, that something else made may be taken over. Else it is refused. Default: false."},
		"on_removal":                optional("What becomes of the name when `publish`, or the resource, is removed. `delete` removes it. `keep` leaves it as it is, with the image that it leads to, also if `publish` gets another name. It stays until something publishes by it with `adopt`. Its pipeline is destroyed only with `force_destroy`, which removes it. Default: `delete`.", stringvalidator.OneOf(onRemovalDelete, string(pipeline.OnRemovalKeep))),
	}
}

// onRemovalDelete is what a configuration calls what has no name elsewhere.
const onRemovalDelete = "delete"

// validatePublish finds keys of regions without a copy.
func validatePublish(o types.Object) (diags diag.Diagnostics) {
	if o.IsNull() || o.IsUnknown() {
		return nil
	}
	list, _ := o.Attributes()["regions"].(types.List)
	keys, _ := o.Attributes()["kms_keys"].(types.Map)
	if list.IsUnknown() || keys.IsUnknown() {
		return nil
	}
	regions := map[attr.Value]bool{}
	for _, r := range list.Elements() {
		regions[r] = true
	}
	for region := range keys.Elements() {
		if !regions[types.StringValue(region)] && !regions[types.StringUnknown()] {
			diags.AddAttributeError(path.Root("publish").AtName("kms_keys"), "Key of a region without a copy",
				fmt.Sprintf("kms_keys has a key for %q, which is not in regions. Add the region, or remove the key.", region))
		}
	}
	return diags
}

// validateCopyTime refuses a time for copies that is longer than an apply of the resource may
// take: it waits for them.
func validateCopyTime(ctx context.Context, publish types.Object, limits timeouts.Value) (diags diag.Diagnostics) {
	text, _ := publish.Attributes()["copy_within"].(types.String)
	within, err := time.ParseDuration(text.ValueString())
	if err != nil || limits.IsUnknown() {
		return nil
	}
	for name, read := range map[string]func(context.Context, time.Duration) (time.Duration, diag.Diagnostics){"create": limits.Create, "update": limits.Update} {
		if v := limits.Attributes()[name]; v != nil && v.IsUnknown() {
			continue
		}
		limit, d := read(ctx, defaultTimeout)
		if diags.Append(d...); !d.HasError() && limit <= within {
			diags.AddAttributeError(path.Root("publish").AtName("copy_within"), "Copies take longer than an apply",
				fmt.Sprintf("copy_within lets AWS take %s for a copy, and an apply of this resource ends after %s. Set timeouts.%s to more than copy_within, or copy_within to less.", text.ValueString(), pipeline.Period(limit), name))
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
	p := m.expand(ctx, diags)
	p.Channel, p.Adopt, p.OnRemoval = m.Parameter.ValueString(), m.Adopt.ValueBool(), expandOnRemoval(m.OnRemoval)
	return p
}

// defaultKept is how many images stay that a stage's channel named before, if nothing says
// another number: a rollback goes one back.
const defaultKept = 1

func expandStagePublish(ctx context.Context, o types.Object, stage string, diags *diag.Diagnostics) *pipeline.Publication {
	if o.IsNull() {
		return nil
	}
	var m stagePublishModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	p := m.expand(ctx, diags)
	p.Channel, p.Adopt, p.OnRemoval, p.Keep = cmp.Or(m.Channel.ValueString(), stage), m.Adopt.ValueBool(), expandOnRemoval(m.OnRemoval), defaultKept
	if !m.Keep.IsNull() {
		p.Keep = int(m.Keep.ValueInt64())
	}
	return p
}

func (m placementModel) expand(ctx context.Context, diags *diag.Diagnostics) *pipeline.Publication {
	p := &pipeline.Publication{
		KMSKeys: expandStrings(ctx, m.KMSKeys, diags), DeprecateAfter: expandDuration(m.DeprecateAfter), CopyWithin: expandDuration(m.CopyWithin),
		Protected: m.Protected.ValueBool(), KeepShared: m.KeepShared.ValueBool(),
	}
	diags.Append(m.Regions.ElementsAs(ctx, &p.Regions, false)...)
	if s := m.ShareWith; s != nil {
		diags.Append(s.Accounts.ElementsAs(ctx, &p.Accounts, false)...)
		diags.Append(s.Organizations.ElementsAs(ctx, &p.Organizations, false)...)
		diags.Append(s.Units.ElementsAs(ctx, &p.Units, false)...)
	}
	return p
}

func expandOnRemoval(v types.String) pipeline.OnRemoval {
	if v.ValueString() == onRemovalDelete {
		return pipeline.OnRemovalDelete
	}
	return pipeline.OnRemoval(v.ValueString())
}

func flattenPlacement(ctx context.Context, p *pipeline.Publication, diags *diag.Diagnostics) placementModel {
	m := placementModel{
		Regions: stringList(ctx, p.Regions, diags), KMSKeys: flattenStrings(p.KMSKeys), DeprecateAfter: flattenDuration(p.DeprecateAfter), CopyWithin: flattenDuration(p.CopyWithin),
		Protected: boolOrNull(p.Protected), KeepShared: boolOrNull(p.KeepShared),
	}
	if p.Shared() {
		m.ShareWith = &shareWithModel{stringList(ctx, p.Accounts, diags), stringList(ctx, p.Organizations, diags), stringList(ctx, p.Units, diags)}
	}
	return m
}

func flattenPublish(ctx context.Context, p *pipeline.Publication, attrTypes map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if p == nil {
		return types.ObjectNull(attrTypes)
	}
	m := publishModel{flattenPlacement(ctx, p, diags), orNull(p.Channel), boolOrNull(p.Adopt), orNull(string(p.OnRemoval))}
	o, d := types.ObjectValueFrom(ctx, attrTypes, m)
	diags.Append(d...)
	return o
}

func flattenStagePublish(ctx context.Context, p *pipeline.Publication, stage string, attrTypes map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if p == nil {
		return types.ObjectNull(attrTypes)
	}
	m := stagePublishModel{flattenPlacement(ctx, p, diags), orNull(p.Channel), boolOrNull(p.Adopt), orNull(string(p.OnRemoval)), types.Int64Null()}
	if p.Channel == stage {
		m.Channel = types.StringNull()
	}
	if p.Keep != defaultKept {
		m.Keep = types.Int64Value(int64(p.Keep))
	}
	o, d := types.ObjectValueFrom(ctx, attrTypes, m)
	diags.Append(d...)
	return o
}

// publishedTypes is what a stage exports of its channel.
var publishedTypes = map[string]attr.Type{
	"build": types.StringType, "image_id": types.StringType, "image_ids": types.MapType{ElemType: types.StringType},
}

func publishedAttribute() schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Computed: true, MarkdownDescription: "What the stage's channel leads to; null if it leads nowhere, or if something else has changed it.",
		Attributes: map[string]schema.Attribute{
			"build":     computed("Build whose image it is."),
			"image_id":  computed("ID of the image, in the provider's region."),
			"image_ids": schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "IDs of the image and its copies, by region; of `local` on the local platform."},
		},
	}
}

// warnStray warns of a publisher whose channel something else has changed, which the apply puts
// right.
func warnStray(st *pipeline.State, publisher string, diags *diag.Diagnostics) {
	c := st.Channels[publisher]
	if c.Stray == nil || pipeline.PublicationOf(st, publisher) == nil {
		return
	}
	leads := c.Image
	if b, ok := st.Builds[c.Build]; ok {
		leads = "the image of build " + pipeline.BuildName(b.Number, b.ID)
	}
	diags.AddAttributeWarning(path.Root("publish"), "The channel was changed by something else", fmt.Sprintf(
		"The channel %q of %s is to lead to %s, and %s.\n\nThe apply lets it lead there again.", c.Name, pipeline.DescribePublisher(publisher), leads, c.Stray))
}

// flattenPublished returns what a stage's channel leads to. What something else has changed is
// not what the stage publishes.
func flattenPublished(c *pipeline.Channel) types.Object {
	if c == nil || c.Image == "" || c.Stray != nil {
		return types.ObjectNull(publishedTypes)
	}
	return types.ObjectValueMust(publishedTypes, map[string]attr.Value{
		"build": types.StringValue(c.Build), "image_id": types.StringValue(c.Image), "image_ids": flattenStrings(c.Images),
	})
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
