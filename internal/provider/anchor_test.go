// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"database/sql"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	_ "modernc.org/sqlite" // the driver with which a file is changed behind the ledger's back

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// TestAccAnchor has the newest event cut off: the state remembers that there was one, and
// says so at the next refresh. That it remembers shows in no plan.
func TestAccAnchor(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.dir, "ledger.db")
	change := func(statements ...string) {
		t.Helper()
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	happen := func() { // something that concerns nobody
		b.open(func(a *app.App) error {
			apptest.Append(t, a, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.StageResumed, Actor: "bob"}}})
			return nil
		})
	}
	quiet := resource.ConfigPlanChecks{
		PreApply:             []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
	}
	const newest = `(SELECT max(seq) FROM events WHERE pipeline = 'shop')`
	walk(t,
		resource.TestStep{Config: b.config(nil)},
		resource.TestStep{PreConfig: happen, Config: b.config(nil), ConfigPlanChecks: quiet},
		resource.TestStep{
			PreConfig: func() {
				change(`CREATE TABLE cut AS SELECT * FROM events WHERE seq = `+newest+` AND pipeline = 'shop'`, `DELETE FROM events WHERE seq = `+newest+` AND pipeline = 'shop'`)
			},
			Config: b.config(nil), ExpectError: regexp.MustCompile(`event\s+\d+\s+of\s+pipeline\s+"shop"\s+is\s+missing:\s+its\s+history\s+ends\s+with\s+event`),
		},
		resource.TestStep{ // another one in its place
			PreConfig: happen,
			Config:    b.config(nil), ExpectError: regexp.MustCompile(`event\s+\d+\s+of\s+pipeline\s+"shop"\s+has\s+changed`),
		},
		resource.TestStep{
			PreConfig: func() {
				change(`DELETE FROM events WHERE seq = `+newest+` AND pipeline = 'shop'`, `INSERT INTO events SELECT * FROM cut`, `DROP TABLE cut`)
			},
			Config: b.config(nil), ConfigPlanChecks: quiet,
		},
	)
}
