// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lock

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Watch is the right to be a pipeline's only watcher. Others see in the leases that there is
// one, and what it does.
type Watch struct {
	locks *Locker
	held  *Lock
}

// Watch makes the caller the only watcher of a pipeline until it ends the watch, and returns a
// context that ends when another has taken over. It does not wait: CodeLocked says who
// watches already.
func (l *Locker) Watch(ctx context.Context, pipelineName, purpose string) (context.Context, *Watch, error) {
	key := pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseWatch}
	lease, err := l.config.Ledger.Acquire(ctx, key.String(), l.holder(purpose), l.config.TTL)
	if err != nil {
		return nil, nil, err
	}
	leased, held := l.keep(ctx, lease)
	return leased, &Watch{l, held}, nil
}

// Doing shows others what the watcher does from now on; "" for nothing. If that fails, they
// see it at the next renewal of the lease: nothing depends on it.
func (w *Watch) Doing(ctx context.Context, text string) {
	activity := pipeline.Activity{Text: text, Since: w.locks.config.Now().UTC().Round(0)}
	if text == "" {
		activity = pipeline.Activity{}
	}
	w.held.mu.Lock()
	w.held.activity = activity
	w.held.mu.Unlock()
	if err := w.locks.renew(ctx, w.held); err != nil {
		w.locks.config.Logger.Warn("say what the watcher does", "key", w.held.Lease.Key, "error", err)
	}
}

// End lets another watch. It works after ctx has ended.
func (w *Watch) End(ctx context.Context) { w.locks.Unlock(ctx, w.held) }
