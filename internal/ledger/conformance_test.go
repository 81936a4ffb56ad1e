// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"path/filepath"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, ledgertest.Backend{MaxBatch: 500, New: func(t testing.TB) ledgertest.Opener {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func(t testing.TB, o ledgertest.Options) (pipeline.Ledger, error) {
			return ledger.Open(t.Context(), path, ledger.Options{Now: o.Now, Dead: o.Dead})
		}
	}})
}
