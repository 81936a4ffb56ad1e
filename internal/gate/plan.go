// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Snapshot is a pipeline at a position of its ledger. It is never changed.
type Snapshot struct {
	state *pipeline.State
	// Position is the sequence number of the last event that the state has; 0 if nobody needs
	// to know.
	Position int64
}

// At makes a snapshot of a state, which must not change any more.
func At(st *pipeline.State, position int64) Snapshot { return Snapshot{st, position} }

// State returns the state of the snapshot. The caller must not change it.
func (s Snapshot) State() *pipeline.State { return s.state }

// Value is the ID of a build, or that it is not known before the apply.
type Value struct {
	ID      string // empty for none
	Unknown bool
}

func known(id string) Value { return Value{ID: id} }

// Unknown is a build that only the apply finds out.
var Unknown = Value{Unknown: true}

// Desired is what a configuration says of a pipeline. The zero value wants what is recorded.
type Desired struct {
	Pipeline        *pipeline.Pipeline // nil: as it is recorded
	PipelineUnknown bool               // its definition is not known yet
	// Stages are the stages whose definition may differ from the recorded one, by name.
	Stages map[string]Want
	// Alone plans each stage as if no other moved: by what the stages above have passed until
	// now. That is what the next apply does to the stage first.
	Alone bool
	// Person is the person who applies; nil if the plan does not depend on their rights.
	Person *pipeline.Person
}

// Want is what a configuration says of a stage.
type Want struct {
	Stage pipeline.Stage // with its defaults
	// Unknown says that only the name, the type and the stages above are known of the
	// definition yet.
	Unknown bool
	// Create says that the stage is created in the apply. What people decide until then is
	// unknown, and so is everything that depends on it.
	Create bool
	// Unordered names stages above that the apply does not run before this one, though they may
	// run in it. Pending names those of which it is not known yet what they will have passed.
	// For all others the plan knows.
	Unordered, Pending map[string]bool
}

// Action is what an apply will do to a stage.
type Action string

// The actions.
const (
	ActionNone    Action = "none"
	ActionRun     Action = "run"     // run the stage for the candidate
	ActionAdopt   Action = "adopt"   // the candidate has passed already; only the stage moves to it
	ActionRestore Action = "restore" // the environment of the current build is gone; bring it up again
	ActionAdjust  Action = "adjust"  // the environment has another number of instances, or trusts other proxies
	ActionFinish  Action = "finish"  // what service.finish does is due for the current build
	ActionPublish Action = "publish" // the stage's channel is to lead to another image, or nowhere
	ActionEnd     Action = "end"     // the build that was tried in the environment is decided
	ActionUnknown Action = "unknown" // it depends on what the stages above do in the apply
)

// Move is what an apply does to a stage, and why.
type Move struct {
	Stage     pipeline.Stage // as it is wanted
	Candidate Value          // that the stage moves to; none for a bootstrap stage
	Origin    Origin         // of the candidate
	Action    Action
	Why       Why
	Wait      Wait  // what it waits for
	Passed    Value // the newest build that will have passed the stage
	Instances int   // wanted in the environment; 0 without one
	Redefined bool  // another definition than this one is recorded
	Publishes bool  // the stage's channel changes, or may change, in the apply
	Refusal   *Refusal
}

// Err returns the refusal of a move as an error; nil where nothing refuses it.
func (m Move) Err() error {
	if m.Refusal == nil {
		return nil
	}
	return m.Refusal.During("move " + describe(m.Stage))
}

// Moves reports whether the stage goes to its candidate in the apply.
func (m Move) Moves() bool { return m.Action == ActionRun || m.Action == ActionAdopt }

// Planned is what an apply will do to a pipeline. It is for one caller at a time.
type Planned struct {
	Position        int64 // of the snapshot
	PipelineUnknown bool  // so that nothing is known of stages with environments
	planner         *planner
}

// Stage returns what becomes of a stage; the zero Move for a stage that does not exist.
func (p Planned) Stage(name string) Move { return p.planner.move(name) }

// Undefined reports whether the definition of a stage, or of one above it, is not known yet.
func (p Planned) Undefined(stage string) bool {
	above := p.planner.base.Ancestors(p.planner.base.Stages[stage].After)
	return slices.ContainsFunc(append(above, stage), func(name string) bool { return p.planner.want.Stages[name].Unknown })
}

// Moves returns what becomes of all stages, each behind those it comes after.
func (p Planned) Moves() []Move {
	var all []Move
	for _, s := range p.planner.base.StagesInOrder() {
		all = append(all, p.Stage(s.Name))
	}
	return all
}

// State returns the pipeline as the stages after the given ones find it, as far as that is
// known: the snapshot, with what is wanted and the builds that stages above go back to laid
// over it. The caller must not change it.
func (p Planned) State(after ...string) *pipeline.State { return p.planner.below(after).State }

// Plan plans an apply.
func Plan(at Snapshot, want Desired) Planned {
	p := &planner{recorded: at.state, want: want, moves: map[string]Move{}, views: map[string]*rules{}}
	p.base = newRules(p.wanted())
	return Planned{at.Position, want.PipelineUnknown, p}
}

// Now plans each stage of a state alone, as it is recorded. Faces show this plan.
func Now(st *pipeline.State) Planned { return Plan(At(st, 0), Desired{Alone: true}) }
