// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	sessionLife = 12 * time.Hour // without a request
	maxSessions = 10_000
	maxTickets  = 128 // of a session: forms that were shown and not sent

	// What one session may send: as many forms as a person can press buttons.
	formsPerSecond = 1
	formsAtOnce    = 20
)

// session is a browser of somebody who has signed in.
type session struct {
	person pipeline.Person
	limit  *rate.Limiter

	mu      sync.Mutex
	seen    time.Time
	tickets map[string]ticket // by what the form carries
	flash   string            // what the next page says once
}

// ticket is the right to send one form, once.
type ticket struct {
	about string // what the form does; another one's ticket is none
	at    time.Time
}

// sessions are all there are, in memory: a restart signs everybody out.
type sessions struct {
	now func() time.Time
	mu  sync.Mutex
	all map[string]*session // by the value of the cookie
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[string]*session{}}
}

// begin makes a session and gives its secret.
func (all *sessions) begin(who pipeline.Person) (string, *session) {
	s := &session{person: who, limit: rate.NewLimiter(formsPerSecond, formsAtOnce), seen: all.now(), tickets: map[string]ticket{}}
	secret := rand.Text() + rand.Text()
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.all) >= maxSessions {
		all.drop()
	}
	all.all[secret] = s
	return secret, s
}

// drop forgets sessions that are over, or else the one that was used the longest ago.
func (all *sessions) drop() {
	maps.DeleteFunc(all.all, func(_ string, s *session) bool { return s.over(all.now()) })
	if len(all.all) < maxSessions {
		return
	}
	oldest := slices.MinFunc(slices.Collect(maps.Keys(all.all)), func(a, b string) int { return all.all[a].last().Compare(all.all[b].last()) })
	delete(all.all, oldest)
}

// find gives the session of a cookie; nil for none.
func (all *sessions) find(secret string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.all[secret]
	if s == nil || s.over(all.now()) {
		delete(all.all, secret)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = all.now()
	return s
}

func (all *sessions) end(secret string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.all, secret)
}

func (s *session) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *session) over(now time.Time) bool { return now.Sub(s.last()) > sessionLife }

// issue gives a ticket for a form.
func (s *session) issue(about string, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tickets) >= maxTickets {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(s.tickets)), func(a, b string) int { return s.tickets[a].at.Compare(s.tickets[b].at) })
		delete(s.tickets, oldest)
	}
	id := rand.Text()
	s.tickets[id] = ticket{about, now}
	return id
}

// redeem takes a ticket; false where there is none, or one for something else.
func (s *session) redeem(id, about string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tickets[id]
	delete(s.tickets, id)
	return ok && t.about == about
}

// say keeps what the next page is to say.
func (s *session) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flash = text
}

// said gives that, once.
func (s *session) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.flash
	s.flash = ""
	return text
}

// cookie is the name of the session's cookie. Cookies don't tell ports apart, so the name
// does.
func (b *Board) cookie() string {
	if b.Secure {
		return "__Host-penstock"
	}
	return "penstock-" + portOf(b.Hosts[0])
}

// session gives the session of a request; nil for somebody who has to sign in.
func (b *Board) session(w http.ResponseWriter, r *http.Request) (*session, error) {
	var s *session
	if c, err := r.Cookie(b.cookie()); err == nil {
		s = b.sessions.find(c.Value)
	}
	who, ok, err := b.Access.Vouched(r)
	if err != nil || !ok {
		return s, err
	}
	if s == nil || s.person.Name != who.Name || !slices.Equal(s.person.Groups, who.Groups) {
		s = b.start(w, who)
	}
	return s, nil
}

// start signs somebody in.
func (b *Board) start(w http.ResponseWriter, who pipeline.Person) *session {
	secret, s := b.sessions.begin(who)
	http.SetCookie(w, &http.Cookie{
		Name: b.cookie(), Value: secret, Path: "/", HttpOnly: true, Secure: b.Secure, SameSite: http.SameSiteLaxMode,
	})
	return s
}

// signIn asks who somebody is, in the way that the board was told.
func (b *Board) signIn(w http.ResponseWriter, r *http.Request) {
	who, to, err := b.Access.SignIn(w, r)
	switch {
	case err != nil:
		b.refuse(w, r, http.StatusUnauthorized, err)
	case who.Name != "":
		b.start(w, who)
		http.Redirect(w, r, here(to), http.StatusSeeOther)
	}
}

// signOut ends a session.
func (b *Board) signOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(b.cookie()); err == nil {
		b.sessions.end(c.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: b.cookie(), Path: "/", MaxAge: -1, HttpOnly: true, Secure: b.Secure, SameSite: http.SameSiteLaxMode})
	b.show(w, nil, http.StatusOK, "error", view{Title: "Signed out", Body: trouble{"You have signed out.", ""}})
}
