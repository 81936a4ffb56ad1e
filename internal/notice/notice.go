// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package notice notifies people and programs of what happens in pipelines: by webhooks,
// Slack, SNS, EventBridge and commands.
//
// The ledger is the outbox: notices are made from its events, and how far each target
// has been notified is an event of it, too. So each notice is delivered at least once, in
// the order of the events, and none is lost with a process; the next one sends what is
// left. Nothing here fails or delays a run.
//
//	s := notice.New(notice.Options{Ledger: ledger, …})
//	again, err := s.Flush(ctx, "shop")
package notice

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Ledger is what a Sender needs of one.
type Ledger interface {
	pipeline.Reader
	pipeline.Appender
	pipeline.Leaser
}

// Options are what a Sender works with.
type Options struct {
	Ledger  Ledger
	Holder  pipeline.Holder
	Topics  Publisher // nil where there is no SNS
	Buses   Publisher // nil where there is no EventBridge
	Getenv  func(string) string
	Logger  hclog.Logger
	Now     func() time.Time
	Timeout time.Duration // of one delivery; 0 means DefaultTimeout
}

// Publisher hands a notice to a service of AWS.
type Publisher interface {
	Publish(ctx context.Context, to string, n pipeline.Notice) error
}

// DefaultTimeout bounds one delivery. A receiver that needs longer should take the
// notice and work afterwards.
const DefaultTimeout = 10 * time.Second

const (
	// pageSize is how many events are read at a time.
	pageSize = 200
	// leaseTime is how long a sender that died keeps others from a target.
	leaseTime = time.Minute
	// A target that can't be reached is tried again after a time that doubles.
	firstPause, longestPause = 5 * time.Second, 15 * time.Minute
	// maxRefusals is how often a notice is tried that the receiver refuses for good.
	maxRefusals = 3
	// farBehind is how many events that a target does not want are read again by
	// each sender, times the number of targets; then one records that it has seen them.
	// So looking stays cheap, and the record grows by a hundredth at most.
	farBehind = 100
)

// Sender delivers notices. It may be used concurrently.
type Sender struct {
	Options
	client *http.Client

	mu    sync.Mutex
	known map[string]known // by pipeline
}

// known is the state of a pipeline when its newest event was the one numbered head, or
// a later one.
type known struct {
	*pipeline.State
	head int64
}

// New makes a sender.
func New(o Options) *Sender {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Sender{Options: o, known: map[string]known{}, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// state reads a pipeline's state, if the ledger has moved.
func (s *Sender) state(ctx context.Context, name string) (known, error) {
	head, err := s.Ledger.Head(ctx, name)
	if err != nil {
		return known{}, err
	}
	s.mu.Lock()
	st, ok := s.known[name]
	s.mu.Unlock()
	if ok && st.head == head {
		return st, nil
	}
	st.head = head
	if st.State, err = s.Ledger.State(ctx, name); err != nil {
		return known{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[name] = st; !st.Exists() {
		delete(s.known, name)
	}
	return st, nil
}

// Flush sends every target of a pipeline the notices that wait for it, as far as it
// can be reached, and returns when one is to be tried again; zero for none. The error of a
// receiver is not given, but recorded with the target. That this process lacks what it
// takes to reach one is given, with CodeNotAllowed, and not recorded: others may have it.
func (s *Sender) Flush(ctx context.Context, pipelineName string) (again time.Time, err error) {
	st, err := s.state(ctx, pipelineName)
	if err != nil {
		return again, err
	}
	type end struct {
		again time.Time
		err   error
	}
	targets, done := st.Pipeline.Targets(), make(chan end)
	for _, t := range targets {
		go func() {
			again, err := s.flush(ctx, pipelineName, t.Key())
			done <- end{again, err}
		}()
	}
	for range targets {
		e := <-done
		err = errors.Join(err, e.err)
		if again.IsZero() || !e.again.IsZero() && e.again.Before(again) {
			again = e.again
		}
	}
	return again, err
}

// flush tells one target, until nothing is pending or the target fails. What happens
// while others are kept from it, nobody else tells.
func (s *Sender) flush(ctx context.Context, name, key string) (time.Time, error) {
	for {
		st, err := s.state(ctx, name)
		t, ok := st.target(key)
		if err != nil || !ok {
			return time.Time{}, err
		}
		if next := st.Notified(t).Next; s.Now().Before(next) {
			return next, nil
		}
		c := s.from(st, t)
		pending, err := c.next(ctx)
		if err != nil || !pending && !c.far() {
			return time.Time{}, err
		}
		if pending {
			if err := s.Able(t); err != nil {
				return time.Time{}, err
			}
		}
		holder := s.Holder
		holder.Purpose, holder.Since = "notices to "+t.Describe(), s.Now()
		lease, err := s.Ledger.Acquire(ctx, pipeline.LeaseKey{Pipeline: name, Kind: pipeline.LeaseNotify, Name: key}.String(), holder, leaseTime)
		switch pipeline.CodeOf(err) {
		case "":
		case pipeline.CodeLocked: // somebody else tells it
			return s.Now().Add(firstPause), nil
		case pipeline.CodeNotAllowed: // who may tells it
			return time.Time{}, nil
		default:
			return time.Time{}, err
		}
		err = s.notify(ctx, name, key, lease)
		s.release(ctx, lease)
		if err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict { // it was defined again: what has to be sent now?
			return time.Time{}, err
		}
	}
}

func (s *Sender) release(ctx context.Context, lease pipeline.Lease) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	if err := s.Ledger.Release(end, lease); err != nil {
		s.Logger.Warn("release lease", "key", lease.Key, "error", err)
	}
}

func (k known) target(key string) (pipeline.NotifyTarget, bool) {
	if k.State == nil {
		return pipeline.NotifyTarget{}, false
	}
	return k.Pipeline.Target(key)
}

// notify sends what is pending, in order, until nothing is or the target fails.
func (s *Sender) notify(ctx context.Context, name, key string, lease pipeline.Lease) error {
	st, err := s.state(ctx, name) // with what another process has sent meanwhile
	t, ok := st.target(key)
	if err != nil || !ok || s.Now().Before(st.Notified(t).Next) {
		return err
	}
	c := s.from(st, t)
	for {
		found, err := c.next(ctx)
		if err != nil || !found && !c.far() {
			return err
		}
		if !found {
			seen := c.here()
			seen.Seq, seen.Notified = c.seq, 0
			return s.record(ctx, st, seen, lease)
		}
		delivered, failed := s.deliver(ctx, t, c, lease)
		if failed == nil || delivered.Notified > c.here().Notified {
			if err := s.record(ctx, st, delivered, lease); err != nil {
				return err
			}
		}
		if c.notified = delivered; failed != nil || delivered.Tries > 0 {
			return failed
		}
	}
}

// deliver sends the wanted notices of an event, in order, and returns how far the target
// has been notified then. An error is not the target's.
func (s *Sender) deliver(ctx context.Context, t pipeline.NotifyTarget, c *cursor, lease pipeline.Lease) (pipeline.Delivery, error) {
	delivered := c.here()
	for i, n := range c.notices {
		if i < delivered.Notified || !c.wants.Wants(n.Kind) {
			continue
		}
		if _, err := s.Ledger.Renew(ctx, lease, leaseTime); err != nil {
			return delivered, err // another has taken over
		}
		failed := s.Send(ctx, t, n)
		switch {
		case failed == nil:
		case ctx.Err() != nil:
			return delivered, ctx.Err() // the next process sends it again
		case pipeline.CodeOf(failed) == pipeline.CodeNotAllowed:
			return delivered, failed
		default:
			s.Logger.Warn("deliver notice", "target", t.Describe(), "notice", n.ID, "error", failed)
		}
		if delivered = s.after(delivered, i, failed); delivered.Tries > 0 {
			return delivered, nil
		}
	}
	delivered.Seq, delivered.Notified = c.seq, 0
	return delivered, nil
}

// after returns how far the target has been notified after an attempt with an event's notice.
func (s *Sender) after(delivered pipeline.Delivery, i int, failed error) pipeline.Delivery {
	var refused *refusedError
	switch {
	case failed == nil:
		delivered.Notified, delivered.Error, delivered.Tries, delivered.Next = i+1, "", 0, time.Time{}
	case errors.As(failed, &refused) && delivered.Tries+1 >= maxRefusals:
		delivered.Notified, delivered.Error, delivered.Tries, delivered.Next = i+1, failed.Error(), 0, time.Time{}
		delivered.Skipped++
	default:
		pause := min(firstPause<<min(delivered.Tries, 20), longestPause)
		pause += time.Duration(rand.Float64() * 0.2 * float64(pause))
		var later *laterError
		if errors.As(failed, &later) {
			pause = min(max(pause, later.after), longestPause)
		}
		delivered.Tries++
		delivered.Error, delivered.Next = failed.Error(), s.Now().Add(pause).UTC()
	}
	return delivered
}

// record notes how far a target has been notified: CodeConflict where the pipeline is not
// defined as it was in the state.
func (s *Sender) record(ctx context.Context, st known, delivered pipeline.Delivery, lease pipeline.Lease) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	defined := pipeline.Key{Kind: pipeline.RecordPipeline, ID: st.Pipeline.Name}
	_, err := s.Ledger.Append(end, pipeline.Batch{
		Pipeline: st.Pipeline.Name, Fence: &lease, Expect: map[pipeline.Key]int64{defined: st.Version(defined.Kind, defined.ID)},
		Events: []pipeline.Event{{Kind: pipeline.NoticesDelivered, Actor: s.Holder.Actor, Facts: pipeline.Facts{Delivery: &delivered}}},
	})
	return err
}

// Send sends one notice to a target. The error is CodeNotAllowed where this process lacks
// what it takes.
func (s *Sender) Send(ctx context.Context, t pipeline.NotifyTarget, n pipeline.Notice) error {
	if err := s.Able(t); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	switch {
	case t.Webhook != "":
		return s.webhook(ctx, t, n)
	case t.Slack != "":
		return s.slack(ctx, t, n)
	case t.Topic != "":
		return s.Topics.Publish(ctx, t.Topic, n)
	case t.EventBus != "":
		return s.Buses.Publish(ctx, t.EventBus, n)
	default:
		return s.command(ctx, t, n)
	}
}

// Able reports, with CodeNotAllowed, that this process lacks the credentials for a
// target, as far as it can find out without an attempt.
func (s *Sender) Able(t pipeline.NotifyTarget) error {
	switch {
	case t.Topic != "" && s.Topics == nil:
		return unable("there is no SNS on the local platform")
	case t.EventBus != "" && s.Buses == nil:
		return unable("there is no EventBridge on the local platform")
	}
	for _, value := range []string{t.Webhook, t.Secret, t.Slack} {
		if _, err := s.expand(value); err != nil {
			return err
		}
	}
	return nil
}

func unable(format string, args ...any) error {
	return pipeline.Errorf(pipeline.CodeNotAllowed, "send notice", format, args...)
}

// expand returns a value, or that of the variable that it names.
func (s *Sender) expand(value string) (string, error) {
	name, variable := strings.CutPrefix(value, "$")
	if !variable {
		return value, nil
	}
	if found := s.Getenv(name); found != "" {
		return found, nil
	}
	return "", unable("variable %s is not set here", name)
}

// refusedError says that the receiver will never take the notice.
type refusedError struct{ error }

// laterError says when the receiver wants to be asked again.
type laterError struct {
	error
	after time.Duration
}
