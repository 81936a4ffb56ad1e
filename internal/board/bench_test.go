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
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
)

// BenchmarkPages measures the first page of a pipeline of 10,000 builds, with environments
// and current builds: when nothing has changed, and right after an event. It compares that
// with a pipeline of a single page of builds, its search, its filter, its metrics of 50,000
// runs, and a build; and the list of fifty pipelines with that of one.
func BenchmarkPages(b *testing.B) {
	few, many := filled(b, 50), filled(b, 10_000)
	fifty := filled(b, 100, 49)
	for b.Loop() {
		began := time.Now()
		many.once(b, "/p/shop/metrics")
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-metrics-unread")
		one, all := few.get(b, "/", few.rest), fifty.get(b, "/", fifty.rest)
		b.ReportMetric(float64(all.Milliseconds()), "ms-50-pipelines")
		b.ReportMetric(all.Seconds()/one.Seconds(), "x-1-pipeline")
		baseline, first := few.get(b, "/p/shop", few.rest), many.get(b, "/p/shop", many.rest)
		b.ReportMetric(float64(first.Milliseconds()), "ms-first-page")
		b.ReportMetric(first.Seconds()/baseline.Seconds(), "x-50-builds")
		b.ReportMetric(float64(many.get(b, "/p/shop", many.happen).Milliseconds()), "ms-after-an-event")
		for name, path := range map[string]string{
			"search": "/p/shop?q=number+77", "last-page": "/p/shop?page=200", "waiting": "/p/shop?outcome=waiting", "failed": "/p/shop?outcome=failed",
			"build": "/p/shop/builds/" + many.some, "metrics": "/p/shop/metrics", "runs": "/p/shop/runs",
			"history": "/p/shop/history", "history-of-few": "/p/shop/history?by=nobody", "history-of-a-stage": "/p/shop/history?stage=production&kind=run", "history-until": "/p/shop/history?until=2020-01-01",
		} {
			b.ReportMetric(float64(many.get(b, path, many.rest).Milliseconds()), "ms-"+name)
		}
	}
}

// board10k is a board of a pipeline of many builds.
type board10k struct {
	*board.Board
	app    *app.App
	some   string // a build in the middle
	events int
}

// rest lets nothing happen.
func (*board10k) rest(*testing.B) {}

// happen lets something happen.
func (p *board10k) happen(b *testing.B) {
	b.Helper()
	p.events++
	if _, err := p.app.Engine.Decisions.Do(b.Context(), decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "stage-3", Reason: fmt.Sprint(p.events)}); err != nil {
		b.Fatal(err)
	}
}

// get asks for a page, and returns how long that takes at best after something else.
func (p *board10k) get(b *testing.B, path string, after func(*testing.B)) time.Duration {
	b.Helper()
	best := time.Hour
	for range 5 {
		after(b)
		began := time.Now()
		p.once(b, path)
		best = min(best, time.Since(began))
	}
	return best
}

// once asks for a page.
func (p *board10k) once(b *testing.B, path string) {
	b.Helper()
	r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
	r.Header.Set("X-User", "ann")
	if p.ServeHTTP(w, r); w.Code != http.StatusOK {
		b.Fatalf("GET %s answers %d: %s", path, w.Code, words(w.Body.String()))
	}
}

// filled makes a pipeline of so many builds that each went through five stages, of which
// the last wait for a decision, and some failed. With more there are as many others beside it.
func filled(b *testing.B, builds int, more ...int) *board10k {
	a, err := app.Open(b.Context(), app.Options{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Close(context.Background()) })
	f, err := lab.Fill(b.Context(), apptest.Ledger(b, a), lab.Size{Pipeline: "shop", Builds: builds, Owner: a.Owner})
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range more {
		for i := range n {
			if _, err := lab.Fill(b.Context(), apptest.Ledger(b, a), lab.Size{Pipeline: fmt.Sprint("shop-", i), Builds: builds, Owner: a.Owner}); err != nil {
				b.Fatal(err)
			}
		}
	}
	page := board.New(board.Options{
		Engine: a.Engine, Hosts: []string{"example.com"}, Access: &board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	})
	b.Cleanup(page.Close)
	return &board10k{Board: page, app: a, some: f.Some}
}
