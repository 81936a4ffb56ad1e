// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"time"
)

// ObstacleKind says what keeps a build from a stage.
type ObstacleKind string

// The kinds of obstacle.
const (
	ObstacleNoBuild   ObstacleKind = "no_build"    // there is no such build
	ObstacleRejected  ObstacleKind = "rejected"    // it stands rejected
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
)

// Obstacle is what keeps a build from a stage: the first thing on its way there that has
// not been done.
type Obstacle struct {
	Kind     ObstacleKind
	Pipeline string
	Stage    string // at which it is; empty where there is no such build
	Build    string
	Run      RunSummary  // of the build at the stage, if there is one
	Rejected []Rejection // of a rejected one
	Missing  int         // approvals, or votes to lift the rejection, of Needed
	Needed   int
	Pause    Pause  // of a paused stage
	Other    string // the build that the stage holds, goes to or makes instead; else the commit stage that made this one
	Choice   string // another build that may enter, if there is one
	// Comes reports that the build may still get past it without a change of the
	// configuration: by an apply, or by what a person does.
	Comes bool
}

// Verb is what an advice tells people to do.
type Verb string

// The verbs of advices.
const (
	VerbApprove Verb = "approve"
	VerbLift    Verb = "lift" // a rejection
	VerbPromote Verb = "promote"
	VerbResume  Verb = "resume"
	VerbApply   Verb = "apply"
	VerbPin     Verb = "pin" // by an edit of the stage's build, and an apply
	VerbWait    Verb = "wait"
	VerbChoose  Verb = "choose" // another build
	VerbDefine  Verb = "define" // the stage
)

// Advice is what to do now. It is one that works: what it names refuses it to nobody who
// has the right to.
type Advice struct {
	Verb                   Verb
	Pipeline, Stage, Build string
}

// Command gives the command line of an advice; empty for one that is none.
func (a Advice) Command() string {
	switch a.Verb {
	case VerbApprove, VerbPromote:
		return fmt.Sprintf("penstock %s %s %s %s", a.Verb, a.Pipeline, a.Stage, a.Build)
	case VerbLift:
		return fmt.Sprintf("penstock approve --lift %s %s %s", a.Pipeline, a.Stage, a.Build)
	case VerbResume:
		return fmt.Sprintf("penstock resume %s %s", a.Pipeline, a.Stage)
	case VerbWait:
		return fmt.Sprintf("penstock logs -f %s %s", a.Pipeline, a.Stage)
	case VerbChoose:
		return "penstock builds " + a.Pipeline
	case VerbApply:
		return "terraform apply"
	}
	return ""
}

// Advice says what to do about the obstacle.
func (o Obstacle) Advice() Advice {
	verbs := map[ObstacleKind]Verb{
		ObstacleNoBuild: VerbChoose, ObstacleRejected: VerbLift, ObstacleNoStage: VerbDefine, ObstacleUndecided: VerbApprove, ObstacleRunning: VerbWait,
		ObstacleNotRun: VerbApply, ObstacleFailed: VerbApply, ObstacleManual: VerbPromote, ObstaclePinned: VerbPin, ObstaclePaused: VerbResume,
		ObstaclePassedBy: VerbPin, ObstacleOutdated: VerbChoose, ObstacleOtherMake: VerbChoose,
	}
	return Advice{Verb: verbs[o.Kind], Pipeline: o.Pipeline, Stage: o.Stage, Build: o.Build}
}

// Cause says in words what keeps the build.
func (o Obstacle) Cause() string {
	subject := "build " + o.Build
	if o.Build == "" { // at a stage that takes none
		subject = "the stage before it"
	}
	text := fmt.Sprintf("%s has not passed stage %q", subject, o.Stage)
	failed := ""
	if o.Run.Status == RunFailed {
		failed = fmt.Sprintf(", where run %s failed", o.Run.ID)
	}
	switch o.Kind {
	case ObstacleNoBuild:
		return fmt.Sprintf("pipeline %q has no build %s", o.Pipeline, o.Build)
	case ObstacleRejected:
		return fmt.Sprintf("build %s was rejected at stage %q %s", o.Build, o.Stage, describeRejections(o.Rejected))
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
		return text + fmt.Sprintf(", which is paused by %s since %s", o.Pause.Actor, when(o.Pause.At))
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

// Hint says in sentences what to do now.
func (o Obstacle) Hint() string {
	a := o.Advice()
	choose := fmt.Sprintf("Choose another build; `penstock builds %s` lists them.", o.Pipeline)
	if o.Choice != "" {
		choose = fmt.Sprintf("Choose another build, such as %s, which may enter; `penstock builds %s` lists them.", o.Choice, o.Pipeline)
	}
	pin := fmt.Sprintf("Set build = %q on stage %q and apply", o.Build, o.Stage)
	switch a.Verb {
	case VerbApprove:
		return fmt.Sprintf("Approve it with `%s`.", a.Command())
	case VerbLift:
		if o.Needed > 1 {
			return fmt.Sprintf("Choose another build, or lift the rejection with `%s`: %d of %d people have yet to.", a.Command(), o.Missing, o.Needed)
		}
		return fmt.Sprintf("Choose another build, or lift the rejection with `%s`.", a.Command())
	case VerbPromote:
		return fmt.Sprintf("Move it there with `%s`, and apply.", a.Command())
	case VerbResume:
		return fmt.Sprintf("Resume the stage with `%s`.", a.Command())
	case VerbWait:
		return fmt.Sprintf("Wait until the run ends; `%s` follows it.", a.Command())
	case VerbDefine:
		return fmt.Sprintf("Define stage %q and apply it first, or take it out of after.", o.Stage)
	case VerbPin:
		if o.Kind == ObstaclePassedBy {
			return fmt.Sprintf("Choose a newer build, or move the stage back: set build = %q on stage %q and apply.", o.Build, o.Stage)
		}
		return pin + "."
	case VerbApply:
		if o.Kind == ObstacleFailed {
			return fmt.Sprintf("See `penstock logs %s`, mend the cause, and apply: the stage is tried again.", o.Run.ID)
		}
		return "Apply the configuration: the stage runs then."
	}
	return choose
}

// Err gives the obstacle as an error: CodeNotFound for a build that there is not,
// CodeRefused for the rest.
func (o Obstacle) Err(op string) error {
	code := CodeRefused
	if o.Kind == ObstacleNoBuild {
		code = CodeNotFound
	}
	return Errorf(code, op, "%s", o.Cause()).WithHint("%s", o.Hint())
}

// when writes a time as messages do.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// describeRejections says who rejected something, when and why.
func describeRejections(all []Rejection) string {
	text := ""
	for i, r := range all {
		if i > 0 {
			text += "; and "
		}
		text += fmt.Sprintf("by %s on %s: %s", r.Actor, when(r.At), r.Reason)
	}
	return text
}

// outlook answers what is ahead of builds, of which there may be thousands: what does not
// depend on the build it finds out once.
type outlook struct {
	*State
	moves map[string]Move // that a stage would make if nobody held it, without its standing
}

func (s *State) outlook() *outlook { return &outlook{State: s, moves: map[string]Move{}} }

// move gives what a stage would do next if nobody held it.
func (l *outlook) move(stage Stage) Move {
	m, known := l.moves[stage.Name]
	if !known {
		m = l.State.next(stage)
		l.moves[stage.Name] = m
	}
	return m
}

// before gives the first obstacle on a build's way to a stage; false where it may enter. One
// that the build never gets past goes before those that it may.
func (l *outlook) before(stage Stage, build string) (Obstacle, bool) {
	if l.MayEnter(stage, build) {
		return Obstacle{}, false
	}
	o := Obstacle{Pipeline: stage.Pipeline, Build: build}
	if _, ok := l.Builds[build]; !ok {
		o.Kind = ObstacleNoBuild
		return o, true
	}
	if at := l.RejectedAt(build); at != "" {
		o.Kind, o.Stage, o.Rejected = ObstacleRejected, at, l.Decisions[StageBuild(at, build)].Stand()
		o.Missing, o.Needed = l.MissingLifts(l.Stages[at], build), l.Pipeline.Authorization.needed()
		return o, true
	}
	all := l.ahead(stage, build)
	first := all[0]
	if i := slices.IndexFunc(all, func(o Obstacle) bool { return !o.Comes }); i >= 0 {
		first = all[i]
	}
	if first.Advice().Verb == VerbChoose {
		first.Choice, _ = l.NewestEligible(stage, 0)
	}
	return first, true
}

// ahead gives the obstacles of a build that has not passed all that a stage comes after:
// one at the first stage that is missing of each way there.
func (l *outlook) ahead(stage Stage, build string) (all []Obstacle) {
	seen := map[string]bool{}
	var visit func(names []string)
	visit = func(names []string) {
		for _, name := range names {
			if seen[name] || l.Passed(name, build) {
				continue
			}
			seen[name] = true
			up := l.Stages[name]
			higher := l.lacks(up, build)
			visit(higher)
			if len(higher) == 0 {
				all = append(all, l.at(name, build))
			}
		}
	}
	visit(l.lacks(stage, build))
	if len(all) == 0 { // stages that come after each other
		all = append(all, l.at(l.lacks(stage, build)[0], build))
	}
	return all
}

// lacks gives the stages that a stage comes after and that a build has not passed; of one
// that comes after none, the commit stage that made the build.
func (s *State) lacks(stage Stage, build string) []string {
	if maker := s.Builds[build].Stage; len(stage.Upstream()) == 0 && stage.Type != TypeCommit && stage.TakesBuild() && maker != stage.Name && !s.Passed(maker, build) {
		return []string{maker}
	}
	return s.missing(stage, build)
}

// at gives what keeps a build from passing a stage, where it has passed all before it.
func (l *outlook) at(name, build string) Obstacle {
	up, exists := l.Stages[name]
	o := Obstacle{Kind: ObstacleNoStage, Pipeline: l.Pipeline.Name, Stage: name, Build: build}
	if !exists {
		return o
	}
	if !up.TakesBuild() {
		o.Build, build = "", ""
	}
	v, ran := l.ResultOf(up, build)
	o.Run = v
	latest := l.Latest[name]
	freeze, held := l.Pauses[name]
	move := l.move(up)
	goes := move.Candidate == build && move.Action != ActionNone && move.Err == nil
	switch {
	case latest.Status == RunRunning && latest.Build == build:
		o.Kind, o.Run, o.Comes = ObstacleRunning, latest, true
		return o
	case up.Approval && ran && v.Status == RunPassed && (held || !goes || move.Action != ActionRun):
		o.Kind, o.Comes = ObstacleUndecided, true
		o.Missing, o.Needed = l.MissingApprovals(up, build), l.Pipeline.Authorization.needed()
		return o
	case goes && v.Status == RunFailed:
		o.Kind, o.Comes = ObstacleFailed, true
	case goes:
		o.Kind, o.Comes = ObstacleNotRun, true
	default:
		l.stays(up, &o)
	}
	if o.Kind != ObstacleOutdated && o.Kind != ObstacleOtherMake && held {
		o.Kind, o.Pause = ObstaclePaused, freeze
	}
	return o
}

// stays says why a stage does not move to a build that has passed all before it.
func (l *outlook) stays(up Stage, o *Obstacle) {
	held := l.Current[up.Name].Build
	build, move := l.Builds[o.Build], l.move(up)
	switch {
	case up.Type == TypeCommit:
		o.Kind, o.Other = ObstacleOutdated, move.Candidate
		if maker, ok := l.Stages[build.Stage]; ok && maker.Name != up.Name && !sameBuilds(maker, up) {
			o.Kind, o.Other = ObstacleOtherMake, maker.Name
		}
	case up.Pin != "":
		o.Kind, o.Other = ObstaclePinned, up.Pin
	case up.Trigger == TriggerManual:
		o.Kind = ObstacleManual
		o.Comes = build.Order > l.Builds[held].Order || l.rejectedAt(up, held) != ""
	default:
		o.Kind, o.Other = ObstaclePassedBy, move.Candidate
		if o.Other == "" {
			o.Other = held
		}
	}
}

// Obstacle gives the first thing that keeps a build from a stage; false where it may enter.
func (s *State) Obstacle(stage Stage, build string) (Obstacle, bool) {
	return s.outlook().before(stage, build)
}

// ObstacleAt gives what keeps a build from having passed a stage, the way there included;
// false where it has.
func (s *State) ObstacleAt(stage Stage, build string) (Obstacle, bool) {
	l := s.outlook()
	if o, found := l.before(stage, build); found || s.Passed(stage.Name, build) {
		return o, found
	}
	return l.at(stage.Name, build), true
}

// waitFor says for what a stage waits that some build has to get past; empty where the
// build never comes, or may enter.
func (l *outlook) waitFor(stage Stage, build string) string {
	if l.RejectedAt(build) != "" || len(l.lacks(stage, build)) == 0 {
		return ""
	}
	all := l.ahead(stage, build)
	var names []string
	for _, o := range all {
		if !o.Comes {
			return ""
		}
		names = append(names, o.Stage)
	}
	text := fmt.Sprintf("%s to pass %s", build, quoteList(names))
	if build == "" || len(all) == 1 && all[0].Build == "" {
		text = quoteList(names) + " to pass"
	}
	if len(all) > 1 {
		return text
	}
	switch all[0].Kind {
	case ObstacleFailed:
		text += ", where it failed"
	case ObstaclePaused:
		text += ", which is paused"
	}
	return text
}
