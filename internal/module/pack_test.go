// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// What is wrong with a module is found when it is packed, with file and line.
func TestPackRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		files map[string]string
		texts []string
	}{
		"syntax":     {map[string]string{"env/main.tf": "resource \"terraform_data\" \"a\" {\n"}, []string{"env/main.tf, line 1", "Unclosed configuration block"}},
		"argument":   {map[string]string{"env/main.tf": "\nresource \"terraform_data\" \"a\" {\n  nothing = 1\n}\n"}, []string{"env/main.tf, line 3", "Unsupported argument", "nothing"}},
		"empty":      {map[string]string{"env/README": ""}, []string{`directory "env" has no Terraform configuration`}},
		"missing":    {map[string]string{"README": ""}, []string{`directory "env" has no Terraform configuration`}},
		"outside":    {map[string]string{"env/main.tf": "module \"a\" {\n  source = \"../../db\"\n}"}, []string{`env/main.tf, line 2: module "../../db" is outside of the checkout`}},
		"inner":      {map[string]string{"env/main.tf": "module \"a\" {\n  source = \"../db\"\n}", "db/main.tf": "locals {\n  a = nothing.at.all\n}\n"}, []string{"db/main.tf, line 2"}},
		"encryption": {map[string]string{"env/main.tf": "terraform {\n  encryption {}\n}"}, []string{"encrypts its state"}},
		"secrets":    {map[string]string{"env/main.tf": "output \"secret_env\" {\n  value = {}\n}"}, []string{`output "secret_env" is not sensitive`}},
		"pipeline":   {map[string]string{"env/main.tf": "terraform {\n  required_providers {\n    penstock = {\n      source = \"penstock-io/penstock\"\n    }\n  }\n}"}, []string{"can't have pipelines of its own"}},
	} {
		err := w.pack(pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(c.files), Out: filepath.Join(t.TempDir(), "out")})
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
		w.ok(w.pack(pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(files), Within: "infra", Out: out, Log: &w.log}))
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

// git runs git in a directory.
func (w *world) git(dir string, args ...string) {
	w.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir, cmd.Env = dir, process.Environ(nil)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// A module from an address is pinned in the package, with those that it refers to.
func TestSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shared := w.checkout(map[string]string{"main.tf": "output \"name\" { value = \"shared\" }\n"})
	repo := w.checkout(map[string]string{
		"modules/env/main.tf": "module \"db\" {\n  source = \"../db\"\n}\nmodule \"shared\" {\n  source = \"git::file://" + shared + "\"\n}\noutput \"names\" { value = [module.db.name, module.shared.name] }\n",
		"modules/db/main.tf":  "output \"name\" { value = \"db\" }\n",
		"other/main.tf":       "syntax error",
	})
	for _, dir := range []string{shared, repo} {
		w.git(dir, "init", "-q")
		w.git(dir, "add", ".")
		w.git(dir, "commit", "-qm", "x")
	}
	pack := func(out string) string {
		out = filepath.Join(t.TempDir(), out)
		w.ok(w.pack(pipeline.PackRequest{Module: pipeline.Module{Source: "git::file://" + repo + "//modules/env?ref=main"}, Out: out, Log: &w.log}))
		return out
	}
	one, other := pack("one"), pack("other")
	a, err := os.ReadFile(one)
	w.ok(err)
	b, err := os.ReadFile(other)
	w.ok(err)
	if !bytes.Equal(a, b) {
		t.Error("two packages of the same source differ")
	}
	w.ok(os.RemoveAll(repo))
	w.ok(os.RemoveAll(shared))
	out, err := w.Apply(t.Context(), w.request(one))
	w.ok(err)
	if string(out.Others["names"]) != `["db","shared"]` {
		t.Errorf("outputs: %+v", out)
	}
	err = w.pack(pipeline.PackRequest{Module: pipeline.Module{Source: "git::file://" + repo}, Out: filepath.Join(t.TempDir(), "x")})
	w.fails(err, pipeline.CodeInvalid, "module \"git::file://"+repo+"\"", "Failed to download module")
}

// A file that is not in the package is missed when it is packed, or else at the first apply.
func TestOutsideFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{"env/main.tf": "output \"text\" {\n  value = file(\"${path.module}/../app/name.txt\")\n}\n", "app/name.txt": "shop"}
	err := w.pack(pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(files), Out: filepath.Join(t.TempDir(), "x")})
	w.fails(err, pipeline.CodeInvalid, "env/main.tf, line 2", "no file exists at", "applied from its package")
	files["env/main.tf"] = "variable \"name\" { type = string }\noutput \"text\" {\n  value = file(\"${path.module}/../app/${var.name}.txt\")\n}\n"
	r := w.request(w.packed(files))
	r.Variables = map[string]json.RawMessage{"name": raw("name")}
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, "env/main.tf, line 3", "no file exists at", "applied from its package")
}

// The module's own lock file counts, and one that does not fit is refused.
func TestLockFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lock := "provider \"registry.terraform.io/acme/cloud\" {\n  version = \"0.9.0\"\n}\n"
	err := w.pack(pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(map[string]string{"env/main.tf": databases, "env/.terraform.lock.hcl": lock}), Out: filepath.Join(t.TempDir(), "x")})
	w.fails(err, pipeline.CodeInvalid, "acme/cloud", "0.9.0")
	err = w.pack(pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(map[string]string{"env/main.tf": databases, "env/.terraform.lock.hcl": ""}), Out: filepath.Join(t.TempDir(), "x")})
	w.fails(err, pipeline.CodeInvalid, "Provider dependency changes detected", "lock file that is committed")
}

// A build without a provider destroys what an earlier one made with it.
func TestDroppedProvider(t *testing.T) {
	w := newWorld(t)
	dir, variables := w.cloud("a")
	t.Setenv("CLOUD_DIR", dir)
	r := w.request(w.module(databases))
	r.Variables = variables
	_, err := w.Apply(t.Context(), r)
	w.ok(err)
	w.ok(w.Keep(t.Context(), "e-1"))
	other := w.request(w.module("output \"x\" { value = 1 }\n"))
	_, err = w.Apply(t.Context(), other)
	w.ok(err)
	w.has(dir)
	w.ok(w.machine("another").Revert(t.Context(), "e-1", &w.log))
	w.has(dir, "a")
}

// A link that leads out of the package is refused when it is packed.
func TestLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	checkout := w.checkout(map[string]string{"env/main.tf": "output \"text\" { value = file(\"${path.module}/inner/name.txt\") }\n", "env/real/name.txt": "shop", "app/name.txt": "x"})
	w.ok(os.Symlink("real", filepath.Join(checkout, "env", "inner")))
	request := pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: checkout, Out: filepath.Join(t.TempDir(), "x"), Log: &w.log}
	w.ok(w.pack(request))
	out, err := w.Apply(t.Context(), w.request(request.Out))
	w.ok(err)
	if string(out.Others["text"]) != `"shop"` {
		t.Errorf("outputs: %+v", out)
	}
	w.ok(os.Symlink("env", filepath.Join(checkout, "linked")))
	w.ok(os.Symlink(w.checkout(map[string]string{"main.tf": ""}), filepath.Join(checkout, "out")))
	request.Module.Directory = "linked"
	w.ok(w.pack(request))
	request.Module.Directory = "out"
	w.fails(w.pack(request), pipeline.CodeInvalid, `directory "out" is a link to`, "outside of the checkout")
	request.Module.Directory = "env"
	w.ok(os.Symlink("../app", filepath.Join(checkout, "env", "app")))
	w.fails(w.pack(request), pipeline.CodeInvalid, `"env/app" is a link to "../app", which is outside of the module`)
}

// A machine that has none of the providers yet installs them.
func TestNewMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, variables := w.cloud("a")
	r := w.request(w.module(databases))
	r.Variables = variables
	other := w.machine("another")
	other.config.CacheDir = filepath.Join(w.dir, "another cache")
	for range 2 { // the second finds what the first has installed
		_, err := other.Apply(t.Context(), r)
		w.ok(err)
	}
	w.has(dir, "a")
	w.ok(os.RemoveAll(other.config.CacheDir)) // somebody made room
	w.ok(other.Destroy(t.Context(), "e-1", &w.log))
	w.has(dir)
}
