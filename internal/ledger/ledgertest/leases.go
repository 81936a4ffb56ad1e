// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func leaseTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"exclusive":        testExclusive,
		"expiry":           testExpiry,
		"renew":            testRenew,
		"release":          testRelease,
		"tokens":           testTokens,
		"fence":            testFence,
		"dead holder":      testDeadHolder,
		"clock set back":   testLeaseClock,
		"living set back":  testLivingHolderClock,
		"bad arguments":    testBadLease,
		"holder and since": testHolder,
	}
}

const (
	key = "shop/stage/production"
	ttl = time.Minute
)

func holder(actor string) pipeline.Holder {
	return pipeline.Holder{Process: pipeline.Process{Host: "host-1", PID: 42, Started: "then", Scope: "boot/pid:[1]"}, Actor: actor, Purpose: "run of stage production for b-1"}
}

func mustAcquire(t testing.TB, l pipeline.Ledger, actor string) pipeline.Lease {
	t.Helper()
	lease, err := l.Acquire(t.Context(), key, holder(actor), ttl)
	must(t, err)
	return lease
}

// wantLocked checks that the lease can't be acquired, and who its holder is.
func wantLocked(t testing.TB, l pipeline.Ledger, by string) pipeline.Lease {
	t.Helper()
	_, err := l.Acquire(t.Context(), key, holder("mallory"), ttl)
	wantCode(t, err, pipeline.CodeLocked)
	var held *pipeline.LockedError
	if !errors.As(err, &held) {
		t.Fatalf("%v is no LockedError", err)
	}
	if held.Lease.Holder.Actor != by || held.Lease.Key != key {
		t.Fatalf("the lease is held by %+v, want %s", held.Lease, by)
	}
	return held.Lease
}

func testExclusive(t *testing.T, s *suite) {
	l, other := s.ledger(t), s.ledger(t)
	lease := mustAcquire(t, l, "alice")
	for _, l := range []pipeline.Ledger{l, other} {
		wantSame(t, "lease in the error", wantLocked(t, l, "alice"), lease)
		leases, err := l.Leases(t.Context())
		must(t, err)
		wantSame(t, "list of leases", leases, []pipeline.Lease{lease})
	}
	free, err := other.Acquire(t.Context(), "another key", holder("bob"), ttl)
	must(t, err)
	must(t, other.Release(t.Context(), free))
	leases, err := l.Leases(t.Context())
	must(t, err)
	wantSame(t, "list of leases", leases, []pipeline.Lease{lease})
}

func testExpiry(t *testing.T, s *suite) {
	l := s.ledger(t)
	first := mustAcquire(t, l, "alice")
	if want := s.clock.Now().Add(ttl); !first.Expires.Equal(want) {
		t.Errorf("the lease expires at %s, want %s", first.Expires, want)
	}
	s.clock.advance(ttl - 1)
	wantLocked(t, l, "alice")
	s.clock.advance(1)
	leases, err := l.Leases(t.Context())
	must(t, err)
	wantSame(t, "list of leases, with the expired one,", leases, []pipeline.Lease{first})

	second := mustAcquire(t, l, "bob")
	if second.Token <= first.Token {
		t.Errorf("the token went from %d to %d", first.Token, second.Token)
	}
	_, err = l.Renew(t.Context(), first, ttl)
	wantCode(t, err, pipeline.CodeLeaseLost)
	if !strings.Contains(err.Error(), "bob") {
		t.Errorf("the error %q does not say who took over", err)
	}
	must(t, l.Release(t.Context(), first))
	wantLocked(t, l, "bob")
}

func testRenew(t *testing.T, s *suite) {
	l := s.ledger(t)
	lease := mustAcquire(t, l, "alice")
	for range 5 {
		s.clock.advance(ttl / 2)
		renewed, err := l.Renew(t.Context(), lease, ttl)
		must(t, err)
		want := lease
		want.Expires = s.clock.Now().Add(ttl)
		wantSame(t, "renewed lease", renewed, want)
		wantSame(t, "lease in the error", wantLocked(t, l, "alice"), want)
	}
	for _, activity := range []pipeline.Activity{{Text: "applies <'é\"\\>", Since: s.clock.Now()}, {Text: "plans", Since: s.clock.Now()}, {}} {
		says := lease
		says.Holder.Activity = activity
		renewed, err := l.Renew(t.Context(), pipeline.Lease{Key: lease.Key, Token: lease.Token, Holder: pipeline.Holder{Activity: activity}}, ttl)
		must(t, err)
		says.Expires = s.clock.Now().Add(ttl)
		wantSame(t, "lease whose holder says what it does", renewed, says)
		wantSame(t, "lease that others see", wantLocked(t, l, "alice"), says)
	}
	s.clock.advance(2 * ttl) // late, but nobody has taken it
	_, err := l.Renew(t.Context(), lease, ttl)
	must(t, err)
	wantLocked(t, l, "alice")
	_, err = l.Renew(t.Context(), pipeline.Lease{Key: "never taken", Token: 1}, ttl)
	wantCode(t, err, pipeline.CodeLeaseLost)
}

func testRelease(t *testing.T, s *suite) {
	l := s.ledger(t)
	first := mustAcquire(t, l, "alice")
	must(t, l.Release(t.Context(), first))
	must(t, l.Release(t.Context(), first))
	must(t, l.Release(t.Context(), pipeline.Lease{Key: "never taken", Token: 1}))
	leases, err := l.Leases(t.Context())
	must(t, err)
	if len(leases) != 0 {
		t.Errorf("leases %v are still held", leases)
	}
	_, err = l.Renew(t.Context(), first, ttl)
	wantCode(t, err, pipeline.CodeLeaseLost)
	mustAcquire(t, l, "bob")
	must(t, l.Release(t.Context(), first))
	wantLocked(t, l, "bob")
}

// testTokens takes a lease in all the ways there are: the token always grows.
func testTokens(t *testing.T, s *suite) {
	l := s.ledger(t)
	var last int64
	for _, between := range []func(pipeline.Lease){
		func(lease pipeline.Lease) { must(t, l.Release(t.Context(), lease)) },
		func(pipeline.Lease) { s.clock.advance(ttl) },
		func(lease pipeline.Lease) { must(t, l.Release(t.Context(), lease)); l = s.ledger(t) },
		func(lease pipeline.Lease) {
			must(t, l.Release(t.Context(), lease))
			must(t, l.Purge(t.Context(), "shop"))
		},
		func(pipeline.Lease) { s.clock.advance(-time.Hour); wantLocked(t, l, "alice"); s.clock.advance(ttl) },
		func(pipeline.Lease) {},
	} {
		lease := mustAcquire(t, l, "alice")
		if lease.Token <= last {
			t.Errorf("the token went from %d to %d", last, lease.Token)
		}
		last = lease.Token
		between(lease)
	}
}

// testFence appends with current leases, and with lost ones.
func testFence(t *testing.T, s *suite) {
	l, other := s.ledger(t), s.ledger(t)
	first := mustAcquire(t, l, "alice")
	fenced := func(l pipeline.Ledger, lease pipeline.Lease) error {
		b := batch("shop", buildFact("b-1"))
		b.Fence = &lease
		_, err := l.Append(t.Context(), b)
		return err
	}
	must(t, fenced(l, first))
	must(t, fenced(other, first))
	s.clock.advance(ttl) // expired, but nobody has taken it
	must(t, fenced(l, first))

	second := mustAcquire(t, other, "bob")
	wantCode(t, fenced(l, first), pipeline.CodeLeaseLost)
	must(t, fenced(l, second))

	must(t, other.Release(t.Context(), second))
	wantCode(t, fenced(l, second), pipeline.CodeLeaseLost)
	wantCode(t, fenced(l, pipeline.Lease{Key: "never taken"}), pipeline.CodeLeaseLost)
	wantCode(t, fenced(l, pipeline.Lease{Key: "never taken", Token: 1}), pipeline.CodeLeaseLost)
	mustVerify(t, l, "shop", 4)
}

func testDeadHolder(t *testing.T, s *suite) {
	dead := map[pipeline.Process]bool{}
	l := s.ledgerWith(t, Options{Now: s.clock.Now, Dead: func(p pipeline.Process) bool { return dead[p] }})
	first := mustAcquire(t, l, "alice")
	wantLocked(t, l, "alice")
	dead[first.Holder.Process] = true
	second := mustAcquire(t, l, "bob")
	dead[first.Holder.Process] = false // both say that they are the same process
	if second.Token <= first.Token {
		t.Errorf("the token went from %d to %d", first.Token, second.Token)
	}
	wantLocked(t, l, "bob")
	_, err := l.Renew(t.Context(), first, ttl)
	wantCode(t, err, pipeline.CodeLeaseLost)
}

// testLeaseClock sets the clock back by much more than a ttl under a holder that
// has died: its lease lasts for one ttl from when somebody asks, not longer.
func testLeaseClock(t *testing.T, s *suite) {
	l := s.ledger(t)
	mustAcquire(t, l, "alice")
	s.clock.advance(-24 * time.Hour)
	if lease, latest := wantLocked(t, l, "alice"), s.clock.Now().Add(ttl); lease.Expires.After(latest) {
		t.Errorf("the lease seems to expire at %s, want %s at the latest", lease.Expires, latest)
	}
	s.clock.advance(ttl / 2)
	wantLocked(t, l, "alice")
	s.clock.advance(ttl / 2)
	mustAcquire(t, l, "bob")
}

// testLivingHolderClock does the same under a living holder: it keeps its lease.
func testLivingHolderClock(t *testing.T, s *suite) {
	l := s.ledger(t)
	lease := mustAcquire(t, l, "alice")
	s.clock.advance(-24 * time.Hour)
	for range 10 {
		wantLocked(t, l, "alice")
		s.clock.advance(ttl / 3)
		renewed, err := l.Renew(t.Context(), lease, ttl)
		must(t, err)
		if want := s.clock.Now().Add(ttl); !renewed.Expires.Equal(want) {
			t.Fatalf("the renewed lease expires at %s, want %s", renewed.Expires, want)
		}
	}
}

func testBadLease(t *testing.T, s *suite) {
	l := s.ledger(t)
	_, err := l.Acquire(t.Context(), "", holder("alice"), ttl)
	wantCode(t, err, pipeline.CodeInvalid)
	_, err = l.Acquire(t.Context(), key, holder("alice"), 0)
	wantCode(t, err, pipeline.CodeInvalid)
	lease := mustAcquire(t, l, "alice")
	_, err = l.Renew(t.Context(), lease, -time.Second)
	wantCode(t, err, pipeline.CodeInvalid)
}

func testHolder(t *testing.T, s *suite) {
	l := s.ledger(t)
	h := holder("alice")
	h.Since = time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	lease, err := l.Acquire(t.Context(), key, h, ttl)
	must(t, err)
	wantSame(t, "holder", lease.Holder, h)
	wantSame(t, "holder in the error", wantLocked(t, l, "alice").Holder, h)
	must(t, l.Release(t.Context(), lease))
	if since := mustAcquire(t, l, "alice").Holder.Since; !since.Equal(s.clock.Now()) {
		t.Errorf("a holder that does not say since when has it since %s, want %s", since, s.clock.Now())
	}
}
