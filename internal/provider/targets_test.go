// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// clouded is a bench whose environments have a database in a cloud, of an engine.
func clouded(t *testing.T, engine string) (b *bench, cloud string) {
	t.Helper()
	b, cloud = newBench(t), t.TempDir()
	mirror := t.TempDir()
	rc := filepath.Join(mirror, "terraformrc")
	if err := moduletest.Install(mirror); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rc, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror { path = %q }\n}\n", mirror), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TF_CLI_CONFIG_FILE", rc)
	t.Setenv("TF_PLUGIN_CACHE_DIR", t.TempDir()) // the machine's may have the provider of another test binary
	b.database(cloud, engine)
	b.commit("one")
	return b, cloud
}

// database writes a module with a database of an engine: another engine replaces it.
func (b *bench) database(cloud, engine string) {
	b.write("environment/main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    cloud = { source = "acme/cloud" }
  }
}
variable "penstock" { type = object({ name = string }) }
provider "cloud" { dir = %q }
resource "cloud_database" "main" {
  name   = var.penstock.name
  engine = %q
  size   = 1
}
`, cloud, engine))
}

const targetsText = `
provider "penstock" { data_dir = "<DATA>" }
data "penstock_source" "s" {
  repository = "<REPO>"
  ref        = "main"
  module     = ["environment/**"]
}
resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec <SELF> serve"
    health_check = { path = "/", interval = "50ms" }
  }
  module = { directory = "environment", stateful = ["cloud_database"], detect_drift = true, drift_every = "1ms" }
  scale  = { instances = 1 }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.s.revision
  steps    = [{ name = "build", command = "tar -czf dist.tar.gz version" }]
  artifact = "dist.tar.gz"
}
resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  after       = [penstock_stage.commit.passed]
  environment = { keep = true, allow_destroy = <DESTROY> }
  targets     = [{ name = "eu" }, { name = "us" }]
}
`

// TestAccModuleAtTargets takes the module of a stage with two targets through Terraform: before
// it is promoted, a build is planned for each; what would lose data is refused at each, by
// name; and what somebody changes at one is found there.
func TestAccModuleAtTargets(t *testing.T) {
	b, cloud := clouded(t, "one")
	config := func(destroy string) string {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer("<DATA>", b.dir, "<REPO>", b.repo, "<SELF>", self, "<DESTROY>", destroy).Replace(targetsText)
	}
	promote := func() {
		b.open(func(a *app.App) error {
			st, err := a.Engine.State(t.Context(), "shop")
			if err != nil {
				return err
			}
			c, err := a.Engine.Decisions.Complete(st, decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "production"})
			if err == nil {
				_, err = a.Engine.Decisions.Do(context.Background(), c)
			}
			return err
		})
	}
	// planned checks what is stored of the newest build, at each target.
	planned := func(counts pipeline.ModuleCounts, refused int) statecheck.StateCheck {
		return stateCheck(func() error {
			newest := b.passed("commit")
			b.open(func(a *app.App) error {
				st, err := a.Engine.State(t.Context(), "shop")
				if err != nil {
					return err
				}
				for _, at := range st.Stages["production"].AtPlaces() {
					i, ok := report.InfrastructureOf(st, at, newest)
					if !ok || !i.Known() || i.Plan.ModuleCounts != counts || len(i.Refused) != refused {
						return fmt.Errorf("at %s: %+v, %v", at.Name, i, ok)
					}
				}
				return nil
			})
			return nil
		})
	}
	databases := func(want string) statecheck.StateCheck {
		return stateCheck(func() error {
			var all []string
			for _, target := range []string{"eu", "us"} {
				content, err := os.ReadFile(filepath.Join(cloud, "production@"+target+".db"))
				if err != nil {
					return err
				}
				all = append(all, string(content))
			}
			if got := strings.Join(all, " "); got != want {
				return fmt.Errorf("the databases are %s, want %s", got, want)
			}
			return nil
		})
	}
	drift := func(resources ...knownvalue.Check) statecheck.StateCheck {
		return export("production", "drift", knownvalue.ListExact(resources))
	}
	walk(t,
		resource.TestStep{Config: config("false"), ConfigStateChecks: []statecheck.StateCheck{
			planned(pipeline.ModuleCounts{Added: 1}, 0), export("production", "drift", knownvalue.Null()),
		}},
		resource.TestStep{PreConfig: promote, Config: config("false"), ConfigStateChecks: []statecheck.StateCheck{
			databases(`{"engine":"one","size":1} {"engine":"one","size":1}`),
		}},
		resource.TestStep{
			PreConfig: func() {
				if err := os.WriteFile(filepath.Join(cloud, "production@us.db"), []byte(`{"engine":"one","size":5}`), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			RefreshState: true,
		},
		resource.TestStep{Config: config("false"), ConfigStateChecks: []statecheck.StateCheck{
			drift(knownvalue.ObjectExact(map[string]knownvalue.Check{
				"address": knownvalue.StringExact("cloud_database.main"), "action": knownvalue.StringExact("update"), "target": knownvalue.StringExact("us"),
			})),
		}},
		resource.TestStep{
			PreConfig: func() { b.database(cloud, "two"); b.commit("two") },
			Config:    config("false"), ConfigStateChecks: []statecheck.StateCheck{planned(pipeline.ModuleCounts{Added: 1, Destroyed: 1}, 1)},
		},
		resource.TestStep{PreConfig: promote, Config: config("false"), ExpectError: regexp.MustCompile(`(?s)allow_destroy.*target\s+(eu|us):`)},
		resource.TestStep{Config: config("true"), ConfigStateChecks: []statecheck.StateCheck{
			databases(`{"engine":"two","size":1} {"engine":"two","size":1}`),
		}},
		resource.TestStep{RefreshState: true},
		resource.TestStep{Config: config("true"), ConfigStateChecks: []statecheck.StateCheck{drift()}},
	)
	if left, err := filepath.Glob(filepath.Join(cloud, "*.db")); err != nil || len(left) > 0 {
		t.Errorf("a destroy leaves %v: %v", left, err)
	}
}

const movesText = `
provider "penstock" { data_dir = "<DATA>" }
data "penstock_source" "s" {
  repository = "<REPO>"
  ref        = "main"
}
resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "cp \"$PENSTOCK_ARTIFACT\" version"
    start        = "exec <SELF> serve"
    health_check = { path = "/", interval = "50ms" }
  }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.s.revision
  artifact = "version"
}
resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  trigger     = "automatic"
  after       = [penstock_stage.commit.passed]
  environment = { keep = true<PORT> }
  targets     = <TARGETS>
}
`

// TestAccPlaceLeft takes a stage from one environment to targets and back: each time what it had
// ends, and the plan after it is empty.
func TestAccPlaceLeft(t *testing.T) {
	b := newBench(t)
	config := func(targets, port string) string {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer("<DATA>", b.dir, "<REPO>", b.repo, "<SELF>", self, "<TARGETS>", targets, "<PORT>", port).Replace(movesText)
	}
	serves := func(stages ...string) []statecheck.StateCheck {
		return []statecheck.StateCheck{stateCheck(func() (err error) {
			b.open(func(a *app.App) error {
				st, e := a.Engine.State(t.Context(), "shop")
				if e != nil {
					return e
				}
				got := []string{}
				for _, env := range st.Environments {
					got = append(got, env.Stage+" "+string(env.Status))
				}
				if slices.Sort(got); !slices.Equal(got, stages) {
					err = fmt.Errorf("there is %v, want %v", got, stages)
				}
				return nil
			})
			return err
		})}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf(", port = %d", free.Addr().(*net.TCPAddr).Port)
	_ = free.Close()
	both := `[{ name = "eu" }, { name = "us" }]`
	walk(t,
		resource.TestStep{Config: config("null", ""), ConfigStateChecks: serves("production running")},
		resource.TestStep{Config: config(both, ""), ConfigStateChecks: serves("production@eu running", "production@us running")},
		resource.TestStep{PreConfig: func() { b.commit("two") }, Config: config("null", ""), ConfigStateChecks: serves("production running")},
		resource.TestStep{Config: config(both, ""), ConfigStateChecks: serves("production@eu running", "production@us running")},
		resource.TestStep{Config: config("null", port), ConfigStateChecks: serves("production running")},
		resource.TestStep{Config: config(`[{ name = "eu" }]`, port), PlanOnly: true, ExpectError: regexp.MustCompile(`environment.port\s+=\s+\d+\s+is\s+that\s+of[\s\S]+ends\s+only\s+once`)},
	)
	if left, err := filepath.Glob(filepath.Join(b.dir, "targets", "*", "environments", "*")); err != nil || len(left) > 0 {
		t.Errorf("environments are left: %v, %v", left, err)
	}
}
