// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// The list can be cut down and sorted by what people look for.
func TestHome(t *testing.T) {
	at := func(days int) pipeline.Build {
		return pipeline.Build{CreatedAt: time.Date(2026, 1, 1+days, 0, 0, 0, 0, time.UTC)}
	}
	all := []homeRow{
		{Name: "a", Waits: 1}, {Name: "b", Waits: 3, Unreleased: 2, Oldest: at(9)}, {Name: "c", Unreleased: 1, Oldest: at(2), Failing: []failing{{Stage: "commit"}}},
	}
	for query, want := range map[[2]string]string{
		{"", ""}: "a b c", {"person", ""}: "a b", {"failing", ""}: "c", {"unreleased", "oldest"}: "c b", {"", "oldest"}: "c b a", {"", "waits"}: "b a c",
	} {
		var rows []homeRow
		for _, r := range all {
			if r.shown(query[0]) {
				rows = append(rows, r)
			}
		}
		sortHome(rows, query[1])
		var got []string
		for _, r := range rows {
			got = append(got, r.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

// A pipeline's oldest unreleased change is the first behind what each production stage has.
func TestUnreleased(t *testing.T) {
	st := &pipeline.State{
		Pipeline: pipeline.Pipeline{Name: "shop"}, Builds: map[string]pipeline.Build{}, Current: map[string]pipeline.Current{}, Stages: map[string]pipeline.Stage{},
	}
	for i := range 6 {
		id := fmt.Sprint("b-", i)
		st.Builds[id] = pipeline.Build{ID: id, Order: int64(i + 1)}
	}
	for _, name := range []string{"east", "west"} {
		st.Stages[name] = pipeline.Stage{Pipeline: "shop", Name: name, Type: pipeline.TypeProduction}
	}
	check := func(oldest string, n int) {
		t.Helper()
		if row := homeRowOf(st); row.Oldest.ID != oldest || row.Unreleased != n {
			t.Errorf("%q is the oldest of %d, want %q of %d", row.Oldest.ID, row.Unreleased, oldest, n)
		}
	}
	check("b-0", 6)
	st.Current["east"] = pipeline.Current{Stage: "east", Build: "b-4"}
	check("b-5", 1)
	st.Current["west"] = pipeline.Current{Stage: "west", Build: "b-2"}
	check("b-3", 3)
	st.Stages = map[string]pipeline.Stage{"commit": {Pipeline: "shop", Name: "commit", Type: pipeline.TypeCommit}}
	check("", 0)
}

// The page of images has those that a search finds, fifty at a time.
func TestImagePages(t *testing.T) {
	var all []report.ImageUse
	for i := range 120 {
		all = append(all, report.ImageUse{Image: pipeline.Image{ID: fmt.Sprintf("img-%03d", i), Name: []string{"base", "acceptance"}[i%2]}, Uses: []string{fmt.Sprint("build b-", i)}})
	}
	for query, want := range map[[2]string]string{
		{"", ""}: "1-50 of 120, -, 2, img-000", {"", "3"}: "101-120 of 120, 2, -, img-100", {"", "99"}: "101-120 of 120, 2, -, img-100", {"", "-1"}: "1-50 of 120, -, 2, img-000",
		{"ACCEPTANCE", "2"}: "51-60 of 60, 1, -, img-101", {"base b-118", ""}: "1-1 of 1, -, -, img-118", {"none", ""}: "0-0 of 0, -, -, ",
	} {
		var p imagesPage
		p.choose(all, query[0], query[1])
		first := ""
		if len(p.Images) > 0 {
			first = p.Images[0].ID
		}
		got := strings.ReplaceAll(fmt.Sprintf("%d-%d of %d, %d, %d, %s", p.From, p.To, p.Found, p.Newer, p.Older, first), ", 0,", ", -,")
		if got = strings.ReplaceAll(got, ", 0,", ", -,"); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}
