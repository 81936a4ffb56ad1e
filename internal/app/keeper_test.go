// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// environmentOf is a module that is an environment. It leaves a file, so that a test sees
// whether it is destroyed.
const environmentOf = `variable "trace" {
  type = string
}

resource "terraform_data" "this" {
  input = var.trace
  provisioner "local-exec" {
    command = "echo made > '${self.input}'"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "rm '${self.input}'"
  }
}

output "endpoint" {
  value = "http://127.0.0.1:9/"
}
`

// An environment that is a module is ended at its time, although nobody runs Penstock any more,
// and nothing is left that would wait for another.
func TestKeeper(t *testing.T) {
	if _, err := exec.LookPath("terraform"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Terraform on PATH")
		}
		t.Skip("there is no Terraform on PATH; `make test` sees to it")
	}
	dir, repo, trace := filepath.Join(t.TempDir(), "data"), t.TempDir(), filepath.Join(t.TempDir(), "trace")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(repo, "environment"), 0o750))
	must(os.WriteFile(filepath.Join(repo, "environment", "main.tf"), []byte(environmentOf), 0o600))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "Begin"}} {
		must(exec.Command("git", append([]string{"-C", repo}, args...)...).Run())
	}
	ctx := t.Context()
	a, err := app.Open(ctx, app.Options{DataDir: dir})
	must(err)
	_, err = a.Engine.Pipelines.Create(ctx, pipeline.Pipeline{Name: "shop", Owner: a.Owner, Module: &pipeline.Module{
		Directory: "environment", Variables: map[string]json.RawMessage{"trace": json.RawMessage(`"` + trace + `"`)},
	}})
	must(err)
	snapshot, err := a.NewSource("").Snapshot(ctx, source.Query{Repository: repo, Ref: "main"})
	must(err)
	view, err := a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: pipeline.Stage{
		Pipeline: "shop", Owner: a.Owner, Type: pipeline.TypeCommit, Source: &snapshot.Source, Steps: []pipeline.Step{{Name: "build", Command: "true"}},
	}.WithDefaults(nil, nil)})
	must(err)
	_, err = a.Engine.Environments.Launch(ctx, run.LaunchRequest{Pipeline: "shop", Name: "alice", Build: view.Passed, TTL: 5 * time.Second})
	must(err)
	must(a.Close(ctx))
	if _, err := os.Stat(trace); err != nil {
		t.Fatalf("the module was not applied: %v", err)
	}

	lock := filepath.Join(dir, "keeper.lock")
	await := func(what string, ok func() bool) {
		t.Helper()
		must(poll.Until(ctx, poll.Schedule{First: 50 * time.Millisecond, Max: time.Second, Factor: 1.5, Limit: 5 * time.Minute, What: what}, func(context.Context) (poll.Probe, error) {
			return poll.Probe{Done: ok()}, nil
		}))
	}
	await("the end of the module", func() bool { _, err := os.Stat(trace); return os.IsNotExist(err) })
	await("the end of the keeper", func() bool { return !protocol.Locked(lock) })
	a, err = app.Open(ctx, app.Options{DataDir: dir})
	must(err)
	defer func() { must(a.Close(context.WithoutCancel(ctx))) }()
	st, err := a.Engine.State(ctx, "shop")
	must(err)
	if env, _ := st.PersonEnvironment("alice"); env.Status != pipeline.EnvExpired || env.Module != nil {
		t.Errorf("it is recorded as %+v", env)
	}
	must(a.Engine.Pipelines.Remove(ctx, "shop", "", true))
}
