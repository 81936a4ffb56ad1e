// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

type authorizeModel struct {
	Approve   types.Set   `tfsdk:"approve"`
	Reject    types.Set   `tfsdk:"reject"`
	Deploy    types.Set   `tfsdk:"deploy"`
	Launch    types.Set   `tfsdk:"launch"`
	Override  types.Set   `tfsdk:"override"`
	Groups    types.Map   `tfsdk:"groups"`
	People    types.Map   `tfsdk:"people"`
	Approvals types.Int64 `tfsdk:"approvals"`
	NotAuthor types.Bool  `tfsdk:"not_author"`
}

type selfServiceModel struct {
	MaxTTL      types.String `tfsdk:"max_ttl"`
	MaxPerOwner types.Int64  `tfsdk:"max_per_owner"`
}

// isEntry accepts what a list of people can name.
func isEntry() validator.String {
	return check{"a name, a pattern with * and ?, or @ and the name of a group", func(s string) error {
		switch {
		case strings.TrimSpace(s) != s, s == "":
			return fmt.Errorf("it must be a name, a pattern with * and ?, or @ and the name of a group")
		case s == "@":
			return fmt.Errorf("there is no name of a group after the @")
		}
		return nil
	}}
}

// isPerson accepts names and patterns, but no groups.
func isPerson() validator.String {
	return check{"a name, or a pattern with * and ?", func(s string) error {
		if strings.TrimSpace(s) != s || s == "" || strings.HasPrefix(s, "@") {
			return fmt.Errorf("it must be a name or a pattern with * and ?, and no group")
		}
		return nil
	}}
}

func authorizeAttribute() schema.Attribute {
	who := func(text string) schema.Attribute {
		return schema.SetAttribute{
			Optional: true, ElementType: types.StringType, MarkdownDescription: text,
			Validators: []validator.Set{setvalidator.ValueStringsAre(isEntry())},
		}
	}
	names := func(text string) schema.Attribute {
		return schema.MapAttribute{
			Optional: true, ElementType: types.SetType{ElemType: types.StringType}, MarkdownDescription: text,
			Validators: []validator.Map{
				mapvalidator.KeysAre(stringvalidator.LengthAtLeast(1), isPerson()),
				mapvalidator.ValueSetsAre(setvalidator.SizeAtLeast(1), setvalidator.ValueStringsAre(isPerson())),
			},
		}
	}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "Who may do what. Entries are names, patterns with `*` and `?`, or `@` and the name of a group. " +
			"A right without a list belongs to everybody, except `override`. An empty list grants the right to nobody. The guide *Who may do what* explains people's names on each platform.",
		Attributes: map[string]schema.Attribute{
			"approve":  who("Who may approve builds, and lift rejections. Default: everybody."),
			"reject":   who("Who may reject builds. Default: those who may approve."),
			"deploy":   who("Who may promote, roll back and retry a stage with a manual trigger or of type production, and move it by `build`; and who may pause and resume any stage. Default: everybody."),
			"launch":   who("Who may launch self-service environments, and change and end those of other people. Default: everybody."),
			"override": who("Who may let a build pass a gate that it has not passed. Default: nobody."),
			"groups":   names("Members of each group, by the group's name. A group that is not listed here is a group of the operating system, or of the system that people sign in with."),
			"people":   names("Other names of each person, by the name that the lists use: user names, ARNs, and email addresses of commit authors. Patterns are allowed."),
			"approvals": schema.Int64Attribute{
				Optional: true, Validators: []validator.Int64{int64validator.Between(1, 20)},
				MarkdownDescription: "How many people must approve a build at a stage that takes decisions. Default: 1.",
			},
			"not_author": schema.BoolAttribute{
				Optional:            true,
				MarkdownDescription: "Whether to refuse an approval from an author or committer of what the build would bring past the stage. Default: false.",
			},
		},
	}
}

func selfServiceAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: "Limits of self-service environments, whether from `penstock_self_service_env` or from `penstock env`.",
		Attributes: map[string]schema.Attribute{
			"max_ttl": optional("Longest time to live, from the launch or from the extension. Default: `168h`, a week.", isDuration()),
			"max_per_owner": schema.Int64Attribute{
				Optional: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
				MarkdownDescription: "How many one person may have at a time. Default: unlimited.",
			},
		},
	}
}

func expandAuthorization(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.Authorization {
	if o.IsNull() {
		return nil
	}
	var m authorizeModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	list := func(s types.Set) (names []string) {
		if !s.IsNull() {
			names = []string{}
			diags.Append(s.ElementsAs(ctx, &names, false)...)
		}
		return names
	}
	lists := func(m types.Map) (names map[string][]string) {
		if !m.IsNull() {
			diags.Append(m.ElementsAs(ctx, &names, false)...)
		}
		return names
	}
	return &pipeline.Authorization{
		Approve: list(m.Approve), Reject: list(m.Reject), Deploy: list(m.Deploy), Launch: list(m.Launch), Override: list(m.Override),
		Groups: lists(m.Groups), People: lists(m.People), Approvals: int(m.Approvals.ValueInt64()), NotAuthor: m.NotAuthor.ValueBool(),
	}
}

func flattenAuthorization(ctx context.Context, a *pipeline.Authorization, t map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if a == nil {
		return types.ObjectNull(t)
	}
	list := func(names []string) types.Set {
		if names == nil {
			return types.SetNull(types.StringType)
		}
		set, d := types.SetValueFrom(ctx, types.StringType, names)
		diags.Append(d...)
		return set
	}
	lists := func(names map[string][]string) types.Map {
		of := types.SetType{ElemType: types.StringType}
		if len(names) == 0 {
			return types.MapNull(of)
		}
		m, d := types.MapValueFrom(ctx, of, names)
		diags.Append(d...)
		return m
	}
	o, d := types.ObjectValueFrom(ctx, t, authorizeModel{
		Approve: list(a.Approve), Reject: list(a.Reject), Deploy: list(a.Deploy), Launch: list(a.Launch), Override: list(a.Override),
		Groups: lists(a.Groups), People: lists(a.People), Approvals: intOrNull(a.Approvals), NotAuthor: trueOrNull(a.NotAuthor),
	})
	diags.Append(d...)
	return o
}

func expandSelfService(ctx context.Context, o types.Object, diags *diag.Diagnostics) pipeline.SelfService {
	var m selfServiceModel
	if !o.IsNull() {
		diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	}
	return pipeline.SelfService{MaxTTL: expandDuration(m.MaxTTL), MaxPerOwner: int(m.MaxPerOwner.ValueInt64())}
}

func flattenSelfService(ctx context.Context, s pipeline.SelfService, t map[string]attr.Type, diags *diag.Diagnostics) types.Object {
	if s == (pipeline.SelfService{}) {
		return types.ObjectNull(t)
	}
	o, d := types.ObjectValueFrom(ctx, t, selfServiceModel{MaxTTL: flattenDuration(s.MaxTTL), MaxPerOwner: intOrNull(s.MaxPerOwner)})
	diags.Append(d...)
	return o
}
