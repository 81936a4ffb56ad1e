// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"fmt"
	"html"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// Measures of the picture, in pixels.
const (
	margin       = 24
	titleHeight  = 54
	legendHeight = 44
	minWidth     = 740 // that the legend needs
)

var boxes = Grid{Width: 176, Height: 66, ColumnGap: 56, RowGap: 26}

// graphStyle are the colours, light and dark. Text has a contrast of at least 4.5 with its
// background.
const graphStyle = `
.penstock-graph{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
.penstock-graph .ground{fill:#ffffff}.penstock-graph text{fill:#1f2328}.penstock-graph .small{fill:#57606a;font-size:11px}
.penstock-graph .title{font-size:17px;font-weight:600}.penstock-graph .name{font-weight:600}.penstock-graph .code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:11px}
.penstock-graph .box{fill:#f6f8fa;stroke:#d0d7de}.penstock-graph .edge{fill:none;stroke:#8c959f;stroke-width:1.5}.penstock-graph .arrow{fill:#8c959f}
.penstock-graph .serving{fill:#1a7f37}.penstock-graph .passed{fill:#6fbf85}.penstock-graph .running{fill:#0969da}.penstock-graph .person{fill:#bf8700}
.penstock-graph .failed{fill:#cf222e}.penstock-graph .upstream{fill:#8c959f}.penstock-graph .idle{fill:#d0d7de}
@media (prefers-color-scheme:dark){
.penstock-graph .ground{fill:#0d1117}.penstock-graph text{fill:#e6edf3}.penstock-graph .small{fill:#9da7b3}
.penstock-graph .box{fill:#161b22;stroke:#3d444d}.penstock-graph .edge{stroke:#656c76}.penstock-graph .arrow{fill:#656c76}
.penstock-graph .serving{fill:#3fb950}.penstock-graph .passed{fill:#2c7a3b}.penstock-graph .running{fill:#4493f8}.penstock-graph .person{fill:#d29922}
.penstock-graph .failed{fill:#f85149}.penstock-graph .upstream{fill:#7d8590}.penstock-graph .idle{fill:#3d444d}}
`

// SVG draws the graph, the stages from left to right, with the style that it needs.
func (g Graph) SVG() string {
	columns, body := boxes.Size(g)
	width, height := max(2*margin+columns, minWidth), titleHeight+margin+body+legendHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="penstock-graph" role="img" aria-labelledby="graph-title graph-description" viewBox="0 0 %d %d" width="%d" height="%d">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<title id="graph-title">Pipeline %s</title><desc id="graph-description">%s</desc>`+"\n", escape(g.Title, 0), escape(g.words(), 0))
	fmt.Fprintf(&b, "<style>%s</style>\n", graphStyle)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/><text class="title" x="%d" y="28">%s</text>`+"\n", width, height, margin, escape(g.Title, 60))
	fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", margin, titleHeight)
	for _, e := range boxes.Edges(g) {
		fmt.Fprintf(&b, `<path class="edge" d="%s"/><path class="arrow" d="%s"/>`+"\n", e.Line, e.Head)
	}
	for _, n := range g.Nodes {
		x, y := boxes.Place(g, n)
		n.draw(&b, x, y)
	}
	b.WriteString("</g>\n")
	for i, t := range Tones {
		x, y := margin+i*100, height-margin
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="10" height="10" rx="2"/><text class="small" x="%d" y="%d">%s</text>`+"\n", t.Tone, x, y-9, x+15, y, t.Says)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (n Node) draw(b *strings.Builder, x, y int) {
	fmt.Fprintf(b, `<g><title>%s</title><rect class="box" x="%d" y="%d" width="%d" height="%d" rx="6"/><rect class="%s" x="%d" y="%d" width="5" height="%d" rx="2.5"/>`,
		escape(n.words(), 0), x, y, boxes.Width, boxes.Height, n.Tone, x, y, boxes.Height)
	fmt.Fprintf(b, `<text class="name" x="%d" y="%d">%s</text>`, x+16, y+20, escape(n.Name, 21))
	fmt.Fprintf(b, `<text class="small" x="%d" y="%d">%s</text>`, x+16, y+37, escape(string(n.Status)+" · "+n.Kind, 26))
	fmt.Fprintf(b, `<text class="code" x="%d" y="%d">%s</text></g>`+"\n", x+16, y+54, escape(present.Dash(n.Build), 22))
}

// words says the status of the node in a sentence.
func (n Node) words() string {
	text := n.Name + ": " + string(n.Status)
	if n.Build != "" {
		text += ", " + n.Build
	}
	if n.Note != "" {
		text += "; " + n.Note
	}
	return text
}

// words describes the whole for people who can't see the picture.
func (g Graph) words() string {
	var parts []string
	for _, n := range g.Nodes {
		parts = append(parts, n.words())
	}
	return strings.Join(parts, ". ")
}

// escape makes text fit for XML, on one line, and cuts it to so many characters; 0 does not
// cut.
func escape(text string, most int) string {
	text = present.Line(text)
	if runes := []rune(text); most > 0 && len(runes) > most {
		text = string(runes[:most-1]) + "…"
	}
	return html.EscapeString(text)
}
