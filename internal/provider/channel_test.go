// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// follow reads where a channel leads, over and over, until the test ends, as who launches
// instances from it does. Each image must be there.
func (b *bench) follow(channel string) (stop func()) {
	done := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			data, err := os.ReadFile(filepath.Join(b.dir, "images", "names", "shop", channel+".json"))
			if err != nil {
				continue // it leads nowhere
			}
			var found struct{ Image, Build string }
			if err := json.Unmarshal(data, &found); err != nil {
				b.t.Errorf("the channel says %q: %v", data, err)
				return
			}
			if _, err := os.Stat(filepath.Join(b.dir, "images", "manifests", found.Image+".json")); err != nil {
				b.t.Errorf("the channel leads to image %s of build %s: %v", found.Image, found.Build, err)
				return
			}
		}
	})
	return func() { close(done); readers.Wait() }
}

// TestAccChannel publishes what passed: a newer build that passes is published, one that fails
// is not, a rejection goes back, and the end of it all leaves nothing.
func TestAccChannel(t *testing.T) {
	b := newBench(t)
	whole := b.config(map[string]string{"JOURNEYS": "! grep bad version", "INSTANCES": "1"})
	base := whole[:strings.Index(whole, `resource "penstock_stage" "exploratory"`)]
	config := func(publish string) string {
		return strings.Replace(base, `after    = [penstock_stage.commit.passed]`, `after    = [penstock_stage.commit.passed]
  `+publish, 1)
	}
	stable := config(`publish  = { channel = "stable" }`)
	built := map[string]string{}
	leads := func(version string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			b.open(func(a *app.App) error {
				list, err := a.Engine.Reports.ImagesOf(context.Background(), "shop", "stable")
				if err == nil && (len(list) != 1 || list[0].Channels[0].Build != built[version]) {
					t.Errorf("the channel leads to %+v, want build %s", list, built[version])
				}
				return err
			})
			return nil
		}
	}
	passed := func(version string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			built[version] = b.passed("acceptance")
			return leads(version)(s)
		}
	}
	const acceptance = "penstock_stage.acceptance"
	unknown := plancheck.ExpectUnknownValue(acceptance, tfjsonpath.New("published"))
	stop := b.follow("stable")
	walk(t,
		resource.TestStep{Config: config(`publish  = { regions = ["eu-west-2"] }`), ExpectError: regexp.MustCompile(`publish\.regions`)},
		resource.TestStep{
			Config: stable, Check: passed("one"),
			ConfigStateChecks: []statecheck.StateCheck{
				export("acceptance", "published", knownvalue.ObjectPartial(map[string]knownvalue.Check{"image_ids": knownvalue.MapSizeExact(1)})),
				statecheck.CompareValuePairs(acceptance, tfjsonpath.New("published").AtMapKey("image_id"), acceptance, tfjsonpath.New("image_id"), compare.ValuesSame()),
			},
		},
		resource.TestStep{PreConfig: func() { b.commit("bad") }, Config: stable, ExpectError: regexp.MustCompile("journeys")},
		resource.TestStep{
			PreConfig: func() { leads("one")(nil); b.commit("two") }, Config: stable, Check: passed("two"),
			ConfigPlanChecks: plan(unknown),
		},
		resource.TestStep{
			PreConfig: b.decide("acceptance", decision.Reject), Config: stable, Check: leads("one"),
			ConfigPlanChecks: plan(unknown, plancheck.ExpectResourceAction(acceptance, plancheck.ResourceActionUpdate)),
		},
		resource.TestStep{
			Config: stable + `
resource "penstock_stage" "other" {
  pipeline = penstock_pipeline.shop.name
  name     = "other"
  type     = "custom"
  after    = [penstock_stage.acceptance.passed]
  publish  = { channel = "stable" }
}`, ExpectError: regexp.MustCompile(`(?s)stage\s+"acceptance"\s+publishes\s+as`),
		},
		resource.TestStep{
			Config: config(""), ConfigStateChecks: []statecheck.StateCheck{export("acceptance", "published", knownvalue.Null())},
			Check: func(*terraform.State) error {
				b.open(func(a *app.App) error {
					_, err := a.Engine.Reports.ImagesOf(context.Background(), "shop", "stable")
					if !pipeline.IsNotFound(err) {
						t.Errorf("without publish: %v", err)
					}
					return nil
				})
				return nil
			},
		},
		resource.TestStep{Config: config(`publish  = { channel = "stable", on_removal = "delete" }`), Check: leads("one")},
	)
	stop()
	if left, err := filepath.Glob(filepath.Join(b.dir, "images", "names", "*")); err != nil || len(left) > 0 {
		t.Errorf("names are left: %v, %v", left, err)
	}
}

// TestAccChannelChangedByOthers puts a channel right that something else has removed, damaged, or
// let lead elsewhere, and says so in the plan. It takes no name that is another's by now.
func TestAccChannelChangedByOthers(t *testing.T) {
	b := newBench(t)
	whole := b.config(map[string]string{"INSTANCES": "1"})
	base := whole[:strings.Index(whole, `resource "penstock_stage" "exploratory"`)]
	config := func(publish string) string {
		return strings.Replace(base, `after    = [penstock_stage.commit.passed]`, `after    = [penstock_stage.commit.passed]
  publish  = { channel = "stable"`+publish+` }`, 1)
	}
	file := filepath.Join(b.dir, "images", "names", "shop", "stable.json")
	var was string
	read := func() string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("the channel: %v", err)
		}
		return string(data)
	}
	write := func(text string) func() {
		return func() {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	right := func(*terraform.State) error {
		if is := read(); is != was {
			t.Errorf("the channel says %s, and said %s", is, was)
		}
		return nil
	}
	mended := plan(plancheck.ExpectUnknownValue("penstock_stage.acceptance", tfjsonpath.New("published")), plancheck.ExpectResourceAction("penstock_stage.acceptance", plancheck.ResourceActionUpdate))
	const another = `{"pipeline":"shop","name":"stable","owner":"acceptance","image":"img-0000000000000000","build":"b-0000000000"}`
	steps := []resource.TestStep{{Config: config(""), Check: func(*terraform.State) error { was = read(); return nil }}}
	for _, change := range []func(){func() { _ = os.Remove(file) }, write(another), write("garbage"), write("{}")} {
		steps = append(steps, resource.TestStep{PreConfig: change, Config: config(""), Check: right, ConfigPlanChecks: mended})
	}
	taken := write(strings.Replace(another, `"owner":"acceptance"`, `"owner":"theirs"`, 1))
	steps = append(steps,
		resource.TestStep{PreConfig: taken, Config: config(""), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)publish\s+=.*adopt\s+=\s+true.*something\s+else\s+has\s+replaced\s+it`)},
		resource.TestStep{Config: config(", adopt = true"), Check: right},
		resource.TestStep{PreConfig: write("garbage"), Config: base},
	)
	walk(t, steps...)
	if _, err := os.Stat(file); err == nil {
		t.Errorf("the channel is left: %s", read())
	}
}

// TestAccKeptChannel leaves a channel, and lets another stage go on with it. What the plan can know
// is refused there: who does not adopt the name, an end of the pipeline, and a stage whose builds
// have no image.
func TestAccKeptChannel(t *testing.T) {
	b := newBench(t)
	whole := b.config(map[string]string{"INSTANCES": "1"})
	base := whole[:strings.Index(whole, `resource "penstock_stage" "exploratory"`)]
	config := func(acceptance, other string) string {
		return strings.Replace(base, `after    = [penstock_stage.commit.passed]`, `after    = [penstock_stage.commit.passed]
  `+acceptance, 1) + `
resource "penstock_stage" "other" {
  pipeline = penstock_pipeline.shop.name
  name     = "other"
  type     = "custom"
  after    = [penstock_stage.acceptance.passed]
  ` + other + `
}
`
	}
	const kept, adopted = `publish = { channel = "zero", on_removal = "keep" }`, `publish = { channel = "zero", on_removal = "keep", adopt = true }`
	of := func(stages ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			b.open(func(a *app.App) error {
				list, err := a.Engine.Reports.ImagesOf(context.Background(), "shop", "zero")
				if err != nil || len(list) != 1 || len(list[0].Channels) != 1 || list[0].Channels[0].Stage != stages[0] || list[0].Channels[0].Build != b.passed("acceptance") {
					t.Errorf("the channel of %s: %+v, %v", stages[0], list, err)
				}
				return nil
			})
			return nil
		}
	}
	refused := func(config, text string) resource.TestStep {
		return resource.TestStep{Config: config, ExpectError: regexp.MustCompile(`(?s)Error running pre-apply plan.*` + strings.ReplaceAll(text, " ", `\s+`))}
	}
	imageless := strings.Replace(config(kept, ""), "base_image = penstock_baked_image.base.image_id", "", 1)
	imageless = strings.Replace(imageless, `on_removal = "keep" }`, `on_removal = "keep" }
  bake = false`, 1)
	walk(t,
		resource.TestStep{Config: config(kept, ""), Check: of("acceptance")},
		refused(imageless, `publish = .*no build that the stage takes can have an image`),
		resource.TestStep{Config: config("", ""), Check: of("acceptance")},
		refused(config("", kept), `publish = .*channel "zero" exists: stage "acceptance" has left it`),
		resource.TestStep{Config: config("", adopted), Check: of("other")},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: config("", adopted), Check: of("other")},
		resource.TestStep{Config: config("", adopted), Destroy: true, ExpectError: regexp.MustCompile(`(?s)force_destroy.*still\s+has\s+channels`)},
		resource.TestStep{Config: config("", `publish = { channel = "zero", adopt = true }`), Check: of("other")},
	)
}
