// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func TestMain(m *testing.M) {
	moduletest.Serve()
	process.Guard()
	if file := os.Getenv(playVariable); file != "" {
		play(file)
	}
	if file := os.Getenv(lockVariable); file != "" {
		playStranger(file)
	}
	if terraform := os.Getenv("TF_ACC_TERRAFORM_PATH"); terraform != "" {
		_ = os.Setenv("PATH", filepath.Dir(terraform)+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	dir, err := os.MkdirTemp("", "module-")
	if err == nil {
		err = installCloud(dir)
	}
	if err != nil {
		panic(err)
	}
	code := cloudtest.Main(m)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// world is a machine with modules.
type world struct {
	*testing.T
	dir   string
	store Store
	*Modules
	log logged
}

// logged is a log that is read while others write it.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (w *world) said() string {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	return w.log.String()
}

// endsDaemon ends the process that a file names, which must run.
func (w *world) endsDaemon(file string) {
	w.Helper()
	text, err := os.ReadFile(file)
	w.ok(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	w.ok(err)
	daemon, ok := process.Identify(pid)
	if !ok {
		w.Error("what the module started has ended with Terraform")
	}
	w.ok(daemon.Kill())
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

func (w *world) pack(r pipeline.PackRequest) error {
	_, err := w.Pack(w.Context(), r)
	return err
}

// packed packs the module in the directory "env" of a checkout.
func (w *world) packed(files map[string]string) string {
	w.Helper()
	out := filepath.Join(w.TempDir(), "module.tar.gz")
	w.ok(w.pack(pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: w.checkout(files), Out: out, Log: &w.log}))
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

// script writes a program that prints something.
func (w *world) script(name, text string) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), name)
	w.ok(os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
	return path
}

// lockVariable makes the test binary play a stranger that locks a state until its input ends.
const lockVariable = "MODULE_TEST_LOCK"
