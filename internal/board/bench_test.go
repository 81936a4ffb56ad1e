// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// BenchmarkPages measures the first page of a pipeline of 10,000 builds, and how that
// compares with one of a single page of builds, its search, its figures, and what a stream
// looks at.
func BenchmarkPages(b *testing.B) {
	few, many := filled(b, 50), filled(b, 10_000)
	for b.Loop() {
		baseline, first := few(b, "/p/shop"), many(b, "/p/shop")
		b.ReportMetric(float64(first.Milliseconds()), "ms-first-page")
		b.ReportMetric(first.Seconds()/baseline.Seconds(), "x-50-builds")
		for name, path := range map[string]string{"search": "/p/shop?q=number+77", "last-page": "/p/shop?page=200", "figures": "/p/shop/figures", "runs": "/p/shop/runs"} {
			b.ReportMetric(float64(many(b, path).Milliseconds()), "ms-"+name)
		}
	}
}

// filled gives what asks a board for a page, and measures it, of a pipeline of so many
// builds that each went through five stages.
func filled(b *testing.B, builds int) func(*testing.B, string) time.Duration {
	a, err := app.Open(b.Context(), app.Options{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Close(context.Background()) })
	batch := pipeline.Batch{Pipeline: "shop"}
	flush := func() {
		if _, err := a.Engine.Ledger.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		batch.Events = nil
	}
	add := func(kind pipeline.EventKind, f pipeline.Facts) {
		if batch.Events = append(batch.Events, pipeline.Event{Kind: kind, Actor: "ann", Facts: f}); len(batch.Events) == 2000 {
			flush()
		}
	}
	add(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Owner: a.Owner, Keep: builds}})
	var after []string
	names := []string{"commit", "acceptance", "exploratory", "capacity", "production"}
	for i, name := range names {
		s := pipeline.Stage{Pipeline: "shop", Owner: a.Owner, Name: name, Type: pipeline.TypeCustom, After: after, Settled: true}
		if name == "production" {
			s.Type = pipeline.TypeProduction
		}
		s = s.WithDefaults(nil, nil)
		add(pipeline.StageDefined, pipeline.Facts{Stage: &s})
		after = names[i : i+1]
	}
	began := time.Now().Add(-60 * 24 * time.Hour)
	for i := range builds {
		at := began.Add(time.Duration(i) * 8 * time.Minute)
		build := pipeline.Build{
			ID: pipeline.BuildID("shop", fmt.Sprint(i), ""), Pipeline: "shop", Stage: "commit", Order: int64(i + 1), CreatedAt: at,
			Revision: pipeline.Revision{Commit: fmt.Sprintf("%040x", i), Author: "Ann <ann@example.com>", Message: fmt.Sprintf("Change number %d", i), Time: at},
		}
		add(pipeline.BuildOffered, pipeline.Facts{Build: &build})
		for j, name := range names {
			add(pipeline.RunEnded, pipeline.Facts{Run: &pipeline.Run{
				ID: fmt.Sprintf("r-%013d", i*len(names)+j), Pipeline: "shop", Stage: name, Kind: pipeline.KindStage, Build: build.ID, Digest: "d-1",
				Status: pipeline.RunPassed, Phase: pipeline.PhaseDone, StartedAt: at, EndedAt: at.Add(time.Minute),
			}})
		}
	}
	if len(batch.Events) > 0 {
		flush()
	}
	page := board.New(board.Options{
		Engine: a.Engine, Hosts: []string{"example.com"}, Access: &board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	})
	b.Cleanup(page.Close)
	return func(b *testing.B, path string) time.Duration {
		best := time.Hour
		for range 5 {
			r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
			r.Header.Set("X-User", "ann")
			began := time.Now()
			if page.ServeHTTP(w, r); w.Code != http.StatusOK {
				b.Fatalf("GET %s answers %d: %s", path, w.Code, words(w.Body.String()))
			}
			best = min(best, time.Since(began))
		}
		return best
	}
}
