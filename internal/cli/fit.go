// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// mark stands for what was cut.
const ellipsis = "…"

// to returns a text in a width, with a mark where it was cut. Widths are those of a
// terminal's cells.
func (c cut) to(text string, width int) string {
	room := width - runewidth.StringWidth(ellipsis)
	switch {
	case runewidth.StringWidth(text) <= width || c == nowhere:
		return text
	case c == atEnd || room < 2:
		return runewidth.Truncate(text, width, ellipsis)
	}
	return runewidth.Truncate(text, room-room/2, "") + ellipsis + runewidth.TruncatePrefix(text, room/2, "")
}

// wrap breaks a text into lines of a width, between words. A command between backquotes,
// which people copy, is broken only if it has no room on a line of its own. Nothing is lost
// but the space at a break.
func wrap(text string, width int) (lines []string) {
	line := ""
	width = max(width, 1)
	for _, piece := range pieces(text) {
		switch w := runewidth.StringWidth(piece); {
		case line == "":
			line = piece
		case runewidth.StringWidth(line)+1+w <= width:
			line += " " + piece
			continue
		default:
			lines, line = append(lines, line), piece
		}
		for runewidth.StringWidth(line) > width {
			part := runewidth.Truncate(line, width, "")
			if at := strings.LastIndex(part, " "); at > 0 { // of a command
				part = part[:at+1]
			}
			if part == "" { // not even one character has room
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
