// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package apptest opens what an App shows nobody, for tests of packages that use one.
//
//	apptest.Append(t, a, pipeline.Batch{Pipeline: "shop", Events: events})
package apptest

import (
	"path/filepath"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Append records events in the ledger of a data directory, as another process does.
func Append(t testing.TB, a *app.App, b pipeline.Batch) {
	t.Helper()
	l := open(t, a)
	if _, err := l.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Ledger opens the ledger of a data directory, as another process has it open, until the test
// ends.
func Ledger(t testing.TB, a *app.App) pipeline.Ledger {
	t.Helper()
	l := open(t, a)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func open(t testing.TB, a *app.App) pipeline.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(a.Dir, "ledger.db"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
