// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import "slices"

// Fold returns a graph in which neighbours that may be folded are one node, with their names in
// Folded. Fewer than least are left as they are, as are those of which one is open. Who comes
// after whom stays the same, and nothing comes after itself.
func (g Graph) Fold(least int, may, open func(Node) bool) Graph {
	f := newFolding(g)
	for changed := true; changed; {
		changed = false
		g.Edges(func(from, to int) {
			a, b := f.group(from), f.group(to)
			if a != b && may(g.Nodes[from]) && may(g.Nodes[to]) && !f.around(a, b) {
				f.join(a, b)
				changed = true
			}
		})
	}
	// A fan of branches between the same neighbours is one as well.
	for i := range g.Nodes {
		for j := range i {
			a, b := f.group(j), f.group(i)
			if a != b && may(g.Nodes[i]) && may(g.Nodes[j]) && f.alike(a, b) {
				f.join(a, b)
			}
		}
	}
	return f.graph(least, open)
}

// folding is a graph whose nodes are in groups.
type folding struct {
	Graph
	of   []int // by node: its group, which is the first node in it
	next [][]int
}

func newFolding(g Graph) *folding {
	f := &folding{Graph: g, of: make([]int, len(g.Nodes)), next: make([][]int, len(g.Nodes))}
	for i := range f.of {
		f.of[i] = i
	}
	g.Edges(func(from, to int) { f.next[from] = append(f.next[from], to) })
	return f
}

func (f *folding) group(node int) int { return f.of[node] }

// join makes two groups one.
func (f *folding) join(a, b int) {
	into, gone := min(a, b), max(a, b)
	for i, of := range f.of {
		if of == gone {
			f.of[i] = into
		}
	}
}

// beside returns the groups that come right before, or right after, a group.
func (f *folding) beside(group int, after bool) (all []int) {
	for from, next := range f.next {
		for _, to := range next {
			a, b := f.of[from], f.of[to]
			if !after {
				a, b = b, a
			}
			if a == group && b != group && !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
	}
	slices.Sort(all)
	return all
}

// around reports whether a way leads from group a to group b through another one. Together they
// would come after themselves.
func (f *folding) around(a, b int) bool {
	seen := map[int]bool{a: true}
	todo := slices.DeleteFunc(f.beside(a, true), func(group int) bool { return group == b })
	for len(todo) > 0 {
		group := todo[0]
		if todo = todo[1:]; seen[group] {
			continue
		}
		seen[group] = true
		for _, next := range f.beside(group, true) {
			if next == b {
				return true
			}
			todo = append(todo, next)
		}
	}
	return false
}

// alike reports whether two groups have the same neighbours, so that neither comes after the
// other.
func (f *folding) alike(a, b int) bool {
	return slices.Equal(f.beside(a, false), f.beside(b, false)) && slices.Equal(f.beside(a, true), f.beside(b, true))
}

// graph returns the graph of the groups.
func (f *folding) graph(least int, open func(Node) bool) Graph {
	names := map[int][]string{}
	opened := map[int]bool{}
	for i, n := range f.Nodes {
		names[f.of[i]] = append(names[f.of[i]], n.Name)
		opened[f.of[i]] = opened[f.of[i]] || open(n)
	}
	folded := func(group int) bool { return len(names[group]) >= max(least, 2) && !opened[group] }
	called := map[string]string{} // the name of the node in which one is
	for i, n := range f.Nodes {
		called[n.Name] = n.Name
		if group := f.of[i]; folded(group) {
			called[n.Name] = f.Nodes[group].Name
		}
	}
	out := Graph{Title: f.Title}
	at := map[string]int{}
	for i, n := range f.Nodes {
		name := called[n.Name]
		j, known := at[name]
		if !known {
			j = len(out.Nodes)
			at[name] = j
			node := n
			node.Column, node.Row = 0, 0
			if node.After = nil; folded(f.of[i]) {
				node.Folded = names[f.of[i]]
			}
			out.Nodes = append(out.Nodes, node)
		}
		for _, up := range n.After {
			if before, known := called[up]; known && before != name && !slices.Contains(out.Nodes[j].After, before) {
				out.Nodes[j].After = append(out.Nodes[j].After, before)
			}
		}
	}
	out.order()
	out.place()
	return out
}

// order puts each node behind those it comes after, and leaves the others as they are.
func (g *Graph) order() {
	var sorted []Node
	done := map[string]bool{}
	for len(sorted) < len(g.Nodes) {
		before := len(sorted)
		for _, n := range g.Nodes {
			if !done[n.Name] && !slices.ContainsFunc(n.After, func(up string) bool { return !done[up] }) {
				sorted, done[n.Name] = append(sorted, n), true
			}
		}
		if len(sorted) == before {
			return // a circle, which no pipeline has
		}
	}
	g.Nodes = sorted
}
