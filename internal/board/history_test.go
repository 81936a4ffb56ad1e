// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"encoding/csv"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strconv"
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

// A history of 100,000 events comes in pages, each of which reads only so much of it: also with a
// filter that nothing matches. A file has all of it.
func TestLongHistory(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes many seconds to write the events")
	}
	const builds, most = 14_500, 10_000 // events that a page reads
	b := newBed(t)
	b.fill(lab.Size{Pipeline: "huge", Builds: builds})
	newest, err := b.app.Engine.Reports.History(t.Context(), "huge", report.HistoryQuery{Limit: 1})
	b.must(err)
	events := newest.Entries[0].Sequence
	if events < 100_000 {
		t.Fatalf("there are %d events", events)
	}
	b.serve(nil)
	older := func(page string) string {
		_, at, more := strings.Cut(page, `rel="next" href="`)
		if at, _, _ = strings.Cut(at, `"`); !more {
			return ""
		}
		return html.UnescapeString(at)
	}
	last := events + 1
	at := "/p/huge/history"
	for n := range 5 {
		page := b.get(at)
		rows := eventIDs.FindAllStringSubmatch(page, -1)
		if len(rows) != 50 {
			t.Fatalf("page %d has %d rows", n+1, len(rows))
		}
		for _, row := range rows {
			seq, err := strconv.ParseInt(row[1], 10, 64)
			if b.must(err); seq > last {
				t.Errorf("on page %d event %d comes behind %d", n+1, seq, last)
			}
			last = seq
		}
		at = older(page)
	}
	pages := int64(0)
	for at = "/p/huge/history?by=nobody"; at != ""; at = older(b.get(at, "by=nobody")) {
		if pages++; pages > events/most+3 {
			t.Fatalf("after %d pages there is still one", pages)
		}
	}
	if pages < events/most {
		t.Errorf("%d events are looked at for %d pages", events, pages)
	}
	b.get("/p/huge/history?by=nobody", "Nothing among the newest events. Older ones may match.")
	b.get("/p/huge/history?until=2020-01-01", "There is no such entry.")
	b.get("/p/huge/history?build=%231&kind=run", "Nothing among the newest events.")
	rows, err := csv.NewReader(strings.NewReader(b.get("/p/huge/history.csv?stage=production&kind=run"))).ReadAll()
	if err != nil || len(rows) != builds+1 {
		t.Errorf("the file has %d rows: %v", len(rows), err)
	}
}

var eventIDs = regexp.MustCompile(`<tr id="e(\d+)-`)
