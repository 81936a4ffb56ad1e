// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// Status is where a stage stands, as people see it.
type Status string

// The statuses of a stage.
const (
	StatusIdle     Status = "idle"     // there is nothing for it to do
	StatusWaiting  Status = "waiting"  // for a person or for a stage above
	StatusPassed   Status = "passed"   // its candidate passed
	StatusRejected Status = "rejected" // its candidate was rejected
	StatusRunning  Status = "running"  // its run is under way
	StatusReady    Status = "ready"    // the next apply moves it
	StatusFailed   Status = "failed"   // its last run failed, and the next apply tries again
)

// Statuses are all that a stage or a baked image may be shown to have, in the order of a
// legend.
var Statuses = []Status{StatusPassed, StatusRunning, StatusReady, StatusWaiting, StatusFailed, StatusRejected, StatusIdle}

// Action is what an apply will do to a stage.
type Action string

// The actions.
const (
	ActionNone    Action = "none"
	ActionRun     Action = "run"     // run the stage for the candidate
	ActionAdopt   Action = "adopt"   // the candidate has passed already; only the stage moves to it
	ActionRestore Action = "restore" // the held build's environment is gone; bring it up again
	ActionAdjust  Action = "adjust"  // the environment has another number of instances, or trusts other proxies
	ActionEnd     Action = "end"     // the build that was tried in the environment is decided
)

// Move is what a stage does next, and why.
type Move struct {
	Candidate  string // build ID; empty for none, and for a bootstrap stage
	Action     Action
	Why        string // of a run, in words
	Status     Status
	WaitingFor string // in words; empty when it waits for nothing
	Instances  int    // wanted in the environment; 0 without one
	Err        error  // a gate refuses the pin, with CodeRefused, CodeNotFound or CodeInvalid
}

// Launch says what a stage's environment is made from.
type Launch struct {
	Image    string // image ID; empty for an empty root
	Install  bool   // install the artifact on it
	Artifact *Artifact
}

// Decide applies the gate rules to a stage: which build is its candidate, and
// what has to be done. The stage need not be the one in the state, so that a
// changed definition can be tried before it is recorded. It changes nothing.
func Decide(s *State, stage Stage) Move {
	m := Move{Action: ActionNone, Instances: stage.Instances(s.Pipeline)}
	held := s.Current[stage.Name].Build
	if f, ok := s.Pauses[stage.Name]; ok {
		return s.decidePaused(stage, m, f, held)
	}
	if !stage.TakesBuild() {
		return s.decideBootstrap(stage, m)
	}
	next := s.next(stage)
	if m.Candidate, m.Action, m.Why, m.Err = next.Candidate, next.Action, next.Why, next.Err; m.Err != nil {
		m.Status = StatusWaiting
		return m
	}
	m.Status, m.WaitingFor = s.status(stage, m)
	return m
}

// next decides the build and the action of a stage that nobody holds.
func (s *State) next(stage Stage) Move {
	m := Move{Action: ActionNone}
	if !stage.TakesBuild() {
		return s.decideBootstrap(stage, m)
	}
	held := s.Current[stage.Name].Build
	if m.Candidate, m.Err = s.candidate(stage, held); m.Err != nil {
		return m
	}
	if m.Candidate != "" {
		m.Action, m.Why = s.action(stage, m.Candidate, held)
	}
	if _, ok := s.DecidedEnvironment(stage); ok && m.Action == ActionNone {
		m.Action, m.Why = ActionEnd, "the build in its environment is decided"
	}
	return m
}

func (s *State) decideBootstrap(stage Stage, m Move) Move {
	v, ok := s.ResultOf(stage, "")
	switch {
	case s.missing(stage, "") != nil:
		m.Status, m.WaitingFor = StatusWaiting, quoteList(s.missing(stage, ""))+" to pass"
	case !ok || v.Digest != stage.Digest(s.Pipeline):
		m.Action, m.Why, m.Status = ActionRun, "its definition has not run yet", StatusIdle
	case v.Status != RunPassed:
		m.Action, m.Why, m.Status = ActionRun, "its last run failed", StatusIdle
	case s.Retried(stage, v) != "":
		m.Action, m.Why, m.Status = ActionRun, s.Retried(stage, v), StatusIdle
	default:
		m.Status = StatusPassed
	}
	return m
}

// candidate gives the build that the stage should hold: rules 1 to 5.
func (s *State) candidate(stage Stage, held string) (string, error) {
	switch {
	case stage.Pin != "":
		return stage.Pin, s.CheckPin(stage, stage.Pin)
	case stage.Type == TypeCommit:
		return s.commitCandidate(stage), nil
	case stage.Trigger == TriggerManual:
		promoted, ok := s.Promotions[stage.Name]
		newer := s.Version(RecordPromotion, stage.Name) > s.consumed(stage.Name)
		if ok && newer && s.MayEnter(stage, promoted.Build) {
			return promoted.Build, nil
		}
	default:
		if newest, ok := s.NewestEligible(stage, s.Builds[held].Order); ok {
			return newest, nil
		}
	}
	if held != "" && s.rejectedAt(stage, held) != "" {
		return s.onOfferAgain(stage, held), nil
	}
	return held, nil
}

// onOfferAgain gives the newest build before a rejected one that still waits for its
// decision at a stage, or "". What is older than one that passed does not wait any more.
func (s *State) onOfferAgain(stage Stage, rejected string) string {
	if !stage.Approval || stage.Trigger != TriggerAutomatic {
		return ""
	}
	digest := stage.Digest(s.Pipeline)
	for b := range s.NewestBuilds() {
		v, ran := s.ResultOf(stage, b.ID)
		switch {
		case b.Order >= s.Builds[rejected].Order:
		case s.Passed(stage.Name, b.ID):
			return ""
		case ran && v.Status == RunPassed && v.Digest == digest && s.decided(stage, b.ID) == "" && s.MayEnter(stage, b.ID):
			return b.ID
		}
	}
	return ""
}

// answered gives the version of the newest promotion that the stage has followed, or
// that no longer counts.
func (s *State) consumed(stage string) int64 {
	if at := s.Current[stage].Promotion; at != nil {
		return *at
	}
	return s.Version(RecordCurrent, stage)
}

// Answers gives the version of the newest promotion that counts no more once the stage
// has moved to a build: the one that asks for it, or any where the stage is pinned. One
// that is made while the stage moves stays for the next move.
func (s *State) Consumes(stage Stage, build string) int64 {
	if stage.Pin != "" || s.Promotions[stage.Name].Build == build {
		return s.Version(RecordPromotion, stage.Name)
	}
	return s.consumed(stage.Name)
}

func (s *State) commitCandidate(stage Stage) string {
	if stage.Source == nil {
		return ""
	}
	id := BuildID(stage.Pipeline, stage.Source.Digest, stage.BaseImage)
	if s.rejectedAt(stage, id) != "" || len(s.missing(stage, id)) > 0 {
		return ""
	}
	return id
}

// NewestEligible gives the newest build above the given order that may enter the stage.
func (s *State) NewestEligible(stage Stage, above int64) (string, bool) {
	for b := range s.NewestBuilds() {
		if b.Order <= above {
			break
		}
		if s.MayEnter(stage, b.ID) {
			return b.ID, true
		}
	}
	return "", false
}

// MayEnter reports whether a build may enter a stage. It is quicker than Obstacle.
func (s *State) MayEnter(stage Stage, build string) bool {
	_, exists := s.Builds[build]
	return exists && s.RejectedAt(build) == "" && len(s.lacks(stage, build)) == 0
}

// Eligible reports why a build may not enter a stage: nil when it may.
func (s *State) Eligible(stage Stage, build string) error {
	o, found := s.Obstacle(stage, build)
	if !found {
		return nil
	}
	return o.Err(fmt.Sprintf("enter build %s into %s", build, stage.describe()))
}

// CheckPin reports why a stage may not be pinned to a build. A pin to what the
// stage holds already opens no gate, so it needs only not to be rejected.
func (s *State) CheckPin(stage Stage, build string) error {
	if !ValidBuildID(build) {
		return stage.PinError(build)
	}
	if s.Current[stage.Name].Build == build && s.rejectedAt(stage, build) == "" {
		return nil
	}
	return s.Eligible(stage, build)
}

// AuthorizePin refuses, with CodeNotAllowed, a pin that moves a guarded stage for who
// may not deploy. One that leaves the stage where it is needs no right.
func (s *State) AuthorizePin(stage Stage, who Person) error {
	if stage.Pin == "" || !stage.RequiresDeployRight() || s.Current[stage.Name].Build == stage.Pin {
		return nil
	}
	return s.Pipeline.Authorize(RightDeploy, who, fmt.Sprintf("move stage %q to build %s", stage.Name, stage.Pin))
}

// PinError is the error for a string that is no build ID.
func (s Stage) PinError(build string) error {
	return Errorf(CodeInvalid, "move "+s.describe(), "%q is not a build ID", build).
		WithHint("A build ID is \"b-\" and ten hexadecimal digits; list them with `penstock builds %s`.", s.Pipeline)
}

// describe names the stage. One without a name is the gate of an environment.
func (s Stage) describe() string {
	if s.Name == "" {
		return "an environment"
	}
	return fmt.Sprintf("stage %q", s.Name)
}

// Passed reports whether a build passed a stage: its run under the stage's present
// definition, or its latest where it has none, passed; it is not rejected there
// or above; and where the stage needs approval, that run was approved.
func (s *State) Passed(stage, build string) bool {
	up, ok := s.Stages[stage]
	if !ok {
		return false
	}
	if !up.TakesBuild() {
		build = ""
	}
	v, ok := s.ResultOf(up, build)
	switch {
	case build != "" && s.rejectedAt(up, build) != "":
		return false
	case s.overridden(up, build, v):
		return true
	case !ok || v.Status != RunPassed:
		return false
	case up.Approval && build != "":
		return s.decided(up, build) == Approved
	}
	return true
}

// NewestPassed gives the newest build that passed the stage, or "".
func (s *State) NewestPassed(stage string) string {
	if !s.Stages[stage].TakesBuild() {
		return ""
	}
	for b := range s.NewestBuilds() {
		if s.Passed(stage, b.ID) {
			return b.ID
		}
	}
	return ""
}

// VerdictOf gives the run that judges the build at the stage.
func (s *State) ResultOf(stage Stage, build string) (RunSummary, bool) {
	all := s.Results[StageBuild(stage.Name, build)]
	if len(all) == 0 {
		return RunSummary{}, false
	}
	if len(all) == 1 {
		return all[0], true
	}
	digest := stage.Digest(s.Pipeline)
	for _, v := range all {
		if v.Digest == digest {
			return v, true
		}
	}
	return all[len(all)-1], true
}

// missing lists the stages upstream that the build has not passed.
func (s *State) missing(stage Stage, build string) []string {
	var names []string
	for _, up := range stage.Upstream() {
		if !s.Passed(up, build) {
			names = append(names, up)
		}
	}
	return names
}

// action says what has to be done for the stage to hold the candidate: rule 6.
func (s *State) action(stage Stage, candidate, held string) (Action, string) {
	v, ok := s.ResultOf(stage, candidate)
	digest := stage.Digest(s.Pipeline)
	asked := s.Retried(stage, v)
	if asked == "" && s.overridden(stage, candidate, v) && s.Overrides[StageBuild(stage.Name, candidate)].Digest == digest {
		if held != candidate {
			return ActionAdopt, "build " + candidate + " was let through"
		}
		return ActionNone, ""
	}
	switch {
	case !ok:
		return ActionRun, "build " + candidate + " has not run here"
	case v.Digest != digest:
		return ActionRun, "the stage's definition changed"
	case asked != "":
		return ActionRun, asked
	case v.Status != RunPassed:
		return ActionRun, "its last run failed"
	}
	if stage.Trigger == TriggerAutomatic && stage.Type != TypeCommit && v.Inputs != s.Inputs(stage, candidate) {
		return ActionRun, "the artifact or image of build " + candidate + " changed"
	}
	if action, why := s.environmentAction(stage, candidate, digest); action != ActionNone {
		return action, why
	}
	if held != candidate {
		return ActionAdopt, "build " + candidate + " passed before"
	}
	return ActionNone, ""
}

// environmentAction says what has to be done to the environment of a stage whose
// candidate has passed.
func (s *State) environmentAction(stage Stage, candidate, digest string) (Action, string) {
	switch {
	case stage.Persistent():
		env, ok := s.RunEnvironment(stage.Name, ForStage)
		switch {
		case !ok || !env.Serves():
			return ActionRestore, "its environment is gone"
		case env.Build != candidate:
			return ActionRun, "its environment runs another build"
		case env.Digest != digest:
			return ActionRun, "its environment runs another definition"
		case env.Spec.InstanceType != stage.EnvironmentFor(s.Pipeline).InstanceType:
			return ActionRun, "its environment has instances of another type"
		case env.Instances != stage.Instances(s.Pipeline):
			return ActionAdjust, fmt.Sprintf("its environment is to have %d instances", stage.Instances(s.Pipeline))
		case !env.Spec.TrustsAlike(*stage.Env):
			return ActionAdjust, "its endpoint is to trust other proxies"
		}
	case stage.Approval && stage.Env != nil && s.decided(stage, candidate) == "":
		if env, ok := s.RunEnvironment(stage.Name, ForInquiry); !ok || !env.Serves() || env.Build != candidate {
			return ActionRestore, "the environment to try it in is gone"
		}
	}
	return ActionNone, ""
}

// Launch says what an environment of the stage is made from for a build: the
// application image that a stage above baked, else the base image with the
// artifact installed on it. The zero Stage asks on behalf of a person.
func (s *State) Launch(stage Stage, build string) Launch {
	b := s.Builds[build]
	above := stage.Name == "" || slices.Contains(s.Ancestors(stage.After), b.BakedBy)
	if b.Image != "" && !stage.Bake && above {
		return Launch{Image: b.Image}
	}
	return Launch{Image: b.BaseImage, Install: b.Artifact != nil && s.Pipeline.Service.Install != "", Artifact: b.Artifact}
}

// Inputs gives what a run of the stage for the build consumes.
func (s *State) Inputs(stage Stage, build string) Inputs {
	var in Inputs
	if a := s.Builds[build].Artifact; a != nil && stage.Type != TypeCommit {
		in.Artifact = a.Digest
	}
	if stage.Env != nil {
		in.Image = s.Launch(stage, build).Image
	}
	return in
}

// standing gives the stage's status and, in words, what it waits for.
func (s *State) status(stage Stage, m Move) (Status, string) {
	c := m.Candidate
	if c == "" {
		return s.statusWithout(stage)
	}
	if m.Action == ActionRun || m.Action == ActionRestore {
		return StatusIdle, ""
	}
	if stage.Approval && !s.Passed(stage.Name, c) {
		return StatusWaiting, s.waitsForDecision(stage, c)
	}
	if status, what := s.waitsForNewer(stage, c); what != "" {
		return status, what
	}
	return StatusPassed, ""
}

// standingWithout is the standing of a stage that has no candidate.
func (s *State) statusWithout(stage Stage) (Status, string) {
	if status, what := s.waitsForNewer(stage, ""); what != "" {
		return status, what
	}
	for newest := range s.NewestBuilds() {
		if at := s.RejectedAt(newest.ID); at != "" {
			return StatusRejected, fmt.Sprintf("a build newer than %s, which was rejected at stage %q", newest.ID, at)
		}
		break
	}
	if a, b, never := s.neverMeet(stage); never {
		return StatusWaiting, fmt.Sprintf("nothing: no build can ever pass both %q and %q", a.stage, b.stage)
	}
	if len(stage.Upstream()) > 0 {
		return StatusWaiting, "a build that passed " + quoteList(stage.Upstream())
	}
	return StatusIdle, ""
}

// waitsForNewer says what keeps the newest build that can still come from the stage.
func (s *State) waitsForNewer(stage Stage, current string) (Status, string) {
	if stage.Pin != "" || stage.Type == TypeCommit {
		return StatusPassed, ""
	}
	above := s.Builds[current].Order
	if stage.Trigger == TriggerManual {
		if b, ok := s.NewestEligible(stage, above); ok {
			return StatusWaiting, fmt.Sprintf("a promotion of %s: `penstock promote %s %s %s`, or build = %q", b, stage.Pipeline, stage.Name, b, b)
		}
	}
	l := s.outlook()
	for b := range s.NewestBuilds() {
		if b.Order <= above {
			break
		}
		if what := l.waitFor(stage, b.ID); what != "" {
			return StatusWaiting, what
		}
	}
	return StatusPassed, ""
}

// QuoteList writes names for a message; none is what instead says.
func QuoteList(names []string, instead string) string {
	if len(names) == 0 {
		return instead
	}
	return quoteList(names)
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}
