// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"fmt"

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
	columns, _ := g.Size()
	size := mapSizes[0]
	for _, next := range mapSizes[1:] {
		if columns > size.columns {
			size = next
		}
	}
	m := valueStream{Columns: make([]column, columns), Edges: size.Edges(g), Size: size.name}
	m.Width, m.Height = size.Grid.Size(g)
	for _, n := range g.InRows() {
		c := cardOf(st, byName[n.Name])
		c.Node, c.Short = n, present.FitMiddle(n.Name, size.letters)
		c.Node.Tone = draw.ToneOf(c.View)
		if s, ok := st.Stages[n.Name]; ok {
			c.Pin = s.Pin
			c.Buttons = append(buttons(e, st, c.View), moreButtons(e, st, c.View)...)
			c.Buttons = append(c.Buttons, button{Label: "History", Page: historyPath(st.Pipeline.Name, n.Name)})
		}
		m.Columns[n.Column].Cards = append(m.Columns[n.Column].Cards, c)
	}
	m.pin(st)
	return m, nil
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
		gate.NextRunning: "running", gate.NextFailed: "failed", gate.NextDecision: "a decision", gate.NextPromotion: "a promotion",
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
	return fmt.Sprintf("%d/%d", env.Healthy, env.Instances)
}
