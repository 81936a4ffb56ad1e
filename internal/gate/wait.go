// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Status is the status of a stage, as people see it.
type Status string

// The statuses of a stage.
const (
	StatusIdle     Status = "idle"     // there is nothing for it to do, or an apply does it
	StatusWaiting  Status = "waiting"  // for a person or for a stage above
	StatusPassed   Status = "passed"   // its candidate passed
	StatusRejected Status = "rejected" // its candidate was rejected
)

// WaitKind says what a stage waits for.
type WaitKind string

// The kinds of wait.
const (
	WaitDecision  WaitKind = "decision"  // on Build, by people; Missing of Needed approvals
	WaitPromotion WaitKind = "promotion" // of Build, by a person or a pin
	WaitPassed    WaitKind = "passed"    // Build, or a stage that takes none, to pass Stages
	WaitBuild     WaitKind = "build"     // any build that passed Stages
	WaitNewer     WaitKind = "newer"     // a build newer than Build, which was rejected at Stages[0]
	WaitNever     WaitKind = "never"     // nothing: no build can ever pass both Stages
	WaitResume    WaitKind = "resume"    // the end of Pause
)

// Wait is what a stage waits for. The zero value waits for nothing.
type Wait struct {
	Kind            WaitKind
	Pipeline, Stage string // that waits
	Build           string
	Stages          []string
	Missing, Needed int          // approvals
	At              ObstacleKind // of WaitPassed at one stage: what keeps the build there
	Pause           pipeline.Pause
}

// Waits reports whether there is something to wait for.
func (w Wait) Waits() bool { return w.Kind != "" }

// WaitError says that there is no build for what was asked of a stage, because the stage
// waits.
type WaitError struct{ Wait Wait }

// Error says so, but not what the stage waits for.
func (*WaitError) Error() string { return "no build waits for a decision there" }

// DecisionAwaited is what a stage waits for while people have not decided on a build.
func DecisionAwaited(st *pipeline.State, stage pipeline.Stage, build string) Wait {
	return Wait{
		Kind: WaitDecision, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build,
		Missing: st.Ballot(stage, build).MissingApprovals(), Needed: st.Pipeline.Authorization.Needed(),
	}
}

// status returns the stage's status and what it waits for.
func (r *rules) status(stage pipeline.Stage, m Move) (Status, Wait) {
	c := m.Candidate.ID
	if c == "" {
		return r.statusWithout(stage)
	}
	if m.Action == ActionRun || m.Action == ActionRestore {
		return StatusIdle, Wait{}
	}
	if stage.Approval && !r.Passed(stage.Name, c) {
		return StatusWaiting, DecisionAwaited(r.State, stage, c)
	}
	if w := r.waitsForNewer(stage, c); w.Waits() {
		return StatusWaiting, w
	}
	return StatusPassed, Wait{}
}

// statusWithout returns the status of a stage that has no candidate.
func (r *rules) statusWithout(stage pipeline.Stage) (Status, Wait) {
	if w := r.waitsForNewer(stage, ""); w.Waits() {
		return StatusWaiting, w
	}
	w := Wait{Pipeline: stage.Pipeline, Stage: stage.Name}
	for newest := range r.NewestBuilds() {
		if at := r.RejectedAt(newest.ID); at != "" {
			w.Kind, w.Build, w.Stages = WaitNewer, newest.ID, []string{at}
			return StatusRejected, w
		}
		break
	}
	if a, b, never := pipeline.NeverMeet(r.State, stage); never {
		w.Kind, w.Stages = WaitNever, []string{a, b}
		return StatusWaiting, w
	}
	if up := stage.Upstream(); len(up) > 0 {
		w.Kind, w.Stages = WaitBuild, up
		return StatusWaiting, w
	}
	return StatusIdle, Wait{}
}

// waitsForNewer returns what keeps the newest build that can still come from the stage.
func (r *rules) waitsForNewer(stage pipeline.Stage, current string) Wait {
	if stage.Pin != "" || stage.Type == pipeline.TypeCommit {
		return Wait{}
	}
	above := r.Builds[current].Order
	if stage.Trigger == pipeline.TriggerManual {
		if b, ok := r.newestEligible(stage, above); ok {
			return Wait{Kind: WaitPromotion, Pipeline: stage.Pipeline, Stage: stage.Name, Build: b}
		}
	}
	for b := range r.NewestBuilds() {
		if b.Order <= above {
			break
		}
		if w := r.waitFor(stage, b.ID); w.Waits() {
			return w
		}
	}
	return Wait{}
}

// waitFor returns what has to happen before a build can enter a stage; the zero Wait if the
// build never comes, or may enter.
func (r *rules) waitFor(stage pipeline.Stage, build string) Wait {
	if r.RejectedAt(build) != "" || len(r.lacks(stage, build)) == 0 {
		return Wait{}
	}
	w := Wait{Kind: WaitPassed, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build}
	all := r.ahead(stage, build)
	for _, o := range all {
		if !o.Comes {
			return Wait{}
		}
		w.Stages = append(w.Stages, o.Stage)
	}
	if len(all) == 1 {
		w.Build, w.At = all[0].Build, all[0].Kind
	}
	return w
}
