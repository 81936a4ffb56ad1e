// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package notice tells people and programs what happens in pipelines: by webhooks,
// Slack, SNS, EventBridge and commands.
//
// The ledger is the outbox: notices are made from its events, and how far each target
// has been told is an event of it, too. So each notice is delivered at least once, in
// the order of the events, and none is lost with a process; the next one sends what is
// left. Nothing here fails or delays a run.
//
//	s := notice.New(notice.Options{Ledger: ledger, State: engine.State, …})
//	err := s.Flush(ctx, "shop")
package notice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Options are what a Sender works with.
type Options struct {
	Ledger  pipeline.Ledger
	State   func(ctx context.Context, pipeline string) (*pipeline.State, error)
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
)

// Sender delivers notices. It may be used concurrently.
type Sender struct {
	Options
	client *http.Client
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
	return &Sender{Options: o, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Flush tells every target of a pipeline what it has not been told yet, as far as it
// can be reached. An error of a target is not given, but recorded with it.
func (s *Sender) Flush(ctx context.Context, pipelineName string) error {
	st, err := s.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	done := make(chan error)
	for _, t := range st.Pipeline.Notify {
		go func() { done <- s.flush(ctx, st, t) }()
	}
	for range st.Pipeline.Notify {
		err = errors.Join(err, <-done)
	}
	return err
}

// since gives how far a target has been told. One that is new is told of what
// happened after the definition that brought it.
func since(st *pipeline.State, t pipeline.NotifyTarget) pipeline.Delivery {
	if d, ok := st.Deliveries[t.Key()]; ok {
		return d
	}
	return pipeline.Delivery{Target: t.Key(), Seq: st.Version(pipeline.RecordPipeline, st.Pipeline.Name)}
}

// flush tells one target.
func (s *Sender) flush(ctx context.Context, st *pipeline.State, t pipeline.NotifyTarget) error {
	name := st.Pipeline.Name
	if pending, err := s.pending(ctx, st, t); err != nil || len(pending) == 0 || s.Now().Before(since(st, t).Next) {
		return err
	}
	holder := s.Holder
	holder.Purpose, holder.Since = "notices to "+t.Describe(), s.Now()
	lease, err := s.Ledger.Acquire(ctx, name+"/notify/"+t.Key(), holder, leaseTime)
	if code := pipeline.CodeOf(err); code == pipeline.CodeHeld || code == pipeline.CodeNotAllowed {
		return nil // somebody else tells it, or who may
	}
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
		defer cancel()
		if err := s.Ledger.Release(end, lease); err != nil {
			s.Logger.Warn("release lease", "key", lease.Key, "error", err)
		}
	}()
	if st, err = s.State(ctx, name); err != nil { // what another process has told meanwhile
		return err
	}
	return s.tell(ctx, st, t, lease)
}

// pending gives the events of which a target has to be told something: at most a page.
func (s *Sender) pending(ctx context.Context, st *pipeline.State, t pipeline.NotifyTarget) ([]pipeline.Event, error) {
	return s.wanted(ctx, st, t, since(st, t).Seq)
}

// wanted gives the next events after one of which a target has to be told something.
func (s *Sender) wanted(ctx context.Context, st *pipeline.State, t pipeline.NotifyTarget, after int64) ([]pipeline.Event, error) {
	for {
		events, err := s.Ledger.Events(ctx, st.Pipeline.Name, after, pageSize)
		if err != nil || len(events) == 0 {
			return nil, err
		}
		var wanted []pipeline.Event
		for _, e := range events {
			if len(noticesFor(st, t, e)) > 0 {
				wanted = append(wanted, e)
			}
		}
		if len(wanted) > 0 {
			return wanted, nil
		}
		after = events[len(events)-1].Seq
	}
}

// Told gives how far a target has been told, and how many notices it has still to get.
func (s *Sender) Told(ctx context.Context, st *pipeline.State, t pipeline.NotifyTarget) (pipeline.Delivery, int64, error) {
	told, pending := since(st, t), int64(0)
	for after := told.Seq; ; {
		events, err := s.wanted(ctx, st, t, after)
		if err != nil || len(events) == 0 {
			return told, pending, err
		}
		for _, e := range events {
			pending += int64(len(noticesFor(st, t, e)))
			after = e.Seq
		}
	}
}

func noticesFor(st *pipeline.State, t pipeline.NotifyTarget, e pipeline.Event) []pipeline.Notice {
	var wanted []pipeline.Notice
	for _, n := range st.Notices(e) {
		if t.Wants(n.Kind) {
			wanted = append(wanted, n)
		}
	}
	return wanted
}

// tell sends what is pending, in order, until nothing is or the target fails.
func (s *Sender) tell(ctx context.Context, st *pipeline.State, t pipeline.NotifyTarget, lease pipeline.Lease) error {
	told := since(st, t)
	for {
		events, err := s.pending(ctx, st, t)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if lease, err = s.Ledger.Renew(ctx, lease, leaseTime); err != nil {
				return err // another has taken over
			}
			failed := s.deliver(ctx, t, noticesFor(st, t, e))
			if ctx.Err() != nil && failed != nil {
				return nil // it is told again by the next
			}
			told = s.after(told, e, failed)
			if err := s.record(ctx, st.Pipeline.Name, told, lease); err != nil {
				return err
			}
			if told.Tries > 0 {
				return nil
			}
		}
		if st, err = s.State(ctx, st.Pipeline.Name); err != nil {
			return err
		}
	}
}

// after gives how far the target has been told after a try.
func (s *Sender) after(told pipeline.Delivery, e pipeline.Event, failed error) pipeline.Delivery {
	var refused *refusedError
	switch {
	case failed == nil:
		told.Seq, told.Error, told.Tries, told.Next = e.Seq, "", 0, time.Time{}
	case errors.As(failed, &refused) && told.Tries+1 >= maxRefusals:
		told.Seq, told.Error, told.Tries, told.Next = e.Seq, failed.Error(), 0, time.Time{}
		told.Skipped++
	default:
		pause := min(firstPause<<min(told.Tries, 20), longestPause)
		pause += time.Duration(rand.Float64() * 0.2 * float64(pause))
		var later *laterError
		if errors.As(failed, &later) {
			pause = min(max(pause, later.after), longestPause)
		}
		told.Tries++
		told.Error, told.Next = failed.Error(), s.Now().Add(pause).UTC()
	}
	return told
}

func (s *Sender) record(ctx context.Context, name string, told pipeline.Delivery, lease pipeline.Lease) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	_, err := s.Ledger.Append(end, pipeline.Batch{Pipeline: name, Fence: &lease, Events: []pipeline.Event{{
		Kind: pipeline.NoticesDelivered, Actor: s.Holder.Actor, Facts: pipeline.Facts{Delivery: &told},
	}}})
	return err
}

// deliver sends the notices of one event, in order.
func (s *Sender) deliver(ctx context.Context, t pipeline.NotifyTarget, notices []pipeline.Notice) error {
	for _, n := range notices {
		if err := s.Send(ctx, t, n); err != nil {
			s.Logger.Warn("deliver notice", "target", t.Describe(), "notice", n.ID, "error", err)
			return err
		}
	}
	return nil
}

// Send sends one notice to a target.
func (s *Sender) Send(ctx context.Context, t pipeline.NotifyTarget, n pipeline.Notice) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	switch {
	case t.Webhook != "":
		return s.webhook(ctx, t, n)
	case t.Slack != "":
		return s.slack(ctx, t, n)
	case t.Topic != "":
		return publish(ctx, s.Topics, t.Topic, n, "SNS")
	case t.EventBus != "":
		return publish(ctx, s.Buses, t.EventBus, n, "EventBridge")
	default:
		return s.command(ctx, t, n)
	}
}

func publish(ctx context.Context, by Publisher, to string, n pipeline.Notice, service string) error {
	if by == nil {
		return fmt.Errorf("there is no %s on the local platform", service)
	}
	return by.Publish(ctx, to, n)
}

// expand gives a value, or that of the variable that it names.
func (s *Sender) expand(value string) (string, error) {
	name, variable := strings.CutPrefix(value, "$")
	if !variable {
		return value, nil
	}
	if found := s.Getenv(name); found != "" {
		return found, nil
	}
	return "", fmt.Errorf("variable %s is not set here", name)
}

// refusedError says that the receiver will never take the notice.
type refusedError struct{ error }

// laterError says when the receiver wants to be asked again.
type laterError struct {
	error
	after time.Duration
}
