// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// install makes in the account what the bootstrap stack makes, and a stack that says
// where it is: the simulator can't deploy the real one.
func install(t *testing.T, c *cloudtest.Cloud) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cfg := t.Context(), c.Config()
	bucket := "penstock-" + c.ID
	_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: aws.String(bucket), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region},
	})
	must(err)
	attribute := func(name string) dynamodbtypes.AttributeDefinition {
		return dynamodbtypes.AttributeDefinition{AttributeName: aws.String(name), AttributeType: dynamodbtypes.ScalarAttributeTypeS}
	}
	_, err = dynamodb.NewFromConfig(cfg).CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String("penstock"), BillingMode: dynamodbtypes.BillingModePayPerRequest, AttributeDefinitions: []dynamodbtypes.AttributeDefinition{attribute("pk"), attribute("sk")},
		KeySchema: []dynamodbtypes.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: dynamodbtypes.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: dynamodbtypes.KeyTypeRange}},
	})
	must(err)
	_, err = iam.NewFromConfig(cfg).CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("penstock")})
	must(err)
	machines := ec2.NewFromConfig(cfg)
	subnets, err := machines.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	must(err)
	groups, err := machines.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{})
	must(err)
	var ids []string
	for _, s := range subnets.Subnets {
		ids = append(ids, aws.ToString(s.SubnetId))
	}
	group := aws.ToString(groups.SecurityGroups[0].GroupId)
	var template strings.Builder
	template.WriteString("Resources:\n  Topic: {Type: \"AWS::SNS::Topic\"}\nOutputs:\n")
	for name, value := range map[string]string{
		"TemplateVersion": "1", "VpcId": aws.ToString(subnets.Subnets[0].VpcId), "PublicSubnets": strings.Join(ids, ","), "PrivateSubnets": strings.Join(ids, ","),
		"PrivateAccess": "yes", "Bucket": bucket, "Table": "penstock", "InstanceProfile": "penstock", "InstanceSecurityGroup": group,
		"LoadBalancerSecurityGroup": group, "SchedulerRole": "arn:aws:iam::" + c.ID + ":role/scheduler",
	} {
		fmt.Fprintf(&template, "  %s: {Value: %q}\n", name, value)
	}
	_, err = cloudformation.NewFromConfig(cfg).CreateStack(ctx, &cloudformation.CreateStackInput{StackName: aws.String("penstock"), TemplateBody: aws.String(template.String())})
	must(err)
}

// TestRouteOnAWS takes the same pipeline as on the local platform through the test
// cloud: what differs is the provider block, and that images begin with an AMI.
func TestRouteOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	install(t, c)
	config := strings.NewReplacer(
		`provider "penstock" {}`, `provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }`,
		`from     = { directory = "image/rootfs" }`, `from     = { ami = "`+cloudtest.BaseImage+`" }`,
		`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`, `command = "mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`after    = [penstock_stage.acceptance.passed]
}`, `after    = [penstock_stage.acceptance.passed]
  environment = { port = 8000, drain_timeout = "1s", shift = [{ percent = 50, hold = "1s" }], alarms = ["errors"], keep_previous = "1h" }
}`,
		`interval = "50ms"`, `interval = "50ms", start_timeout = "5s"`,
	).Replace(faultConfig()) + `
resource "penstock_self_service_env" "alice" {
  pipeline = penstock_pipeline.p.name
  name     = "alice"
  after    = [penstock_stage.acceptance.passed]
  ttl      = "1h"
}
output "alice" { value = penstock_self_service_env.alice.endpoint }
`
	c.SetAlarm("errors", "OK")
	s := newSite(t, config)
	s.env = append(append(s.env, c.Environ()...), "PENSTOCK_AWS_PAUSE=20ms")
	s.apply()
	if got := s.answer(s.output("production")); got != "1" {
		t.Errorf("production answers %q", got)
	}
	if got := s.answer(s.output("alice")); got != "1" {
		t.Errorf("alice's environment answers %q", got)
	}
	c.ResetCalls()
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after an apply is not empty:\n%s", out)
	}
	if calls := c.Calls(); len(calls) > 12 {
		t.Errorf("a plan took %d requests: %v", len(calls), c.Count())
	}
	s.commit("2")
	s.apply()
	if got := s.answer(s.output("production")); got != "2" {
		t.Errorf("after a commit production answers %q", got)
	}
	if out := s.penstock("status"); !strings.Contains(out, "production") || !strings.Contains(out, "running") {
		t.Errorf("status says:\n%s", out)
	}
	s.penstock("ledger", "verify")
	s.commit("3 broken")
	if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err == nil || !strings.Contains(out, "this version does not start") {
		t.Errorf("a broken commit: %v\n%s", err, out)
	}
	if got := s.answer(s.output("production")); got != "2" {
		t.Errorf("after a broken commit production answers %q", got)
	}
	if left := s.garbage(); len(left) > 0 {
		t.Errorf("there is garbage: %v", left)
	}
	s.destroy()
	if left := c.Running(); len(left) > 0 {
		t.Errorf("instances are left: %v", left)
	}
	images, err := ec2.NewFromConfig(c.Config()).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil || len(images.Images) > 0 {
		t.Errorf("images are left: %v, %v", images.Images, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".penstock")); !os.IsNotExist(err) {
		t.Errorf("the data directory is left: %v", err)
	}
}
