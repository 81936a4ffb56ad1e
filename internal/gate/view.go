// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Status is a stage, or a baked image, in one word.
type Status string

// The statuses.
const (
	StatusPassed   Status = "passed"   // its current build passed, and nothing else comes
	StatusRunning  Status = "running"  // a run is under way
	StatusWaiting  Status = "waiting"  // a person is asked, a stage above is awaited, or a promotion waits for an apply
	StatusFailed   Status = "failed"   // its last run failed, and the next apply tries again
	StatusRejected Status = "rejected" // the newest build was rejected, and a newer one is awaited
	StatusPaused   Status = "paused"   // a person paused it
	StatusIdle     Status = "idle"     // there is nothing for it to do, or an apply does it
)

// Statuses are all of them, in the order of a legend.
var Statuses = []Status{StatusPassed, StatusRunning, StatusWaiting, StatusFailed, StatusRejected, StatusPaused, StatusIdle}

// Signal says how much something wants of whoever looks at it. Faces choose colours by it.
type Signal string

// The signals.
const (
	SignalNothing  Signal = "nothing"  // it is all right, or its time comes by itself
	SignalPerson   Signal = "person"   // a person is needed now
	SignalUpstream Signal = "upstream" // it waits for what comes before it
	SignalRunning  Signal = "running"  // a run is under way
	SignalServing  Signal = "serving"  // a persistent environment serves, and is healthy
	SignalFailed   Signal = "failed"   // a run failed, or what should serve does not
)

// Signals are all of them, in the order of a legend.
var Signals = []Signal{SignalServing, SignalPerson, SignalRunning, SignalUpstream, SignalFailed, SignalNothing}

// View is a stage, or a baked image, as people see it: what it is at, and what comes next.
// All faces show it, so that they agree.
type View struct {
	Name    string // of the stage, or from pipeline.ImageRun
	Move    Move   // what the next apply does; zero for an image
	Status  Status
	Signal  Signal // of the whole: what serves is all right, whatever comes next
	Current Standing
	Next    Next
	// Undecided is the build that a person may approve or reject now; empty for none. It is
	// the next one.
	Undecided string
	// Offered is the build to which a person may move the stage; empty for none. It is the
	// next one, unless that runs, failed, or was promoted already, or the configuration pins
	// the stage.
	Offered string
}

// Standing is what a stage is at.
type Standing struct {
	Build string // that the stage has moved to; empty for none
	Image string // of a baked image: the one that was baked last; empty for none
	Since time.Time
	Run   string // of the build there, or of the bake
	// Environment is where the build can be seen: the persistent environment, or the one to
	// try it in. It is nil if there is none, or if it does not answer.
	Environment *pipeline.Environment
	Targets     []TargetStanding   // of a stage with several, in the order of their waves
	Pause       *pipeline.Pause    // nil unless the stage is paused
	Override    *pipeline.Override // by which the build passed there, also if it does not count any more
}

// TargetStanding is what a stage is at, at one of its targets.
type TargetStanding struct {
	pipeline.StageTarget
	Build       string                // that its environment runs; empty for none
	Since       time.Time             // it does; zero if that is not known
	Environment *pipeline.Environment // nil for none
}

// NextKind says why what comes next has not come yet.
type NextKind string

// The kinds of next.
const (
	NextNothing   NextKind = "nothing"   // nothing comes, as far as is known
	NextRunning   NextKind = "running"   // Run is under way
	NextFailed    NextKind = "failed"    // Run failed, and the next apply tries again
	NextDecision  NextKind = "decision"  // people decide: Missing of Needed approvals, by those in May
	NextPromotion NextKind = "promotion" // a person promotes it, of those in May
	NextPromoted  NextKind = "promoted"  // by Promotion, which no apply has taken up yet
	NextApply     NextKind = "apply"     // the next apply does Action
	NextUpstream  NextKind = "upstream"  // it has to get past Upstream
	NextBuild     NextKind = "build"     // any build that passed Stages
	NextNewer     NextKind = "newer"     // one newer than Rejected, which was rejected at Stages[0]
	NextNever     NextKind = "never"     // nothing ever: no build can pass both Stages
	NextPaused    NextKind = "paused"    // a person resumes the stage
	NextRefused   NextKind = "refused"   // the configuration pins the stage to a build that may not enter
	NextElsewhere NextKind = "elsewhere" // stages of other pipelines have to pass a build; Wait has them
)

// NextKinds are all of them.
var NextKinds = []NextKind{
	NextNothing, NextRunning, NextFailed, NextDecision, NextPromotion, NextPromoted, NextApply, NextUpstream, NextBuild, NextNewer, NextNever, NextPaused, NextRefused, NextElsewhere,
}

// Next is what comes next at a stage, and why it has not come yet.
type Next struct {
	Kind            NextKind
	Signal          Signal
	Build           string    // that comes; empty for none, or where it is not known
	Number          int64     // of Build; 0 where it is not known
	Since           time.Time // it has been so; zero if that is not known
	Action          Action    // of the next apply
	Why             Why
	Run             pipeline.RunSummary // of NextRunning and NextFailed
	Missing, Needed int                 // approvals
	May             []string            // who may decide or promote; nil for everybody
	// Promotion is the one that no apply has taken up, also while the stage is paused, or
	// the run for it failed. It can be cancelled. It is nil for none.
	Promotion *pipeline.Promotion
	Upstream  []Obstacle // of NextUpstream: one for each way to the stage
	Stages    []string
	Rejected  string // a build
	Refusal   *Refusal
	Wait      Wait // what is said of it in words
}

// Views returns all images, by name, then all stages, in order.
func (p Planned) Views() []View {
	var all []View
	for _, d := range pipeline.ImagesInOrder(p.planner.base.State) {
		all = append(all, p.View(pipeline.ImageRun(d.Name)))
	}
	for _, m := range p.Moves() {
		all = append(all, p.View(m.Stage.Name))
	}
	return all
}

// View returns a stage, or a baked image by its name from pipeline.ImageRun, as people see
// it.
func (p Planned) View(name string) View { return p.view(name, p.planner.base.Latest[name]) }

// ViewWithoutRun is View as if the latest run had been cancelled: its process is gone.
func (p Planned) ViewWithoutRun(name string) View {
	latest := p.planner.base.Latest[name]
	latest.Status = pipeline.RunCancelled
	return p.view(name, latest)
}

func (p Planned) view(name string, latest pipeline.RunSummary) View {
	r := p.planner.base
	if image, ok := pipeline.ImageOfRun(name); ok {
		return r.viewOfImage(r.ImageDefinitions[image], latest)
	}
	return r.view(p.Stage(name), latest)
}

func (r *rules) view(m Move, latest pipeline.RunSummary) View {
	v := View{Name: m.Stage.Name, Move: m, Current: r.current(m.Stage), Offered: r.offered(m)}
	v.Next = r.comes(m, latest)
	v.Next.Number = r.Builds[v.Next.Build].Number
	if v.Next.Kind == NextDecision {
		v.Undecided = v.Next.Build
	}
	v.Next.Signal = v.Next.signal()
	v.Status = status(m, v)
	v.Signal = r.signal(m.Stage, v)
	return v
}

// viewOfImage returns a baked image as people see it.
func (r *rules) viewOfImage(image pipeline.ImageDefinition, latest pipeline.RunSummary) View {
	v := View{Name: pipeline.ImageRun(image.Name), Status: StatusIdle, Current: Standing{Image: image.Image, Run: image.Run, Since: r.Images[image.Image].CreatedAt}}
	v.Next.Kind = NextNothing
	if image.Image != "" {
		v.Status = StatusPassed
	}
	switch latest.Status {
	case pipeline.RunRunning:
		v.Status, v.Next = StatusRunning, Next{Kind: NextRunning, Run: latest, Since: latest.StartedAt}
	case pipeline.RunFailed:
		v.Status, v.Next = StatusFailed, Next{Kind: NextFailed, Run: latest, Since: latest.EndedAt, Action: ActionRun}
	}
	v.Next.Signal = v.Next.signal()
	v.Signal = v.Next.Signal
	return v
}

// current returns what a stage is at.
func (r *rules) current(s pipeline.Stage) Standing {
	at := r.Current[s.Name]
	c := Standing{Build: at.Build, Run: at.Run, Since: at.At}
	for _, purpose := range []pipeline.EnvironmentPurpose{pipeline.ForStage, pipeline.ForInquiry} {
		if env, ok := pipeline.EnvironmentOf(r.State, s, purpose); ok && c.Environment == nil && env.Serves() {
			c.Environment = &env
		}
	}
	for _, at := range s.AtTargets() {
		c.Targets = append(c.Targets, atTarget(r, s, at))
	}
	if p, paused := r.Pauses[s.Name]; paused {
		c.Pause = &p
	}
	if o, ok := r.Overrides[pipeline.StageBuild(s.Name, at.Build)]; ok {
		c.Override = &o
	}
	return c
}

// atTarget returns what a stage is at, at one of its targets.
func atTarget(r *rules, s, at pipeline.Stage) TargetStanding {
	t := TargetStanding{StageTarget: s.Targets[slices.IndexFunc(s.Targets, func(t pipeline.StageTarget) bool { return t.Name == at.At.Name })]}
	if env, ok := r.RunEnvironment(at.Name, pipeline.ForStage); ok {
		t.Environment, t.Build = &env, env.Build
	}
	if current := r.Current[at.Name]; current.Build == t.Build {
		t.Since = current.At
	}
	return t
}

// comes returns what comes next at a stage.
func (r *rules) comes(m Move, latest pipeline.RunSummary) Next {
	s := m.Stage
	n := Next{Kind: NextNothing, Action: m.Action, Why: m.Why, Wait: m.Wait}
	if p, pending := r.pending(s); pending {
		n.Promotion = &p
	}
	pause, paused := r.Pauses[s.Name]
	then := m // of what would come if nobody had paused the stage
	if paused {
		then = r.goes(s)
		then.Wait = r.waits(s, then)
	}
	switch {
	case latest.Status == pipeline.RunRunning:
		n.Kind, n.Build, n.Run, n.Since = NextRunning, latest.Build, latest, latest.StartedAt
	case m.Refusal != nil && m.Refusal.Kind != RefusedPaused:
		n.Kind, n.Build, n.Refusal = NextRefused, m.Candidate.ID, m.Refusal
	case paused && m.Action != ActionNone: // what it has is kept up
		n.Kind, n.Build = NextApply, m.Candidate.ID
	case paused && !then.decides(r.Current[s.Name].Build):
		n.Kind, n.Build, n.Since = NextPaused, then.next(), pause.At
	case latest.Status == pipeline.RunFailed && m.Action == ActionRun && latest.Build == m.Candidate.ID:
		n.Kind, n.Build, n.Run, n.Since = NextFailed, latest.Build, latest, latest.EndedAt
	case then.Wait.Kind == WaitDecision:
		r.asks(s, then.Wait, &n)
	case m.Moves() && m.Origin == OriginPromotion && n.Promotion != nil:
		n.Kind, n.Build, n.Since = NextPromoted, m.Candidate.ID, n.Promotion.At
	case m.Moves():
		n.Kind, n.Build = NextApply, m.Candidate.ID
	case m.Wait.Waits():
		r.awaits(s, &n)
	case m.Action != ActionNone:
		n.Kind, n.Build = NextApply, m.Candidate.ID
	}
	return n
}

// decides reports whether people are asked about a stage's current build.
func (m Move) decides(current string) bool {
	return m.Wait.Kind == WaitDecision && m.Wait.Build == current
}

// next returns the build that a move is to, or that a person may promote; empty for none.
func (m Move) next() string {
	switch {
	case m.Moves():
		return m.Candidate.ID
	case m.Wait.Kind == WaitPromotion:
		return m.Wait.Build
	}
	return ""
}

// asks says that people decide on a build.
func (r *rules) asks(s pipeline.Stage, w Wait, n *Next) {
	n.Kind, n.Build, n.Wait, n.Missing, n.Needed = NextDecision, w.Build, w, w.Missing, w.Needed
	n.May = r.may(pipeline.RightApprove)
	run, _ := r.ResultOf(s, w.Build)
	n.Since = run.EndedAt
}

// awaits says what a stage waits for.
func (r *rules) awaits(s pipeline.Stage, n *Next) {
	w := n.Wait
	n.Build, n.Stages = w.Build, w.Stages
	switch w.Kind {
	case WaitPromotion:
		n.Kind, n.May, n.Since = NextPromotion, r.may(pipeline.RightDeploy), pipeline.ReadyAt(r.State, s, w.Build)
	case WaitPassed:
		n.Kind = NextUpstream
		if s.TakesBuild() {
			n.Upstream = r.ahead(s, w.Build)
		}
	case WaitBuild:
		n.Kind = NextBuild
	case WaitElsewhere:
		n.Kind = NextElsewhere
	case WaitNever:
		n.Kind = NextNever
	case WaitNewer:
		n.Kind, n.Build, n.Rejected, n.Since = NextNewer, "", w.Build, r.Decisions[pipeline.StageBuild(w.Stages[0], w.Build)].At
	}
}

// may names the people with a right; nil for everybody.
func (r *rules) may(right pipeline.Right) []string {
	names, everybody := r.Pipeline.Entitled(right)
	if everybody {
		return nil
	}
	return append([]string{}, names...)
}

// pending returns the promotion that no apply has taken up.
func (r *rules) pending(s pipeline.Stage) (pipeline.Promotion, bool) {
	p, ok := r.Promotions[s.Name]
	return p, ok && s.Trigger == pipeline.TriggerManual && s.Pin == "" && r.Version(pipeline.RecordPromotion, s.Name) > consumed(r.State, s.Name)
}

// PendingPromotion returns the promotion of a stage that no apply has taken up. It is false
// if there is none, or if a run for it is under way.
func PendingPromotion(st *pipeline.State, s pipeline.Stage) (pipeline.Promotion, bool) {
	p, pending := newRules(st).pending(s)
	latest := st.Latest[s.Name]
	return p, pending && !(latest.Status == pipeline.RunRunning && latest.Build == p.Build)
}

// offered returns the build to which a person may move a stage.
func (r *rules) offered(m Move) string {
	s := m.Stage
	if s.Trigger != pipeline.TriggerManual || !s.TakesBuild() || s.Type == pipeline.TypeCommit {
		return ""
	}
	build, ok := r.newestEligible(s, r.Builds[r.Current[s.Name].Build].Order)
	if !ok || m.Candidate.ID == build {
		return ""
	}
	return build
}

// status returns a stage in one word.
func status(m Move, v View) Status {
	switch kind := v.Next.Kind; {
	case kind == NextRunning:
		return StatusRunning
	case kind == NextFailed:
		return StatusFailed
	case v.Current.Pause != nil:
		return StatusPaused
	case kind == NextNewer:
		return StatusRejected
	case kind == NextDecision, kind == NextPromoted, kind == NextRefused:
		return StatusWaiting
	case kind == NextNothing && m.Stage.TakesBuild() && m.Candidate.ID == "", m.Moves(), m.Action == ActionRestore, m.Action == ActionUnknown:
		return StatusIdle
	case kind == NextNothing, kind == NextApply:
		return StatusPassed
	}
	return StatusWaiting
}

// signal says how much something that comes next wants of people.
func (n Next) signal() Signal {
	switch n.Kind {
	case NextRunning:
		return SignalRunning
	case NextFailed:
		return SignalFailed
	case NextDecision, NextPromotion, NextNever, NextRefused:
		return SignalPerson
	case NextUpstream, NextBuild, NextNewer, NextElsewhere:
		return SignalUpstream
	}
	return SignalNothing
}

// signal says how much a stage wants of people: what serves is all right, whatever comes
// next, and what should serve and does not is not.
func (r *rules) signal(s pipeline.Stage, v View) Signal {
	if !s.Persistent() || v.Current.Build == "" {
		return v.Next.Signal
	}
	env, ok := pipeline.EnvironmentOf(r.State, s, pipeline.ForStage)
	switch {
	case ok && env.Status == pipeline.EnvRunning:
		return SignalServing
	case ok && env.Status == pipeline.EnvLaunching:
		return v.Next.Signal
	}
	return SignalFailed
}
