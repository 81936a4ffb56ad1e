// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

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

// aliasModel is a DNS name that leads to an environment.
type aliasModel struct {
	Zone types.String `tfsdk:"zone_id"`
	Name types.String `tfsdk:"name"`
}

// The bounds of environment.priority: AWS's own, and one before it is the rule for tests.
const (
	leastPriority = 2
	mostPriority  = 50000
)

var (
	isListener = stringvalidator.RegexMatches(regexp.MustCompile(`^arn:[a-z-]+:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:listener/app/[^/]+/[0-9a-f]+/[0-9a-f]+$`),
		`must be the ARN of a listener of an application load balancer, such as "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/shop/0123456789abcdef/0123456789abcdef"`)
	isHostPattern = stringvalidator.RegexMatches(regexp.MustCompile(`^[A-Za-z0-9*?-]+(\.[A-Za-z0-9*?-]+)+$`), `must be a host name, in which * and ? stand for others, such as "shop.example.com"`)
	isPathPattern = stringvalidator.RegexMatches(regexp.MustCompile(`^/[A-Za-z0-9_.$/~"'@:+&*?-]*$`), `must be a path, in which * and ? stand for others, such as "/shop/*"`)
	isZone        = stringvalidator.RegexMatches(regexp.MustCompile(`^Z[A-Z0-9]{1,31}$`), `must be the ID of a hosted zone, such as "Z0123456789ABCDEFGHIJ"`)
)

// maxAlias leaves room for the name of the record that says whose a name is.
const maxAlias = 240

var label = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

func isDNSName() validator.String {
	return check{"a DNS name", func(s string) error {
		if len(s) > maxAlias {
			return fmt.Errorf("%q has %d characters, and a name may have %d: shorten it", s, len(s), maxAlias)
		}
		labels := strings.Split(s, ".")
		for _, l := range labels {
			if !label.MatchString(l) {
				return fmt.Errorf("%q is no DNS name: write it in lower case, without a dot at its end, as in \"shop.example.com\"", s)
			}
		}
		if len(labels) < 2 {
			return errors.New("write the whole name, with that of the hosted zone, as in \"shop.example.com\"")
		}
		return nil
	}}
}

// listenerAttributes are the arguments by which an environment is behind a listener that exists,
// and has a name.
func listenerAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"listener_arn": optional("ARN of a listener of HTTP or HTTPS of an application load balancer that exists, in the stack's VPC. A persistent environment then has no load balancer of its own, but rules of that listener, "+
			"with `priority` and the one before it, and target groups; nothing else there is changed. The listener needs the tag `penstock:listener` with the stack's name, and the security groups of the instances must let the load balancer in. "+
			"Steps that test a build reach it by a header, which checks and loads send by themselves and commands find in `PENSTOCK_ENDPOINT_HEADER`. "+
			"A stage whose environment serves can't move to another listener, or to a load balancer of its own. On AWS. Default: a load balancer of its own.", isListener),
		"host":     optional("Host name of the requests that are the environment's, in which `*` and `?` stand for others. With `listener_arn`. A change takes effect with a new deployment.", stringvalidator.LengthBetween(1, 128), isHostPattern),
		"path":     optional("Path of the requests that are the environment's, in which `*` and `?` stand for others. The service gets the whole path. With `listener_arn`. A change takes effect with a new deployment.", stringvalidator.LengthBetween(1, 128), isPathPattern),
		"priority": schema.Int64Attribute{Optional: true, Validators: []validator.Int64{int64validator.Between(leastPriority, mostPriority)}, MarkdownDescription: "Priority of the rule, from 2 to 50000: the rule with the lowest that fits gets a request. The one before it must be free, too: it is that of the rule for tests. With `listener_arn`. A change takes effect with a new deployment."},
		"dns": schema.SingleNestedAttribute{
			Optional: true, MarkdownDescription: "A name of Route 53 that leads to the load balancer of a persistent environment, as an alias record. It is made where no record of that name exists, and removed with the environment; a TXT record beside it says whose it is. " +
				"The stack must be given the zone: see `--hosted-zones` of `penstock bootstrap`. A change takes effect with a new deployment. On AWS.",
			Attributes: map[string]schema.Attribute{
				"zone_id": required("ID of the hosted zone.", isZone),
				"name":    required("The whole name, such as `shop.example.com`. The environment's endpoint has it.", isDNSName()),
			},
		},
	}
}

// withListener adds those arguments to the others of an environment.
func withListener(attributes map[string]schema.Attribute) map[string]schema.Attribute {
	maps.Copy(attributes, listenerAttributes())
	return attributes
}

// beside are the arguments that a load balancer of the environment's own has, and a listener that
// exists does not.
var beside = map[string]string{
	"port": "the listener has its own", "certificate": "the listener has its own", "load_balancer": "the load balancer stays as it is", "address": "the load balancer has its own",
}

// validateListener finds arguments of a listener that is not named, or that are missing, and those
// that contradict one.
func validateListener(at path.Path, o types.Object, e environmentModel) (diags diag.Diagnostics) {
	set := func(name string) bool { return !o.Attributes()[name].IsNull() }
	if !set("listener_arn") {
		for _, name := range []string{"host", "path", "priority"} {
			if set(name) {
				diags.AddAttributeError(at.AtName(name), "No listener", fmt.Sprintf("environment.%s is about a rule of a listener, and none is named. Set listener_arn, or remove %s.", name, name))
			}
		}
		return diags
	}
	if !set("host") && !set("path") {
		diags.AddAttributeError(at.AtName("listener_arn"), "Rule without a condition",
			fmt.Sprintf("environment.listener_arn %q: nothing says which of the listener's requests are the environment's. Set host, path or both.", e.Listener.ValueString()))
	}
	if !set("priority") {
		diags.AddAttributeError(at.AtName("listener_arn"), "Rule without a priority",
			fmt.Sprintf("environment.listener_arn %q: a rule of a listener needs a priority. Set priority to one that is free, with the one before it.", e.Listener.ValueString()))
	}
	for _, name := range []string{"port", "certificate", "load_balancer", "address"} {
		if set(name) {
			diags.AddAttributeError(at.AtName(name), "Argument of another load balancer",
				fmt.Sprintf("environment.%s %s has no meaning with listener_arn: %s. Remove one of the two.", name, o.Attributes()[name], beside[name]))
		}
	}
	return diags
}

func expandRule(e environmentModel) *pipeline.ListenerRule {
	if e.Listener.IsNull() {
		return nil
	}
	return &pipeline.ListenerRule{Listener: e.Listener.ValueString(), Host: e.Host.ValueString(), Path: e.Path.ValueString(), Priority: int(e.Priority.ValueInt64())}
}

// flattenRule fills in the arguments of a listener that exists.
func flattenRule(r *pipeline.ListenerRule, m *environmentModel) {
	if r != nil {
		m.Listener, m.Host, m.Path, m.Priority = orNull(r.Listener), orNull(r.Host), orNull(r.Path), intOrNull(r.Priority)
	}
}

func expandAlias(ctx context.Context, o types.Object, diags *diag.Diagnostics) *pipeline.AliasRecord {
	if o.IsNull() {
		return nil
	}
	var m aliasModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return &pipeline.AliasRecord{Zone: m.Zone.ValueString(), Name: m.Name.ValueString()}
}

func flattenAlias(ctx context.Context, a *pipeline.AliasRecord, of attr.Type, diags *diag.Diagnostics) types.Object {
	attributes := of.(types.ObjectType).AttrTypes
	if a == nil {
		return types.ObjectNull(attributes)
	}
	o, d := types.ObjectValueFrom(ctx, attributes, aliasModel{Zone: orNull(a.Zone), Name: orNull(a.Name)})
	diags.Append(d...)
	return o
}
