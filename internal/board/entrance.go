// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// entrance lets people in, and keeps out what comes from elsewhere.
type entrance struct {
	*core
	sessions *sessions
}

// cookie is the name of the session's cookie. Cookies don't distinguish ports, so the
// name does.
func (b *entrance) cookie() string {
	if b.Secure {
		return "__Host-penstock"
	}
	return "penstock-" + portOf(b.Hosts[0])
}

// setCookie keeps a session's secret in the browser; an empty one removes it.
func (b *entrance) setCookie(w http.ResponseWriter, secret string) {
	c := &http.Cookie{Name: b.cookie(), Value: secret, Path: "/", HttpOnly: true, Secure: b.Secure, SameSite: http.SameSiteLaxMode}
	if secret == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// session returns the session of a request; nil for somebody who has to sign in.
func (b *entrance) session(w http.ResponseWriter, r *http.Request) (*session, error) {
	quiet := asksByItself(r)
	var s *browser
	var secret string
	if c, err := r.Cookie(b.cookie()); err == nil {
		secret = c.Value
		s = b.sessions.find(secret, !quiet)
	}
	who, ok, err := b.Access.Vouched(r)
	if err != nil {
		return nil, err
	}
	if ok && (s == nil || s.person.Name != who.Name || !slices.Equal(s.person.Groups, who.Groups)) {
		if s != nil {
			s.end()
		}
		secret, s = b.start(w, Arrival{Who: who})
	}
	if s == nil {
		return nil, nil
	}
	return &session{browser: s, all: b.sessions, secret: secret, quiet: quiet}, nil
}

// asksByItself reports whether a live page asks, as it does without anybody there.
func asksByItself(r *http.Request) bool {
	return r.Header.Get("Hx-Request") != "" || r.Header.Get("Accept") == "text/event-stream"
}

// start signs somebody in.
func (b *entrance) start(w http.ResponseWriter, who Arrival) (secret string, s *browser) {
	secret, s = b.sessions.begin(who)
	b.setCookie(w, secret)
	return secret, s
}

// keyOf returns what the sign-in page sends of the key that the browser made and keeps, in
// hashed form; empty for none, as without JavaScript.
func keyOf(r *http.Request) string {
	key := r.PostFormValue("key")
	if key == "" {
		return ""
	}
	return hashOf(key)
}

// signInPage asks for what lets in. Who is in goes on.
func (b *entrance) signInPage(w http.ResponseWriter, r *http.Request) {
	to := here(r.URL.Query().Get("to"))
	switch s, err := b.session(w, r); {
	case err != nil:
		b.refuse(w, r, http.StatusForbidden, err)
	case s != nil:
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		door := b.Access.Door(r)
		b.showDoor(w, r, door, to)
	}
}

// entry is what the sign-in page shows.
type entry struct {
	Door
	To      string   // the page to go on to
	Problem *trouble // what went wrong
}

// showDoor shows the sign-in page.
func (b *entrance) showDoor(w http.ResponseWriter, r *http.Request, d Door, to string) {
	e, status := entry{Door: d, To: to}, http.StatusOK
	if d.Err != nil {
		b.logRefusal(r, "", http.StatusUnauthorized, d.Err)
		p := problem(d.Err)
		e.Problem, e.Auto = &p, false
	}
	if d.Err != nil || !d.open() {
		status = http.StatusUnauthorized
	}
	b.show(w, nil, status, "sign-in", view{Title: "Sign in", Body: e})
}

// signIn reads what the sign-in page, or a provider, sends.
func (b *entrance) signIn(w http.ResponseWriter, r *http.Request) {
	a, err := b.Access.SignIn(w, r)
	switch {
	case err != nil && r.Method == http.MethodPost:
		door := b.Access.Door(r)
		door.Err = err
		b.showDoor(w, r, door, here(r.PostFormValue("to")))
	case err != nil:
		b.refuse(w, r, http.StatusUnauthorized, err)
	case a.Go != "":
		b.send(w, "leaving", view{Title: "Sign in"}, a.Go)
	default:
		b.leave(r) // who was there before
		b.start(w, a)
		b.Logger.Info("signed in", "person", present.Line(a.Who.Name), "from", r.RemoteAddr)
		http.Redirect(w, r, here(a.To), http.StatusSeeOther)
	}
}

// departure is a page that leads to another site.
type departure struct {
	Farewell
	Host string
}

// send shows a page that goes on to another site by itself. A redirect would not do: forms
// of the board's pages lead nowhere else.
func (b *entrance) send(w http.ResponseWriter, page string, v view, to string) {
	d, _ := v.Body.(departure)
	d.Go = to
	if at, err := url.Parse(to); err == nil {
		d.Host = at.Host
	}
	v.Body = d
	if to != "" {
		w.Header().Set("Refresh", "0; url="+to)
	}
	b.show(w, nil, http.StatusOK, page, v)
}

// signOut ends a session, and with it the streams of its pages.
func (b *entrance) signOut(w http.ResponseWriter, r *http.Request) {
	proof := b.leave(r)
	b.setCookie(w, "")
	farewell := b.Access.SignOut(w, proof)
	b.send(w, "signed-out", view{Title: "Signed out", Body: departure{Farewell: farewell}}, farewell.Go)
}

// leave ends the session that a request has a cookie of, and returns the proof of its
// sign-in.
func (b *entrance) leave(r *http.Request) (proof string) {
	c, err := r.Cookie(b.cookie())
	if err != nil {
		return ""
	}
	if s := b.sessions.find(c.Value, false); s != nil {
		proof = s.proof
	}
	b.sessions.finish(c.Value)
	return proof
}
