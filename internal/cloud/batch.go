// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"sync"
	"time"
)

// The limits of a batch. Callers that ask within the window share one request. It
// is long enough for the resources of a plan, which are refreshed side by side, and
// short beside the round trip to AWS.
const (
	batchWindow  = 25 * time.Millisecond
	batchMax     = 100
	batchTimeout = time.Minute
)

// Batcher turns reads of single things into reads of many. It is safe for
// concurrent use.
type Batcher[K comparable, V any] struct {
	fetch func(context.Context, []K) (map[K]V, error)

	mu   sync.Mutex
	next *batch[K, V]
}

// batch is a request under way, or about to be made.
type batch[K comparable, V any] struct {
	keys  map[K]bool
	done  chan struct{}
	found map[K]V
	err   error
}

// NewBatcher makes a batcher. fetch returns the things that exist. It gets at most
// 100 keys, each once, and a context with a deadline of its own.
func NewBatcher[K comparable, V any](fetch func(context.Context, []K) (map[K]V, error)) *Batcher[K, V] {
	return &Batcher[K, V]{fetch: fetch}
}

// Get returns the thing with a key; ok is false where it does not exist. An error is
// that of the whole batch. When ctx ends, Get returns, and the batch goes on for
// the others.
func (b *Batcher[K, V]) Get(ctx context.Context, key K) (v V, ok bool, err error) {
	at := b.join(ctx, key)
	select {
	case <-ctx.Done():
		return v, false, context.Cause(ctx)
	case <-at.done:
	}
	v, ok = at.found[key]
	return v, ok, at.err
}

// join puts a key into the next batch.
func (b *Batcher[K, V]) join(ctx context.Context, key K) *batch[K, V] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil || len(b.next.keys) >= batchMax && !b.next.keys[key] {
		at := &batch[K, V]{keys: map[K]bool{}, done: make(chan struct{})}
		b.next = at
		base := context.WithoutCancel(ctx)
		time.AfterFunc(batchWindow, func() { b.run(base, at) })
	}
	b.next.keys[key] = true
	return b.next
}

func (b *Batcher[K, V]) run(ctx context.Context, at *batch[K, V]) {
	b.mu.Lock()
	if b.next == at {
		b.next = nil
	}
	keys := make([]K, 0, len(at.keys))
	for k := range at.keys {
		keys = append(keys, k)
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	at.found, at.err = b.fetch(ctx, keys)
	close(at.done)
}
