// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"fmt"
	"strings"
	"testing"

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
