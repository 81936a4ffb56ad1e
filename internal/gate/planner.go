// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// planner plans one apply. What becomes of a stage depends on its definition and on the
// stages above it, and on nothing else.
type planner struct {
	recorded *pipeline.State
	base     *rules // of what is wanted, laid over what is recorded
	want     Desired
	moves    map[string]Move
	views    map[string]*rules // of base after adoptions of builds, by the stages that adopt them
}

// outlook is what a stage can know: the rules over the pipeline as it finds it.
type outlook struct {
	*planner
	*rules
}

// wanted returns the recorded state with what is wanted laid over it.
func (p *planner) wanted() *pipeline.State {
	if p.want.Pipeline == nil && len(p.want.Stages) == 0 {
		return p.recorded
	}
	st := p.recorded.Clone()
	if p.want.Pipeline != nil {
		st.Pipeline = *p.want.Pipeline
	}
	for name, w := range p.want.Stages {
		if _, exists := st.Stages[name]; !exists || !w.Unknown {
			st.Stages[name] = w.Stage
		}
	}
	return st
}

// wants returns what is wanted of a stage.
func (p *planner) wants(name string) Want {
	w, wanted := p.want.Stages[name]
	if !wanted {
		w.Stage = p.base.Stages[name]
	}
	return w
}

// move plans a stage, once, after those above it.
func (p *planner) move(name string) Move {
	if m, done := p.moves[name]; done {
		return m
	}
	w := p.wants(name)
	if w.Stage.Name == "" {
		return Move{}
	}
	p.moves[name] = Move{} // ends stages that come after each other
	v := outlook{p, p.below(w.Stage.Upstream())}
	m := v.plan(w)
	if !w.Unknown {
		recorded, exists := p.recorded.Stages[name]
		m.Redefined = !exists || redefined(w.Stage, recorded)
	}
	p.moves[name] = m
	if m.Action == ActionAdopt { // it counts for the stage itself
		v.rules = p.below([]string{name})
	}
	m.Passed = v.passed(w, m)
	m.Publishes = v.publishes(w, m)
	p.moves[name] = m
	return m
}

// publishes reports whether the channel of a stage may lead elsewhere after a move. A run may
// fail, and an undecided build may be decided before it ends.
func (v outlook) publishes(w Want, m Move) bool {
	_, recorded := v.Channels[w.Stage.Name]
	switch {
	case w.Stage.Publish == nil && !recorded && !w.Unknown:
		return false
	case w.Create, m.Refusal != nil, v.undefined(w), m.Action == ActionRun, m.Action == ActionUnknown:
		return true
	case m.Action == ActionRestore && v.Launch(w.Stage, m.Candidate.ID).Image != v.Channels[w.Stage.Name].Image:
		return true // it comes back from an image that was baked since
	}
	return pipeline.ChannelDue(v.State, w.Stage.Name)
}

// below returns the rules over the pipeline as the stages after the given ones find it.
func (p *planner) below(after []string) *rules {
	if p.want.Alone {
		return p.base
	}
	var adopting []Move
	for _, name := range p.inOrder(after) {
		if m := p.move(name); m.Action == ActionAdopt && m.Refusal == nil {
			adopting = append(adopting, m)
		}
	}
	return p.adopted(adopting)
}

// inOrder lists some stages and those above them, each behind those it comes after.
func (p *planner) inOrder(stages []string) (names []string) {
	seen := map[string]bool{}
	var visit func([]string)
	visit = func(stages []string) {
		for _, name := range stages {
			if !seen[name] {
				seen[name] = true
				visit(p.base.Stages[name].Upstream())
				names = append(names, name)
			}
		}
	}
	visit(stages)
	return names
}

// adopted returns the rules over the pipeline after some adoptions.
func (p *planner) adopted(moves []Move) *rules {
	if len(moves) == 0 {
		return p.base
	}
	var key strings.Builder
	for _, m := range moves {
		key.WriteString(m.Stage.Name + "/")
	}
	if v, known := p.views[key.String()]; known {
		return v
	}
	before, last := p.adopted(moves[:len(moves)-1]), moves[len(moves)-1]
	event := Adoption(before.State, last.Stage, last.Candidate.ID)
	event.Seq = 1 << 62                   // after all that is recorded
	if b := event.Facts.Build; b != nil { // it becomes the newest, as the ledger makes it
		for newest := range before.NewestBuilds() {
			b.Order = newest.Order + 1
			break
		}
	}
	v := before
	if st, err := before.With([]pipeline.Event{event}); err == nil { // it is one of plain values
		v = newRules(st)
	}
	p.views[key.String()] = v
	return v
}

// plan says what becomes of a stage, except for which build passes it then.
func (v outlook) plan(w Want) Move {
	stage := w.Stage
	m := Move{Stage: stage, Action: ActionUnknown, Candidate: Unknown, Instances: stage.Instances(v.Pipeline)}
	if v.want.Person != nil {
		if m.Refusal = v.mayPin(stage, *v.want.Person); m.Refusal != nil {
			return m
		}
	}
	if v.undefined(w) {
		return m
	}
	pending := v.pending(w)
	_, paused := v.Pauses[stage.Name]
	pinned := stage.Pin != "" && stage.Pin == v.Current[stage.Name].Build
	moved := stage.Trigger == pipeline.TriggerManual && stage.Pin == "" // by people
	switch {
	case w.Create:
		return v.created(m, pending)
	case len(pending) == 0, paused, pinned, moved && stage.Type != pipeline.TypeCommit, len(stage.Awaits()) > 0, v.blocked(stage, pending):
		return v.decide(stage)
	}
	return v.later(m, pending)
}

// undefined reports whether nothing can be said of a stage because its definition is not
// known.
func (v outlook) undefined(w Want) bool {
	return w.Unknown || v.want.PipelineUnknown && (w.Stage.Env != nil || w.Stage.Approval)
}

// pending lists the stages above of which it is not known before the apply what passed them.
func (v outlook) pending(w Want) (names []string) {
	if v.want.Alone {
		return nil
	}
	for _, up := range w.Stage.Upstream() {
		if w.Pending[up] || !w.Unordered[up] && v.move(up).Passed.Unknown {
			names = append(names, up)
		}
	}
	return names
}

// entering returns the one build that some stages can let through in the apply, beside those
// that have passed them already. It is empty if that is not known, or not a single build.
func (v outlook) entering(stages []string) string {
	build := ""
	for _, name := range stages {
		m, w := v.move(name), v.wants(name)
		enters := m.Candidate
		if enters.Unknown && !w.Create && !v.undefined(w) {
			enters = known(v.entering(v.pending(w)))
		}
		if enters.ID == "" || build != "" && build != enters.ID {
			return ""
		}
		build = enters.ID
	}
	return build
}

// blocked reports whether nothing that the stages above do in the apply moves a stage: the
// one build that they let through has not passed another stage above, which does not move.
func (v outlook) blocked(stage pipeline.Stage, pending []string) bool {
	build := v.entering(pending)
	if build == "" || build == v.Current[stage.Name].Build || stage.Pin != "" || stage.Type == pipeline.TypeCommit {
		return false
	}
	return slices.ContainsFunc(stage.Upstream(), func(up string) bool {
		return !slices.Contains(pending, up) && !v.Passed(up, build)
	})
}

// later plans a stage that may move once the stages above have run. A pin is checked against
// those stages above that do not run.
func (v outlook) later(m Move, pending []string) Move {
	stage := m.Stage
	m.Wait = Wait{Kind: WaitPassed, Pipeline: stage.Pipeline, Stage: stage.Name, Stages: pending}
	switch {
	case stage.Pin != "":
		m.Candidate, m.Origin = known(stage.Pin), OriginPin
		m.Refusal = v.checkPinLater(stage, pending)
	case stage.Type == pipeline.TypeCommit:
		m.Candidate, m.Origin = known(v.madeBy(stage)), OriginSource
		if m.Candidate.ID == "" {
			m.Action = ActionNone
		}
	}
	return m
}

// checkPinLater refuses a pin to a build that no stage makes in the apply, or that has not
// passed those stages above that do not run in it.
func (v outlook) checkPinLater(stage pipeline.Stage, pending []string) *Refusal {
	if !pipeline.ValidBuildID(stage.Pin) {
		return malformed(stage, stage.Pin)
	}
	if _, exists := v.Builds[stage.Pin]; !exists {
		if v.mayMake(stage.After, stage.Pin) {
			return nil
		}
		return v.refuse(stage, stage.Pin)
	}
	rest := stage
	rest.After = slices.DeleteFunc(slices.Clone(stage.Upstream()), func(up string) bool { return slices.Contains(pending, up) })
	if len(rest.After) == 0 {
		return nil
	}
	return v.checkPin(rest, stage.Pin)
}

// mayMake reports whether a commit stage among the named ones, or above them, could make a
// build in the apply.
func (v outlook) mayMake(stages []string, build string) bool {
	return slices.ContainsFunc(v.Ancestors(stages), func(name string) bool {
		return v.want.Stages[name].Unknown || v.madeBy(v.Stages[name]) == build
	})
}

// created plans a stage that is created in the apply: only what its definition says is known.
func (v outlook) created(m Move, pending []string) Move {
	switch stage := m.Stage; {
	case stage.Pin != "" && len(pending) > 0:
		return v.later(m, pending)
	case stage.Pin != "":
		m.Candidate, m.Origin, m.Refusal = known(stage.Pin), OriginPin, v.checkPin(stage, stage.Pin)
	case stage.Type == pipeline.TypeCommit && stage.Source != nil:
		m.Candidate, m.Origin = known(pipeline.BuildIDOf(v.Pipeline, stage)), OriginSource
	}
	return m
}

// Adoption is the event by which a stage moves to a build that passed it before. On a
// commit stage the build becomes the newest again, so that a reverted commit flows down.
func Adoption(st *pipeline.State, stage pipeline.Stage, build string) pipeline.Event {
	result, _ := st.ResultOf(stage, build)
	consumed := Consumes(st, stage, build)
	event := pipeline.Event{Pipeline: stage.Pipeline, Kind: pipeline.StageMoved, Facts: pipeline.Facts{Current: &pipeline.Current{
		Stage: stage.Name, Build: build, Run: result.ID, Previous: st.Current[stage.Name].Build, Promotion: &consumed,
	}}}
	if stage.Type == pipeline.TypeCommit {
		b := st.Builds[build]
		b.Order = 0
		event.Facts.Build = &b
	}
	return event
}

// passed returns the newest build that has passed a stage after a move. It is unknown if the
// stage runs, because the run may fail. A build that people have not approved has not passed
// by its run alone, though.
func (v outlook) passed(w Want, m Move) Value {
	stage := w.Stage
	if w.Create || m.Refusal != nil || v.undefined(w) {
		return Unknown
	}
	if m.Action != ActionRun && m.Action != ActionUnknown {
		return known(v.NewestPassed(stage.Name))
	}
	enters := m.Candidate.ID
	if m.Candidate.Unknown {
		enters = v.entering(v.pending(w))
	}
	if stage.Approval && enters != "" && stage.Pin == "" && !v.everApproved(stage, enters) {
		return known(v.NewestPassed(stage.Name))
	}
	return Unknown
}

// everApproved reports whether anybody has let a build pass a stage, on whatever run.
func (v outlook) everApproved(stage pipeline.Stage, build string) bool {
	id := pipeline.StageBuild(stage.Name, build)
	_, overridden := v.Overrides[id]
	return overridden || v.Decisions[id].Result == pipeline.Approved
}

// redefined reports whether two definitions of a stage differ in more than their creation, a
// commit that changes nothing, and histories elsewhere that have only come further.
func redefined(stage, recorded pipeline.Stage) bool {
	stage.ID, stage.Owner, stage.Made, stage.Applied = recorded.ID, recorded.Owner, recorded.Made, recorded.Applied
	if slices.EqualFunc(stage.Elsewhere, recorded.Elsewhere, pipeline.Elsewhere.Says) {
		stage.Elsewhere = recorded.Elsewhere // their histories have come further
	}
	if a, b := stage.Source, recorded.Source; a != nil && b != nil && a.Repository == b.Repository && a.Digest == b.Digest {
		stage.Source = b
	}
	return !stage.Equal(recorded)
}
