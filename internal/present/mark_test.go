// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"testing"

	"github.com/mattn/go-runewidth"
)

// No two marks are alike, and each takes one column.
func TestMarks(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Marks {
		if seen[m.Sign] || seen[m.Says] || seen["of "+m.Outcome] || runewidth.StringWidth(m.Sign) != 1 {
			t.Errorf("mark %q of %q is not one of its own", m.Sign, m.Outcome)
		}
		seen[m.Sign], seen[m.Says], seen["of "+m.Outcome] = true, true, true
		if MarkOf(m.Outcome) != m {
			t.Errorf("the mark of %q is %+v", m.Outcome, MarkOf(m.Outcome))
		}
	}
	if got := MarkOf("no such outcome").Sign; got != "·" {
		t.Errorf("an unknown outcome has the mark %s", got)
	}
	if got, want := Legend("rejected", "passed"), "✓ passed  ⊘ rejected"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
