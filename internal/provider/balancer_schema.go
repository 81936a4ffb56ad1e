// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"regexp"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// balancerModel is the load balancer of an environment.
type balancerModel struct {
	SSLPolicy    types.String `tfsdk:"ssl_policy"`
	Host         types.String `tfsdk:"host"`
	RedirectHTTP types.Bool   `tfsdk:"redirect_http"`
	LogBucket    types.String `tfsdk:"log_bucket"`
	LogPrefix    types.String `tfsdk:"log_prefix"`
}

func balancerAttribute() schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: "How the environment's load balancer behaves. A change takes effect with a new deployment. On AWS.",
		Attributes: map[string]schema.Attribute{
			"ssl_policy": optional("Security policy of HTTPS, by its name on AWS. Default: `ELBSecurityPolicy-TLS13-1-2-2021-06`, which takes TLS 1.2 and 1.3.",
				stringvalidator.RegexMatches(regexp.MustCompile(`^ELBSecurityPolicy-[A-Za-z0-9-]+$`), `must be the name of a security policy, such as "ELBSecurityPolicy-TLS13-1-2-2021-06"`)),
			"host": optional("Name that `certificate` covers, for which steps ask the next build at the test port. Default: the first name of the certificate.",
				stringvalidator.RegexMatches(regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z0-9-]+$`), `must be a DNS name in lower case, such as "shop.example.com"`)),
			"redirect_http": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether requests at port 80 are redirected to HTTPS. Needs `certificate`. Default: false."},
			"log_bucket": optional("S3 bucket for the load balancer's access log. Its policy must let Elastic Load Balancing write there. Default: no log.",
				stringvalidator.RegexMatches(regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`), "must be the name of a bucket")),
			"log_prefix": optional("Prefix of the log's objects in `log_bucket`.", stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName("log_bucket")), stringvalidator.LengthBetween(1, 255)),
		},
	}
}

func expandBalancer(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.Balancer {
	if o.IsNull() {
		return nil
	}
	var m balancerModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	b := pipeline.Balancer{SSLPolicy: m.SSLPolicy.ValueString(), Host: m.Host.ValueString(), RedirectHTTP: m.RedirectHTTP.ValueBool(), LogBucket: m.LogBucket.ValueString(), LogPrefix: m.LogPrefix.ValueString()}
	if b == (pipeline.Balancer{}) {
		return nil
	}
	return &b
}

func flattenBalancer(ctx context.Context, b *pipeline.Balancer, of attr.Type, diags *diag.Diagnostics) types.Object {
	attributes := of.(types.ObjectType).AttrTypes
	if b == nil {
		return types.ObjectNull(attributes)
	}
	o, d := types.ObjectValueFrom(ctx, attributes, balancerModel{
		SSLPolicy: orNull(b.SSLPolicy), Host: orNull(b.Host), RedirectHTTP: boolOrNull(b.RedirectHTTP), LogBucket: orNull(b.LogBucket), LogPrefix: orNull(b.LogPrefix),
	})
	diags.Append(d...)
	return o
}
