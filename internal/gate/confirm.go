// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Intent is what a plan said of a stage, for the apply that follows it.
type Intent struct {
	Position  int64 // that the plan was made at; 0 where that is not known
	Candidate Value // that was planned; Unknown where the plan left it to the apply
}

// ConflictKind says what has changed since a plan.
type ConflictKind string

// The kinds of conflict.
const (
	ConflictRefused   ConflictKind = "refused"   // the build may not enter any more: Refusal says why
	ConflictPromoted  ConflictKind = "promoted"  // a person has moved the stage to another build: Now
	ConflictMovedOn   ConflictKind = "moved_on"  // the stage has moved on to a newer build: Now
	ConflictRedefined ConflictKind = "redefined" // another definition of the stage was recorded
)

// Conflict is why a planned move may not be done any more. It is the cause in an error with
// CodeConflict. The remedy is to plan again.
type Conflict struct {
	Kind            ConflictKind
	Pipeline, Stage string
	Build           string // that was planned
	Now             string // the build that it is about instead; may be empty for none
	Refusal         *Refusal
}

// Error says what has changed.
func (c *Conflict) Error() string {
	now := c.Now
	if now == "" {
		now = "no build"
	}
	switch c.Kind {
	case ConflictPromoted:
		return fmt.Sprintf("build %s was planned, and the stage is to run %s now", c.Build, now)
	case ConflictMovedOn:
		return fmt.Sprintf("build %s was planned, and the stage has moved on to %s since, which is newer", c.Build, now)
	case ConflictRedefined:
		return "another definition of the stage was recorded since it was planned"
	}
	return fmt.Sprintf("build %s was planned, and since then: %v", c.Build, c.Refusal)
}

// Unwrap returns the refusal, if there is one.
func (c *Conflict) Unwrap() error {
	if c.Refusal == nil {
		return nil
	}
	return c.Refusal
}

// Confirm plans a stage at the time of its apply, to the build that was planned. If the gates
// have opened for a newer build since, the planned one still goes. It refuses with a Conflict
// what may not be done any more, and with a Refusal what never could be done.
//
// Other changes since the plan, such as a build that entered, approvals of others, or a
// retry, change what has to be done to get there. They are no conflict.
func Confirm(now Snapshot, stage pipeline.Stage, intent Intent) (Move, error) {
	r := newRules(now.state)
	conflict := func(kind ConflictKind, build string, why *Refusal) error {
		return &pipeline.Error{Code: pipeline.CodeConflict, Op: "move " + describe(stage), Hint: "Plan again.", Err: &Conflict{
			Kind: kind, Pipeline: stage.Pipeline, Stage: stage.Name, Build: intent.Candidate.ID, Now: build, Refusal: why,
		}}
	}
	if recorded, exists := r.Stages[stage.Name]; exists && intent.Position > 0 &&
		r.Version(pipeline.RecordStage, stage.Name) > intent.Position && redefined(stage, recorded) {
		return Move{}, conflict(ConflictRedefined, "", nil)
	}
	move := r.decide(stage)
	planned := intent.Candidate.ID
	if move.Refusal != nil && intent.Position > 0 && planned != "" && planned == stage.Pin { // the plan let it pass
		return move, conflict(ConflictRefused, "", move.Refusal)
	}
	switch {
	case move.Refusal != nil, planned == move.Candidate.ID, intent.Candidate.Unknown, planned == "" && intent.Position == 0:
		return move, move.Err()
	case planned == "": // it was to stay without one
		return r.start(stage), nil
	}
	current := r.Current[stage.Name].Build
	why := r.checkPin(stage, planned)
	if p, paused := r.Pauses[stage.Name]; why == nil && paused && planned != current {
		why = pausedRefusal(stage, p)
	}
	switch {
	case why != nil:
		return move, conflict(ConflictRefused, "", why)
	case stage.Trigger == pipeline.TriggerManual && planned != current:
		return move, conflict(ConflictPromoted, move.Candidate.ID, nil)
	case r.Builds[planned].Order < r.Builds[current].Order:
		return move, conflict(ConflictMovedOn, current, nil)
	}
	pinned := stage
	pinned.Pin = planned
	move = r.decide(pinned)
	move.Stage = stage
	return move, move.Err()
}
