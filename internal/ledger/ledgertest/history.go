// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// call is a request of a client to a ledger in a history.
type call struct {
	kind   string // append, head, state, acquire, renew, release
	expect int64  // version of the record that an append expects; -1: none is
	token  int64  // of the lease that is shown; 0: none
}

// answer is the ledger's answer.
type answer struct {
	code  pipeline.Code
	value int64 // sequence number, version or token
	// unknown: the call was cancelled, and may have had its effect at any time since.
	unknown bool
}

// state is the state of a ledger in the model: one chain with one record, and one lease.
type state struct {
	head, version, token int64
	held                 bool
}

// model says what a ledger may answer when its calls come one after another. A cancelled
// call has its effect or has none.
var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(from, in, out any) []any {
		s, c, a := from.(state), in.(call), out.(answer)
		next, want := s.step(c, a.value)
		switch {
		case a.unknown:
			return []any{s, next}
		case want == a:
			return []any{next}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%+v → %+v", in, out)
	},
	DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
}

// step returns the state after a call, and the answer to it. got is the token that an
// acquisition returned, which may be any that is higher than the last.
func (s state) step(c call, got int64) (state, answer) {
	lost := !s.held || c.token != s.token
	switch c.kind {
	case "head":
		return s, answer{value: s.head}
	case "state":
		return s, answer{value: s.version}
	case "append":
		switch {
		case c.token != 0 && lost:
			return s, answer{code: pipeline.CodeLeaseLost}
		case c.expect >= 0 && c.expect != s.version:
			return s, answer{code: pipeline.CodeConflict}
		}
		s.head++
		s.version = s.head
		return s, answer{value: s.head}
	case "acquire":
		if s.held {
			return s, answer{code: pipeline.CodeLocked, value: s.token}
		}
		if got <= s.token {
			return s, answer{code: pipeline.CodeInternal}
		}
		s.held, s.token = true, got
		return s, answer{value: got}
	case "renew":
		if lost {
			return s, answer{code: pipeline.CodeLeaseLost}
		}
		return s, answer{}
	default: // release
		if !lost {
			s.held = false
		}
		return s, answer{}
	}
}

// testLinearizable has several clients call three ledgers of one store at random, cancels
// some of the calls, and checks that there is an order of the calls, each between its
// beginning and its end, in which a single ledger would have answered the same.
func testLinearizable(t *testing.T, s *suite) {
	rounds := 8
	if s.maxRuns > 0 { // a remote store
		rounds = 2
	}
	for round := range rounds {
		seed := rand.Uint64()
		history := s.record(t, fmt.Sprintf("p-%d", round), seed)
		if !porcupine.CheckOperations(model.ToModel(), history) {
			for _, o := range history {
				t.Logf("client %d from %d to %d: %+v → %+v", o.ClientId, o.Call, o.Return, o.Input, o.Output)
			}
			t.Fatalf("seed %d: no order of these calls explains the answers", seed)
		}
	}
}

const (
	clients      = 4
	callsOfEach  = 14
	cancelledOne = 8 // of so many calls one is cancelled
)

// record makes a history of calls on one pipeline.
func (s *suite) record(t *testing.T, name string, seed uint64) []porcupine.Operation {
	t.Helper()
	ledgers := []pipeline.Ledger{s.ledger(t), s.ledger(t), s.ledger(t)}
	var clock atomic.Int64
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	for id := range clients {
		wg.Go(func() {
			c := client{Ledger: ledgers[id%len(ledgers)], random: rand.New(rand.NewPCG(seed, uint64(id))), pipeline: name}
			for range callsOfEach {
				in := c.next()
				began := clock.Add(1)
				out := c.make(t.Context(), in)
				ended := clock.Add(1)
				if out.unknown {
					ended = 1 << 62
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: id, Input: in, Call: began, Output: out, Return: ended})
				mu.Unlock()
				if out.code != "" && out.code != pipeline.CodeLocked && out.code != pipeline.CodeConflict && out.code != pipeline.CodeLeaseLost {
					t.Errorf("seed %d: %+v gives %+v", seed, in, out)
				}
			}
		})
	}
	wg.Wait()
	// A cancelled call is still under way, as far as its client knows: the client continues
	// as another one.
	for i := range history {
		if history[i].Return == 1<<62 {
			history[i].ClientId = clients + i
		}
	}
	return history
}

// client is one of a history. It remembers what it saw last.
type client struct {
	pipeline.Ledger
	random   *rand.Rand
	pipeline string
	version  int64
	lease    pipeline.Lease
	other    int64 // token of another's lease
}

func (c *client) next() call {
	in := call{kind: []string{"append", "append", "append", "head", "state", "acquire", "acquire", "renew", "release"}[c.random.IntN(9)], expect: -1}
	switch in.kind {
	case "append":
		if c.random.IntN(2) == 0 {
			in.expect = c.version
		}
		if c.random.IntN(2) == 0 {
			in.token = max(c.lease.Token, c.other)
		}
	case "renew", "release":
		in.token = max(c.lease.Token, 1)
	}
	return in
}

func (c *client) make(ctx context.Context, in call) answer {
	if c.random.IntN(cancelledOne) == 0 && in.kind != "acquire" { // the token would be unknown
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.random.Int64N(int64(2*time.Millisecond))))
		defer cancel()
	}
	out, err := c.ask(ctx, in)
	out.code = pipeline.CodeOf(err)
	if out.unknown = out.code == pipeline.CodeCancelled; out.unknown {
		out.code = ""
	}
	return out
}

func (c *client) ask(ctx context.Context, in call) (out answer, err error) {
	key := c.pipeline + "/lease"
	lease := pipeline.Lease{Key: key, Token: in.token}
	switch in.kind {
	case "head":
		out.value, err = c.Head(ctx, c.pipeline)
	case "state":
		var st *pipeline.State
		if st, err = c.State(ctx, c.pipeline); err == nil {
			out.value = st.Version(pipeline.RecordBuild, "b-1")
			c.version = out.value
		}
	case "append":
		b := batch(c.pipeline, buildFact("b-1"))
		if in.token != 0 {
			b.Fence = &lease
		}
		if in.expect >= 0 {
			b.Expect = map[pipeline.Key]int64{buildKey("b-1"): in.expect}
		}
		var sealed []pipeline.Event
		if sealed, err = c.Append(ctx, b); err == nil {
			out.value = sealed[0].Seq
			c.version = out.value
		}
	case "acquire":
		var taken pipeline.Lease
		taken, err = c.Acquire(ctx, key, holder("client"), ttl)
		if out.value = taken.Token; err == nil {
			c.lease = taken
		}
		if out.value == 0 {
			out.value = lockedToken(err)
			c.other = out.value
		}
	case "renew":
		_, err = c.Renew(ctx, lease, ttl)
	case "release":
		err = c.Release(ctx, lease)
	}
	return out, err
}

// lockedToken returns the token of the lease that an error says another holds.
func lockedToken(err error) int64 {
	var held *pipeline.LockedError
	if !errors.As(err, &held) {
		return 0
	}
	return held.Lease.Token
}

// testModel checks that the check finds faults: each history has one answer that no ledger
// may give.
func testModel(t *testing.T, _ *suite) {
	at := func(client int, from, to int64, in call, out answer) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: in, Call: from, Output: out, Return: to}
	}
	put := func(expect, token int64) call { return call{kind: "append", expect: expect, token: token} }
	for name, history := range map[string][]porcupine.Operation{
		"a lost append": {at(0, 1, 2, put(-1, 0), answer{value: 1}), at(1, 3, 4, call{kind: "head"}, answer{})},
		"two that expect the same": {
			at(0, 1, 4, put(0, 0), answer{value: 1}), at(1, 2, 3, put(0, 0), answer{value: 2}),
		},
		"two holders": {
			at(0, 1, 4, call{kind: "acquire"}, answer{value: 1}), at(1, 2, 3, call{kind: "acquire"}, answer{value: 2}),
		},
		"a fence that lets through": {
			at(0, 1, 2, call{kind: "acquire"}, answer{value: 1}), at(0, 3, 4, call{kind: "release", token: 1}, answer{}),
			at(0, 5, 6, put(-1, 1), answer{value: 1}),
		},
	} {
		if porcupine.CheckOperations(model.ToModel(), slices.Clone(history)) {
			t.Errorf("%s is not found", name)
		}
	}
}
