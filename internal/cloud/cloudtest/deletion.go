// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"net/http"
	"net/url"
	"strings"
)

// deleteStack deletes a stack as CloudFormation does: with its network, unless somebody uses
// that. Moto knows route tables that it can't delete, and a VPC that has them stays.
func (a *account) deleteStack(r *request) answer {
	of := a.query(r, "cloudformation", "DescribeStackResources", url.Values{"StackName": {r.form.Get("StackName")}})
	id := stackID.FindSubmatch(of.body)
	if id == nil { // there is none, or nothing of it
		return a.server.forward(r)
	}
	resources, vpc := stackResource.FindAllStringSubmatch(string(of.body), -1), ""
	for _, m := range resources {
		if !strings.HasPrefix(m[2], "vpc-") {
			continue
		}
		vpc = m[2]
		if user := a.occupant(r, m[2]); user != "" {
			failed := rollback{stack: string(id[1])}
			failed.whole("DELETE_IN_PROGRESS", "User Initiated")
			failed.happens(m[1], m[2], "AWS::EC2::VPC", "DELETE_FAILED", "The vpc '"+m[2]+"' has dependencies and cannot be deleted: "+user)
			failed.whole("DELETE_FAILED", "The following resource(s) failed to delete: ["+m[1]+"].")
			a.mu.Lock()
			defer a.mu.Unlock()
			a.rolledBack[failed.stack] = failed
			return xml(http.StatusOK, `<DeleteStackResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"/>`)
		}
	}
	for _, m := range resources { // endpoints have routes
		if strings.HasPrefix(m[2], "vpce-") {
			a.query(r, "ec2", "DeleteVpcEndpoints", url.Values{"VpcEndpointId.1": {m[2]}})
		}
	}
	for _, m := range resources { // routes and associations have the IDs of their tables, too
		if strings.HasPrefix(m[2], "rtb-") {
			a.query(r, "ec2", "DeleteRouteTable", url.Values{"RouteTableId": {m[2]}})
		}
	}
	got := a.server.forward(r)
	if got.status != http.StatusOK {
		a.fault("moto can't delete stack %s: %s", id[1], got.body)
		return got
	}
	for _, m := range resources { // that moto has left
		switch {
		case strings.HasPrefix(m[2], "igw-"):
			a.query(r, "ec2", "DetachInternetGateway", url.Values{"InternetGatewayId": {m[2]}, "VpcId": {vpc}})
			a.query(r, "ec2", "DeleteInternetGateway", url.Values{"InternetGatewayId": {m[2]}})
		case strings.Contains(m[2], ":policy/"):
			a.query(r, "iam", "DeletePolicy", url.Values{"PolicyArn": {m[2]}})
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.rolledBack, string(id[1]))
	return got
}

// occupant returns an instance or a load balancer in a VPC; empty for none.
func (a *account) occupant(r *request, vpc string) string {
	found := a.query(r, "ec2", "DescribeInstances", url.Values{
		"Filter.1.Name": {"vpc-id"}, "Filter.1.Value.1": {vpc}, "Filter.2.Name": {"instance-state-name"},
		"Filter.2.Value.1": {"pending"}, "Filter.2.Value.2": {"running"}, "Filter.2.Value.3": {"stopping"}, "Filter.2.Value.4": {"stopped"},
	})
	if m := instanceID.FindSubmatch(found.body); m != nil {
		return "instance " + string(m[1])
	}
	if balancers := a.query(r, "elasticloadbalancing", "DescribeLoadBalancers", url.Values{}); strings.Contains(string(balancers.body), "<VpcId>"+vpc+"</VpcId>") {
		return "a load balancer"
	}
	return ""
}
