// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// quiet is what a test folds: the nodes in small letters.
func quiet(n Node) bool { return strings.ToLower(n.Name) == n.Name }

func never(Node) bool { return false }

// drawn writes a graph in a line: each node, or what it stands for, behind those before it.
func drawn(g Graph) string {
	var all []string
	for _, n := range g.Nodes {
		name := n.Name
		if n.Folded != nil {
			name = "[" + strings.Join(n.Folded, "") + "]"
		}
		all = append(all, strings.Join(n.After, "+")+">"+name)
	}
	return strings.Join(all, " ")
}

// graphOf makes a graph from what drawn writes.
func graphOf(text string) Graph {
	var g Graph
	for _, part := range strings.Fields(text) {
		before, name, _ := strings.Cut(part, ">")
		n := Node{Name: name}
		if before != "" {
			n.After = strings.Split(before, "+")
		}
		g.Nodes = append(g.Nodes, n)
	}
	g.place()
	return g
}

func TestFold(t *testing.T) {
	for name, c := range map[string]struct{ is, want string }{
		"a chain":                    {">a a>b b>c c>D", ">[abc] a>D"},
		"too few":                    {">a a>b b>D", ">a a>b b>D"},
		"up to what fails":           {">a a>b b>c c>F F>g g>h h>P", ">[abc] a>F F>g g>h h>P"},
		"on both sides":              {">a a>b b>c c>F F>g g>h h>i i>P", ">[abc] a>F F>[ghi] g>P"},
		"branches of a fan":          {">C C>a C>b C>c C>F a+b+c+F>P", ">C C>[abc] C>F a+F>P"},
		"branches of several stages": {">C C>a a>b C>c c>d C>F b+d+F>P", ">C C>[abcd] C>F a+F>P"},
		"not around what fails":      {">a a>b b>F F>c b+c>d d>e", ">a a>b b>F F+b>[cde]"},
		"all":                        {">a a>b b>c", ">[abc]"},
	} {
		if got := drawn(graphOf(c.is).Fold(3, quiet, never)); got != c.want {
			t.Errorf("%s: %s becomes %s, not %s", name, c.is, got, c.want)
		}
	}
	g := graphOf(">a a>b b>c c>D D>e e>f f>g")
	if got := drawn(g.Fold(3, quiet, func(n Node) bool { return n.Name == "b" })); got != ">a a>b b>c c>D D>[efg]" {
		t.Errorf("open at b it is %s", got)
	}
}

// Whatever is folded: each node is in one, those that may not be are left as they are, and whoever
// came after another does so still, and never after itself.
func TestFoldKeepsOrder(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var g Graph
		for i := range 3 + r.IntN(25) {
			n := Node{Name: fmt.Sprintf("n%d", i)}
			if r.IntN(3) == 0 {
				n.Name = fmt.Sprintf("N%d", i)
			}
			for _, up := range g.Nodes {
				if r.IntN(6) == 0 {
					n.After = append(n.After, up.Name)
				}
			}
			g.Nodes = append(g.Nodes, n)
		}
		g.place()
		folded := g.Fold(2, quiet, never)
		in, at := map[string]string{}, map[string]Node{}
		for i, n := range folded.Nodes {
			names := n.Folded
			if names == nil {
				names = []string{n.Name}
			}
			for _, name := range names {
				if in[name] != "" || len(names) > 1 && !quiet(Node{Name: name}) {
					t.Fatalf("%d: %s is in %s: %s", seed, name, n.Name, drawn(folded))
				}
				in[name] = n.Name
			}
			at[n.Name] = n
			column := 0
			for _, up := range n.After {
				column = max(column, at[up].Column+1)
			}
			if n.Column != column {
				t.Fatalf("%d: %s is in column %d, not in %d: %s", seed, n.Name, n.Column, column, drawn(folded))
			}
			for _, up := range n.After {
				if j := slices.IndexFunc(folded.Nodes, func(o Node) bool { return o.Name == up }); j < 0 || j >= i || folded.Nodes[j].Column >= n.Column {
					t.Fatalf("%d: %s comes after %s in %s, made of %s", seed, n.Name, up, drawn(folded), drawn(g))
				}
			}
		}
		if len(in) != len(g.Nodes) {
			t.Fatalf("%d: %d of %d nodes are left", seed, len(in), len(g.Nodes))
		}
		for _, n := range g.Nodes {
			for _, up := range n.After {
				if in[up] != in[n.Name] && !slices.Contains(at[in[n.Name]].After, in[up]) {
					t.Fatalf("%d: %s does not come after %s any more: %s", seed, n.Name, up, drawn(folded))
				}
			}
		}
	}
}
