// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"time"
)

// DecisionResult is what a person decided.
type DecisionResult string

// The results of a decision.
const (
	Approved DecisionResult = "approved"
	Rejected DecisionResult = "rejected"
)

// Decision is what people decided on a build at a stage. An approval counts for the content
// of the build and for the run, the evidence, that it was made on. A rejection counts until
// as many people as must approve a build have lifted it.
type Decision struct {
	Pipeline   string         `json:"pipeline"`
	Stage      string         `json:"stage"`
	Build      string         `json:"build"`
	Run        string         `json:"run,omitempty"`
	Inputs     Inputs         `json:"inputs,omitzero"` // the content that the run had
	Result     DecisionResult `json:"result"`
	Approvals  []Approval     `json:"approvals,omitempty"`  // of an approval: everybody's, in order
	Rejections []Rejection    `json:"rejections,omitempty"` // of a rejection: everybody's that count, in order
	Lift       *Lift          `json:"lift,omitempty"`       // of a rejection: the votes to lift it so far
	Lifted     []Rejection    `json:"lifted,omitempty"`     // of an approval: the rejections that it lifted
	Reason     string         `json:"reason,omitempty"`     // of the person who approved or rejected last, like the rest
	Actor      string         `json:"actor"`
	At         time.Time      `json:"at"`
}

// Rejection is one person's part in a rejection.
type Rejection struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Run    string    `json:"run,omitempty"` // that it was made on
	At     time.Time `json:"at"`
}

// Lift is what the people have voted who want to lift a rejection, while more people must
// vote. They all saw every rejection that counts, and the same evidence.
type Lift struct {
	Run    string     `json:"run,omitempty"`
	Inputs Inputs     `json:"inputs,omitzero"`
	Votes  []Approval `json:"votes"`
}

// Stand returns the rejections that count, in order.
func (d Decision) Stand() []Rejection {
	if d.Result == Rejected && len(d.Rejections) == 0 { // by one person, as it is when nobody lists them
		return []Rejection{{Actor: d.Actor, Reason: d.Reason, Run: d.Run, At: d.At}}
	}
	return d.Rejections
}

// Approval is one person's part in an approval, or in a lift of a rejection.
type Approval struct {
	Person string    `json:"person"` // the person's name in the pipeline's authorization
	Actor  string    `json:"actor"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Override lets a build pass a gate that it has not passed. The stage counts as passed for
// the content of the build and for the present evidence, until the evidence changes. The
// record is kept as long as that of the build.
type Override struct {
	Pipeline string    `json:"pipeline"`
	Stage    string    `json:"stage"`
	Build    string    `json:"build"`
	Run      string    `json:"run,omitempty"` // the run that the build's result was from; empty if it had none
	Inputs   Inputs    `json:"inputs,omitzero"`
	Digest   string    `json:"digest"` // of the stage's definition
	Reason   string    `json:"reason"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
}

// Pause keeps a stage where it is: no build enters it until it is resumed.
type Pause struct {
	Stage  string    `json:"stage"`
	Reason string    `json:"reason,omitempty"`
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
}

// Describe says who paused a stage, since when and why, to be read after "it is".
func (p Pause) Describe() string {
	text := fmt.Sprintf("paused by %s since %s", p.Actor, Moment(p.At.UTC()))
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

// Retry is a person's wish that a stage run once more for the build that it ran for.
type Retry struct {
	Stage string    `json:"stage"`
	Build string    `json:"build,omitempty"` // empty on a bootstrap stage
	Run   string    `json:"run"`             // the run to repeat
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
}

// Promotion is a person's wish that a stage move to a build.
type Promotion struct {
	Pipeline string    `json:"pipeline"`
	Stage    string    `json:"stage"`
	Build    string    `json:"build"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
	Restore  *Restore  `json:"restore,omitempty"` // the backup to restore with a rollback; absent for none
}

// Current is the build that a stage has moved to: the one that it runs, or that
// passed it last.
type Current struct {
	Stage string `json:"stage"`
	Build string `json:"build"`
	Run   string `json:"run,omitempty"`
	// Previous is the build that was current before; empty if there was none.
	Previous string `json:"previous,omitempty"`
	// At is when the stage moved to the build. It stays when the build runs there again.
	At time.Time `json:"at,omitzero"`
	// Promotion is the version of the newest promotion that this move consumed. It is nil if
	// an older Penstock recorded it, which then consumed all promotions before it.
	Promotion *int64 `json:"promotion,omitempty"`
}

// Since returns when a stage moves to a build that it moves to now: that is now, unless the
// build is its current build already.
func (c Current) Since(build string, now time.Time) time.Time {
	if c.Build == build && !c.At.IsZero() {
		return c.At
	}
	return now.UTC()
}

// Owns reports whether the named owner is the given person, who may go by several names.
func (a *Authorization) Owns(owner string, who Person) bool {
	return owner == who.Name || slices.Contains(who.Names, owner) || a.Person(Person{Name: owner}) == a.Person(who)
}

// Describe says who decided what last, and when.
func (d Decision) Describe() string {
	switch {
	case d.Result == Rejected && d.Lift != nil:
		vote := d.Lift.Votes[len(d.Lift.Votes)-1]
		return fmt.Sprintf("%s voted on %s to lift the rejection of build %s at stage %q %s", vote.Actor, whenDecided(vote.At), d.Build, d.Stage, DescribeRejections(d.Stand()))
	case d.Result == Rejected:
		return fmt.Sprintf("build %s was rejected at stage %q %s", d.Build, d.Stage, DescribeRejections(d.Stand()))
	case len(d.Lifted) > 0:
		return fmt.Sprintf("%s lifted on %s the rejection of build %s at stage %q %s", d.Actor, whenDecided(d.At), d.Build, d.Stage, DescribeRejections(d.Lifted))
	}
	text := fmt.Sprintf("%s approved build %s at stage %q on %s", d.Actor, d.Build, d.Stage, whenDecided(d.At))
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

// whenDecided writes the time of a decision.
func whenDecided(t time.Time) string { return Moment(t.UTC()) }

// DescribeRejections says who rejected a build, when and why.
func DescribeRejections(all []Rejection) string {
	text := ""
	for i, r := range all {
		if i > 0 {
			text += "; and "
		}
		text += fmt.Sprintf("by %s on %s: %s", r.Actor, whenDecided(r.At), r.Reason)
	}
	return text
}
