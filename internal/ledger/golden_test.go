// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var update = flag.Bool("update", false, "write golden files that are not there yet")

// The golden files: one for each number that the format has had. They are never changed;
// a new format adds files of its own.
const (
	goldenExport = "testdata/export-2.jsonl"
	goldenFile   = "testdata/ledger-1.db"
)

// TestGolden reads what earlier versions wrote: their files, and their exports into every
// kind of ledger. All is as it was, byte for byte.
func TestGolden(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(goldenFile); *update && errors.Is(err, os.ErrNotExist) {
		writeGolden(t)
	}
	want, err := os.ReadFile(goldenExport)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := ledger.Open(t.Context(), path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	_, table := newTable(t)
	imported := map[string]pipeline.Ledger{"a new file": newFile(t), "a table": openTable(t, table)}
	for kind, l := range imported {
		if _, err := ledger.Import(t.Context(), l, strings.NewReader(string(want))); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	imported["the file"] = file
	for kind, l := range imported {
		if _, err := l.Verify(t.Context(), ""); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if got := export(t, l); got != string(want) {
			t.Errorf("%s: the export is\n%s\nwant\n%s", kind, got, want)
		}
		st, err := l.State(t.Context(), "shop")
		if err != nil || len(st.Builds) != 2 || len(st.Decisions) != 3 || st.Pipeline.Name != "shop" {
			t.Errorf("%s: the state has %v, %v", kind, st.Keys(), err)
		}
	}
}

func writeGolden(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	l, err := ledger.Open(t.Context(), path, ledger.Options{Now: func() time.Time { now = now.Add(time.Second); return now }})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3)
	if err := os.WriteFile(goldenExport, []byte(export(t, l)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
