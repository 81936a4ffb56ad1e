// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"fmt"
	"slices"
)

// Grid is how the nodes of a graph lie in a picture: each is a box, the columns are from left
// to right, and each column is centred. All is in pixels.
type Grid struct {
	Width, Height     int // of a box
	ColumnGap, RowGap int // between two
}

// Size returns how much room a graph takes. Edges may pass half a gap above and below.
func (m Grid) Size(g Graph) (width, height int) {
	columns, rows := g.Size()
	return columns*m.Width + max(columns-1, 0)*m.ColumnGap, rows*m.Height + max(rows-1, 0)*m.RowGap
}

// Place returns where the box of a node begins.
func (m Grid) Place(g Graph, n Node) (x, y int) {
	return n.Column * (m.Width + m.ColumnGap), g.HalfRow(n) * (m.Height + m.RowGap) / 2
}

// Edge is an arrow from a box to one that comes after it, as two paths of SVG.
type Edge struct{ Line, Head string }

// Edges draws the arrows between the boxes. An arrow that passes other columns goes around
// their boxes.
func (m Grid) Edges(g Graph) (all []Edge) {
	_, rows := g.Size()
	middle := func(n Node) (x, y int) {
		x, y = m.Place(g, n)
		return x, y + m.Height/2
	}
	g.Edges(func(from, to int) {
		a, b := g.Nodes[from], g.Nodes[to]
		x1, y1 := middle(a)
		x2, y2 := middle(b)
		x1 += m.Width
		line := fmt.Sprintf("M%d %d", x1, y1)
		if b.Column-a.Column > 1 {
			lane := m.lane(y1, y2, rows, func(y int) bool {
				return slices.ContainsFunc(g.Nodes, func(n Node) bool {
					_, at := middle(n)
					return n.Column > a.Column && n.Column < b.Column && y >= at-m.Height/2 && y <= at+m.Height/2
				})
			})
			line += fmt.Sprintf("C%d %d %d %d %d %dH%d", x1+m.ColumnGap/2, y1, x1+m.ColumnGap/2, lane, x1+m.ColumnGap, lane, x2-m.ColumnGap)
			x1, y1 = x2-m.ColumnGap, lane
		}
		line += fmt.Sprintf("C%d %d %d %d %d %d", x1+m.ColumnGap/2, y1, x2-m.ColumnGap/2, y2, x2-7, y2)
		all = append(all, Edge{Line: line, Head: fmt.Sprintf("M%d %dl-8 -4v8z", x2, y2)})
	})
	return all
}

// lane returns the height nearest to two others at which nothing is covered: one of the two,
// or in a gap between rows, above the first and below the last included.
func (m Grid) lane(y1, y2, rows int, covered func(y int) bool) int {
	heights := []int{y1, y2}
	for half := range 2*rows + 1 {
		heights = append(heights, half*(m.Height+m.RowGap)/2-m.RowGap/2)
	}
	away := func(y int) int { return max(y1-y, y-y1) + max(y2-y, y-y2) }
	best := heights[len(heights)-1] // below all there is nothing
	for _, y := range heights {
		if !covered(y) && away(y) < away(best) {
			best = y
		}
	}
	return best
}
