// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// other is the ledger of another team, in a data directory of its own, with the pipeline
// "images" whose stage "tested" builds pass.
type other struct {
	*testing.T
	dir string
}

func newOther(t *testing.T) *other {
	o := &other{t, filepath.Join(t.TempDir(), "other")}
	stage := func(name string, after ...string) pipeline.Facts {
		s := pipeline.Stage{Pipeline: "images", Name: name, Type: pipeline.TypeCustom, After: after}.WithDefaults(nil, nil)
		return pipeline.Facts{Stage: &s}
	}
	commit := stage("commit")
	commit.Stage.Type = pipeline.TypeCommit
	o.happens("others", pipeline.Facts{Pipeline: &pipeline.Pipeline{ID: "p-0", Name: "others"}})
	o.happens("images", pipeline.Facts{Pipeline: &pipeline.Pipeline{ID: "p-1", Name: "images"}}, commit, stage("tested", "commit"), stage("released", "tested"))
	return o
}

// happens adds events to the history of a pipeline.
func (o *other) happens(name string, facts ...pipeline.Facts) {
	o.Helper()
	a, err := app.Open(o.Context(), app.Options{DataDir: o.dir})
	if err != nil {
		o.Fatal(err)
	}
	defer a.Close(o.Context())
	var events []pipeline.Event
	for _, f := range facts {
		kind := pipeline.StageDefined
		if f.Run != nil {
			kind = pipeline.RunEnded
		}
		events = append(events, pipeline.Event{Kind: kind, Actor: "olga", Facts: f})
	}
	apptest.Append(o, a, pipeline.Batch{Pipeline: name, Events: events})
}

const (
	imageOne, imageTwo = "b-00000000a1", "b-00000000a2"
)

// passes lets a build pass the stages, made by the commit stage where it is new.
func (o *other) passes(build string, stages ...string) func() {
	return func() {
		o.Helper()
		facts := []pipeline.Facts{{Build: &pipeline.Build{ID: build, Pipeline: "images", Stage: "commit", Digest: build, BaseImage: "img-" + build, Revision: pipeline.Revision{Repository: "https://example.com/images.git", Commit: "c-" + build}}}}
		for _, stage := range append([]string{"commit"}, stages...) {
			facts = append(facts, pipeline.Facts{
				Run:     &pipeline.Run{ID: "r-" + stage + "-" + build[2:], Pipeline: "images", Stage: stage, Kind: pipeline.KindStage, Build: build, Status: pipeline.RunPassed, Digest: "d-1"},
				Current: &pipeline.Current{Stage: stage, Build: build},
			})
		}
		o.happens("images", facts...)
	}
}

// rejects rejects a build at a stage.
func (o *other) rejects(build, stage string) func() {
	return func() {
		o.Helper()
		o.happens("images", pipeline.Facts{Decision: &pipeline.Decision{Pipeline: "images", Stage: stage, Build: build, Result: pipeline.Rejected, Actor: "olga", Reason: "too old"}})
	}
}

// tampers changes the file behind the ledger's back.
func (o *other) tampers(statements ...string) func() {
	return func() {
		o.Helper()
		db, err := sql.Open("sqlite", filepath.Join(o.dir, "ledger.db"))
		if err != nil {
			o.Fatal(err)
		}
		defer db.Close()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				o.Fatalf("%s: %v", s, err)
			}
		}
	}
}

// reads is the data source of the other ledger's stage.
func (o *other) reads() string {
	return fmt.Sprintf(`
data "penstock_passed" "images" {
  pipeline = "images"
  stage    = "tested"
  data_dir = %q
}
`, o.dir)
}

func passedValue(name string, want knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue("data.penstock_passed.images", tfjsonpath.New(name), want)
}

// TestAccPassedElsewhere reads what a stage of another data directory has passed: nothing yet,
// a build, a newer one, and the older one again once that is rejected further on.
func TestAccPassedElsewhere(t *testing.T) {
	b, o := newBench(t), newOther(t)
	config := fmt.Sprintf("provider \"penstock\" { data_dir = %q }\n", b.dir) + o.reads()
	is := func(build string) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			passedValue("build", knownvalue.StringExact(build)), passedValue("commit", knownvalue.StringExact("c-"+build)), passedValue("image_id", knownvalue.StringExact("img-"+build)),
			passedValue("base_image", knownvalue.StringExact("img-"+build)), passedValue("repository", knownvalue.StringExact("https://example.com/images.git")),
			passedValue("artifact_digest", knownvalue.Null()), passedValue("image_ids", knownvalue.Null()),
			passedValue("passed", knownvalue.ObjectExact(map[string]knownvalue.Check{
				"pipeline": knownvalue.StringExact("images"), "stage": knownvalue.StringExact("tested"), "build": knownvalue.StringExact(build),
				"ledger": knownvalue.StringRegexp(regexp.MustCompile(`^l-[0-9a-f]{16}$`)), "head": knownvalue.StringRegexp(regexp.MustCompile(`^\d+:[0-9a-f]{64}$`)),
			})),
		}
	}
	walk(t,
		resource.TestStep{Config: config, ConfigStateChecks: []statecheck.StateCheck{passedValue("build", knownvalue.Null()), passedValue("image_id", knownvalue.Null()), passedValue("passed_at", knownvalue.Null())}},
		resource.TestStep{PreConfig: o.passes(imageOne, "tested"), Config: config, ConfigStateChecks: is(imageOne)},
		resource.TestStep{PreConfig: o.passes(imageTwo, "tested", "released"), Config: config, ConfigStateChecks: is(imageTwo)},
		resource.TestStep{PreConfig: o.rejects(imageTwo, "released"), Config: config, ConfigStateChecks: is(imageOne)},
	)
	left, err := os.ReadDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), "ledger.db-") {
			t.Errorf("%s is left in the other directory", entry.Name())
		}
	}
}

// TestAccPassedRefused reads what can't be relied on, and what there is not.
func TestAccPassedRefused(t *testing.T) {
	b, o := newBench(t), newOther(t)
	o.passes(imageOne, "tested")()
	provider := fmt.Sprintf("provider \"penstock\" { data_dir = %q }\n", b.dir)
	of := func(pipelineName, stage, more string) string {
		return provider + fmt.Sprintf("data \"penstock_passed\" \"images\" {\n  pipeline = %q\n  stage = %q\n  %s\n}\n", pipelineName, stage, more)
	}
	there, none := fmt.Sprintf("data_dir = %q", o.dir), filepath.Join(t.TempDir(), "none")
	refuses := func(config, text string) resource.TestStep {
		return resource.TestStep{Config: config, PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)` + text)}
	}
	walk(t,
		refuses(of("images", "tested", there+"\n  aws = { region = \"eu-west-1\" }"), `data_dir.*aws`),
		refuses(of("images", "tested", `aws = { external_id = "x1" }`), `role_arn`),
		refuses(of("images", "tested", fmt.Sprintf("data_dir = %q", none)), `apply\s+that\s+configuration\s+first.*there\s+is\s+no\s+ledger\s+in`),
		refuses(of("images", "deployed", there), `Its\s+stages\s+are\s+commit,\s+tested,\s+released.*no\s+stage\s+"deployed"`),
		refuses(of("imgs", "tested", there), `The\s+pipelines\s+there\s+are\s+images,\s+others.*there\s+is\s+no\s+pipeline\s+"imgs"`),
		refuses(of("images", "tested", ""), `there\s+is\s+no\s+pipeline\s+"images"`), // in this ledger
		resource.TestStep{Config: provider + o.reads()},
		resource.TestStep{PreConfig: o.tampers(`UPDATE events SET body = replace(body, 'r-tested', 'r-testes')`), Config: provider + o.reads(), ExpectError: regexp.MustCompile(`(?s)Stored\s+data\s+is\s+damaged.*was\s+changed\s+after\s+it\s+was\s+written`)},
		resource.TestStep{PreConfig: o.tampers(`UPDATE events SET body = replace(body, 'r-testes', 'r-tested')`), Config: provider + o.reads()},
		resource.TestStep{PreConfig: func() {
			o.happens("images", pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordPipeline, ID: "images"}}})
		}, Config: provider + o.reads(), ExpectError: regexp.MustCompile(`(?s)pipeline\s+"images"\s+was\s+removed\s+from`)},
	)
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("a directory was made: %v", err)
	}
}

// gated is a pipeline whose commit and acceptance stage come after the stage elsewhere.
func gated(b *bench, o *other, more string) string {
	return fmt.Sprintf(`
provider "penstock" { data_dir = %q }
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
  after    = [penstock_stage.commit.passed, data.penstock_passed.images.passed]
  %s
}
`, b.dir, b.repo, more) + o.reads()
}

// TestAccAfterElsewhere gates a stage on the other ledger: it waits while nothing has passed
// there, opens with the first build, shows when that changes, moves nothing by it, closes for
// new builds when it is rejected, and keeps what it has.
func TestAccAfterElsewhere(t *testing.T) {
	b, o := newBench(t), newOther(t)
	quiet := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
	updates := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("penstock_stage.qa", plancheck.ResourceActionUpdate)}}
	var first, second string
	note := func(to *string) func() {
		return func() { *to = b.passed("qa") }
	}
	runs := func(want ...string) {
		t.Helper()
		b.open(func(a *app.App) error {
			page, err := apptest.Ledger(t, a).Runs(t.Context(), "shop", pipeline.RunQuery{Stage: "qa"})
			if err != nil || len(page.Runs) != len(want) {
				t.Fatalf("the stage ran %d times, not %d: %v", len(page.Runs), len(want), err)
			}
			for i, summary := range page.Runs {
				run, err := apptest.Ledger(t, a).Run(t.Context(), "shop", summary.ID)
				if err != nil || len(run.Elsewhere) != 1 || run.Elsewhere[0].Build != want[i] || run.Elsewhere[0].Head.Sequence == 0 || run.Elsewhere[0].Ledger == "" {
					t.Errorf("run %d was gated on %+v: %v", i, run.Elsewhere, err)
				}
				st, err := a.Engine.State(t.Context(), "shop")
				if err != nil {
					return err
				}
				e, err := a.Engine.Reports.Evidence(t.Context(), st, report.EvidenceRequest{Verb: "promote", Stage: "qa", Build: run.Build})
				if err != nil || len(e.Gated) != 1 || e.Gated[0].On != run.Elsewhere[0] || e.Gated[0].Run != run.ID || !e.Gated[0].At.Equal(run.StartedAt) {
					t.Errorf("the evidence of run %d says %+v: %v", i, e.Gated, err)
				}
			}
			return nil
		})
	}
	walk(t,
		resource.TestStep{Config: gated(b, o, ""), ConfigStateChecks: []statecheck.StateCheck{
			b.hasStatus("qa", "waiting"), b.waitsFor("qa", `stage "tested" of pipeline "images" to pass a build`),
		}},
		resource.TestStep{Config: gated(b, o, ""), ConfigPlanChecks: quiet},
		resource.TestStep{PreConfig: o.passes(imageOne, "tested"), Config: gated(b, o, ""), ConfigPlanChecks: updates, ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("qa", "passed")}},
		resource.TestStep{PreConfig: func() { note(&first)(); runs(imageOne) }, Config: gated(b, o, ""), ConfigPlanChecks: quiet},
		resource.TestStep{PreConfig: o.passes(imageTwo), Config: gated(b, o, ""), ConfigPlanChecks: quiet}, // which has not come so far
		resource.TestStep{PreConfig: o.passes(imageTwo, "tested"), Config: gated(b, o, ""), ConfigPlanChecks: updates},
		resource.TestStep{PreConfig: func() { runs(imageOne) }, Config: gated(b, o, ""), ConfigPlanChecks: quiet},
		resource.TestStep{PreConfig: func() { o.rejects(imageTwo, "tested")(); o.rejects(imageOne, "tested")() }, Config: gated(b, o, ""), ConfigPlanChecks: updates, ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("qa", "passed")}},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: gated(b, o, ""), ConfigStateChecks: []statecheck.StateCheck{
			b.hasStatus("qa", "waiting"), b.waitsFor("qa", `stage "tested" of pipeline "images" to pass a build`),
		}},
		resource.TestStep{
			PreConfig: func() { note(&second)(); runs(imageOne) },
			Config:    gated(b, o, ""), ConfigPlanChecks: quiet,
		},
	)
	if first == "" || first != second {
		t.Errorf("the stage passed %q, then %q", first, second)
	}
}

// TestAccAfterElsewhereRefused takes what nobody has verified in after, and a history that
// has lost what was seen of it.
func TestAccAfterElsewhereRefused(t *testing.T) {
	b, o := newBench(t), newOther(t)
	o.passes(imageOne, "tested")()
	literal := func(entry string) string {
		return regexp.MustCompile(`data\.penstock_passed\.images\.passed`).ReplaceAllString(gated(b, o, ""), entry)
	}
	const newest = `(SELECT max(seq) FROM events WHERE pipeline = 'images') AND pipeline = 'images'`
	walk(t,
		resource.TestStep{Config: literal(`{ pipeline = "images", stage = "tested", build = "b-00000000a1", ledger = "l-1" }`), PlanOnly: true, ExpectError: regexp.MustCompile(`Unverified\s+stage\s+of\s+another\s+pipeline`)},
		resource.TestStep{Config: literal(fmt.Sprintf(`{ pipeline = "images", stage = "tested", build = "b-00000000a1", ledger = "l-1", head = "7:%064d" }`, 1)), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)ledger\s+"l-1",\s+which\s+no\s+data\s+penstock_passed`)},
		resource.TestStep{Config: gated(b, o, "")},
		resource.TestStep{
			PreConfig: o.tampers(
				`CREATE TABLE cut AS SELECT * FROM events WHERE seq = `+newest, `CREATE TABLE cutrun AS SELECT * FROM runs WHERE version = `+newest, `CREATE TABLE cutrecords AS SELECT * FROM records WHERE version = `+newest,
				`DELETE FROM runs WHERE version = `+newest, `DELETE FROM records WHERE version = `+newest, `DELETE FROM events WHERE seq = `+newest),
			Config: gated(b, o, ""), ExpectError: regexp.MustCompile(`(?s)ends\s+with\s+event\s+\d+,\s+but\s+was\s+at\s+event`),
		},
		resource.TestStep{ // others in its place
			PreConfig: o.passes(imageTwo, "tested"),
			Config:    gated(b, o, ""), ExpectError: regexp.MustCompile(`(?s)event\s+\d+\s+of\s+pipeline\s+"images"[^.]*has\s+changed`),
		},
	)
}

// TestAccAfterSameLedger gates a stage on another pipeline of the same ledger, which one apply
// makes before it; and of the same data directory, named as one of another team is.
func TestAccAfterSameLedger(t *testing.T) {
	b := newBench(t)
	config := func(where string) string {
		return fmt.Sprintf(`
provider "penstock" { data_dir = %q }
data "penstock_source" "s" {
  repository = %q
  ref        = "main"
}
resource "penstock_pipeline" "images" { name = "images" }
resource "penstock_stage" "tested" {
  pipeline = penstock_pipeline.images.name
  type     = "commit"
  name     = "tested"
  source   = data.penstock_source.s.revision
}
data "penstock_passed" "images" {
  pipeline   = "images"
  stage      = "tested"
  depends_on = [penstock_stage.tested]
  %s
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
  after    = [penstock_stage.commit.passed, data.penstock_passed.images.passed]
}
`, b.dir, b.repo, where)
	}
	gated := stateCheck(func() (err error) {
		b.open(func(a *app.App) error {
			st, e := a.Engine.State(t.Context(), "shop")
			if e != nil {
				return e
			}
			run, e := apptest.Ledger(t, a).Run(t.Context(), "shop", st.Latest["qa"].ID)
			if e != nil {
				return e
			}
			images, e := a.Engine.State(t.Context(), "images")
			if e == nil && (len(run.Elsewhere) != 1 || run.Elsewhere[0].Ledger != a.Identity || run.Elsewhere[0].Build != images.Current["tested"].Build || run.Elsewhere[0].Head.Sequence == 0) {
				err = fmt.Errorf("it was gated on %+v", run.Elsewhere)
			}
			return e
		})
		return err
	})
	quiet := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
	walk(t,
		resource.TestStep{Config: config(""), ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("qa", "passed"), gated}},
		resource.TestStep{Config: config(fmt.Sprintf("data_dir = %q", b.dir)), ConfigPlanChecks: quiet},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: config(fmt.Sprintf("data_dir = %q", b.dir)), ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("qa", "passed"), gated}},
	)
}
