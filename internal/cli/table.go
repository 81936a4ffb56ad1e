// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// table prints rows in aligned columns below a heading. Cells never break a line or carry
// control characters, whatever a commit message or a log holds. On a terminal no line is
// longer than the terminal is wide: what there is no room for gives way as its column says.
// Elsewhere nothing is cut, and there are always the same columns.
type table struct {
	screen
	heading []string
	columns []column
	rows    [][]string
	colours []colour // of the painted words of each row; uncoloured: each in its own
}

// column is how the cells of a column look, and how they give way where there is no room for
// all. The zero one does not give way: it has what people copy, or where things stand.
type column struct {
	cut     cut
	enough  int  // cells of the screen that do while others can give way, too
	least   int  // and at last
	leaves  int  // if not 0, it is left out when even that does not fit: 1 goes first
	sinks   bool // what has no room on its row goes below it, whole; only behind all other columns
	extra   bool // it is left out before another one sinks
	painted bool // its words and marks have colours
}

// cut says where a text is cut.
type cut int

const (
	nowhere  cut = iota
	inMiddle     // a name, which is told from others by both of its ends
	atEnd        // a sentence
)

// The kinds of columns.
var (
	naming  = column{cut: inMiddle, enough: 24, least: 9}
	telling = column{cut: atEnd, enough: 36, least: 12}
	noting  = column{sinks: true}
)

// columns are those of all tables, by their heading.
var columns = map[string]column{
	"PIPELINE": naming, "STAGE": naming, "ENVIRONMENT": naming, "NAME": naming, "OWNER": naming, "CONTEXT": naming, "TARGET": naming, "FILE": naming,
	"RESOURCE": naming, "TYPE": naming, "PACKAGE": naming, "PART": naming, "FROM": naming, "TO": naming, "WAITS AT": naming, "CHECK": naming, "METRIC": naming,
	"MESSAGE": telling, "": noting, "NEXT": noting, "ENDPOINT": noting, "USED BY": noting, "DATA DIRECTORY": noting, "ON": naming, "BY": naming,
	"STATUS": {painted: true}, "WHAT": {painted: true},
	"AUTHOR": {cut: inMiddle, enough: 16, least: 16, leaves: 1},
	"SIZE":   {leaves: 2}, "COMMIT": {leaves: 3}, "BAKED": {leaves: 4}, "TOOK": {leaves: 5}, "STARTED": {leaves: 6}, "WHEN": {leaves: 7}, "CREATED": {leaves: 8}, "SINCE": {leaves: 9},
}

// lastToLeave is the highest of leaves.
const lastToLeave = 9

// gap is between two columns, indent before what stands below its row.
const (
	gap    = 3
	indent = 2
)

func (f *factory) newTable(heading ...string) *table { return newTable(screenOf(f.Out), heading...) }

func newTable(s screen, heading ...string) *table {
	t := &table{screen: s, heading: heading}
	for _, h := range heading {
		t.columns = append(t.columns, columns[h])
	}
	return t
}

// besides are the columns of what listings of something else than builds say of a build, beside
// its number: they are the first to go.
var besides = map[string]column{
	"MESSAGE": {cut: atEnd, enough: 16, least: 16, leaves: 2, extra: true},
	"ID":      {leaves: 1, extra: true},
}

// beside sets columns that say what there is room for, of builds that other columns name.
func (t *table) beside(headings ...string) *table {
	for i, h := range t.heading {
		if slices.Contains(headings, h) {
			t.columns[i] = besides[h]
		}
	}
	return t
}

func (t *table) row(cells ...string) { t.rowIn(uncoloured, cells...) }

// rowIn adds a row whose words have a colour, whatever they are.
func (t *table) rowIn(c colour, cells ...string) {
	for i, c := range cells {
		if cells[i] = present.Line(c); cells[i] == "" && i < len(cells)-1 {
			cells[i] = "-"
		}
	}
	t.rows, t.colours = append(t.rows, cells), append(t.colours, c)
}

// flush prints the table.
func (t *table) flush() error {
	_, err := io.WriteString(t.out, t.text())
	return err
}

// text returns the table as it fits.
func (t *table) text() string {
	room, _ := t.size()
	l, ok := t.layout(room)
	if !ok {
		return t.records(room)
	}
	var b strings.Builder
	heading, _, _ := strings.Cut(t.line(l, t.heading, func(_ int, text string) string { return t.paint(text, bold) }), "\n")
	b.WriteString(heading + "\n")
	for i, cells := range t.rows {
		b.WriteString(t.line(l, cells, t.painter(t.colours[i])))
		b.WriteByte('\n')
	}
	if left := l.left(t); left != "" {
		b.WriteString(t.paint(present.Fit("No room for "+left+".", room), faint) + "\n")
	}
	return b.String()
}

// roomy reports whether all columns fit without becoming too short to be told apart.
func (t *table) roomy() bool {
	room, _ := t.size()
	l, ok := t.layout(room)
	return ok && l.left(t) == ""
}

// layout is how a table fits: the widths of the columns that are shown.
type layout struct {
	room   int // 0: there is no limit
	widths map[int]int
}

// layout fits the table into the room; false if not even short rows do.
func (t *table) layout(room int) (layout, bool) {
	natural := map[int]int{}
	for i := range t.columns {
		natural[i] = present.Width(t.heading[i])
		for _, cells := range t.rows {
			natural[i] = max(natural[i], present.Width(cells[i]))
		}
	}
	l := layout{room, maps.Clone(natural)}
	if room <= 0 || t.shrink(l, func(c column) int { return c.enough }) {
		return l, true
	}
	l.widths = maps.Clone(natural)
	maps.DeleteFunc(l.widths, func(i, _ int) bool { return t.columns[i].extra })
	if t.shrink(l, func(c column) int { return c.enough }) {
		return l, true
	}
	maps.DeleteFunc(natural, func(i, _ int) bool { return t.columns[i].sinks }) // they take what the others leave
	for left := range lastToLeave + 1 {
		maps.DeleteFunc(natural, func(i, _ int) bool { return t.columns[i].leaves > 0 && t.columns[i].leaves <= left })
		l.widths = maps.Clone(natural)
		if t.shrink(l, func(c column) int { return c.enough }) {
			return l, true
		}
	}
	return l, t.shrink(l, func(c column) int { return c.least })
}

// shrink makes columns narrower until all fit, the widest of those that may be first.
func (t *table) shrink(l layout, least func(column) int) bool {
	for over := l.width() - l.room; over > 0; over-- {
		widest := -1
		for i, c := range t.columns {
			w, shown := l.widths[i]
			if shown && c.cut != nowhere && w > max(least(c), present.Width(t.heading[i])) && (widest < 0 || w > l.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		l.widths[widest]--
	}
	return true
}

// width returns that of a row, without what sinks.
func (l layout) width() int {
	sum := -gap
	for _, w := range l.widths {
		sum += w + gap
	}
	return sum
}

// left names the columns that are left out.
func (l layout) left(t *table) string {
	var names []string
	for i, c := range t.columns {
		if _, shown := l.widths[i]; !shown && !c.sinks {
			names = append(names, t.heading[i])
		}
	}
	return strings.Join(names, ", ")
}

// line returns a row, and below it what has no room there.
func (t *table) line(l layout, cells []string, paint func(column int, text string) string) string {
	var b strings.Builder
	var below []string
	at, next := 0, 0 // cells of the screen: those written, and where the next column begins
	for i, c := range cells {
		width, shown := l.widths[i]
		sinks := !shown && t.columns[i].sinks
		switch {
		case !shown && !sinks, c == "", sinks && c == "-":
			continue
		case sinks && next+present.Width(c) > l.room:
			below = append(below, c)
			continue
		case shown:
			c = t.columns[i].fit(c, width)
		default:
			width = present.Width(c)
		}
		if strings.TrimSpace(c) != "" {
			b.WriteString(strings.Repeat(" ", next-at) + paint(i, c))
			at = next + present.Width(c)
		}
		next += width + gap
	}
	if l.room > 0 && at == 0 && len(below) > 0 { // nothing stands above it
		return strings.Join(wrapBelow(below, l.room), "\n")
	}
	return strings.Join(append([]string{b.String()}, wrapBelow(below, l.room)...), "\n")
}

// fit returns a cell in a width.
func (c column) fit(text string, width int) string {
	switch c.cut {
	case inMiddle:
		return present.FitMiddle(text, width)
	case atEnd:
		return present.Fit(text, width)
	}
	return text
}

// wrapBelow returns the lines below a row.
func wrapBelow(texts []string, room int) (lines []string) {
	for _, text := range texts {
		for _, line := range present.Wrap(text, room-indent) {
			lines = append(lines, strings.Repeat(" ", indent)+line)
		}
	}
	return lines
}

// painter returns what paints a word of a row in the row's colour, else in the colour for it,
// or each of several marks in its own.
func (t *table) painter(of colour) func(column int, text string) string {
	return func(column int, text string) string {
		switch {
		case !t.columns[column].painted:
			return text
		case of != uncoloured:
			return t.paint(text, of)
		}
		return t.paintWord(text)
	}
}

func (t *table) paintWord(text string) string {
	if c, ok := colourOf[text]; ok {
		return t.paint(text, c)
	}
	var b strings.Builder
	for _, mark := range text {
		b.WriteString(t.paint(string(mark), colourOf[string(mark)]))
	}
	return b.String()
}

// records returns the table where not even short rows fit: each cell on a line of its own,
// behind its heading.
func (t *table) records(room int) string {
	var b strings.Builder
	for n, cells := range t.rows {
		if n > 0 {
			b.WriteByte('\n')
		}
		for i, c := range cells {
			if c == "" || c == "-" {
				continue
			}
			heading := t.heading[i]
			for at, line := range present.Wrap(strings.TrimSpace(heading+" "+c), room) {
				if rest, ok := strings.CutPrefix(line, heading+" "); ok && at == 0 {
					line = t.paint(heading, bold) + " " + rest
				}
				b.WriteString(line + "\n")
			}
		}
	}
	return b.String()
}
