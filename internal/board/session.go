// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	sessionLife = 12 * time.Hour // after it people sign in again
	idleLimit   = 8 * time.Hour  // without anything that a person did
	maxBrowsers = 20             // of a person

	// A page that somebody sees has two streams at most; browsers close those of the others.
	maxBrowserStreams = 30
	maxPersonStreams  = 100

	// What one person may send: as many forms as a person can press buttons.
	formsPerSecond = 1
	formsAtOnce    = 20
)

// session is what a request of somebody who has signed in is made in.
type session struct {
	*browser
	all    *sessions
	secret string // the cookie's value
	quiet  bool   // the page asks by itself, not the person
}

// browser is one in which somebody has signed in.
type browser struct {
	person  pipeline.Person
	key     string // what forms have to carry, hashed; empty for nothing
	proof   string // of the sign-in, for the provider's sign-out
	began   time.Time
	limit   *rate.Limiter
	account *account
	ctx     context.Context // ends when it is signed out
	end     context.CancelFunc
	idle    *time.Timer

	used    time.Time // by the person; guarded by sessions, as streams is
	streams int       // that are open

	mu    sync.Mutex
	spent spent  // tickets
	flash string // what the next page says once
}

// sessions are all there are. A file keeps them for a board that is started again.
type sessions struct {
	ctx    context.Context
	keep   *keeper // nil for none
	mu     sync.Mutex
	all    map[string]*browser // by the hash of the cookie's value
	people map[string]*account // by name
}

// account is what the browsers of a person have in common.
type account struct {
	limit   *rate.Limiter
	recent  []string // its browsers; the one that was used last is the last
	streams int
}

// newSessions makes the sessions, which end with ctx.
func newSessions(ctx context.Context) *sessions {
	return &sessions{ctx: ctx, all: map[string]*browser{}, people: map[string]*account{}}
}

// hashOf returns what is kept of a secret: nobody who reads it can use it.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// begin signs in a browser and returns its secret. When a person has too many sessions,
// it ends the least recently used one.
func (all *sessions) begin(who Arrival) (string, *browser) {
	secret, now := rand.Text()+rand.Text(), time.Now()
	s := &browser{person: who.Who, key: who.Key, proof: who.Proof, began: now, used: now}
	all.mu.Lock()
	all.add(hashOf(secret), s)
	all.mu.Unlock()
	all.save()
	return secret, s
}

// add makes a browser one of its person's. The caller has the lock.
func (all *sessions) add(id string, s *browser) {
	s.ctx, s.end = context.WithDeadline(all.ctx, s.began.Add(sessionLife))
	s.idle = time.AfterFunc(time.Until(s.used.Add(idleLimit)), s.end)
	a := all.people[s.person.Name]
	if a == nil {
		a = &account{limit: rate.NewLimiter(formsPerSecond, formsAtOnce)}
		all.people[s.person.Name] = a
	}
	s.limit, s.account = a.limit, a
	all.all[id] = s
	if a.recent = append(a.recent, id); len(a.recent) > maxBrowsers {
		all.all[a.recent[0]].end()
		all.forget(a.recent[0])
	}
	context.AfterFunc(s.ctx, func() {
		s.idle.Stop()
		all.mu.Lock()
		defer all.mu.Unlock()
		all.forget(id)
	})
}

// finish signs a browser out, for good.
func (all *sessions) finish(secret string) {
	all.mu.Lock()
	s := all.all[hashOf(secret)]
	if s != nil {
		s.end()
		all.forget(hashOf(secret))
	}
	all.mu.Unlock()
	if s != nil {
		all.save()
	}
}

// forget drops a browser that has ended. What its person may send is known for as long as
// it takes until that is everything. The caller has the lock.
func (all *sessions) forget(id string) {
	s := all.all[id]
	if s == nil {
		return
	}
	delete(all.all, id)
	name, a := s.person.Name, s.account
	a.recent = slices.DeleteFunc(a.recent, func(other string) bool { return other == id })
	if len(a.recent) > 0 {
		return
	}
	time.AfterFunc(formsAtOnce/formsPerSecond*time.Second, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if len(a.recent) == 0 && all.people[name] == a {
			delete(all.people, name)
		}
	})
}

// find returns the browser of a cookie; nil for none. used says that the person does
// something in it.
func (all *sessions) find(secret string, used bool) *browser {
	s, due := all.look(hashOf(secret), used)
	if due {
		all.save()
	}
	return s
}

// look is find, of a hash. due says that it is time to save who has done something.
func (all *sessions) look(id string, used bool) (s *browser, due bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	s = all.all[id]
	if s == nil || s.ctx.Err() != nil {
		return nil, false
	}
	if used {
		due = all.keep != nil && time.Since(all.keep.saved) > saveEvery
		s.used = time.Now()
		s.idle.Reset(idleLimit)
		s.account.recent = append(slices.DeleteFunc(s.account.recent, func(other string) bool { return other == id }), id)
	}
	return s, due
}

// stream counts a stream of a browser until leave is called; false where the browser or its
// person has as many as they may.
func (all *sessions) stream(s *browser) (leave func(), ok bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if s.streams >= maxBrowserStreams || s.account.streams >= maxPersonStreams {
		return nil, false
	}
	s.streams++
	s.account.streams++
	return func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		s.streams--
		s.account.streams--
	}, true
}

// proves reports whether a form comes from the browser that signed in: a cookie goes to all
// ports of a host, and the key, which that browser keeps for the board, does not.
func (s *browser) proves(key string) bool {
	return s.key == "" || subtle.ConstantTimeCompare([]byte(hashOf(key)), []byte(s.key)) == 1
}

// until returns a context that ends with either of two, and when the browser is signed in no
// more.
func (s *browser) until(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stopOther, stop := context.AfterFunc(other, cancel), context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stopOther(); stop(); cancel() }
}

// say keeps what the next page is to say.
func (s *browser) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flash = text
}

// said returns that, once. A page that asks by itself shows it to nobody.
func (s *session) said() string {
	if s.quiet {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.flash
	s.flash = ""
	return text
}
