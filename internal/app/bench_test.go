// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// What a deployment in three waves takes beside its two pauses, on the local platform: as a
// multiple of the pauses, and how much longer than the same deployment without pauses it takes
// than the pauses are.
func BenchmarkRollout(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	const pause = 5 * time.Second
	repo, dir, ctx := b.TempDir(), filepath.Join(b.TempDir(), ".penstock"), b.Context()
	git(b, repo, "init", "-q", "-b", "main")
	a, err := app.Open(ctx, app.Options{DataDir: dir})
	must(err)
	_, err = a.Engine.Pipelines.Create(ctx, pipeline.Pipeline{Name: "shop", Owner: a.Owner, Scale: pipeline.Scale{Instances: 1}, Service: pipeline.Service{
		Install: `tar -xzf "$PENSTOCK_ARTIFACT"`, Start: "exec " + self + " serve", HealthCheck: &pipeline.HealthCheck{Path: "/", Interval: 50 * time.Millisecond},
	}})
	must(err)
	advance := func(s pipeline.Stage) time.Duration {
		b.Helper()
		s.Pipeline, s.Owner = "shop", a.Owner
		began := time.Now()
		_, err := a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)})
		must(err)
		return time.Since(began)
	}
	var builds []string
	for _, version := range []string{"1", "2"} {
		commit(b, repo, version)
		snapshot, err := source.New(source.Options{Dir: b.TempDir()}).Snapshot(ctx, source.Query{Repository: repo, Ref: "main"})
		must(err)
		advance(pipeline.Stage{Type: pipeline.TypeCommit, Source: &snapshot.Source, Artifact: "dist.tar.gz", Steps: []pipeline.Step{{Name: "build", Command: "tar -czf dist.tar.gz version"}}})
		at, err := a.Engine.Reports.StageView(ctx, "shop", "commit")
		must(err)
		builds = append(builds, at.Passed)
	}
	production := pipeline.Stage{Type: pipeline.TypeProduction, After: []string{"commit"}, Env: &pipeline.EnvironmentSpec{DrainTimeout: time.Second}}
	for i, name := range []string{"eu", "us", "ap"} {
		production.Targets = append(production.Targets, pipeline.StageTarget{Target: pipeline.Target{Name: name}, Wave: i + 1})
	}
	// deploy takes both builds there, and returns what the faster one took.
	deploy := func(pause time.Duration) time.Duration {
		best := time.Hour
		for _, production.Pin = range builds {
			production.Rollout.Pause = pause
			best = min(best, advance(production))
		}
		return best
	}
	deploy(0)
	for b.Loop() {
		plain, paused := deploy(0), deploy(pause)
		sum := pause * time.Duration(len(production.Targets)-1)
		b.ReportMetric(paused.Seconds()/sum.Seconds(), "x-pauses")
		b.ReportMetric(100*((paused-plain).Seconds()/sum.Seconds()-1), "%-above-pauses")
	}
	must(a.Engine.Pipelines.Remove(ctx, "shop", "", true))
	must(a.Close(ctx))
}
