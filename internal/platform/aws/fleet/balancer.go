// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

const (
	// Where a load balancer listens when environment.port does not say.
	defaultListenerPort = 80
	defaultSecurePort   = 443

	// testOffset is how far above that port the test listener is, which reaches the new fleet
	// before it gets the traffic: far enough that others may be let in there.
	testOffset      = 10000
	maxListenerPort = 65535 - testOffset

	// balancerLimit is how long AWS may take to make a load balancer.
	balancerLimit = 10 * time.Minute
)

// balancer is the load balancer of an environment.
type balancer struct {
	arn, dns   string
	live, test string // ARNs of the listeners
	liveAt     front
	testAt     front
	redirect   string           // ARN of the listener that leads from HTTP to HTTPS; empty for none
	weights    map[string]int32 // shares of the live listener's requests, by target group
	zone       string           // hosted zone of dns
	given      *given           // a listener that exists, of which live and test are rules; nil: the load balancer is the environment's own
}

// front is how a listener is reached.
type front struct {
	port        int
	certificate string                 // ARN, of HTTPS; empty for HTTP
	policy      string                 // of HTTPS; empty: defaultPolicy
	name        string                 // that leads there; empty: the load balancer's own
	rule        *pipeline.ListenerRule // of a listener that exists; nil: the listener is the environment's own
}

// testPort is where the test listener is, by the port of the live one.
func testPort(live int) int { return live + testOffset }

func balancerName(environment string) string { return "penstock-" + environment }

func (b balancer) endpoint(at front) string {
	host := cmp.Or(at.name, b.dns)
	switch {
	case at.certificate != "" && at.port == defaultSecurePort:
		return "https://" + host
	case at.certificate != "":
		return fmt.Sprintf("https://%s:%d", host, at.port)
	case at.port == defaultListenerPort:
		return "http://" + host
	default:
		return fmt.Sprintf("http://%s:%d", host, at.port)
	}
}

// next returns how the live listener is to be reached: at a port, else where it is, else
// where its protocol usually is.
func (b balancer) next(port int, certificate string, how *pipeline.Balancer) front {
	usual := defaultListenerPort
	if certificate != "" {
		usual = defaultSecurePort
	}
	if b.live != "" && (b.liveAt.certificate == "") == (certificate == "") {
		usual = b.liveAt.port
	}
	at := front{port: cmp.Or(port, usual), certificate: certificate}
	if certificate != "" {
		at.policy = defaultPolicy
		if how != nil {
			at.policy = cmp.Or(how.SSLPolicy, defaultPolicy)
		}
	}
	return at
}

// balancers are the load balancers of environments, and the target groups of fleets.
type balancers struct {
	stack  *stack.Stack
	client *elb.Client
	ec2    *ec2.Client
	lookup lookup
}

// find finds an environment's load balancer, or the listener that it has rules of; nil for
// none.
func (b *balancers) find(ctx context.Context, environment string) (*balancer, error) {
	lb, err := b.findOwn(ctx, environment)
	if err != nil || lb != nil {
		return lb, err
	}
	has, err := b.beside(ctx, environment)
	if err != nil || len(has.listeners) == 0 {
		return nil, err
	}
	return b.behind(ctx, environment, has.listeners[0])
}

// findOwn finds an environment's own load balancer; nil for none.
func (b *balancers) findOwn(ctx context.Context, environment string) (*balancer, error) {
	op := "read load balancer of environment " + environment
	out, err := b.client.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{balancerName(environment)}})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	if len(out.LoadBalancers) == 0 {
		return nil, nil
	}
	lb := &balancer{arn: aws.ToString(out.LoadBalancers[0].LoadBalancerArn), dns: aws.ToString(out.LoadBalancers[0].DNSName), zone: aws.ToString(out.LoadBalancers[0].CanonicalHostedZoneId)}
	listeners, err := b.client.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: aws.String(lb.arn)})
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	list := listeners.Listeners
	slices.SortFunc(list, func(a, b types.Listener) int { return cmp.Compare(aws.ToInt32(a.Port), aws.ToInt32(b.Port)) })
	for _, l := range list {
		if len(l.DefaultActions) == 1 && l.DefaultActions[0].Type == types.ActionTypeEnumRedirect {
			lb.redirect = aws.ToString(l.ListenerArn)
			continue
		}
		if lb.live == "" {
			lb.live, lb.liveAt, lb.weights = aws.ToString(l.ListenerArn), frontOf(l), weights(l.DefaultActions)
		} else {
			lb.test, lb.testAt = aws.ToString(l.ListenerArn), frontOf(l)
		}
	}
	return lb, nil
}

// frontOf returns how a listener is reached.
func frontOf(l types.Listener) front {
	at := front{port: int(aws.ToInt32(l.Port))}
	if l.Protocol == types.ProtocolEnumHttps && len(l.Certificates) > 0 {
		at.certificate, at.policy = aws.ToString(l.Certificates[0].CertificateArn), aws.ToString(l.SslPolicy)
	}
	return at
}

// weights returns the target groups that actions send requests to, with their shares.
func weights(actions []types.Action) map[string]int32 {
	shares := map[string]int32{}
	for _, a := range actions {
		switch {
		case a.ForwardConfig != nil:
			for _, t := range a.ForwardConfig.TargetGroups {
				if w := aws.ToInt32(t.Weight); w > 0 || t.Weight == nil {
					shares[aws.ToString(t.TargetGroupArn)] = max(w, 1)
				}
			}
		case a.TargetGroupArn != nil:
			shares[aws.ToString(a.TargetGroupArn)] = 1
		}
	}
	return shares
}

// ensure makes the environment's load balancer with its two listeners, as
// far as they are not there. They answer 503 until they are pointed at a fleet.
func (b *balancers) ensure(ctx context.Context, r pipeline.FleetRequest) (*balancer, error) {
	op := "make load balancer"
	lb, err := b.findOwn(ctx, r.Environment)
	if err != nil {
		return nil, err
	}
	tags := b.tags(ctx, r)
	if lb == nil {
		if lb, err = b.create(ctx, op, r, tags); err != nil {
			return nil, err
		}
	}
	if err := b.harden(ctx, lb.arn, r); err != nil {
		return nil, err
	}
	if err := b.listen(ctx, lb, lb.next(r.Port, r.Certificate, r.Balancer), tags); err != nil {
		return nil, err
	}
	if err := b.lead(ctx, lb, r, tags); err != nil {
		return nil, err
	}
	waiter := elb.NewLoadBalancerAvailableWaiter(b.client, func(o *elb.LoadBalancerAvailableWaiterOptions) {
		o.MinDelay, o.MaxDelay = b.stack.Pause, 5*b.stack.Pause
	})
	return lb, cloud.Fault(ctx, op, waiter.Wait(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{lb.arn}}, balancerLimit))
}

func (b *balancers) create(ctx context.Context, op string, r pipeline.FleetRequest, tags []types.Tag) (*balancer, error) {
	in := &elb.CreateLoadBalancerInput{
		Name: aws.String(balancerName(r.Environment)), Type: types.LoadBalancerTypeEnumApplication, Subnets: b.subnets(),
		SecurityGroups: []string{b.stack.Settings.LoadBalancerGroup}, Tags: tags, Scheme: types.LoadBalancerSchemeEnumInternetFacing,
	}
	if b.stack.Settings.InternalLoadBalancer {
		in.Scheme = types.LoadBalancerSchemeEnumInternal
	}
	if err := b.checkZones(ctx, in.Subnets); err != nil {
		return nil, err
	}
	out, err := b.client.CreateLoadBalancer(ctx, in)
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	lb := &balancer{arn: aws.ToString(out.LoadBalancers[0].LoadBalancerArn), dns: aws.ToString(out.LoadBalancers[0].DNSName), zone: aws.ToString(out.LoadBalancers[0].CanonicalHostedZoneId)}
	stack.Logf(r.Log, "load balancer %s", lb.dns)
	return lb, nil
}

// subnets are those of load balancers.
func (b *balancers) subnets() []string {
	if b.stack.Settings.InternalLoadBalancer {
		return b.stack.Settings.Subnets
	}
	return b.stack.Settings.PublicSubnets
}

// checkZones refuses subnets in which AWS can't make a load balancer: CodeInvalid.
func (b *balancers) checkZones(ctx context.Context, subnets []string) error {
	out, err := b.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: subnets})
	if err != nil {
		return cloud.Fault(ctx, "read subnets", err)
	}
	in := map[string]string{}
	for _, s := range out.Subnets {
		zone, id := aws.ToString(s.AvailabilityZone), aws.ToString(s.SubnetId)
		if in[zone] != "" {
			return invalid("Give the stack one subnet of each zone, with --subnets and --public-subnets of its bootstrap.",
				"the subnets %s and %s are both in zone %s, and a load balancer takes one of each", in[zone], id, zone)
		}
		in[zone] = id
	}
	if len(in) < 2 {
		return invalid("Give the stack subnets in two zones or more, with --subnets and --public-subnets of its bootstrap.",
			"a load balancer needs subnets in two zones, and the stack has them in %d", len(in))
	}
	return nil
}

// listen makes the listeners that are not there. The live listener moves to its next port
// together with the traffic. It has the lower port of the two, so the test listener makes
// way first. That has the certificate that the live one gets with the traffic, or has not.
func (b *balancers) listen(ctx context.Context, lb *balancer, next front, tags []types.Tag) (err error) {
	test := next.tested(max(next.port, lb.liveAt.port))
	if lb.test != "" && lb.testAt.port > next.port {
		test.port = lb.testAt.port
	}
	if lb.test != "" && lb.testAt != test {
		if err := b.pointAt(ctx, lb.test, test, nil); err != nil {
			return err
		}
	}
	lb.testAt = test
	if lb.live == "" {
		lb.liveAt = next
		if lb.live, err = b.createListener(ctx, lb.arn, next, tags); err != nil {
			return err
		}
	}
	if lb.test == "" {
		if lb.test, err = b.createListener(ctx, lb.arn, lb.testAt, tags); err != nil {
			return err
		}
	}
	return nil
}

func (b *balancers) createListener(ctx context.Context, balancer string, at front, tags []types.Tag) (string, error) {
	protocol, certificates, policy := at.protocol()
	out, err := b.client.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: aws.String(balancer), Port: aws.Int32(int32(at.port)), Protocol: protocol, Certificates: certificates, SslPolicy: policy,
		DefaultActions: nobody(), Tags: tags,
	})
	if err != nil {
		return "", cloud.Fault(ctx, "make listener", err)
	}
	return aws.ToString(out.Listeners[0].ListenerArn), nil
}

// defaultPolicy takes TLS 1.2 and 1.3. Where none is named, AWS takes 1.0 as well.
const defaultPolicy = "ELBSecurityPolicy-TLS13-1-2-2021-06"

func (f front) protocol() (types.ProtocolEnum, []types.Certificate, *string) {
	if f.certificate == "" {
		return types.ProtocolEnumHttp, nil, nil
	}
	return types.ProtocolEnumHttps, []types.Certificate{{CertificateArn: aws.String(f.certificate)}}, aws.String(f.policy)
}

// tags are those of a load balancer, its listeners and a target group.
func (b *balancers) tags(ctx context.Context, r pipeline.FleetRequest) []types.Tag {
	var tags []types.Tag
	own := map[string]string{TagEnvironment: r.Environment}
	if !r.ExpiresAt.IsZero() {
		own[stack.TagExpires] = stack.Timestamp(r.ExpiresAt)
	}
	if token := stack.Token(ctx); token != "" {
		own[tagFence] = token
	}
	for _, t := range b.stack.TagsOf(r.Labels, own) {
		tags = append(tags, types.Tag{Key: t.Key, Value: t.Value})
	}
	return tags
}

// tagsAs are the tags of a rule that sends requests to a group.
func (b *balancers) tagsAs(ctx context.Context, g scalingGroup) []types.Tag {
	labels := pipeline.Labels{Stage: g.stage}
	for _, t := range g.group.Tags {
		if aws.ToString(t.Key) == stack.TagPipeline {
			labels.Pipeline = aws.ToString(t.Value)
		}
	}
	return b.tags(ctx, pipeline.FleetRequest{Environment: g.environment, Labels: labels})
}

// expires says of a load balancer when it ends.
func (b *balancers) expires(ctx context.Context, arn string, at time.Time) error {
	if err := b.protect(ctx, opExtend, arn, at.IsZero()); err != nil { // first: a schedule can't end what is protected
		return err
	}
	_, err := b.client.AddTags(ctx, &elb.AddTagsInput{
		ResourceArns: []string{arn}, Tags: []types.Tag{{Key: aws.String(stack.TagExpires), Value: aws.String(stack.Timestamp(at))}},
	})
	return cloud.Fault(ctx, opExtend, err)
}

// nobody is the action of a listener that has no fleet.
func nobody() []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{
		StatusCode: aws.String("503"), ContentType: aws.String("text/plain"), MessageBody: aws.String("No build serves here yet."),
	}}}
}

// stickyFor is how long a client stays with one target group while a listener has several:
// longer than a shift, and AWS takes a week at most. When the shift is done, the listener has
// one again, and the cookie means nothing.
const stickyFor = 24 * time.Hour

// maxTargets is how many target groups AWS takes in one action.
const maxTargets = 5

// forward is the action of a listener that sends requests to target groups, by shares. Who
// takes cookies gets the pages and what is on them from the same one.
func forward(shares map[string]int32) []types.Action {
	if len(shares) == 0 {
		return nobody()
	}
	var to []types.TargetGroupTuple
	for _, target := range stack.Sorted(shares) {
		to = append(to, types.TargetGroupTuple{TargetGroupArn: aws.String(target), Weight: aws.Int32(shares[target])})
	}
	config := &types.ForwardActionConfig{TargetGroups: to}
	if len(to) > 1 {
		config.TargetGroupStickinessConfig = &types.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: aws.Int32(int32(stickyFor / time.Second))}
	}
	return []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: config}}
}

// point sends a listener's requests to target groups, by shares.
func (b *balancers) point(ctx context.Context, listener string, shares map[string]int32) error {
	_, err := b.client.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: aws.String(listener), DefaultActions: forward(shares)})
	return cloud.Fault(ctx, "point listener", err)
}

// pointAt does so, and moves the listener.
func (b *balancers) pointAt(ctx context.Context, listener string, at front, shares map[string]int32) error {
	protocol, certificates, policy := at.protocol()
	_, err := b.client.ModifyListener(ctx, &elb.ModifyListenerInput{
		ListenerArn: aws.String(listener), Port: aws.Int32(int32(at.port)), Protocol: protocol, Certificates: certificates, SslPolicy: policy,
		DefaultActions: forward(shares),
	})
	return cloud.Fault(ctx, "point listener", err)
}

// close removes the listeners of a load balancer, so that its target groups are not used.
func (b *balancers) close(ctx context.Context, op string, lb balancer) error {
	for _, listener := range []string{lb.live, lb.test, lb.redirect} {
		if listener == "" {
			continue
		}
		if _, err := b.client.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: aws.String(listener)}); err != nil && !cloud.IsNotFound(err) {
			return cloud.Fault(ctx, op, err)
		}
	}
	return nil
}

func (b *balancers) remove(ctx context.Context, op string, lb balancer) error {
	if err := b.protect(ctx, op, lb.arn, false); err != nil {
		return err
	}
	_, err := b.client.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: aws.String(lb.arn)})
	return cloud.Fault(ctx, op, err)
}
