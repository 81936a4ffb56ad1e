// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"

// The statuses that a stage has beside those of its plan: by its latest run, or because the
// next apply does something.
const (
	StatusRunning Status = "running"
	StatusReady   Status = "ready"  // the next apply moves it
	StatusFailed  Status = "failed" // its last run failed, and the next apply tries again
)

// Statuses are what faces show, in the order of a legend.
var Statuses = []Status{StatusPassed, StatusRunning, StatusReady, StatusWaiting, StatusFailed, StatusRejected, StatusIdle}

// Shown returns the status of a stage, in one word, by its plan and its latest run.
func Shown(m Move, latest pipeline.RunSummary) Status {
	switch {
	case latest.Status == pipeline.RunRunning:
		return StatusRunning
	case Fails(m, latest):
		return StatusFailed
	case m.Refusal != nil, m.Wait.Waits():
		return m.Status
	case m.Action != ActionNone:
		return StatusReady
	}
	return m.Status
}

// Fails reports whether a stage's latest run failed, and the stage does not move on before it
// has passed.
func Fails(m Move, latest pipeline.RunSummary) bool {
	return latest.Status == pipeline.RunFailed && m.Action == ActionRun
}

// ShownImage returns the status of a baked image, in one word.
func ShownImage(image pipeline.ImageDefinition, latest pipeline.RunSummary) Status {
	switch {
	case latest.Status == pipeline.RunFailed:
		return StatusFailed
	case latest.Status == pipeline.RunRunning:
		return StatusRunning
	case image.Image == "":
		return StatusIdle
	}
	return StatusPassed
}

// Undecided returns the build that waits for a decision at a stage; empty if there is none.
func Undecided(st *pipeline.State, m Move) string {
	build := m.Candidate.ID
	if !m.Stage.Approval || build == "" || st.Outcome(m.Stage, build) != pipeline.OutcomeWaiting {
		return ""
	}
	return build
}

// Offered returns the build to which a person may move a stage; empty if there is none.
func Offered(st *pipeline.State, m Move) string {
	s := m.Stage
	if s.Trigger != pipeline.TriggerManual || !s.TakesBuild() {
		return ""
	}
	build, ok := NewestEligible(st, s, st.Builds[st.Current[s.Name].Build].Order)
	if !ok || m.Candidate.ID == build {
		return ""
	}
	return build
}
