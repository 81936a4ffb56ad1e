// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// On AWS it says what the caller may do, and whether the clocks agree.
func TestOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	as := func(role string) {
		for _, variable := range c.EnvironAs(role) {
			name, value, _ := strings.Cut(variable, "=")
			t.Setenv(name, value)
		}
	}
	as(cloudtest.Owner)
	open := func(ctx context.Context) (*app.App, error) {
		return app.Open(ctx, app.Options{DataDir: t.TempDir(), AWS: &app.AWS{Region: cloudtest.Region, Stack: bootstrap.DefaultName}})
	}
	asks := false
	examine := func() []Finding { return Examine(t.Context(), Options{Open: open, AWS: asks}) }
	expect := func(check string, status Status, says string) {
		t.Helper()
		findings := examine()
		if !slices.ContainsFunc(findings, func(f Finding) bool {
			return f.Check == check && f.Status == status && strings.Contains(f.Text, says) && (f.Status == OK) == (f.Remedy == "")
		}) {
			t.Errorf("no %s of %s says %q: %+v", status, check, says, findings)
		}
	}
	expect("place", Warning, "stack")
	changes, err := bootstrap.New(c.Own(), bootstrap.DefaultName).Plan(t.Context(), bootstrap.Parameters{})
	if err != nil {
		t.Fatal(err)
	}
	if err := changes.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	expect("place", OK, "on AWS")
	expect("rights", OK, "and approve and reject")
	expect("clock", OK, "")

	for role, says := range map[string]string{
		cloudtest.Approver: "you may approve and reject; to run stages and promote, you need the deployer role",
		cloudtest.Deployer: "run stages or launch environments, and promote; to approve or reject",
	} {
		as(role)
		expect("rights", OK, says)
	}
	as(cloudtest.Runner)
	expect("rights", Warning, "you may read")
	as(cloudtest.Owner)

	asks = true
	associate(t, c)
	expect("roles", OK, "DeployerRole may do all that it is for")
	expect("subnets", OK, "reaches Systems Manager and S3")
	as(cloudtest.Deployer)
	expect("roles", Unknown, "iam:SimulatePrincipalPolicy")
	as(cloudtest.Owner)
	asks = false

	c.SetClock(2 * time.Minute)
	expect("clock", Problem, "differs from AWS's")
	c.SetClock(-2 * time.Minute)
	expect("clock", Problem, "differs from AWS's")
}

// associate gives the public subnets the route table to the internet that the stack made for
// them: the simulator makes the association of a stack, and does not show it.
func associate(t *testing.T, c *cloudtest.Cloud) {
	t.Helper()
	made, err := bootstrap.New(c.Own(), bootstrap.DefaultName).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := ec2.NewFromConfig(c.Own())
	tables, err := client.DescribeRouteTables(t.Context(), &ec2.DescribeRouteTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables.RouteTables {
		if !slices.ContainsFunc(table.Routes, func(r types.Route) bool { return strings.HasPrefix(aws.ToString(r.GatewayId), "igw-") }) {
			continue
		}
		for _, subnet := range made.PublicSubnets {
			if _, err := client.AssociateRouteTable(t.Context(), &ec2.AssociateRouteTableInput{RouteTableId: table.RouteTableId, SubnetId: aws.String(subnet)}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
