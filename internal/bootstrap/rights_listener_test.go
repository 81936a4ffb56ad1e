// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// listenerRights are those of rules of listeners that exist, and of names.
func (b *rightsBed) listenerRights() map[string]right {
	none := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{StatusCode: aws.String("404")}}}
	client := elb.NewFromConfig(b.cloud.Own())
	balancer := strings.Replace(b.listener[:strings.LastIndex(b.listener, "/")], ":listener/", ":loadbalancer/", 1)
	made, err := client.CreateListener(b.Context(), &elb.CreateListenerInput{
		LoadBalancerArn: aws.String(balancer), Port: aws.Int32(8080), Protocol: elbtypes.ProtocolEnumHttp, DefaultActions: none, Tags: elbTags(map[string]string{"penstock:listener": "penstock"}),
	})
	b.must(err)
	open := aws.ToString(made.Listeners[0].ListenerArn)
	rule := func(listener string, priority int32, tags map[string]string) *elb.CreateRuleInput {
		return &elb.CreateRuleInput{
			ListenerArn: aws.String(listener), Priority: aws.Int32(priority), Actions: none, Tags: elbTags(tags),
			Conditions: []elbtypes.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &elbtypes.PathPatternConditionConfig{Values: []string{"/*"}}}},
		}
	}
	rules := map[string]string{}
	for name, tags := range map[string]map[string]string{"ours": stageTag, "theirs": {"Name": "other"}} {
		out, err := client.CreateRule(b.Context(), rule(open, int32(len(name)), tags))
		b.must(err)
		rules[name] = aws.ToString(out.Rules[0].RuleArn)
	}
	create := func(listener string, tags map[string]string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).CreateRule(b.Context(), rule(listener, 100, tags))
			return err
		}
	}
	change := func(name string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).ModifyRule(b.Context(), &elb.ModifyRuleInput{RuleArn: aws.String(rules[name]), Actions: none})
			return err
		}
	}
	remove := func(name string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).DeleteRule(b.Context(), &elb.DeleteRuleInput{RuleArn: aws.String(rules[name])})
			return err
		}
	}
	all := map[string]right{
		"make a rule at a listener that is open to it":     {"D", create(open, stageTag)},
		"make a rule without the stack's tag":              {"", create(open, map[string]string{"Name": "other"})},
		"make a rule at a listener that is not open to it": {"", create(b.stagedListener, stageTag)},
		"change a rule of the stack":                       {"D", change("ours")},
		"change another's rule":                            {"", change("theirs")},
		"remove a rule of the stack":                       {"D", remove("ours")},
		"remove another's rule":                            {"", remove("theirs")},
		"change a listener that is open to it": {"", func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).ModifyListener(b.Context(), &elb.ModifyListenerInput{ListenerArn: aws.String(open), DefaultActions: none})
			return err
		}},
		"remove a listener that is open to it": {"", func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).DeleteListener(b.Context(), &elb.DeleteListenerInput{ListenerArn: aws.String(open)})
			return err
		}},
		"open a listener to itself": {"", func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).AddTags(b.Context(), &elb.AddTagsInput{ResourceArns: []string{open}, Tags: elbTags(map[string]string{"penstock:listener": "penstock"})})
			return err
		}},
	}
	b.cloud.Given(map[string]string{"HostedZones": "arn:aws:route53:::hostedzone/Z0GIVEN", "RecordNames": "shop.example.com,_penstock.shop.example.com"})
	set := func(zone, name string, kind route53types.RRType) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := route53.NewFromConfig(cfg).ChangeResourceRecordSets(b.Context(), &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String(zone), ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{{
				Action:            route53types.ChangeActionCreate,
				ResourceRecordSet: &route53types.ResourceRecordSet{Name: aws.String(name), Type: kind, TTL: aws.Int64(60), ResourceRecords: []route53types.ResourceRecord{{Value: aws.String("192.0.2.1")}}},
			}}}})
			return err
		}
	}
	all["set a name that it was given"] = right{"D", set("Z0GIVEN", "shop.example.com", route53types.RRTypeA)}
	all["say whose a name is"] = right{"D", set("Z0GIVEN", "_penstock.shop.example.com", route53types.RRTypeTxt)}
	all["set another name of a zone that it was given"] = right{"", set("Z0GIVEN", "example.com", route53types.RRTypeA)}
	all["set a mail server of a name that it was given"] = right{"", set("Z0GIVEN", "shop.example.com", route53types.RRTypeMx)}
	all["set a name in another zone"] = right{"", set("Z0OTHER", "shop.example.com", route53types.RRTypeA)}
	return all
}
