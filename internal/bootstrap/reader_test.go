// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// TestReader says who may take the reader role, what it may do, and that there is none where
// nobody asked for it.
func TestReader(t *testing.T) {
	t.Parallel()
	const deployer = "arn:aws:iam::222222222222:role/penstock-DeployerRole-X"
	if _, made := deploy(t, nil).Resources["ReaderRole"]; made {
		t.Error("a role is made that nobody asked for")
	}
	d := deploy(t, map[string]string{"Readers": deployer, "ReaderExternalId": "acme-7", "OwnKey": "yes"})
	reader := d.Role("ReaderRole")
	all := iamtest.Policy{{Effect: "Allow", Actions: []string{"*"}, Resources: []string{"*"}}}
	who := func(arn string) iamtest.Principal {
		return iamtest.Principal{ARN: arn, Account: "222222222222", Policies: all}
	}
	take := func(id string) iamtest.Request {
		r := iamtest.Request{Action: "sts:AssumeRole", Resources: []iamtest.Resource{{ARN: reader.ARN, Account: reader.Account, Policy: reader.Trust}}}
		if id != "" {
			r.Context = map[string][]string{"sts:ExternalId": {id}}
		}
		return r
	}
	if err := who(deployer).May(take("acme-7")); err != nil {
		t.Errorf("who is named can't take it: %v", err)
	}
	for _, id := range []string{"", "acme-8"} {
		if who(deployer).May(take(id)) == nil {
			t.Errorf("who is named takes it with the external ID %q", id)
		}
	}
	if who("arn:aws:iam::222222222222:role/other").May(take("acme-7")) == nil {
		t.Error("who is not named takes it")
	}

	table, bucket := "arn:aws:dynamodb:eu-west-1:123456789012:table/"+d.Outputs["Table"], "arn:aws:s3:::"+d.Outputs["Bucket"]
	for _, call := range []struct {
		action, arn string
		may         bool
	}{
		{"dynamodb:GetItem", table, true}, {"dynamodb:Query", table, true}, {"dynamodb:PutItem", table, false}, {"dynamodb:UpdateItem", table, false},
		{"dynamodb:DeleteItem", table, false}, {"dynamodb:Scan", table, false}, {"dynamodb:BatchWriteItem", table, false},
		{"s3:GetObject", bucket + "/ledger/shop/1", true}, {"s3:GetObject", bucket + "/logs/runs/r-1", false}, {"s3:GetObject", bucket + "/modules/stages/1", false},
		{"s3:GetObject", bucket + "/state/terraform.tfstate", false}, {"s3:PutObject", bucket + "/ledger/shop/1", false}, {"s3:DeleteObject", bucket + "/ledger/shop/1", false},
		{"ec2:DescribeInstances", "*", false},
	} {
		if err := reader.May(iamtest.Request{Action: call.action, Resources: []iamtest.Resource{{ARN: call.arn}}}); (err == nil) != call.may {
			t.Errorf("%s of %s: %v", call.action, call.arn, err)
		}
	}

	of := deploy(t, map[string]string{"ReaderRoles": reader.ARN}).Role("DeployerRole")
	other := iamtest.Resource{ARN: "arn:aws:iam::333333333333:role/penstock-ReaderRole-X", Account: "333333333333"}
	other.Policy = iamtest.Policy{{Effect: "Allow", Actions: []string{"sts:AssumeRole"}, Principals: map[string][]string{"AWS": {"*"}}}}
	if of.May(iamtest.Request{Action: "sts:AssumeRole", Resources: []iamtest.Resource{other}}) == nil {
		t.Error("deployers take roles that nobody named")
	}
	d = deploy(t, map[string]string{"Readers": of.ARN})
	reader = d.Role("ReaderRole")
	if err := of.May(take("")); err != nil {
		t.Errorf("deployers can't take a reader role that is named: %v", err)
	}
}
