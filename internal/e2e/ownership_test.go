// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// refused runs Terraform, which must fail and say all the texts.
func (s *site) refused(dir string, args []string, says ...string) string {
	s.t.Helper()
	args = append(args, "-no-color")
	if args[0] != "test" {
		args = append(args, "-input=false")
	}
	out, err := s.try(dir, terraform, args...)
	said := strings.Join(strings.Fields(out), " ") // as it breaks lines anywhere
	for _, text := range says {
		if err == nil || !strings.Contains(said, text) {
			s.t.Errorf("terraform %s: %v; want a refusal that says %q:\n%s", strings.Join(args, " "), err, text, out)
		}
	}
	return out
}

// documented asserts that a guide shows a refusal, in which its pipeline is shop, and this
// machine has a name for each time that it is named.
func (s *site) documented(guide, with, refusal string, hosts ...string) {
	s.t.Helper()
	host, err := os.Hostname()
	s.must(err)
	said := strings.NewReplacer(`"p"`, `"shop"`, "_pipeline.p p", "_pipeline.shop shop", "_pipeline.p", "_pipeline.shop").Replace(strings.Join(strings.Fields(refusal), " "))
	for _, name := range hosts {
		said = strings.Replace(said, " on "+host, " on "+name, 1)
	}
	docstest.Shows(s.t, "docs/guides/"+guide, with, said)
}

// serves asserts that production answers and that the state is what the ledger has.
func (s *site) serves(after, endpoint, version string) {
	s.t.Helper()
	if got := s.answer(endpoint); got != version {
		s.t.Fatalf("after %s production answers %q, want %q", after, got, version)
	}
	if code, out := s.planned(); code != 0 {
		s.t.Fatalf("after %s the plan is not empty:\n%s", after, out)
	}
}

// TestWhoseIsIt does in a directory with a live pipeline what users do by habit: another
// workspace, `terraform test`, another state. Each is refused and touches nothing.
func TestWhoseIsIt(t *testing.T) {
	s := newSite(t, strings.Replace(faultConfig(), "terraform {", "terraform {\n  backend \"local\" { path = \"states/one.tfstate\" }", 1))
	s.apply()
	endpoint := s.output("production")
	s.serves("the first apply", endpoint, "1")
	apply, destroy := []string{"apply", "-auto-approve"}, []string{"destroy", "-auto-approve"}
	where := []string{`pipeline "p" exists already`, "the configuration in " + s.dir, "`terraform import penstock_pipeline.p p`", "namespace = terraform.workspace"}

	other := *s
	other.env = append(slices.Clone(s.env), "TF_DATA_DIR=.terraform-other")
	other.run(s.dir, terraform, "init", "-backend-config=path=states/other.tfstate", "-no-color", "-input=false")
	other.refused(s.dir, apply, where...)
	other.run(s.dir, terraform, append(destroy, "-no-color", "-input=false")...)
	s.serves("another backend", endpoint, "1")

	s.run(s.dir, terraform, "workspace", "new", "two")
	s.documented("workspaces.md", "exists already", s.refused(s.dir, apply, where...), "build-1")
	s.run(s.dir, terraform, append(destroy, "-no-color", "-input=false")...)
	s.run(s.dir, terraform, "workspace", "select", "default")
	s.serves("another workspace", endpoint, "1")

	s.must(os.MkdirAll(filepath.Join(s.dir, "tests"), 0o755))
	s.write(filepath.Join(s.dir, "tests", "flow.tftest.hcl"), "run \"flow\" {\n  command = apply\n}\n")
	s.refused(s.dir, []string{"test"}, where[0])
	s.serves("terraform test", endpoint, "1")

	s.clone(endpoint)
	s.inNamespace(endpoint)
	s.serves("all of it", endpoint, "1")
	s.destroy()
}

// clone works with the state in another clone, which has another data directory.
func (s *site) clone(endpoint string) {
	s.t.Helper()
	clone := filepath.Join(s.root, "clone")
	s.must(os.MkdirAll(clone, 0o755))
	for _, name := range []string{"main.tf", "states"} {
		s.run(s.root, "cp", "-r", filepath.Join(s.dir, name), clone)
	}
	s.run(clone, terraform, "init", "-no-color", "-input=false")
	elsewhere := []string{"the state has it in data directory " + filepath.Join(s.dir, ".penstock"), "terraform state rm ADDRESS"}
	s.documented("teams-and-state.md", "find the ledger", s.refused(clone, []string{"plan"}, elsewhere...), "build-1", "laptop")
	for _, args := range [][]string{{"plan"}, {"apply", "-auto-approve"}, {"destroy", "-auto-approve"}, {"destroy", "-auto-approve", "-refresh=false"}} {
		if out := s.refused(clone, args, elsewhere...); strings.Contains(out, "deleted outside of Terraform") {
			s.t.Errorf("%v takes what is elsewhere for gone:\n%s", args, out)
		}
	}
	if left := s.run(clone, terraform, "state", "list"); !strings.Contains(left, "penstock_stage.production") {
		s.t.Errorf("the clone's state has lost production:\n%s", left)
	}
	s.serves("another clone", endpoint, "1")
}

// inNamespace has a second pipeline in another workspace, in both of the documented ways.
func (s *site) inNamespace(endpoint string) {
	s.t.Helper()
	main := filepath.Join(s.dir, "main.tf")
	plain, err := os.ReadFile(main)
	s.must(err)
	for name, config := range map[string]string{
		"two.p": strings.Replace(string(plain), `provider "penstock" {}`, "provider \"penstock\" {\n  namespace = terraform.workspace\n}", 1),
		"p-two": strings.Replace(string(plain), `  name = "p"`, `  name = terraform.workspace == "default" ? "p" : "p-${terraform.workspace}"`, 1),
	} {
		s.write(main, config)
		s.run(s.dir, terraform, "workspace", "select", "two")
		s.apply()
		second := s.output("production")
		if got := s.answer(second); got != "1" || second == endpoint {
			s.t.Errorf("the second production answers %q at %s; the first is at %s", got, second, endpoint)
		}
		if code, out := s.planned(); code != 0 {
			s.t.Errorf("the plan of the second is not empty:\n%s", out)
		}
		if status := s.penstock("status"); !strings.Contains(status, name) {
			s.t.Errorf("status does not name %q:\n%s", name, status)
		}
		s.run(s.dir, terraform, "workspace", "select", "default")
		s.serves("a second pipeline", endpoint, "1")
		s.run(s.dir, terraform, "workspace", "select", "two")
		s.run(s.dir, terraform, "destroy", "-auto-approve", "-no-color", "-input=false") // the first pipeline stays
		s.run(s.dir, terraform, "workspace", "select", "default")
	}
	s.write(main, string(plain))
}

// TestRemovalSays destroys a pipeline: the plan says what goes with it and what stands in
// the way, before anything goes; the history stays, and can be read.
func TestRemovalSays(t *testing.T) {
	s := newSite(t, faultConfig()+`
resource "penstock_self_service_env" "own" {
  pipeline = penstock_pipeline.p.name
  name     = "own"
  after    = [penstock_stage.acceptance.passed]
}`)
	s.apply()
	endpoint := s.output("production")
	goes := []string{"Pipeline p is destroyed with everything that belongs to it", "commit, acceptance, production", "1 build is removed with it", "archived for 30d"}
	out := strings.Join(strings.Fields(s.run(s.dir, terraform, "plan", "-destroy", "-no-color", "-input=false")), " ")
	for _, text := range append(goes, "Environment own") {
		if !strings.Contains(out, text) {
			t.Errorf("the plan of the destroy does not say %q:\n%s", text, out)
		}
	}
	s.refused(s.dir, []string{"plan", "-replace=penstock_pipeline.p"}, `pipeline "p" still has environments`, `of stage "production"`, "force_destroy = true")
	main := filepath.Join(s.dir, "main.tf")
	config, err := os.ReadFile(main)
	s.must(err)
	s.write(main, strings.Replace(string(config), `name = "p"`, `name = "other"`, 1))
	if out = s.run(s.dir, terraform, "plan", "-no-color", "-input=false"); !strings.Contains(out, "Pipeline p is replaced with everything that belongs to it") {
		t.Errorf("the plan of a new name does not say what goes:\n%s", out)
	}
	s.write(main, string(config))

	s.penstock("env", "launch", "p", "hers", "--ttl", "1h")
	s.refused(s.dir, []string{"destroy", "-auto-approve"}, "`penstock env destroy p hers`", `self-service environment "hers"`)
	s.serves("a destroy that was refused", endpoint, "1")
	s.penstock("env", "destroy", "p", "hers", "--yes")
	s.destroy()

	var archives []pipeline.Archive
	s.must(json.Unmarshal([]byte(s.penstock("ledger", "archive", "--json")), &archives))
	if len(archives) != 1 || archives[0].Pipeline != "p" || archives[0].Until.Sub(archives[0].Removed) != pipeline.DefaultRetainHistory {
		t.Fatalf("archives: %+v", archives)
	}
	if said := s.penstock("ledger", "archive", "verify", "p"); !strings.Contains(said, "the chain is whole") {
		t.Errorf("verify: %s", said)
	}
	file := filepath.Join(s.root, "p.jsonl")
	s.penstock("ledger", "archive", "export", archives[0].ID, "-o", file)
	if said := s.run(s.root, binary, "ledger", "import", "--data-dir", "again", file); !strings.Contains(said, "of pipeline p") {
		t.Errorf("import: %s", said)
	}
	if left := s.left(); fmt.Sprint(left) != onlyArchives {
		t.Errorf("the destroy left %v", left)
	}
	s.must(os.RemoveAll(filepath.Join(s.dir, ".penstock")))
}

// onlyArchives are the entries of a data directory that has nothing but archives.
const onlyArchives = "[.gitignore PENSTOCK.TAG archive lock]"

// left lists what is in the data directory.
func (s *site) left() []string {
	entries, _ := os.ReadDir(filepath.Join(s.dir, ".penstock"))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestTerraformTest runs the test file of the guide beside a live pipeline.
func TestTerraformTest(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join(repository(t), "tools/templates/guides/terraform-test.md.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(guide), "```tftest\n")
	text, _, _ = strings.Cut(text, "```")
	config := strings.Replace(faultConfig(), "  trigger  = \"automatic\"\n", "  build    = var.production_build\n", 1)
	config = strings.Replace(config, "  keep = 3\n", "  retain_history = var.retain_history\n", 1) + `
variable "production_build" {
  type    = string
  default = null
}
variable "retain_history" {
  type    = string
  default = "30d"
}
output "ready" { value = penstock_stage.acceptance.passed.build }`
	s := newSite(t, config)
	s.apply()
	promoted := "-var=production_build=" + s.output("ready")
	s.apply(promoted)
	endpoint := s.output("production")
	s.must(os.MkdirAll(filepath.Join(s.dir, "tests"), 0o755))
	for place, text := range map[string]string{
		"a data directory of its own": text,
		"a namespace":                 strings.Replace(text, `data_dir = ".penstock-test"`, `namespace = "test"`, 1),
	} {
		s.write(filepath.Join(s.dir, "tests", "pipeline.tftest.hcl"), text)
		before := len(s.processes())
		if out := s.run(s.dir, terraform, "test", "-no-color"); !strings.Contains(out, "Success! 2 passed, 0 failed.") {
			t.Errorf("in %s:\n%s", place, out)
		}
		if got := s.answer(endpoint); got != "1" {
			t.Errorf("after the test in %s production answers %q", place, got)
		}
		if after := s.processes(); len(after) != before {
			t.Errorf("the test in %s left processes: %v", place, after)
		}
		if names := s.penstock("status", "--json"); strings.Contains(names, "test.p") {
			t.Errorf("the test in %s left a pipeline:\n%s", place, names)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".penstock-test")); err == nil {
		t.Error("the tests' data directory is left")
	}
	s.destroy(promoted)
}

// TestLedgerGone removes the data directory by hand: the state does not take its pipeline
// for deleted, and the error says how to begin again.
func TestLedgerGone(t *testing.T) {
	config := faultConfig()
	config = config[:strings.Index(config, `resource "penstock_baked_image"`)]
	s := newSite(t, config)
	s.apply()
	s.must(os.RemoveAll(filepath.Join(s.dir, ".penstock")))
	s.refused(s.dir, []string{"plan"}, "the ledger that the state has it in is gone from data directory", "terraform state rm ADDRESS")
	s.run(s.dir, terraform, "state", "rm", "penstock_pipeline.p")
	s.apply()
	s.destroy()
}

// TestKilledWhileCreating ends Terraform or the provider with SIGKILL at a random instant of
// the first apply, then applies again: what the killed one left is taken up.
func TestKilledWhileCreating(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	s := newSite(t, faultConfig())
	began := time.Now()
	s.apply()
	usual := time.Since(began)
	seed := uint64(time.Now().UnixNano())
	t.Logf("an apply takes %s; seed %d", usual.Round(time.Millisecond), seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range kills {
		s.destroy()
		victim := []string{"terraform", "provider"}[i%2]
		at := time.Duration(random.Int64N(int64(usual)))
		said := s.applyAndKill(victim, at)
		when := fmt.Sprintf("kill %d of %s after %s", i, victim, at)
		if s.restored() { // the backup is of the time before: who it belongs to depends on whether the provider had ended
			t.Logf("%s: the state file was empty", when)
			if out, err := s.try(s.dir, terraform, "plan", "-no-color", "-input=false"); err != nil && strings.Contains(out, `"p" exists already`) {
				s.importAll()
			}
		}
		if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err != nil {
			t.Fatalf("%s: the next apply: %v\n%s\nthe killed one had said:\n%s", when, err, out, said)
		}
		s.checkWhole(when, "1")
		s.run(s.dir, terraform, "workspace", "new", fmt.Sprint("w", i))
		s.refused(s.dir, []string{"apply", "-auto-approve"}, `pipeline "p" exists already`)
		s.run(s.dir, terraform, "workspace", "select", "default")
	}
	s.destroy()
}

// TestStateLost empties the state file, as Terraform does when it is killed while it writes it:
// nothing is created a second time, and both ways back that the guide names lead there, the
// backup and the imports.
func TestStateLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, faultConfig())
	s.apply()
	s.commit("2")
	s.apply()
	endpoint := s.output("production")
	file := filepath.Join(s.dir, "terraform.tfstate")

	s.must(os.Truncate(file, 0))
	s.refused(s.dir, []string{"apply", "-auto-approve"}, `pipeline "p" exists already`, "terraform.tfstate.backup", "`terraform import penstock_pipeline.p p`")
	if got := s.answer(endpoint); got != "2" {
		t.Fatalf("after an apply without the state production answers %q", got)
	}
	if !s.restored() {
		t.Fatal("an empty state file is not restored")
	}
	s.apply()
	s.checkWhole("the backup is restored", "2")

	s.must(os.Remove(file), os.Remove(file+".backup"))
	s.refused(s.dir, []string{"plan"}, `pipeline "p" exists already`)
	s.importAll()
	s.apply()
	s.checkWhole("all is imported", "2")
	s.destroy()
}

// TestReplacedBeforeDestroyed replaces a stage with create_before_destroy, in an apply and in
// one of a saved plan: it is refused, and what is there stays in the state. OpenTofu leaves it
// deposed; then it shows the way back.
func TestReplacedBeforeDestroyed(t *testing.T) {
	t.Parallel()
	config := func(trigger, more string) string {
		return fmt.Sprintf(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
resource "terraform_data" "t" { input = %q }
resource "penstock_pipeline" "p" { name = "p" }
resource "penstock_stage" "b" {
  pipeline = penstock_pipeline.p.name
  type     = "bootstrap"
  steps    = [{ name = "nothing", command = "true" }]
  lifecycle {
    replace_triggered_by = [terraform_data.t]
    %s
  }
}
`, trigger, more)
	}
	s := newSite(t, config("1", ""))
	write := func(trigger, more string) { s.write(filepath.Join(s.dir, "main.tf"), config(trigger, more)) }
	const early = "create_before_destroy = true"
	quiet := func() {
		t.Helper()
		if code, out := s.planned(); code != 0 {
			t.Errorf("after it was refused the plan is\n%s", out)
		}
	}
	s.apply()
	write("2", early)
	s.refused(s.dir, []string{"apply", "-auto-approve"}, `stage "bootstrap" exists already`)
	write("2", "")
	if strings.Contains(s.run(s.dir, terraform, "version"), "OpenTofu") {
		s.run(s.dir, terraform, "state", "rm", "penstock_stage.b")
		s.run(s.dir, terraform, "import", "-no-color", "penstock_stage.b", "p/bootstrap")
		quiet()
		s.destroy()
		return
	}
	quiet()
	for i, option := range []string{"-refresh=true", "-refresh=false", "-replace=penstock_stage.b", "-target=penstock_stage.b"} {
		trigger := fmt.Sprint(3 + i)
		write(trigger, early)
		s.run(s.dir, terraform, "plan", "-no-color", "-out=saved", option)
		out, err := s.try(s.dir, terraform, "apply", "-no-color", "saved")
		if err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "remove create_before_destroy") {
			t.Errorf("the apply of a plan with %s: %v\n%s", option, err, out)
		}
		write(trigger, "")
		quiet()
	}
	write("9", "")
	s.apply()
	s.destroy()
}
