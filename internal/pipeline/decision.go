// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"maps"
	"slices"
)

// Overridden reports whether the stage counts as passed for the build by an override that
// still counts.
func (s *State) Overridden(stage Stage, build string) bool {
	o, ok := s.Overrides[StageBuild(stage.Name, build)]
	if !ok {
		return false
	}
	v, _ := s.ResultOf(stage, build)
	return o.Run == v.ID && o.Inputs == s.Inputs(stage, build)
}

// DecisionOn returns the decision on a build at a stage as far as it counts. An approval
// counts if it is of the run that the build's result is from, of the content that the build
// has, and by as many people as must approve.
func (s *State) DecisionOn(stage Stage, build string) DecisionResult {
	d := s.Decisions[StageBuild(stage.Name, build)]
	if d.Result == Approved && s.Ballot(stage, build).MissingApprovals() > 0 {
		return ""
	}
	return d.Result
}

// IsDecided reports whether a build is rejected at a stage, or approved by as many people as
// must.
func (s *State) IsDecided(stage Stage, build string) bool { return s.DecisionOn(stage, build) != "" }

// Outcome is the result of a build at a stage.
type Outcome string

// The outcomes. A build that did not run at a stage has no outcome there.
const (
	OutcomePassed     Outcome = "passed"
	OutcomeFailed     Outcome = "failed"
	OutcomeRejected   Outcome = "rejected"   // there or above
	OutcomeWaiting    Outcome = "waiting"    // for a decision
	OutcomeSuperseded Outcome = "superseded" // undecided, and the stage has moved beyond it
	OutcomeOverridden Outcome = "overridden" // an override let it pass the gate, and it has not run since
)

// Outcome returns the result of a build at a stage; empty if it did not run. It says that
// there is an override only while that counts; the state's Overrides have it permanently.
func (s *State) Outcome(stage Stage, build string) Outcome {
	v, ok := s.ResultOf(stage, build)
	rejected := s.RejectedAbove(stage, build)
	switch {
	case rejected == stage.Name:
		return OutcomeRejected
	case rejected == "" && s.Overridden(stage, build):
		return OutcomeOverridden
	case !ok:
		return ""
	case v.Status == RunFailed:
		return OutcomeFailed
	case s.Passed(stage.Name, build):
		return OutcomePassed
	case stage.Approval && rejected == "" && Superseded(s, stage, build):
		return OutcomeSuperseded
	case stage.Approval && rejected == "":
		return OutcomeWaiting
	default:
		return OutcomeRejected
	}
}

// Superseded reports whether a stage has moved beyond an undecided build: a newer one has
// passed it, or waits there for a decision, or the stage is defined otherwise since. If the
// newer one is rejected, the build waits again.
func Superseded(s *State, stage Stage, build string) bool {
	if s.Current[stage.Name].Build == build {
		return false
	}
	if v, _ := s.ResultOf(stage, build); v.Digest != stage.Digest(s.Pipeline) {
		return true
	}
	for newer := range s.NewestBuilds() {
		if newer.Order <= s.Builds[build].Order {
			break
		}
		v, _ := s.ResultOf(stage, newer.ID)
		if v.Status == RunPassed && s.RejectedAt(newer.ID) == "" || s.Passed(stage.Name, newer.ID) {
			return true
		}
	}
	return false
}

// RejectedAbove returns the stage, the given one or one above it, at which the build is
// rejected, or "".
func (s *State) RejectedAbove(stage Stage, build string) string {
	return rejectedAmong(s, append([]string{stage.Name}, s.Ancestors(stage.After)...), build)
}

// RejectedAt returns the stage at which the build is rejected, or "". A rejected build enters
// no further stage, and nobody can launch it.
func (s *State) RejectedAt(build string) string {
	return rejectedAmong(s, slices.Sorted(maps.Keys(s.Stages)), build)
}

func rejectedAmong(s *State, stages []string, build string) string {
	for _, name := range stages {
		if s.Decisions[StageBuild(name, build)].Result == Rejected {
			return name
		}
	}
	return ""
}

// Authors returns the people who wrote what a build would bring past a stage: the authors and
// the committers of its commits and of those of the builds before it, back to the newest that
// passed.
func (s *State) Authors(stage Stage, build string) []string {
	seen := map[string]bool{}
	for b := range s.NewestBuilds() {
		if b.Order > s.Builds[build].Order {
			continue
		}
		if b.ID != build && s.Passed(stage.Name, b.ID) {
			break
		}
		for _, author := range append(slices.Clone(b.Authors), b.Revision.Author, b.Revision.Committer) {
			seen[author] = true
		}
	}
	delete(seen, "")
	return slices.Sorted(maps.Keys(seen))
}

// DecidedEnvironment returns the environment in which a stage's build was tried, if nobody has
// to try it any more: the build has been decided there since, or it stands rejected at any
// stage, so that nobody may approve it.
func (s *State) DecidedEnvironment(stage Stage) (Environment, bool) {
	env, ok := s.RunEnvironment(stage.Name, ForInquiry)
	if !ok || !env.Serves() {
		return env, false
	}
	decided := s.DecisionOn(stage, env.Build) != "" && s.Decisions[StageBuild(stage.Name, env.Build)].Run == env.Run
	return env, decided || s.RejectedAt(env.Build) != ""
}
