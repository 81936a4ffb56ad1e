// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/provider"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	moduletest.Serve()
	process.Guard()
	supervisor.Main()
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve()
	}
	if len(os.Args) == 5 && slices.Contains(acts, os.Args[1]) {
		act(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
		return
	}
	os.Exit(workplacetest.Main(func() int { return cloudtest.Main(m) }))
}

// onTestCloud skips a test that needs Terraform and the test cloud where there is none.
func onTestCloud(t *testing.T) {
	t.Helper()
	if os.Getenv(resource.EnvTfAcc) == "" {
		t.Skipf("%s is not set", resource.EnvTfAcc)
	}
}

// serve is the service of the tests: it answers with the file version of its
// root, with its variable TOKEN below /token, and with how it was requested below /proto.
func serve() {
	version, err := os.ReadFile("version")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(version) })
	http.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, os.Getenv("TOKEN")) })
	http.HandleFunc("/proto", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Proto, " ", r.Header.Get("X-Forwarded-Proto"))
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	panic(server.ListenAndServe())
}

// bench is a repository and a data directory for one test.
type bench struct {
	t         *testing.T
	repo, dir string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, repo: t.TempDir(), dir: filepath.Join(t.TempDir(), "data")}
	b.git("init", "-q", "-b", "main")
	b.write("image/rootfs/etc/motd", "base")
	b.commit("one")
	t.Cleanup(func() {
		if left, err := filepath.Glob(filepath.Join(b.dir, "environments", "*")); err != nil || len(left) > 0 {
			t.Errorf("environments are left: %v, %v", left, err)
		}
	})
	return b
}

func (b *bench) git(args ...string) {
	b.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Dir = b.repo
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (b *bench) write(name, content string) {
	b.t.Helper()
	path := filepath.Join(b.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// commit makes the service's version the given one.
func (b *bench) commit(version string) {
	b.t.Helper()
	b.write("version", version)
	b.git("add", "-A")
	b.git("commit", "-q", "-m", version)
}

// open opens the data directory for a call, as the command line does.
func (b *bench) open(call func(*app.App) error) {
	b.t.Helper()
	ctx := context.Background()
	a, err := app.Open(ctx, app.Options{DataDir: b.dir})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := call(a); err != nil {
		b.t.Error(err)
	}
	if err := a.Close(ctx); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) decide(stage string, verb decision.Verb) func() {
	return func() {
		b.t.Helper()
		b.open(func(a *app.App) error {
			_, err := a.Engine.Decisions.Do(context.Background(), decision.Command{Verb: verb, Pipeline: "shop", Stage: stage, Reason: "because"})
			return err
		})
	}
}

// passed returns the newest build that passed a stage.
func (b *bench) passed(stage string) string {
	b.t.Helper()
	var build string
	b.open(func(a *app.App) error {
		at, err := a.Engine.Reports.StageView(context.Background(), "shop", stage)
		build = at.Passed
		return err
	})
	return build
}

// config is the whole pipeline; the parts replace what they name.
func (b *bench) config(parts map[string]string) string {
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[string]string{
		"DATA": b.dir, "REPO": b.repo, "SELF": self, "INSTANCES": "2", "PIN": "null", "JOURNEYS": "true", "BUILD": "tar -czf dist.tar.gz version", "MORE": "", "PIPELINE": "", "PROTOCOL": "null",
	}
	for k, v := range parts {
		all[k] = v
	}
	text := configText
	for k, v := range all {
		text = strings.ReplaceAll(text, "<"+k+">", v)
	}
	return text
}

const configText = `
provider "penstock" { data_dir = "<DATA>" }
data "penstock_source" "s" {
  repository     = "<REPO>"
  ref            = "main"
  infrastructure = ["image/**"]
  ignore         = ["*.md"]
}
resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec <SELF> serve"
    health_check = { path = "/", interval = "50ms" }
    protocol     = <PROTOCOL>
  }
  scale = { instances = <INSTANCES> }
  <PIPELINE>
}
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.shop.name
  name     = "base"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.s.image_revision
  steps    = [{ name = "stamp", command = "echo stamped > etc/stamp" }]
}
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.shop.name
  type       = "commit"
  source     = data.penstock_source.s.revision
  base_image = penstock_baked_image.base.image_id
  steps      = [{ name = "build", command = "<BUILD>" }]
  artifact   = "dist.tar.gz"
}
resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "answers", http = { path = "/" } }, { name = "journeys", command = "<JOURNEYS>" }]
}
resource "penstock_stage" "exploratory" {
  pipeline = penstock_pipeline.shop.name
  type     = "exploratory"
  after    = [penstock_stage.acceptance.passed]
}
resource "penstock_stage" "capacity" {
  pipeline = penstock_pipeline.shop.name
  type     = "capacity"
  after    = [penstock_stage.acceptance.passed]
  steps    = [{ name = "expected", load = { rate = 20, duration = "500ms", path = "/", p99 = "2s" } }]
}
resource "penstock_stage" "pre_production" {
  pipeline = penstock_pipeline.shop.name
  type     = "pre-production"
  after    = [penstock_stage.exploratory.passed, penstock_stage.capacity.passed]

  environment = { unmasked = true }
}
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.shop.name
  type     = "production"
  after    = [penstock_stage.pre_production.passed]
  build    = <PIN>
}
<MORE>
`

var factories = map[string]func() (tfprotov6.ProviderServer, error){
	"penstock": providerserver.NewProtocol6WithError(provider.New("test")),
}

func stageAddress(name string) string { return "penstock_stage." + name }

// updates expects that exactly the named stages are updated and no other is.
func updates(names ...string) []plancheck.PlanCheck {
	var checks []plancheck.PlanCheck
	for _, s := range []string{"commit", "acceptance", "exploratory", "capacity", "pre_production", "production"} {
		action := plancheck.ResourceActionNoop
		for _, name := range names {
			if name == s {
				action = plancheck.ResourceActionUpdate
			}
		}
		checks = append(checks, plancheck.ExpectResourceAction(stageAddress(s), action))
	}
	return checks
}

func export(stage, attribute string, value knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(stageAddress(stage), tfjsonpath.New(attribute), value)
}

// hasStatus checks the status of a stage, which no resource exports.
func (b *bench) hasStatus(stage string, want string) statecheck.StateCheck {
	return b.checkStatus(stage, "status", want, func(v report.StageView) string { return string(v.Status) })
}

// waitsFor checks what a stage waits for.
func (b *bench) waitsFor(stage, want string) statecheck.StateCheck {
	return b.checkStatus(stage, "waiting for", want, func(v report.StageView) string { return reason.WaitingFor(v.Next) })
}

func (b *bench) checkStatus(stage, what, want string, of func(report.StageView) string) statecheck.StateCheck {
	return stateCheck(func() (err error) {
		b.open(func(a *app.App) error {
			at, e := a.Engine.Reports.StageView(context.Background(), "shop", strings.ReplaceAll(stage, "_", "-"))
			if got := of(at); e == nil && !strings.Contains(got, want) {
				err = fmt.Errorf("stage %s: %s %q, want %q", stage, what, got, want)
			}
			return e
		})
		return err
	})
}

// stateCheck is a check between an apply and the next plan.
type stateCheck func() error

func (c stateCheck) CheckState(_ context.Context, _ statecheck.CheckStateRequest, resp *statecheck.CheckStateResponse) {
	resp.Error = c()
}

func exact(s string) knownvalue.Check { return knownvalue.StringExact(s) }

// walk runs steps, each of which must leave an empty plan (the framework checks).
func walk(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: steps})
}
