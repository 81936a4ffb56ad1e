// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

const (
	sessionLife = 12 * time.Hour // after it people sign in again
	idleLimit   = 8 * time.Hour  // without anything that a person did
	maxBrowsers = 20             // of a person
	maxTickets  = 128            // of a browser: forms that were shown and not sent

	// What one person may send: as many forms as a person can press buttons.
	formsPerSecond = 1
	formsAtOnce    = 20
)

// session is what a request of somebody who has signed in is made in.
type session struct {
	*browser
	quiet bool // the page asks by itself, not the person
}

// browser is one in which somebody has signed in.
type browser struct {
	person pipeline.Person
	limit  *rate.Limiter
	ctx    context.Context // ends when it is signed out
	end    context.CancelFunc
	idle   *time.Timer

	mu      sync.Mutex
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
	ctx    context.Context
	mu     sync.Mutex
	all    map[string]*browser // by the value of the cookie
	people map[string]*account // by name
}

// account is what the browsers of a person have in common.
type account struct {
	limit  *rate.Limiter
	recent []string // its browsers; the one that was used last is the last
}

// newSessions makes the sessions, which end with ctx.
func newSessions(ctx context.Context) *sessions {
	return &sessions{ctx: ctx, all: map[string]*browser{}, people: map[string]*account{}}
}

// begin signs in a browser and returns its secret. When a person has too many sessions,
// it ends the least recently used one.
func (all *sessions) begin(who pipeline.Person) (string, *browser) {
	s := &browser{person: who, tickets: map[string]ticket{}}
	s.ctx, s.end = context.WithTimeout(all.ctx, sessionLife)
	s.idle = time.AfterFunc(idleLimit, s.end)
	secret := rand.Text() + rand.Text()
	all.mu.Lock()
	defer all.mu.Unlock()
	a := all.people[who.Name]
	if a == nil {
		a = &account{limit: rate.NewLimiter(formsPerSecond, formsAtOnce)}
		all.people[who.Name] = a
	}
	s.limit = a.limit
	all.all[secret] = s
	if a.recent = append(a.recent, secret); len(a.recent) > maxBrowsers {
		all.all[a.recent[0]].end()
		all.forget(a.recent[0])
	}
	context.AfterFunc(s.ctx, func() {
		s.idle.Stop()
		all.mu.Lock()
		defer all.mu.Unlock()
		all.forget(secret)
	})
	return secret, s
}

// forget drops a browser that has ended. What its person may send is known for as long as
// it takes until that is everything.
func (all *sessions) forget(secret string) {
	s := all.all[secret]
	if s == nil {
		return
	}
	delete(all.all, secret)
	name := s.person.Name
	a := all.people[name]
	a.recent = slices.DeleteFunc(a.recent, func(other string) bool { return other == secret })
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
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.all[secret]
	if s == nil || s.ctx.Err() != nil {
		return nil
	}
	if used {
		s.idle.Reset(idleLimit)
		a := all.people[s.person.Name]
		a.recent = append(slices.DeleteFunc(a.recent, func(other string) bool { return other == secret }), secret)
	}
	return s
}

// until returns a context that ends with either of two, and when the browser is signed in no
// more.
func (s *browser) until(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stopOther, stop := context.AfterFunc(other, cancel), context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stopOther(); stop(); cancel() }
}

// issue returns a ticket for a form.
func (s *browser) issue(about string, now time.Time) string {
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
func (s *browser) redeem(id, about string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tickets[id]
	delete(s.tickets, id)
	return ok && t.about == about
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

// cookie is the name of the session's cookie. Cookies don't distinguish ports, so the
// name does.
func (b *entrance) cookie() string {
	if b.Secure {
		return "__Host-penstock"
	}
	return "penstock-" + portOf(b.Hosts[0])
}

// session returns the session of a request; nil for somebody who has to sign in.
func (b *entrance) session(w http.ResponseWriter, r *http.Request) (*session, error) {
	quiet := asksByItself(r)
	var s *browser
	if c, err := r.Cookie(b.cookie()); err == nil {
		s = b.sessions.find(c.Value, !quiet)
	}
	who, ok, err := b.Access.Vouched(r)
	if err != nil {
		return nil, err
	}
	if ok && (s == nil || s.person.Name != who.Name || !slices.Equal(s.person.Groups, who.Groups)) {
		if s != nil {
			s.end()
		}
		s = b.start(w, who)
	}
	if s == nil {
		return nil, nil
	}
	return &session{s, quiet}, nil
}

// asksByItself reports whether a live page asks, as it does without anybody there.
func asksByItself(r *http.Request) bool {
	return r.Header.Get("Hx-Request") != "" || r.Header.Get("Accept") == "text/event-stream"
}

// start signs somebody in.
func (b *entrance) start(w http.ResponseWriter, who pipeline.Person) *browser {
	secret, s := b.sessions.begin(who)
	http.SetCookie(w, &http.Cookie{
		Name: b.cookie(), Value: secret, Path: "/", HttpOnly: true, Secure: b.Secure, SameSite: http.SameSiteLaxMode,
	})
	return s
}

// signIn identifies a person in the way that the board is configured for.
func (b *entrance) signIn(w http.ResponseWriter, r *http.Request) {
	who, to, err := b.Access.SignIn(w, r)
	switch {
	case err != nil:
		b.refuse(w, r, http.StatusUnauthorized, err)
	case who.Name != "":
		b.leave(r) // who was there before
		b.start(w, who)
		b.Logger.Info("signed in", "person", present.Line(who.Name), "from", r.RemoteAddr)
		http.Redirect(w, r, here(to), http.StatusSeeOther)
	}
}

// signOut ends a session, and with it the streams of its pages.
func (b *entrance) signOut(w http.ResponseWriter, r *http.Request) {
	b.leave(r)
	http.SetCookie(w, &http.Cookie{Name: b.cookie(), Path: "/", MaxAge: -1, HttpOnly: true, Secure: b.Secure, SameSite: http.SameSiteLaxMode})
	b.show(w, nil, http.StatusOK, "signed-out", view{Title: "Signed out"})
}

// leave ends the session that a request has a cookie of.
func (b *entrance) leave(r *http.Request) {
	if c, err := r.Cookie(b.cookie()); err == nil {
		if s := b.sessions.find(c.Value, false); s != nil {
			s.end()
		}
	}
}
