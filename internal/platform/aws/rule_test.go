// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// shared is a listener of somebody else's load balancer.
type shared struct {
	balancer, listener, dns string
	port                    int
}

// shared makes a load balancer of somebody else's, with a listener that has a rule already, and
// lets it in at the instances.
func (b *bed) shared() shared {
	b.Helper()
	ctx := b.Context()
	group, err := b.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("shared"), Description: aws.String("shared"), VpcId: aws.String(b.stack.Settings.VPC)})
	b.must(err)
	lb, err := b.balancers.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: aws.String("shared"), Type: elbtypes.LoadBalancerTypeEnumApplication, Subnets: b.stack.Settings.PublicSubnets, SecurityGroups: []string{aws.ToString(group.GroupId)},
	})
	b.must(err)
	s := shared{balancer: aws.ToString(lb.LoadBalancers[0].LoadBalancerArn), dns: aws.ToString(lb.LoadBalancers[0].DNSName), port: 9000}
	none := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{StatusCode: aws.String("404")}}}
	l, err := b.balancers.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: aws.String(s.balancer), Port: aws.Int32(int32(s.port)), Protocol: elbtypes.ProtocolEnumHttp, DefaultActions: none,
		Tags: []elbtypes.Tag{{Key: aws.String("penstock:listener"), Value: aws.String("penstock")}},
	})
	b.must(err)
	s.listener = aws.ToString(l.Listeners[0].ListenerArn)
	_, err = b.balancers.CreateRule(ctx, &elb.CreateRuleInput{
		ListenerArn: aws.String(s.listener), Priority: aws.Int32(50), Actions: none,
		Conditions: []elbtypes.RuleCondition{{Field: aws.String("host-header"), HostHeaderConfig: &elbtypes.HostHeaderConditionConfig{Values: []string{"other.example.com"}}}},
	})
	b.must(err)
	_, err = b.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(b.stack.Settings.Test.Groups[0]), IpPermissions: []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8080), ToPort: aws.Int32(8080), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: group.GroupId}},
	}}})
	b.must(err)
	return s
}

// behind asks for a fleet of a persistent environment behind a listener that exists.
func (b *bed) behind(s shared, environment, fleet, image string, priority int) pipeline.FleetRequest {
	r := b.persistent(fleet, image)
	r.Environment, r.Port, r.Rule = environment, 0, &pipeline.ListenerRule{Listener: s.listener, Host: environment + ".example.com", Path: "/*", Priority: priority}
	return r
}

// release prepares such a fleet and gives it the traffic.
func (b *bed) release(r pipeline.FleetRequest) error {
	f, err := b.Prepare(b.Context(), r)
	if err != nil {
		return err
	}
	_, err = b.Shift(b.Context(), r.Environment, f.ID, pipeline.Traffic{Rule: r.Rule, DNS: r.DNS, Log: b.log})
	return err
}

// ask sends a request for a host to the shared listener.
func (b *bed) ask(s shared, host string, header pipeline.Header) (status int, body string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, fmt.Sprintf("http://%s:%d/env/VERSION", s.dns, s.port), nil)
	b.must(err)
	req.Host = host
	if header.Name != "" {
		req.Header.Set(header.Name, header.Value.Reveal())
	}
	resp, err := http.DefaultClient.Do(req)
	b.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	b.must(err)
	return resp.StatusCode, string(text)
}

// priorities lists those of the shared listener's rules, with their target groups.
func (b *bed) priorities(s shared) (list []string) {
	b.Helper()
	out, err := b.balancers.DescribeRules(b.Context(), &elb.DescribeRulesInput{ListenerArn: aws.String(s.listener)})
	b.must(err)
	for _, r := range out.Rules {
		if !aws.ToBool(r.IsDefault) {
			list = append(list, aws.ToString(r.Priority))
		}
	}
	slices.Sort(list)
	return list
}

// remove removes the shared load balancer, and asserts that nothing else is left.
func (b *bed) removeShared(s shared) {
	b.Helper()
	if got := b.priorities(s); !slices.Equal(got, []string{"50"}) {
		b.Errorf("the listener is left with the rules %v", got)
	}
	_, err := b.balancers.DeleteListener(b.Context(), &elb.DeleteListenerInput{ListenerArn: aws.String(s.listener)})
	b.must(err)
	_, err = b.balancers.DeleteLoadBalancer(b.Context(), &elb.DeleteLoadBalancerInput{LoadBalancerArn: aws.String(s.balancer)})
	b.must(err)
	b.wantNothing()
}

// Two environments have rules of one listener that exists. Of one, a fleet without traffic is
// reached by a header alone, its deployments and rollbacks disturb nobody, and its end leaves
// the other, and what is somebody else's.
func TestListenerRule(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	s := b.shared()
	want := func(host, fleet string) {
		t.Helper()
		if status, got := b.ask(s, host+".example.com", pipeline.Header{}); status != http.StatusOK || got != fleet {
			t.Errorf("%s answers %d %q, want %q", host, status, got, fleet)
		}
	}
	b.must(b.release(b.behind(s, "e-2", "g-1", image, 20)))
	first := b.behind(s, "e-1", "f-1", image, 10)
	f, err := b.Prepare(t.Context(), first)
	b.must(err)
	if status, _ := b.ask(s, "e-1.example.com", pipeline.Header{}); status != http.StatusServiceUnavailable || len(f.Header.Value) < 20 || f.Endpoint != fmt.Sprintf("http://%s:%d", s.dns, s.port) {
		t.Errorf("before it has the traffic the fleet answers %d; it is tested at %s with %q", status, f.Endpoint, f.Header.Name)
	}
	if status, got := b.ask(s, "anything", f.Header); status != http.StatusOK || got != "f-1" {
		t.Errorf("with the header the listener answers %d %q", status, got)
	}
	report, err := b.Shift(t.Context(), "e-1", "f-1", pipeline.Traffic{Rule: first.Rule})
	b.must(err)
	if report.Endpoint != fmt.Sprintf("http://e-1.example.com:%d", s.port) {
		t.Errorf("the endpoint is %s", report.Endpoint)
	}
	want("e-1", "f-1")
	if got := b.priorities(s); !slices.Equal(got, []string{"10", "19", "20", "50", "9"}) {
		t.Errorf("the listener has the rules %v", got)
	}

	// In steps, and back to the fleet that is kept.
	second := b.behind(s, "e-1", "f-2", image, 10)
	_, err = b.Prepare(t.Context(), second)
	b.must(err)
	want("e-1", "f-1")
	_, err = b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{Rule: second.Rule, Steps: []pipeline.ShiftStep{{Percent: 50, Pause: time.Millisecond}}, KeepPrevious: time.Hour, Log: b.log})
	b.must(err)
	want("e-1", "f-2")
	back := b.behind(s, "e-1", "f-3", image, 10)
	back.Env["VERSION"] = "f-1"
	f, err = b.Prepare(t.Context(), back)
	b.must(err)
	_, err = b.Shift(t.Context(), "e-1", f.ID, pipeline.Traffic{Rule: back.Rule, Log: b.log})
	b.must(err)
	if want("e-1", "f-1"); f.ID != "f-1" {
		t.Errorf("the rollback is to fleet %s", f.ID)
	}

	// Another host and priority take effect with the traffic.
	moved := b.behind(s, "e-1", "f-4", image, 30)
	moved.Rule.Host = "new.example.com"
	b.must(b.release(moved))
	want("new", "f-4")
	if status, _ := b.ask(s, "e-1.example.com", pipeline.Header{}); status != http.StatusServiceUnavailable {
		t.Errorf("the host before still answers %d", status)
	}
	if got := b.priorities(s); !slices.Equal(got, []string{"19", "20", "29", "30", "50"}) {
		t.Errorf("the listener has the rules %v", got)
	}
	b.must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 3}))

	// A fleet that fails goes, and the other serves on.
	failed := b.behind(s, "e-1", "f-5", image, 30)
	failed.Service.HealthCheck = &pipeline.HealthCheck{Path: "/none", StartTimeout: time.Second}
	_, err = b.Prepare(t.Context(), failed)
	b.wantError(err, pipeline.CodeFailed, "healthy instances")
	want("new", "f-4")
	want("e-2", "g-1")
	b.must(b.Destroy(t.Context(), "e-1"))
	want("e-2", "g-1")
	b.must(b.Destroy(t.Context(), "e-2"))
	b.removeShared(s)
}

// A listener that an environment can't have rules of is refused before anything is made.
func TestListenerRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	s := b.shared()
	refused := func(code pipeline.Code, change func(*pipeline.FleetRequest), text ...string) {
		t.Helper()
		r := b.behind(s, "e-1", "f-1", image, 10)
		change(&r)
		_, err := b.Prepare(t.Context(), r)
		b.wantError(err, code, text...)
		if len(b.cloud.Running()) != 0 {
			t.Errorf("%v run", b.cloud.Running())
		}
	}
	priority := func(n int) func(*pipeline.FleetRequest) {
		return func(r *pipeline.FleetRequest) { r.Rule.Priority = n }
	}
	refused(pipeline.CodeInvalid, priority(50), "environment.priority 50", "the rule needs priority 50", "listener-rule")
	refused(pipeline.CodeInvalid, priority(51), "environment.priority 51", "the rule for tests", "needs priority 50")
	refused(pipeline.CodeInvalid, func(r *pipeline.FleetRequest) { r.Rule.Listener += "0" }, "environment.listener_arn", "no such listener")
	refused(pipeline.CodeInvalid, func(r *pipeline.FleetRequest) { r.Service.Port = 8081 }, "don't let the load balancer", "at port 8081", "authorize-security-group-ingress")
	var rules []string
	for n := range 99 {
		out, err := b.balancers.CreateRule(t.Context(), &elb.CreateRuleInput{
			ListenerArn: aws.String(s.listener), Priority: aws.Int32(int32(1000 + n)), Actions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{StatusCode: aws.String("404")}}},
			Conditions: []elbtypes.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &elbtypes.PathPatternConditionConfig{Values: []string{"/" + fmt.Sprint(n)}}}},
		})
		b.must(err)
		rules = append(rules, aws.ToString(out.Rules[0].RuleArn))
	}
	refused(pipeline.CodeInvalid, priority(10), "has 100 rules", "2 more are needed, of 100 at most", "rules-per-application-load-balancer")
	for _, rule := range rules {
		_, err := b.balancers.DeleteRule(t.Context(), &elb.DeleteRuleInput{RuleArn: aws.String(rule)})
		b.must(err)
	}
	_, err := b.balancers.RemoveTags(t.Context(), &elb.RemoveTagsInput{ResourceArns: []string{s.listener}, TagKeys: []string{"penstock:listener"}})
	b.must(err)
	_, err = b.Prepare(t.Context(), b.behind(s, "e-1", "f-1", image, 10))
	b.wantError(err, pipeline.CodeNotAllowed, "environment.listener_arn", "Give the listener the tag penstock:listener")

	// An environment that has a load balancer of its own does not move, nor back.
	b.must(b.deploy(b.persistent("f-2", image)))
	_, err = b.Prepare(t.Context(), b.behind(s, "e-1", "f-3", image, 10))
	b.wantError(err, pipeline.CodeInvalid, "has a load balancer of its own")
	b.must(b.Discard(t.Context(), "e-1", "f-3"))
	if got := b.serves(3); got["f-2"] != 3 {
		t.Errorf("the requests are answered by %v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.removeShared(s)
}

// Whichever request of a deployment behind a listener that exists fails or loses its answer:
// what served before serves on or the new fleet does, the next deployment succeeds, and after
// the environment's end nothing is left but what is somebody else's.
func TestListenerFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image := b.app()
		s := b.shared()
		b.trouble(fault)
		request := func(fleet string, priority int) pipeline.FleetRequest {
			r := b.behind(s, "e-1", fleet, image, priority)
			r.Instances = 1
			return r
		}
		for k, step := sample(45); ; k += step {
			if k%2 == 0 { // else it is the first deployment
				b.must(b.release(request(fmt.Sprintf("f-%d-0", k), 10)))
			}
			b.cloud.ResetCalls()
			b.cloud.Fail(fault.at(k)...)
			failed := b.release(request(fmt.Sprintf("f-%d-a", k), 10+10*(k%3)))
			calls := len(b.cloud.Calls())
			b.cloud.Mend()
			if status, got := b.ask(s, "e-1.example.com", pipeline.Header{}); k%2 == 0 && (status != http.StatusOK || !strings.HasPrefix(got, fmt.Sprintf("f-%d", k))) {
				t.Errorf("request %d fails: the listener answers %d %q", k, status, got)
			}
			if fault.repeated && failed != nil {
				t.Errorf("request %d: %v", k, failed)
			}
			time.Sleep(fault.visible)
			b.must(b.Discard(t.Context(), "e-1", fmt.Sprintf("f-%d-a", k)))
			b.must(b.release(request(fmt.Sprintf("f-%d-b", k), 10)))
			if status, got := b.ask(s, "e-1.example.com", pipeline.Header{}); status != http.StatusOK || got != fmt.Sprintf("f-%d-b", k) || len(b.cloud.Running()) != 1 {
				t.Fatalf("request %d fails: then the listener answers %d %q, on %v", k, status, got, b.cloud.Running())
			}
			if got := b.priorities(s); !slices.Equal(got, []string{"10", "50", "9"}) {
				t.Errorf("request %d fails: then the listener has the rules %v", k, got)
			}
			b.must(b.Destroy(t.Context(), "e-1"))
			if failed == nil && calls < k {
				break
			}
		}
		b.removeShared(s)
	})
}
