// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"time"
)

// Pace makes the streams of a board quick enough for a test. It is for before the first.
func (b *Board) Pace(heartbeat, writeLimit time.Duration) {
	b.hub.heartbeat, b.hub.writeLimit = heartbeat, writeLimit
}

// Lines sets how often readers are notified of just another line of a log. Call it
// before the first reader comes.
func (b *Board) Lines(every time.Duration) { b.hub.lineEvery = every }

// Streams returns how many are open.
func (b *Board) Streams() int {
	b.hub.mu.Lock()
	defer b.hub.mu.Unlock()
	return b.hub.streams
}

// BeforeLook calls a function before each look at what pages show. It is for before the
// first.
func (b *Board) BeforeLook(f func()) {
	look := b.hub.look
	b.hub.look = func(ctx context.Context, about subject) (fingerprint, error) {
		f()
		return look(ctx, about)
	}
}
