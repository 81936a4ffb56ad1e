// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// fake is a Terraform and what can be seen, in one.
type fake struct {
	state     State
	changes   bool // of the first plan
	reasons   []Reason
	looks     int
	blind     error // of a look
	holder    error // of Lock
	fails     func() error
	applies   []time.Time
	plans     int
	unplanned int    // plans that fail
	during    func() // an apply
	closed    bool
	published []string
	reads     int                // of the state
	unread    error              // of a read
	reread    func()             // before each but the first
	alone     context.CancelFunc // ends the lock
}

func (f *fake) Summary() string { return "Apply complete!" }

func (f *fake) State(context.Context) (*State, error) {
	if f.reads++; f.reads > 1 && f.reread != nil {
		f.reread()
	}
	s := f.state
	return &s, f.unread
}

func (f *fake) UnderWay(context.Context, []string) ([]report.Progress, error) {
	return []report.Progress{{Step: "tests", Number: len(f.applies)}}, nil
}

func (f *fake) Plan(context.Context) (bool, error) {
	f.plans++
	if f.unplanned > 0 {
		f.unplanned--
		return false, errors.New("the plan fails")
	}
	return f.changes, nil
}

func (f *fake) Apply(ctx context.Context) error {
	f.applies = append(f.applies, time.Now())
	if f.during != nil {
		f.during()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f.fails != nil {
		return f.fails()
	}
	f.reasons, f.changes, f.state.resources = nil, false, 1
	return nil
}

func (f *fake) Lock(ctx context.Context, _ []string) (context.Context, error) {
	if f.holder != nil {
		return nil, f.holder
	}
	locked, cancel := context.WithCancel(ctx)
	f.alone = cancel
	return locked, nil
}

func (f *fake) Look(context.Context, *State) ([]Reason, error) {
	f.looks++
	return f.reasons, f.blind
}

func (f *fake) Publish(text string) { f.published = append(f.published, text) }

func (f *fake) Close(context.Context) error { f.closed = true; return nil }

// watched runs a watcher in a bubble of its own time, and returns the kinds of its events.
func watched(t *testing.T, f *fake, o Options, during func(stop func())) []Event {
	t.Helper()
	var events []Event
	synctest.Test(t, func(t *testing.T) {
		o.Terraform, o.Report = f, func(e Event) { events = append(events, e) }
		w := New(o)
		w.poller = f
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- w.Run(t.Context(), stop) }()
		synctest.Wait()
		stopped := false
		during(func() { stopped = true; close(stop) })
		if !stopped {
			close(stop)
		}
		if err := <-done; err != nil && !o.Once {
			t.Errorf("the watcher ended with %v", err)
		}
		if !f.closed {
			t.Error("the watcher did not let go")
		}
	})
	return events
}

func kinds(events []Event) string {
	var all []string
	for _, e := range events {
		all = append(all, string(e.Kind))
	}
	return strings.Join(all, " ")
}

func reason(key string) []Reason { return []Reason{{key, "because of " + key}} }

// later waits in the bubble.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestIdleHour(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	events := watched(t, f, Options{}, func(func()) { later(time.Hour) })
	if len(f.applies) != 0 || f.plans != 1 || f.looks < 60 || f.looks > 80 {
		t.Errorf("%d applies, %d plans, %d looks", len(f.applies), f.plans, f.looks)
	}
	if kinds(events) != "watching stopped" {
		t.Errorf("events %s", kinds(events))
	}
}

// An apply begins at most one interval after its reason, and one for each.
func TestReasons(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	events := watched(t, f, Options{}, func(func()) {
		for range 5 {
			later(10 * time.Minute)
			f.reasons = reason("a commit")
			came := time.Now()
			later(time.Minute)
			if len(f.applies) == 0 || f.applies[len(f.applies)-1].Before(came) {
				t.Error("no apply within the interval")
			}
		}
	})
	if len(f.applies) != 5 || !strings.HasPrefix(kinds(events), "watching apply applied apply applied") || events[1].Reasons[0] != "because of a commit" {
		t.Errorf("%d applies: %s", len(f.applies), kinds(events))
	}
}

func TestFirstRound(t *testing.T) {
	for name, tt := range map[string]struct {
		f    *fake
		o    Options
		want string
	}{
		"nothing to do":                     {&fake{state: State{resources: 1}}, Options{}, "watching"},
		"a configuration that differs":      {&fake{state: State{resources: 1}, changes: true}, Options{}, "apply applied"},
		"a reason":                          {&fake{reasons: reason("first")}, Options{}, "apply applied"},
		"planned only":                      {&fake{reasons: reason("first")}, Options{PlanOnly: true}, "planned"},
		"a configuration, planned only":     {&fake{changes: true}, Options{PlanOnly: true}, "planned"},
		"a failure":                         {&fake{reasons: reason("first"), fails: func() error { return errors.New("no") }}, Options{}, "apply failed"},
		"what can't be looked at":           {&fake{blind: errors.New("no such host"), changes: true}, Options{}, "unreachable"},
		"somebody else is at work":          {&fake{holder: pipeline.Errorf(pipeline.CodeLocked, "lock", "bob")}, Options{}, "standby"},
		"somebody else, planned only":       {&fake{holder: pipeline.Errorf(pipeline.CodeLocked, "lock", "bob")}, Options{PlanOnly: true}, "standby"},
		"a ledger that can't be opened":     {&fake{holder: errors.New("no access")}, Options{}, "unreachable"},
		"a configuration that can't be had": {&fake{reasons: reason("first"), fails: func() error { return errors.New("no") }}, Options{Once: true}, "apply failed"},
	} {
		t.Run(name, func(t *testing.T) {
			events := watched(t, tt.f, tt.o, func(func()) {})
			if got := strings.TrimSuffix(kinds(events), " stopped"); got != tt.want {
				t.Errorf("events %q, want %q", got, tt.want)
			}
		})
	}
}

// The same failure is tried again after a time that grows up to the longest; something
// new at once.
func TestBackOff(t *testing.T) {
	f := &fake{state: State{resources: 1}, fails: func() error { return errors.New("the tests fail") }}
	events := watched(t, f, Options{MaxBackOff: 30 * time.Minute}, func(func()) {
		f.reasons = reason("commit 1")
		later(24 * time.Hour)
		if last := f.published[len(f.published)-1]; f.published[0] != "applies, as because of commit 1" || !strings.HasPrefix(last, "failed, and tries again at ") || !strings.HasSuffix(last, ": the tests fail") {
			t.Errorf("it says %q and %q", f.published[0], last)
		}
		if n := len(f.applies); n < 40 || n > 75 {
			t.Errorf("%d applies in a day", n)
		}
		for i, at := range f.applies[1:] {
			pause := at.Sub(f.applies[i])
			if low, high := min(time.Minute<<min(i, 10), 30*time.Minute)*79/100, 37*time.Minute+time.Minute; pause < low || pause > high {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		before := len(f.applies)
		f.reasons = reason("commit 2")
		later(time.Minute) // one look, and perhaps the first try again
		if n := len(f.applies) - before; n < 1 || n > 2 {
			t.Errorf("%d applies within a minute of something new", n)
		}
		later(3 * time.Minute)
		if len(f.applies) < before+2 {
			t.Error("the new one is not tried again soon")
		}
		f.fails = nil
		later(time.Hour)
		before = len(f.applies)
		if last := f.published[len(f.published)-1]; last != "" {
			t.Errorf("after a success it says %q", last)
		}
		later(time.Hour)
		if len(f.applies) != before {
			t.Error("it goes on after a success")
		}
	})
	if failed := events[slices.IndexFunc(events, func(e Event) bool { return e.Kind == KindFailed })]; failed.Error != "the tests fail" || failed.Next.IsZero() {
		t.Errorf("event %+v", failed)
	}
}

// What failed is tried again although Terraform has taken note of its reason.
func TestForgottenReason(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	f.fails = func() error { f.reasons = nil; return errors.New("the bake fails") }
	watched(t, f, Options{}, func(func()) {
		f.reasons = reason("commit 1")
		later(10 * time.Minute)
	})
	if len(f.applies) < 3 {
		t.Errorf("%d applies", len(f.applies))
	}
}

// What can't be begun ends with an error and no event, also after others have been seen to
// begin: a watcher that waits for what never comes looks like one that works.
func TestBegin(t *testing.T) {
	for _, once := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{unread: errors.New("init fails")}
			w := New(Options{Terraform: f, Once: once, Report: func(e Event) { t.Errorf("event %+v", e) }})
			w.poller = f
			err := w.Run(t.Context(), nil)
			var begin *BeginError
			if !errors.As(err, &begin) || !errors.Is(err, f.unread) || !f.closed {
				t.Errorf("it ended with %v", err)
			}
		})
	}
	f := &fake{state: State{resources: 1}}
	events := watched(t, f, Options{}, func(func()) {
		f.unread = errors.New("the backend is away")
		later(time.Hour)
		f.unread = nil
		later(time.Hour)
	})
	if got := kinds(events); !strings.HasPrefix(got, "watching unreachable unreachable") || !strings.HasSuffix(got, "unreachable reachable stopped") {
		t.Errorf("events %s", got)
	}
}

// A remote that comes and goes is reported each time, and again now and then while that
// lasts. It moves nothing.
func TestFlappingRemote(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	events := watched(t, f, Options{}, func(func()) {
		for range 3 {
			f.blind = errors.New("no route to host")
			later(time.Hour)
			f.blind = nil
			later(time.Hour)
		}
	})
	if len(f.applies) > 0 {
		t.Errorf("%d applies", len(f.applies))
	}
	if got := kinds(events); got != "watching"+strings.Repeat(" unreachable unreachable unreachable reachable", 3)+" stopped" {
		t.Errorf("events %s", got)
	}
}

// Two watchers: the second waits, and takes over with a fresh look.
func TestStandby(t *testing.T) {
	f := &fake{state: State{resources: 1}, holder: pipeline.Errorf(pipeline.CodeLocked, "lock", "bob watches"), changes: true}
	events := watched(t, f, Options{}, func(func()) {
		later(time.Hour)
		if len(f.applies)+f.plans+f.looks > 0 {
			t.Error("it works beside the other")
		}
		f.holder = nil
		later(2 * time.Minute)
	})
	if got := kinds(events); got != "standby apply applied watching stopped" && got != "standby apply applied stopped" {
		t.Errorf("events %s", got)
	}
}

// A stop lets the running apply finish; a lost lock cancels it.
func TestStopDuringApply(t *testing.T) {
	f := &fake{reasons: reason("first")}
	f.during = func() { later(10 * time.Minute) }
	events := watched(t, f, Options{}, func(stop func()) {
		time.Sleep(time.Minute)
		stop()
	})
	if got := kinds(events); got != "apply applied stopped" {
		t.Errorf("events %s", got)
	}
}

func TestLostLock(t *testing.T) {
	f := &fake{reasons: reason("first")}
	f.during = func() {
		if len(f.applies) == 1 {
			f.alone()
		}
	}
	events := watched(t, f, Options{}, func(func()) { later(5 * time.Minute) })
	if got := kinds(events); !strings.HasPrefix(got, "apply failed apply applied") {
		t.Errorf("events %s", got)
	}
}

// What others applied is no reason any more.
func TestAppliedByOthers(t *testing.T) {
	for _, o := range []Options{{}, {PlanOnly: true}} {
		f := &fake{state: State{resources: 1}}
		watched(t, f, Options{PlanOnly: o.PlanOnly}, func(func()) {
			later(5 * time.Minute)
			plans := f.plans
			f.reread = func() { f.reasons = nil } // what Terraform's state says, takes it away
			f.reasons = reason("commit 1")
			later(3 * time.Hour)
			if len(f.applies) > 0 || f.plans > plans {
				t.Errorf("%d applies and %d plans for what is done", len(f.applies), f.plans-plans)
			}
		})
	}
}

// What others applied is looked at in time, also without a reason.
func TestStateGrowsOld(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	watched(t, f, Options{}, func(func()) {
		later(time.Hour)
		if f.reads < 6 || f.reads > 8 {
			t.Errorf("the state was read %d times in an hour", f.reads)
		}
	})
}

// What was destroyed is left so, until somebody applies.
func TestDestroyed(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	events := watched(t, f, Options{}, func(func()) {
		later(5 * time.Minute)
		f.state.resources, f.reasons = 0, reason("pipeline shop is gone")
		later(time.Hour)
		if len(f.applies) > 0 || !f.closed {
			t.Errorf("%d applies of what was destroyed; let go: %v", len(f.applies), f.closed)
		}
		f.state.resources, f.reasons = 3, nil
		later(5 * time.Minute)
		f.reasons = reason("commit 1")
		later(5 * time.Minute)
	})
	if got := kinds(events); got != "watching empty watching apply applied stopped" {
		t.Errorf("events %s", got)
	}
}

// A standby that takes over from one whose pipelines were destroyed leaves them so.
func TestDestroyedMeanwhile(t *testing.T) {
	f := &fake{state: State{resources: 1}, holder: pipeline.Errorf(pipeline.CodeLocked, "lock", "bob watches")}
	events := watched(t, f, Options{}, func(func()) {
		later(5 * time.Minute)
		f.state.resources, f.holder, f.reasons = 0, nil, reason("nothing has been applied yet")
		later(time.Hour)
	})
	if got := kinds(events); got != "standby empty stopped" {
		t.Errorf("events %s", got)
	}
}

// While somebody else applies, or destroys, nothing is applied; afterwards Terraform's
// state counts.
func TestOthersApply(t *testing.T) {
	f := &fake{state: State{resources: 1}}
	events := watched(t, f, Options{}, func(func()) {
		later(5 * time.Minute)
		f.reasons, f.blind = reason("stage commit: its environment is gone"), pipeline.Errorf(pipeline.CodeLocked, "look", "bob removes stage commit")
		later(5 * time.Minute)
		f.state.resources, f.blind = 0, nil
		later(time.Hour)
	})
	if got := kinds(events); got != "watching standby empty stopped" {
		t.Errorf("events %s", got)
	}
}

// An apply that leaves nothing is not repeated.
func TestNothingToApply(t *testing.T) {
	f := &fake{reasons: reason("nothing has been applied yet")}
	f.during = func() { f.reread = func() { f.state.resources, f.reasons = 0, reason("nothing has been applied yet") } }
	watched(t, f, Options{}, func(func()) { later(time.Hour) })
	if len(f.applies) != 1 {
		t.Errorf("%d applies", len(f.applies))
	}
}

// A plan that succeeds after one that failed ends the failure.
func TestPlansAfterAFailure(t *testing.T) {
	f := &fake{state: State{resources: 1}, unplanned: 2}
	events := watched(t, f, Options{PlanOnly: true}, func(func()) {
		f.reasons = reason("commit 1")
		later(30 * time.Minute)
		f.reasons = nil
		later(time.Minute)
		plans := f.plans
		later(12 * time.Hour)
		if f.plans > plans {
			t.Errorf("%d plans without a reason", f.plans-plans)
		}
	})
	if got := kinds(events); !strings.HasPrefix(got, "failed failed planned") {
		t.Errorf("events %s", got)
	}
}

// An apply is accompanied as long as it takes.
func TestProgress(t *testing.T) {
	f, updates := &fake{reasons: reason("first")}, 0
	f.during = func() { later(time.Minute) }
	watched(t, f, Options{Progress: func(runs []report.Progress) {
		if updates++; len(runs) != 1 || runs[0].Step != "tests" {
			t.Errorf("progress %+v", runs)
		}
	}}, func(func()) {
		later(time.Hour)
		if updates < 10 || updates > 13 {
			t.Errorf("told %d times in a minute", updates)
		}
	})
}

func TestUnframed(t *testing.T) {
	in := "exit status 1\n\n╷\n│ Error: Stage failed\n│ \n│   with penstock_stage.commit,\n│ \n│ Could not move stage \"commit\".\n╵\n"
	if got := unframed(in); strings.ContainsAny(got, "│╷╵") || !strings.Contains(got, "Error: Stage failed\n\nwith penstock_stage.commit,") {
		t.Errorf("%q", got)
	}
	if got := unframed(strings.Repeat("é", longest)); len(got) > longest+3 || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("%d bytes", len(got))
	}
}
