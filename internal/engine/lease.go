// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// The keys of leases: one for each thing that one process at a time may change.
func stageKey(pipelineName, stage string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseStage, Name: stage}
}

func imageKey(pipelineName, definition string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseImage, Name: definition}
}

func envKey(pipelineName, env string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseEnvironment, Name: env}
}

func ownerKey(pipelineName, who string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseOwner, Name: who}
}

func pipelineKey(name string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: name, Kind: pipeline.LeasePipeline}
}

// environmentKey is that of the lease under which an environment is changed.
func environmentKey(env pipeline.Environment) pipeline.LeaseKey {
	if env.Purpose == pipeline.ForPerson {
		return envKey(env.Pipeline, env.Name)
	}
	return stageKey(env.Pipeline, env.Stage)
}

// runKey is that of the lease under which a run is made.
func runKey(pipelineName string, run pipeline.RunSummary) pipeline.LeaseKey {
	if run.Kind == pipeline.KindBake {
		return imageKey(pipelineName, strings.TrimPrefix(run.Stage, pipeline.ImageRun("")))
	}
	return stageKey(pipelineName, run.Stage)
}

// held is a lease that is kept alive in the background.
type lock struct {
	lease pipeline.Lease
	stop  func()

	mu       sync.Mutex        // one renewal at a time
	activity pipeline.Activity // that others see
}

// under returns the platform for what is changed under leases.
func (e *Engine) under(leases ...pipeline.Lease) pipeline.Platform {
	by := make([]pipeline.Fence, len(leases))
	for i, l := range leases {
		by[i] = l.Fence()
	}
	return e.Platform.Under(by...)
}

// hold takes a lease, waiting for another holder to give it up until ctx ends,
// and gives a context that ends when the lease is lost. The caller must call
// release.
func (e *Engine) lock(ctx context.Context, key pipeline.LeaseKey, purpose string) (context.Context, *lock, error) {
	holder := e.Holder
	holder.Purpose = purpose
	var lease pipeline.Lease
	err := poll.Until(ctx, poll.Schedule{First: 100 * time.Millisecond, Max: 2 * time.Second, Factor: 1.5, What: "the lease " + key.String(), Jitter: e.Jitter},
		func(ctx context.Context) (poll.Probe, error) {
			holder.Since = e.Now()
			var err error
			lease, err = e.Ledger.Acquire(ctx, key.String(), holder, e.LeaseTTL)
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
	leased, h := e.keep(ctx, lease)
	return leased, h, nil
}

// keep keeps a lease alive in the background, until it is released or lost.
func (e *Engine) keep(ctx context.Context, lease pipeline.Lease) (context.Context, *lock) {
	leased, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	h := &lock{lease: lease, stop: func() {
		cancel(nil)
		wg.Wait()
	}}
	wg.Go(func() { e.keepAlive(leased, cancel, h) })
	return leased, h
}

// Watch is the right to be a pipeline's only watcher. Others see in the leases that there is
// one, and what it does.
type Watch struct {
	engine *Engine
	lock   *lock
}

// Watch makes the caller the only watcher of a pipeline until it ends the watch, and returns a
// context that ends when another has taken over. It does not wait: CodeLocked says who
// watches already.
func (e *Engine) Watch(ctx context.Context, pipelineName, purpose string) (context.Context, *Watch, error) {
	holder := e.Holder
	holder.Purpose, holder.Since = purpose, e.Now()
	key := pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseWatch}
	lease, err := e.Ledger.Acquire(ctx, key.String(), holder, e.LeaseTTL)
	if err != nil {
		return nil, nil, err
	}
	leased, h := e.keep(ctx, lease)
	return leased, &Watch{e, h}, nil
}

// Doing lets others see what the watcher does from now on; "" for nothing. Where that fails
// they see it at the next renewal of the lease: nothing depends on it.
func (w *Watch) Doing(ctx context.Context, text string) {
	activity := pipeline.Activity{Text: text, Since: w.engine.Now().UTC().Round(0)}
	if text == "" {
		activity = pipeline.Activity{}
	}
	w.lock.mu.Lock()
	w.lock.activity = activity
	w.lock.mu.Unlock()
	if err := w.engine.renew(ctx, w.lock); err != nil {
		w.engine.Logger.Warn("say what the watcher does", "key", w.lock.lease.Key, "error", err)
	}
}

// End lets another watch. It works after ctx has ended.
func (w *Watch) End(ctx context.Context) { w.engine.unlock(ctx, w.lock) }

// tryHold takes a lease only if nobody holds it, and returns a context that ends when it
// is lost. held is nil when somebody holds it.
func (e *Engine) tryLock(ctx context.Context, key pipeline.LeaseKey, purpose string) (context.Context, *lock, error) {
	holder := e.Holder
	holder.Purpose, holder.Since = purpose, e.Now()
	lease, err := e.Ledger.Acquire(ctx, key.String(), holder, e.LeaseTTL)
	if pipeline.CodeOf(err) == pipeline.CodeLocked {
		return ctx, nil, nil
	}
	if err != nil {
		return ctx, nil, err
	}
	leased, h := e.keep(ctx, lease)
	return leased, h, nil
}

// several are leases that are held together, by key.
type several map[pipeline.LeaseKey]*lock

// leases returns all of them.
func (s several) leases() []pipeline.Lease {
	var all []pipeline.Lease
	for _, key := range s.keys() {
		all = append(all, s[key].lease)
	}
	return all
}

func (s several) keys() []pipeline.LeaseKey {
	return slices.SortedFunc(maps.Keys(s), pipeline.LeaseKey.Compare)
}

// holdAll takes leases that nobody may hold: CodeHeld names who holds one. They are kept
// alive until release is called; the context ends when one is lost.
func (e *Engine) lockAll(ctx context.Context, keys []pipeline.LeaseKey, purpose string) (leased context.Context, all several, release func(), err error) {
	leased, all = ctx, several{}
	release = func() {
		for _, key := range all.keys() {
			e.unlock(ctx, all[key])
		}
	}
	holder := e.Holder
	holder.Purpose, holder.Since = purpose, e.Now()
	for _, key := range keys {
		lease, err := e.Ledger.Acquire(ctx, key.String(), holder, e.LeaseTTL)
		if err != nil {
			release()
			var other *pipeline.LockedError
			if errors.As(err, &other) {
				err = pipeline.Errorf(pipeline.CodeLocked, purpose, "%w", other).WithHint("Wait until it ends, and try again.")
			}
			return nil, nil, nil, err
		}
		leased, all[key] = e.keep(leased, lease)
	}
	return leased, all, release, nil
}

// keepAlive renews the lease three times within its life, and ends the work when
// it is lost.
func (e *Engine) keepAlive(ctx context.Context, lost context.CancelCauseFunc, h *lock) {
	tick := time.NewTicker(e.LeaseTTL / 3)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := e.renew(ctx, h)
		switch {
		case err == nil:
			renewed = time.Now()
		case ctx.Err() != nil:
			return
		case pipeline.CodeOf(err) == pipeline.CodeLeaseLost || time.Since(renewed) > e.LeaseTTL:
			lost(pipeline.Errorf(pipeline.CodeLeaseLost, "keep lease "+h.lease.Key, "%w", err))
			return
		default:
			e.Logger.Warn("renew lease", "key", h.lease.Key, "error", err)
		}
	}
}

// renew renews a lease once, with what its holder does.
func (e *Engine) renew(ctx context.Context, h *lock) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	lease := h.lease
	lease.Holder.Activity = h.activity
	_, err := e.Ledger.Renew(ctx, lease, e.LeaseTTL)
	return err
}

// release gives the lease up. It works after ctx has ended.
func (e *Engine) unlock(ctx context.Context, h *lock) {
	h.stop()
	ctx, cancel := cleanUpContext(ctx)
	defer cancel()
	if err := e.Ledger.Release(ctx, h.lease); err != nil {
		e.Logger.Warn("release lease", "key", h.lease.Key, "error", err)
	}
}
