// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// team is an account of the test cloud with a stack and its ledger.
type team struct {
	*testing.T
	cloud  *cloudtest.Cloud
	ledger pipeline.Ledger
	table  string
}

func newTeam(t *testing.T, p bootstrap.Parameters) *team {
	t.Helper()
	m := &team{T: t, cloud: cloudtest.New(t)}
	m.stack(p)
	m.ledger, m.table = apptest.Table(t, m.cloud.Own())
	return m
}

func (m *team) stack(p bootstrap.Parameters) {
	m.Helper()
	p.Parts = []bootstrap.Part{bootstrap.PartSupport}
	apptest.Stack(m, m.cloud.Own(), p)
}

// works makes the provider that of the team.
func (m *team) works() {
	m.Helper()
	for _, variable := range m.cloud.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		m.Setenv(name, value)
	}
}

// happens adds events to the history of a pipeline.
func (m *team) happens(name string, facts ...pipeline.Facts) {
	m.Helper()
	var events []pipeline.Event
	for _, f := range facts {
		kind := pipeline.StageDefined
		if f.Run != nil {
			kind = pipeline.RunEnded
		}
		events = append(events, pipeline.Event{Kind: kind, Actor: "olga", Facts: f})
	}
	if _, err := m.ledger.Append(m.Context(), pipeline.Batch{Pipeline: name, Events: events}); err != nil {
		m.Fatal(err)
	}
}

// defines makes a pipeline whose stage "tested" comes after its commit stage.
func (m *team) defines(name string) {
	m.Helper()
	commit := pipeline.Stage{Pipeline: name, Type: pipeline.TypeCommit}.WithDefaults(nil, nil)
	tested := pipeline.Stage{Pipeline: name, Name: "tested", Type: pipeline.TypeCustom, After: []string{"commit"}}.WithDefaults(nil, nil)
	m.happens(name, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: name}}, pipeline.Facts{Stage: &commit}, pipeline.Facts{Stage: &tested})
}

// passes lets a build pass the stages of a pipeline.
func (m *team) passes(name, build string) func() {
	return func() {
		m.Helper()
		facts := []pipeline.Facts{{Build: &pipeline.Build{ID: build, Pipeline: name, Stage: "commit", Digest: build, BaseImage: "ami-" + build[2:]}}}
		for _, stage := range []string{"commit", "tested"} {
			facts = append(facts, pipeline.Facts{
				Run:     &pipeline.Run{ID: "r-" + stage + "-" + build[2:], Pipeline: name, Stage: stage, Kind: pipeline.KindStage, Build: build, Status: pipeline.RunPassed, Digest: "d-1"},
				Current: &pipeline.Current{Stage: stage, Build: build},
			})
		}
		m.happens(name, facts...)
	}
}

// replaces changes the document of an item of the table behind the ledger's back.
func (m *team) replaces(pk, sk, old, new string) func() {
	return func() {
		m.Helper()
		client := dynamodb.NewFromConfig(m.cloud.Own())
		key := map[string]dynamotypes.AttributeValue{"pk": &dynamotypes.AttributeValueMemberS{Value: pk}, "sk": &dynamotypes.AttributeValueMemberS{Value: sk}}
		out, err := client.GetItem(m.Context(), &dynamodb.GetItemInput{TableName: aws.String(m.table), Key: key})
		if err != nil || out.Item == nil {
			m.Fatalf("%s %s: %v", pk, sk, err)
		}
		is := out.Item["doc"].(*dynamotypes.AttributeValueMemberS).Value
		if !strings.Contains(is, old) {
			m.Fatalf("%s %s is %s", pk, sk, is)
		}
		out.Item["doc"] = &dynamotypes.AttributeValueMemberS{Value: strings.ReplaceAll(is, old, new)}
		if _, err := client.PutItem(m.Context(), &dynamodb.PutItemInput{TableName: aws.String(m.table), Item: out.Item}); err != nil {
			m.Fatal(err)
		}
	}
}

// TestAccAfterAnotherAccount gates a stage of one account on what a stage of another one has
// passed, whose ledger is read by the reader role of its stack. It is refused if its history
// was changed, and where the role, the stage or the pipeline is not there. A second pipeline of
// the own ledger is a gate as well.
func TestAccAfterAnotherAccount(t *testing.T) {
	onTestCloud(t)
	b := newBench(t)
	shop := newTeam(t, bootstrap.Parameters{})
	images := newTeam(t, bootstrap.Parameters{Readers: []string{shop.cloud.Stack().Role("DeployerRole").ARN}, ReaderExternal: "acme-7"})
	reader := images.cloud.Stack().Role("ReaderRole").ARN
	shop.stack(bootstrap.Parameters{ReaderRoles: []string{reader}})
	images.defines("images")
	shop.defines("tools")
	shop.works()

	reads := func(pipelineName, stage, external string) string {
		if external != "" {
			external = fmt.Sprintf(", external_id = %q", external)
		}
		return fmt.Sprintf(`
provider "penstock" {
  data_dir = %q
  aws      = { region = %q }
}
data "penstock_passed" "images" {
  pipeline = %q
  stage    = %q
  aws      = { region = %q, stack = %q, role_arn = %q%s }
}
`, b.dir, cloudtest.Region, pipelineName, stage, cloudtest.Region, bootstrap.DefaultName, reader, external)
	}
	whole := reads("images", "tested", "acme-7") + fmt.Sprintf(`
data "penstock_passed" "tools" {
  pipeline = "tools"
  stage    = "tested"
}
data "penstock_source" "s" {
  repository = %q
  ref        = "main"
}
resource "penstock_pipeline" "shop" { name = "shop" }
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.s.revision
}
resource "penstock_stage" "qa" {
  pipeline = penstock_pipeline.shop.name
  type     = "custom"
  name     = "qa"
  after    = [penstock_stage.commit.passed, data.penstock_passed.images.passed, data.penstock_passed.tools.passed]
}
`, b.repo)
	refuses := func(config, text string) resource.TestStep {
		return resource.TestStep{Config: config, PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(text, " ", `\s+`))}
	}
	candidate := func(want knownvalue.Check) []statecheck.StateCheck {
		return []statecheck.StateCheck{statecheck.ExpectKnownValue("penstock_stage.qa", tfjsonpath.New("passed").AtMapKey("build"), want)}
	}
	quiet := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
	gatedOn := func(builds ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			st, err := shop.ledger.State(t.Context(), "shop")
			if err != nil {
				return err
			}
			run, err := shop.ledger.Run(t.Context(), "shop", st.Latest["qa"].ID)
			if err != nil {
				return err
			}
			var got []string
			for _, e := range run.Elsewhere {
				got = append(got, e.Build)
				if e.Head.Sequence == 0 || e.Ledger == "" {
					return fmt.Errorf("it was gated on %+v", e)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(builds) || run.Elsewhere[0].Ledger == run.Elsewhere[1].Ledger {
				return fmt.Errorf("it was gated on %+v", run.Elsewhere)
			}
			return nil
		}
	}
	walk(t,
		refuses(reads("images", "tested", ""), `ask for no other external ID than.*does not let .* assume role `+regexp.QuoteMeta(reader)),
		refuses(reads("images", "released", "acme-7"), `Its stages are commit, tested.*no stage "released"`),
		refuses(reads("imgs", "tested", "acme-7"), `The pipelines there are images.*there is no pipeline "imgs"`),
		resource.TestStep{Config: whole, ConfigStateChecks: candidate(knownvalue.Null())},
		resource.TestStep{PreConfig: images.passes("images", imageOne), Config: whole, ConfigStateChecks: candidate(knownvalue.Null())},
		resource.TestStep{PreConfig: shop.passes("tools", imageTwo), Config: whole, ConfigStateChecks: candidate(knownvalue.NotNull()), Check: gatedOn(imageOne, imageTwo)},
		resource.TestStep{Config: whole, ConfigPlanChecks: quiet},
		resource.TestStep{PreConfig: images.replaces("events#images", "0000000000000006", imageOne, imageTwo), Config: whole, ExpectError: regexp.MustCompile(`(?s)event\s+6\s+was\s+changed\s+after\s+it\s+was\s+written`)},
		resource.TestStep{PreConfig: func() {
			images.replaces("events#images", "0000000000000006", imageTwo, imageOne)()
			images.replaces("view#images", "current#tested", imageOne, imageTwo)()
		}, Config: whole, ExpectError: regexp.MustCompile(`(?s)the\s+record\s+of\s+current\s+"tested"\s+is\s+not\s+what\s+the\s+events\s+say`)},
		resource.TestStep{PreConfig: images.replaces("view#images", "current#tested", imageTwo, imageOne), Config: whole, ConfigPlanChecks: quiet},
	)
}

// TestAccImageForATarget refuses, in the plan, a stage with an environment in another account
// that could not launch the image: one whose key is AWS's own, and one that is still to be
// baked with such a key.
func TestAccImageForATarget(t *testing.T) {
	onTestCloud(t)
	b := newBench(t)
	home, there := newTeam(t, bootstrap.Parameters{}), cloudtest.New(t)
	apptest.Stack(t, there.Own(), bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartTarget}, Trusted: []string{home.cloud.Stack().Role(cloudtest.Deployer).ARN}, ExternalID: "agreed"})
	role := there.Stack().Role("TargetRole").ARN
	home.stack(bootstrap.Parameters{TargetRoles: []string{role}})
	home.works()
	const ofAWS = "alias/aws/ebs"
	key, err := kms.NewFromConfig(home.cloud.Own()).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String(ofAWS)})
	if err != nil {
		t.Fatal(err)
	}
	arn := aws.ToString(key.KeyMetadata.Arn)
	out, err := ec2.NewFromConfig(home.cloud.Own()).CopyImage(t.Context(), &ec2.CopyImageInput{
		SourceImageId: aws.String(cloudtest.BaseImage), SourceRegion: aws.String(cloudtest.Region), Name: aws.String("base"), Encrypted: aws.Bool(true), KmsKeyId: aws.String(arn),
	})
	if err != nil {
		t.Fatal(err)
	}
	image := aws.ToString(out.ImageId)
	config := func(base, targets string) string {
		return fmt.Sprintf(`
provider "penstock" {
  data_dir = %q
  aws      = { region = %q }
}
data "penstock_source" "s" {
  repository     = %q
  ref            = "main"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "shop" {
  name    = "shop"
  service = { start = "./serve", port = 8080 }
}
%s
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.shop.name
  type       = "commit"
  source     = data.penstock_source.s.revision
  base_image = local.base
}
resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  trigger     = "automatic"
  after       = [penstock_stage.commit.passed]
  environment = { instances = 1 }
  %s
}
`, b.dir, cloudtest.Region, b.repo, base, targets)
	}
	baked := func(key string) string {
		return fmt.Sprintf(`
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.shop.name
  name     = "base"
  from     = { ami = %q }
  source   = data.penstock_source.s.image_revision
  %s
}
locals { base = penstock_baked_image.base.image_id }
`, cloudtest.BaseImage, key)
	}
	place := fmt.Sprintf(`role_arn = %q, external_id = "agreed"`, role)
	refuses := func(config, text string) resource.TestStep {
		return resource.TestStep{Config: config, PlanOnly: true, ExpectNonEmptyPlan: true, ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(text, " ", `\s+`))}
	}
	is := fmt.Sprintf("locals { base = %q }", image)
	home.cloud.ResetCalls()
	there.ResetCalls()
	remedy := `Set kms_key of the penstock_baked_image.*`
	walk(t,
		refuses(config(is, "targets = [{ name = \"eu\", "+place+" }]"), `with penstock_stage.production.* targets = .*`+remedy+`image `+image+` is encrypted with `+regexp.QuoteMeta(arn)+`, a key of AWS, and AWS lets nobody share that with target eu \(account `+there.ID),
		refuses(config(is, "aws = { "+place+" }"), `with penstock_stage.production.* aws = .*`+remedy+`image `+image+` is encrypted with`),
		refuses(config(is, `publish = { share_with = { accounts = ["333333333333"] } }`), `with penstock_stage.production.* publish = .*image `+image+` is encrypted with .*those in publish.share_with`),
		refuses(config(baked(""), "targets = [{ name = \"eu\", "+place+" }]"), remedy+`the image that is baked is encrypted with the account's default key for EBS.*target eu`),
		refuses(config(baked(`kms_key = "`+ofAWS+`"`), "targets = [{ name = \"eu\", "+place+" }]"), remedy+`the image that is baked is encrypted with alias/aws/ebs, a key of AWS.*target eu`),
		resource.TestStep{Config: config(baked(`kms_key = "alias/penstock/images"`), "targets = [{ name = \"eu\", "+place+" }]"), PlanOnly: true, ExpectNonEmptyPlan: true},
	)
	if n := home.cloud.Count()["CopyImage"] + home.cloud.Count()["RunInstances"]; n > 0 {
		t.Errorf("the plans have made %d things", n)
	}
	t.Logf("six plans: %d requests at home, %v; %d in the target", len(home.cloud.Calls()), home.cloud.Count(), len(there.Calls()))
}
