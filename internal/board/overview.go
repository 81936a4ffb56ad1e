// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

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
	type row struct {
		Name     string
		Stages   []draw.Node
		Waits    int // for people
		Produces string
	}
	names := slices.Sorted(maps.Keys(states))
	applies, err := b.Engine.Reports.AppliesOf(r.Context(), names...)
	if err != nil {
		return err
	}
	rows := []row{}
	for _, name := range names {
		st := states[name]
		at := row{Name: name, Waits: len(waits(b.Engine.As(s.person), st, applies[name].Watched))}
		for _, n := range draw.GraphOf(st).Nodes {
			at.Stages = append(at.Stages, n)
			if st.Stages[n.Name].Persistent() {
				at.Produces = n.Build
			}
		}
		rows = append(rows, at)
	}
	b.show(w, s, http.StatusOK, "home", view{Title: "Pipelines", Live: live, Body: rows})
	return nil
}

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
	if body.Map, err = b.valueStream(r.Context(), st, s.person); err != nil {
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

// valueStream is the map: a card for each image and stage, from left to right as the
// pipeline wires them.
type valueStream struct {
	Cards         []card
	Edges         []draw.Edge
	Width, Height int
}

// card is a stage, or an image, of the map.
type card struct {
	draw.Node
	report.StageView
	Column, Row int // in the grid, from 1; a card is two rows high
	CurrentTone draw.Tone
	NextTone    draw.Tone
	Holds       pipeline.Build // the current one
	Comes       pipeline.Build // the next one
	Note        string         // why it has not come yet
	Pin         string
	Buttons     []button
}

// mapGrid is how the map's cards lie, as the style sheet has them.
var mapGrid = draw.Grid{Width: 204, Height: 212, ColumnGap: 36, RowGap: 18}

func (b *Board) valueStream(ctx context.Context, st *pipeline.State, who pipeline.Person) (valueStream, error) {
	views, err := b.Engine.Reports.Views(ctx, st)
	if err != nil {
		return valueStream{}, err
	}
	byName := make(map[string]report.StageView, len(views))
	for _, v := range views {
		byName[v.Name] = v
	}
	g, e := draw.GraphOf(st), b.Engine.As(who)
	m := valueStream{Edges: mapGrid.Edges(g)}
	m.Width, m.Height = mapGrid.Size(g)
	for _, n := range g.Nodes {
		c := cardOf(st, byName[n.Name])
		c.Node, c.Column, c.Row = n, n.Column+1, g.HalfRow(n)+1
		c.Node.Tone = draw.ToneOf(c.View)
		if s, ok := st.Stages[n.Name]; ok {
			c.Pin = s.Pin
			c.Buttons = append(buttons(e, st, c.View), moreButtons(e, st, c.View)...)
			c.Buttons = append(c.Buttons, button{Label: "History", Page: historyPath(st.Pipeline.Name, n.Name)})
		}
		m.Cards = append(m.Cards, c)
	}
	return m, nil
}

// cardOf returns the facts of a card: what the stage is at, and what comes next.
func cardOf(st *pipeline.State, v report.StageView) card {
	c := card{
		StageView: v, CurrentTone: draw.ToneOfCurrent(v.View), NextTone: draw.ToneOfNext(v.Next), Holds: st.Builds[v.Current.Build], Comes: st.Builds[v.Next.Build],
		Note: reason.Next(v.Next, false), // there are buttons
	}
	if v.Next.Kind == gate.NextFailed { // the word for it says that it failed
		c.Note = pipeline.FirstLine(v.Run.Error)
	}
	return c
}

// Says returns the word for what the stage is at.
func (c card) Says() string {
	env := c.Current.Environment
	switch {
	case c.Current.Build == "" && c.Current.Image == "":
		return "no build yet"
	case c.CurrentTone == "serving":
		return "serving"
	case c.CurrentTone == "failed" && env == nil:
		return "down"
	case c.CurrentTone == "failed":
		return "degraded"
	case c.CurrentTone == "person":
		return "undecided"
	case c.Current.Image != "":
		return "baked"
	}
	return "current"
}

// NextSays returns the word for what comes next.
func (c card) NextSays() string {
	says := map[gate.NextKind]string{
		gate.NextRunning: "running", gate.NextFailed: "failed", gate.NextDecision: "a decision", gate.NextPromotion: "ready to promote",
		gate.NextPromoted: "promoted", gate.NextApply: "the next apply", gate.NextUpstream: "upstream", gate.NextBuild: "a build from upstream", gate.NextNewer: "a newer build",
		gate.NextNever: "nothing", gate.NextPaused: "paused", gate.NextRefused: "its pin is refused",
	}
	if c.Next.Kind == gate.NextUpstream && len(c.Next.Upstream) == 1 {
		return "after " + c.Next.Upstream[0].Stage
	}
	return says[c.Next.Kind]
}

// Endpoint returns where the current build can be seen; empty if there is no such place.
func (c card) Endpoint() string {
	if c.Current.Environment == nil {
		return ""
	}
	return c.Current.Environment.Endpoint
}

// Health says how many instances serve; empty if that is not known.
func (c card) Health() string {
	env := c.Current.Environment
	if env == nil || env.Purpose != pipeline.ForStage || env.Instances == 0 || env.Healthy == 0 && env.Status == pipeline.EnvRunning {
		return ""
	}
	return fmt.Sprintf("healthy %d/%d", env.Healthy, env.Instances)
}

// environment is one of a list.
type environment struct {
	pipeline.Environment
	Mine    bool // may be extended and ended
	Failure *failure
}

// serving lists the environments of a pipeline: those of stages, then people's.
func (b *Board) serving(st *pipeline.State, who pipeline.Person) []environment {
	failures, rows := b.failures(), []environment{}
	for _, env := range st.Environments {
		row := environment{Environment: env}
		if env.Purpose == pipeline.ForPerson {
			row.Mine = st.Pipeline.Authorization.Owns(env.Owner, who) || st.Pipeline.Authorization.Allows(pipeline.RightLaunch, who)
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
	Stages          []string
	Rows            []buildRow
	Search, Outcome string
	Outcomes        []pipeline.Outcome // to choose from
	Page, Pages     int
	Found, All      int
	Newer, Older    int // pages; 0 for none
	From, To        int
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
		Search: first("q"), Outcome: first("outcome"), All: len(st.Builds),
		Outcomes: []pipeline.Outcome{pipeline.OutcomeWaiting, pipeline.OutcomePassed, pipeline.OutcomeFailed, pipeline.OutcomeRejected, pipeline.OutcomeSuperseded, pipeline.OutcomeOverridden},
	}
	var stages []pipeline.Stage
	for _, s := range st.StagesInOrder() {
		if s.TakesBuild() {
			stages = append(stages, s)
			t.Stages = append(t.Stages, s.Name)
		}
	}
	page, _ := strconv.Atoi(first("page"))
	page = min(max(page, 1), t.All/rowsPerPage+1)
	var found []pipeline.Build
	t.Found = t.All
	for build := range st.NewestBuilds() {
		if t.Search == "" && t.Outcome == "" && len(found) == page*rowsPerPage {
			break // the rest is on later pages, and how many there are is known
		}
		if matches(build, t.Search) && fared(st, stages, build.ID, pipeline.Outcome(t.Outcome)) {
			found = append(found, build)
		}
	}
	if t.Search != "" || t.Outcome != "" {
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

// fared reports whether a build has an outcome at some stage; any does for "".
func fared(st *pipeline.State, stages []pipeline.Stage, build string, outcome pipeline.Outcome) bool {
	return outcome == "" || slices.ContainsFunc(stages, func(s pipeline.Stage) bool { return st.Outcome(s, build) == outcome })
}
