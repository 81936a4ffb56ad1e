// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Lease keys: one per thing that one process at a time may change.
func stageKey(pipelineName, stage string) string { return pipelineName + "/stage/" + stage }
func imageKey(pipelineName, definition string) string {
	return pipelineName + "/" + pipeline.ImageRun(definition)
}
func envKey(pipelineName, env string) string   { return pipelineName + "/environment/" + env }
func ownerKey(pipelineName, who string) string { return pipelineName + "/owner/" + who }
func pipelineKey(name string) string           { return name + "/pipeline" }

// environmentKey is that of the lease under which an environment is changed.
func environmentKey(env pipeline.Environment) string {
	if env.Purpose == pipeline.ForPerson {
		return envKey(env.Pipeline, env.Name)
	}
	return stageKey(env.Pipeline, env.Stage)
}

// runKey is that of the lease under which a run is made.
func runKey(pipelineName string, run pipeline.RunSummary) string {
	if run.Kind == pipeline.KindBake {
		return pipelineName + "/" + run.Stage
	}
	return stageKey(pipelineName, run.Stage)
}

// held is a lease that is kept alive in the background.
type lock struct {
	lease pipeline.Lease
	stop  func()
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
func (e *Engine) lock(ctx context.Context, key, purpose string) (context.Context, *lock, error) {
	holder := e.Holder
	holder.Purpose = purpose
	var lease pipeline.Lease
	err := poll.Until(ctx, poll.Schedule{First: 100 * time.Millisecond, Max: 2 * time.Second, Factor: 1.5, What: "the lease " + key, Jitter: e.Jitter},
		func(ctx context.Context) (poll.Probe, error) {
			holder.Since = e.Now()
			var err error
			lease, err = e.Ledger.Acquire(ctx, key, holder, e.LeaseTTL)
			var other *pipeline.LockedError
			if errors.As(err, &other) {
				return poll.Probe{State: other.Error()}, poll.Retryable(err)
			}
			return poll.Probe{Done: true}, err
		})
	if err != nil {
		var other *pipeline.LockedError
		if errors.As(err, &other) {
			return nil, nil, pipeline.Errorf(pipeline.CodeLocked, "wait for "+key, "%w", other).
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
	wg.Go(func() { e.keepAlive(leased, cancel, lease) })
	return leased, &lock{lease: lease, stop: func() {
		cancel(nil)
		wg.Wait()
	}}
}

// What watchers ask Exclusive for: others see in the leases that a pipeline is watched, and
// in the purpose of the second, while there is one, what its watcher does.
const (
	Watching = "watch"
	Doing    = "watch/doing"
)

// Exclusive makes the caller the only one who does something with a pipeline, until it
// calls release, and gives a context that ends when another has taken over. It does
// not wait: CodeHeld says who does it already.
func (e *Engine) Exclusive(ctx context.Context, pipelineName, what, purpose string) (context.Context, func(), error) {
	holder := e.Holder
	holder.Purpose, holder.Since = purpose, e.Now()
	lease, err := e.Ledger.Acquire(ctx, pipelineName+"/"+what, holder, e.LeaseTTL)
	if err != nil {
		return nil, nil, err
	}
	leased, h := e.keep(ctx, lease)
	return leased, func() { e.unlock(ctx, h) }, nil
}

// tryHold takes a lease only if nobody holds it, and returns a context that ends when it
// is lost. held is nil when somebody holds it.
func (e *Engine) tryLock(ctx context.Context, key, purpose string) (context.Context, *lock, error) {
	holder := e.Holder
	holder.Purpose, holder.Since = purpose, e.Now()
	lease, err := e.Ledger.Acquire(ctx, key, holder, e.LeaseTTL)
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
type several map[string]*lock

// leases returns all of them.
func (s several) leases() []pipeline.Lease {
	var all []pipeline.Lease
	for _, key := range slices.Sorted(maps.Keys(s)) {
		all = append(all, s[key].lease)
	}
	return all
}

// holdAll takes leases that nobody may hold: CodeHeld names who holds one. They are kept
// alive until release is called; the context ends when one is lost.
func (e *Engine) lockAll(ctx context.Context, keys []string, purpose string) (leased context.Context, all several, release func(), err error) {
	leased, all = ctx, several{}
	release = func() {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			e.unlock(ctx, all[key])
		}
	}
	holder := e.Holder
	holder.Purpose, holder.Since = purpose, e.Now()
	for _, key := range keys {
		lease, err := e.Ledger.Acquire(ctx, key, holder, e.LeaseTTL)
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
func (e *Engine) keepAlive(ctx context.Context, lost context.CancelCauseFunc, lease pipeline.Lease) {
	tick := time.NewTicker(e.LeaseTTL / 3)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := e.Ledger.Renew(ctx, lease, e.LeaseTTL)
		switch {
		case err == nil:
			renewed = time.Now()
		case ctx.Err() != nil:
			return
		case pipeline.CodeOf(err) == pipeline.CodeLeaseLost || time.Since(renewed) > e.LeaseTTL:
			lost(pipeline.Errorf(pipeline.CodeLeaseLost, "keep lease "+lease.Key, "%w", err))
			return
		default:
			e.Logger.Warn("renew lease", "key", lease.Key, "error", err)
		}
	}
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
