// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

type notifyModel struct {
	On      types.Set    `tfsdk:"on"`
	Webhook types.String `tfsdk:"webhook_url"`
	Secret  types.String `tfsdk:"secret"`
	Slack   types.String `tfsdk:"slack_url"`
	Topic   types.String `tfsdk:"sns_topic"`
	Bus     types.String `tfsdk:"event_bus"`
	Command types.String `tfsdk:"command"`
}

var variable = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)

// isURLOrVariable accepts an http or https URL, or "$" and the name of a variable.
func isURLOrVariable() validator.String {
	return check{"an http or https URL, or $ and the name of a variable", func(s string) error {
		if variable.MatchString(s) {
			return nil
		}
		if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("it must be an http or https URL, or \"$\" and the name of the variable that holds it where notices are sent")
		}
		return nil
	}}
}

func notifyAttribute() schema.Attribute {
	arn := func(service, text string) schema.StringAttribute {
		return optional(text, stringvalidator.RegexMatches(regexp.MustCompile(`^arn:[a-z-]+:`+service+`:[a-z0-9-]+:[0-9]{12}:.+$`), "must be the ARN of a topic"))
	}
	kinds := make([]string, len(pipeline.NoticeKinds))
	for i, k := range pipeline.NoticeKinds {
		kinds[i] = string(k)
	}
	return schema.ListNestedAttribute{
		Optional:            true,
		MarkdownDescription: "Who is notified of what happens. Each target has exactly one of `webhook_url`, `slack_url`, `sns_topic`, `event_bus` and `command`. See the guide *Notices*.",
		Validators:          []validator.List{listvalidator.SizeAtLeast(1)},
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"on": schema.SetAttribute{
				Optional: true, ElementType: types.StringType, MarkdownDescription: "Kinds of notices for this target: `" + strings.Join(kinds, "`, `") + "`. Default: all.",
				Validators: []validator.Set{setvalidator.SizeAtLeast(1), setvalidator.ValueStringsAre(stringvalidator.OneOf(kinds...))},
			},
			"webhook_url": optional("URL that receives each notice by POST, as JSON. `$NAME` takes the URL from that variable of the sending process.", isURLOrVariable()),
			"secret": optional("`$NAME`: the variable of the sending process with the secret that signs the webhook's requests. The secret itself is in neither state nor ledger.",
				stringvalidator.RegexMatches(variable, "must be $ and the name of a variable, such as \"$SHOP_SECRET\": the secret itself would be in the state"),
				stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName("webhook_url"))),
			"slack_url": optional("URL of an incoming webhook of Slack or a compatible service. `$NAME` takes the URL from that variable of the sending process.", isURLOrVariable()),
			"sns_topic": arn("sns", "ARN of an SNS topic. AWS only."),
			"event_bus": optional("Name or ARN of an EventBridge bus, such as `default`. AWS only.", stringvalidator.LengthAtLeast(1)),
			"command":   optional("Command line for the shell. The sending process runs it with the notice as JSON on its standard input.", stringvalidator.LengthAtLeast(1)),
		}},
	}
}

// validateNotify checks that each target is one.
func validateNotify(ctx context.Context, list types.List, diags *diag.Diagnostics) {
	if !known(ctx, list) {
		return
	}
	for i, t := range expandNotify(ctx, list, diags) {
		set := 0
		for _, v := range []string{t.Webhook, t.Slack, t.Topic, t.EventBus, t.Command} {
			if v != "" {
				set++
			}
		}
		if set != 1 {
			diags.AddAttributeError(path.Root("notify").AtListIndex(i), "Invalid notice target",
				fmt.Sprintf("The target sets %d of webhook_url, slack_url, sns_topic, event_bus and command. Set exactly one of them, and add another element for another target.", set))
		}
	}
}

func expandNotify(ctx context.Context, list types.List, diags *diag.Diagnostics) []pipeline.NotifyTarget {
	if list.IsNull() {
		return nil
	}
	var models []notifyModel
	diags.Append(list.ElementsAs(ctx, &models, false)...)
	var targets []pipeline.NotifyTarget
	for _, m := range models {
		t := pipeline.NotifyTarget{
			Webhook: m.Webhook.ValueString(), Secret: m.Secret.ValueString(), Slack: m.Slack.ValueString(),
			Topic: m.Topic.ValueString(), EventBus: m.Bus.ValueString(), Command: m.Command.ValueString(),
		}
		if !m.On.IsNull() {
			diags.Append(m.On.ElementsAs(ctx, &t.On, false)...)
		}
		targets = append(targets, t)
	}
	return targets
}

func flattenNotify(ctx context.Context, targets []pipeline.NotifyTarget, of attr.Type, diags *diag.Diagnostics) types.List {
	element := of.(types.ListType).ElemType
	if len(targets) == 0 {
		return types.ListNull(element)
	}
	models := []notifyModel{}
	for _, t := range targets {
		m := notifyModel{
			On: types.SetNull(types.StringType), Webhook: orNull(t.Webhook), Secret: orNull(t.Secret), Slack: orNull(t.Slack),
			Topic: orNull(t.Topic), Bus: orNull(t.EventBus), Command: orNull(t.Command),
		}
		if len(t.On) > 0 {
			var d diag.Diagnostics
			m.On, d = types.SetValueFrom(ctx, types.StringType, t.On)
			diags.Append(d...)
		}
		models = append(models, m)
	}
	list, d := types.ListValueFrom(ctx, element, models)
	diags.Append(d...)
	return list
}
