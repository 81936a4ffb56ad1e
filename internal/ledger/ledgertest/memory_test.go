// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, ledgertest.Backend{MaxRuns: 5_000, New: func(testing.TB) ledgertest.Opener {
		m := &ledgertest.Memory{}
		return func(_ testing.TB, o ledgertest.Options) (pipeline.Ledger, error) { return m.Open(o), nil }
	}})
}
