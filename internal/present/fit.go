// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// ellipsis stands for what was cut.
const ellipsis = "…"

// Width returns how many cells of a terminal a printable text takes: two for a wide character,
// none for a mark that combines with the one before.
func Width(text string) int { return runewidth.StringWidth(text) }

// Fit returns a text in so many cells, with an ellipsis where its end was cut.
func Fit(text string, width int) string { return runewidth.Truncate(text, width, ellipsis) }

// FitMiddle returns a text in so many cells, with an ellipsis where its middle was cut: for names,
// which are told from others by both of their ends.
func FitMiddle(name string, width int) string {
	room := width - Width(ellipsis)
	if Width(name) <= width || room < 2 {
		return Fit(name, width)
	}
	return runewidth.Truncate(name, room-room/2, "") + ellipsis + runewidth.TruncatePrefix(name, room/2, "")
}

// Wrap breaks a text into lines of so many cells, between words. A command between backquotes,
// which people copy, is broken only if it has no room on a line of its own. Nothing is lost
// but the spaces at a break, and only a character that is wider than a line makes it longer.
func Wrap(text string, width int) []string { return WrapPieces(pieces(text), width) }

// WrapPieces is Wrap for pieces with spaces between them, which are broken only if they have no
// room on a line of their own.
func WrapPieces(pieces []string, width int) (lines []string) {
	line := ""
	for i, piece := range pieces {
		switch {
		case i == 0:
			line = piece
		case Width(line)+1+Width(piece) <= width:
			line += " " + piece
			continue
		default:
			lines, line = append(lines, line), piece
		}
		for Width(line) > width {
			part := runewidth.Truncate(line, width, "")
			if at := strings.LastIndex(part, " "); at > 0 { // of a command
				part = part[:at+1]
			}
			if part == "" {
				break
			}
			lines, line = append(lines, strings.TrimRight(part, " ")), line[len(part):]
		}
	}
	return append(lines, line)
}

// pieces splits a text at its spaces, and leaves what is between backquotes together.
func pieces(text string) (all []string) {
	quoted := ""
	for _, word := range strings.Fields(text) {
		if quoted != "" {
			word = quoted + " " + word
		}
		if strings.Count(word, "`")%2 == 1 {
			quoted = word
			continue
		}
		quoted, all = "", append(all, word)
	}
	return append(all, strings.Fields(quoted)...) // it never ends
}
