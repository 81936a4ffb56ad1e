// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
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
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// does makes a PreConfig of a call of the engine, as the command line makes it.
func (b *bench) does(call func(context.Context, *engine.Engine) error) func() {
	return func() {
		b.t.Helper()
		b.open(func(a *app.App) error { return call(context.Background(), a.Engine) })
	}
}

// TestAccNoticesOfTime lets an environment end. A plan that finds nothing to do sends the
// notice, with no other program at work.
func TestAccNoticesOfTime(t *testing.T) {
	b := newBench(t)
	notices := filepath.Join(t.TempDir(), "told")
	config := b.config(map[string]string{"PIPELINE": `notify = [{ on = ["expired"], command = "cat >> ` + notices + `" }]`, "MORE": `
resource "penstock_self_service_env" "alice" {
  pipeline   = penstock_pipeline.shop.name
  name       = "alice"
  depends_on = [penstock_stage.acceptance]
  ttl        = "6s"
}`})
	var text []byte
	walk(t,
		resource.TestStep{Config: config},
		resource.TestStep{PreConfig: func() { waitExpired(t, b) }, Config: config, ConfigPlanChecks: plan(plancheck.ExpectEmptyPlan())},
		resource.TestStep{
			PreConfig: func() {
				for end := time.Now().Add(time.Minute); len(text) == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
					text, _ = os.ReadFile(notices)
				}
			},
			Config: config, ConfigPlanChecks: plan(plancheck.ExpectEmptyPlan()),
		},
	)
	if n := strings.Count(string(text), `"kind":"expired"`); n != 1 || !strings.Contains(string(text), `"environment":"alice"`) {
		t.Errorf("told %q", text)
	}
}

// TestAccResizeTakenBack reverts an interrupted change of an environment's size: the next
// apply restores the previous size. An environment that has ended meanwhile stays ended.
func TestAccResizeTakenBack(t *testing.T) {
	b := newBench(t)
	const address = "penstock_self_service_env.alice"
	config := func(ttl string) string {
		return b.config(map[string]string{"MORE": fmt.Sprintf(`
resource "penstock_self_service_env" "alice" {
  pipeline   = penstock_pipeline.shop.name
  name       = "alice"
  depends_on = [penstock_stage.acceptance]
  ttl        = %q
}`, ttl)})
	}
	instances := func() (recorded, there int) {
		b.open(func(a *app.App) error {
			st, err := a.Engine.State(context.Background(), "shop")
			if err != nil {
				return err
			}
			env, _ := st.PersonEnvironment("alice")
			reports, err := platform(a).Describe(context.Background(), env.ID)
			recorded, there = env.Instances, reports[env.ID].Instances
			return err
		})
		return recorded, there
	}
	interrupt := func() {
		b.open(func(a *app.App) error {
			ctx := context.Background()
			st, err := a.Engine.State(ctx, "shop")
			if err != nil {
				return err
			}
			env, _ := st.PersonEnvironment("alice")
			env.Instances = 0
			apptest.Append(t, a, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{
				{Kind: pipeline.EnvironmentChanged, Actor: "ada", Facts: pipeline.Facts{Environment: &env}},
			}})
			return platform(a).Resize(ctx, env.ID, pipeline.Size{Instances: 2})
		})
	}
	walk(t,
		resource.TestStep{Config: config("1h")},
		resource.TestStep{
			PreConfig: interrupt, Config: config("1h"), ConfigPlanChecks: plan(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(address, tfjsonpath.New("instances"), knownvalue.Int64Exact(1))},
		},
		resource.TestStep{
			PreConfig: func() {
				if recorded, there := instances(); recorded != 1 || there != 1 {
					t.Errorf("%d instances are recorded, and %d are there", recorded, there)
				}
				interrupt()
				b.open(func(a *app.App) error {
					st, err := a.Engine.State(context.Background(), "shop")
					if err != nil {
						return err
					}
					env, _ := st.PersonEnvironment("alice")
					return platform(a).Extend(context.Background(), env.ID, time.Now().Add(time.Second))
				})
				waitExpired(t, b)
			},
			Config: config("1h"), ConfigPlanChecks: plan(plancheck.ExpectEmptyPlan()),
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(address, tfjsonpath.New("status"), exact("expired"))},
		},
	)
}

// TestAccPeople does what people do, and asserts after each that the next plan shows what
// it opened and nothing else.
func TestAccPeople(t *testing.T) {
	b := newBench(t)
	config := b.config(map[string]string{"PIPELINE": `authorize = { override = ["*"] }`})
	empty := plan(plancheck.ExpectEmptyPlan())
	walk(t,
		resource.TestStep{Config: config},
		resource.TestStep{ // a paused stage plans clean
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production", Reason: "it is Friday"})
				return err
			}),
			Config: config, ConfigPlanChecks: empty,
			ConfigStateChecks: []statecheck.StateCheck{
				b.hasStatus("production", "paused"), b.waitsFor("production", "it is Friday"),
			},
		},
		resource.TestStep{ // and moves nothing when the others do
			PreConfig: b.decide("exploratory", decision.Approve),
			Config:    config, ConfigPlanChecks: plan(updates("pre_production")...),
		},
		resource.TestStep{
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Resume, Pipeline: "shop", Stage: "production"})
				return err
			}),
			Config: config, ConfigPlanChecks: empty,
		},
		resource.TestStep{
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "production"})
				return err
			}),
			Config: config, ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "one"),
		},
		resource.TestStep{ // another run shows with what is below it; it changes nothing there, but takes the approval away
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Retry, Pipeline: "shop", Stage: "exploratory"})
				return err
			}),
			Config: config, ConfigPlanChecks: plan(updates("exploratory", "pre_production")...),
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("exploratory", "waiting"), b.hasStatus("production", "passed")},
		},
		resource.TestStep{ // while one of two gates is closed again, the other one's stage runs again
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Retry, Pipeline: "shop", Stage: "capacity"})
				return err
			}),
			Config: config, ConfigPlanChecks: plan(updates("capacity", "pre_production")...),
			ConfigStateChecks: []statecheck.StateCheck{b.hasStatus("capacity", "passed"), b.hasStatus("exploratory", "waiting")},
		},
		resource.TestStep{Config: config, ConfigPlanChecks: empty},
		resource.TestStep{ // an override opens the stage
			PreConfig: func() {
				b.commit("two")
			},
			Config: config,
		},
		resource.TestStep{
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				at, err := e.Reports.StageView(ctx, "shop", "exploratory")
				if err == nil {
					_, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Override, Pipeline: "shop", Stage: "exploratory", Build: at.Move.Candidate.ID, Reason: "nobody is here"})
				}
				return err
			}),
			Config: config, ConfigPlanChecks: plan(updates("pre_production")...), Check: answers("production", "one"),
		},
		resource.TestStep{ // a rejection moves nothing
			PreConfig: b.does(func(ctx context.Context, e *engine.Engine) error {
				_, err := e.Decisions.Do(ctx, decision.Command{Verb: decision.Reject, Pipeline: "shop", Stage: "pre-production", Reason: "it leaks"})
				return err
			}),
			Config: config, ConfigPlanChecks: empty, Check: answers("production", "one"),
		},
	)
}

// TestAccWhoMay asks for what only others may, in Terraform.
func TestAccWhoMay(t *testing.T) {
	b := newBench(t)
	const onlyCarol = `authorize = { deploy = ["carol"], launch = [] }`
	pin := filepath.Join(t.TempDir(), "pin")
	set := func(value string) {
		if err := os.WriteFile(pin, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("")
	config := func(authorize, more string) string {
		return b.config(map[string]string{
			"PIPELINE": authorize, "MORE": more, "PIN": fmt.Sprintf("trimspace(file(%q)) == \"\" ? null : trimspace(file(%q))", pin, pin),
		})
	}
	mine := `
resource "penstock_self_service_env" "mine" {
  pipeline   = penstock_pipeline.shop.name
  name       = "mine"
  depends_on = [penstock_stage.acceptance]
}`
	fails := func(want string) *regexp.Regexp {
		return regexp.MustCompile(`(?s)` + strings.ReplaceAll(want, " ", `\s+`))
	}
	walk(t,
		resource.TestStep{Config: config(onlyCarol, "")},
		resource.TestStep{PreConfig: b.decide("exploratory", decision.Approve), Config: config(onlyCarol, "")},
		resource.TestStep{
			PreConfig:   func() { set(b.passed("pre-production")) },
			Config:      config(onlyCarol, ""),
			ExpectError: fails(`Not allowed.*no right to deploy.*`),
		},
		resource.TestStep{Config: config(`authorize = { deploy = ["*"] }`, ""), ConfigPlanChecks: plan(updates("production")...), Check: answers("production", "one")},
		resource.TestStep{Config: config(onlyCarol, ""), ConfigPlanChecks: plan(updates()...)}, // it is there already
		resource.TestStep{Config: config(onlyCarol, mine), ExpectError: fails(`Not allowed.*Nobody may`)},
		resource.TestStep{Config: config(`self_service = { max_ttl = "1h" }`, mine), ExpectError: fails(`Refused by a gate.*ttl of 8h is longer than the 1h`)},
		resource.TestStep{Config: config("", strings.Replace(mine, "name ", "ttl = \"1000h\"\n  name ", 1)), ExpectError: fails(`ttl of 1000h is longer than the 168h`)},
		resource.TestStep{
			Config: config(`
  self_service = { max_ttl = "8h", max_per_owner = 1 }
  authorize = {
    approve = ["@qa"], reject = [], launch = ["*"], groups = { qa = ["alice", "bob"] }
    people = { alice = ["al"] }, approvals = 2, not_author = true
  }
  notify = [
    { on = ["failed", "waiting"], webhook_url = "http://127.0.0.1:9/", secret = "$SHOP_SECRET" }, { slack_url = "$SHOP_SLACK" }, { command = "cat" }
  ]`, mine),
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue("penstock_self_service_env.mine", tfjsonpath.New("status"), exact("running"))},
		},
		resource.TestStep{ResourceName: "penstock_pipeline.shop", ImportState: true, ImportStateId: "shop", ImportStateVerify: true, ImportStateVerifyIgnore: []string{"force_destroy"}},
	)
}

// An error in a pipeline names the argument.
func TestAccInvalidPipeline(t *testing.T) {
	for name, tt := range map[string]struct{ arguments, want string }{
		"more approvals than people": {`authorize = { approve = ["a", "b"], approvals = 3 }`, `approvals is 3, but only 2 people may approve: a, b`},
		"no approvals":               {`authorize = { approvals = 0 }`, `between 1 and 20`},
		"nobody's name":              {`authorize = { deploy = [""] }`, `must be a name`},
		"a group without a name":     {`authorize = { deploy = ["@"] }`, `no name of a group`},
		"a group in a group":         {`authorize = { groups = { qa = ["@ops"] } }`, `no group`},
		"an empty group":             {`authorize = { groups = { qa = [] } }`, `at least 1`},
		"a time that is none":        {`self_service = { max_ttl = "a day" }`, `a day`},
		"a target that is none":      {`notify = [{ on = ["failed"] }]`, `sets 0 of webhook_url`},
		"two targets in one":         {`notify = [{ command = "cat", slack_url = "https://example.com" }]`, `sets 2 of webhook_url`},
		"no kind of notice":          {`notify = [{ on = ["exploded"], command = "cat" }]`, `exploded`},
		"a secret in the state":      {`notify = [{ webhook_url = "https://example.com", secret = "s3cret" }]`, `must be \$ and the name of a variable`},
		"a secret for nobody":        {`notify = [{ command = "cat", secret = "$S" }]`, `webhook_url`},
		"no URL":                     {`notify = [{ webhook_url = "example.com" }]`, `must be an http or https URL`},
		"a topic without AWS":        {`notify = [{ sns_topic = "arn:aws:sns:eu-west-1:123456789012:shop" }]`, `sns_topic has no effect on the local platform`},
		"a topic that is none":       {`notify = [{ sns_topic = "shop" }]`, `must be the ARN of a topic`},
		"a bus without AWS":          {`notify = [{ event_bus = "default" }]`, `event_bus has no effect on the local platform`},
		"none for each":              {`self_service = { max_per_owner = 0 }`, `at least 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t, resource.TestStep{
				Config:      fmt.Sprintf("provider \"penstock\" { data_dir = %q }\nresource \"penstock_pipeline\" \"p\" {\n  name = \"p\"\n  %s\n}", t.TempDir(), tt.arguments),
				ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(tt.want, " ", `\s+`)),
			})
		})
	}
}
