// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import "strings"

// Mark is the sign for how a build fared at a stage, with what it says. Faces use the same
// ones.
type Mark struct {
	Outcome string // "" for a build that did not run there
	Sign    string
	Says    string
}

// Marks are all of them, in the order of a legend.
var Marks = []Mark{
	{"passed", "✓", "passed"},
	{"failed", "✕", "failed"},
	{"rejected", "⊘", "rejected"},
	{"waiting", "?", "waits for a decision"},
	{"superseded", "»", "superseded undecided"},
	{"overridden", "!", "overridden"},
	{"running", "▸", "running"},
	{"paused", "‖", "paused"},
	{"", "·", "not run"},
}

// MarkOf returns the mark of an outcome; that of a build that did not run for an unknown one.
func MarkOf(outcome string) Mark {
	for _, m := range Marks {
		if m.Outcome == outcome {
			return m
		}
	}
	return Marks[len(Marks)-1]
}

// Legend explains the marks of some outcomes in one line, in the order of Marks.
func Legend(outcomes ...string) string {
	wanted := map[string]bool{}
	for _, o := range outcomes {
		wanted[o] = true
	}
	var parts []string
	for _, m := range Marks {
		if wanted[m.Outcome] {
			parts = append(parts, m.Sign+" "+m.Says)
		}
	}
	return strings.Join(parts, "  ")
}
