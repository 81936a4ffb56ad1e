// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

// world is a machine with modules.
type world struct {
	*testing.T
	dir   string
	store Store
	*Modules
	log bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir()}
	w.store = NewDirStore(filepath.Join(w.dir, "store"))
	w.Modules = w.machine("work")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", w.log.String())
		}
	})
	return w
}

// machine returns the modules of a machine that shares the store with others.
func (w *world) machine(name string) *Modules {
	return New(Config{
		Dir: filepath.Join(w.dir, name), Store: w.store, CacheDir: filepath.Join(w.dir, "cache"), Grace: 30 * time.Second,
		Logger: hclog.New(&hclog.LoggerOptions{Output: &w.log, Level: hclog.Debug}),
	})
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		hint, _ := pipeline.RemedyOf(err)
		w.Fatalf("%v (%s)", err, hint)
	}
}

// fails checks the code of an error, and that its text and hint have some texts.
func (w *world) fails(err error, code pipeline.Code, texts ...string) {
	w.Helper()
	if pipeline.CodeOf(err) != code {
		w.Fatalf("error %v has code %q, want %q", err, pipeline.CodeOf(err), code)
	}
	hint, _ := pipeline.RemedyOf(err)
	said := err.Error() + "\n" + hint
	for _, text := range texts {
		if !strings.Contains(said, text) {
			w.Errorf("error lacks %q: %s", text, said)
		}
	}
}

// checkout writes files of a source.
func (w *world) checkout(files map[string]string) string {
	w.Helper()
	dir := w.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		w.ok(os.MkdirAll(filepath.Dir(path), 0o755))
		w.ok(os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// packed packs the module in the directory "env" of a checkout.
func (w *world) packed(files map[string]string) string {
	w.Helper()
	out := filepath.Join(w.TempDir(), "module.tar.gz")
	_, err := w.Pack(w.Context(), pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(files), Out: out, Log: &w.log})
	w.ok(err)
	return out
}

// module packs a module of one file.
func (w *world) module(text string) string {
	w.Helper()
	return w.packed(map[string]string{"env/main.tf": text})
}

func (w *world) request(pkg string) pipeline.ModuleRequest {
	return pipeline.ModuleRequest{Environment: "e-1", Package: pkg, Log: &w.log, Facts: pipeline.ModuleFacts{Pipeline: "shop", Stage: "acceptance", Environment: "e-1", Build: "b-1"}}
}

func raw(v any) json.RawMessage {
	doc, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return doc
}

// markers is a module whose resources are files in a directory.
const markers = `
variable "dir" { type = string }
variable "names" {
  type    = set(string)
  default = ["a"]
}
variable "penstock" {
  type = object({ build = string, stage = string, absent = optional(string, "default") })
}
resource "terraform_data" "marker" {
  for_each = var.names
  input    = "${var.dir}/${each.key}"
  provisioner "local-exec" {
    command = "touch '${self.input}'"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "rm '${self.input}'"
  }
}
output "env" { value = { DIR = var.dir, COUNT = length(var.names), BUILD = var.penstock.build, ABSENT = var.penstock.absent, ON = true } }
output "names" { value = var.names }
`

func (w *world) exist(dir string, names ...string) {
	w.Helper()
	entries, err := os.ReadDir(dir)
	w.ok(err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		w.Errorf("there are %v, want %v", have, names)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	r := w.request(w.module(markers))
	r.Variables = map[string]json.RawMessage{"dir": raw(dir), "names": raw([]string{"a", "b"})}
	plan, err := w.Plan(t.Context(), r)
	w.ok(err)
	if len(plan.Changes) != 2 || plan.Changes[0].Action != pipeline.ModuleCreate || plan.Changes[0].Address != `terraform_data.marker["a"]` {
		t.Errorf("plan: %+v", plan)
	}
	w.exist(dir)
	_, err = w.Site(t.Context(), "e-1")
	w.fails(err, pipeline.CodeNotFound)
	out, err := w.Apply(t.Context(), r)
	w.ok(err)
	w.exist(dir, "a", "b")
	if out.Env["DIR"] != dir || out.Env["COUNT"] != "2" || out.Env["BUILD"] != "b-1" || out.Env["ABSENT"] != "default" || out.Env["ON"] != "true" {
		t.Errorf("outputs: %+v", out)
	}
	w.ok(w.Keep(t.Context(), "e-1"))
	began := time.Now()
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
	t.Logf("an apply that changes nothing took %s", time.Since(began))

	r.Variables["names"] = raw([]string{"b", "c"})
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
	w.exist(dir, "b", "c")
	w.ok(w.Revert(t.Context(), "e-1", &w.log))
	w.exist(dir, "a", "b")
	site, err := w.machine("another").Site(t.Context(), "e-1")
	again := site.Outputs
	w.ok(err)
	if string(again.Others["names"]) != `["a","b"]` {
		t.Errorf("outputs: %+v", again)
	}
	all, err := w.Environments(t.Context())
	w.ok(err)
	if len(all) != 1 || all[0] != "e-1" {
		t.Errorf("environments: %v", all)
	}
	// Another machine destroys it, without the package.
	w.ok(os.Remove(r.Package))
	w.ok(w.machine("another").Destroy(t.Context(), "e-1", &w.log))
	w.exist(dir)
	all, err = w.Environments(t.Context())
	w.ok(err)
	if len(all) != 0 {
		t.Errorf("environments: %v", all)
	}
	w.exist(filepath.Join(w.dir, "store"), ".lock")
	w.ok(w.Destroy(t.Context(), "e-1", &w.log))
}

// What is wrong with a module is found when it is packed, with file and line.
func TestPackRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		files map[string]string
		texts []string
	}{
		"syntax":   {map[string]string{"env/main.tf": "resource \"terraform_data\" \"a\" {\n"}, []string{"env/main.tf, line 1", "Unclosed configuration block"}},
		"argument": {map[string]string{"env/main.tf": "\nresource \"terraform_data\" \"a\" {\n  nothing = 1\n}\n"}, []string{"env/main.tf, line 3", "Unsupported argument", "nothing"}},
		"empty":    {map[string]string{"env/README": ""}, []string{`directory "env" has no Terraform configuration`}},
		"missing":  {map[string]string{"README": ""}, []string{`directory "env" has no Terraform configuration`}},
		"outside":  {map[string]string{"env/main.tf": "module \"a\" {\n  source = \"../../db\"\n}"}, []string{`env/main.tf, line 2: module "../../db" is outside of the checkout`}},
		"inner":    {map[string]string{"env/main.tf": "module \"a\" {\n  source = \"../db\"\n}", "db/main.tf": "locals {\n  a = nothing.at.all\n}\n"}, []string{"db/main.tf, line 2"}},
		"pipeline": {map[string]string{"env/main.tf": "terraform {\n  required_providers {\n    penstock = {\n      source = \"penstock-io/penstock\"\n    }\n  }\n}"}, []string{"can't have pipelines of its own"}},
	} {
		_, err := w.Pack(t.Context(), pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(c.files), Out: filepath.Join(t.TempDir(), "out")})
		if pipeline.CodeOf(err) != pipeline.CodeInvalid {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w.fails(err, pipeline.CodeInvalid, c.texts...)
	}
}

// A package has all that the module needs, and the same bytes for the same files.
func TestPackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{
		"infra/env/main.tf": `
terraform {
  backend "s3" {
    bucket = "elsewhere"
  }
}
module "db" {
  source = "../db"
}
output "env" { value = { DB = module.db.name, FILE = file("${path.module}/notes.txt"), SIZE = var.size } }
variable "size" { type = string }
`,
		"infra/env/notes.txt":         "hello",
		"infra/env/terraform.tfvars":  `size = "small"`,
		"infra/env/terraform.tfstate": "{}",
		"infra/env/.terraform/x":      "",
		"infra/db/main.tf":            "module \"inner\" {\n  source = \"./inner\"\n}\noutput \"name\" { value = module.inner.name }\n",
		"infra/db/inner/main.tf":      "output \"name\" { value = \"orders\" }\n",
		"app/main.go":                 "package main",
	}
	pack := func() string {
		out := filepath.Join(t.TempDir(), "out")
		_, err := w.Pack(t.Context(), pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(files), Within: "infra", Out: out, Log: &w.log})
		w.ok(err)
		return out
	}
	one, other := pack(), pack()
	a, err := os.ReadFile(one)
	w.ok(err)
	b, err := os.ReadFile(other)
	w.ok(err)
	if !bytes.Equal(a, b) {
		t.Error("two packages of the same files differ")
	}
	r := w.request(one)
	out, err := w.Apply(t.Context(), r)
	w.ok(err)
	if out.Env["DB"] != "orders" || out.Env["FILE"] != "hello" || out.Env["SIZE"] != "small" {
		t.Errorf("outputs: %+v", out)
	}
	if !strings.Contains(w.log.String(), "backend block does not count") {
		t.Error("the log does not say that the backend does not count")
	}
}
