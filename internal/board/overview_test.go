// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Each load is shown beside the previous one of the same step.
func TestPaired(t *testing.T) {
	of := func(run string, steps ...string) (all []load) {
		for _, s := range steps {
			all = append(all, load{Step: s, Run: run, LoadReport: &pipeline.LoadReport{}})
		}
		return all
	}
	var got []string
	for _, l := range paired(of("now", "expected", "peak", "new"), of("before", "old", "peak", "expected")) {
		got = append(got, l.Step+" "+l.Run)
	}
	if want := "expected now, expected before, peak now, peak before, new now"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}

// A page of builds has its rows, and the ways to those before and after it.
func TestBuildPages(t *testing.T) {
	st := &pipeline.State{Builds: map[string]pipeline.Build{}}
	for i := range 120 {
		id := fmt.Sprintf("b-%010d", i)
		st.Builds[id] = pipeline.Build{ID: id, Order: int64(i + 1), Revision: pipeline.Revision{Message: []string{"even", "odd"}[i%2]}}
	}
	for query, want := range map[string]string{
		"":                    "1/3 found 120 shows 1-50 newer 0 older 2 first b-0000000119",
		"1":                   "1/3 found 120 shows 1-50 newer 0 older 2 first b-0000000119",
		"2":                   "2/3 found 120 shows 51-100 newer 1 older 3 first b-0000000069",
		"3":                   "3/3 found 120 shows 101-120 newer 2 older 0 first b-0000000019",
		"4":                   "3/3 found 120 shows 101-120 newer 2 older 0 first b-0000000019",
		"-1":                  "1/3 found 120 shows 1-50 newer 0 older 2 first b-0000000119",
		"9223372036854775807": "3/3 found 120 shows 101-120 newer 2 older 0 first b-0000000019",
		"2&odd":               "2/2 found 60 shows 51-60 newer 1 older 0 first b-0000000019",
		"1&gone":              "1/1 found 0 shows 0-0 newer 0 older 0 first ",
	} {
		page, search, _ := strings.Cut(query, "&")
		b := builds(st, map[string][]string{"page": {page}, "q": {search}})
		top := ""
		if len(b.Rows) > 0 {
			top = b.Rows[0].ID
		}
		if got := fmt.Sprintf("%d/%d found %d shows %d-%d newer %d older %d first %s", b.Page, b.Pages, b.Found, b.From, b.To, b.Newer, b.Older, top); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

// The filter of builds is in the address, and all its parts count at once.
func TestBuildFilter(t *testing.T) {
	st := &pipeline.State{Builds: map[string]pipeline.Build{}, Stages: map[string]pipeline.Stage{}, Results: map[string][]pipeline.RunSummary{}}
	stages := []pipeline.Stage{{Pipeline: "shop", Name: "commit", Type: pipeline.TypeCommit}, {Pipeline: "shop", Name: "acceptance", Type: pipeline.TypeAcceptance, After: []string{"commit"}}}
	for _, s := range stages {
		st.Stages[s.Name] = s
	}
	for i := range 4 {
		id := fmt.Sprint("b-", i)
		st.Builds[id] = pipeline.Build{ID: id, Order: int64(i + 1), CreatedAt: time.Date(2026, 3, 1+i, 12, 0, 0, 0, time.UTC), Revision: pipeline.Revision{Author: []string{"Ann <ann@example.com>", "Bob"}[i%2]}}
		for j, s := range stages[:1+i/2] {
			status := pipeline.RunPassed
			if i == 3 && j == 1 {
				status = pipeline.RunFailed
			}
			key := pipeline.StageBuild(s.Name, id)
			st.Results[key] = append(st.Results[key], pipeline.RunSummary{ID: "r-" + key, Stage: s.Name, Build: id, Status: status, Digest: s.Digest(st.Pipeline)})
		}
	}
	for query, want := range map[string]string{
		"":                                   "b-3 b-2 b-1 b-0",
		"author=ann":                         "b-2 b-0",
		"since=2026-03-02":                   "b-3 b-2 b-1",
		"since=2026-03-02&author=bob":        "b-3 b-1",
		"since=yesterday":                    "b-3 b-2 b-1 b-0",
		"stage=acceptance":                   "b-3 b-2",
		"outcome=failed":                     "b-3",
		"stage=commit&outcome=failed":        "",
		"stage=acceptance&outcome=passed":    "b-2",
		"stage=none":                         "",
		"stage=commit&outcome=passed&q=ann@": "b-2 b-0",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		table := builds(st, values)
		var got []string
		for _, row := range table.Rows {
			got = append(got, row.ID)
		}
		if strings.Join(got, " ") != want || table.BadDay != strings.Contains(query, "yesterday") || table.Any() != (query != "") {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
		if again, err := url.ParseQuery(string(table.Query(1))); err != nil || again.Get("stage") != values.Get("stage") || again.Get("since") != values.Get("since") {
			t.Errorf("%q: the next page is %q", query, table.Query(1))
		}
	}
}
