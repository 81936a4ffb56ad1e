// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import "strings"

// Cell returns a text for a cell of a spreadsheet, on one line and printable as by Line. One
// that a spreadsheet would take for a formula has an apostrophe before it, which
// spreadsheets take for the mark of a text.
func Cell(s string) string {
	s = Line(s)
	if start := strings.TrimSpace(s); start != "" && strings.ContainsRune("=+-@", rune(start[0])) {
		return "'" + s
	}
	return s
}
