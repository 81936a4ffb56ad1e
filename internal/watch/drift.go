// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// driftChecks checks stages for drift in the background, so that looks go on: a check takes as
// long as a plan of the stage's module. What it finds is recorded, and is no reason to apply.
type driftChecks struct {
	mu     sync.Mutex
	cancel context.CancelFunc
	done   chan struct{} // closed once those that were begun last have ended; nil before the first
}

// begin checks stages, one after the other, unless others are still being checked.
func (d *driftChecks) begin(ctx context.Context, due []pipeline.Stage, check func(context.Context, pipeline.Stage)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(due) == 0 || d.done != nil && !closed(d.done) {
		return
	}
	ctx, d.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	d.done = done
	go func() {
		defer close(done)
		for _, s := range due {
			if ctx.Err() == nil {
				check(ctx, s)
			}
		}
	}()
}

// end waits for what was begun: until it is complete, or else until it has been given up.
func (d *driftChecks) end(complete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		return
	}
	if !complete {
		d.cancel()
	}
	<-d.done
	d.cancel()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
