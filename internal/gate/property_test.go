// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

// world is a random pipeline, with a configuration and people. An apply of it records what
// the engine records.
type world struct {
	*Story
	t    *testing.T
	seed uint64
	r    *rand.Rand
	want map[string]Stage // the configuration

	foreign       int64 // events of the pipeline that some stages come after
	closed, moved int   // how often that kept a stage closed, and how often a channel moved
}

var sources = []string{"u", "v", "w", "x", "y", "z"}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{Story: Tell(t), t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 3)), want: map[string]Stage{}}
	names := []string{"commit"}
	w.want["commit"] = CommitOf("u")
	if w.r.IntN(4) == 0 {
		w.want["bootstrap"] = A(TypeBootstrap)
		s := w.want["commit"]
		s.After = []string{"bootstrap"}
		w.want["commit"] = s
	}
	kinds := []StageType{TypeAcceptance, TypeExploratory, TypeCapacity, TypePreProduction, TypeProduction, TypeCustom, TypeCustom}
	for i := range 1 + w.r.IntN(6) {
		s := Stage{Pipeline: "shop", Name: fmt.Sprintf("s%d", i), Type: kinds[w.r.IntN(len(kinds))]}
		if s.Type == TypeCustom && w.r.IntN(3) == 0 {
			s.Trigger = TriggerManual
		}
		for range 1 + w.r.IntN(3) {
			if up := names[w.r.IntN(len(names))]; !slices.Contains(s.After, up) {
				s.After = append(s.After, up)
			}
		}
		yes := w.r.IntN(4) == 0
		approval := &yes
		if s.Type == TypeExploratory {
			approval = nil
		}
		if w.r.IntN(4) == 0 {
			s.Elsewhere = w.elsewhere()
		}
		if s = s.WithDefaults(approval, nil); s.TakesBuild() && w.r.IntN(3) == 0 {
			s.Publish = &Publication{Channel: s.Name, Keep: w.r.IntN(2)}
		}
		w.want[s.Name] = s
		names = append(names, s.Name)
	}
	return w
}

// elsewhere is what a stage of another pipeline has passed, if anything. Its history goes on.
func (w *world) elsewhere() []Elsewhere {
	w.foreign++
	build := []string{"", "b-00000000f1", "b-00000000f2"}[w.r.IntN(3)]
	return []Elsewhere{{Ledger: "theirs", Pipeline: "images", Stage: "tested", Build: build, Head: Anchor{Sequence: w.foreign}}}
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: "+format, append([]any{w.seed}, args...)...)
}

// order lists the stages of the configuration, each behind those it comes after, and
// otherwise at random, as Terraform visits them.
func (w *world) order() []Stage {
	st := w.State().Clone()
	for name, s := range w.want {
		st.Stages[name] = s
	}
	var left, done []Stage
	left = st.StagesInOrder()
	for len(left) > 0 {
		var next []int
		for i, s := range left {
			ready := func(up string) bool { return slices.ContainsFunc(done, func(d Stage) bool { return d.Name == up }) }
			if !slices.ContainsFunc(s.After, func(up string) bool { return !ready(up) }) {
				next = append(next, i)
			}
		}
		i := next[w.r.IntN(len(next))]
		done, left = append(done, left[i]), slices.Delete(left, i, i+1)
	}
	return done
}

// edit changes the configuration.
func (w *world) edit() {
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range w.want {
			if !yield(name) {
				return
			}
		}
	})
	name := names[w.r.IntN(len(names))]
	s := w.want[name]
	switch n := w.r.IntN(11); {
	case n < 4:
		name, s = "commit", w.want["commit"]
		fresh := CommitOf(sources[w.r.IntN(len(sources))])
		s.Source = fresh.Source
	case n == 4:
		s.Steps = []Step{{Name: "try", Command: fmt.Sprint(w.r.IntN(3))}}
	case n == 5:
		s.OnFailure = []OnFailure{OnFailureKeep, OnFailureDestroy}[w.r.IntN(2)]
	case n == 6 && s.TakesBuild() && s.Type != TypeCommit:
		s.Pin = []string{"", ID(sources[w.r.IntN(len(sources))])}[w.r.IntN(2)]
	case n == 7 && s.Persistent():
		env := *s.Env
		env.Instances = 1 + w.r.IntN(3)
		s.Env = &env
	case n == 8 && s.TakesBuild() && s.Publish != nil:
		s.Publish = nil
	case n == 8 && s.TakesBuild():
		s.Publish = &Publication{Channel: fmt.Sprint(name, w.r.IntN(2))}
	case n == 9 && len(s.Elsewhere) > 0: // its history goes on, with or without another build
		s.Elsewhere = w.elsewhere()
	case n == 10:
		if s.Elsewhere = nil; w.r.IntN(2) == 0 {
			s.Elsewhere = w.elsewhere()
		}
	}
	w.want[name] = s
}

// people makes a decision that may be allowed.
func (w *world) people() {
	st := w.State()
	all := st.StagesInOrder()
	if len(all) == 0 {
		return
	}
	s, build := all[w.r.IntN(len(all))], sources[w.r.IntN(len(sources))]
	if _, made := st.Builds[ID(build)]; !made || !s.TakesBuild() {
		return
	}
	result, ran := st.ResultOf(s, ID(build))
	switch n := w.r.IntN(10); {
	case n < 4 && s.Approval && ran && result.Status == RunPassed && st.RejectedAt(ID(build)) == "":
		w.Decided(s.Name, build, Approved)
	case n == 4 && ran:
		w.Decided(s.Name, build, Rejected)
	case n == 5 && st.Decisions[StageBuild(s.Name, ID(build))].Result == Rejected:
		w.Decided(s.Name, build, Approved)
	case n == 6 && s.Trigger == TriggerManual && Eligible(st, s, ID(build)) == nil:
		w.Promoted(s.Name, build)
	case n == 7 && ran:
		w.Retried(s.Name, build)
	case n == 8 && !s.Persistent() && s.Type != TypeCommit && Eligible(st, s, ID(build)) == nil:
		w.Overridden(s.Name, build)
	case n == 9:
		if _, paused := st.Pauses[s.Name]; paused {
			w.Event(StageResumed, Facts{Gone: []Key{{Kind: RecordPause, ID: s.Name}}})
		} else if w.r.IntN(3) == 0 {
			w.Paused(s.Name)
		}
	}
}

// walk plans the configuration as Terraform does: each stage with what it knows of those
// before it. found are the stages for which an apply has found out what passed them.
func (w *world) walk(at Snapshot, order []Stage, found map[string]bool) map[string]Move {
	moves, known := map[string]Move{}, map[string]Want{}
	for _, s := range order {
		want := Want{Stage: s, Unordered: map[string]bool{}}
		for _, up := range s.After {
			if found == nil {
				want.Unordered[up] = !moves[up].Passed.Unknown
			} else {
				want.Unordered[up] = !found[up]
			}
		}
		known[s.Name] = want
		moves[s.Name] = Plan(at, Desired{Stages: known}).Stage(s.Name)
	}
	return moves
}

// quiet reports whether a plan shows no change of a stage.
func quiet(at Snapshot, m Move) bool {
	return m.Action == ActionNone && !m.Redefined && !m.Passed.Unknown && m.Passed.ID == at.State().NewestPassed(m.Stage.Name)
}

// agrees reports whether a second plan equals the first one, as far as that was known.
func agrees(first, second Value) bool { return first.Unknown || first == second }

var errFailed = errors.New("failed")

// apply executes what was planned at a snapshot, after what people do meanwhile. It returns
// how each stage ended that failed.
func (w *world) apply(at Snapshot, first map[string]Move, meanwhile func(), fails bool) map[string]error {
	order, found, ended := w.order(), map[string]bool{}, map[string]error{}
	for i, s := range order {
		if slices.ContainsFunc(s.After, func(up string) bool { return ended[up] != nil }) {
			ended[s.Name] = errFailed
			continue
		}
		meanwhile()
		second := w.walk(at, order[:i+1], found)[s.Name]
		m := first[s.Name]
		if !agrees(m.Candidate, second.Candidate) || !agrees(m.Passed, second.Passed) || quiet(at, m) && !quiet(at, second) || !m.Publishes && second.Publishes {
			w.fatalf("stage %s: planned %+v,\nand in the apply %+v", s.Name, m, second)
		}
		if quiet(at, m) || quiet(at, second) {
			continue
		}
		if err := w.advance(at, s, second, fails); err != nil {
			ended[s.Name] = err
			continue
		}
		if second.Passed.Unknown {
			found[s.Name] = true
		}
	}
	return ended
}

// advance applies a stage as the engine does.
func (w *world) advance(at Snapshot, s Stage, planned Move, fails bool) error {
	st := w.State()
	m, err := Confirm(At(st, 0), s, Intent{Position: at.Position, Candidate: planned.Candidate})
	if err != nil {
		return err
	}
	if recorded, exists := st.Stages[s.Name]; !exists || !recorded.Equal(s) {
		w.Stages(s)
	}
	if m.Action != ActionNone && m.Action != ActionPublish {
		w.publish(s.Name)
	}
	if err := w.act(s, m, fails); err != nil {
		return err
	}
	w.publish(s.Name)
	return nil
}

// act executes a move.
func (w *world) act(s Stage, m Move, fails bool) error {
	st, build := w.State(), m.Candidate.ID
	switch m.Action {
	case ActionRun, ActionRestore:
		if m.Action == ActionRun && build != "" {
			w.mayRun(st, s, m)
		}
		status := RunPassed
		if fails && w.r.IntN(6) == 0 {
			status = RunFailed
		}
		consumed := Consumes(st, s, build)
		if s.Type == TypeCommit {
			if _, made := st.Builds[build]; !made {
				w.Event(BuildOffered, Facts{Build: &Build{ID: build, Pipeline: "shop", Stage: "commit", Digest: s.Source.Digest, BaseImage: s.BaseImage}})
			}
		}
		w.Ran(s.Name, w.State().Builds[build].Digest, status)
		if status == RunFailed {
			return errFailed
		}
		current := w.State().Current[s.Name]
		current.Promotion = &consumed
		facts := Facts{Current: &current}
		if s.Type == TypeCommit {
			b := w.State().Builds[build]
			b.Order = 0
			facts.Build = &b
		}
		w.Event(StageMoved, facts)
		w.brings(s, build)
	case ActionAdopt:
		e := Adoption(st, s, build)
		w.Event(e.Kind, e.Facts)
	case ActionAdjust:
		w.brings(s, build)
	case ActionEnd:
		env, _ := st.DecidedEnvironment(s)
		w.Event(EnvironmentEnded, Facts{Gone: []Key{{Kind: RecordEnvironment, ID: env.ID}}})
	}
	return nil
}

// publish brings the channel of a stage to where it is to lead, as the engine does, and checks
// that it leads only to builds that passed the stage and that nobody has rejected.
func (w *world) publish(stage string) {
	st := w.State()
	if !ChannelDue(st, stage) {
		return
	}
	c, want := st.Channels[stage], PublicationOf(st, stage)
	if want == nil {
		w.Event(ChannelRemoved, Facts{Gone: []Key{{Kind: RecordChannel, ID: stage}}})
		return
	}
	aim := AimOf(st, stage)
	if err := aim.Check(stage); err != nil {
		w.fatalf("stage %s: %v", stage, err)
	}
	if aim.Build != "" && (st.RejectedAbove(st.Stages[stage], aim.Build) != "" || !st.Passed(stage, aim.Build) && c.Build != aim.Build) {
		w.fatalf("the channel of stage %s is to lead to build %s, which has not passed it", stage, aim.Build)
	}
	c.Pipeline, c.Stage = "shop", stage
	c = c.Named(*want, aim, nil, w.Now)
	w.Event(ChannelMoved, Facts{Channel: &c})
	w.moved++
	if ChannelDue(w.State(), stage) {
		w.fatalf("the channel of stage %s leads to %+v, and is due again", stage, c)
	}
}

// mayRun checks the invariants of each run.
func (w *world) mayRun(st *State, s Stage, m Move) {
	build, current := m.Candidate.ID, st.Current[s.Name].Build
	if build != current && rejected(st, s, build) {
		w.fatalf("stage %s runs the rejected build %s", s.Name, build)
	}
	for _, up := range s.After {
		if build != current && !st.Passed(up, build) {
			w.fatalf("stage %s runs build %s, which has not passed %s", s.Name, build, up)
		}
	}
	if build != current && len(s.Awaits()) > 0 && !st.Passed(s.Name, build) {
		w.fatalf("stage %s runs build %s, and %v has passed none", s.Name, build, s.Awaits())
	}
	if s.Type == TypeCommit || s.Pin != "" || s.Trigger == TriggerManual || st.RejectedAbove(s, current) != "" || s.Approval && st.RejectedAt(current) != "" {
		return
	}
	if st.Builds[build].Order < st.Builds[current].Order {
		w.fatalf("stage %s goes back from build %s to %s", s.Name, current, build)
	}
}

// rejected reports whether a build must not get into a stage: a commit stage makes it though
// a stage below has rejected it.
func rejected(st *State, s Stage, build string) bool {
	if s.Type == TypeCommit {
		return st.RejectedAbove(s, build) != ""
	}
	return st.RejectedAt(build) != ""
}

// brings records the environment that a stage has after a run.
func (w *world) brings(s Stage, build string) {
	env := Environment{
		ID: "e-" + s.Name, Pipeline: "shop", Purpose: ForStage, Stage: s.Name, Name: s.Name, Build: build, Run: w.State().Latest[s.Name].ID, Status: EnvRunning,
		Digest: s.Digest(w.State().Pipeline), Instances: s.Instances(w.State().Pipeline),
	}
	switch {
	case s.Persistent():
		env.Spec = s.EnvironmentFor(w.State().Pipeline)
	case s.Approval && s.Env != nil:
		env.Purpose = ForInquiry
	default:
		return
	}
	w.Event(EnvironmentChanged, Facts{Environment: &env})
}

// snapshot is the world as it is, rebuilt from its history.
func (w *world) snapshot() Snapshot { return w.at(len(w.Events)) }

func (w *world) at(position int) Snapshot {
	st, err := NewState(nil)
	if err == nil {
		st, err = st.With(w.Events[:position])
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return At(st, int64(position))
}

// plan plans the configuration, and checks the invariants of each plan. It reports false if a
// pin is refused, and then removes the pin.
func (w *world) plan() (Snapshot, map[string]Move, bool) {
	at := w.snapshot()
	moves := w.walk(at, w.order(), nil)
	whole := map[string]Want{}
	for name, s := range w.want {
		whole[name] = Want{Stage: s}
	}
	planned, refused := Plan(at, Desired{Stages: whole}), false
	for _, m := range planned.Moves() {
		if m.Refusal != nil {
			s := w.want[m.Stage.Name]
			s.Pin = ""
			w.want[m.Stage.Name], refused = s, true
		}
	}
	for name, m := range moves {
		if refused {
			break
		}
		if again := planned.Stage(name); !reflect.DeepEqual(again, m) {
			w.fatalf("stage %s: as Terraform comes to it %+v,\nand of the whole %+v", name, m, again)
		}
		w.checkMove(planned, m)
	}
	return at, moves, !refused
}

// checkMove checks the invariants of a planned move.
func (w *world) checkMove(planned Planned, m Move) {
	s := m.Stage
	st := planned.State(s.After...)
	if m.Wait.Kind == WaitElsewhere {
		w.closed++
	}
	if m.Refusal != nil {
		return
	}
	if (m.Candidate.Unknown || m.Passed.Unknown || m.Action == ActionUnknown) && m.Action != ActionRun &&
		!slices.ContainsFunc(st.Ancestors(s.After), func(up string) bool { return planned.Stage(up).Action == ActionRun }) {
		w.fatalf("nothing runs above stage %s, and it is unknown: %+v", s.Name, m)
	}
	if !m.Moves() || m.Candidate.Unknown || m.Candidate.ID == "" {
		return
	}
	build, current := m.Candidate.ID, st.Current[s.Name].Build
	switch {
	case build != current && rejected(st, s, build):
		w.fatalf("stage %s is planned to move to the rejected build %s", s.Name, build)
	case build != current && slices.ContainsFunc(s.After, func(up string) bool { return !st.Passed(up, build) }) && s.Type != TypeCommit:
		w.fatalf("stage %s is planned to move to build %s, which has not passed all of %v", s.Name, build, s.After)
	case build != current && len(s.Awaits()) > 0 && !st.Passed(s.Name, build):
		w.fatalf("stage %s is planned to move to build %s, and %v has passed none", s.Name, build, s.Awaits())
	case s.Type != TypeCommit && s.Pin == "" && s.Trigger != TriggerManual && st.RejectedAbove(s, current) == "" && !(s.Approval && st.RejectedAt(current) != "") && st.Builds[build].Order < st.Builds[current].Order:
		w.fatalf("stage %s is planned to go back from %s to %s", s.Name, current, build)
	}
}

// settles applies until nothing changes, alone, and checks that one apply is enough.
func (w *world) settles() {
	for {
		at, moves, ok := w.plan()
		if !ok {
			continue
		}
		if ended := w.apply(at, moves, func() {}, false); len(ended) > 0 {
			w.unpin(moves, ended)
			continue
		}
		for name, m := range moves { // what the plan knew came true
			st := w.State()
			if !m.Passed.Unknown && st.NewestPassed(name) != m.Passed.ID {
				w.fatalf("stage %s: %s passed, and planned was %+v", name, st.NewestPassed(name), m)
			}
			if m.Moves() && !m.Candidate.Unknown && st.Current[name].Build != m.Candidate.ID {
				w.fatalf("stage %s is at %s, and planned was %+v", name, st.Current[name].Build, m)
			}
			w.published(at, m)
		}
		break
	}
	at, moves, ok := w.plan()
	for name, m := range moves {
		if ok && !quiet(at, m) {
			w.fatalf("after an apply another one does something to stage %s: %+v", name, m)
		}
	}
}

// published checks where the channel of a stage leads after an apply: where it is to, and where
// it did if the plan said so.
func (w *world) published(at Snapshot, m Move) {
	name, st := m.Stage.Name, w.State()
	if ChannelDue(st, name) {
		w.fatalf("stage %s: its channel is due after the apply: %+v, want %+v", name, st.Channels[name], AimOf(st, name))
	}
	before, now := at.State().Channels[name], st.Channels[name]
	if !m.Publishes && (before.Name != now.Name || before.ChannelImage.Build != now.ChannelImage.Build || before.Image != now.Image) {
		w.fatalf("stage %s: its channel led to %+v, and leads to %+v; planned was %+v", name, before, now, m)
	}
}

// unpin removes the pins that a run above has closed, by ending an approval. Nothing else
// keeps an apply from finishing.
func (w *world) unpin(moves map[string]Move, ended map[string]error) {
	unpinned := false
	for name := range ended {
		if s := w.want[name]; s.Pin != "" && moves[name].Action == ActionUnknown {
			s.Pin, unpinned = "", true
			w.want[name] = s
		}
	}
	if !unpinned {
		w.fatalf("alone, an apply ends with %v", ended)
	}
}

// TestPlansComeTrue runs random pipelines: people edit the configuration, decide, and apply,
// also while others decide in the middle of it. A plan at a position is the same whenever it
// is made. Both plans of an apply agree. What a plan knows comes true, and it knows all that
// no run decides. Alone, one apply is enough. No build gets into a stage that is rejected,
// older, or has not passed all stages above, or while another pipeline keeps the stage closed. A
// channel leads to what its stage gives out, and moves only where the plan says that it may.
func TestPlansComeTrue(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 60
	}
	conflicts, closed, moved := 0, 0, 0
	for seed := range seeds {
		w := newWorld(t, seed)
		for range 12 {
			switch w.r.IntN(4) {
			case 0:
				w.settles()
			case 1:
				w.edit()
			default:
				at, moves, ok := w.plan()
				if !ok {
					continue
				}
				for range w.r.IntN(3) {
					w.people()
				}
				for _, err := range w.apply(at, moves, func() {
					if w.r.IntN(3) == 0 {
						w.people()
					}
				}, true) {
					var conflict *Conflict
					if errors.As(err, &conflict) {
						conflicts++
					}
				}
				if again := w.walk(w.at(int(at.Position)), w.order(), nil); !reflect.DeepEqual(again, moves) {
					w.fatalf("at event %d the plan was %+v,\nand is %+v", at.Position, moves, again)
				}
			}
			w.people()
		}
		w.settles()
		closed, moved = closed+w.closed, moved+w.moved
	}
	if conflicts == 0 || closed == 0 || moved == 0 {
		t.Errorf("people came in the way of %d applies, stages waited %d times for another pipeline, and %d channels moved", conflicts, closed, moved)
	}
}
