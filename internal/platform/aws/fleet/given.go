// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// CheckRule refuses a listener of another region: CodeInvalid.
func CheckRule(r *pipeline.ListenerRule, region string) error {
	if r == nil {
		return nil
	}
	if parts := strings.Split(r.Listener, ":"); len(parts) > 3 && parts[3] != region {
		return invalid("Name a listener in the provider's region, or configure the provider for the listener's.",
			"environment.listener_arn %q: the listener is in region %s, and the instances are in %s", r.Listener, parts[3], region)
	}
	return nil
}

// listeners are those that exist, which environments may have rules of.
type listeners struct{ *balancers }

// join finds the listener that an environment is to be behind, and refuses one that it can't
// have rules of: CodeInvalid, before anything is made.
func (b listeners) join(ctx context.Context, r pipeline.FleetRequest) (*balancer, error) {
	before, err := b.beside(ctx, r.Environment)
	if err != nil {
		return nil, err
	}
	for _, listener := range before.listeners {
		if listener != r.Rule.Listener {
			return nil, invalid("Replace the stage, or give another one that listener.",
				"environment.listener_arn %q: the environment has rules of listener %s, and can't move", r.Rule.Listener, listener)
		}
	}
	lb, err := b.behind(ctx, r.Environment, r.Rule.Listener)
	if err != nil {
		return nil, err
	}
	if lb == nil {
		return nil, invalid("Correct it, or create the listener first.", "environment.listener_arn %q: there is no such listener in %s", r.Rule.Listener, b.stack.Config.Region)
	}
	if err := b.checkListener(*lb, r); err != nil {
		return nil, err
	}
	if err := b.checkRules(ctx, *lb); err != nil {
		return nil, err
	}
	return lb, b.checkReach(ctx, *lb, r)
}

// checkListener refuses a listener that is none of HTTP, or where others have the priorities.
func (b listeners) checkListener(lb balancer, r pipeline.FleetRequest) error {
	g := lb.given
	name := fmt.Sprintf("environment.listener_arn %q", r.Rule.Listener)
	if kind := g.balancer.Type; kind != types.LoadBalancerTypeEnumApplication || g.listener.Protocol != types.ProtocolEnumHttp && g.listener.Protocol != types.ProtocolEnumHttps {
		return invalid("Name a listener of HTTP or HTTPS of an application load balancer.", "%s: it speaks %s, of a load balancer of type %s", name, g.listener.Protocol, kind)
	}
	if vpc := aws.ToString(g.balancer.VpcId); vpc != b.stack.Settings.VPC {
		return invalid("Name a listener of a load balancer in the stack's VPC.", "%s: its load balancer is in VPC %s, and the instances are in %s", name, vpc, b.stack.Settings.VPC)
	}
	for _, priority := range []int{r.Rule.Priority, r.Rule.Priority - 1} {
		if there := g.at(priority); there != nil && !g.mine(*there) {
			what := "the rule"
			if priority != r.Rule.Priority {
				what = "the rule for tests, which is one before it,"
			}
			return invalid("Set environment.priority to a free one whose predecessor is free, too.",
				"environment.priority %d: %s needs priority %d, which the listener has a rule with already: %s", r.Rule.Priority, what, priority, aws.ToString(there.RuleArn))
		}
	}
	return nil
}

// The names of limits, as AWS tells them.
const (
	limitRules   = "rules-per-application-load-balancer"
	limitTargets = "target-groups-per-application-load-balancer"
)

// checkRules refuses a load balancer that has as many rules, or target groups, as the account
// may have there.
func (b listeners) checkRules(ctx context.Context, lb balancer) error {
	need := 2 - len(lb.given.own)
	if need <= 0 {
		return nil
	}
	limits, err := b.client.DescribeAccountLimits(ctx, &elb.DescribeAccountLimitsInput{})
	if err != nil {
		return cloud.Fault(ctx, "read limits of load balancers", err)
	}
	most := map[string]int{}
	for _, l := range limits.Limits {
		most[aws.ToString(l.Name)] = number(aws.ToString(l.Max))
	}
	listeners, err := b.client.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: aws.String(lb.arn)})
	if err != nil {
		return cloud.Fault(ctx, "list listeners", err)
	}
	rules, targets := 0, map[string]bool{}
	for _, l := range listeners.Listeners {
		list := lb.given.rules
		if aws.ToString(l.ListenerArn) != aws.ToString(lb.given.listener.ListenerArn) {
			if list, err = b.rules(ctx, aws.ToString(l.ListenerArn)); err != nil {
				return err
			}
		}
		for _, r := range list {
			if !aws.ToBool(r.IsDefault) {
				rules++
			}
			for target := range weights(r.Actions) {
				targets[target] = true
			}
		}
	}
	for _, one := range []struct {
		what      string
		have, add int
		limit     string
	}{{"rules", rules, need, limitRules}, {"target groups", len(targets), 2, limitTargets}} {
		if limit := most[one.limit]; limit > 0 && one.have+one.add > limit {
			return invalid("Remove some that are not needed, ask AWS for a higher quota, or name a listener of another load balancer.",
				"environment.listener_arn %q: the load balancer has %d %s, and %d more are needed, of %d at most (%s)",
				aws.ToString(lb.given.listener.ListenerArn), one.have, one.what, one.add, limit, one.limit)
		}
	}
	return nil
}

// checkReach refuses security groups of instances that do not let a load balancer in.
func (b listeners) checkReach(ctx context.Context, lb balancer, r pipeline.FleetRequest) error {
	groups, at := access(b.stack.Settings, r).Groups, int32(port(r.Service))
	if len(groups) == 0 {
		return nil // those of the subnets, which nobody here knows
	}
	out, err := b.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: groups})
	if err != nil {
		return cloud.Fault(ctx, "read security groups", err)
	}
	var from []string // networks that are let in
	for _, g := range out.SecurityGroups {
		for _, p := range g.IpPermissions {
			if protocol := aws.ToString(p.IpProtocol); protocol != "-1" && (protocol != "tcp" || aws.ToInt32(p.FromPort) > at || aws.ToInt32(p.ToPort) < at) {
				continue
			}
			let := slices.ContainsFunc(p.UserIdGroupPairs, func(pair ec2types.UserIdGroupPair) bool {
				return slices.Contains(lb.given.balancer.SecurityGroups, aws.ToString(pair.GroupId))
			})
			if let || len(p.PrefixListIds) > 0 { // what a prefix list has, its owner knows
				return nil
			}
			for _, n := range p.IpRanges {
				from = append(from, aws.ToString(n.CidrIp))
			}
		}
	}
	if reached, err := b.fromSubnets(ctx, lb, from); reached || err != nil {
		return err
	}
	allowed := strings.Join(lb.given.balancer.SecurityGroups, ", ")
	return invalid(fmt.Sprintf("Let it in: aws ec2 authorize-security-group-ingress --group-id %s --protocol tcp --port %d --source-group %s. Or set environment.security_groups to a group that does.",
		groups[0], at, strings.Split(allowed, ", ")[0]),
		"environment.listener_arn %q: the security groups of the instances (%s) don't let the load balancer (%s) in at port %d",
		r.Rule.Listener, strings.Join(groups, ", "), allowed, at)
}

// fromSubnets reports whether networks have all addresses that a load balancer may send from.
func (b listeners) fromSubnets(ctx context.Context, lb balancer, networks []string) (bool, error) {
	if len(networks) == 0 {
		return false, nil
	}
	var ids []string
	for _, z := range lb.given.balancer.AvailabilityZones {
		ids = append(ids, aws.ToString(z.SubnetId))
	}
	out, err := b.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: ids})
	if err != nil {
		return false, cloud.Fault(ctx, "read subnets", err)
	}
	within := func(subnet netip.Prefix) bool {
		return slices.ContainsFunc(networks, func(text string) bool {
			n, err := netip.ParsePrefix(text)
			return err == nil && n.Bits() <= subnet.Bits() && n.Contains(subnet.Addr())
		})
	}
	for _, s := range out.Subnets {
		if p, err := netip.ParsePrefix(aws.ToString(s.CidrBlock)); err != nil || !within(p) {
			return false, nil
		}
	}
	return len(out.Subnets) > 0, nil
}

// candidate returns how a fleet without traffic is reached through a listener that exists.
func (b listeners) candidate(ctx context.Context, lb *balancer, r pipeline.FleetRequest) (endpoint string, header pipeline.Header) {
	at := lb.liveAt
	if at.certificate != "" { // which is for the name
		at.name = named(r.Rule, r.DNS)
		if at.name != "" && !leads(ctx, b.lookup, at.name, lb.dns) {
			stack.Logf(r.Log, "the name %s does not lead to load balancer %s from here: steps that ask the endpoint would reach something else, and get the load balancer's own name", at.name, lb.dns)
			at.name = ""
		}
	}
	return lb.endpoint(at), pipeline.Header{Name: candidateHeader, Value: pipeline.Secret(lb.given.secret)}
}

// named returns the name of an environment; empty for none.
func named(rule *pipeline.ListenerRule, dns *pipeline.AliasRecord) string {
	if dns != nil {
		return dns.Name
	}
	return rule.Name()
}
