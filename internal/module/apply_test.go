// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.request(w.module(`
variable "penstock" { type = any }
variable "size" { type = number }
variable "token" { type = string }
variable "passing" {
  type      = string
  ephemeral = true
}
resource "terraform_data" "echo" {
  input = sha256(var.token)
  provisioner "local-exec" { command = "echo token is ${var.token}" }
}
output "size" { value = var.size }
output "env" { value = { PIPELINE = var.penstock.pipeline, PORT = var.penstock.port, URL = var.penstock.artifact.url, FROM = var.penstock.from.snapshot, EXPIRES = var.penstock.expires_at } }
`))
	r.Facts = pipeline.ModuleFacts{Pipeline: "shop", Environment: "e-1", Port: 8080, Artifact: &pipeline.ModuleArtifact{URL: "file:///a"}, From: json.RawMessage(`{"snapshot": "s-1"}`)}
	_, err := w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeInvalid, `module "env" requires values of "passing", "size", "token"`)
	r.Variables = map[string]json.RawMessage{"size": raw(1), "sizes": raw(1)}
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeInvalid, `module "env" has no variable "sizes"`, `"passing", "penstock", "size", "token"`)
	r.Variables = map[string]json.RawMessage{"size": raw("many"), "passing": raw("x"), "token": raw("x")}
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, `a number is required`)
	w.ok(w.Destroy(t.Context(), "e-1", io.Discard))
	if all, err := w.Environments(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("what was refused left %v, %v", all, err)
	}

	const secret = "correct-horse-battery"
	r.Variables = map[string]json.RawMessage{"size": raw(1)}
	r.Secrets = map[string]pipeline.Secret{"token": pipeline.Secret(raw(secret)), "passing": pipeline.Secret(raw("passed-" + secret))}
	out, err := w.Apply(t.Context(), r)
	w.ok(err)
	if out.Env["PIPELINE"] != "shop" || out.Env["PORT"] != "8080" || out.Env["URL"] != "file:///a" || out.Env["FROM"] != "s-1" || string(out.Others["size"]) != "1" {
		t.Errorf("outputs: %+v", out)
	}
	if log := w.log.String(); strings.Contains(log, secret) || !strings.Contains(log, "token is ***") {
		t.Error("the log shows the secret, or lacks the line")
	}
	// The secret is kept for a revert, and for nobody else to read.
	w.ok(w.Keep(t.Context(), "e-1"))
	w.ok(w.Revert(t.Context(), "e-1", &w.log))
	for _, name := range []string{"plan", "inputs.tfvars.json", "ephemeral.tfvars.json"} {
		if _, err := os.Stat(filepath.Join(w.dir, "work", "e-1", name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, variables := w.cloud("a", "b")
	r := w.request(w.module(databases))
	r.Variables = variables
	w.behave(dir, "fail-b", "")
	_, err := w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, `cloud_database.main["b"] (env/main.tf, line `, "The cloud is full", "There is no room for database b")
	w.has(dir, "a")
	// Nothing serves: a revert destroys what there is.
	w.ok(w.Revert(t.Context(), "e-1", &w.log))
	w.has(dir)

	// A lost answer is not known to Terraform; the token makes that harmless.
	w.ok(os.Remove(filepath.Join(dir, "fail-b")))
	w.behave(dir, "lose-b", "")
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, "No answer")
	out, err := w.Apply(t.Context(), r)
	w.ok(err)
	w.has(dir, "a", "b")
	if out.SecretEnv["PASSWORD"].Reveal() != "none" || len(out.Env) > 0 || !strings.Contains(string(out.Data), "db-a-") {
		t.Errorf("outputs: %+v", out)
	}
	w.ok(w.Keep(t.Context(), "e-1"))

	// A build that fails half way leaves what served, with a revert.
	variables["names"], variables["size"] = raw([]string{"a", "b", "c"}), raw(2)
	w.behave(dir, "fail-c", "")
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, "database c")
	w.ok(w.machine("another").Revert(t.Context(), "e-1", &w.log))
	w.has(dir, "a", "b")
	if doc, _ := os.ReadFile(filepath.Join(dir, "a.db")); !strings.Contains(string(doc), `"size":1`) {
		t.Errorf("a is %s", doc)
	}
	// What can't be destroyed stays known.
	w.behave(dir, "fail-a", "")
	w.fails(w.Destroy(t.Context(), "e-1", &w.log), pipeline.CodeFailed, `cloud_database.main["a"]`, "it is protected")
	if all, err := w.Environments(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("environments: %v, %v", all, err)
	}
	w.ok(os.Remove(filepath.Join(dir, "fail-a")))
	w.ok(w.Destroy(t.Context(), "e-1", &w.log))
	w.has(dir)
}

func TestStateful(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, variables := w.cloud("a", "b")
	r := w.request(w.module(databases))
	r.Variables, r.Stateful = variables, []string{"cloud_database"}
	_, err := w.Apply(t.Context(), r)
	w.ok(err)
	w.ok(w.Keep(t.Context(), "e-1"))

	variables["engine"], variables["names"] = raw("mysql"), raw([]string{"a", "c"})
	plan, err := w.Plan(t.Context(), r)
	w.ok(err)
	want := []pipeline.ModuleChange{
		{Address: `cloud_database.main["a"]`, Type: "cloud_database", Action: pipeline.ModuleReplace, Stateful: true, Reason: "a change of engine"},
		{Address: `cloud_database.main["b"]`, Type: "cloud_database", Action: pipeline.ModuleDestroy, Stateful: true, Reason: "its key is not in for_each any more"},
		{Address: `cloud_database.main["c"]`, Type: "cloud_database", Action: pipeline.ModuleCreate},
	}
	if string(raw(plan.Changes)) != string(raw(want)) {
		t.Errorf("plan: %+v", plan.Changes)
	}
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeRefused, `cloud_database.main["a"] would be destroyed and made again (a change of engine); cloud_database.main["b"] would be destroyed (its key`, "allow_destroy")
	w.has(dir, "a", "b")
	s, _, _, err := find(t.Context(), w.store, "e-1")
	w.ok(err)
	if string(s.Applied.Variables["engine"]) != "" {
		t.Errorf("what was refused is recorded as applied: %s", s.Applied.Variables)
	}

	// What was made since may go with a revert; what served may not.
	variables["engine"], variables["names"] = raw("postgres"), raw([]string{"a", "b", "c"})
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
	w.ok(w.Revert(t.Context(), "e-1", &w.log))
	w.has(dir, "a", "b")
	variables["engine"], r.AllowDestroy = raw("mysql"), true
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
	w.ok(w.Keep(t.Context(), "e-1"))
	w.ok(os.Remove(filepath.Join(dir, "a.db"))) // somebody did
	drift, err := w.Drift(t.Context(), "e-1", &w.log)
	w.ok(err)
	if len(drift.Drift) != 1 || drift.Drift[0].Address != `cloud_database.main["a"]` || drift.Drift[0].Action != pipeline.ModuleDestroy || len(drift.Changes) > 0 {
		t.Errorf("drift: %+v", drift)
	}
	w.ok(w.Revert(t.Context(), "e-1", &w.log))
	w.has(dir, "a", "b", "c")
	if drift, err = w.Drift(t.Context(), "e-1", &w.log); err != nil || len(drift.Drift) > 0 {
		t.Errorf("drift: %+v, %v", drift, err)
	}
	w.behave(dir, "a.db", `{"size": 5}`)
	if drift, err = w.Drift(t.Context(), "e-1", &w.log); err != nil || len(drift.Drift) != 1 || drift.Drift[0].Action != pipeline.ModuleUpdate {
		t.Errorf("drift: %+v, %v", drift, err)
	}
}

// A module that hangs ends with its time-out, and what it was making is known.
func TestHang(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, variables := w.cloud("a")
	w.behave(dir, "slow-a", "1h")
	r := w.request(w.module(databases))
	r.Variables, r.Timeout = variables, 5*time.Second
	_, err := w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, `it did not end within 5s; it was creating cloud_database.main["a"] for `)
	w.has(dir, "a")
	ctx, cancel := context.WithCancel(t.Context())
	r.Timeout = time.Hour
	ended := make(chan error)
	go func() {
		_, err := w.Apply(ctx, r)
		ended <- err
	}()
	w.shortly("destruction of what was not finished", func() bool { return strings.Contains(w.said(), "destroying") })
	cancel()
	w.fails(<-ended, pipeline.CodeCancelled, `destroying cloud_database.main["a"]`)
	w.ok(os.Remove(filepath.Join(dir, "slow-a")))
	w.ok(w.Destroy(t.Context(), "e-1", nil))
	w.has(dir)
}

// When the disk gets full, a change ends while there is still room for its state.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, variables := w.cloud("a")
	w.behave(dir, "slow-a", "1h")
	r := w.request(w.module(databases))
	r.Variables = variables
	w.free = func(string) (int64, bool) {
		if strings.Contains(w.said(), "creating") {
			return 1000, true
		}
		return 1 << 30, true
	}
	_, err := w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, "the disk of "+w.dir, "is full", "Free space")
	w.free = freeSpace
	w.ok(os.Remove(filepath.Join(dir, "slow-a")))
	w.ok(w.Destroy(t.Context(), "e-1", nil))
	w.has(dir)
}

// Whoever has a newer lease takes over, and the one that was displaced ends what it does.
func TestDisplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, variables := w.cloud("a")
	r := w.request(w.module(databases))
	r.Variables = variables
	key := "shop/stage/acceptance"
	older := w.Under(pipeline.Fence{Key: key, Token: 1})
	_, err := older.Apply(t.Context(), r)
	w.ok(err)
	variables["names"] = raw([]string{"a", "b"})
	w.behave(dir, "slow-b", "1h")
	ended := make(chan error)
	go func() {
		_, err := older.Apply(t.Context(), r)
		ended <- err
	}()
	w.shortly("creation of b", func() bool { return strings.Contains(w.said(), `main["b"]: creating`) })
	other := r
	other.Variables, other.Log = map[string]json.RawMessage{"dir": variables["dir"], "names": raw([]string{"a"})}, nil
	newer := w.machine("another").Under(pipeline.Fence{Key: key, Token: 2})
	_, err = newer.Apply(t.Context(), other)
	w.ok(err)
	w.fails(<-ended, pipeline.CodeLeaseLost)
	w.fails(older.Keep(t.Context(), "e-1"), pipeline.CodeLeaseLost)
	w.ok(newer.Keep(t.Context(), "e-1"))
	w.ok(os.Remove(filepath.Join(dir, "slow-b")))
	// What only the displaced one knows of is named where it worked.
	_, err = w.Under(pipeline.Fence{Key: key, Token: 3}).Apply(t.Context(), r)
	w.ok(err)
	w.has(dir, "a", "b")
}

// away is a store that can't be reached at times.
type away struct {
	Store
	is atomic.Bool
}

func (a *away) Put(ctx context.Context, key string, data []byte, version string) (string, error) {
	if a.is.Load() {
		return "", pipeline.Errorf(pipeline.CodeFailed, "store "+key, "%w", errors.New("no route to host"))
	}
	return a.Store.Put(ctx, key, data, version)
}

// A state that can't be stored waits on this machine.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := &away{Store: w.store}
	w.config.Store, w.config.SaveWait = store, time.Second
	dir, variables := w.cloud("a", "b")
	w.behave(dir, "slow-a", "2s")
	r := w.request(w.module(databases))
	r.Variables = variables
	ended := make(chan error)
	go func() {
		_, err := w.Apply(t.Context(), r)
		ended <- err
	}()
	w.shortly("creation", func() bool { return strings.Contains(w.said(), `creating`) })
	store.is.Store(true)
	w.fails(<-ended, pipeline.CodeFailed, "its state could not be stored, and is in "+w.dir, "no route to host", "Don't remove the file")
	_, err := w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeFailed, "no route to host")
	w.has(dir, "a", "b")
	store.is.Store(false)
	w.ok(w.Destroy(t.Context(), "e-1", &w.log))
	w.has(dir)
}

// A module sees nothing of the configuration that it is for, and what it starts goes on.
func TestEnvironment(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"TF_VAR_size", "TF_WORKSPACE", "TF_DATA_DIR", "TF_CLI_ARGS", "TF_LOG", "TF_REATTACH_PROVIDERS", "PENSTOCK_TOKEN", "TF_PLUGIN_MAGIC_COOKIE", "PLUGIN_MIN_PORT"} {
		t.Setenv(name, "from outside")
	}
	t.Setenv("TF_TOKEN_registry_example_com", "kept")
	t.Setenv("AWS_PROFILE", "kept")
	dir := t.TempDir()
	pkg := w.module(`
variable "dir" { type = string }
variable "size" { default = "small" }
resource "terraform_data" "a" {
  provisioner "local-exec" { command = "env > '${var.dir}/env'; (setsid sleep 60 & echo $! > '${var.dir}/pid') > /dev/null 2>&1" }
}
output "size" { value = var.size }
output "workspace" { value = terraform.workspace }
`)
	r := w.request(pkg)
	r.Variables = map[string]json.RawMessage{"dir": raw(dir)}
	out, err := w.Apply(t.Context(), r)
	w.ok(err)
	if string(out.Others["size"]) != `"small"` || string(out.Others["workspace"]) != `"default"` {
		t.Errorf("outputs: %+v", out)
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	w.ok(err)
	for line := range strings.Lines(string(env)) {
		if strings.Contains(line, "from outside") || strings.HasPrefix(line, "PENSTOCK_") {
			t.Errorf("the module sees %s", line)
		}
	}
	if strings.Count(string(env), "=kept") != 2 {
		t.Errorf("the module lacks what the user set: %s", env)
	}
	w.endsDaemon(filepath.Join(dir, "pid"))
}
