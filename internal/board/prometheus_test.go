// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The metrics say where a pipeline is, in the form that Prometheus wants.
func TestPrometheus(t *testing.T) {
	a, err := app.Open(t.Context(), app.Options{DataDir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stage := func(name string, kind pipeline.StageType, after ...string) pipeline.Facts {
		s := pipeline.Stage{Pipeline: "shop", Owner: a.Owner, Name: name, Type: kind, After: after, Applied: true}.WithDefaults(nil, nil)
		return pipeline.Facts{Stage: &s}
	}
	build := pipeline.Build{ID: "b-1", Pipeline: "shop", Stage: "commit", Order: 1, Revision: pipeline.Revision{Commit: "c", Time: began.Add(-time.Hour)}}
	shop := pipeline.Pipeline{Name: "shop", Owner: a.Owner}
	ran := func(id string, of pipeline.Facts, status pipeline.RunStatus) pipeline.Facts {
		return pipeline.Facts{Run: &pipeline.Run{
			ID: id, Pipeline: "shop", Stage: of.Stage.Name, Kind: pipeline.KindStage, Build: "b-1", Digest: of.Stage.Digest(shop), Status: status, Phase: pipeline.PhaseDone,
			StartedAt: began, EndedAt: began.Add(30 * time.Second),
		}}
	}
	batch := pipeline.Batch{Pipeline: "shop"}
	for _, e := range []struct {
		kind  pipeline.EventKind
		facts pipeline.Facts
	}{
		{pipeline.PipelineDefined, pipeline.Facts{Pipeline: &shop}},
		{pipeline.StageDefined, stage("commit", pipeline.TypeCommit)},
		{pipeline.StageDefined, stage("exploratory", pipeline.TypeExploratory, "commit")},
		{pipeline.BuildOffered, pipeline.Facts{Build: &build}},
		{pipeline.RunEnded, ran("r-1", stage("commit", pipeline.TypeCommit), pipeline.RunPassed)},
		{pipeline.RunEnded, ran("r-2", stage("exploratory", pipeline.TypeExploratory, "commit"), pipeline.RunPassed)},
	} {
		batch.Events = append(batch.Events, pipeline.Event{Kind: e.kind, Actor: "ann", Facts: e.facts})
	}
	apptest.Append(t, a, batch)
	now := func() time.Time { return began.Add(90 * time.Second) }
	problems, err := testutil.CollectAndLint(&collector{a.Engine, now})
	if err != nil || len(problems) > 0 {
		t.Errorf("the metrics are not in good form: %v, %+v", err, problems)
	}
	if err := testutil.CollectAndCompare(&collector{a.Engine, now}, strings.NewReader(`
# HELP penstock_builds Builds that are retained.
# TYPE penstock_builds gauge
penstock_builds{pipeline="shop"} 1
# HELP penstock_stage_last_run_duration_seconds How long the latest run of a stage took.
# TYPE penstock_stage_last_run_duration_seconds gauge
penstock_stage_last_run_duration_seconds{pipeline="shop",stage="commit"} 30
penstock_stage_last_run_duration_seconds{pipeline="shop",stage="exploratory"} 30
# HELP penstock_stage_undecided_seconds How long a build has waited for a decision.
# TYPE penstock_stage_undecided_seconds gauge
penstock_stage_undecided_seconds{pipeline="shop",stage="exploratory"} 60
# HELP penstock_up Whether the ledger could be read.
# TYPE penstock_up gauge
penstock_up 1
`), "penstock_builds", "penstock_stage_last_run_duration_seconds", "penstock_stage_undecided_seconds", "penstock_up"); err != nil {
		t.Error(err)
	}
	w := httptest.NewRecorder()
	scrapeHandler(a.Engine, now).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{`penstock_stage_status{pipeline="shop",stage="exploratory",status="waiting"} 1`, "go_goroutines"} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("there is no %s in\n%s", line, w.Body)
		}
	}

	// A ledger that can't be read is reported, and does not fail the scrape.
	closed, err := app.Open(t.Context(), app.Options{DataDir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := testutil.CollectAndCompare(&collector{closed.Engine, now}, strings.NewReader(`
# HELP penstock_up Whether the ledger could be read.
# TYPE penstock_up gauge
penstock_up 0
`), "penstock_up"); err != nil {
		t.Error(err)
	}
}
