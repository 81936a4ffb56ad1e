// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// install makes in the account what stages whose steps run in CodeBuild need, and a
// stack that says where it is.
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
	c.SetProject("runner", cloudtest.Project{})
	_, err = cloudformation.NewFromConfig(cfg).CreateStack(ctx, &cloudformation.CreateStackInput{StackName: aws.String("penstock"), TemplateBody: aws.String(fmt.Sprintf(`
Resources: {Topic: {Type: "AWS::SNS::Topic"}}
Outputs:
  TemplateVersion: {Value: "1"}
  Bucket: {Value: %q}
  Table: {Value: penstock}
  RunnerProject: {Value: runner}
`, bucket))})
	must(err)
}

// TestRunnerOnAWS takes a build through stages whose steps run in CodeBuild: the
// artifact that a build there makes is stored, the next stage finds it, and a load is
// made by several builds that run this very binary.
func TestRunnerOnAWS(t *testing.T) {
	var requests atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer service.Close()
	c := cloudtest.New(t)
	install(t, c)
	s := newSite(t, fmt.Sprintf(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" { aws = { region = %q } }
data "penstock_source" "s" {
  repository = "../repo"
  ref        = "main"
}
resource "penstock_pipeline" "p" {
  name    = "p"
  service = { start = "exec sleep 60" }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = data.penstock_source.s.revision
  runner   = "codebuild"
  steps = [
    { name = "build", command = "echo \"made by $CODEBUILD_BUILD_ID\"; tar -czf dist.tar.gz version" },
    { name = "test", command = "test -s dist.tar.gz; printf '<testsuite><testcase name=\"a\"/></testsuite>' > junit.xml", report = "junit.xml" },
  ]
  artifact = "dist.tar.gz"
}
resource "penstock_stage" "load" {
  pipeline = penstock_pipeline.p.name
  type     = "custom"
  after    = [penstock_stage.commit.passed]
  runner   = "codebuild"
  steps = [
    { name = "artifact", command = "tar -xzOf \"$PENSTOCK_ARTIFACT\" version | grep -v broken" },
    { name = "peak", load = { rate = 40, duration = "1s", url = %q, machines = 2 } },
  ]
}
output "run" { value = penstock_stage.commit.run }
`, cloudtest.Region, service.URL))
	s.env = append(append(s.env, c.Environ()...), "PENSTOCK_AWS_PAUSE=20ms")
	s.apply()
	if n := len(c.Builds()); n != 2+1+2 || requests.Load() != 40 {
		t.Errorf("%d builds, %d requests: %v", n, requests.Load(), c.Builds())
	}
	if out := s.penstock("logs", s.output("run")); !strings.Contains(out, "made by runner:") || !strings.Contains(out, "(1 tests, 0 failed, 0 skipped)") {
		t.Errorf("the log of the commit stage says:\n%s", out)
	}
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after an apply is not empty:\n%s", out)
	}
	s.commit("2 broken")
	if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), `step "artifact" failed: exit status 1`) {
		t.Errorf("a step that fails in CodeBuild: %v\n%s", err, out)
	}
	for id, status := range c.Builds() {
		if status == "IN_PROGRESS" {
			t.Errorf("build %s runs on", id)
		}
	}
	s.commit("3")
	s.apply()
	s.destroy()
}
