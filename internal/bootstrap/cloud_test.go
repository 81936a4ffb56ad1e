// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, reason.Hint(err))
	}
}

// simulated returns a stack in the test cloud.
func simulated(c *cloudtest.Cloud, name string) *bootstrap.Stack {
	return bootstrap.NewWith(cloudformation.NewFromConfig(c.Own()), bootstrap.UploaderOf(c.Own()), name, 5*time.Millisecond)
}

func apply(t *testing.T, s *bootstrap.Stack, p bootstrap.Parameters) *bootstrap.Changes {
	t.Helper()
	changes, err := s.Plan(t.Context(), p)
	must(t, err)
	must(t, changes.Apply(t.Context(), nil))
	return changes
}

func TestCreateFindAndRepeat(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, bootstrap.DefaultName)
	if _, err := s.Find(t.Context()); pipeline.CodeOf(err) != pipeline.CodeNotFound || !strings.Contains(reason.Hint(err), "penstock bootstrap --region "+cloudtest.Region) {
		t.Fatalf("found %v (%s), want not found and the command", err, reason.Hint(err))
	}
	changes := apply(t, s, bootstrap.Parameters{Zones: 3})
	added := map[string]string{}
	for _, change := range changes.List {
		if change.Action != "Add" {
			t.Errorf("%+v in a new stack", change)
		}
		added[change.Resource] = change.Type
	}
	for resource, kind := range map[string]string{"Vpc": "AWS::EC2::VPC", "PublicSubnet3": "AWS::EC2::Subnet", "Bucket": "AWS::S3::Bucket", "Table": "AWS::DynamoDB::Table"} {
		if added[resource] != kind {
			t.Errorf("change of %s is of type %q, want %s", resource, added[resource], kind)
		}
	}
	r, err := s.Find(t.Context())
	must(t, err)
	if len(r.PublicSubnets) != 3 || len(r.PrivateSubnets) != 3 || r.PrivateAccess || r.InstanceSubnets()[0] != r.PublicSubnets[0] || r.TemplateVersion != bootstrap.TemplateVersion {
		t.Errorf("found %+v", r)
	}
	for name, value := range map[string]string{
		"vpc": r.VPC, "bucket": r.Bucket, "table": r.Table, "topic": r.Topic, "profile": r.InstanceProfile, "instance role": r.InstanceRole,
		"instance group": r.InstanceSecurityGroup, "load balancer group": r.LoadBalancerSecurityGroup, "scheduler": r.SchedulerRole,
		"approver": r.ApproverRole, "deployer": r.DeployerRole, "launcher": r.LauncherRole, "runner": r.RunnerRole,
	} {
		if value == "" {
			t.Errorf("output of %s is empty", name)
		}
	}
	table, err := dynamodb.NewFromConfig(c.Own()).DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(r.Table)})
	must(t, err)
	if keys := table.Table.KeySchema; len(keys) != 2 || aws.ToString(keys[0].AttributeName) != "pk" || aws.ToString(keys[1].AttributeName) != "sk" {
		t.Errorf("the table's keys are %+v", keys)
	}
	checkGroup(t, c, r)
	nat, err := ec2.NewFromConfig(c.Own()).DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{})
	must(t, err)
	if len(nat.NatGateways) > 0 {
		t.Error("there is a NAT gateway that nobody asked for")
	}

	again, err := s.Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	if !again.None() {
		t.Errorf("a second plan has changes: %+v", again.List)
	}
	must(t, again.Apply(t.Context(), nil))
}

// checkGroup checks that instances can be reached by the load balancers alone.
func checkGroup(t *testing.T, c *cloudtest.Cloud, r bootstrap.Resources) {
	t.Helper()
	out, err := ec2.NewFromConfig(c.Own()).DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{r.InstanceSecurityGroup}})
	must(t, err)
	var rules []ec2types.IpPermission
	for _, g := range out.SecurityGroups {
		rules = append(rules, g.IpPermissions...)
	}
	if len(rules) != 1 || aws.ToInt32(rules[0].FromPort) != 8080 || aws.ToInt32(rules[0].ToPort) != 8080 || len(rules[0].IpRanges)+len(rules[0].Ipv6Ranges)+len(rules[0].PrefixListIds) != 0 ||
		len(rules[0].UserIdGroupPairs) != 1 || aws.ToString(rules[0].UserIdGroupPairs[0].GroupId) != r.LoadBalancerSecurityGroup {
		t.Errorf("the instances' inbound rules are %+v", rules)
	}
}

// CI is found by the names of its projects.
func TestCIIsFound(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, "moving")
	apply(t, s, bootstrap.Parameters{Repository: "https://example.com/acme/pipeline.git", Every: 10, Webhook: "/ci/webhook-secret"})
	r, err := s.Find(t.Context())
	must(t, err)
	if r.RunnerProject != "moving-runner" || r.ApplyProject != "moving-apply" || r.CILogGroup != "/aws/codebuild/moving" || r.StepRole == "" || !strings.HasPrefix(r.WebhookURL, "https://") {
		t.Errorf("with CI found %+v", r)
	}
}

// A stack that can't be made is taken back, which the error says with AWS's reason. It must be
// removed before there can be another one of the name.
func TestRollback(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, "failing")
	c.FailResource("Table", "Resource limit exceeded")
	changes, err := s.Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	var said []string
	err = changes.Apply(t.Context(), func(e bootstrap.Event) { said = append(said, e.Resource+" "+e.Status) })
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "Table (AWS::DynamoDB::Table) failed: Resource limit exceeded") {
		t.Errorf("the error is %v", err)
	}
	if want := []string{"failing CREATE_IN_PROGRESS", "Table CREATE_IN_PROGRESS", "Table CREATE_FAILED", "failing ROLLBACK_IN_PROGRESS", "failing ROLLBACK_COMPLETE"}; !slices.Equal(said, want) {
		t.Errorf("it says %q", said)
	}
	tables, err := dynamodb.NewFromConfig(c.Own()).ListTables(t.Context(), &dynamodb.ListTablesInput{})
	must(t, err)
	if len(tables.TableNames) != 0 {
		t.Errorf("these tables are left: %v", tables.TableNames)
	}
	if _, err := s.Plan(t.Context(), bootstrap.Parameters{}); err == nil || !strings.Contains(err.Error(), "ROLLBACK_COMPLETE") {
		t.Errorf("a plan of it: %v", err)
	}

	c.FailResource("Table", "")
	made := simulated(c, "made")
	apply(t, made, bootstrap.Parameters{})
	c.FailResource("Bucket", "Access Denied")
	changes, err = made.Plan(t.Context(), bootstrap.Parameters{ServicePort: 9000})
	must(t, err)
	if err := changes.Apply(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "Bucket (AWS::S3::Bucket) failed: Access Denied") {
		t.Errorf("the error of an update is %v", err)
	}
	if _, err := made.Find(t.Context()); err != nil {
		t.Errorf("the stack as it was: %v", err)
	}
}

func TestDiscardLeavesNothing(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, "looked-at")
	for range 2 { // the second plan has the same content as the first
		changes, err := s.Plan(t.Context(), bootstrap.Parameters{})
		must(t, err)
		if changes.None() || !changes.New {
			t.Fatalf("the plan of a new stack is %+v", changes)
		}
		must(t, changes.Discard(t.Context()))
	}
	if n := c.Count()["ExecuteChangeSet"]; n != 0 {
		t.Errorf("%d change sets were executed", n)
	}
	if _, err := s.Find(t.Context()); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("found %v, want not found", err)
	}
}

func TestGivenThingsAreUsedAndNotMade(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	first := simulated(c, "first")
	apply(t, first, bootstrap.Parameters{})
	given, err := first.Find(t.Context())
	must(t, err)

	s := simulated(c, "second")
	apply(t, s, bootstrap.Parameters{
		VPC: given.VPC, PublicSubnets: given.PublicSubnets, PrivateSubnets: given.PrivateSubnets, Bucket: given.Bucket, Table: given.Table, ServicePort: 9000,
	})
	vpcs, err := ec2.NewFromConfig(c.Own()).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	must(t, err)
	tables, err := dynamodb.NewFromConfig(c.Own()).ListTables(t.Context(), &dynamodb.ListTablesInput{})
	must(t, err)
	if len(vpcs.Vpcs) != 2 || len(tables.TableNames) != 1 { // the account's own VPC, and the first stack's
		t.Errorf("there are %d VPCs and the tables %v", len(vpcs.Vpcs), tables.TableNames)
	}
	r, err := s.Find(t.Context())
	must(t, err)
	if r.VPC != given.VPC || r.Bucket != given.Bucket || r.Table != given.Table || !r.PrivateAccess || strings.Join(r.PrivateSubnets, ",") != strings.Join(given.PrivateSubnets, ",") {
		t.Errorf("found %+v, want what was given: %+v", r, given)
	}
	if r.InstanceSecurityGroup == "" || r.InstanceSecurityGroup == given.InstanceSecurityGroup {
		t.Errorf("its security group is %q", r.InstanceSecurityGroup)
	}
}

func TestDeleteKeepsTheRecord(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, "going")
	apply(t, s, bootstrap.Parameters{})
	r, err := s.Find(t.Context())
	must(t, err)
	machines := ec2.NewFromConfig(c.Own())
	made, err := machines.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: aws.String(cloudtest.BaseImage), InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: aws.String(r.PublicSubnets[0]),
	})
	must(t, err)
	id := aws.ToString(made.Instances[0].InstanceId)
	if _, err := s.Delete(t.Context(), none, nil); pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), id) {
		t.Errorf("deleted a network with instance %s in it: %v", id, err)
	}
	c.Terminate(id)
	kept, err := s.Delete(t.Context(), none, nil)
	must(t, err)
	if kept.Bucket != r.Bucket || kept.Table != r.Table {
		t.Errorf("kept %+v of %+v", kept, r)
	}
	if _, err := dynamodb.NewFromConfig(c.Own()).DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(r.Table)}); err != nil {
		t.Errorf("the table is gone: %v", err)
	}
	if _, err := s.Find(t.Context()); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("found %v, want not found", err)
	}
	vpcs, err := machines.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	must(t, err)
	if len(vpcs.Vpcs) != 1 { // the account's own
		t.Errorf("%d VPCs are left, want one", len(vpcs.Vpcs))
	}
}
