// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// The history has a page with filters in its address, and files of the same.
func TestHistoryPage(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Shop})
	b.serve(nil)
	b.get("/p/shop/history", "History", "promoted", "/p/shop/history.csv", `sse-connect="/p/shop/history/events"`, "Older")
	page := b.get("/p/shop/history?build=%2312&kind=decision", "approved too early: a card is charged twice", "ruth", "/p/shop/history.json?build=%2312&kind=decision")
	if strings.Count(page, "<tr id=") != 2 {
		t.Errorf("build #12 was decided on so: %s", words(page))
	}
	page = b.get("/p/shop/history?stage=production&kind=deployment", "rolled back", "from #29")
	if strings.Contains(page, "run passed") {
		t.Error("the page has more kinds than one")
	}
	b.get("/p/shop", "/p/shop/history?stage=production")
	b.get("/p/shop/runs?stage=exploratory", "stage rejected")
	for _, wrong := range []string{"kind=none", "since=yesterday", "after=x", "build=head"} {
		b.want(b.client, http.MethodGet, "/p/shop/history?"+wrong, nil, http.StatusBadRequest)
		b.want(b.client, http.MethodGet, "/p/shop/history.csv?"+wrong, nil, http.StatusBadRequest)
	}
	b.want(b.client, http.MethodGet, "/p/none/history.csv", nil, http.StatusNotFound)

	rows, err := csv.NewReader(strings.NewReader(b.get("/p/shop/history.csv?kind=override"))).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][4] != "olga" {
		t.Errorf("the CSV is %q, %v", rows, err)
	}
	var list []report.HistoryEntry
	for path, most := range map[string]int{"/p/shop/history.json": 2000, "/p/shop/history.json?by=nobody": 0} {
		if err := json.Unmarshal([]byte(b.get(path)), &list); err != nil || len(list) > most || most > 0 && len(list) < 200 {
			t.Errorf("%s: %d entries, %v", path, len(list), err)
		}
	}
}
