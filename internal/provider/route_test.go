// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"github.com/hashicorp/terraform-plugin-testing/tfversion"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// answers checks what the stage's endpoint says.
func answers(stage, want string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		r := s.RootModule().Resources[stageAddress(stage)]
		if r == nil {
			return fmt.Errorf("no stage %s", stage)
		}
		resp, err := http.Get(r.Primary.Attributes["endpoint"])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && string(body) != want {
			return fmt.Errorf("stage %s answers %q, want %q", stage, body, want)
		}
		return err
	}
}

func plan(checks ...plancheck.PlanCheck) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: checks}
}

// TestAccRoute takes builds along the whole pipeline and asserts each plan: what
// moves shows, and nothing else.
func TestAccRoute(t *testing.T) {
	b := newBench(t)
	none := knownvalue.Null()
	walk(t,
		resource.TestStep{ // up to the first decision; the plan after it is empty
			Config: b.config(nil),
			ConfigStateChecks: []statecheck.StateCheck{
				b.hasStatus("commit", "passed"), b.hasStatus("acceptance", "passed"),
				b.hasStatus("exploratory", "waiting"), b.hasStatus("capacity", "passed"),
				b.hasStatus("pre_production", "waiting"), export("production", "endpoint", none),
				statecheck.ExpectKnownValue(stageAddress("exploratory"), tfjsonpath.New("passed").AtMapKey("build"), none),
			},
		},
		resource.TestStep{ // an approval moves just what it opens
			PreConfig:        b.decide("exploratory", decision.Approve),
			Config:           b.config(nil),
			ConfigPlanChecks: plan(updates("pre_production")...),
			ConfigStateChecks: []statecheck.StateCheck{
				b.hasStatus("pre_production", "passed"), b.hasStatus("production", "waiting"),
			},
		},
	)
}

// TestAccPromotion promotes, changes, fails and rolls back.
func TestAccPromotion(t *testing.T) {
	b := newBench(t)
	ids := map[string]string{}
	note := func(name string) func() {
		return func() { ids[name] = b.passed("pre-production") }
	}
	pinned := func(name string) string { return fmt.Sprintf("%q", ids[name]) }
	// The configuration of a step is fixed before the first runs, so pins are read
	// from a file that a PreConfig writes.
	pin := filepath.Join(t.TempDir(), "pin")
	set := func(value string) {
		if err := os.WriteFile(pin, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("")
	byFile := map[string]string{"PIN": fmt.Sprintf("trimspace(file(%q)) == \"\" ? null : trimspace(file(%q))", pin, pin)}
	with := func(more map[string]string) string {
		all := map[string]string{}
		for _, m := range []map[string]string{byFile, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return b.config(all)
	}
	walk(t,
		resource.TestStep{Config: with(nil)},
		resource.TestStep{PreConfig: b.decide("exploratory", decision.Approve), Config: with(nil)},
		resource.TestStep{ // promotion by attribute
			PreConfig:        func() { note("one")(); set(ids["one"]) },
			Config:           with(nil),
			ConfigPlanChecks: plan(updates("production")...),
			Check:            answers("production", "one"),
		},
		resource.TestStep{ // a commit that concerns nothing moves nothing
			PreConfig: func() {
				b.write("README.md", "docs")
				b.git("add", "-A")
				b.git("commit", "-q", "-m", "docs")
			},
			Config:           with(nil),
			ConfigPlanChecks: plan(plancheck.ExpectEmptyPlan()),
		},
		resource.TestStep{ // a new commit flows down, and production shows no change
			PreConfig: func() { b.commit("two") },
			Config:    with(nil),
			ConfigPlanChecks: plan(append(updates("commit", "acceptance", "exploratory", "capacity"),
				plancheck.ExpectKnownValue(stageAddress("exploratory"), tfjsonpath.New("passed").AtMapKey("build"), knownvalue.NotNull()),
				plancheck.ExpectUnknownValue(stageAddress("acceptance"), tfjsonpath.New("passed").AtMapKey("build")),
				plancheck.ExpectKnownValue(stageAddress("acceptance"), tfjsonpath.New("passed").AtMapKey("stage"), exact("acceptance")),
				plancheck.ExpectKnownValue(stageAddress("commit"), tfjsonpath.New("candidate"), knownvalue.StringRegexp(regexp.MustCompile(`^b-[0-9a-f]{10}$`))),
			)...),
			Check: answers("production", "one"),
		},
		resource.TestStep{ // a pin that skipped stages fails in the plan, with the remedy
			PreConfig: func() {
				st := b.passed("acceptance")
				ids["two"] = st
				set(st)
			},
			Config:      with(nil),
			ExpectError: regexp.MustCompile(`(?s)Refused by a gate.*penstock\s+approve\s+shop\s+exploratory.*"exploratory",\s+where\s+it\s+waits`),
		},
		resource.TestStep{
			PreConfig: func() { b.decide("exploratory", decision.Approve)(); set(ids["one"]) },
			Config:    with(nil), ConfigPlanChecks: plan(updates("pre_production")...),
		},
		resource.TestStep{
			PreConfig: func() { set(ids["two"]) },
			Config:    with(nil), ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "two"),
		},
		resource.TestStep{ // roll back
			PreConfig: func() { set(ids["one"]) },
			Config:    with(nil), ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "one"),
		},
		resource.TestStep{ // without the pin nothing moves by itself
			PreConfig: func() { set("") },
			Config:    with(nil), ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "one"),
		},
		resource.TestStep{ // a change of scale resizes, and runs nothing
			Config: with(map[string]string{"INSTANCES": "3"}),
			ConfigPlanChecks: plan(
				plancheck.ExpectKnownValue(stageAddress("production"), tfjsonpath.New("instances"), knownvalue.Int64Exact(3)),
				plancheck.ExpectKnownValue(stageAddress("production"), tfjsonpath.New("endpoint"), knownvalue.NotNull()),
			),
			ConfigStateChecks: []statecheck.StateCheck{export("production", "instances", knownvalue.Int64Exact(3))},
			Check:             answers("production", "one"),
		},
	)
	if pinned("one") == pinned("two") {
		t.Errorf("both builds are %s", ids["one"])
	}
}

// TestAccFailure fails a stage, leaves everything else as it was, and heals.
func TestAccFailure(t *testing.T) {
	b := newBench(t)
	journeys := map[string]string{"JOURNEYS": `test \"$(cat version)\" != bad || { echo it is bad; exit 3; }`}
	walk(t,
		resource.TestStep{Config: b.config(journeys)},
		resource.TestStep{
			PreConfig:   func() { b.commit("bad") },
			Config:      b.config(journeys),
			ExpectError: regexp.MustCompile(`(?s)Stage failed.*"acceptance".*penstock logs r-.*journeys.*exit status 3.*it is bad`),
		},
		resource.TestStep{ // the stage is not tainted; a mended commit heals it
			PreConfig:        func() { b.commit("good") },
			Config:           b.config(journeys),
			ConfigPlanChecks: plan(updates("commit", "acceptance", "exploratory", "capacity")...),
			ConfigStateChecks: []statecheck.StateCheck{
				b.hasStatus("acceptance", "passed"), b.hasStatus("exploratory", "waiting"),
			},
		},
	)
}

// TestAccFirstRunFails fails the very first run: nothing is kept in the state, and
// the next apply creates the stage.
func TestAccFirstRunFails(t *testing.T) {
	b := newBench(t)
	walk(t,
		resource.TestStep{Config: b.config(map[string]string{"JOURNEYS": "exit 3"}), ExpectError: regexp.MustCompile(`Stage failed`)},
		resource.TestStep{
			Config:           b.config(nil),
			ConfigPlanChecks: plan(plancheck.ExpectResourceAction(stageAddress("acceptance"), plancheck.ResourceActionCreate)),
		},
	)
}

// TestAccMissingArtifact and the like: what a run can't find is named.
func TestAccMissingArtifact(t *testing.T) {
	b := newBench(t)
	walk(t, resource.TestStep{
		Config:      b.config(map[string]string{"BUILD": "true"}),
		ExpectError: regexp.MustCompile(`(?s)Stage failed.*"dist.tar.gz"`),
	})
}

// TestAccVanished destroys production behind Terraform's back.
func TestAccVanished(t *testing.T) {
	b := newBench(t)
	auto := map[string]string{"MORE": `
resource "penstock_stage" "live" {
  pipeline = penstock_pipeline.shop.name
  name     = "live"
  type     = "production"
  trigger  = "automatic"
  after    = [penstock_stage.acceptance.passed]
}`}
	walk(t,
		resource.TestStep{Config: b.config(auto), Check: answers("live", "one")},
		resource.TestStep{
			PreConfig: func() {
				dirs, err := filepath.Glob(filepath.Join(b.dir, "environments", "*"))
				if err != nil || len(dirs) != 1 {
					t.Fatalf("environments %v, %v", dirs, err)
				}
				killSupervisor(t, dirs[0])
			},
			Config: b.config(auto),
			ConfigPlanChecks: plan(append(updates(),
				plancheck.ExpectResourceAction(stageAddress("live"), plancheck.ResourceActionUpdate))...),
			Check: answers("live", "one"),
		},
	)
}

// TestAccSecrets shows that write-only values reach the commands and nothing else.
func TestAccSecrets(t *testing.T) {
	b := newBench(t)
	const secret, other = "hunter2-is-not-enough", "correct-horse-battery-staple"
	more := func(token, last string) map[string]string {
		return map[string]string{
			"JOURNEYS": `curl -fs \"$PENSTOCK_ENDPOINT/token\"`,
			"MORE": `
resource "penstock_stage" "live" {
  pipeline    = penstock_pipeline.shop.name
  name        = "live"
  type        = "production"
  trigger     = "automatic"
  after       = [penstock_stage.acceptance.passed]
  environment = { env_wo = { TOKEN = "` + secret + `" }, env_wo_version = 1 }
  steps = [
    { name = "token", http = { path = "/token", contains = "^` + token + `" } },
    { name = "own", command = "echo the token is $TOKEN; test -n \"$TOKEN\"; echo $TOKEN > kept", env_wo = { TOKEN = "` + other + `" }, env_wo_version = 1 },
    { name = "of the one before", command = "` + last + `" },
  ]
}`}
	}
	files := func() error {
		return filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err == nil && (strings.Contains(string(data), secret) || strings.Contains(string(data), other)) {
				return fmt.Errorf("%s holds a secret", path)
			}
			return nil
		})
	}
	clean := func() {
		if err := files(); err != nil {
			t.Error(err)
		}
	}
	leaks := func(s *terraform.State) error {
		for name, r := range s.RootModule().Resources {
			for k, v := range r.Primary.Attributes {
				if strings.Contains(v, secret) || strings.Contains(v, other) {
					return fmt.Errorf("%s.%s in the state holds the secret", name, k)
				}
			}
		}
		return files()
	}
	resource.Test(t, resource.TestCase{
		TerraformVersionChecks:   []tfversion.TerraformVersionCheck{tfversion.SkipBelow(tfversion.Version1_11_0)}, // has write-only arguments
		ProtoV6ProviderFactories: factories,
		Steps: []resource.TestStep{
			{ // the error shows what a check got, without the environment's secrets
				Config:      b.config(more("nothing", "true")),
				ExpectError: regexp.MustCompile(`(?s)Stage failed.*expected\s+a\s+body.*with[\s│]+\*\*\*`),
			},
			{ // and what a command prints without the secrets of another
				PreConfig:   clean,
				Config:      b.config(more("hunter2-is", "cat kept; exit 3")),
				ExpectError: regexp.MustCompile(`(?s)Stage failed.*exit\s+status\s+3.*output:[\s│]+\*\*\*`),
			},
			{PreConfig: clean, Config: b.config(more("hunter2-is", "true")), Check: leaks},
		},
	})
}

// TestAccSelfService launches, keeps, pins, extends and ends an environment.
func TestAccSelfService(t *testing.T) {
	b := newBench(t)
	env := func(arguments string) map[string]string {
		return map[string]string{"MORE": `
resource "penstock_self_service_env" "alice" {
  pipeline = penstock_pipeline.shop.name
  name     = "alice"
  ` + arguments + `
}`}
	}
	const address = "penstock_self_service_env.alice"
	running := statecheck.ExpectKnownValue(address, tfjsonpath.New("status"), exact("running"))
	action := func(a plancheck.ResourceActionType) resource.ConfigPlanChecks {
		return plan(plancheck.ExpectResourceAction(address, a))
	}
	after := "after = [penstock_stage.acceptance.passed]\n"
	walk(t,
		resource.TestStep{Config: b.config(env(after + `ttl = "1h"`)), ConfigStateChecks: []statecheck.StateCheck{running}},
		resource.TestStep{ // a newer build does not move it
			PreConfig: func() { b.commit("two") }, Config: b.config(env(after + `ttl = "1h"`)), ConfigPlanChecks: action(plancheck.ResourceActionNoop),
		},
		resource.TestStep{ // but follow does
			Config: b.config(env(after + "ttl = \"1h\"\nfollow = true")), ConfigPlanChecks: action(plancheck.ResourceActionUpdate),
			ConfigStateChecks: []statecheck.StateCheck{running},
		},
		resource.TestStep{Config: b.config(env(after + "ttl = \"2h\"\nfollow = true")), ConfigPlanChecks: action(plancheck.ResourceActionUpdate)},
		resource.TestStep{ // an extension by hand is no change, and an update leaves it
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				env, err := e.Environments.Find(ctx, run.EnvironmentRef{Pipeline: "shop", Name: "alice"})
				if err == nil {
					_, err = e.Environments.Launch(ctx, run.LaunchRequest{Pipeline: "shop", Name: "alice", Build: env.Build, Spec: env.Spec, Configured: env.Configured, TTL: 9 * time.Hour, Renew: true})
				}
				return err
			}),
			Config: b.config(env(after + "ttl = \"2h\"\nfollow = true")), ConfigPlanChecks: action(plancheck.ResourceActionNoop),
		},
		resource.TestStep{
			Config: b.config(env(after + "ttl = \"2h\"\nfollow = true\ninstances = 2")), ConfigPlanChecks: action(plancheck.ResourceActionUpdate),
			Check: resource.TestCheckResourceAttrWith(address, "expires_at", func(at string) error {
				if end, err := time.Parse(time.RFC3339, at); err != nil || time.Until(end) < 7*time.Hour {
					return fmt.Errorf("it ends at %s: %w", at, err)
				}
				return nil
			}),
		},
		resource.TestStep{ResourceName: address, ImportState: true, ImportStateId: "shop/alice", ImportStateVerify: true, ImportStateVerifyIgnore: []string{"after", "follow"}},
	)
}

// TestAccExpiredStaysExpired lets a TTL run out: the next plans are clean, and a
// longer TTL renews.
func TestAccExpiredStaysExpired(t *testing.T) {
	b := newBench(t)
	env := func(ttl string) map[string]string {
		return map[string]string{"MORE": `
resource "penstock_self_service_env" "alice" {
  pipeline   = penstock_pipeline.shop.name
  name       = "alice"
  depends_on = [penstock_stage.acceptance]
  ttl        = "` + ttl + `"
}`}
	}
	const address = "penstock_self_service_env.alice"
	status := func(want string) []statecheck.StateCheck {
		return []statecheck.StateCheck{statecheck.ExpectKnownValue(address, tfjsonpath.New("status"), exact(want))}
	}
	walk(t,
		resource.TestStep{Config: b.config(env("6s")), ConfigStateChecks: status("running")},
		resource.TestStep{PreConfig: func() { waitExpired(t, b) }, RefreshState: true},
		resource.TestStep{Config: b.config(env("6s")), ConfigPlanChecks: plan(plancheck.ExpectEmptyPlan()), ConfigStateChecks: status("expired")},
		resource.TestStep{Config: b.config(env("1h")), ConfigStateChecks: status("running")},
	)
}

// TestAccImport imports each kind of resource into what it was.
func TestAccImport(t *testing.T) {
	b := newBench(t)
	verify := func(address, id string, ignore ...string) resource.TestStep {
		return resource.TestStep{ResourceName: address, ImportState: true, ImportStateId: id, ImportStateVerify: true, ImportStateVerifyIgnore: ignore}
	}
	steps := []resource.TestStep{{Config: b.config(nil)},
		verify("penstock_pipeline.shop", "shop", "force_destroy"), verify("penstock_baked_image.base", "shop/base")}
	for _, s := range []string{"commit", "acceptance", "exploratory", "capacity", "pre-production", "production"} {
		steps = append(steps, verify(stageAddress(strings.ReplaceAll(s, "-", "_")), "shop/"+s))
	}
	steps = append(steps, resource.TestStep{
		ResourceName: stageAddress("commit"), ImportState: true, ImportStateId: "commit", ExpectError: regexp.MustCompile(`PIPELINE/STAGE`),
	})
	walk(t, steps...)
}

// TestAccDataSources reads everything that can be read.
func TestAccDataSources(t *testing.T) {
	b := newBench(t)
	walk(t, resource.TestStep{Config: b.config(map[string]string{"MORE": `
data "penstock_pipeline" "shop" {
  name       = "shop"
  depends_on = [penstock_stage.acceptance]
}
data "penstock_build" "newest" {
  pipeline   = "shop"
  passed     = "acceptance"
  depends_on = [penstock_stage.acceptance]
}
data "penstock_image" "base" {
  pipeline = "shop"
  id       = penstock_baked_image.base.image_id
}`}), ConfigStateChecks: []statecheck.StateCheck{
		statecheck.ExpectKnownValue("data.penstock_pipeline.shop", tfjsonpath.New("stages").AtMapKey("acceptance").AtMapKey("status"), exact("passed")),
		statecheck.ExpectKnownValue("data.penstock_build.newest", tfjsonpath.New("message"), exact("one")),
		statecheck.ExpectKnownValue("data.penstock_build.newest", tfjsonpath.New("image_id"), knownvalue.NotNull()),
		statecheck.ExpectKnownValue("data.penstock_image.base", tfjsonpath.New("name"), exact("base")),
	}})
}
