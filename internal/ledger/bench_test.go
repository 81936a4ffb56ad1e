// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// BenchmarkState reads what status and runs show, of a ledger with 1,000 runs and
// of one with 100,000 by turns, and reports how many times longer the second takes.
func BenchmarkState(b *testing.B) {
	filled := func(runs int) *SQLite {
		l := open(b, filepath.Join(b.TempDir(), "ledger.db"), Options{})
		ledgertest.Fill(b, l, "shop", runs, 500)
		return l
	}
	few, many := filled(1_000), filled(100_000)
	for _, bench := range []struct {
		name string
		read func(*SQLite) error
	}{
		{"state", func(l *SQLite) error { _, err := l.readState(b.Context(), "read state", "shop"); return err }},
		{"state again", func(l *SQLite) error { _, err := l.State(b.Context(), "shop"); return err }},
		{"first page of runs", func(l *SQLite) error { _, err := l.Runs(b.Context(), "shop", pipeline.RunQuery{}); return err }},
		{"first page of a stage", func(l *SQLite) error {
			_, err := l.Runs(b.Context(), "shop", pipeline.RunQuery{Stage: "stage-2"})
			return err
		}},
		{"runs that run", func(l *SQLite) error {
			_, err := l.Runs(b.Context(), "shop", pipeline.RunQuery{Status: pipeline.RunRunning})
			return err
		}},
		{"run", func(l *SQLite) error { _, err := l.Run(b.Context(), "shop", "r-00000500"); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var ofFew, ofMany time.Duration
			timed := func(l *SQLite) time.Duration {
				began := time.Now()
				if err := bench.read(l); err != nil {
					b.Fatal(err)
				}
				return time.Since(began)
			}
			for b.Loop() {
				ofFew += timed(few)
				ofMany += timed(many)
			}
			b.ReportMetric(float64(ofFew.Nanoseconds())/float64(b.N), "ns/1k")
			b.ReportMetric(float64(ofMany.Nanoseconds())/float64(b.N), "ns/100k")
			b.ReportMetric(float64(ofMany)/float64(ofFew), "ratio")
		})
	}
}

// BenchmarkVerify verifies a history of 10,000 events, as each plan does that reads what a stage
// of another data directory has passed.
func BenchmarkVerify(b *testing.B) {
	path := filepath.Join(b.TempDir(), "ledger.db")
	l := open(b, path, Options{})
	ledgertest.Fill(b, l, "shop", 10_000, 500)
	for b.Loop() {
		v, err := OpenView(b.Context(), path)
		if err == nil {
			_, _, err = v.Verified(b.Context(), "shop", Checked{})
		}
		if err == nil {
			err = v.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend appends the event of a run that moves on.
func BenchmarkAppend(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "ledger.db"), Options{})
	for n := 0; b.Loop(); n++ {
		appendOne(b, l, pipeline.Facts{Run: &pipeline.Run{
			ID: fmt.Sprintf("r-%09d", n/10), Stage: "commit", Kind: pipeline.KindStage, Build: "b-1", Digest: "d-1",
			Status: pipeline.RunRunning, Steps: make([]pipeline.StepResult, 5),
		}})
	}
}
