// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// protection is the attribute that keeps a load balancer from being deleted.
const protection = "deletion_protection.enabled"

// harden makes a load balancer drop headers that are none, sets its access log, and keeps
// what lasts from being deleted before Penstock itself lets it be.
func (b *balancers) harden(ctx context.Context, arn string, r pipeline.FleetRequest) error {
	how := pipeline.Balancer{}
	if r.Balancer != nil {
		how = *r.Balancer
	}
	attributes := map[string]string{
		"routing.http.drop_invalid_header_fields.enabled": "true",
		protection:               strconv.FormatBool(r.ExpiresAt.IsZero() && r.Persistent),
		"access_logs.s3.enabled": strconv.FormatBool(how.LogBucket != ""),
	}
	if how.LogBucket != "" {
		attributes["access_logs.s3.bucket"], attributes["access_logs.s3.prefix"] = how.LogBucket, how.LogPrefix
	}
	return b.set(ctx, "make load balancer", arn, attributes)
}

// protect keeps a load balancer from being deleted, or lets it be.
func (b *balancers) protect(ctx context.Context, op, arn string, on bool) error {
	return b.set(ctx, op, arn, map[string]string{protection: strconv.FormatBool(on)})
}

func (b *balancers) set(ctx context.Context, op, arn string, attributes map[string]string) error {
	in := &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: aws.String(arn)}
	for _, key := range stack.Sorted(attributes) {
		in.Attributes = append(in.Attributes, types.LoadBalancerAttribute{Key: aws.String(key), Value: aws.String(attributes[key])})
	}
	_, err := b.client.ModifyLoadBalancerAttributes(ctx, in)
	return cloud.Fault(ctx, op, err)
}

// lead makes the listener that leads from HTTP to HTTPS, or removes it.
func (b *balancers) lead(ctx context.Context, lb *balancer, r pipeline.FleetRequest, tags []types.Tag) error {
	const op = "redirect to HTTPS"
	if r.Balancer == nil || !r.Balancer.RedirectHTTP || r.Certificate == "" {
		if lb.redirect == "" {
			return nil
		}
		_, err := b.client.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: aws.String(lb.redirect)})
		lb.redirect = ""
		return cloud.Fault(ctx, op, err)
	}
	if lb.liveAt.port == defaultListenerPort { // the next deployment finds the port free
		return nil
	}
	to := lb.next(r.Port, r.Certificate, r.Balancer).port
	action := []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{
		Protocol: aws.String("HTTPS"), Port: aws.String(strconv.Itoa(to)), StatusCode: types.RedirectActionStatusCodeEnumHttp301,
	}}}
	if lb.redirect != "" {
		_, err := b.client.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: aws.String(lb.redirect), DefaultActions: action})
		return cloud.Fault(ctx, op, err)
	}
	out, err := b.client.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: aws.String(lb.arn), Port: aws.Int32(defaultListenerPort), Protocol: types.ProtocolEnumHttp, DefaultActions: action, Tags: tags,
	})
	if err != nil {
		return cloud.Fault(ctx, op, err)
	}
	lb.redirect = aws.ToString(out.Listeners[0].ListenerArn)
	return nil
}
