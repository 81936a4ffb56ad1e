// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
)

// homePage lists pipelines. What it asks for is in its address.
type homePage struct {
	Rows                []homeRow
	All                 int
	Search, Shown, Sort string
	Shows, Sorts        []choice
}

// choice is one of a list, as the address and as the page has it.
type choice struct{ Value, Label string }

// What the first page can be asked for. The first of each is what it does unasked.
var (
	homeShows = []choice{{"", "All pipelines"}, {"person", "Needs a person"}, {"failing", "Failing"}, {"unreleased", "Has unreleased changes"}}
	homeSorts = []choice{{"", "By name"}, {"waits", "Most waiting first"}, {"oldest", "Oldest unreleased change first"}}
)

// homeRow is a pipeline at a glance.
type homeRow struct {
	Name       string
	Stages     []draw.Node
	Waits      int // for people
	Failing    []pipeline.RunSummary
	Serves     pipeline.Build // in production; the zero Build for none
	Oldest     pipeline.Build // of those that production has not had; the zero Build for none
	Unreleased int
}

// home lists the pipelines.
func (b *Board) home(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindHome, r)
	if err != nil {
		return err
	}
	states, err := b.Engine.States(r.Context())
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(states))
	applies, err := b.Engine.Reports.AppliesOf(r.Context(), names...)
	if err != nil {
		return err
	}
	one := func(name string, from []choice) string {
		value := r.URL.Query().Get(name)
		if !slices.ContainsFunc(from, func(c choice) bool { return c.Value == value }) {
			return ""
		}
		return value
	}
	page := homePage{
		All: len(names), Search: strings.TrimSpace(r.URL.Query().Get("q")), Shown: one("show", homeShows), Sort: one("sort", homeSorts),
		Shows: homeShows, Sorts: homeSorts,
	}
	for _, name := range names {
		if !strings.Contains(strings.ToLower(name), strings.ToLower(page.Search)) {
			continue
		}
		row := homeRowOf(states[name])
		row.Waits = len(waits(b.Engine.As(s.person), states[name], applies[name].Watched))
		if row.shown(page.Shown) {
			page.Rows = append(page.Rows, row)
		}
	}
	sortHome(page.Rows, page.Sort)
	b.show(w, s, http.StatusOK, "home", view{Title: "Pipelines", Live: live, Body: page})
	return nil
}

// homeRowOf returns a pipeline's row, but for what waits.
func homeRowOf(st *pipeline.State) homeRow {
	row := homeRow{Name: st.Pipeline.Name, Stages: draw.GraphOf(st).Nodes}
	plan := gate.Now(st)
	behind, production := int64(-1), false // the order of the oldest build that production has
	for _, m := range plan.Moves() {
		if v := plan.View(m.Stage.Name); v.Next.Kind == gate.NextFailed {
			row.Failing = append(row.Failing, v.Next.Run)
		}
		if m.Stage.Type != pipeline.TypeProduction {
			continue
		}
		production = true
		if build, ok := st.Builds[st.Current[m.Stage.Name].Build]; ok && (behind < 0 || build.Order < behind) {
			behind, row.Serves = build.Order, build
		}
	}
	if !production {
		return row
	}
	for build := range st.NewestBuilds() {
		if build.Order <= behind {
			break
		}
		row.Oldest = build
		row.Unreleased++
	}
	return row
}

// shown reports whether a row is one of those that are asked for.
func (r homeRow) shown(show string) bool {
	switch show {
	case "person":
		return r.Waits > 0
	case "failing":
		return len(r.Failing) > 0
	case "unreleased":
		return r.Unreleased > 0
	}
	return true
}

// sortHome sorts rows, which are by name.
func sortHome(rows []homeRow, by string) {
	slices.SortStableFunc(rows, func(x, y homeRow) int {
		switch by {
		case "waits":
			return cmp.Compare(y.Waits, x.Waits)
		case "oldest":
			if none := cmp.Compare(min(y.Unreleased, 1), min(x.Unreleased, 1)); none != 0 {
				return none
			}
			return x.Oldest.CreatedAt.Compare(y.Oldest.CreatedAt)
		}
		return 0
	})
}
