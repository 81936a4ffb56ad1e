// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package audit_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/audit"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

// stackOf returns what the account's stack has made, in a VPC with one subnet.
func stackOf(t *testing.T, c *cloudtest.Cloud, subnet, vpc string) bootstrap.Resources {
	t.Helper()
	s := c.Stack()
	return bootstrap.Resources{
		Stack: "penstock", ID: "arn:aws:cloudformation:" + cloudtest.Region + ":" + c.ID + ":stack/penstock/1", VPC: vpc, PublicSubnets: []string{subnet},
		Bucket: s.Outputs["Bucket"], Table: s.Outputs["Table"], Topic: s.Outputs["Topic"],
		ApproverRole: s.Role("ApproverRole").ARN, DeployerRole: s.Role("DeployerRole").ARN, LauncherRole: s.Role("LauncherRole").ARN, RunnerRole: s.Role("RunnerRole").ARN,
		InstanceRole: s.Role("InstanceRole").ARN, SchedulerRole: s.Role("SchedulerRole").ARN, LauncherSchedulerRole: s.Role("LauncherSchedulerRole").ARN,
	}
}

// Each question is answered by AWS: with what is right, with what is not and its remedy, or
// with what kept it from being asked.
func TestAsk(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	client, ctx := ec2.NewFromConfig(c.Own()), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	vpc, err := client.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16")})
	must(err)
	subnet, err := client.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String("10.9.1.0/24")})
	must(err)
	made := stackOf(t, c, aws.ToString(subnet.Subnet.SubnetId), aws.ToString(vpc.Vpc.VpcId))
	expect := func(as, check string, state audit.State, says ...string) {
		t.Helper()
		answers := audit.New(c.As(as), made).Ask(ctx)
		if !slices.ContainsFunc(answers, func(a audit.Answer) bool {
			return a.Check == check && a.State == state && (state == audit.Good) == (a.Hint == "") &&
				!slices.ContainsFunc(says, func(text string) bool { return !strings.Contains(a.Text, text) })
		}) {
			t.Errorf("no answer about %s in the state %d says %q:\n%s", check, state, says, strings.ReplaceAll(fmt.Sprintf("%+v", answers), "} {", "}\n{"))
		}
	}

	for _, role := range []string{"ApproverRole", "DeployerRole", "LauncherRole"} {
		expect(cloudtest.Owner, "roles", audit.Good, role+" may do all")
	}
	expect(cloudtest.Owner, "default key", audit.Good, "AWS's own key")
	expect(cloudtest.Owner, "quotas", audit.Good, "100 vCPUs")
	expect(cloudtest.Owner, "subnets", audit.Bad, made.PublicSubnets[0], "no way to ssm, ssmmessages, ec2messages, s3")
	expect(cloudtest.Deployer, "roles", audit.Unasked, "not authorized to perform iam:SimulatePrincipalPolicy")
	expect(cloudtest.Deployer, "subnets", audit.Unasked, "ec2:DescribeRouteTables")

	// A way out, a key of one's own, fewer machines, and another template.
	gateway, err := client.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{})
	must(err)
	_, err = client.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: gateway.InternetGateway.InternetGatewayId, VpcId: vpc.Vpc.VpcId})
	must(err)
	tables, err := client.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{made.VPC}}}})
	must(err)
	_, err = client.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: tables.RouteTables[0].RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: gateway.InternetGateway.InternetGatewayId})
	must(err)
	expect(cloudtest.Owner, "subnets", audit.Good, aws.ToString(gateway.InternetGateway.InternetGatewayId))
	c.SetQuota("L-1216C47A", 5)
	expect(cloudtest.Owner, "quotas", audit.Doubt, "5 vCPUs", "at least 8")
	c.SetQuota("L-53DA6B97", 1)
	expect(cloudtest.Owner, "quotas", audit.Doubt, "0 of 1 load balancers")
	made.ApplyProject, made.RunnerProject = "penstock-apply", "penstock-runner"
	c.SetProject(made.ApplyProject, cloudtest.Project{})
	c.SetProject(made.RunnerProject, cloudtest.Project{Size: "BUILD_GENERAL1_MEDIUM"})
	c.SetQuota("L-9D07B6EF", 1)
	expect(cloudtest.Owner, "quotas", audit.Good, "size BUILD_GENERAL1_SMALL, at most 1 at")
	expect(cloudtest.Owner, "quotas", audit.Good, "size BUILD_GENERAL1_MEDIUM, at most 100 at")
	c.SetProject(made.RunnerProject, cloudtest.Project{})
	expect(cloudtest.Owner, "quotas", audit.Bad, "size BUILD_GENERAL1_SMALL, at most 1 at", "would wait for the apply")
	c.SetQuota("L-9D07B6EF", 0)
	expect(cloudtest.Owner, "quotas", audit.Bad, "no build on machines of the size BUILD_GENERAL1_SMALL")
	expect(cloudtest.Approver, "quotas", audit.Unasked, "codebuild:BatchGetProjects")
	key, err := kms.NewFromConfig(c.Own()).CreateKey(ctx, &kms.CreateKeyInput{})
	must(err)
	c.SetDefaultKey(aws.ToString(key.KeyMetadata.Arn))
	expect(cloudtest.Owner, "default key", audit.Bad, aws.ToString(key.KeyMetadata.Arn), "kms:CreateGrant")
	c.Given(map[string]string{"ImageKeys": aws.ToString(key.KeyMetadata.Arn)})
	expect(cloudtest.Owner, "default key", audit.Good, "which deployers may use")
	narrow := strings.ReplaceAll(bootstrap.Template(), "ec2:StopInstances", "ec2:RebootInstances")
	c.SetTemplate(narrow)
	expect(cloudtest.Owner, "roles", audit.Bad, "DeployerRole may not call ec2:StopInstances")
	c.SetTemplate(bootstrap.Template())

	// What bounds the roles withholds.
	out, err := iam.NewFromConfig(c.Own()).CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("boundary"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ec2:StopInstances","Resource":"*"}]}`)})
	must(err)
	c.Given(map[string]string{"PermissionsBoundary": aws.ToString(out.Policy.Arn), "RolePath": "/acme/"})
	made = stackOf(t, c, made.PublicSubnets[0], made.VPC)
	expect(cloudtest.Owner, "roles", audit.Bad, ":role/acme/penstock-DeployerRole may not call ec2:StopInstances: its permissions boundary")
	expect(cloudtest.Owner, "roles", audit.Good, "ApproverRole may do all")
	all := iamtest.Statement{Effect: "Allow", Actions: []string{"*"}, Resources: []string{"*"}}
	c.SetOrganization(iamtest.Policy{all, {Effect: "Deny", Actions: []string{"sns:Publish"}, Resources: []string{"*"}}})
	expect(cloudtest.Owner, "roles", audit.Bad, "DeployerRole may not call sns:Publish: a policy of the organization")
	expect(cloudtest.Owner, "roles", audit.Bad, "DeployerRole may not call ec2:StopInstances: its permissions boundary")
}
