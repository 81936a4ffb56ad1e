// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
)

// What a caller may is found out without writing anything.
func TestRights(t *testing.T) {
	c, o := newTable(t)
	for name, tt := range map[string]struct {
		put            func(string) bool
		record, decide bool
	}{
		"a deployer":    {other, true, false},
		"an approver":   {decisions, false, true},
		"both":          {all, true, true},
		"a mere reader": {none, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := ledger.OpenDynamo(t.Context(), as(c, o, tt.put, none))
			if err != nil {
				t.Fatal(err)
			}
			record, err := d.MayRecord(t.Context())
			if err != nil || record != tt.record {
				t.Errorf("may record: %v, %v", record, err)
			}
			decide, err := d.MayDecide(t.Context())
			if err != nil || decide != tt.decide {
				t.Errorf("may decide: %v, %v", decide, err)
			}
			if names, err := d.Pipelines(t.Context()); err != nil || len(names) > 0 {
				t.Errorf("something was written: %q, %v", names, err)
			}
		})
	}
}
