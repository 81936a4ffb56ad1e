// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fetches records what a batcher asks for. It takes a second to answer, and has all
// keys but the odd ones above 1000.
type fetches struct {
	mu    sync.Mutex
	sizes []int
	fail  error
	hang  bool
}

func (f *fetches) fetch(ctx context.Context, keys []int) (map[int]string, error) {
	f.mu.Lock()
	f.sizes = append(f.sizes, len(keys))
	hang := f.hang
	f.mu.Unlock()
	wait := time.Second
	if hang {
		wait = time.Hour
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(wait):
	}
	found := map[int]string{}
	for _, k := range keys {
		if k < 1000 || k%2 == 0 {
			found[k] = "v"
		}
	}
	return found, f.fail
}

func TestBatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fetches{}
		b := NewBatcher(f.fetch)
		var wg sync.WaitGroup
		for k := range 250 {
			for range 2 { // two ask for each
				wg.Go(func() {
					if v, ok, err := b.Get(t.Context(), k); v != "v" || !ok || err != nil {
						t.Errorf("key %d: %q, %v, %v", k, v, ok, err)
					}
				})
			}
		}
		wg.Wait()
		if len(f.sizes) > 5 || len(f.sizes) < 3 { // a late second asker begins another
			t.Errorf("500 reads of 250 keys made requests of %v keys", f.sizes)
		}
		for _, n := range f.sizes {
			if n > batchMax {
				t.Errorf("a request has %d keys", n)
			}
		}
		if v, ok, err := b.Get(t.Context(), 1001); ok || v != "" || err != nil {
			t.Errorf("what does not exist gives %q, %v, %v", v, ok, err)
		}
	})
}

// A caller that gives up does not take the others' answer away, all callers get an
// error, and a request that hangs ends by itself.
func TestBatcherFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fetches{}
		b := NewBatcher(f.fetch)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, _, err := b.Get(ctx, 1)
			gone <- err
		}()
		synctest.Wait() // its batch is begun with its context
		stays := make(chan error, 1)
		go func() {
			v, ok, err := b.Get(t.Context(), 2)
			if !ok || v != "v" {
				t.Errorf("who stays gets %q, %v", v, ok)
			}
			stays <- err
		}()
		time.Sleep(batchWindow + time.Millisecond)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up gets %v", err)
		}
		if err := <-stays; err != nil || len(f.sizes) != 1 {
			t.Errorf("who stays gets %v, after requests of %v keys", err, f.sizes)
		}

		f.fail = errors.New("throttled")
		var wg sync.WaitGroup
		for k := range 10 {
			wg.Go(func() {
				if _, _, err := b.Get(t.Context(), k); !errors.Is(err, f.fail) {
					t.Errorf("key %d of a failed batch: %v", k, err)
				}
			})
		}
		wg.Wait()
		if len(f.sizes) != 2 {
			t.Errorf("a failed batch is repeated: requests of %v keys", f.sizes)
		}

		f.fail, f.hang = nil, true
		began := time.Now()
		if _, _, err := b.Get(t.Context(), 3); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*batchTimeout {
			t.Errorf("a request that hangs ends after %s with %v", time.Since(began), err)
		}
	})
}
