// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

// awsModel is the provider's aws argument.
type awsModel struct {
	Region               types.String `tfsdk:"region"`
	Profile              types.String `tfsdk:"profile"`
	Stack                types.String `tfsdk:"stack"`
	AssumeRole           types.List   `tfsdk:"assume_role"`
	InstanceType         types.String `tfsdk:"instance_type"`
	PublicEndpoints      types.Bool   `tfsdk:"public_endpoints"`
	InternalLoadBalancer types.Bool   `tfsdk:"internal_load_balancer"`
	DefaultTags          types.Map    `tfsdk:"default_tags"`
}

type roleModel struct {
	RoleARN     types.String `tfsdk:"role_arn"`
	SessionName types.String `tfsdk:"session_name"`
	ExternalID  types.String `tfsdk:"external_id"`
	Duration    types.String `tfsdk:"duration"`
}

func awsAttribute() schema.SingleNestedAttribute {
	text := func(description string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description, Validators: append(v, stringvalidator.LengthAtLeast(1))}
	}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "Where in AWS the ledger, the images and the environments are. Without this block, everything is in the data directory. " +
			"Credentials come from the usual places of AWS tools: environment, shared configuration, SSO, web identity, instance profile. " +
			"`AWS_ENDPOINT_URL` and the related variables are honoured.",
		Attributes: map[string]schema.Attribute{
			"region":        text("Region. Default: that of the environment or of the profile.", isRegion()),
			"profile":       text("Profile of the shared configuration."),
			"stack":         text("Name of the stack that `penstock bootstrap` made. Default: `penstock`."),
			"instance_type": text("Default type of instances. Default: `t3.small`."),
			"public_endpoints": schema.BoolAttribute{
				Optional: true, MarkdownDescription: "Whether the endpoints of single instances are their public addresses. Needed if Terraform runs outside the VPC. Default: false.",
			},
			"internal_load_balancer": schema.BoolAttribute{
				Optional: true, MarkdownDescription: "Whether load balancers can be reached only from inside the VPC. Default: false.",
			},
			"default_tags": schema.MapAttribute{
				Optional: true, ElementType: types.StringType, MarkdownDescription: "Tags for everything that Penstock creates, besides its own tags.",
			},
			"assume_role": schema.ListNestedAttribute{
				Optional: true, MarkdownDescription: "Roles to assume, one after another.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"role_arn":     schema.StringAttribute{Required: true, MarkdownDescription: "ARN of the role.", Validators: []validator.String{isRoleARN()}},
					"session_name": text("Name of the session. It appears in records of who did what. Default: `penstock`."),
					"external_id":  text("External ID that the role's trust policy requires.", isExternalID()),
					"duration":     text("Duration of the session. Default: `1h`.", isDuration()),
				}},
			},
		},
	}
}

// expandAWS reads the aws argument; nil for none. All of it must be known when
// Terraform plans, as the plan reads the ledger there.
func expandAWS(ctx context.Context, o types.Object, diags *diag.Diagnostics) *app.AWS {
	if o.IsNull() {
		return nil
	}
	if !known(ctx, o) {
		diags.AddAttributeError(path.Root("aws"), "Unknown value in aws",
			"aws must be known when Terraform plans, because the plan reads the ledger there. Use literal values or variables.")
		return nil
	}
	var m awsModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	at := &app.AWS{
		Region: m.Region.ValueString(), Profile: m.Profile.ValueString(), Stack: m.Stack.ValueString(), InstanceType: m.InstanceType.ValueString(),
		PublicEndpoints: m.PublicEndpoints.ValueBool(), InternalLoadBalancer: m.InternalLoadBalancer.ValueBool(), Tags: expandStrings(ctx, m.DefaultTags, diags),
	}
	var roles []roleModel
	if !m.AssumeRole.IsNull() {
		diags.Append(m.AssumeRole.ElementsAs(ctx, &roles, false)...)
	}
	for _, r := range roles {
		at.AssumeRoles = append(at.AssumeRoles, cloud.Role{
			ARN: r.RoleARN.ValueString(), SessionName: r.SessionName.ValueString(), ExternalID: r.ExternalID.ValueString(), Duration: expandDuration(r.Duration),
		})
	}
	return at
}
