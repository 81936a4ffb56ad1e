// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// screen is where people read: a terminal, or a pipe, which has neither colours nor
// a width.
type screen struct {
	out      io.Writer
	terminal bool
	colours  bool
}

// screenOf finds out what a stream is. NO_COLOR and TERM=dumb turn colours off where
// there is a terminal, CLICOLOR_FORCE turns them on where there is none.
func screenOf(out io.Writer) screen {
	s := screen{out: out, terminal: isTerminal(out)}
	s.colours = s.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" && os.Getenv("NO_COLOR") == "" {
		s.colours = true
	}
	return s
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// size returns the width and height of the terminal as they are now; zero for none.
func (s screen) size() (width, height int) {
	file, ok := s.out.(*os.File)
	if !ok || !s.terminal {
		return 0, 0
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// colour is the control sequence that makes a terminal write what follows.
type colour string

const (
	uncoloured colour = ""
	red        colour = "31"
	green      colour = "32"
	yellow     colour = "33"
	blue       colour = "34"
	magenta    colour = "35"
	faint      colour = "2"
	bold       colour = "1"
)

// colourOf says in which colour a word or a mark for how something stands is written.
var colourOf = map[string]colour{
	"passed": green, "running": blue, "failed": red, "rejected": magenta, "overridden": magenta, "waiting": yellow,
	"ready": blue, "cancelled": faint, "displaced": yellow, "idle": faint, "baked": green, "degraded": yellow, "launching": blue, "ending": blue,
	"ok": green, "warning": yellow, "problem": red,
	"expired": faint, "gone": red, "kept": yellow, "dead": red,
	"+": green, "x": red, "!": magenta, "?": yellow, "o": magenta, ".": faint,
	"+o": green, "xo": red, "!o": magenta, "?o": yellow, ".o": faint,
}

func (s screen) paint(text string, c colour) string {
	if !s.colours || c == uncoloured || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// table prints rows in aligned columns below a heading. Cells never break a line or
// carry control characters, whatever a commit message or a log holds. On a terminal
// no row is longer than a line: its last cell is cut.
type table struct {
	screen
	heading []string
	rows    [][]string
	painted map[int]bool // columns of words and marks that have colours
}

func (f *factory) newTable(heading ...string) *table { return newTable(screenOf(f.Out), heading...) }

func newTable(s screen, heading ...string) *table {
	t := &table{screen: s, heading: heading, painted: map[int]bool{}}
	for i, h := range heading {
		t.painted[i] = h == "STATUS"
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if cells[i] = present.Line(c); cells[i] == "" && i < len(cells)-1 {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

// flush prints the table.
func (t *table) flush() error {
	_, err := io.WriteString(t.out, t.text())
	return err
}

// gap is between two columns.
const gap = 3

func (t *table) text() string {
	widths := make([]int, len(t.heading))
	if len(t.heading) == 0 && len(t.rows) > 0 {
		widths = make([]int, len(t.rows[0])) // the rows are alike
	}
	for _, cells := range append([][]string{t.heading}, t.rows...) {
		for i, c := range cells {
			widths[i] = max(widths[i], runewidth.StringWidth(c))
		}
	}
	room, _ := t.size()
	var b strings.Builder
	if len(t.heading) > 0 {
		t.line(&b, t.heading, widths, room, func(int, string) colour { return bold })
	}
	for _, cells := range t.rows {
		t.line(&b, cells, widths, room, func(column int, cell string) colour {
			if !t.painted[column] {
				return uncoloured
			}
			return colourOf[cell]
		})
	}
	return b.String()
}

func (t *table) line(b *strings.Builder, cells []string, widths []int, room int, colourOf func(column int, cell string) colour) {
	used, last := 0, len(cells)-1
	for last > 0 && cells[last] == "" {
		last--
	}
	for i, c := range cells[:last+1] {
		if room > 0 && used+runewidth.StringWidth(c) > room {
			c = runewidth.Truncate(c, max(room-used, 1), "…")
		}
		b.WriteString(t.paint(c, colourOf(i, cells[i])))
		if i == last {
			break
		}
		pad := widths[i] - runewidth.StringWidth(c) + gap
		fmt.Fprintf(b, "%*s", pad, "")
		used += widths[i] + gap
		if room > 0 && used >= room {
			break
		}
	}
	b.WriteByte('\n')
}
