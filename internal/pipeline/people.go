// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "time"

// Verdict is what a person decided.
type Verdict string

// The verdicts.
const (
	Approved Verdict = "approved"
	Rejected Verdict = "rejected"
)

// Decision is a person's approve or reject of a build at a stage. It holds for
// the build and the run that it was taken on.
type Decision struct {
	Pipeline string    `json:"pipeline"`
	Stage    string    `json:"stage"`
	Build    string    `json:"build"`
	Run      string    `json:"run,omitempty"` // the evidence
	Verdict  Verdict   `json:"verdict"`
	Reason   string    `json:"reason,omitempty"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
}

// Promotion is a person's wish that a stage move to a build.
type Promotion struct {
	Pipeline string    `json:"pipeline"`
	Stage    string    `json:"stage"`
	Build    string    `json:"build"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
}

// Hold is the build that a stage has moved to: the one that it runs, or that
// passed it last.
type Hold struct {
	Stage string `json:"stage"`
	Build string `json:"build"`
	Run   string `json:"run,omitempty"`
}
