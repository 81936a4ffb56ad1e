// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A session ends when it has gone on for long, or when nobody has used it for some time,
// and what hangs on it ends at that moment. A page that asks by itself is no use of it.
func TestSessionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration // something is asked for
		used  bool
		ends  time.Duration
	}{
		"used all the time":  {59 * time.Minute, true, sessionLife},
		"used by no person":  {59 * time.Minute, false, idleLimit},
		"used now and then":  {idleLimit + time.Minute, true, idleLimit},
		"used until the end": {idleLimit - time.Minute, true, sessionLife},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newSessions(t.Context())
				secret, s := all.begin(Arrival{Who: pipeline.Person{Name: "ann"}})
				began, ctx := time.Now(), s.ctx
				streaming, stop := s.until(t.Context(), t.Context())
				defer stop()
				for tick := time.NewTicker(c.every); ; {
					select {
					case <-tick.C:
						if all.find(secret, c.used) != s {
							t.Fatalf("it is over after %s", time.Since(began))
						}
						continue
					case <-ctx.Done():
						tick.Stop()
					}
					break
				}
				synctest.Wait()
				if took := time.Since(began); took != c.ends {
					t.Errorf("it ended after %s; want %s", took, c.ends)
				}
				if streaming.Err() == nil {
					t.Error("its streams go on")
				}
				if all.find(secret, true) != nil || len(all.all) != 0 {
					t.Errorf("it can be found, among %d", len(all.all))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(all.people) != 0 {
					t.Errorf("%d people are remembered", len(all.people))
				}
			})
		})
	}
}

// One person has so many browsers at most, and those of others stay.
func TestBrowsersOfAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		all := newSessions(ctx)
		bob, _ := all.begin(Arrival{Who: pipeline.Person{Name: "bob"}})
		first, one := all.begin(Arrival{Who: pipeline.Person{Name: "ann"}})
		second, two := all.begin(Arrival{Who: pipeline.Person{Name: "ann"}})
		for range maxBrowsers - 2 {
			all.begin(Arrival{Who: pipeline.Person{Name: "ann"}})
		}
		all.find(first, true)
		if all.begin(Arrival{Who: pipeline.Person{Name: "ann"}}); two.ctx.Err() == nil || all.find(second, true) != nil {
			t.Error("the one that was used the longest ago goes on")
		}
		if one.ctx.Err() != nil || all.find(first, true) != one || all.find(bob, true) == nil {
			t.Error("one that was used, or is another's, has ended")
		}
		synctest.Wait()
		if len(all.all) != maxBrowsers+1 {
			t.Errorf("there are %d", len(all.all))
		}
		end() // the board closes
		synctest.Wait()
		if len(all.all) != 0 {
			t.Errorf("%d are left", len(all.all))
		}
	})
}

// What a person may send is the same in all browsers, and after signing in again.
func TestLimitOfAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newSessions(t.Context())
		sent := 0
		for range 10 * formsAtOnce {
			_, s := all.begin(Arrival{Who: pipeline.Person{Name: "ann"}})
			if s.limit.Allow() {
				sent++
			}
			s.end()
			synctest.Wait()
		}
		if sent != formsAtOnce {
			t.Errorf("%d forms are taken at once", sent)
		}
		if _, s := all.begin(Arrival{Who: pipeline.Person{Name: "bob"}}); !s.limit.Allow() {
			t.Error("another's are not taken")
		}
		time.Sleep(time.Minute)
		if _, s := all.begin(Arrival{Who: pipeline.Person{Name: "ann"}}); !s.limit.Allow() {
			t.Error("none is taken ever again")
		}
	})
}

// Nothing begins in a board that is closing.
func TestWorkOfAClosingBoard(t *testing.T) {
	w := newWork(t.Context())
	gate, done := make(chan struct{}), make(chan struct{})
	if err := w.begin("a", "launch", time.Now, func(context.Context) error { <-gate; return nil }); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(done); w.wait() }()
	for closing := false; !closing; {
		w.mu.Lock()
		closing = w.closing
		w.mu.Unlock()
	}
	err := w.begin("b", "launch", time.Now, func(context.Context) error { t.Error("it begins"); return nil })
	if pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("it says %v", err)
	}
	select {
	case <-done:
		t.Error("it did not wait")
	default:
	}
	close(gate)
	<-done
}
