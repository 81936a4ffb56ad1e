// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// overview is the first page of a pipeline.
type overview struct {
	Map          valueStream
	Waits        []wait
	UnderWay     []wait // promotions
	Applies      report.Applies
	Applier      string // who applies, in words
	Builds       buildTable
	Environments []environment
	Current      []pipeline.Pause
}

func (b *Board) overview(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindBoard, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	body := overview{Builds: builds(st, r.URL.Query()), Environments: b.serving(st, s.person)}
	if body.Map, err = b.valueStream(r.Context(), st, s.person, r.URL.Query()); err != nil {
		return err
	}
	if body.Applies, err = b.Engine.Reports.Applies(r.Context(), st.Pipeline.Name); err != nil {
		return err
	}
	e := b.Engine.As(s.person)
	body.Waits, body.UnderWay = waits(e, st, body.Applies.Watched), underWay(e, st, body.Applies.Watched)
	body.Applier = ask.Applier(body.Applies, st.Pipeline.Owner, st.Pipeline.Made.Host)
	body.Current = slices.SortedFunc(maps.Values(st.Pauses), func(a, c pipeline.Pause) int { return strings.Compare(a.Stage, c.Stage) })
	b.show(w, s, http.StatusOK, "overview", view{Title: st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "board", Live: live, Body: body, State: st})
	return nil
}

// environment is one of a list.
type environment struct {
	pipeline.Environment
	Of      pipeline.Build // that runs in it
	Buttons []button       // of a person's
	Failure *failure
}

// serving lists the environments of a pipeline: those of stages, then people's.
func (b *Board) serving(st *pipeline.State, who pipeline.Person) []environment {
	failures, rows := b.failures(), []environment{}
	for _, env := range st.Environments {
		row := environment{Environment: env, Of: st.Builds[env.Build]}
		if env.Purpose == pipeline.ForPerson {
			row.Buttons = environmentButtons(st, env, who)
			if f, ok := failures[workKey(st.Pipeline.Name, env.Name)]; ok {
				row.Failure = &f
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(x, y environment) int {
		mine := func(e environment) int {
			if e.Purpose == pipeline.ForPerson {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(mine(x), mine(y)), strings.Compare(x.Name, y.Name), strings.Compare(x.ID, y.ID))
	})
	return rows
}

// buildTable is a page of a pipeline's builds.
type buildTable struct {
	buildFilter
	Stages       []string
	Rows         []buildRow
	Outcomes     []pipeline.Outcome // to choose from
	Page, Pages  int
	Found, All   int
	Newer, Older int // pages; 0 for none
	From, To     int
}

// buildFilter is which builds a table lists, as its address says.
type buildFilter struct {
	Search, Stage, Outcome, Author, Since string
	Open                                  []string // what the map above the table does not fold

	stages []pipeline.Stage // at which the outcome counts
	since  time.Time
	Zone   zone
	BadDay bool // Since is no day of a zone, and counts for nothing
}

// filterOf reads a filter from the address. An outcome is one at any of the stages unless a
// stage is named.
func filterOf(first func(string) string, stages []pipeline.Stage) buildFilter {
	f := buildFilter{Search: first("q"), Stage: first("stage"), Outcome: first("outcome"), Author: first("author"), Since: first("since"), stages: stages}
	if f.Stage != "" {
		f.stages = slices.DeleteFunc(slices.Clone(stages), func(s pipeline.Stage) bool { return s.Name != f.Stage })
	}
	var wrong, noDay error
	if f.Zone, wrong = zoneOf(first("zone"), f.Since != ""); f.Since != "" {
		f.since, noDay = f.Zone.day(f.Since, 0)
		if f.BadDay = wrong != nil || noDay != nil; f.BadDay {
			f.since = time.Time{}
		}
	}
	return f
}

// Any reports whether the filter leaves anything out.
func (f buildFilter) Any() bool {
	return f.Search != "" || f.Stage != "" || f.Outcome != "" || f.Author != "" || f.Since != ""
}

// has reports whether a build is one that the filter lets through.
func (f buildFilter) has(st *pipeline.State, b pipeline.Build) bool {
	return matches(b, f.Search) && strings.Contains(strings.ToLower(b.Revision.Author), strings.ToLower(f.Author)) &&
		!b.CreatedAt.Before(f.since) && f.fared(st, b.ID)
}

// fared reports whether a build has the outcome at one of the stages; where only a stage is
// named, whether it has any there.
func (f buildFilter) fared(st *pipeline.State, build string) bool {
	return f.Outcome == "" && f.Stage == "" || slices.ContainsFunc(f.stages, func(s pipeline.Stage) bool {
		outcome := string(st.Outcome(s, build))
		return outcome != "" && (f.Outcome == "" || outcome == f.Outcome)
	})
}

// Query is the address of a page of what the filter lets through.
func (f buildFilter) Query(page int) template.URL {
	q := url.Values{}
	for name, value := range map[string]string{"q": f.Search, "stage": f.Stage, "outcome": f.Outcome, "author": f.Author, "since": f.Since, "zone": f.Zone.Name, "page": strconv.Itoa(page)} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(f.Open) > 0 {
		q[openQuery] = f.Open
	}
	return template.URL(q.Encode()) // encoded already
}

// buildRow is a build with how it fared.
type buildRow struct {
	pipeline.Build
	Cells  []cell
	Serves []string // persistent stages whose current build it is
}

type cell struct {
	Stage   string
	Outcome pipeline.Outcome
	Run     string
	Running bool
}

// mark returns the mark of a build at a stage.
func (c cell) mark() present.Mark {
	if c.Running {
		return present.MarkOf(string(pipeline.RunRunning))
	}
	return present.MarkOf(string(c.Outcome))
}

// rowsPerPage is how many builds a page lists.
const rowsPerPage = 50

// builds lists the builds that a query of the page asks for.
func builds(st *pipeline.State, q map[string][]string) buildTable {
	first := func(name string) string { return strings.TrimSpace(strings.Join(q[name], " ")) }
	t := buildTable{
		All:      len(st.Builds),
		Outcomes: []pipeline.Outcome{pipeline.OutcomeWaiting, pipeline.OutcomePassed, pipeline.OutcomeFailed, pipeline.OutcomeRejected, pipeline.OutcomeSuperseded, pipeline.OutcomeOverridden},
	}
	var stages []pipeline.Stage
	for _, s := range st.StagesInOrder() {
		if s.TakesBuild() {
			stages = append(stages, s)
			t.Stages = append(t.Stages, s.Name)
		}
	}
	t.buildFilter = filterOf(first, stages)
	t.Open = q[openQuery]
	page, _ := strconv.Atoi(first("page"))
	page = min(max(page, 1), t.All/rowsPerPage+1)
	var found []pipeline.Build
	t.Found = t.All
	for build := range st.NewestBuilds() {
		if !t.Any() && len(found) == page*rowsPerPage {
			break // the rest is on later pages, and how many there are is known
		}
		if t.has(st, build) {
			found = append(found, build)
		}
	}
	if t.Any() {
		t.Found = len(found)
	}
	t.Pages = max((t.Found+rowsPerPage-1)/rowsPerPage, 1)
	t.Page = min(page, t.Pages)
	if t.Page > 1 {
		t.Newer = t.Page - 1
	}
	if t.Page < t.Pages {
		t.Older = t.Page + 1
	}
	from := (t.Page - 1) * rowsPerPage
	to := min(from+rowsPerPage, len(found))
	t.From, t.To = min(from+1, to), to
	for _, build := range found[from:to] {
		t.Rows = append(t.Rows, rowOf(st, stages, build))
	}
	return t
}

func rowOf(st *pipeline.State, stages []pipeline.Stage, build pipeline.Build) buildRow {
	row := buildRow{Build: build}
	for _, s := range stages {
		c := cell{Stage: s.Name, Outcome: st.Outcome(s, build.ID)}
		if v, ok := st.ResultOf(s, build.ID); ok {
			c.Run = v.ID
		}
		if latest := st.Latest[s.Name]; latest.Status == pipeline.RunRunning && latest.Build == build.ID {
			c.Running, c.Run = true, latest.ID
		}
		if s.Persistent() && st.Current[s.Name].Build == build.ID {
			row.Serves = append(row.Serves, s.Name)
		}
		row.Cells = append(row.Cells, c)
	}
	return row
}

// matches reports whether a build is one that a search means: by its number, ID, commit, author,
// message or artifact, in any case.
func matches(b pipeline.Build, search string) bool {
	for word := range strings.FieldsSeq(strings.ToLower(search)) {
		if n, is := pipeline.ParseBuildNumber(word); is && n == b.Number {
			continue
		}
		hit := slices.ContainsFunc([]string{b.ID, b.Revision.Commit, b.Revision.Author, b.Revision.Message, b.Revision.Ref}, func(s string) bool {
			return strings.Contains(strings.ToLower(s), word)
		})
		if !hit {
			return false
		}
	}
	return true
}
