// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// sharedListener makes a load balancer that others have too, with a listener at a port that
// answers everything with 404, and lets it in at production's instances.
func sharedListener(s *site, c *cloudtest.Cloud, port int32) (listener, address string) {
	ctx := context.Background()
	made, err := bootstrap.Find(ctx, cloudformation.NewFromConfig(c.Own()), bootstrap.DefaultName)
	s.must(err)
	network, balancers := ec2.NewFromConfig(c.Own()), elb.NewFromConfig(c.Own())
	group, err := network.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("shared"), Description: aws.String("shared"), VpcId: aws.String(made.VPC)})
	s.must(err)
	_, err = network.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(made.InstanceSecurityGroup), IpPermissions: []ec2types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8080), ToPort: aws.Int32(8080), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: group.GroupId}},
	}}})
	s.must(err)
	lb, err := balancers.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: aws.String("shared"), Type: types.LoadBalancerTypeEnumApplication, Subnets: made.PublicSubnets, SecurityGroups: []string{aws.ToString(group.GroupId)},
	})
	s.must(err)
	l, err := balancers.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: lb.LoadBalancers[0].LoadBalancerArn, Port: aws.Int32(port), Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404")}}},
		Tags:           []types.Tag{{Key: aws.String("penstock:listener"), Value: aws.String(bootstrap.DefaultName)}},
	})
	s.must(err)
	return aws.ToString(l.Listeners[0].ListenerArn), aws.ToString(lb.LoadBalancers[0].DNSName)
}

// Production is behind a listener that exists. Its steps reach the next build by the header
// alone; who asks for its host gets what serves, and who asks for another host what the
// listener says to everybody. A destroy leaves the listener as it was.
func TestListenerOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	config := func(listener string) string {
		return strings.NewReplacer(
			`provider "penstock" {}`, `provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }`,
			`from     = { directory = "image/rootfs" }`, `from     = { ami = "`+cloudtest.BaseImage+`" }`,
			`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`, `command = "mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
			`after    = [penstock_stage.acceptance.passed]
}`, `after    = [penstock_stage.acceptance.passed]
  environment = { listener_arn = "`+listener+`", host = "shop.example.com", priority = 10, drain_timeout = "1s" }
  steps = [
    { name = "check", http = { path = "/" } },
    { name = "load", load = { rate = 20, duration = "1s", path = "/", error_rate = 0 } },
    { name = "curl", command = "curl -fsS -H \"$PENSTOCK_ENDPOINT_HEADER\" -H 'Host: shop.example.com' \"$PENSTOCK_ENDPOINT/\" | grep -qx \"$(cat version)\"" },
  ]
}`,
		).Replace(faultConfig())
	}
	s := newSite(t, config("arn:aws:elasticloadbalancing:"+cloudtest.Region+":123456789012:listener/app/none/0123456789abcdef/0123456789abcdef"))
	s.bootstrap(c)
	listener, address := sharedListener(s, c, 9080)
	s.must(os.WriteFile(filepath.Join(s.dir, "main.tf"), []byte(config(listener)), 0o600))
	ask := func(host string) (int, string) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":9080/", nil)
		s.must(err)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		s.must(err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		s.must(err)
		return resp.StatusCode, strings.TrimSpace(string(text))
	}
	for _, version := range []string{"1", "2"} {
		if version == "2" {
			s.commit(version)
		}
		s.apply()
		if status, text := ask("shop.example.com"); status != http.StatusOK || text != version {
			t.Errorf("production answers %d %q, want version %s", status, text, version)
		}
		if status, _ := ask("other.example.com"); status == http.StatusOK {
			t.Errorf("another host of the listener gets %d", status)
		}
	}
	s.destroy()
	if status, _ := ask("shop.example.com"); status == http.StatusOK {
		t.Errorf("after the destroy, the listener answers %d", status)
	}
	rules, err := elb.NewFromConfig(c.Own()).DescribeRules(context.Background(), &elb.DescribeRulesInput{ListenerArn: aws.String(listener)})
	s.must(err)
	if len(rules.Rules) != 1 {
		t.Errorf("after the destroy, the listener has %d rules, want its default", len(rules.Rules))
	}
}
