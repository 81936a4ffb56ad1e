// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"time"
)

// Elsewhere is what a stage of another pipeline has passed, as the ledger of that pipeline
// says. That ledger may be another than this one. A stage that comes after it takes in builds
// only while there is a build.
type Elsewhere struct {
	Ledger   string `json:"ledger"` // ID of the ledger
	Pipeline string `json:"pipeline"`
	Stage    string `json:"stage"`
	Build    string `json:"build,omitempty"`  // the newest that passed and is rejected nowhere; empty for none
	Number   int64  `json:"number,omitempty"` // of the build, for people
	// Head is the newest event of that pipeline's history when it was read. The history was
	// verified up to it.
	Head Anchor `json:"verified_head"`
}

// String names the stage, with its pipeline.
func (e Elsewhere) String() string {
	return fmt.Sprintf("stage %q of pipeline %q", e.Stage, e.Pipeline)
}

// SamePlace reports whether two are of one stage.
func (e Elsewhere) SamePlace(f Elsewhere) bool {
	return e.Ledger == f.Ledger && e.Pipeline == f.Pipeline && e.Stage == f.Stage
}

// Says reports whether two say the same: the same build of one stage. Their histories may have
// come further.
func (e Elsewhere) Says(f Elsewhere) bool { return e.SamePlace(f) && e.Build == f.Build }

// Follows refuses, with CodeCorrupt, what is older than what was seen before of the same
// pipeline, or differs at the same event: the history was cut off, replaced or restored.
func (e Elsewhere) Follows(seen Elsewhere) error {
	if e.Ledger != seen.Ledger || e.Pipeline != seen.Pipeline || e.Head.Sequence > seen.Head.Sequence || e.Head == seen.Head {
		return nil
	}
	const op = "verify ledger"
	err := Errorf(CodeCorrupt, op, "the history of pipeline %q in ledger %s ends with event %d, but was at event %d before", e.Pipeline, e.Ledger, e.Head.Sequence, seen.Head.Sequence)
	if e.Head.Sequence == seen.Head.Sequence {
		err = Errorf(CodeCorrupt, op, "event %d of pipeline %q in ledger %s has changed: its hash is %s, and was %s", e.Head.Sequence, e.Pipeline, e.Ledger, e.Head.Hash, seen.Head.Hash)
	}
	return err.WithHint("Somebody cut off or replaced that history, or this is an older copy of the ledger. Ask its owners. If they restored it on purpose, remove the entry from after, apply, and add it again.")
}

// Awaits returns those stages elsewhere that the stage comes after and that have passed no
// build.
func (s Stage) Awaits() []Elsewhere {
	return slices.DeleteFunc(slices.Clone(s.Elsewhere), func(e Elsewhere) bool { return e.Build != "" })
}

// Reliable returns the newest build that passed a stage and is rejected nowhere in its
// pipeline; empty for none. It is what other pipelines may rely on.
func Reliable(s *State, stage string) string {
	if !s.Stages[stage].TakesBuild() {
		return ""
	}
	for b := range s.NewestBuilds() {
		if s.RejectedAt(b.ID) == "" && s.Passed(stage, b.ID) {
			return b.ID
		}
	}
	return ""
}

// PassedAt returns when a build that passed a stage did: when its run ended, the last person
// approved it, or somebody let it through. It is zero for a build that has not passed.
func PassedAt(s *State, stage, build string) time.Time {
	up, ok := s.Stages[stage]
	if !ok || !s.Passed(stage, build) {
		return time.Time{}
	}
	if s.Overridden(up, build) {
		return s.Overrides[StageBuild(stage, build)].At
	}
	result, _ := s.ResultOf(up, build)
	if d := s.Decisions[StageBuild(stage, build)]; up.Approval && d.At.After(result.EndedAt) {
		return d.At
	}
	return result.EndedAt
}
