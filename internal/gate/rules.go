// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// rules are the gate rules over a state. They compute once what does not depend on a build.
type rules struct {
	*pipeline.State
	going map[string]Move // that a stage would make if nobody had paused it, without what it waits for
}

func newRules(st *pipeline.State) *rules { return &rules{State: st, going: map[string]Move{}} }

// Origin says why a build is the candidate of a stage.
type Origin string

// The origins of candidates.
const (
	OriginPin       Origin = "pin"       // the configuration names it
	OriginSource    Origin = "source"    // the commit stage makes it of its source
	OriginPromotion Origin = "promotion" // a person moved the stage
	OriginNewest    Origin = "newest"    // it is newer, and has passed what is above
	OriginCurrent   Origin = "current"   // it is the stage's current build
	OriginOffer     Origin = "offer"     // it waits for a decision again, as a newer one was rejected
)

// WhyKind says why an apply does something to a stage.
type WhyKind string

// The kinds of reason.
const (
	WhyNew           WhyKind = "new"            // the candidate has not run here
	WhyUndone        WhyKind = "undone"         // a bootstrap stage has not run by its definition
	WhyRedefined     WhyKind = "redefined"      // the stage's definition changed
	WhyRetry         WhyKind = "retry"          // Actor asked for another run
	WhyFailed        WhyKind = "failed"         // the last run failed
	WhyInputs        WhyKind = "inputs"         // the artifact or the image of the candidate changed
	WhyGone          WhyKind = "gone"           // the environment is gone
	WhyUnlaunched    WhyKind = "unlaunched"     // there is no environment yet where the stage is now
	WhyTryGone       WhyKind = "try_gone"       // the environment to try the candidate in is gone
	WhyOtherBuild    WhyKind = "other_build"    // the environment runs another build
	WhyOtherStage    WhyKind = "other_stage"    // the environment runs another definition
	WhyOtherMachines WhyKind = "other_machines" // the environment has instances of another type
	WhyScale         WhyKind = "scale"          // the environment is to have another number of Instances
	WhyScaling       WhyKind = "scaling"        // the number of instances is to follow the load in another way
	WhyProxies       WhyKind = "proxies"        // the endpoint is to trust other proxies
	WhyFinish        WhyKind = "finish"         // service.finish is due
	WhyTargetLeft    WhyKind = "target_left"    // the stage has the Target no longer; it has targets now if that is empty
	WhyPublish       WhyKind = "publish"        // the channel is to lead to the image of Build; nowhere if that is empty
	WhyStray         WhyKind = "stray"          // something else has changed or removed the channel, which is to lead to Build again
	WhyUnpublish     WhyKind = "unpublish"      // nothing is published any more
	WhyPassed        WhyKind = "passed"         // the candidate passed before
	WhyOverridden    WhyKind = "overridden"     // the candidate was let through
	WhyDecided       WhyKind = "decided"        // the build in the environment is decided
)

// Why is why an apply does something to a stage. The zero value is no reason.
type Why struct {
	Kind      WhyKind
	Build     string // the candidate
	Number    int64  // of Build; 0 where it is not known
	Actor     string // of WhyRetry
	Instances int    // of WhyScale
	Target    string // of a stage with several: the one that it is about
}

// String says it as runs record it.
func (w Why) String() string {
	if w.Target == "" {
		return w.text()
	}
	return "at target " + w.Target + ", " + w.text()
}

func (w Why) text() string {
	switch w.Kind {
	case WhyNew:
		return w.build() + " has not run here"
	case WhyUndone:
		return "its definition has not run yet"
	case WhyRedefined:
		return "the stage's definition changed"
	case WhyRetry:
		return w.Actor + " asked for another run"
	case WhyFailed:
		return "its last run failed"
	case WhyInputs:
		return "the artifact or image of " + w.build() + " changed"
	case WhyGone:
		return "its environment is gone"
	case WhyUnlaunched:
		return "its environment is yet to be launched"
	case WhyTryGone:
		return "the environment to try it in is gone"
	case WhyOtherBuild:
		return "its environment runs another build"
	case WhyOtherStage:
		return "its environment runs another definition"
	case WhyOtherMachines:
		return "its environment has instances of another type"
	case WhyScale:
		return "its environment is to have " + pipeline.Count(w.Instances, "instance")
	case WhyScaling:
		return "its number of instances is to follow the load in another way"
	case WhyProxies:
		return "its endpoint is to trust other proxies"
	case WhyFinish:
		return "service.finish of " + w.build() + " is due"
	case WhyTargetLeft:
		if w.Target == "" {
			return "the environment that it had before it had targets is to end"
		}
		return "its environment is to end, as the stage has the target no longer"
	case WhyPublish:
		if w.Build == "" {
			return "no build is left that its channel may lead to"
		}
		return "its channel is to lead to " + w.build()
	case WhyStray:
		return "something else has changed or removed its channel, which is to lead to " + w.build() + " again"
	case WhyUnpublish:
		return "it publishes nothing any more"
	case WhyPassed:
		return w.build() + " passed before"
	case WhyOverridden:
		return w.build() + " was let through"
	case WhyDecided:
		return "the build in its environment is decided"
	}
	return ""
}

// build names the candidate.
func (w Why) build() string { return "build " + pipeline.BuildName(w.Number, w.Build) }

// decide applies the gate rules to a stage: which build is its candidate, and what has to be
// done. The stage may differ from the one in the state.
func (r *rules) decide(stage pipeline.Stage) Move {
	if p, paused := r.Pauses[stage.Name]; paused {
		return numbered(r, r.decidePaused(stage, p))
	}
	m := r.next(stage)
	m.Wait = r.waits(stage, m)
	return numbered(r, m)
}

// numbered has the reason of a move name its build as people do.
func numbered(r *rules, m Move) Move {
	m.Why.Number = r.Builds[m.Why.Build].Number
	return m
}

// start makes the move that leaves a stage where it is.
func (r *rules) start(stage pipeline.Stage) Move {
	return Move{Stage: stage, Action: ActionNone, Instances: stage.Instances(r.Pipeline)}
}

// next decides the build and the action of a stage that is not paused.
func (r *rules) next(stage pipeline.Stage) Move {
	m := r.start(stage)
	if !stage.TakesBuild() {
		return r.decideBootstrap(stage, m)
	}
	current := r.Current[stage.Name].Build
	m.Candidate.ID, m.Origin, m.Refusal = r.candidate(stage, current)
	if m.Refusal != nil {
		return m
	}
	if m.Candidate.ID != "" {
		m.Action, m.Why = r.action(stage, m.Candidate.ID, current)
	}
	if env, ok := r.DecidedEnvironment(stage); ok && m.Action == ActionNone {
		m.Action, m.Why = ActionEnd, Why{Kind: WhyDecided, Build: env.Build}
	}
	return left(r, published(r, m))
}

// left has a stage that does nothing else end what it has at places that it has left.
func left(r *rules, m Move) Move {
	names := pipeline.LeftPlaces(r.State, m.Stage)
	if m.Action != ActionNone || len(names) == 0 || !pipeline.MayLeave(r.State, m.Stage) {
		return m
	}
	_, target := pipeline.CutTarget(names[0])
	m.Action, m.Why = ActionAdjust, Why{Kind: WhyTargetLeft, Build: m.Candidate.ID, Target: target}
	return m
}

// published has a stage that does nothing else bring its channel to where it is to lead.
func published(r *rules, m Move) Move {
	if m.Action != ActionNone || !pipeline.ChannelDue(r.State, m.Stage.Name) {
		return m
	}
	m.Action, m.Why = ActionPublish, Why{Kind: WhyPublish, Build: pipeline.AimOf(r.State, m.Stage.Name).Build}
	switch c := r.Channels[m.Stage.Name]; {
	case m.Stage.Publish == nil:
		m.Why = Why{Kind: WhyUnpublish}
	case c.Stray != nil && c.Build == m.Why.Build:
		m.Why.Kind = WhyStray
	}
	return m
}

// goes returns what a stage would do next if nobody had paused it.
func (r *rules) goes(stage pipeline.Stage) Move {
	m, done := r.going[stage.Name]
	if !done {
		m = r.next(stage)
		r.going[stage.Name] = m
	}
	return m
}

func (r *rules) decideBootstrap(stage pipeline.Stage, m Move) Move {
	result, ok := r.ResultOf(stage, "")
	retry, asked := r.Retried(stage, result)
	switch missing := r.Missing(stage, ""); {
	case missing != nil:
		m.Wait = Wait{Kind: WaitPassed, Pipeline: stage.Pipeline, Stage: stage.Name, Stages: missing}
	case !opens(r.State, stage, ""):
		m.Wait = awaitsElsewhere(stage, "")
	case !ok || result.Digest != stage.Digest(r.Pipeline):
		m.Action, m.Why = ActionRun, Why{Kind: WhyUndone}
	case result.Status != pipeline.RunPassed:
		m.Action, m.Why = ActionRun, Why{Kind: WhyFailed}
	case asked:
		m.Action, m.Why = ActionRun, Why{Kind: WhyRetry, Actor: retry.Actor}
	}
	return m
}

// decidePaused keeps a paused stage where it is, and what it runs running.
func (r *rules) decidePaused(stage pipeline.Stage, p pipeline.Pause) Move {
	m := r.start(stage)
	current := r.Current[stage.Name].Build
	m.Wait = Wait{Kind: WaitResume, Pipeline: stage.Pipeline, Stage: stage.Name, Pause: p}
	if stage.Pin != "" && stage.Pin != current {
		m.Candidate.ID, m.Origin, m.Refusal = stage.Pin, OriginPin, pausedRefusal(stage, p)
		return m
	}
	if m.Candidate.ID, m.Origin = current, OriginCurrent; current != "" {
		switch action, why := r.action(stage, current, current); action {
		case ActionRestore, ActionAdjust:
			m.Action, m.Why = action, why
		}
	}
	return left(r, published(r, m))
}

// candidate returns the build that the stage should be at: rules 1 to 5.
func (r *rules) candidate(stage pipeline.Stage, current string) (string, Origin, *Refusal) {
	switch {
	case stage.Pin != "":
		return stage.Pin, OriginPin, r.checkPin(stage, stage.Pin)
	case stage.Type == pipeline.TypeCommit:
		return r.commitCandidate(stage), OriginSource, nil
	case stage.Trigger == pipeline.TriggerManual:
		if promoted, pending := r.pending(stage); pending && r.mayEnter(stage, promoted.Build) {
			return promoted.Build, OriginPromotion, nil
		}
	default:
		if newest, ok := r.newestEligible(stage, r.Builds[current].Order); ok {
			return newest, OriginNewest, nil
		}
	}
	if r.leaves(stage, current) {
		return r.onOfferAgain(stage, current), OriginOffer, nil
	}
	return current, OriginCurrent, nil
}

// leaves reports whether a stage's current build is no candidate any more: it is rejected
// there or above, or it is undecided and rejected anywhere, so that nobody may approve it.
func (r *rules) leaves(stage pipeline.Stage, current string) bool {
	switch {
	case current == "":
		return false
	case r.RejectedAbove(stage, current) != "":
		return true
	}
	return stage.Approval && r.RejectedAt(current) != "" && !r.Passed(stage.Name, current)
}

// onOfferAgain returns the newest build before a rejected one that still waits for its
// decision at a stage, or "". A build that is older than one that passed no longer waits.
func (r *rules) onOfferAgain(stage pipeline.Stage, rejected string) string {
	if !stage.Approval || stage.Trigger != pipeline.TriggerAutomatic {
		return ""
	}
	digest := stage.Digest(r.Pipeline)
	for b := range r.NewestBuilds() {
		result, ran := r.ResultOf(stage, b.ID)
		switch {
		case b.Order >= r.Builds[rejected].Order:
		case r.Passed(stage.Name, b.ID):
			return ""
		case ran && result.Status == pipeline.RunPassed && result.Digest == digest && !r.IsDecided(stage, b.ID) && r.mayEnter(stage, b.ID):
			return b.ID
		}
	}
	return ""
}

// consumed returns the version of the newest promotion that the stage has followed, or that
// no longer counts.
func consumed(st *pipeline.State, stage string) int64 {
	if at := st.Current[stage].Promotion; at != nil {
		return *at
	}
	return st.Version(pipeline.RecordCurrent, stage)
}

// Consumes returns the version of the newest promotion that no longer counts once the stage
// has moved to a build: the one that asks for the build, or any if the stage is pinned. A
// promotion that is made while the stage moves stays for the next move.
func Consumes(st *pipeline.State, stage pipeline.Stage, build string) int64 {
	if stage.Pin != "" || st.Promotions[stage.Name].Build == build {
		return st.Version(pipeline.RecordPromotion, stage.Name)
	}
	return consumed(st, stage.Name)
}

func (r *rules) commitCandidate(stage pipeline.Stage) string {
	id := r.madeBy(stage)
	if id == "" || len(r.Missing(stage, id)) > 0 || !opens(r.State, stage, id) {
		return ""
	}
	return id
}

// opens reports whether the stages of other pipelines that a stage comes after let a build
// in: each has passed some build. A build that the stage has passed may come back.
func opens(st *pipeline.State, stage pipeline.Stage, build string) bool {
	return len(stage.Awaits()) == 0 || st.Current[stage.Name].Build == build && build != "" || st.Passed(stage.Name, build)
}

// madeBy returns the build that a commit stage makes of its source; empty if that build is
// rejected, or the stage has no source.
func (r *rules) madeBy(stage pipeline.Stage) string {
	if stage.Type != pipeline.TypeCommit || stage.Source == nil {
		return ""
	}
	id := pipeline.BuildIDOf(r.Pipeline, stage)
	if r.RejectedAbove(stage, id) != "" {
		return ""
	}
	return id
}

// newestEligible returns the newest build above the given order that may enter the stage.
func (r *rules) newestEligible(stage pipeline.Stage, above int64) (string, bool) {
	for b := range r.NewestBuilds() {
		if b.Order <= above {
			break
		}
		if r.mayEnter(stage, b.ID) {
			return b.ID, true
		}
	}
	return "", false
}

// mayEnter reports whether a build may enter a stage. It is quicker than before.
func (r *rules) mayEnter(stage pipeline.Stage, build string) bool {
	_, exists := r.Builds[build]
	return exists && r.RejectedAt(build) == "" && len(r.lacks(stage, build)) == 0 && opens(r.State, stage, build)
}

// lacks returns the stages that a stage comes after and that a build has not passed. For a
// stage that comes after none, that is the commit stage that made the build.
func (r *rules) lacks(stage pipeline.Stage, build string) []string {
	maker := r.Builds[build].Stage
	if len(stage.Upstream()) == 0 && stage.Type != pipeline.TypeCommit && stage.TakesBuild() && maker != stage.Name && !r.Passed(maker, build) {
		return []string{maker}
	}
	return r.Missing(stage, build)
}

// action returns what has to be done for the stage to be at the candidate: rule 6.
func (r *rules) action(stage pipeline.Stage, candidate, current string) (Action, Why) {
	result, ok := r.ResultOf(stage, candidate)
	digest := stage.Digest(r.Pipeline)
	retry, asked := r.Retried(stage, result)
	if !asked && r.Overridden(stage, candidate) && r.Overrides[pipeline.StageBuild(stage.Name, candidate)].Digest == digest {
		if current != candidate {
			return ActionAdopt, Why{Kind: WhyOverridden, Build: candidate}
		}
		return ActionNone, Why{}
	}
	run := func(kind WhyKind) (Action, Why) { return ActionRun, Why{Kind: kind, Build: candidate} }
	switch {
	case !ok:
		return run(WhyNew)
	case result.Digest != digest:
		return run(WhyRedefined)
	case asked:
		return ActionRun, Why{Kind: WhyRetry, Build: candidate, Actor: retry.Actor}
	case result.Status != pipeline.RunPassed:
		return run(WhyFailed)
	case stage.Trigger == pipeline.TriggerAutomatic && stage.Type != pipeline.TypeCommit && result.Inputs != r.Inputs(stage, candidate):
		return run(WhyInputs)
	}
	if action, why := r.environmentAction(stage, candidate, digest); action != ActionNone {
		return action, why
	}
	if current != candidate {
		return ActionAdopt, Why{Kind: WhyPassed, Build: candidate}
	}
	return ActionNone, Why{}
}

// environmentAction returns what has to be done to the environment of a stage whose candidate
// has passed.
func (r *rules) environmentAction(stage pipeline.Stage, candidate, digest string) (Action, Why) {
	because := func(action Action, kind WhyKind) (Action, Why) {
		return action, Why{Kind: kind, Build: candidate, Instances: stage.Instances(r.Pipeline)}
	}
	switch {
	case stage.Spread():
		return targetsAction(r, stage, candidate)
	case stage.Persistent():
		env, ok := r.RunEnvironment(stage.Name, pipeline.ForStage)
		switch {
		case !ok:
			return because(ActionRestore, WhyUnlaunched)
		case !env.Serves():
			return because(ActionRestore, WhyGone)
		case env.Build != candidate:
			return because(ActionRun, WhyOtherBuild)
		case env.Digest != digest:
			return because(ActionRun, WhyOtherStage)
		case env.Spec.InstanceType != stage.EnvironmentFor(r.Pipeline).InstanceType:
			return because(ActionRun, WhyOtherMachines)
		case env.Instances != stage.Instances(r.Pipeline):
			return because(ActionAdjust, WhyScale)
		case !env.Spec.ScalesAlike(*stage.Env):
			return because(ActionAdjust, WhyScaling)
		case !env.Spec.TrustsAlike(*stage.Env):
			return because(ActionAdjust, WhyProxies)
		}
		if f, pending := r.PendingFinish(stage.Name); pending && f.Due && f.Build == candidate {
			return because(ActionFinish, WhyFinish)
		}
	case stage.Approval && stage.Env != nil && !r.IsDecided(stage, candidate):
		if env, ok := r.RunEnvironment(stage.Name, pipeline.ForInquiry); !ok || !env.Serves() || env.Build != candidate {
			return because(ActionRestore, WhyTryGone)
		}
	}
	return ActionNone, Why{}
}

// urgency orders what has to be done to the environments of a stage at its targets: what comes
// first includes the rest.
var urgency = []Action{ActionRun, ActionRestore, ActionAdjust, ActionFinish}

// targetsAction returns what has to be done to the environments of a stage at its targets.
func targetsAction(r *rules, stage pipeline.Stage, candidate string) (Action, Why) {
	found, why := ActionNone, Why{}
	for _, at := range stage.AtTargets() {
		action, because := r.environmentAction(at, candidate, at.Digest(r.Pipeline))
		if action != ActionNone && (found == ActionNone || slices.Index(urgency, action) < slices.Index(urgency, found)) {
			found, why = action, because
			why.Target = at.At.Name
		}
	}
	return found, why
}

// MoveAtTarget returns the move by which a stage at one of its targets comes to run a build.
func MoveAtTarget(st *pipeline.State, at pipeline.Stage, build string) Move {
	r := newRules(st)
	m := r.start(at)
	m.Candidate = known(build)
	m.Action, m.Why = r.environmentAction(at, build, at.Digest(st.Pipeline))
	return numbered(r, m)
}
