// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A load balancer drops invalid headers, keeps the log that it is told to, and can't be
// deleted while it lasts, but by Penstock. One that gets a time to live can, by its schedule.
func TestHardenedBalancer(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.persistent("f-1", b.app())
	r.Certificate, r.Balancer = b.cloud.Certificate("shop.example.com"), &pipeline.Balancer{LogBucket: "logs", LogPrefix: "shop", SSLPolicy: "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"}
	b.must(b.deploy(r))
	balancers, err := b.balancers.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{})
	b.must(err)
	arn := balancers.LoadBalancers[0].LoadBalancerArn
	wantAttributes := func(want map[string]string) {
		t.Helper()
		out, err := b.balancers.DescribeLoadBalancerAttributes(t.Context(), &elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: arn})
		b.must(err)
		for _, a := range out.Attributes {
			if v, ok := want[aws.ToString(a.Key)]; ok && v != aws.ToString(a.Value) {
				t.Errorf("%s is %s, want %s", aws.ToString(a.Key), aws.ToString(a.Value), v)
			}
			delete(want, aws.ToString(a.Key))
		}
		if len(want) > 0 {
			t.Errorf("the load balancer lacks %v", want)
		}
	}
	wantAttributes(map[string]string{
		"deletion_protection.enabled": "true", "routing.http.drop_invalid_header_fields.enabled": "true",
		"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "logs", "access_logs.s3.prefix": "shop",
	})
	listeners, err := b.balancers.DescribeListeners(t.Context(), &elb.DescribeListenersInput{LoadBalancerArn: arn})
	b.must(err)
	for _, l := range listeners.Listeners {
		if l.Protocol != "HTTPS" && aws.ToInt32(l.Port) > 10000 {
			t.Errorf("the test listener speaks %s", l.Protocol)
		}
		if l.Protocol == "HTTPS" && aws.ToString(l.SslPolicy) != r.Balancer.SSLPolicy {
			t.Errorf("the policy of HTTPS is %s", aws.ToString(l.SslPolicy))
		}
	}
	if _, err := b.balancers.DeleteLoadBalancer(t.Context(), &elb.DeleteLoadBalancerInput{LoadBalancerArn: arn}); err == nil {
		t.Error("it was deleted beside Penstock")
	}
	b.must(b.Extend(t.Context(), "e-1", time.Now().Add(time.Hour)))
	wantAttributes(map[string]string{"deletion_protection.enabled": "false"})
	b.must(b.Extend(t.Context(), "e-1", time.Time{}))
	wantAttributes(map[string]string{"deletion_protection.enabled": "true"})
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
