// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// An environment behind a listener that exists has two rules of it, and nothing else of the
// load balancer is its own. The live rule sends requests to the fleet that serves; there is
// none before the first fleet serves, so that whatever answered before does until then. The
// rule for tests, one priority before it, takes requests that have a header which nobody else
// knows. Launch templates, which are made before the rules, say in a tag which listener it is.

const (
	tagRule     = "penstock:rule"     // of a rule: ruleLive or ruleTest
	tagListener = "penstock:listener" // on a launch template: ARN of the listener; on a listener: the stack that may make rules there
	ruleLive    = "live"
	ruleTest    = "test"

	// candidateHeader is what requests for a fleet without traffic have, with a value of the
	// environment's own.
	candidateHeader = "X-Penstock-Candidate"
)

// placeTags are those of a launch template that say what an environment has beside its fleets.
func placeTags(r pipeline.FleetRequest) map[string]string {
	tags := map[string]string{}
	if r.Rule != nil {
		tags[tagListener] = r.Rule.Listener
	}
	if r.DNS != nil {
		tags[tagZone], tags[tagName] = r.DNS.Zone, r.DNS.Name
	}
	return tags
}

// beside is what an environment has beside its fleets.
type beside struct {
	listeners []string // ARNs, of which it has rules
	names     []pipeline.AliasRecord
}

// beside returns what the launch templates of an environment say that it has beside its fleets.
func (b *balancers) beside(ctx context.Context, environment string) (has beside, err error) {
	out, err := b.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{
		Filters: []ec2types.Filter{b.stack.Mine(), stack.Filter("tag:"+TagEnvironment, environment)},
	})
	if err != nil {
		return has, cloud.Fault(ctx, "list launch templates", err)
	}
	for _, t := range out.LaunchTemplates {
		if listener := stack.Tag(t.Tags, tagListener); listener != "" && !slices.Contains(has.listeners, listener) {
			has.listeners = append(has.listeners, listener)
		}
		name := pipeline.AliasRecord{Zone: stack.Tag(t.Tags, tagZone), Name: stack.Tag(t.Tags, tagName)}
		if name.Name != "" && !slices.Contains(has.names, name) {
			has.names = append(has.names, name)
		}
	}
	return has, nil
}

// behind finds what an environment has of a listener that exists: its rules, as a balancer; nil
// where the listener is gone.
func (b *balancers) behind(ctx context.Context, environment, listener string) (*balancer, error) {
	op := "read listener of environment " + environment
	out, err := b.client.DescribeListeners(ctx, &elb.DescribeListenersInput{ListenerArns: []string{listener}})
	if cloud.IsNotFound(err) || err == nil && len(out.Listeners) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	l := out.Listeners[0]
	lbs, err := b.client.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{aws.ToString(l.LoadBalancerArn)}})
	if err != nil || len(lbs.LoadBalancers) == 0 {
		return nil, cloud.Fault(ctx, op, err)
	}
	lb := &balancer{
		arn: aws.ToString(l.LoadBalancerArn), dns: aws.ToString(lbs.LoadBalancers[0].DNSName), zone: aws.ToString(lbs.LoadBalancers[0].CanonicalHostedZoneId),
		given: &given{listener: l, balancer: lbs.LoadBalancers[0]}, liveAt: front{port: int(aws.ToInt32(l.Port))},
	}
	if l.Protocol == types.ProtocolEnumHttps && len(l.Certificates) > 0 {
		lb.liveAt.certificate = aws.ToString(l.Certificates[0].CertificateArn)
	}
	if lb.given.rules, err = b.rules(ctx, listener); err != nil {
		return nil, err
	}
	return lb, b.own(ctx, environment, lb)
}

// rules lists the rules of a listener.
func (b *balancers) rules(ctx context.Context, listener string) (list []types.Rule, err error) {
	pages := elb.NewDescribeRulesPaginator(b.client, &elb.DescribeRulesInput{ListenerArn: aws.String(listener)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list rules of listener "+listener, err)
		}
		list = append(list, page.Rules...)
	}
	return list, nil
}

// taggedAtOnce is how many things Elastic Load Balancing tells the tags of in one request.
const taggedAtOnce = 20

// own finds which rules of a listener are an environment's, by their tags. Of several live
// ones, which a process left that moved the rule to another priority, one is taken.
func (b *balancers) own(ctx context.Context, environment string, lb *balancer) error {
	byARN := map[string]types.Rule{}
	var arns []string
	for _, r := range lb.given.rules {
		if !aws.ToBool(r.IsDefault) {
			byARN[aws.ToString(r.RuleArn)] = r
			arns = append(arns, aws.ToString(r.RuleArn))
		}
	}
	for chunk := range slices.Chunk(arns, taggedAtOnce) {
		out, err := b.client.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: chunk})
		if err != nil {
			return cloud.Fault(ctx, "read tags of rules", err)
		}
		for _, d := range out.TagDescriptions {
			tags := map[string]string{}
			for _, t := range d.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			if tags[stack.TagStack] != b.stack.Settings.Stack || tags[TagEnvironment] != environment {
				continue
			}
			rule := byARN[aws.ToString(d.ResourceArn)]
			lb.given.own = append(lb.given.own, rule)
			switch {
			case tags[tagRule] == ruleTest:
				lb.test, lb.given.secret = aws.ToString(rule.RuleArn), secretOf(rule)
			case lb.live == "":
				lb.live, lb.liveAt.rule, lb.weights = aws.ToString(rule.RuleArn), ruleOf(rule, aws.ToString(lb.given.listener.ListenerArn)), weights(rule.Actions)
			}
		}
	}
	return nil
}

// given is a listener that exists, of which an environment has rules.
type given struct {
	listener types.Listener
	balancer types.LoadBalancer
	rules    []types.Rule // all of the listener
	own      []types.Rule // of the environment
	secret   string       // that requests have for the rule for tests
}

// at returns the rule with a priority; nil for none.
func (g *given) at(priority int) *types.Rule {
	for _, r := range g.rules {
		if aws.ToString(r.Priority) == fmt.Sprint(priority) {
			return &r
		}
	}
	return nil
}

// mine reports whether a rule is the environment's.
func (g *given) mine(r types.Rule) bool {
	return slices.ContainsFunc(g.own, func(o types.Rule) bool { return aws.ToString(o.RuleArn) == aws.ToString(r.RuleArn) })
}

// note takes note of a rule that was made or changed.
func (g *given) note(r types.Rule) {
	g.forget(aws.ToString(r.RuleArn))
	g.rules, g.own = append(g.rules, r), append(g.own, r)
}

// forget takes note of a rule that was removed.
func (g *given) forget(arn string) {
	same := func(r types.Rule) bool { return aws.ToString(r.RuleArn) == arn }
	g.rules, g.own = slices.DeleteFunc(slices.Clone(g.rules), same), slices.DeleteFunc(slices.Clone(g.own), same)
}

// ruleOf reads of a rule what an environment says of its own.
func ruleOf(r types.Rule, listener string) *pipeline.ListenerRule {
	rule := &pipeline.ListenerRule{Listener: listener, Priority: number(aws.ToString(r.Priority))}
	for _, c := range r.Conditions {
		switch {
		case c.HostHeaderConfig != nil && len(c.HostHeaderConfig.Values) > 0:
			rule.Host = c.HostHeaderConfig.Values[0]
		case c.PathPatternConfig != nil && len(c.PathPatternConfig.Values) > 0:
			rule.Path = c.PathPatternConfig.Values[0]
		}
	}
	return rule
}

// secretOf reads of a rule for tests the value of its header.
func secretOf(r types.Rule) string {
	for _, c := range r.Conditions {
		if c.HttpHeaderConfig != nil && len(c.HttpHeaderConfig.Values) > 0 {
			return c.HttpHeaderConfig.Values[0]
		}
	}
	return ""
}

// conditions are those of the live rule.
func conditions(r *pipeline.ListenerRule) (list []types.RuleCondition) {
	if r.Host != "" {
		list = append(list, types.RuleCondition{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: []string{r.Host}}})
	}
	if r.Path != "" {
		list = append(list, types.RuleCondition{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{r.Path}}})
	}
	return list
}

// testConditions are those of the rule for tests: any host, as the name may lead elsewhere yet.
func testConditions(r *pipeline.ListenerRule, secret string) []types.RuleCondition {
	header := types.RuleCondition{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{
		HttpHeaderName: aws.String(candidateHeader), Values: []string{secret},
	}}
	return append(conditions(&pipeline.ListenerRule{Path: r.Path}), header)
}

// try sends the requests of tests to a target group, and no longer where they went before.
func (b *balancers) try(ctx context.Context, lb *balancer, r pipeline.FleetRequest, target string) error {
	shares := map[string]int32{target: 1}
	if lb.given == nil {
		return b.point(ctx, lb.test, shares)
	}
	secret := cmp.Or(lb.given.secret, rand.Text())
	if lb.test != "" && ruleAt(lb.given.own, lb.test) != r.Rule.Priority-1 {
		if err := b.untry(ctx, lb); err != nil {
			return err
		}
	}
	rule, err := b.putRule(ctx, lb, lb.test, ruleTest, r.Rule.Priority-1, testConditions(r.Rule, secret), shares, b.tags(ctx, r))
	if err != nil {
		return err
	}
	lb.test, lb.given.secret = aws.ToString(rule.RuleArn), cmp.Or(secretOf(rule), secret)
	return nil
}

// untry sends the requests of tests nowhere.
func (b *balancers) untry(ctx context.Context, lb *balancer) error {
	if lb.given == nil {
		return b.point(ctx, lb.test, nil)
	}
	arn := lb.test
	lb.test = ""
	return b.deleteRule(ctx, lb, arn)
}

// ruleAt returns the priority of one of the rules.
func ruleAt(rules []types.Rule, arn string) int {
	for _, r := range rules {
		if aws.ToString(r.RuleArn) == arn {
			return number(aws.ToString(r.Priority))
		}
	}
	return 0
}

// send sends the live requests to target groups, by shares, and moves the endpoint. Without
// shares a rule is removed: the listener's other rules have the requests then. A rule gets
// another priority by one more rule, which has the requests before the old one goes: nothing
// else of AWS's lets a role move its own rules alone.
func (b *balancers) send(ctx context.Context, lb *balancer, at front, shares map[string]int32, tags []types.Tag) error {
	if lb.given == nil {
		return b.pointAt(ctx, lb.live, at, shares)
	}
	if at.rule == nil || len(shares) == 0 {
		return b.unrule(ctx, lb, "")
	}
	had := lb.live
	if had != "" && lb.liveAt.rule.Priority != at.rule.Priority {
		had = ""
	}
	rule, err := b.putRule(ctx, lb, had, ruleLive, at.rule.Priority, conditions(at.rule), shares, tags)
	if err != nil {
		return err
	}
	lb.live, lb.liveAt = aws.ToString(rule.RuleArn), at
	return b.unrule(ctx, lb, lb.live)
}

// unrule removes the live rules of an environment but one.
func (b *balancers) unrule(ctx context.Context, lb *balancer, but string) error {
	for _, r := range lb.given.own {
		if arn := aws.ToString(r.RuleArn); arn != but && arn != lb.test {
			if err := b.deleteRule(ctx, lb, arn); err != nil {
				return err
			}
		}
	}
	lb.live = but
	return nil
}

// share sends the live requests to target groups, by shares, where they are sent already.
func (b *balancers) share(ctx context.Context, lb *balancer, at front, shares map[string]int32, tags []types.Tag) error {
	switch {
	case lb.given == nil:
		return b.point(ctx, lb.live, shares)
	case lb.live == "": // somebody has removed the rule
		return b.send(ctx, lb, at, shares, tags)
	}
	return b.send(ctx, lb, lb.liveAt, shares, tags)
}

// opRule is what is done to rules of a listener.
const opRule = "set rule of listener"

// putRule makes a rule, or changes one. A rule of the environment that has the priority
// already, as one that a process made which died, is changed.
func (b *balancers) putRule(ctx context.Context, lb *balancer, arn, kind string, priority int, where []types.RuleCondition, shares map[string]int32, tags []types.Tag) (types.Rule, error) {
	if arn == "" {
		if there := lb.given.at(priority); there != nil && lb.given.mine(*there) {
			arn = aws.ToString(there.RuleArn)
		}
	}
	if arn != "" {
		out, err := b.client.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: aws.String(arn), Conditions: where, Actions: forward(shares)})
		if err != nil {
			return types.Rule{}, cloud.Fault(ctx, opRule, err)
		}
		lb.given.note(out.Rules[0])
		return out.Rules[0], nil
	}
	listener := aws.ToString(lb.given.listener.ListenerArn)
	out, err := b.client.CreateRule(ctx, &elb.CreateRuleInput{
		ListenerArn: aws.String(listener), Priority: aws.Int32(int32(priority)), Conditions: where, Actions: forward(shares),
		Tags: append(slices.Clone(tags), types.Tag{Key: aws.String(tagRule), Value: aws.String(kind)}),
	})
	if cloud.Is(err, "PriorityInUse") { // by another one, or by the request before, whose answer was lost
		return b.taken(ctx, lb, priority, tags, err)
	}
	if err != nil {
		return types.Rule{}, ruleFault(ctx, listener, err)
	}
	lb.given.note(out.Rules[0])
	return out.Rules[0], nil
}

// taken returns the rule that has a priority, where it is the environment's.
func (b *balancers) taken(ctx context.Context, lb *balancer, priority int, tags []types.Tag, cause error) (types.Rule, error) {
	environment := ""
	for _, t := range tags {
		if aws.ToString(t.Key) == TagEnvironment {
			environment = aws.ToString(t.Value)
		}
	}
	now, err := b.behind(ctx, environment, aws.ToString(lb.given.listener.ListenerArn))
	if err != nil {
		return types.Rule{}, err
	}
	if now != nil {
		if there := now.given.at(priority); there != nil && now.given.mine(*there) {
			lb.given.note(*there)
			return *there, nil
		}
	}
	return types.Rule{}, pipeline.Errorf(pipeline.CodeConflict, opRule, "environment.priority: another rule of the listener has taken priority %d meanwhile: %w", priority, cause).
		WithHint("Set environment.priority to a free priority. The one before it must be free, too.")
}

func (b *balancers) deleteRule(ctx context.Context, lb *balancer, arn string) error {
	lb.given.forget(arn)
	_, err := b.client.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: aws.String(arn)})
	if err != nil && !cloud.IsNotFound(err) {
		return cloud.Fault(ctx, "remove rule of listener", err)
	}
	return nil
}

// ruleFault explains what it takes to make rules at a listener.
func ruleFault(ctx context.Context, listener string, err error) error {
	fault := cloud.Fault(ctx, opRule, err)
	if pipeline.CodeOf(fault) != pipeline.CodeNotAllowed {
		return fault
	}
	return pipeline.Errorf(pipeline.CodeNotAllowed, opRule, "environment.listener_arn %q: %w", listener, err).
		WithHint("Give the listener the tag %s with the name of the stack, which lets deployers make rules there.", tagListener)
}

// leave removes all rules of an environment at a listener.
func (b *balancers) leave(ctx context.Context, lb *balancer) error {
	for _, r := range lb.given.own {
		if err := b.deleteRule(ctx, lb, aws.ToString(r.RuleArn)); err != nil {
			return err
		}
	}
	return nil
}
