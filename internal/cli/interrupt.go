// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"sync"
)

// stopper turns signals into what they mean to the command that runs: one that shows something
// until it is interrupted ends with status 0; what is interrupted at its work, or at a
// question, with 130. It says something only where there is something to wait for.
type stopper struct {
	mu        sync.Mutex
	graceful  chan struct{} // closed by the first signal, where the command asked for it
	says      string        // what becomes of work that is under way then
	stopped   bool
	cancelled bool
	work      int  // under way, that is cleaned up after when it is cancelled
	cleans    bool // there was some when the command was cancelled
}

// viewing returns a channel that the first signal closes instead of cancelling the command:
// for one that shows something until then, and has nothing to finish.
func (f *factory) viewing() <-chan struct{} {
	return f.finishing("")
}

// finishing is viewing for a command that finishes the work that it has in hand, and says so.
func (f *factory) finishing(says string) <-chan struct{} {
	f.stop.mu.Lock()
	defer f.stop.mu.Unlock()
	if f.stop.graceful == nil {
		f.stop.graceful = make(chan struct{})
	}
	f.stop.says = says
	return f.stop.graceful
}

// untilInterrupted returns a context that the first signal ends, instead of cancelling the
// command.
func (f *factory) untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := f.viewing()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// atWork notes that there is something to clean up if the command is cancelled, until the
// function is called that it returns.
func (f *factory) atWork() (done func()) {
	f.stop.mu.Lock()
	defer f.stop.mu.Unlock()
	f.stop.work++
	return func() {
		f.stop.mu.Lock()
		defer f.stop.mu.Unlock()
		f.stop.work--
	}
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
		if f.stop.work > 0 && f.stop.says != "" {
			fmt.Fprintln(f.Err, f.stop.says)
		}
	case !f.stop.cancelled:
		f.stop.cancelled, f.stop.cleans = true, f.stop.work > 0
		cancel()
		if f.stop.cleans {
			fmt.Fprintln(f.Err, "Cancelling, and cleaning up. Interrupt again to end at once.")
		}
	default:
		return false
	}
	return true
}

// interruptedForNothing reports whether the command was cancelled when it had nothing to clean
// up, so that whoever interrupted it needs no words about it.
func (f *factory) interruptedForNothing() bool {
	f.stop.mu.Lock()
	defer f.stop.mu.Unlock()
	return f.stop.cancelled && !f.stop.cleans
}
