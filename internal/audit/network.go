// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package audit

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// needed are the services that instances call, by the ends of the names of their endpoints.
var needed = []string{"ssm", "ssmmessages", "ec2messages", "s3"}

// reach asks by which way the instances of each subnet get to what they need.
func (a *Audit) reach(ctx context.Context) {
	const check = "subnets"
	tables, err := a.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []types.Filter{filter("vpc-id", a.made.VPC)}})
	if err != nil {
		a.unasked(check, "ec2:DescribeRouteTables", err)
		return
	}
	endpoints, err := a.ec2.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{Filters: []types.Filter{filter("vpc-id", a.made.VPC)}})
	if err != nil {
		a.unasked(check, "ec2:DescribeVpcEndpoints", err)
		return
	}
	for _, subnet := range a.made.InstanceSubnets() {
		table := tableOf(tables.RouteTables, subnet)
		way, out := wayOut(table)
		var lacking []string
		for _, service := range needed {
			if !out && !has(endpoints.VpcEndpoints, service, subnet, aws.ToString(table.RouteTableId)) {
				lacking = append(lacking, service)
			}
		}
		switch {
		case len(lacking) > 0:
			a.say(check, Bad, "Give its route table a way to the internet, by a NAT gateway or an internet gateway, or the VPC endpoints of these services.",
				"from subnet %s there is no way to %s", subnet, strings.Join(lacking, ", "))
		case out:
			a.say(check, Good, "", "subnet %s reaches Systems Manager and S3 by %s", subnet, way)
		default:
			a.say(check, Good, "", "subnet %s reaches Systems Manager and S3 by endpoints of its VPC", subnet)
		}
	}
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// tableOf returns the route table of a subnet: its own, else the main one.
func tableOf(tables []types.RouteTable, subnet string) (main types.RouteTable) {
	for _, t := range tables {
		for _, to := range t.Associations {
			if aws.ToString(to.SubnetId) == subnet {
				return t
			}
			if aws.ToBool(to.Main) {
				main = t
			}
		}
	}
	return main
}

// wayOut returns by what the traffic to everywhere goes.
func wayOut(t types.RouteTable) (way string, ok bool) {
	for _, r := range t.Routes {
		if aws.ToString(r.DestinationCidrBlock) != "0.0.0.0/0" || r.State == types.RouteStateBlackhole {
			continue
		}
		for _, by := range []*string{r.NatGatewayId, r.GatewayId, r.TransitGatewayId, r.InstanceId, r.NetworkInterfaceId, r.VpcPeeringConnectionId} {
			if id := aws.ToString(by); id != "" {
				return id, true
			}
		}
	}
	return "", false
}

// has reports whether a subnet has an endpoint of a service: one in the VPC, whose name
// everybody there finds, or one that its route table leads to.
func has(endpoints []types.VpcEndpoint, service, subnet, table string) bool {
	return slices.ContainsFunc(endpoints, func(e types.VpcEndpoint) bool {
		if !strings.HasSuffix(aws.ToString(e.ServiceName), "."+service) {
			return false
		}
		return aws.ToBool(e.PrivateDnsEnabled) || slices.Contains(e.SubnetIds, subnet) || slices.Contains(e.RouteTableIds, table)
	})
}

// The quotas that a pipeline meets first, by their codes, with the least that it needs.
const (
	vcpuQuota     = "L-1216C47A" // vCPUs of running On-Demand Standard instances
	balancerQuota = "L-53DA6B97" // Application Load Balancers per Region
	leastVCPUs    = 8            // two small instances of each: a builder, a test, what serves and what comes after it
)

const (
	quotas = "quotas" // the check
	higher = "Ask AWS for a higher quota, in the console of Service Quotas."
)

// quota asks for a quota; false if AWS did not answer.
func (a *Audit) quota(ctx context.Context, service, code string) (float64, bool) {
	out, err := a.quotas.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String(service), QuotaCode: aws.String(code)})
	if err != nil {
		a.unasked(quotas, "servicequotas:GetServiceQuota", err)
		return 0, false
	}
	return aws.ToFloat64(out.Quota.Value), true
}

// limits asks for the quotas, and how much of them is left.
func (a *Audit) limits(ctx context.Context) {
	cpus, ok := a.quota(ctx, "ec2", vcpuQuota)
	switch {
	case !ok:
		return
	case cpus < leastVCPUs:
		a.say(quotas, Doubt, higher, "on-demand instances may have %v vCPUs together; a pipeline that deploys beside what serves needs at least %d", cpus, leastVCPUs)
	default:
		a.say(quotas, Good, "", "on-demand instances may have %v vCPUs together", cpus)
	}
	most, ok := a.quota(ctx, "elasticloadbalancing", balancerQuota)
	if !ok {
		return
	}
	there := 0
	pages := elasticloadbalancingv2.NewDescribeLoadBalancersPaginator(a.elb, &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			a.unasked(quotas, "elasticloadbalancing:DescribeLoadBalancers", err)
			return
		}
		there += len(page.LoadBalancers)
	}
	if left := int(most) - there; left < 2 {
		a.say(quotas, Doubt, higher, "%d of %v load balancers are there: one environment takes one", there, most)
		return
	}
	a.say(quotas, Good, "", "%d of %v load balancers are there", there, most)
}
