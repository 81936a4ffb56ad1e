// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	balancers "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const (
	// Where a load balancer listens when environment.port does not say. The port above
	// is the test listener's, which reaches the new fleet before it gets the traffic.
	defaultListenerPort = 80
	defaultSecurePort   = 443

	// balancerLimit is how long AWS may take to make a load balancer.
	balancerLimit = 10 * time.Minute
)

// balancer is the load balancer of an environment.
type balancer struct {
	arn, dns   string
	live, test string // ARNs of the listeners
	liveAt     front
	testPort   int
	weights    map[string]int32 // shares of the live listener's requests, by target group
}

// front is how a listener is reached.
type front struct {
	port        int
	certificate string // ARN, of HTTPS; empty for HTTP
}

func balancerName(environment string) string { return "penstock-" + environment }

func (b balancer) endpoint(at front) string {
	switch {
	case at.certificate != "" && at.port == defaultSecurePort:
		return "https://" + b.dns
	case at.certificate != "":
		return fmt.Sprintf("https://%s:%d", b.dns, at.port)
	case at.port == defaultListenerPort:
		return "http://" + b.dns
	default:
		return fmt.Sprintf("http://%s:%d", b.dns, at.port)
	}
}

// next gives how the live listener is to be reached: at a port, else where it is, else
// where its protocol usually is.
func (b balancer) next(port int, certificate string) front {
	usual := defaultListenerPort
	if certificate != "" {
		usual = defaultSecurePort
	}
	if b.live != "" && (b.liveAt.certificate == "") == (certificate == "") {
		usual = b.liveAt.port
	}
	return front{cmp.Or(port, usual), certificate}
}

// balancer finds an environment's load balancer; nil for none.
func (p *Platform) balancer(ctx context.Context, environment string) (*balancer, error) {
	op := "read load balancer of environment " + environment
	out, err := p.balancers.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{balancerName(environment)}})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	if len(out.LoadBalancers) == 0 {
		return nil, nil
	}
	b := &balancer{arn: aws.ToString(out.LoadBalancers[0].LoadBalancerArn), dns: aws.ToString(out.LoadBalancers[0].DNSName)}
	listeners, err := p.balancers.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: aws.String(b.arn)})
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	list := listeners.Listeners
	slices.SortFunc(list, func(a, b balancers.Listener) int { return cmp.Compare(aws.ToInt32(a.Port), aws.ToInt32(b.Port)) })
	for n, l := range list {
		if n == 0 {
			b.live, b.liveAt.port, b.weights = aws.ToString(l.ListenerArn), int(aws.ToInt32(l.Port)), weights(l)
			if l.Protocol == balancers.ProtocolEnumHttps && len(l.Certificates) > 0 {
				b.liveAt.certificate = aws.ToString(l.Certificates[0].CertificateArn)
			}
		} else {
			b.test, b.testPort = aws.ToString(l.ListenerArn), int(aws.ToInt32(l.Port))
		}
	}
	return b, nil
}

// weights gives the target groups that a listener sends requests to, with their shares.
func weights(l balancers.Listener) map[string]int32 {
	shares := map[string]int32{}
	for _, a := range l.DefaultActions {
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

// ensureBalancer makes the environment's load balancer with its two listeners, as
// far as they are not there. They answer 503 until they are pointed at a fleet.
func (p *Platform) ensureBalancer(ctx context.Context, r pipeline.FleetRequest) (*balancer, error) {
	op := "make load balancer"
	tags := p.elbTags(r)
	in := &elb.CreateLoadBalancerInput{
		Name: aws.String(balancerName(r.Environment)), Type: balancers.LoadBalancerTypeEnumApplication, Subnets: p.Settings.PublicSubnets,
		SecurityGroups: []string{p.Settings.LoadBalancerGroup}, Tags: tags, Scheme: balancers.LoadBalancerSchemeEnumInternetFacing,
	}
	if p.Settings.InternalLoadBalancer {
		in.Scheme, in.Subnets = balancers.LoadBalancerSchemeEnumInternal, p.Settings.Subnets
	}
	b, err := p.balancer(ctx, r.Environment)
	if err != nil {
		return nil, err
	}
	if b == nil {
		out, err := p.balancers.CreateLoadBalancer(ctx, in)
		if err != nil {
			return nil, cloud.Fault(ctx, op, err)
		}
		b = &balancer{arn: aws.ToString(out.LoadBalancers[0].LoadBalancerArn), dns: aws.ToString(out.LoadBalancers[0].DNSName)}
		logf(r.Log, "load balancer %s", b.dns)
	}
	// The live listener moves with the traffic. It is told from the test listener by its
	// lower port, so that this one makes way first.
	next := b.next(r.Port, r.Certificate)
	if b.test != "" && b.testPort <= next.port {
		if err := p.pointAt(ctx, b.test, front{port: next.port + 1}, nil); err != nil {
			return nil, err
		}
		b.testPort = next.port + 1
	}
	if b.live == "" {
		b.liveAt = next
		if b.live, err = p.createListener(ctx, b.arn, next, tags); err != nil {
			return nil, err
		}
	}
	if b.test == "" {
		b.testPort = max(next.port, b.liveAt.port) + 1
		if b.test, err = p.createListener(ctx, b.arn, front{port: b.testPort}, tags); err != nil {
			return nil, err
		}
	}
	waiter := elb.NewLoadBalancerAvailableWaiter(p.balancers, func(o *elb.LoadBalancerAvailableWaiterOptions) { o.MinDelay, o.MaxDelay = p.Pause, 5*p.Pause })
	return b, cloud.Fault(ctx, op, waiter.Wait(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{b.arn}}, balancerLimit))
}

func (p *Platform) createListener(ctx context.Context, balancer string, at front, tags []balancers.Tag) (string, error) {
	protocol, certificates := at.protocol()
	out, err := p.balancers.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: aws.String(balancer), Port: aws.Int32(int32(at.port)), Protocol: protocol, Certificates: certificates, DefaultActions: nobody(), Tags: tags,
	})
	if err != nil {
		return "", cloud.Fault(ctx, "make listener", err)
	}
	return aws.ToString(out.Listeners[0].ListenerArn), nil
}

func (f front) protocol() (balancers.ProtocolEnum, []balancers.Certificate) {
	if f.certificate == "" {
		return balancers.ProtocolEnumHttp, nil
	}
	return balancers.ProtocolEnumHttps, []balancers.Certificate{{CertificateArn: aws.String(f.certificate)}}
}

func (p *Platform) elbTags(r pipeline.FleetRequest) []balancers.Tag {
	var tags []balancers.Tag
	own := map[string]string{tagEnvironment: r.Environment}
	if token := p.token(); token != "" {
		own[tagFence] = token
	}
	for _, t := range p.tags(r.Labels, own) {
		tags = append(tags, balancers.Tag{Key: t.Key, Value: t.Value})
	}
	return tags
}

// nobody is the action of a listener that has no fleet.
func nobody() []balancers.Action {
	return []balancers.Action{{Type: balancers.ActionTypeEnumFixedResponse, FixedResponseConfig: &balancers.FixedResponseActionConfig{
		StatusCode: aws.String("503"), ContentType: aws.String("text/plain"), MessageBody: aws.String("No build serves here yet."),
	}}}
}

// forward is the action of a listener that sends requests to target groups, by shares.
func forward(shares map[string]int32) []balancers.Action {
	if len(shares) == 0 {
		return nobody()
	}
	var to []balancers.TargetGroupTuple
	for _, target := range sortedKeys(shares) {
		to = append(to, balancers.TargetGroupTuple{TargetGroupArn: aws.String(target), Weight: aws.Int32(shares[target])})
	}
	return []balancers.Action{{Type: balancers.ActionTypeEnumForward, ForwardConfig: &balancers.ForwardActionConfig{TargetGroups: to}}}
}

// point sends a listener's requests to target groups, by shares.
func (p *Platform) point(ctx context.Context, listener string, shares map[string]int32) error {
	_, err := p.balancers.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: aws.String(listener), DefaultActions: forward(shares)})
	return cloud.Fault(ctx, "point listener", err)
}

// pointAt does so, and moves the listener.
func (p *Platform) pointAt(ctx context.Context, listener string, at front, shares map[string]int32) error {
	protocol, certificates := at.protocol()
	_, err := p.balancers.ModifyListener(ctx, &elb.ModifyListenerInput{
		ListenerArn: aws.String(listener), Port: aws.Int32(int32(at.port)), Protocol: protocol, Certificates: certificates, DefaultActions: forward(shares),
	})
	return cloud.Fault(ctx, "point listener", err)
}

func (p *Platform) createTargetGroup(ctx context.Context, r pipeline.FleetRequest) (string, error) {
	in := &elb.CreateTargetGroupInput{
		Name: aws.String(groupName(r.Fleet)), VpcId: aws.String(p.Settings.VPC), Port: aws.Int32(int32(port(r.Service))), Protocol: balancers.ProtocolEnumHttp,
		TargetType: balancers.TargetTypeEnumInstance, Tags: p.elbTags(r), HealthCheckPath: aws.String("/"), HealthCheckIntervalSeconds: aws.Int32(10),
		HealthCheckTimeoutSeconds: aws.Int32(5), HealthyThresholdCount: aws.Int32(2), UnhealthyThresholdCount: aws.Int32(3),
		Matcher: &balancers.Matcher{HttpCode: aws.String("200-499")}, // without a health_check, any answer is one
	}
	if c := r.Service.HealthCheck; c != nil {
		in.HealthCheckPath, in.Matcher.HttpCode = aws.String(c.Path), aws.String("200-299")
		if c.Status != 0 {
			in.Matcher.HttpCode = aws.String(fmt.Sprint(c.Status))
		}
		in.HealthCheckTimeoutSeconds = aws.Int32(int32(min(max(cmp.Or(c.Timeout, pipeline.DefaultHealthTimeout)/time.Second, 2), 120)))
		in.HealthCheckIntervalSeconds = aws.Int32(min(max(int32(c.Interval/time.Second), aws.ToInt32(in.HealthCheckTimeoutSeconds)+1, 5), 300))
	}
	out, err := p.balancers.CreateTargetGroup(ctx, in)
	if cloud.Is(err, "DuplicateTargetGroupName") {
		return p.targetGroup(ctx, r.Fleet)
	}
	if err != nil {
		return "", cloud.Fault(ctx, opPrepare, err)
	}
	target := aws.ToString(out.TargetGroups[0].TargetGroupArn)
	drain := int(cmp.Or(r.DrainTimeout, pipeline.DefaultDrainTimeout) / time.Second)
	_, err = p.balancers.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: aws.String(target), Attributes: []balancers.TargetGroupAttribute{
		{Key: aws.String(drainAttribute), Value: aws.String(fmt.Sprint(min(drain, 3600)))},
	}})
	return target, cloud.Fault(ctx, opPrepare, err)
}

const drainAttribute = "deregistration_delay.timeout_seconds"

// targetGroup finds a fleet's target group; empty for none.
func (p *Platform) targetGroup(ctx context.Context, fleet string) (string, error) {
	out, err := p.balancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{groupName(fleet)}})
	if cloud.IsNotFound(err) || err == nil && len(out.TargetGroups) == 0 {
		return "", nil
	}
	if err != nil {
		return "", cloud.Fault(ctx, "read target group", err)
	}
	return aws.ToString(out.TargetGroups[0].TargetGroupArn), nil
}

func (p *Platform) deleteTargetGroup(ctx context.Context, fleet string) error {
	target, err := p.targetGroup(ctx, fleet)
	if err != nil || target == "" {
		return err
	}
	err = p.whenUnused(ctx, "target group "+groupName(fleet), func() error {
		_, err := p.balancers.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(target)})
		return err
	})
	if err != nil && !cloud.IsNotFound(err) {
		return cloud.Fault(ctx, "remove target group of fleet "+fleet, err)
	}
	return nil
}

// unusedLimit is how long what was just given up may count as used.
const unusedLimit = 2 * time.Minute

// whenUnused removes a thing, again while AWS says that it is used: it takes a moment
// to notice that it no longer is.
func (p *Platform) whenUnused(ctx context.Context, what string, remove func() error) error {
	return p.wait(ctx, "the end of the use of "+what, unusedLimit, func(context.Context) (poll.Probe, error) {
		err := remove()
		if cloud.Is(err, "ResourceInUse", "ScalingActivityInProgress") {
			return poll.Probe{State: err.Error()}, nil
		}
		return poll.Probe{Done: true}, err
	})
}

// destroyGroups removes everything of an environment that is behind a load balancer.
func (p *Platform) destroyGroups(ctx context.Context, environment string) error {
	op := "destroy environment " + environment
	lb, err := p.balancer(ctx, environment)
	if err != nil {
		return err
	}
	if lb != nil {
		for _, listener := range []string{lb.live, lb.test} {
			if listener == "" {
				continue
			}
			if _, err := p.balancers.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: aws.String(listener)}); err != nil && !cloud.IsNotFound(err) {
				return cloud.Fault(ctx, op, err)
			}
		}
	}
	fleets, err := p.fleetsOf(ctx, environment)
	if err != nil {
		return err
	}
	for _, fleet := range fleets {
		if err := p.deleteGroup(ctx, fleet); err != nil {
			return err
		}
	}
	if lb == nil {
		return nil
	}
	_, err = p.balancers.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: aws.String(lb.arn)})
	return cloud.Fault(ctx, op, err)
}

// fleetsOf lists the fleets of which an environment has a group or a template: the
// template is made before the group, so that it finds also what a crash left.
func (p *Platform) fleetsOf(ctx context.Context, environment string) ([]string, error) {
	found := map[string]bool{}
	list, err := p.groupsOf(ctx, environment)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		found[g.fleet] = true
	}
	out, err := p.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{Filters: []types.Filter{filter("tag:"+tagEnvironment, environment)}})
	if err != nil {
		return nil, cloud.Fault(ctx, "list launch templates", err)
	}
	for _, t := range out.LaunchTemplates {
		found[strings.TrimPrefix(aws.ToString(t.LaunchTemplateName), groupName(""))] = true
	}
	return sortedKeys(found), nil
}
