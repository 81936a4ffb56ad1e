// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package poll waits for a thing to come about by asking for it again and again:
// with growing, jittered pauses, until it is done, the context ends, or an error
// comes that asking again won't mend.
//
// It does not retry work: the probe only looks.
//
//	err := poll.Until(ctx, poll.Schedule{First: time.Second, Max: 10 * time.Second, Factor: 1.5, What: "image ami-1 to be available"},
//		func(ctx context.Context) (poll.Probe, error) {
//			image, err := describe(ctx)
//			return poll.Probe{Done: image.State == "available", State: image.State}, err
//		})
package poll

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Schedule says how often to ask and for how long.
type Schedule struct {
	First  time.Duration  // pause after the first probe
	Max    time.Duration  // longest pause that Factor gives; 0 means First
	Factor float64        // by which the pause grows; less than 1 means 1
	Share  float64        // of the time waited so far that a pause may have instead, where that is more: what takes long may be noticed later
	Limit  time.Duration  // of the whole wait; 0 means until the context ends
	Jitter func() float64 // from 0 to 1; nil: at random
	What   string         // what is waited for, as in "environment e-1 to be healthy"
}

// jitter is the share by which a pause varies up or down, so that many waits
// that began together don't ask together.
const jitter = 0.2

// Probe is what one look found.
type Probe struct {
	Done  bool
	State string // in words, for the error of a wait that ends too soon
}

// Retryable marks an error of a probe as one to ask again after. A nil error stays nil.
func Retryable(err error) error {
	if err == nil {
		return nil
	}
	return retryable{err}
}

type retryable struct{ error }

func (r retryable) Unwrap() error { return r.error }

// Until probes until one is done. An error of the probe that is not Retryable ends
// the wait at once and is given as it is. When the context or the limit ends it,
// the error says what was waited for and the last state, and wraps the last error
// and the context's.
func Until(ctx context.Context, s Schedule, probe func(context.Context) (Probe, error)) error {
	if s.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Limit)
		defer cancel()
	}
	began, pause, state := time.Now(), s.First, ""
	for {
		found, err := probe(ctx)
		var again retryable
		switch {
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return &tooSoon{what: s.What, state: state, ended: ctx.Err()}
		case err != nil && !errors.As(err, &again):
			return err
		case err == nil && found.Done:
			return nil
		}
		state = found.State
		if waitErr := wait(ctx, s.Jitter, max(pause, time.Duration(s.Share*float64(time.Since(began))))); waitErr != nil {
			return &tooSoon{what: s.What, state: state, last: again.error, ended: waitErr}
		}
		pause = min(max(s.Max, s.First), time.Duration(float64(pause)*max(s.Factor, 1)))
	}
}

// wait pauses for about d.
func wait(ctx context.Context, random func() float64, d time.Duration) error {
	if random == nil {
		random = rand.Float64
	}
	spread := 1 + jitter*(2*random()-1)
	timer := time.NewTimer(time.Duration(float64(d) * spread))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// tooSoon is the error of a wait that ended before it was done.
type tooSoon struct {
	what, state string
	last, ended error
}

func (e *tooSoon) Error() string {
	text := "wait for " + e.what
	if e.state != "" {
		text += fmt.Sprintf(" (last state: %s)", e.state)
	}
	if e.last != nil {
		text += ": " + e.last.Error()
	}
	return text + ": " + e.ended.Error()
}

func (e *tooSoon) Unwrap() []error {
	if e.last == nil {
		return []error{e.ended}
	}
	return []error{e.last, e.ended}
}
