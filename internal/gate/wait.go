// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
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
	WaitElsewhere WaitKind = "elsewhere" // stages of other pipelines to pass a build
)

// Wait is what a stage waits for. The zero value waits for nothing.
type Wait struct {
	Kind            WaitKind
	Pipeline, Stage string // that waits
	Build           string
	Number          int64 // of Build; 0 where it is not known
	Stages          []string
	Missing, Needed int                  // approvals
	At              ObstacleKind         // of WaitPassed at one stage: what keeps the build there
	Elsewhere       []pipeline.Elsewhere // of WaitElsewhere: the stages
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
		Kind: WaitDecision, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build, Number: st.Builds[build].Number,
		Missing: st.Ballot(stage, build).MissingApprovals(), Needed: st.Pipeline.Authorization.Needed(),
	}
}

// waits returns what a stage waits for after a move.
func (r *rules) waits(stage pipeline.Stage, m Move) Wait {
	w := r.awaited(stage, m)
	w.Number = r.Builds[w.Build].Number
	return w
}

func (r *rules) awaited(stage pipeline.Stage, m Move) Wait {
	c := m.Candidate.ID
	switch {
	case !stage.TakesBuild():
		return m.Wait
	case m.Refusal != nil:
		return Wait{}
	case c == "":
		return r.waitsWithout(stage)
	case m.Action == ActionRun:
		return Wait{}
	case stage.Approval && !r.Passed(stage.Name, c):
		return DecisionAwaited(r.State, stage, c)
	case m.Action == ActionRestore:
		return Wait{}
	}
	return r.waitsForNewer(stage, c)
}

// awaitsElsewhere is what a stage waits for that stages of other pipelines keep closed for a
// build; for all where the build is empty.
func awaitsElsewhere(stage pipeline.Stage, build string) Wait {
	return Wait{Kind: WaitElsewhere, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build, Elsewhere: stage.Awaits()}
}

// waitsWithout returns what a stage waits for that has no candidate.
func (r *rules) waitsWithout(stage pipeline.Stage) Wait {
	if made := r.madeBy(stage); made != "" && len(r.Missing(stage, made)) == 0 && !opens(r.State, stage, made) {
		return awaitsElsewhere(stage, "")
	}
	if w := r.waitsForNewer(stage, ""); w.Waits() {
		return w
	}
	w := Wait{Pipeline: stage.Pipeline, Stage: stage.Name}
	for newest := range r.NewestBuilds() {
		if at := r.RejectedAt(newest.ID); at != "" {
			w.Kind, w.Build, w.Stages = WaitNewer, newest.ID, []string{at}
			return w
		}
		break
	}
	if a, b, never := pipeline.NeverMeet(r.State, stage); never {
		w.Kind, w.Stages = WaitNever, []string{a, b}
		return w
	}
	if up := stage.Upstream(); len(up) > 0 {
		w.Kind, w.Stages = WaitBuild, up
		return w
	}
	if len(stage.Awaits()) > 0 {
		return awaitsElsewhere(stage, "")
	}
	return Wait{}
}

// waitsForNewer returns what keeps the newest build that can still come from the stage. One
// that has failed above comes behind all others.
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
	var failed Wait // what may still come, if the next run of it passes
	for b := range r.NewestBuilds() {
		if b.Order <= above {
			break
		}
		switch w, fails := r.waitFor(stage, b.ID); {
		case w.Waits() && !fails:
			return w
		case !failed.Waits():
			failed = w
		}
	}
	return failed
}

// waitFor returns what has to happen before a build can enter a stage, and whether it failed
// on its way; the zero Wait if the build never comes, or may enter.
func (r *rules) waitFor(stage pipeline.Stage, build string) (w Wait, failed bool) {
	switch {
	case r.RejectedAt(build) != "":
		return Wait{}, false
	case len(r.lacks(stage, build)) == 0 && !opens(r.State, stage, build):
		return awaitsElsewhere(stage, build), false
	case len(r.lacks(stage, build)) == 0:
		return Wait{}, false
	}
	w = Wait{Kind: WaitPassed, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build}
	all := r.ahead(stage, build)
	if !r.arrives(stage, build, map[string]bool{}) {
		return Wait{}, false
	}
	for _, o := range all {
		if !o.Comes {
			return Wait{}, false
		}
		w.Stages, failed = append(w.Stages, o.Stage), failed || o.Run.Status == pipeline.RunFailed && o.Kind != ObstacleRunning
	}
	if len(all) == 1 {
		w.Build, w.At = all[0].Build, all[0].Kind
	}
	return w, failed
}

// arrives reports whether the stages above one still take a build, once it gets to them. What
// keeps it from the first of them, an obstacle says.
func (r *rules) arrives(stage pipeline.Stage, build string, seen map[string]bool) bool {
	for _, name := range r.lacks(stage, build) {
		up := r.Stages[name]
		if seen[name] {
			continue
		}
		seen[name] = true
		if len(r.lacks(up, build)) > 0 && (!r.takes(up, build) || !r.arrives(up, build, seen)) {
			return false
		}
	}
	return true
}

// takes reports whether a stage moves to a build that has not come to it yet, by itself or by
// what people do.
func (r *rules) takes(stage pipeline.Stage, build string) bool {
	current, order := r.Current[stage.Name].Build, r.Builds[build].Order
	switch {
	case stage.Name == "":
		return false
	case !stage.TakesBuild():
		return true
	case stage.Type == pipeline.TypeCommit:
		return r.madeBy(stage) == build
	case stage.Pin != "":
		return stage.Pin == build
	case stage.Trigger == pipeline.TriggerManual:
		return order > r.Builds[current].Order || r.leaves(stage, current)
	}
	return order > r.Builds[current].Order && order >= r.Builds[r.goes(stage).Candidate.ID].Order
}
