// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"cmp"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Node is a stage or a baked image.
type Node struct {
	Name   string
	Kind   string // the stage's type, or "image"
	Status gate.Status
	Tone   Tone     // its colour
	Build  string   // the current build, by its number if it has one; an image's ID
	Note   string   // what it waits for, or why it failed; may be empty
	After  []string // names of the nodes before it
	Folded []string // names of those that it stands for, itself the first; nil where it stands for itself

	Column, Row int // where it is drawn, from the left and from the top of its column
}

// Graph is a pipeline to be drawn.
type Graph struct {
	Title string
	Nodes []Node // each behind those it comes after
}

// GraphOf returns the graph of a pipeline: its baked images, and its stages as they are wired.
func GraphOf(st *pipeline.State) Graph {
	g := Graph{Title: st.Pipeline.Name}
	bases := map[string]string{} // image nodes by image
	for _, v := range gate.Now(st).Views() {
		g.Nodes = append(g.Nodes, nodeOf(st, v, bases))
	}
	g.place()
	return g
}

// nodeOf returns the node of a stage, or of a baked image, which it notes in bases.
func nodeOf(st *pipeline.State, v gate.View, bases map[string]string) Node {
	n := Node{Name: v.Name, Kind: "image", Status: v.Status, Tone: ToneOf(v), Build: v.Current.Image, Note: reason.Next(v.Next, true)}
	s, ok := st.Stages[v.Name]
	if !ok {
		bases[n.Build] = n.Name
		return n
	}
	n.Kind, n.Build, n.After = string(s.Type), present.Build(st.Builds[v.Current.Build].Number, v.Current.Build), s.Upstream()
	if base := bases[s.BaseImage]; base != "" && s.BaseImage != "" {
		n.After = append(n.After, base)
	}
	return n
}

// place puts each node into a column, right of all nodes that it comes after, and into a row
// near theirs.
func (g *Graph) place() {
	at := map[string]*Node{}
	rows := map[int]int{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		at[n.Name] = n
		for _, up := range n.After {
			if u := at[up]; u != nil {
				n.Column = max(n.Column, u.Column+1)
			}
		}
		n.Row = rows[n.Column]
		rows[n.Column]++
	}
	for column := range len(rows) { // from the left, as what is before decides
		var nodes []*Node
		for i := range g.Nodes {
			if g.Nodes[i].Column == column {
				nodes = append(nodes, &g.Nodes[i])
			}
		}
		middle := func(n *Node) float64 { // of those before it
			sum, count := 0.0, 0.0
			for _, up := range n.After {
				if u := at[up]; u != nil {
					sum, count = sum+float64(u.Row), count+1
				}
			}
			return sum / max(count, 1)
		}
		slices.SortStableFunc(nodes, func(a, b *Node) int { return cmp.Compare(middle(a), middle(b)) })
		for i, n := range nodes {
			n.Row = i
		}
	}
}

// Size returns the number of columns and of rows.
func (g Graph) Size() (columns, rows int) {
	for _, n := range g.Nodes {
		columns, rows = max(columns, n.Column+1), max(rows, n.Row+1)
	}
	return columns, rows
}

// InRows returns the nodes of each column from the top to the bottom, by columns.
func (g Graph) InRows() []Node {
	return slices.SortedFunc(slices.Values(g.Nodes), func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Column, b.Column), cmp.Compare(a.Row, b.Row))
	})
}

// HalfRow returns how many half rows a node is below the top, as each column is centred.
func (g Graph) HalfRow(n Node) int {
	_, rows := g.Size()
	for _, other := range g.Nodes {
		if other.Column == n.Column {
			rows--
		}
	}
	return rows + 2*n.Row
}

// Edges calls f for each pair of nodes of which the second comes after the first.
func (g Graph) Edges(f func(from, to int)) {
	index := map[string]int{}
	for i, n := range g.Nodes {
		index[n.Name] = i
	}
	for to, n := range g.Nodes {
		for _, up := range n.After {
			if from, ok := index[up]; ok {
				f(from, to)
			}
		}
	}
}
