// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var (
	errKilled = errors.New("the process was killed")
	errLost   = &pipeline.Error{Code: pipeline.CodeFailed, Op: "call", Err: errors.New("the answer was lost")}
)

// world is all that outlives a process. One call to it is under way at a time.
type world struct {
	random  *rand.Rand // of the order and the disturbances
	chances chances
	budget  int // calls until the disturbances end
	arrived chan struct{}

	mu       sync.Mutex
	waiting  []*request
	calls    int
	trace    []string
	broken   []string // the violations
	calm     bool     // nothing is disturbed any more
	platform *platform
	dead     graves
	acked    map[string]string
	renewed  map[pipeline.Fence]lease
	steps    map[string]step // under way, by run
}

// chances are those of what happens at a call, out of a thousand.
type chances struct{ kill, pause, lose, twice int }

// lease is what is known of the life of a lease.
type lease struct {
	by             int // process
	taken, expires time.Time
}

// graves are the processes that have ended, by ID. The zero graves hold none.
type graves struct{ ids sync.Map }

func (g *graves) add(id int)      { g.ids.Store(id, true) }
func (g *graves) has(id int) bool { _, dead := g.ids.Load(id); return dead }

// request is a call that waits for its turn.
type request struct {
	by      *process
	name    string
	changes bool
	turn    chan result
}

// result is what happens to a call.
type result string

const (
	proceed    result = "proceed"
	twice      result = "twice"       // it has its effect again, as when it was sent again
	lost       result = "lost"        // it has its effect, and the caller hears of a failure
	killBefore result = "kill before" // the process ends, and it has no effect
	killAfter  result = "kill after"  // the process ends, and it has its effect
)

// process is one life of an actor.
type process struct {
	*world
	id     int
	actor  string
	scope  string // of its PID: a process in another does not see it end
	end    context.CancelFunc
	paused time.Time // until when
	looked int64     // version of the decision that its person saw last
}

// violation records that an invariant is broken.
func (w *world) violation(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
	w.note("VIOLATION %s", w.broken[len(w.broken)-1])
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%s ", time.Now().UTC().Format("15:04:05.000"))+fmt.Sprintf(format, args...))
}

// call makes a call when its turn comes. The effect has the world to itself.
func (p *process) call(ctx context.Context, name string, changes bool, effect func() error) error {
	r := &request{by: p, name: name, changes: changes, turn: make(chan result, 1)}
	p.mu.Lock()
	if err := p.ended(ctx, name); err != nil {
		p.mu.Unlock()
		return err
	}
	p.waiting = append(p.waiting, r)
	p.mu.Unlock()
	select {
	case p.arrived <- struct{}{}:
	default:
	}
	var v result
	select {
	case v = <-r.turn:
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting = slices.DeleteFunc(p.waiting, func(other *request) bool { return other == r })
		return p.ended(ctx, name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ended(ctx, name); err != nil {
		return err
	}
	p.note("%s %s %s", p, name, v)
	if v == killBefore {
		p.kill()
		return errKilled
	}
	err := effect()
	switch v {
	case twice:
		again := effect()
		if changes && (err == nil) != (again == nil) {
			p.note("%s %s: %v, and again: %v", p, name, err, again)
		}
	case lost:
		return errLost
	case killAfter:
		p.kill()
		return errKilled
	}
	if err != nil {
		p.note("%s %s: %v", p, name, err)
	}
	return err
}

// ended returns why a process can no longer call.
func (p *process) ended(ctx context.Context, name string) error {
	if p.dead.has(p.id) {
		return errKilled
	}
	if err := ctx.Err(); err != nil {
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: name, Err: err}
	}
	return nil
}

func (p *process) kill() {
	p.dead.add(p.id)
	p.end()
}

func (p *process) String() string { return fmt.Sprintf("%s[%d in %s]", p.actor, p.id, p.scope) }

// pass lets time pass in a process.
func (p *process) pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: "work", Err: ctx.Err()}
	}
}

// between returns a random time between two. The caller has the world.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

// schedule returns one waiting call after another its turn, until done is closed.
func (w *world) schedule(done <-chan struct{}) {
	for {
		synctest.Wait()
		select {
		case <-done:
			return
		default:
		}
		if wake := w.turn(); wake > 0 {
			timer := time.NewTimer(wake)
			select {
			case <-w.arrived:
			case <-timer.C:
			case <-done:
			}
			timer.Stop()
		}
	}
}

// turn gives a waiting call its turn. If none can have it, it returns how long to wait.
func (w *world) turn() (wake time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	wake = time.Hour
	var ready []*request
	for _, r := range w.waiting {
		switch {
		case w.dead.has(r.by.id):
			ready = []*request{r}
		case now.Before(r.by.paused):
			wake = min(wake, r.by.paused.Sub(now))
			continue
		default:
			ready = append(ready, r)
		}
		if w.dead.has(r.by.id) {
			break
		}
	}
	if len(ready) == 0 {
		return wake
	}
	slices.SortStableFunc(ready, func(a, b *request) int {
		return strings.Compare(fmt.Sprintf("%06d %s", a.by.id, a.name), fmt.Sprintf("%06d %s", b.by.id, b.name))
	})
	r := ready[w.random.IntN(len(ready))]
	v := w.choose(r)
	if v == "" { // it was paused
		return 1
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(other *request) bool { return other == r })
	if w.calls++; w.calls >= w.budget && !w.calm {
		w.calm = true
		w.note("from here on nothing is disturbed")
	}
	r.turn <- v
	return 0
}

// choose says what happens to a call; nothing yet if its process is paused instead.
func (w *world) choose(r *request) result {
	if w.calm || w.dead.has(r.by.id) {
		return proceed
	}
	dice, c := w.random.IntN(1000), w.chances
	for _, chance := range []struct {
		of int
		v  result
	}{{c.kill / 2, killBefore}, {c.kill - c.kill/2, killAfter}, {c.lose, lost}, {c.twice, twice}} {
		if dice -= chance.of; dice < 0 {
			if !r.changes && chance.v != killBefore {
				return proceed
			}
			if chance.v == twice && !strings.HasPrefix(r.name, "platform ") { // the others send nothing twice
				return proceed
			}
			return chance.v
		}
	}
	if dice -= c.pause; dice < 0 {
		r.by.paused = time.Now().Add(w.between(time.Second, 2*time.Minute))
		w.note("%s is paused until %s", r.by, r.by.paused.UTC().Format("15:04:05"))
		return ""
	}
	return proceed
}
