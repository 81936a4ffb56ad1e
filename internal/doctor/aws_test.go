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
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// On AWS it says what the caller may do, and whether the clocks agree.
func TestOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	as := func(role string) { environ(t, c, role) }
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

// With --aws it asks whether the machines of images and stages can run what they start from,
// and warns of images whose keys nobody else may use.
func TestImagesOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	environ(t, c, cloudtest.Owner)
	changes, err := bootstrap.New(c.Own(), bootstrap.DefaultName).Plan(t.Context(), bootstrap.Parameters{})
	if err == nil {
		err = changes.Apply(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	state := func(base, builder, stage string, publish *pipeline.Publication) map[string]*pipeline.State {
		st := &pipeline.State{
			Pipeline: pipeline.Pipeline{Name: "shop"},
			ImageDefinitions: map[string]pipeline.ImageDefinition{
				"base":  {Name: "base", From: pipeline.ImageFrom{AMI: base}, Builder: builder, Publish: publish},
				"files": {Name: "files", From: pipeline.ImageFrom{Directory: "."}},
			},
			Stages: map[string]pipeline.Stage{"commit": {Name: "commit"}, "accept": {Name: "accept", Env: &pipeline.EnvironmentSpec{InstanceType: stage}}},
			Builds: map[string]pipeline.Build{"b-1": {ID: "b-1", BaseImage: base}},
		}
		return map[string]*pipeline.State{"shop": st}
	}
	examine := func(states map[string]*pipeline.State) []Finding {
		a, err := app.Open(t.Context(), app.Options{DataDir: t.TempDir(), AWS: &app.AWS{Region: cloudtest.Region, Stack: bootstrap.DefaultName}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Close(context.WithoutCancel(t.Context())) }()
		p := &checker{app: a, states: states}
		p.shared()
		p.architectures(t.Context())
		return p.findings
	}
	want := func(got []Finding, status Status, check string, says ...string) {
		t.Helper()
		for _, text := range says {
			if !slices.ContainsFunc(got, func(f Finding) bool {
				return f.Check == check && f.Status == status && strings.Contains(f.Text, text) && (f.Remedy == "") == (status == OK)
			}) {
				t.Errorf("no %s of %s says %q: %+v", status, check, text, got)
			}
		}
	}
	got := examine(state(cloudtest.BaseImage, "", "t3.small", nil))
	want(got, OK, "architecture", "2 were asked about")
	if len(got) != 1 {
		t.Errorf("all is well, and it finds %+v", got)
	}
	want(examine(state(cloudtest.ArmImage, "t4g.small", "t4g.small", nil)), OK, "architecture", "2 were asked about")
	want(examine(state(cloudtest.ArmImage, "", "t4g.small", nil)), Problem, "architecture", `image "base" of pipeline "shop"`)
	want(examine(state(cloudtest.ArmImage, "t4g.small", "t3.small", nil)), Problem, "architecture", `stage "accept" of pipeline "shop"`)
	c.Fail(cloudtest.Fault{Action: "DescribeImages", Times: 20, Code: "UnauthorizedOperation", Status: 403})
	want(examine(state(cloudtest.BaseImage, "", "t3.small", nil)), Unknown, "architecture", `image "base" of pipeline "shop": AWS could not be asked`, `stage "accept"`)
	c.Mend()
	want(examine(state(cloudtest.BaseImage, "", "t3.small", &pipeline.Publication{Organizations: []string{"arn:aws:organizations::1:organization/o-1"}, Units: []string{"ou-2"}})),
		Warning, "shared images", `image "base" of pipeline "shop" is shared with arn:aws:organizations::1:organization/o-1, ou-2`)
	for _, f := range examine(state(cloudtest.BaseImage, "", "t3.small", &pipeline.Publication{Accounts: []string{"999999999999"}})) {
		if f.Check == "shared images" {
			t.Errorf("an image that is shared with an account is found: %+v", f)
		}
	}
}

// With --aws it opens each target that stages name, once, and says what is wrong with one, or
// what AWS answers there.
func TestTargetsOnAWS(t *testing.T) {
	home, there := cloudtest.New(t), cloudtest.New(t)
	environ(t, home, cloudtest.Deployer)
	make := func(c *cloudtest.Cloud, p bootstrap.Parameters) {
		t.Helper()
		changes, err := bootstrap.New(c.Own(), bootstrap.DefaultName).Plan(t.Context(), p)
		if err == nil {
			err = changes.Apply(t.Context(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	make(home, bootstrap.Parameters{})
	deployer := []string{home.Stack().Role(cloudtest.Deployer).ARN}
	make(there, bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartTarget}, Trusted: deployer, ExternalID: "agreed", Readers: deployer})
	at := pipeline.Target{Name: "eu", RoleARN: there.Stack().Role("TargetRole").ARN, ExternalID: "agreed"}
	examine := func(status Status, says ...string) {
		t.Helper()
		a, err := app.Open(t.Context(), app.Options{DataDir: t.TempDir(), AWS: &app.AWS{Region: cloudtest.Region, Stack: bootstrap.DefaultName}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Close(context.WithoutCancel(t.Context())) }()
		other := at
		other.Name = "same place"
		stages := func(at pipeline.Target) *pipeline.State {
			return &pipeline.State{Stages: map[string]pipeline.Stage{"commit": {Name: "commit"}, "production": {Name: "production", At: at}}}
		}
		p := &checker{app: a, states: map[string]*pipeline.State{"shop": stages(at), "till": stages(other)}}
		p.targets(t.Context())
		found := slices.DeleteFunc(p.findings, func(f Finding) bool { return f.Check != "targets" || f.Status != status })
		if len(says) == 0 && len(found) == 0 {
			return
		}
		if len(found) != 1 || len(says) == 0 || (found[0].Remedy == "") != (status == OK) || slices.ContainsFunc(says, func(text string) bool { return !strings.Contains(found[0].Text, text) }) {
			t.Errorf("it finds %+v, want one %s that says %q", found, status, says)
		}
	}
	examine(Problem, "target eu", there.ID, at.RoleARN, "AccessDenied")
	make(home, bootstrap.Parameters{TargetRoles: []string{at.RoleARN}})
	examine(OK, "target eu", there.ID, `stack "penstock"`, "can be used")
	examine(Unknown, "target eu", "roles", "quotas", "subnets")
	at.ReaderRoleARN = there.Stack().Role("TargetReaderRole").ARN
	examine(Warning, "target eu", "the reader role can't be used", at.ReaderRoleARN, "AccessDenied")
	make(home, bootstrap.Parameters{ReaderRoles: []string{at.ReaderRoleARN}})
	examine(Warning)
}

// environ makes the program's requests those of a role.
func environ(t *testing.T, c *cloudtest.Cloud, role string) {
	t.Helper()
	for _, variable := range c.EnvironAs(role) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
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
