// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	process.Guard()
	supervisor.Main()
	app.KeeperMain()
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve()
	}
	if len(os.Args) > 1 && os.Args[1] == deployArg {
		deployMain()
	}
	os.Exit(workplacetest.Main(func() int { return cloudtest.Main(m) }))
}

// serve is the service of the tests: it answers with the file version of its root.
func serve() {
	version, err := os.ReadFile("version")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(version) })
	panic(http.ListenAndServe(net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), nil))
}

func git(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func commit(t testing.TB, repo, version string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(repo, "version"), []byte(version), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, repo, "add", "-A")
	git(t, repo, "commit", "-q", "-m", version)
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestRoute takes two commits from a repository to production with everything
// real, and back, and then leaves nothing.
func TestRoute(t *testing.T) {
	ctx := context.Background()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	repo, dir := t.TempDir(), filepath.Join(t.TempDir(), ".penstock")
	git(t, repo, "init", "-q", "-b", "main")
	commit(t, repo, "one")

	a, err := app.Open(ctx, app.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.Pipeline{Name: "shop", Owner: a.Owner, Scale: pipeline.Scale{Instances: 2}, Service: pipeline.Service{
		Install: `tar -xzf "$PENSTOCK_ARTIFACT"`, Start: "exec " + self + " serve", Migrate: `date >> "$PENSTOCK_DATA/migrations"`,
		HealthCheck: &pipeline.HealthCheck{Path: "/", Interval: 50 * time.Millisecond},
	}}
	if _, err := a.Engine.Pipelines.Create(ctx, p); err != nil {
		t.Fatal(err)
	}
	stages := func(pin string) []pipeline.Stage {
		snap, err := source.New(source.Options{Dir: filepath.Join(dir, "cache")}).Snapshot(ctx, source.Query{Repository: repo, Ref: "main"})
		if err != nil {
			t.Fatal(err)
		}
		return []pipeline.Stage{
			{Pipeline: "shop", Type: pipeline.TypeCommit, Source: &snap.Source, Artifact: "dist.tar.gz", Steps: []pipeline.Step{{Name: "build", Command: "tar -czf dist.tar.gz version"}}},
			{Pipeline: "shop", Type: pipeline.TypeAcceptance, After: []string{"commit"}, Steps: []pipeline.Step{
				{Name: "answers", HTTP: &pipeline.HTTPCheck{Path: "/"}},
				{Name: "inside", Command: "test -f version", On: pipeline.OnEnvironment},
				{Name: "journeys", Command: `test "$(cat version)" != bad`},
			}},
			{Pipeline: "shop", Type: pipeline.TypeProduction, After: []string{"acceptance"}, Pin: pin},
		}
	}
	apply := func(pin string) error {
		for _, s := range stages(pin) {
			s.Owner = a.Owner
			if _, err := a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)}); err != nil {
				return err
			}
		}
		return nil
	}
	status := func(stage string) report.StageView {
		at, err := a.Engine.Reports.StageView(ctx, "shop", stage)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if err := apply(""); err != nil {
		t.Fatal(err)
	}
	one := status("acceptance").Passed
	if err := apply(one); err != nil {
		t.Fatal(err)
	}
	endpoint := status("production").Environment.Endpoint
	if got := get(t, endpoint); got != "one" {
		t.Errorf("production answers %q", got)
	}
	commit(t, repo, "two")
	if err := apply(one); err != nil {
		t.Fatal(err)
	}
	two := status("acceptance").Passed
	if err := apply(two); err != nil {
		t.Fatal(err)
	}
	if got := get(t, endpoint); got != "two" || two == one {
		t.Errorf("after the promotion of %s production answers %q at %s", two, got, endpoint)
	}
	commit(t, repo, "bad")
	err = apply(two)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "journeys") {
		t.Errorf("a bad commit: %v", err)
	}
	if got := get(t, endpoint); got != "two" {
		t.Errorf("after a bad commit production answers %q", got)
	}
	if _, err := a.Engine.Decisions.Do(ctx, decision.Command{Verb: decision.Reject, Pipeline: "shop", Stage: "acceptance", Build: status("commit").Current.Build, Reason: "bad"}); err != nil {
		t.Fatal(err)
	}
	if err := apply(one); err != nil {
		t.Fatal(err)
	}
	if got := get(t, endpoint); got != "one" {
		t.Errorf("after the rollback production answers %q", got)
	}
	env, err := a.Engine.Environments.Launch(ctx, run.LaunchRequest{Pipeline: "shop", Name: "alice", TTL: time.Hour, Configured: a.Owner})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, env.Endpoint); got != "two" {
		t.Errorf("alice's environment answers %q", got)
	}
	if n, err := a.Verify(ctx, ""); err != nil || n < 20 {
		t.Errorf("%d events, %v", n, err)
	}
	if g, err := a.Engine.Collector.Collect(ctx, collect.Request{DryRun: true, Kept: true}); err != nil || fmt.Sprint(g) != fmt.Sprint(collect.Garbage{}) {
		t.Errorf("left over: %+v, %v", g, err)
	}
	if err := a.Engine.Pipelines.Remove(ctx, "shop", "", true); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory is left: %v", err)
	}
	if resp, err := http.Get(endpoint); err == nil {
		resp.Body.Close()
		t.Error("production still answers")
	}
}

// An artifact that was changed on the disk since it was stored is noticed by the next run
// that uses it, which says so and goes no further.
func TestChangedArtifact(t *testing.T) {
	ctx := t.Context()
	repo, dir := t.TempDir(), filepath.Join(t.TempDir(), "data")
	git(t, repo, "init", "-q", "-b", "main")
	commit(t, repo, "one")
	closeAfter(t, dir, func(a *app.App) {
		if _, err := a.Engine.Pipelines.Create(ctx, pipeline.Pipeline{Name: "shop", Owner: a.Owner}); err != nil {
			t.Fatal(err)
		}
		snapshot, err := a.Source.Snapshot(ctx, source.Query{Repository: repo, Ref: "main"})
		if err != nil {
			t.Fatal(err)
		}
		advance := func(s pipeline.Stage) error {
			s.Pipeline, s.Owner = "shop", a.Owner
			_, err := a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)})
			return err
		}
		made := pipeline.Stage{Type: pipeline.TypeCommit, Source: &snapshot.Source, Artifact: "version", Steps: []pipeline.Step{{Name: "build", Command: "true"}}}
		if err := advance(made); err != nil {
			t.Fatal(err)
		}
		stored, err := filepath.Glob(filepath.Join(dir, "artifacts", "sha256", "*", "*"))
		if err != nil || len(stored) != 1 {
			t.Fatalf("stored are %v, %v", stored, err)
		}
		if err := errors.Join(os.Chmod(stored[0], 0o644), os.WriteFile(stored[0], []byte("evil"), 0o644)); err != nil {
			t.Fatal(err)
		}
		err = advance(pipeline.Stage{Type: pipeline.TypeCustom, After: []string{"commit"}, Steps: []pipeline.Step{{Name: "use", Command: `touch "$PENSTOCK_ROOT/../../../used"`}}})
		if pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), stored[0]) || reason.Hint(err) == "" {
			t.Errorf("a run with a changed artifact: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "used")); err == nil {
			t.Error("its step has run")
		}
		if err := a.Engine.Pipelines.Remove(ctx, "shop", "", true); err != nil {
			t.Error(err)
		}
	})
}
