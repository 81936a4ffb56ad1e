// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import "strings"

// Cell returns a text for a cell of a spreadsheet, on one line and printable as by Line. One
// that a spreadsheet would take for a formula has an apostrophe before it, which
// spreadsheets take for the mark of a text.
func Cell(s string) string {
	if s = Line(s); strings.ContainsAny(s[:min(len(s), 1)], "=+-@") {
		return "'" + s
	}
	return s
}
