// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "slices"

// Ballot is what people have said so far of a build at a stage, as far as it counts: of the
// run that the build's result is from, and of the content that the build has.
type Ballot struct {
	decision Decision
	evidence RunSummary // the run that the build's result is from
	inputs   Inputs     // the content that the build has
	rights   *Authorization
}

// Ballot returns what people have said of a build at a stage.
func (s *State) Ballot(stage Stage, build string) Ballot {
	evidence, _ := s.ResultOf(stage, build)
	return Ballot{s.Decisions[StageBuild(stage.Name, build)], evidence, s.Inputs(stage, build), s.Pipeline.Authorization}
}

// Approvals returns the approvals that count. A vote to lift a rejection is no approval if
// the run did not pass.
func (b Ballot) Approvals() []Approval {
	d := b.decision
	if d.Result != Approved || b.evidence.Status != RunPassed || d.Run != b.evidence.ID || d.Inputs != b.inputs {
		return nil
	}
	return d.Approvals
}

// ApprovedBy reports whether a person's approval counts already.
func (b Ballot) ApprovedBy(who Person) bool { return b.rights.voted(who, b.Approvals()) }

// MissingApprovals returns how many more people must approve the build.
func (b Ballot) MissingApprovals() int { return b.rights.missing(b.Approvals()) }

// LiftVotes returns the votes to lift the rejection that count: those since the last
// rejection. An earlier approval is no such vote.
func (b Ballot) LiftVotes() []Approval {
	d := b.decision
	if d.Result != Rejected || d.Lift == nil || d.Lift.Run != b.evidence.ID || d.Lift.Inputs != b.inputs {
		return nil
	}
	return d.Lift.Votes
}

// LiftedBy reports whether a person's vote to lift the rejection counts already.
func (b Ballot) LiftedBy(who Person) bool { return b.rights.voted(who, b.LiftVotes()) }

// MissingLifts returns how many more people must vote to lift the rejection: as many as must
// approve a build.
func (b Ballot) MissingLifts() int { return b.rights.missing(b.LiftVotes()) }

// voted reports whether a person is among those who voted.
func (a *Authorization) voted(who Person, votes []Approval) bool {
	person := a.Person(who)
	return slices.ContainsFunc(votes, func(v Approval) bool { return v.Person == person })
}

// missing returns how many more people must vote.
func (a *Authorization) missing(votes []Approval) int {
	people := map[string]bool{}
	for _, v := range votes {
		people[v.Person] = true
	}
	return max(a.Needed()-len(people), 0)
}
