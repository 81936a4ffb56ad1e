// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The longest namespace, and the longest name of a pipeline in it.
const (
	longNamespace = "feature-0123456789_0123456789_0123456789"
	longName      = "the-shop.of_everything"
)

// namespaceConfig is the pipeline of the other tests in a namespace, with a decision before
// production. Its first stage works in CodeBuild. Steps there and of the bake look at git.
func namespaceConfig() string {
	const look = `test \"$(git rev-parse HEAD)\" = \"$PENSTOCK_REVISION\"; git describe --tags --exact-match; git diff --exit-code; test -z \"$(git status --porcelain)\"; `
	return strings.NewReplacer(
		`provider "penstock" {}`, `variable "stack" { default = "penstock" }
provider "penstock" {
  namespace = "`+longNamespace+`"
  aws       = { region = "`+cloudtest.Region+`", stack = var.stack }
}`,
		`name = "p"`, `name = "`+longName+`"`,
		`from     = { directory = "image/rootfs" }`, `from     = { ssm_parameter = "/penstock/team/base" }
  publish  = { ssm_parameter = "/penstock/${penstock_pipeline.p.name}/base" }`,
		`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`command = "git -C \"$PENSTOCK_SOURCE\" describe --tags --exact-match --dirty; git -C \"$PENSTOCK_SOURCE\" diff-files --quiet; mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`steps      = [{ name = "build", command = "tar -czf dist.tar.gz version" }]`, `runner     = "codebuild"
  steps      = [{ name = "build", command = "`+look+`tar -czf dist.tar.gz version" }]`,
		`resource "penstock_stage" "production" {`, `resource "penstock_stage" "exploratory" {
  pipeline = penstock_pipeline.p.name
  type     = "exploratory"
  after    = [penstock_stage.acceptance.passed]
}
resource "penstock_stage" "production" {`,
		`trigger  = "automatic"
  after    = [penstock_stage.acceptance.passed]
}`, `trigger  = "automatic"
  after    = [penstock_stage.exploratory.passed]
  environment = { port = 8000, drain_timeout = "1s", keep_previous = "1h" }
}`,
		`interval = "50ms"`, `interval = "50ms", start_timeout = "1m"`,
	).Replace(faultConfig()) + `
output "accepted" { value = penstock_stage.acceptance.passed.build }
`
}

// TestNamespaceOnAWS takes a pipeline of the longest name in the longest namespace to
// production and back: what it names and tags in AWS is valid there, an approver decides
// on it, another stack refuses its state, and its record is archived.
func TestNamespaceOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	_, err := ssm.NewFromConfig(c.Own()).PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/penstock/team/base"), Value: aws.String(cloudtest.BaseImage), Type: ssmtypes.ParameterTypeString})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, namespaceConfig())
	s.run(s.repo, "git", "tag", "v1.0.0")
	s.bootstrap(c)
	c.ResetCalls()
	s.apply()
	full := longNamespace + "." + longName
	accepted := s.output("accepted")
	back := s.as(c, cloudtest.Approver)
	s.penstock("approve", full, "exploratory", accepted)
	back()
	if out := s.penstock("ledger", "head", full); !strings.Contains(out, full) {
		t.Errorf("with a decision that is not in the history yet, its head is %q", out)
	}
	s.apply()
	if got := s.answer(s.output("production")); got != "1" {
		t.Errorf("production answers %q", got)
	}
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after an apply is not empty:\n%s", out)
	}
	checkNames(t, c)
	back = s.as(c, cloudtest.Owner) // the roles of the one stack may not look at the other
	s.penstock("bootstrap", "--region", cloudtest.Region, "--stack", "other", "--yes")
	s.refused(s.dir, []string{"plan", "-var=stack=other"}, `stack "penstock" of account `, "in region "+cloudtest.Region)
	back()
	s.destroy()
	if left := c.Running(); len(left) > 0 {
		t.Errorf("instances are left: %v", left)
	}
	checkArchive(t, s, full)
	left := slices.DeleteFunc(objects(t, c), func(key string) bool { return strings.HasPrefix(key, "output/") }) // which the bucket removes
	if len(left) != 1 || !strings.HasPrefix(left[0], "archive/") {
		t.Errorf("the buckets have %q", left)
	}
}

// checkArchive reads the archive of the pipeline that was removed, from a directory that
// knows nothing of it.
func checkArchive(t *testing.T, s *site, name string) {
	t.Helper()
	at := func(args ...string) string {
		return s.run(s.root, binary, append(args, "--stack", "penstock", "--region", cloudtest.Region)...)
	}
	s.env = append(s.env, "XDG_CACHE_HOME="+t.TempDir())
	var archives []pipeline.Archive
	s.must(json.Unmarshal([]byte(at("ledger", "archive", "list", "--json")), &archives))
	if len(archives) != 1 || archives[0].Pipeline != name {
		t.Fatalf("archives: %+v", archives)
	}
	if said := at("ledger", "archive", "verify", name); !strings.Contains(said, "the chain is whole") {
		t.Errorf("verify: %s", said)
	}
	file := filepath.Join(s.root, "p.jsonl")
	at("ledger", "archive", "export", archives[0].ID, "-o", file)
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"result":"approved"`) {
		t.Errorf("the archive has no approval: %v\n%s", err, text)
	}
	if out := at("gc", "--dry-run"); strings.Contains(out, "archive") {
		t.Errorf("it would be collected: %s", out)
	}
}

// checkNames checks what AWS would refuse of names and tags, and the test cloud does not.
func checkNames(t *testing.T, c *cloudtest.Cloud) {
	t.Helper()
	found := 0
	name := func(kind, pattern string, longest int, name *string) {
		t.Helper()
		found++
		if n := aws.ToString(name); len(n) > longest || !regexp.MustCompile(`^`+pattern+`$`).MatchString(n) {
			t.Errorf("AWS would refuse the name of %s, of %d characters: %q", kind, len(n), n)
		}
	}
	tag := func(key, value *string) {
		name("a tag", `[\pL\pZ\pN_.:/=+\-@]*`, 128, key)
		name("tag "+aws.ToString(key), `[\pL\pZ\pN_.:/=+\-@]*`, 256, value)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	machines, balancers := ec2.NewFromConfig(c.Own()), elb.NewFromConfig(c.Own())
	images, err := machines.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	check(err)
	for _, i := range images.Images {
		name("an image", `[A-Za-z0-9()\[\] ./'@_-]{3,}`, 128, i.Name)
		name("an image's description", `.*`, 255, i.Description)
	}
	templates, err := machines.DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{})
	check(err)
	for _, l := range templates.LaunchTemplates {
		name("a launch template", `[A-Za-z0-9().\-/_]{3,}`, 128, l.LaunchTemplateName)
	}
	tags, err := machines.DescribeTags(t.Context(), &ec2.DescribeTagsInput{})
	check(err)
	for _, v := range tags.Tags {
		tag(v.Key, v.Value)
	}
	groups, err := autoscaling.NewFromConfig(c.Own()).DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
	check(err)
	for _, g := range groups.AutoScalingGroups {
		name("an Auto Scaling group", `[^:]+`, 255, g.AutoScalingGroupName)
		for _, v := range g.Tags {
			tag(v.Key, v.Value)
		}
	}
	lbs, err := balancers.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{})
	check(err)
	for _, b := range lbs.LoadBalancers {
		name("a load balancer", `[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?`, 32, b.LoadBalancerName)
	}
	targets, err := balancers.DescribeTargetGroups(t.Context(), &elb.DescribeTargetGroupsInput{})
	check(err)
	for _, g := range targets.TargetGroups {
		name("a target group", `[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?`, 32, g.TargetGroupName)
	}
	schedules, err := scheduler.NewFromConfig(c.Own()).ListSchedules(t.Context(), &scheduler.ListSchedulesInput{})
	check(err)
	for _, v := range schedules.Schedules {
		name("a schedule", `[0-9A-Za-z_.-]+`, 64, v.Name)
	}
	parameters, err := ssm.NewFromConfig(c.Own()).GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/penstock"), Recursive: aws.Bool(true)})
	check(err)
	for _, p := range parameters.Parameters {
		name("a parameter", `(/[A-Za-z0-9_.-]+){1,15}`, 1011, p.Name)
	}
	for _, key := range objects(t, c) {
		name("an object", `[A-Za-z0-9!_.*'()/-]+`, 1024, &key)
	}
	if len(images.Images) == 0 || len(templates.LaunchTemplates) == 0 || len(groups.AutoScalingGroups) == 0 || len(lbs.LoadBalancers) == 0 || len(targets.TargetGroups) == 0 || len(parameters.Parameters) != 2 {
		t.Errorf("of %d names some kind is missing", found)
	}
}

// objects lists the keys of all buckets.
func objects(t *testing.T, c *cloudtest.Cloud) (keys []string) {
	t.Helper()
	store := s3.NewFromConfig(c.Own(), func(o *s3.Options) { o.UsePathStyle = true })
	buckets, err := store.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range buckets.Buckets {
		found, err := store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: b.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range found.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	}
	slices.Sort(keys)
	return keys
}
