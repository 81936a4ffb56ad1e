// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"fmt"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ObstacleKind says what keeps a build from a stage.
type ObstacleKind string

// The kinds of obstacle.
const (
	ObstacleNoBuild   ObstacleKind = "no_build"    // there is no such build
	ObstacleRejected  ObstacleKind = "rejected"    // it is rejected
	ObstacleNoStage   ObstacleKind = "no_stage"    // the stage on its way is not part of the pipeline
	ObstacleUndecided ObstacleKind = "undecided"   // it waits for people's decision
	ObstacleRunning   ObstacleKind = "running"     // it runs there
	ObstacleNotRun    ObstacleKind = "not_run"     // the next apply runs it there
	ObstacleFailed    ObstacleKind = "failed"      // it failed there, and the next apply tries again
	ObstacleManual    ObstacleKind = "manual"      // a person has to promote it there
	ObstaclePinned    ObstacleKind = "pinned"      // the configuration pins the stage to another build
	ObstaclePaused    ObstacleKind = "paused"      // a person paused the stage
	ObstaclePassedBy  ObstacleKind = "passed_by"   // the stage went on without it, and takes it by a pin only
	ObstacleOutdated  ObstacleKind = "outdated"    // its commit stage is at another build: it never passes there
	ObstacleOtherMake ObstacleKind = "other_maker" // another commit stage made it: it never passes there
	ObstacleElsewhere ObstacleKind = "elsewhere"   // a stage of another pipeline has passed no build
)

// Obstacle is what keeps a build from a stage: the first thing on its way there that has
// not been done.
type Obstacle struct {
	Kind      ObstacleKind
	Pipeline  string
	Stage     string // at which it is; empty if there is no such build
	Build     string
	Run       pipeline.RunSummary  // of the build at the stage, if there is one
	Rejected  []pipeline.Rejection // of a rejected one
	Missing   int                  // approvals, or votes to lift the rejection, of Needed
	Needed    int
	Pause     pipeline.Pause     // of a paused stage
	Other     string             // the build that the stage has, moves to or makes instead; else the commit stage that made this one
	Choice    string             // another build that may enter, if there is one
	Elsewhere pipeline.Elsewhere // of ObstacleElsewhere: the stage
	// Comes reports whether the build may still get past it without a change of the
	// configuration: by an apply, or by what a person does.
	Comes bool
}

// Advice says what to do about the obstacle. It works: nobody who has the right to follow it
// is refused.
func (o Obstacle) Advice() pipeline.Advice {
	verbs := map[ObstacleKind]pipeline.Verb{
		ObstacleNoBuild: pipeline.VerbChoose, ObstacleRejected: pipeline.VerbLift, ObstacleNoStage: pipeline.VerbDefine, ObstacleUndecided: pipeline.VerbApprove,
		ObstacleRunning: pipeline.VerbFollow, ObstacleNotRun: pipeline.VerbApply, ObstacleFailed: pipeline.VerbMend, ObstacleManual: pipeline.VerbPromote,
		ObstaclePinned: pipeline.VerbPin, ObstaclePaused: pipeline.VerbResume, ObstaclePassedBy: pipeline.VerbPinBack, ObstacleOutdated: pipeline.VerbChoose,
		ObstacleOtherMake: pipeline.VerbChoose, ObstacleElsewhere: pipeline.VerbElsewhere,
	}
	a := pipeline.Advice{Verb: verbs[o.Kind], Pipeline: o.Pipeline, Stage: o.Stage, Build: o.Build}
	switch a.Verb {
	case pipeline.VerbLift:
		a.Missing, a.Needed = o.Missing, o.Needed
	case pipeline.VerbMend:
		a.Run = o.Run.ID
	case pipeline.VerbChoose:
		a.Choice = o.Choice
	case pipeline.VerbElsewhere:
		a.Pipeline, a.Stage, a.Build = o.Elsewhere.Pipeline, o.Elsewhere.Stage, ""
	}
	return a
}

// Cause says what keeps the build, as an error does.
func (o Obstacle) Cause() string {
	subject := "build " + o.Build
	if o.Build == "" { // at a stage that takes none
		subject = "the stage before it"
	}
	text := fmt.Sprintf("%s has not passed stage %q", subject, o.Stage)
	failed := ""
	if o.Run.Status == pipeline.RunFailed {
		failed = fmt.Sprintf(", where run %s failed", o.Run.ID)
	}
	switch o.Kind {
	case ObstacleNoBuild:
		return fmt.Sprintf("pipeline %q has no build %s", o.Pipeline, o.Build)
	case ObstacleElsewhere:
		return fmt.Sprintf("stage %q comes after %s, which has passed no build", o.Stage, o.Elsewhere)
	case ObstacleRejected:
		return fmt.Sprintf("build %s was rejected at stage %q %s", o.Build, o.Stage, pipeline.DescribeRejections(o.Rejected))
	case ObstacleNoStage:
		return text + ", which is not part of the pipeline"
	case ObstacleUndecided:
		if o.Needed > 1 {
			return text + fmt.Sprintf(", where it lacks %d of %d approvals", o.Missing, o.Needed)
		}
		return text + ", where it waits for a decision"
	case ObstacleRunning:
		return text + fmt.Sprintf(", where run %s is under way", o.Run.ID)
	case ObstacleFailed:
		return text + failed
	case ObstacleManual:
		return text + failed + ", to which nobody has promoted it"
	case ObstaclePinned:
		return text + fmt.Sprintf(", which the configuration pins to %s", o.Other)
	case ObstaclePaused:
		return text + fmt.Sprintf(", which is paused by %s since %s", o.Pause.Actor, pipeline.Moment(o.Pause.At.UTC()))
	case ObstaclePassedBy:
		return text + failed + fmt.Sprintf("; the stage has gone on to %s", o.Other)
	case ObstacleOutdated:
		return text + failed + "; the stage makes " + orAnother(o.Other) + " now"
	case ObstacleOtherMake:
		return text + fmt.Sprintf(", and never will: stage %q made it", o.Other)
	}
	return text + " yet"
}

func orAnother(build string) string {
	if build == "" {
		return "another build"
	}
	return build
}

// before returns the first obstacle on a build's way to a stage; false if it may enter. An
// obstacle that the build never gets past comes before those that it may get past.
func (r *rules) before(stage pipeline.Stage, build string) (Obstacle, bool) {
	if r.mayEnter(stage, build) {
		return Obstacle{}, false
	}
	o := Obstacle{Pipeline: stage.Pipeline, Build: build}
	if _, ok := r.Builds[build]; !ok {
		o.Kind = ObstacleNoBuild
		return o, true
	}
	if at := r.RejectedAt(build); at != "" {
		o.Kind, o.Stage, o.Rejected = ObstacleRejected, at, r.Decisions[pipeline.StageBuild(at, build)].Stand()
		o.Missing, o.Needed = r.Ballot(r.Stages[at], build).MissingLifts(), r.Pipeline.Authorization.Needed()
		return o, true
	}
	if len(r.lacks(stage, build)) == 0 {
		return closed(stage, o), true
	}
	all := r.ahead(stage, build)
	first := all[0]
	if i := slices.IndexFunc(all, func(o Obstacle) bool { return !o.Comes }); i >= 0 {
		first = all[i]
	}
	if first.Advice().Verb == pipeline.VerbChoose {
		first.Choice, _ = r.newestEligible(stage, 0)
	}
	return first, true
}

// closed returns the obstacle of a build that only a stage of another pipeline keeps out.
func closed(stage pipeline.Stage, o Obstacle) Obstacle {
	o.Kind, o.Stage, o.Elsewhere, o.Comes = ObstacleElsewhere, stage.Name, stage.Awaits()[0], true
	return o
}

// ahead returns the obstacles of a build that has not passed all stages above: one for each
// way there, at the first stage that is missing.
func (r *rules) ahead(stage pipeline.Stage, build string) (all []Obstacle) {
	seen := map[string]bool{}
	var visit func(names []string)
	visit = func(names []string) {
		for _, name := range names {
			if seen[name] || r.Passed(name, build) {
				continue
			}
			seen[name] = true
			up := r.Stages[name]
			higher := r.lacks(up, build)
			visit(higher)
			if len(higher) == 0 {
				all = append(all, r.at(name, build))
			}
		}
	}
	visit(r.lacks(stage, build))
	if len(all) == 0 { // stages that come after each other
		all = append(all, r.at(r.lacks(stage, build)[0], build))
	}
	return all
}

// at returns what keeps a build from passing a stage, if it has passed all stages above.
func (r *rules) at(name, build string) Obstacle {
	up, exists := r.Stages[name]
	o := Obstacle{Kind: ObstacleNoStage, Pipeline: r.Pipeline.Name, Stage: name, Build: build}
	if !exists {
		return o
	}
	if !up.TakesBuild() {
		o.Build, build = "", ""
	}
	v, ran := r.ResultOf(up, build)
	o.Run = v
	latest := r.Latest[name]
	pause, paused := r.Pauses[name]
	move := r.goes(up)
	goes := move.Candidate.ID == build && move.Action != ActionNone && move.Refusal == nil
	switch {
	case latest.Status == pipeline.RunRunning && latest.Build == build:
		o.Kind, o.Run, o.Comes = ObstacleRunning, latest, true
		return o
	case !goes && !opens(r.State, up, build) && (up.Type != pipeline.TypeCommit || r.madeBy(up) == build):
		o = closed(up, o)
	case up.Approval && ran && v.Status == pipeline.RunPassed && (paused || !goes || move.Action != ActionRun):
		o.Kind, o.Comes = ObstacleUndecided, goes || !pipeline.Superseded(r.State, up, build)
		o.Missing, o.Needed = r.Ballot(up, build).MissingApprovals(), r.Pipeline.Authorization.Needed()
		return o
	case goes && v.Status == pipeline.RunFailed:
		o.Kind, o.Comes = ObstacleFailed, true
	case goes:
		o.Kind, o.Comes = ObstacleNotRun, true
	default:
		r.stays(up, &o)
	}
	if o.Kind != ObstacleOutdated && o.Kind != ObstacleOtherMake && paused {
		o.Kind, o.Pause = ObstaclePaused, pause
	}
	return o
}

// stays says why a stage does not move to a build that has passed all stages above.
func (r *rules) stays(up pipeline.Stage, o *Obstacle) {
	current := r.Current[up.Name].Build
	build, move := r.Builds[o.Build], r.goes(up)
	switch {
	case up.Type == pipeline.TypeCommit:
		o.Kind, o.Other = ObstacleOutdated, move.Candidate.ID
		if maker, ok := r.Stages[build.Stage]; ok && maker.Name != up.Name && !pipeline.SameBuilds(maker, up) {
			o.Kind, o.Other = ObstacleOtherMake, maker.Name
		}
	case up.Pin != "":
		o.Kind, o.Other = ObstaclePinned, up.Pin
	case up.Trigger == pipeline.TriggerManual:
		o.Kind = ObstacleManual
		o.Comes = build.Order > r.Builds[current].Order || r.leaves(up, current)
	default:
		o.Kind, o.Other = ObstaclePassedBy, move.Candidate.ID
		if o.Other == "" {
			o.Other = current
		}
	}
}
