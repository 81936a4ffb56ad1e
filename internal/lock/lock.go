// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package lock holds the ledger's leases for one process: it takes one, alone or with others,
// renews it in the background, and ends the work under it when it is lost.
//
// It knows only from the ledger who may hold a lease, and nothing of what is done under one:
//
//	leased, held, err := locker.Lock(ctx, lock.Stage("shop", "production"), "stage production")
//	…
//	defer locker.Unlock(ctx, held)
package lock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// leaser is what a Locker needs of the ledger.
type leaser interface {
	Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (pipeline.Lease, error)
	Renew(ctx context.Context, l pipeline.Lease, ttl time.Duration) (pipeline.Lease, error)
	Release(ctx context.Context, l pipeline.Lease) error
}

// Config is what a Locker works with. Jitter may be nil.
type Config struct {
	Ledger leaser
	Holder pipeline.Holder // what this process is
	TTL    time.Duration   // of each lease, from the last time that it was renewed
	Logger hclog.Logger
	Now    func() time.Time
	// Jitter returns numbers from 0 to 1 that vary the pauses of waits, so that waiting
	// processes don't ask together. With nil they are random.
	Jitter func() float64
}

// Locker takes leases. It is safe for concurrent use.
type Locker struct{ config Config }

// New makes a Locker.
func New(c Config) *Locker { return &Locker{c} }

// As returns a Locker that says in leases that it works for somebody else.
func (l *Locker) As(actor string) *Locker {
	as := *l
	as.config.Holder.Actor = actor
	return &as
}

// Lock is a lease that is kept alive in the background.
type Lock struct {
	Lease pipeline.Lease
	stop  func()

	mu       sync.Mutex        // one renewal at a time
	activity pipeline.Activity // that others see
}

// Fences returns the fences of leases, for the platform.
func Fences(leases ...pipeline.Lease) []pipeline.Fence {
	fences := make([]pipeline.Fence, len(leases))
	for i, l := range leases {
		fences[i] = l.Fence()
	}
	return fences
}

// holder says who takes a lease now, and what for.
func (l *Locker) holder(purpose string) pipeline.Holder {
	holder := l.config.Holder
	holder.Purpose, holder.Since = purpose, l.config.Now()
	return holder
}

// Lock takes a lease, waiting for another holder to give it up until ctx ends,
// and returns a context that ends when the lease is lost. The caller must call
// Unlock.
func (l *Locker) Lock(ctx context.Context, key pipeline.LeaseKey, purpose string) (context.Context, *Lock, error) {
	var lease pipeline.Lease
	err := poll.Until(ctx, poll.Schedule{First: 100 * time.Millisecond, Max: 2 * time.Second, Factor: 1.5, What: "the lease " + key.String(), Jitter: l.config.Jitter},
		func(ctx context.Context) (poll.Probe, error) {
			var err error
			lease, err = l.config.Ledger.Acquire(ctx, key.String(), l.holder(purpose), l.config.TTL)
			var other *pipeline.LockedError
			if errors.As(err, &other) {
				return poll.Probe{State: other.Error()}, poll.Retryable(err)
			}
			return poll.Probe{Done: true}, err
		})
	if err != nil {
		var other *pipeline.LockedError
		if errors.As(err, &other) {
			return nil, nil, pipeline.Errorf(pipeline.CodeLocked, "wait for "+key.String(), "%w", other).
				WithHint("Wait until it ends and apply again, or raise the resource's timeouts.")
		}
		return nil, nil, fmt.Errorf("take lease %s: %w", key, err)
	}
	leased, held := l.keep(ctx, lease)
	return leased, held, nil
}

// Try takes a lease only if nobody holds it, and returns a context that ends when it
// is lost. held is nil when somebody holds it.
func (l *Locker) Try(ctx context.Context, key pipeline.LeaseKey, purpose string) (leased context.Context, held *Lock, err error) {
	lease, err := l.config.Ledger.Acquire(ctx, key.String(), l.holder(purpose), l.config.TTL)
	if pipeline.CodeOf(err) == pipeline.CodeLocked {
		return ctx, nil, nil
	}
	if err != nil {
		return ctx, nil, err
	}
	leased, held = l.keep(ctx, lease)
	return leased, held, nil
}

// Several are leases that are held together, by key.
type Several map[pipeline.LeaseKey]*Lock

// Leases returns all of them.
func (s Several) Leases() []pipeline.Lease {
	var all []pipeline.Lease
	for _, key := range s.keys() {
		all = append(all, s[key].Lease)
	}
	return all
}

func (s Several) keys() []pipeline.LeaseKey {
	return slices.SortedFunc(maps.Keys(s), pipeline.LeaseKey.Compare)
}

// All takes leases that nobody else holds; CodeLocked names the holder of one. They are kept
// alive until release is called. The context ends when one is lost.
func (l *Locker) All(ctx context.Context, keys []pipeline.LeaseKey, purpose string) (leased context.Context, all Several, release func(), err error) {
	leased, all = ctx, Several{}
	release = func() {
		for _, key := range all.keys() {
			l.Unlock(ctx, all[key])
		}
	}
	holder := l.holder(purpose)
	for _, key := range keys {
		lease, err := l.config.Ledger.Acquire(ctx, key.String(), holder, l.config.TTL)
		if err != nil {
			release()
			var other *pipeline.LockedError
			if errors.As(err, &other) {
				err = pipeline.Errorf(pipeline.CodeLocked, purpose, "%w", other).WithHint("Wait until it ends, and try again.")
			}
			return nil, nil, nil, err
		}
		leased, all[key] = l.keep(leased, lease)
	}
	return leased, all, release, nil
}

// Session takes a lease that outlives ctx: others see in it that this process lives.
func (l *Locker) Session(ctx context.Context, key pipeline.LeaseKey, purpose string) (*Lock, error) {
	lease, err := l.config.Ledger.Acquire(ctx, key.String(), l.holder(purpose), l.config.TTL)
	if err != nil {
		return nil, err
	}
	_, held := l.keep(context.WithoutCancel(ctx), lease)
	return held, nil
}

// keep keeps a lease alive in the background, until it is released or lost.
func (l *Locker) keep(ctx context.Context, lease pipeline.Lease) (context.Context, *Lock) {
	leased, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	held := &Lock{Lease: lease, stop: func() {
		cancel(nil)
		wg.Wait()
	}}
	wg.Go(func() { l.keepAlive(leased, cancel, held) })
	return leased, held
}

// keepAlive renews the lease three times within its life, and ends the work when
// it is lost.
func (l *Locker) keepAlive(ctx context.Context, lost context.CancelCauseFunc, held *Lock) {
	tick := time.NewTicker(l.config.TTL / 3)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.renew(ctx, held)
		switch {
		case err == nil:
			renewed = time.Now()
		case ctx.Err() != nil:
			return
		case pipeline.CodeOf(err) == pipeline.CodeLeaseLost || time.Since(renewed) > l.config.TTL:
			lost(pipeline.Errorf(pipeline.CodeLeaseLost, "keep lease "+held.Lease.Key, "%w", err))
			return
		default:
			l.config.Logger.Warn("renew lease", "key", held.Lease.Key, "error", err)
		}
	}
}

// renew renews a lease once, with what its holder does.
func (l *Locker) renew(ctx context.Context, held *Lock) error {
	held.mu.Lock()
	defer held.mu.Unlock()
	lease := held.Lease
	lease.Holder.Activity = held.activity
	_, err := l.config.Ledger.Renew(ctx, lease, l.config.TTL)
	return err
}

// Unlock gives the lease up. It works after ctx has ended.
func (l *Locker) Unlock(ctx context.Context, held *Lock) {
	held.stop()
	ctx, cancel := CleanUp(ctx)
	defer cancel()
	if err := l.config.Ledger.Release(ctx, held.Lease); err != nil {
		l.config.Logger.Warn("release lease", "key", held.Lease.Key, "error", err)
	}
}

// cleanUpLimit bounds the clean-up after a failure or a cancel, which must not
// hang on the thing that failed.
const cleanUpLimit = 2 * time.Minute

// CleanUp returns a context for cleaning up after ctx may have ended.
func CleanUp(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
}

// LostOr returns the reason for which the lease's context ended, if that caused err, and
// marks a cancel as such.
func LostOr(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); pipeline.CodeOf(cause) == pipeline.CodeLeaseLost {
		return cause
	}
	if pipeline.CodeOf(err) == pipeline.CodeCancelled {
		return err
	}
	return &pipeline.Error{Code: pipeline.CodeCancelled, Op: "wait", Err: err}
}
