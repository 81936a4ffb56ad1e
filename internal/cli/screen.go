// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
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
	switch stream := stream.(type) {
	case *os.File:
		return isatty.IsTerminal(stream.Fd())
	case sized:
		return true
	}
	return false
}

// sized is a terminal that knows its own size, as those of tests do.
type sized interface{ Size() (width, height int) }

// size returns the width and height of the terminal as they are now; zero for none.
func (s screen) size() (width, height int) {
	if out, ok := s.out.(sized); ok {
		return out.Size()
	}
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

// lines breaks a text into the lines that it takes there, each in a colour.
func (s screen) lines(text string, c colour) string {
	room, _ := s.size()
	if room <= 0 {
		return s.paint(text, c) + "\n"
	}
	var b strings.Builder
	for _, line := range present.Wrap(text, room) {
		b.WriteString(s.paint(line, c) + "\n")
	}
	return b.String()
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
	"cancelled": faint, "displaced": yellow, "idle": faint, "baked": green, "degraded": yellow, "launching": blue, "ending": blue,
	"ok": green, "warning": yellow, "problem": red,
	"expired": faint, "gone": red, "kept": yellow, "dead": red,
	"✓": green, "✕": red, "⊘": magenta, "?": yellow, "»": faint, "!": magenta, "·": faint, "▸": blue, "‖": faint,
	"✓!": green, "✕!": red, "⊘!": magenta, "?!": yellow, "»!": faint, "·!": faint,
}

func (s screen) paint(text string, c colour) string {
	if !s.colours || c == uncoloured || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}
