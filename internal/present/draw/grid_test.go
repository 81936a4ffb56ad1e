// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"fmt"
	"strings"
	"testing"
)

// A line that passes a column goes above, below or between the boxes there.
func TestEdges(t *testing.T) {
	node := func(name string, column, row int, after ...string) Node {
		return Node{Name: name, Column: column, Row: row, After: after}
	}
	m := Grid{Width: 204, Height: 212, ColumnGap: 36, RowGap: 18}
	for name, nodes := range map[string][]Node{
		"one row":     {node("a", 0, 0), node("b", 1, 0, "a"), node("c", 2, 0, "a", "b")},
		"between two": {node("a", 0, 0), node("b", 1, 0, "a"), node("c", 1, 1, "a"), node("d", 2, 0, "a", "b", "c")},
		"past a shorter column": {
			node("a", 0, 0), node("b", 0, 1), node("c", 1, 0, "a", "b"), node("d", 2, 0, "a", "c"), node("e", 2, 1, "c"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := Graph{Nodes: nodes}
			_, rows := g.Size()
			var passing []string
			for _, edge := range m.Edges(g) {
				if _, after, ok := strings.Cut(edge.Line, "H"); ok {
					_, before, _ := strings.Cut(strings.TrimSuffix(edge.Line, "H"+after), "C")
					fields := strings.Fields(before)
					passing = append(passing, fields[len(fields)-1])
				}
			}
			if len(passing) != 1 {
				t.Fatalf("%d lines pass a column", len(passing))
			}
			var y int
			if _, err := fmt.Sscan(passing[0], &y); err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				_, top := m.Place(g, n)
				if n.Column == 1 && y >= top && y <= top+m.Height {
					t.Errorf("the line at %d is behind %s", y, n.Name)
				}
			}
			if y < -m.RowGap || y > rows*(m.Height+m.RowGap) {
				t.Errorf("the line is at %d, far away", y)
			}
		})
	}
}
