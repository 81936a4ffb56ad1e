// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package watch applies a Terraform configuration when, and only when, something in
// its pipelines can move: a commit touches a component, somebody decided, promoted or
// asked for another run, an environment is gone. Between applies it looks at the
// repositories and at the ledger, which costs little.
//
// It moves nothing itself: Terraform does, with the provider, as if a person had
// applied.
//
//	w := watch.New(watch.Options{Dir: ".", Open: open, Report: print})
//	err := w.Run(ctx, stop)
package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// Defaults of Options.
const (
	DefaultInterval     = time.Minute
	DefaultFirstBackOff = time.Minute
	DefaultMaxBackOff   = time.Hour
)

// stateAge is how long Terraform's state is believed while there is no reason to apply.
// Before an apply it is read again. What others applied meanwhile may bring sources and
// pipelines that are to be looked at, too.
const stateAge = 10 * time.Minute

// An error of a poll is repeated after sayAgain, then after twice that, up to an hour.
const (
	sayAgain  = 10 * time.Minute
	saySeldom = time.Hour
)

// progressEvery is how often an apply is asked what it is at; more often where looks are.
const progressEvery = 5 * time.Second

// Options say what to watch and how.
type Options struct {
	Terraform Terraform
	// Open opens what the configuration's pipelines are in; CodeNotFound as long as
	// there is none. It is called again after that.
	Open     func(context.Context) (*app.App, error)
	Dir      string // of the configuration; relative repositories are relative to it
	Interval time.Duration
	PlanOnly bool // plan instead of applying
	Once     bool // one round
	// After an apply that failed, the same reasons are a reason again only after this
	// time, which doubles with every failure.
	FirstBackOff, MaxBackOff time.Duration
	Report                   func(Event) // called from Run
	// Progress, if set, gets now and then what an apply is at. It is not called at the
	// same time as Report.
	Progress func([]report.Progress)
	Now      func() time.Time
}

// Kind says what an event is about.
type Kind string

// The kinds of event.
const (
	KindWatching    Kind = "watching"    // the first look is over, and nothing can move
	KindStandby     Kind = "standby"     // another watcher, or somebody who applies, is at work
	KindApply       Kind = "apply"       // an apply begins
	KindApplied     Kind = "applied"     // it ended well
	KindPlanned     Kind = "planned"     // instead of an apply
	KindFailed      Kind = "failed"      // an apply or a plan failed
	KindUnreachable Kind = "unreachable" // a repository or the ledger can't be read
	KindReachable   Kind = "reachable"   // it can again
	KindEmpty       Kind = "empty"       // Terraform's state is empty, and is left so
	KindStopped     Kind = "stopped"
)

// Event is what the watcher did or found, and why.
type Event struct {
	Time    time.Time     `json:"created_at"`
	Kind    Kind          `json:"event"`
	Reasons []string      `json:"reasons,omitempty"`     // of an apply or a plan
	Text    string        `json:"text,omitempty"`        // Terraform's summary, or who is at work
	Changes bool          `json:"has_changes,omitempty"` // of a plan: whether it has any
	Took    time.Duration `json:"took,omitempty"`
	Error   string        `json:"error,omitempty"`
	Next    time.Time     `json:"next,omitzero"` // after a failure: when the same is tried again
}

// Reason is why an apply may move something. Two with one key are the same.
type Reason struct{ Key, Text string }

// Watcher is a loop over one configuration.
type Watcher struct {
	Options
	poller    poller
	seen      *State    // what Terraform's state says; nil before it was read
	read      time.Time // when it was read
	bare      bool      // it is empty, and not to be filled from here
	compared  bool      // with the configuration
	failed    failure
	troubled  int // looks in a row that could not look
	silence   time.Duration
	sayNext   time.Time // when that is repeated
	standby   string    // who is at work instead
	announced bool
}

// failure is what is remembered of an apply that failed.
type failure struct {
	reasons map[string]string // by key
	times   int
	next    time.Time
}

// poller finds what could move.
type poller interface {
	// Lock makes this the only watcher of the pipelines, as long as the context that it
	// returns lives; CodeLocked where there is another.
	Lock(ctx context.Context, pipelines []string) (context.Context, error)
	// Look returns the reasons for an apply since Terraform's state was as seen; CodeLocked
	// where there are some, and somebody else applies.
	Look(ctx context.Context, seen *State) ([]Reason, error)
	// UnderWay returns the active runs of the pipelines.
	UnderWay(ctx context.Context, pipelines []string) ([]report.Progress, error)
	// Publish lets others who look at the pipelines know what the watcher does, until it says
	// something else; "" for nothing. It does so as long as it holds the lock on them.
	Publish(text string)
	// Close lets go of everything. What is called afterwards takes it up again.
	Close(ctx context.Context) error
}

// New makes a watcher. It does nothing yet.
func New(o Options) *Watcher {
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.FirstBackOff == 0 {
		o.FirstBackOff = DefaultFirstBackOff
	}
	if o.MaxBackOff == 0 {
		o.MaxBackOff = DefaultMaxBackOff
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Watcher{Options: o, poller: &livePoller{open: o.Open, dir: o.Dir, once: o.Once}}
}

// BeginError says that there is nothing to watch: Terraform could not be initialised, or
// its state not be read. It was not reported as an event.
type BeginError struct{ Err error }

// Error is that of the cause.
func (e *BeginError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *BeginError) Unwrap() error { return e.Err }

// Run watches until stop is closed, which lets an apply in hand finish, or ctx ends,
// which cancels it. With Once it returns the error of the round; without, it returns a
// *BeginError where it could not begin.
func (w *Watcher) Run(ctx context.Context, stop <-chan struct{}) error {
	defer func() {
		_ = w.poller.Close(context.WithoutCancel(ctx)) // what it held expires by itself
	}()
	for {
		err := w.round(ctx)
		var begin *BeginError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case w.Once, errors.As(err, &begin):
			return err
		}
		pause := time.NewTimer(w.pause())
		select {
		case <-stop:
			pause.Stop()
			w.report(Event{Kind: KindStopped})
			return nil
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// pause is how long to wait for the next look: less than the interval by a little, so
// that many watchers don't look together; more when it could not look.
func (w *Watcher) pause() time.Duration {
	interval := w.Interval << min(w.troubled, 4)
	return interval - time.Duration(rand.Float64()*0.2*float64(interval))
}

// round looks once, and applies where that can move something.
func (w *Watcher) round(ctx context.Context) error {
	began := w.Now()
	if w.seen == nil || began.Sub(w.read) >= stateAge {
		err := w.readState(ctx)
		switch {
		case err != nil && w.seen == nil:
			return &BeginError{err}
		case err != nil:
			return w.trouble(ctx, err)
		}
	}
	if w.bare {
		w.recover()
		return nil
	}
	locked, err := w.poller.Lock(ctx, w.seen.Pipelines)
	if pipeline.CodeOf(err) == pipeline.CodeLocked {
		w.compared = false
		return w.stand(err)
	}
	if err != nil {
		return w.trouble(ctx, err)
	}
	reasons, err := w.poller.Look(locked, w.seen)
	if pipeline.CodeOf(err) == pipeline.CodeLocked {
		return w.stand(err)
	}
	if err != nil {
		return w.trouble(ctx, err)
	}
	w.standby = ""
	w.recover()
	first := !w.compared
	w.compared = true
	if len(reasons) == 0 && first {
		if reasons, err = w.differs(locked); err != nil {
			return err
		}
	}
	reasons = w.failed.with(reasons)
	if len(reasons) == 0 {
		if w.failed.reasons != nil {
			w.poller.Publish("") // what was planned is no reason any more
		}
		w.failed = failure{}
		w.announce()
		return nil
	}
	if !w.failed.due(reasons, w.Now()) {
		return nil
	}
	if w.read.Before(began) { // somebody else may have applied
		w.read = time.Time{}
		return w.round(ctx)
	}
	w.announced = true
	return w.act(locked, reasons)
}

// readState reads Terraform's state. One that is empty and was not has been destroyed:
// that is not undone from here.
func (w *Watcher) readState(ctx context.Context) error {
	seen, err := w.Terraform.State(ctx)
	if err != nil {
		return err
	}
	if was := w.seen; !seen.Empty() {
		w.bare = false
	} else if was != nil && !was.Empty() {
		w.leave(ctx)
	}
	w.seen, w.read = seen, w.Now()
	if w.bare {
		w.read = time.Time{} // there is nothing else to look at
	}
	return nil
}

// leave leaves an empty state as it is, until somebody applies.
func (w *Watcher) leave(ctx context.Context) {
	w.bare, w.failed, w.announced = true, failure{}, false
	w.report(Event{Kind: KindEmpty})
	_ = w.poller.Close(context.WithoutCancel(ctx)) // what it held expires by itself
}

// announce says once that there is nothing to do.
func (w *Watcher) announce() {
	if !w.announced {
		w.announced = true
		w.report(Event{Kind: KindWatching})
	}
}

// differs returns a reason where the configuration is not what was applied last, which
// it is looked at for once, at the start.
func (w *Watcher) differs(ctx context.Context) ([]Reason, error) {
	reason := []Reason{{Key: "configuration", Text: "the configuration differs from what was applied last"}}
	if w.PlanOnly {
		return reason, nil // it is planned anyway
	}
	began := w.Now()
	changes, err := w.Terraform.Plan(ctx)
	if err != nil {
		return nil, w.fail(ctx, reason, err, began)
	}
	if !changes {
		return nil, nil
	}
	return reason, nil
}

// act applies, or plans, and remembers how that ended.
func (w *Watcher) act(ctx context.Context, reasons []Reason) error {
	texts, began := []string{}, w.Now()
	for _, r := range reasons {
		texts = append(texts, r.Text)
	}
	if w.PlanOnly {
		changes, err := w.Terraform.Plan(ctx)
		if err != nil {
			return w.fail(ctx, reasons, err, began)
		}
		w.poller.Publish("plans only, and would apply as " + strings.Join(texts, "; "))
		w.report(Event{Kind: KindPlanned, Reasons: texts, Changes: changes, Text: w.Terraform.Summary(), Took: w.Now().Sub(began)})
		w.failed.remember(reasons) // the same is not planned again soon
		w.failed.times, w.failed.next = 0, w.Now().Add(w.MaxBackOff)
		return nil
	}
	w.poller.Publish("applies, as " + strings.Join(texts, "; "))
	w.report(Event{Kind: KindApply, Reasons: texts})
	ended := w.accompany(ctx)
	err := w.Terraform.Apply(ctx)
	ended()
	summary := w.Terraform.Summary()
	seen, stateErr := w.Terraform.State(context.WithoutCancel(ctx)) // also after a failure: part of it is done
	if stateErr == nil {
		w.seen, w.read = seen, w.Now()
	}
	if err = errors.Join(err, stateErr); err != nil {
		return w.fail(ctx, reasons, err, began)
	}
	w.failed = failure{}
	w.poller.Publish("")
	w.report(Event{Kind: KindApplied, Text: summary, Took: w.Now().Sub(began)})
	if w.seen.Empty() {
		w.leave(ctx)
	}
	return nil
}

// accompany reports the progress of an apply, until the function that it returns is
// called.
func (w *Watcher) accompany(ctx context.Context) (ended func()) {
	if w.Progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(min(progressEvery, w.Interval))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if runs, err := w.poller.UnderWay(ctx, w.seen.Pipelines); err == nil { // else it will be said by a look
				w.Progress(runs)
			}
		}
	})
	return func() {
		cancel()
		telling.Wait()
	}
}

// fail reports a failure and says when the same is tried again.
func (w *Watcher) fail(ctx context.Context, reasons []Reason, err error, began time.Time) error {
	w.failed.remember(reasons)
	w.failed.times++
	wait := min(w.FirstBackOff<<min(w.failed.times-1, 20), w.MaxBackOff)
	wait += time.Duration((rand.Float64()*2 - 1) * 0.2 * float64(wait))
	w.failed.next = w.Now().Add(wait)
	event := Event{Kind: KindFailed, Error: err.Error(), Took: w.Now().Sub(began)}
	if !w.Once && ctx.Err() == nil {
		event.Next = w.failed.next
		w.poller.Publish(fmt.Sprintf("failed, and tries again at %s or when there is something new: %s", pipeline.Moment(event.Next.UTC()), pipeline.FirstLine(event.Error)))
	}
	w.report(event)
	return err
}

// remember makes the reasons those that failed; the count restarts where there is
// one among them that had not.
func (f *failure) remember(reasons []Reason) {
	known := f.reasons
	f.reasons = map[string]string{}
	for _, r := range reasons {
		if _, again := known[r.Key]; !again {
			f.times = 0
		}
		f.reasons[r.Key] = r.Text
	}
}

// with adds what failed before: Terraform may have taken note of what it then could
// not do, as of a commit whose bake failed.
func (f *failure) with(reasons []Reason) []Reason {
	have := map[string]bool{}
	for _, r := range reasons {
		have[r.Key] = true
	}
	for key, text := range f.reasons {
		if !have[key] && f.times > 0 {
			reasons = append(reasons, Reason{key, text})
		}
	}
	return reasons
}

// due reports whether there is a new reason, or it is time to try the old ones again.
func (f *failure) due(reasons []Reason, now time.Time) bool {
	for _, r := range reasons {
		if _, known := f.reasons[r.Key]; !known {
			return true
		}
	}
	return !now.Before(f.next)
}

// stand reports who is at work instead, once.
func (w *Watcher) stand(err error) error {
	w.read = time.Time{} // it will have moved on
	if w.standby != err.Error() {
		w.standby = err.Error()
		w.report(Event{Kind: KindStandby, Text: err.Error()})
	}
	return err
}

// trouble reports that there is no looking, and now and then that there is none yet.
func (w *Watcher) trouble(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.troubled++; w.troubled == 1 {
		w.silence, w.sayNext = sayAgain, time.Time{}
	}
	if now := w.Now(); !now.Before(w.sayNext) {
		w.report(Event{Kind: KindUnreachable, Error: err.Error()})
		w.sayNext, w.silence = now.Add(w.silence), min(2*w.silence, saySeldom)
	}
	return err
}

// recover reports that there is looking again.
func (w *Watcher) recover() {
	if w.troubled > 0 {
		w.troubled = 0
		w.report(Event{Kind: KindReachable})
	}
}

func (w *Watcher) report(e Event) {
	e.Time = w.Now().UTC()
	if w.Report != nil {
		w.Report(e)
	}
}
