// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// colours of the tones in text formats: what is behind dark text.
var colours = map[Tone]string{
	"serving": "#7ee2a0", "passed": "#d3f5de", "running": "#b6e3ff", "person": "#fae17d", "upstream": "#d7dde4", "failed": "#ffcecb", "idle": "#f3f5f7",
}

// Text returns the graph as a tree for a terminal. Each node stands below the last of those
// that it comes after, and names the others. No line is longer than width, in cells of the
// terminal; 0 is no limit.
func (g Graph) Text(width int) string {
	below := map[int][]int{} // nodes by the one that they stand below; -1 for the roots
	others := map[int][]string{}
	parent := make([]int, len(g.Nodes))
	for i := range parent {
		parent[i] = -1
	}
	g.Edges(func(from, to int) {
		if last := parent[to]; last < 0 || g.Nodes[last].Column <= g.Nodes[from].Column {
			from, parent[to] = last, from
		}
		if from >= 0 {
			others[to] = append(others[to], present.Line(g.Nodes[from].Name))
		}
	})
	for i := range g.Nodes {
		below[parent[i]] = append(below[parent[i]], i)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", present.Line(g.Title))
	var write func(parent int, indent string)
	write = func(parent int, indent string) {
		for at, i := range below[parent] {
			n, branch, rest := g.Nodes[i], "├─ ", "│  "
			if at == len(below[parent])-1 {
				branch, rest = "└─ ", "   "
			}
			text := strings.Join(n.lines(present.Line), "  ")
			if len(others[i]) > 0 {
				text += "  (also after " + strings.Join(others[i], ", ") + ")"
			}
			if n.Note != "" {
				text += ": " + present.Line(n.Note)
			}
			next := "   " // before the lines that follow
			if len(below[i]) > 0 {
				next = "│  "
			}
			for at, line := range lines(text, width, indent+branch) {
				if at == 0 {
					b.WriteString(near(indent, width) + branch + line + "\n")
				} else {
					b.WriteString(near(indent, width) + rest + next + line + "\n")
				}
			}
			write(i, indent+rest)
		}
	}
	write(-1, "")
	return b.String()
}

// lines breaks the text of a node into lines that have room behind an indent, and behind one
// that is a step deeper.
func lines(text string, width int, indent string) []string {
	if room := width - present.Width(near(indent, width)); width > 0 {
		return present.Wrap(text, room-2*step)
	}
	return []string{text}
}

// step is how much deeper a node stands than the one before it.
const step = 3

// near returns the part of an indent that leaves half of a width for the text.
func near(indent string, width int) string {
	if all := []rune(indent); width > 0 && len(all) > width/2 {
		return string(all[len(all)-width/2:])
	}
	return indent
}

// Mermaid returns the graph as a flowchart of Mermaid.
func (g Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, n := range g.Nodes {
		fmt.Fprintf(&b, "  n%d[\"%s\"]:::%s\n", i, strings.Join(n.lines(mermaidText), "<br>"), n.Tone)
	}
	g.Edges(func(from, to int) { fmt.Fprintf(&b, "  n%d --> n%d\n", from, to) })
	for _, t := range Tones {
		fmt.Fprintf(&b, "  classDef %s fill:%s,stroke:#57606a,color:#1f2328\n", t.Tone, colours[t.Tone])
	}
	return b.String()
}

// mermaidText writes everything but letters, digits and plain marks as character codes,
// which Mermaid has instead of a way to quote.
func mermaidText(text string) string {
	var b strings.Builder
	for _, r := range present.Line(text) {
		if r == ' ' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-_./,:", r) || r > 0x7f {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}

// DOT returns the graph in the language of Graphviz.
func (g Graph) DOT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=LR\n  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\"]\n", dotText(g.Title))
	for i, n := range g.Nodes {
		label := strings.Join(n.lines(func(text string) string { return dotEscape(present.Line(text)) }), `\n`)
		fmt.Fprintf(&b, "  n%d [label=\"%s\", fillcolor=%q, tooltip=%s]\n", i, label, colours[n.Tone], dotText(n.words()))
	}
	g.Edges(func(from, to int) { fmt.Fprintf(&b, "  n%d -> n%d\n", from, to) })
	b.WriteString("}\n")
	return b.String()
}

func dotEscape(text string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) }

func dotText(text string) string { return `"` + dotEscape(present.Line(text)) + `"` }

// lines returns the text of a node.
func (n Node) lines(write func(string) string) []string {
	lines := []string{write(n.Name), write(string(n.Status))}
	if n.Build != "" {
		lines = append(lines, write(n.Build))
	}
	return lines
}
