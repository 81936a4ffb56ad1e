// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A report says which instances get requests, and why others don't. A target group that no
// listener uses has no healthy target, and new targets are checked first.
func TestTargetHealth(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.cloud.SetPace(cloudtest.Pace{Register: 300 * time.Millisecond})
	b.must(b.deploy(b.persistent("f-1", image)))
	b.setSick("f-1", true)
	reports, err := b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"]; got.Status != pipeline.EnvDegraded || got.Instances != 2 || got.Healthy != 0 || !strings.Contains(got.Reason, "2 of 2 instances are not healthy: i-") || !strings.Contains(got.Reason, "Health checks failed") {
		t.Errorf("with sick instances it is reported as %+v", got)
	}
	b.setSick("f-1", false)
	all, err := b.Describe(t.Context())
	b.must(err)
	if got := all["e-1"]; got.Status != pipeline.EnvRunning || got.Healthy != 2 || got.Reason != "" {
		t.Errorf("it is reported as %+v", got)
	}
	b.cloud.Fail(cloudtest.Fault{Action: "DescribeTargetHealth", Code: "AccessDenied", Status: http.StatusForbidden})
	reports, err = b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"]; got.Status != pipeline.EnvRunning || got.Healthy != 2 {
		t.Errorf("to who may not ask it is reported as %+v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// While two builds have traffic, a browser stays with one of them.
func TestShiftIsSticky(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	_, err := b.Prepare(t.Context(), b.persistent("f-2", image))
	b.must(err)
	b.cloud.SetAlarm("errors", "OK")
	done := make(chan error, 1)
	go func() {
		_, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 50, Pause: time.Minute}}, Alarms: []string{"errors"}})
		done <- err
	}()
	b.eventually("both fleets serve", func() bool { return len(b.serves(20)) == 2 })
	reports, err := b.Describe(t.Context(), "e-1")
	b.must(err)
	served := map[string]bool{}
	for range 12 {
		jar, err := cookiejar.New(nil)
		b.must(err)
		browser, first := &http.Client{Jar: jar}, ""
		for range 6 {
			resp, err := browser.Get(reports["e-1"].Endpoint + "/env/VERSION")
			b.must(err)
			body, err := io.ReadAll(resp.Body)
			b.must(err)
			_ = resp.Body.Close()
			if first == "" {
				first = string(body)
			}
			if string(body) != first {
				t.Errorf("a browser got %s, and then %s", first, body)
			}
		}
		served[first] = true
	}
	if len(served) != 2 {
		t.Errorf("twelve browsers got %v", served)
	}
	b.cloud.SetAlarm("errors", "ALARM")
	b.wantError(<-done, pipeline.CodeFailed, "errors")
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Attributes of a target group go on with the next one: those that are declared, as long as
// they are, and those that people have set.
func TestTargetAttributes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	const slow, algorithm = "slow_start.duration_seconds", "load_balancing.algorithm.type"
	deploy := func(fleet string, declared map[string]string, want map[string]string) {
		t.Helper()
		r := b.persistent(fleet, image)
		r.TargetAttributes = declared
		b.must(b.deploy(r))
		target, err := b.target(fleet)
		b.must(err)
		out, err := b.balancers.DescribeTargetGroupAttributes(t.Context(), &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: aws.String(target)})
		b.must(err)
		got := map[string]string{}
		for _, a := range out.Attributes {
			got[aws.ToString(a.Key)] = aws.ToString(a.Value)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("fleet %s has %s = %q, want %q", fleet, k, got[k], v)
			}
		}
	}
	deploy("f-1", map[string]string{slow: "60"}, map[string]string{slow: "60", "deregistration_delay.timeout_seconds": "1"})
	target, err := b.target("f-1")
	b.must(err)
	_, err = b.balancers.ModifyTargetGroupAttributes(t.Context(), &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: aws.String(target), Attributes: []types.TargetGroupAttribute{{Key: aws.String(algorithm), Value: aws.String("least_outstanding_requests")}},
	})
	b.must(err)
	deploy("f-2", map[string]string{slow: "90"}, map[string]string{slow: "90", algorithm: "least_outstanding_requests"})
	deploy("f-3", nil, map[string]string{slow: "0", algorithm: "least_outstanding_requests"})
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Subnets in which there can be no load balancer are refused before anything is made.
func TestZones(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	all := b.stack.Settings.PublicSubnets
	out, err := b.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: all[:1]})
	b.must(err)
	twin, err := b.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{
		VpcId: out.Subnets[0].VpcId, AvailabilityZone: out.Subnets[0].AvailabilityZone, CidrBlock: aws.String("172.31.240.0/24"),
	})
	b.must(err)
	for want, subnets := range map[string][]string{
		"subnets in two zones, and the stack has them in 1":                 all[:1],
		"are both in zone " + aws.ToString(out.Subnets[0].AvailabilityZone): {all[1], all[0], aws.ToString(twin.Subnet.SubnetId)},
	} {
		b.stack.Settings.PublicSubnets = subnets
		_, err := b.Prepare(t.Context(), b.persistent("f-1", image))
		b.wantError(err, pipeline.CodeInvalid, want, "--public-subnets")
	}
	b.wantNothing()
}
