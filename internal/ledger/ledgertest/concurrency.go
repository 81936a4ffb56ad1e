// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func concurrencyTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"writers":         testWriters,
		"readers":         testReaders,
		"create once":     testCreateOnce,
		"no lost update":  testNoLostUpdate,
		"one lease":       testOneLease,
		"opened together": testOpenedTogether,
		"cancelled":       testCancelled,
		"linearizable":    testLinearizable,
		"model":           testModel,
	}
}

// together runs f n times at once, over three ledgers of the store.
func (s *suite) together(t *testing.T, n int, f func(i int, l pipeline.Ledger) error) {
	t.Helper()
	ledgers := []pipeline.Ledger{s.ledger(t), s.ledger(t), s.ledger(t)}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := f(i, ledgers[i%len(ledgers)]); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
}

// testWriters checks that batches of several writers don't run into each other.
func testWriters(t *testing.T, s *suite) {
	const writers, batches = 12, 8
	s.together(t, writers, func(i int, l pipeline.Ledger) error {
		for j := range batches {
			id := fmt.Sprintf("%d-%d", i, j)
			sealed, err := l.Append(t.Context(), batch("shop", buildFact("b-"+id), runFact("r-"+id, "commit", "b-"+id, pipeline.RunPassed)))
			if err != nil {
				return err
			}
			if len(sealed) != 2 || sealed[1].Seq != sealed[0].Seq+1 || sealed[1].Prev != sealed[0].Hash {
				return fmt.Errorf("batch %s was torn: %+v", id, sealed)
			}
		}
		return nil
	})
	l := s.ledger(t)
	mustVerify(t, l, "shop", writers*batches*2)
	if got := len(mustState(t, l, "shop").Builds); got != writers*batches {
		t.Errorf("the state has %d builds, want %d", got, writers*batches)
	}
}

// testReaders checks that a reader sees what an Append that has returned wrote,
// and nothing of a batch without the rest.
func testReaders(t *testing.T, s *suite) {
	const rounds = 40
	var acknowledged atomic.Int64
	s.together(t, 4, func(i int, l pipeline.Ledger) error {
		for n := int64(1); n <= rounds; n++ {
			if i == 0 {
				b := batch("shop", buildFact(fmt.Sprintf("b-%d", n)), buildFact(fmt.Sprintf("c-%d", n)))
				if _, err := l.Append(t.Context(), b); err != nil {
					return err
				}
				acknowledged.Store(n)
				continue
			}
			before := acknowledged.Load()
			st, err := l.State(t.Context(), "shop")
			if err != nil {
				return err
			}
			if got := int64(len(st.Builds)); got < 2*before || got%2 != 0 {
				return fmt.Errorf("the state has %d builds after %d batches of two", got, before)
			}
		}
		return nil
	})
}

func testCreateOnce(t *testing.T, s *suite) {
	var created, refused atomic.Int64
	s.together(t, 16, func(i int, l pipeline.Ledger) error {
		b := batch("shop", pipeline.Facts{Pipeline: &pipeline.Pipeline{ID: fmt.Sprint(i), Name: "shop"}})
		b.Expect = map[pipeline.Key]int64{{Kind: pipeline.RecordPipeline, ID: "shop"}: 0}
		switch _, err := l.Append(t.Context(), b); pipeline.CodeOf(err) {
		case "":
			created.Add(1)
		case pipeline.CodeConflict:
			refused.Add(1)
		default:
			return err
		}
		return nil
	})
	if created.Load() != 1 || refused.Load() != 15 {
		t.Errorf("%d created the pipeline and %d were refused, want 1 and 15", created.Load(), refused.Load())
	}
	mustVerify(t, s.ledger(t), "shop", 1)
}

// testNoLostUpdate counts with expectations.
func testNoLostUpdate(t *testing.T, s *suite) {
	const writers, each = 6, 5
	s.together(t, writers, func(_ int, l pipeline.Ledger) error {
		for done := 0; done < each; {
			st, err := l.State(t.Context(), "shop")
			if err != nil {
				return err
			}
			b := batch("shop", pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Keep: st.Pipeline.Keep + 1}})
			b.Expect = map[pipeline.Key]int64{{Kind: pipeline.RecordPipeline, ID: "shop"}: st.Version(pipeline.RecordPipeline, "shop")}
			switch _, err := l.Append(t.Context(), b); pipeline.CodeOf(err) {
			case "":
				done++
			case pipeline.CodeConflict:
			default:
				return err
			}
		}
		return nil
	})
	l := s.ledger(t)
	if got := mustState(t, l, "shop").Pipeline.Keep; got != writers*each {
		t.Errorf("%d updates have left %d", writers*each, got)
	}
	mustVerify(t, l, "shop", writers*each)
}

func testOneLease(t *testing.T, s *suite) {
	var taken atomic.Int64
	s.together(t, 16, func(i int, l pipeline.Ledger) error {
		switch _, err := l.Acquire(t.Context(), key, holder(fmt.Sprint(i)), ttl); pipeline.CodeOf(err) {
		case "":
			taken.Add(1)
		case pipeline.CodeLocked:
		default:
			return err
		}
		return nil
	})
	if taken.Load() != 1 {
		t.Errorf("%d have taken the lease, want 1", taken.Load())
	}
}

// testOpenedTogether opens a new store several times at once.
func testOpenedTogether(t *testing.T, s *suite) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l, err := s.open(t, Options{})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if _, err := l.Append(t.Context(), batch("shop", buildFact(fmt.Sprintf("b-%d", i)))); err != nil {
				t.Errorf("append: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	mustVerify(t, s.ledger(t), "shop", 8)
}

// testCancelled cancels appends at random instants: each had its whole effect or
// none, and one that was acknowledged had it.
func testCancelled(t *testing.T, s *suite) {
	const writers, each = 6, 15
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	s.together(t, writers, func(i int, l pipeline.Ledger) error {
		for j := range each {
			id := fmt.Sprintf("%d-%d", i, j)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(20*time.Millisecond))))
			_, err := l.Append(ctx, batch("shop", buildFact("b-"+id), buildFact("c-"+id)))
			cancel()
			switch pipeline.CodeOf(err) {
			case "":
				mu.Lock()
				acknowledged[id] = true
				mu.Unlock()
			case pipeline.CodeCancelled:
			default:
				return err
			}
		}
		return nil
	})
	l := s.ledger(t)
	builds := mustState(t, l, "shop").Builds
	for i := range writers {
		for j := range each {
			id := fmt.Sprintf("%d-%d", i, j)
			_, b := builds["b-"+id]
			_, c := builds["c-"+id]
			if b != c || acknowledged[id] && !b {
				t.Errorf("batch %s: acknowledged %v, its first build is there: %v, its second: %v", id, acknowledged[id], b, c)
			}
		}
	}
	mustVerify(t, l, "shop", int64(len(builds)))
}
