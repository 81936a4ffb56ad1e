// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"sync"
)

// stopper turns signals into what they mean to the command that runs.
type stopper struct {
	mu        sync.Mutex
	graceful  chan struct{} // closed by the first signal, where the command asked for it
	stopped   bool
	cancelled bool
}

// finishing returns a channel that the first signal closes instead of cancelling the
// command: for one that has to finish what it has in hand.
func (f *factory) finishing() <-chan struct{} {
	f.stop.mu.Lock()
	defer f.stop.mu.Unlock()
	if f.stop.graceful == nil {
		f.stop.graceful = make(chan struct{})
	}
	return f.stop.graceful
}

// interrupted takes note of a signal, and says what it does. It is false when there is
// nothing left to wait for.
func (f *factory) interrupted(cancel context.CancelFunc) bool {
	f.stop.mu.Lock()
	defer f.stop.mu.Unlock()
	switch {
	case f.stop.graceful != nil && !f.stop.stopped:
		f.stop.stopped = true
		close(f.stop.graceful)
		fmt.Fprintln(f.Err, "Finishing the current apply. Interrupt again to cancel it.")
	case !f.stop.cancelled:
		f.stop.cancelled = true
		cancel()
		fmt.Fprintln(f.Err, "Cancelling, and cleaning up. Interrupt again to end at once.")
	default:
		return false
	}
	return true
}
