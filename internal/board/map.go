// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// valueStream is the map: a card for each image and stage, from left to right as the
// pipeline wires them. Each column is centred.
type valueStream struct {
	Columns       []column
	Edges         []draw.Edge
	Width, Height int
	Size          string // how wide the cards are, as the style sheet has it
	Unfolded      bool   // stages that could be one card are not, as the address wants
	Refold        template.URL
}

// column is what is at the same distance from the beginning.
type column struct {
	Cards  []card
	Pinned bool // always in sight
}

// card is a stage, or an image, of the map.
type card struct {
	draw.Node
	report.StageView
	Short       string // its name, for two lines
	CurrentTone draw.Tone
	NextTone    draw.Tone
	Holds       pipeline.Build // the current one
	Comes       pipeline.Build // the next one
	Note        string         // why it has not come yet
	Pin         string
	Buttons     []button
	Unfold      template.URL // the address at which the stages of a folded card are open
	Idle        int          // of those: the ones that no build has passed
}

// mapSizes are how the map's cards lie, as the style sheet has them: nine columns fit a laptop, and
// what has more is scrolled.
var mapSizes = []struct {
	name    string
	columns int // at most
	letters int // of a name
	draw.Grid
}{
	{"size-6", 6, 34, draw.Grid{Width: 180, Height: 112, ColumnGap: 28, RowGap: 14}},
	{"size-7", 7, 32, draw.Grid{Width: 175, Height: 112, ColumnGap: 24, RowGap: 14}},
	{"size-8", 8, 26, draw.Grid{Width: 150, Height: 112, ColumnGap: 24, RowGap: 14}},
	{"size-9", 9, 22, draw.Grid{Width: 135, Height: 112, ColumnGap: 20, RowGap: 14}},
	{"size-more", 1 << 30, 26, draw.Grid{Width: 150, Height: 112, ColumnGap: 24, RowGap: 14}},
}

// A map that is larger than this folds what needs nobody: as many neighbours at least.
const (
	foldColumns = 9
	foldRows    = 8
	foldLeast   = 3
)

// openQuery is what the address says of what is not folded: the names of stages in it.
const openQuery = "open"

// folds folds a graph that is large. It reports whether the address keeps some of it open.
func folds(g draw.Graph, st *pipeline.State, views map[string]report.StageView, open []string) (draw.Graph, bool) {
	if columns, rows := g.Size(); columns <= foldColumns && rows <= foldRows {
		return g, false
	}
	may := func(n draw.Node) bool {
		v := views[n.Name]
		quiet := v.View.Signal == gate.SignalNothing && v.Current.Override == nil
		return quiet && (v.Status == gate.StatusPassed || v.Status == gate.StatusIdle) && st.Stages[n.Name].Type != pipeline.TypeProduction
	}
	folded := g.Fold(foldLeast, may, func(n draw.Node) bool { return slices.Contains(open, n.Name) })
	whole := g.Fold(foldLeast, may, func(draw.Node) bool { return false })
	return folded, len(folded.Nodes) > len(whole.Nodes)
}

// unfolded is an address of the board on which stages are open: those of the query, and others.
func unfolded(query url.Values, more ...string) template.URL {
	q := maps.Clone(query)
	q[openQuery] = append(slices.Clone(q[openQuery]), more...)
	if len(more) == 0 {
		q.Del(openQuery)
	}
	return template.URL(q.Encode()) // encoded already
}

func (b *Board) valueStream(ctx context.Context, st *pipeline.State, who pipeline.Person, query url.Values) (valueStream, error) {
	views, err := b.Engine.Reports.Views(ctx, st)
	if err != nil {
		return valueStream{}, err
	}
	byName := make(map[string]report.StageView, len(views))
	for _, v := range views {
		byName[v.Name] = v
	}
	e := b.Engine.As(who)
	g, open := folds(draw.GraphOf(st), st, byName, query[openQuery])
	columns, _ := g.Size()
	size := mapSizes[0]
	for _, next := range mapSizes[1:] {
		if columns > size.columns {
			size = next
		}
	}
	m := valueStream{Columns: make([]column, columns), Edges: size.Edges(g), Size: size.name, Unfolded: open, Refold: unfolded(query)}
	m.Width, m.Height = size.Grid.Size(g)
	for _, n := range g.InRows() {
		c := cardOf(st, byName[n.Name])
		c.Node, c.Short = n, present.FitMiddle(n.Name, size.letters)
		c.Node.Tone = draw.ToneOf(c.View)
		if len(n.Folded) > 0 {
			c.fold(byName)
			c.Unfold = unfolded(query, n.Folded[0], n.Folded[len(n.Folded)-1])
		} else if s, ok := st.Stages[n.Name]; ok {
			c.Pin = s.Pin
			c.Buttons = append(buttons(e, st, c.View), moreButtons(e, st, c.View)...)
			c.Buttons = append(c.Buttons, button{Label: "History", Page: historyPath(st.Pipeline.Name, n.Name)})
		}
		m.Columns[n.Column].Cards = append(m.Columns[n.Column].Cards, c)
	}
	m.pin(st)
	return m, nil
}

// fold makes a card stand for several stages.
func (c *card) fold(views map[string]report.StageView) {
	for _, name := range c.Folded {
		if views[name].Status == gate.StatusIdle {
			c.Idle++
		}
	}
}

// Folds says what a card stands for: "12 stages passed".
func (c card) Folds() string {
	stages := present.Count(len(c.Folded), "stage")
	switch passed := len(c.Folded) - c.Idle; {
	case c.Idle == 0:
		return stages + " passed"
	case passed == 0:
		return stages + " idle"
	default:
		return fmt.Sprintf("%s: %d passed, %d idle", stages, passed, c.Idle)
	}
}

// pin keeps production in sight: the last column that has a stage of it, or else the last one.
func (m *valueStream) pin(st *pipeline.State) {
	at := len(m.Columns) - 1
	for i, column := range m.Columns {
		for _, c := range column.Cards {
			if st.Stages[c.Node.Name].Type == pipeline.TypeProduction {
				at = i
			}
		}
	}
	if at >= 0 {
		m.Columns[at].Pinned = true
	}
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

// Cut reports whether the name is not whole.
func (c card) Cut() bool { return c.Short != c.Node.Name }

// Drifted reports whether somebody else has changed the infrastructure of the stage.
func (c card) Drifted() bool { return slices.ContainsFunc(c.Drifts(), pipeline.Drift.Any) }

// News reports whether another build comes than the current one.
func (c card) News() bool { return c.Comes.ID != "" && c.Comes.ID != c.Holds.ID }

// Says returns the word for what the stage is at.
func (c card) Says() string {
	env := c.Current.Environment
	switch {
	case c.Current.Build == "" && c.Current.Image == "":
		return "no build yet"
	case c.CurrentTone == "serving":
		return "serving"
	case c.CurrentTone == "failed" && env == nil && !c.Stage.Spread():
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
		gate.NextRunning: "running", gate.NextFailed: "failed", gate.NextDecision: "a decision", gate.NextPromotion: "a promotion",
		gate.NextPromoted: "promoted", gate.NextApply: "the next apply", gate.NextUpstream: "upstream", gate.NextBuild: "a build from upstream", gate.NextNewer: "a newer build",
		gate.NextNever: "nothing", gate.NextPaused: "paused", gate.NextRefused: "its pin is refused",
		gate.NextElsewhere: "another pipeline",
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
	if c.Stage.Spread() {
		return reason.Serving(c.Current.Targets) + " targets"
	}
	env := c.Current.Environment
	if env == nil || env.Purpose != pipeline.ForStage || env.Instances == 0 || env.Healthy == 0 && env.Status == pipeline.EnvRunning {
		return ""
	}
	return fmt.Sprintf("%d/%d", env.Healthy, env.Instances)
}
