// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// maxBody is the size of a form at most, in bytes.
const maxBody = 64 << 10

// policy lets a page have what the board itself serves, and nothing else: no script or
// style in a page, no frame around it, no form to elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guard is before all else: it answers only to the hosts that the board has, refuses what
// another site's page sends, and says to browsers what a page may do.
func (b *entrance) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.refuse(w, r, http.StatusForbidden, pipeline.Errorf(pipeline.CodeNotAllowed, "send form", "the form was sent by a page of another site").
			WithHint("Press the button on the board itself."))
	}))
	checked := origins.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if b.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !b.isHost(r.Host) && r.URL.Path != "/healthz" && !b.isScrape(r) {
			b.misdirected(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !b.sameOrigin(r) {
			b.refuse(w, r, http.StatusForbidden, pipeline.Errorf(pipeline.CodeNotAllowed, "send form", "the form comes from %q", r.Header.Get("Origin")).
				WithHint("Press the button on the board itself."))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		checked.ServeHTTP(w, r)
	})
}

// misdirected answers what was sent to another host name than the board's. Its answers would
// be read by whoever pointed that name here, and its cookies sent to whatever else has it.
// Somebody who types the address of this machine is led to the board.
func (b *entrance) misdirected(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.Host)
	own, ownPort, _ := net.SplitHostPort(b.Hosts[0])
	local := own == "localhost" || strings.HasSuffix(own, ".localhost")
	if address, bad := netip.ParseAddr(host); err != nil || bad != nil || !address.IsLoopback() || !local || port != ownPort {
		http.Error(w, "this board does not answer to that host name", http.StatusMisdirectedRequest)
		return
	}
	at := "http://" + b.Hosts[0]
	if b.Secure {
		at = "https://" + b.Hosts[0]
	}
	harmless := r.Method == http.MethodGet || r.Method == http.MethodHead
	if harmless && r.URL.RawQuery == "" && (r.URL.Path == "/" || r.URL.Path == "/sign-in") {
		http.Redirect(w, r, at+r.URL.Path, http.StatusTemporaryRedirect)
		return
	}
	http.Error(w, "this board answers at "+at+" only", http.StatusMisdirectedRequest)
}

// isScrape reports whether a scraper asks, which has its token and no cookie.
func (b *entrance) isScrape(r *http.Request) bool {
	return r.URL.Path == "/metrics" && hasToken(r, b.MetricsToken)
}

// isHost reports whether a host is one of the board's.
func (b *entrance) isHost(name string) bool {
	return slices.ContainsFunc(b.Hosts, func(host string) bool { return strings.EqualFold(host, name) })
}

// sameOrigin reports whether the Origin of a request, where it has one, is the board.
func (b *entrance) sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	at, err := url.Parse(origin)
	return err == nil && b.isHost(at.Host)
}

// signedIn lets only those in who are somebody, and sends the others to sign in.
func (b *entrance) signedIn(h page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := b.session(w, r)
		switch {
		case err != nil:
			b.refuse(w, r, http.StatusForbidden, err)
		case s == nil && r.Method == http.MethodGet && !asksByItself(r):
			http.Redirect(w, r, "/sign-in?to="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		case s == nil && r.Method == http.MethodPost:
			b.logRefusal(r, "", http.StatusUnauthorized, errSignedOut)
			b.show(w, nil, http.StatusUnauthorized, "error", view{Title: "Signed out", Body: unsent(r, errSignedOut)})
		case s == nil:
			b.refuse(w, r, http.StatusUnauthorized, pipeline.Errorf(pipeline.CodeNotAllowed, "open page", "you have not signed in, or not for a long time").
				WithHint("Load the page again."))
		case r.Method == http.MethodPost && r.ParseForm() != nil:
			b.fail(w, r, s, pipeline.Errorf(pipeline.CodeInvalid, "read form", "the form is not one that the board sends, or larger than %d bytes", maxBody))
		case r.Method == http.MethodPost && !s.proves(r.PostFormValue("key")):
			b.logRefusal(r, s.person.Name, http.StatusForbidden, errStrange)
			b.show(w, s, http.StatusForbidden, "error", view{Title: "Not from this browser", Pipeline: r.PathValue("pipeline"), Body: unsent(r, errStrange)})
		case r.Method == http.MethodPost && !s.limit.Allow():
			err := pipeline.Errorf(pipeline.CodeRefused, "send form", "you have sent many forms in a short time").WithHint("Wait a few seconds, and send it again.")
			b.logRefusal(r, s.person.Name, http.StatusTooManyRequests, err)
			w.Header().Set("Retry-After", "5")
			b.show(w, s, http.StatusTooManyRequests, "error", view{Title: "Too fast", Pipeline: r.PathValue("pipeline"), Body: problem(err)})
		default:
			if err := h(w, r, s); err != nil {
				b.fail(w, r, s, err)
			}
		}
	})
}

// errSignedOut refuses a form of somebody who is not signed in any more.
var errSignedOut = pipeline.Errorf(pipeline.CodeNotAllowed, "send form", "you are not signed in any more, and nothing was done").
	WithHint("Sign in again: the page that you sent comes back.")

// errStrange refuses a form that has the cookie of a session and nothing else of its browser.
var errStrange = pipeline.Errorf(pipeline.CodeNotAllowed, "send form", "the form does not have the key of the browser that signed in").
	WithHint("Sign out, and sign in again. It takes JavaScript if you signed in with it, and the storage of this site.")

// streaming counts the streams of a person: nobody can take those of others.
func (b *entrance) streaming(h page) page {
	return func(w http.ResponseWriter, r *http.Request, s *session) error {
		leave, ok := b.sessions.stream(s.browser)
		if !ok {
			w.Header().Set("Retry-After", "60")
			http.Error(w, "you have too many pages open", http.StatusTooManyRequests)
			return nil
		}
		defer leave()
		return h(w, r, s)
	}
}

// scraped lets in who has signed in, and a scraper with the token.
func (b *entrance) scraped(h http.Handler) http.Handler {
	people := b.signedIn(func(w http.ResponseWriter, r *http.Request, _ *session) error {
		h.ServeHTTP(w, r)
		return nil
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.isScrape(r) {
			h.ServeHTTP(w, r)
			return
		}
		people.ServeHTTP(w, r)
	})
}

// statusOf renders an error's code as a status of HTTP.
func statusOf(err error) int {
	switch pipeline.CodeOf(err) {
	case pipeline.CodeInvalid:
		return http.StatusBadRequest
	case pipeline.CodeNotFound:
		return http.StatusNotFound
	case pipeline.CodeConflict, pipeline.CodeLocked, pipeline.CodeLeaseLost, pipeline.CodeRefused:
		return http.StatusConflict
	case pipeline.CodeNotAllowed:
		return http.StatusForbidden
	default:
		return http.StatusInternalServerError
	}
}

// logRefusal logs that a person was refused. The person's name may be unknown. Text from
// outside is cut to its beginning and logged as plain text.
func (b *core) logRefusal(r *http.Request, person string, status int, err error) {
	short := func(s string) string { return present.Cut(present.Line(s), 300) }
	b.Logger.Warn("refused", "person", short(person), "from", r.RemoteAddr, "method", r.Method, "path", short(r.URL.Path), "status", status, "error", short(err.Error()))
}

// fail shows an error to somebody who has signed in.
func (b *core) fail(w http.ResponseWriter, r *http.Request, s *session, err error) {
	if r.Context().Err() != nil {
		return // who asked has gone
	}
	status := statusOf(err)
	switch {
	case status == http.StatusInternalServerError:
		b.Logger.Error("page", "path", present.Line(r.URL.Path), "person", present.Line(s.person.Name), "error", err)
	case r.Method == http.MethodPost:
		b.logRefusal(r, s.person.Name, status, err)
	}
	b.show(w, s, status, "error", view{Title: http.StatusText(status), Pipeline: r.PathValue("pipeline"), Body: problem(err)})
}

// refuse shows an error to a client that may not be signed in. A page that asks for its
// data after a sign-out is not logged.
func (b *core) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	if r.Method == http.MethodPost || !asksByItself(r) {
		b.logRefusal(r, "", status, err)
	}
	b.show(w, nil, status, "error", view{Title: http.StatusText(status), Body: problem(err)})
}

// trouble is an error as a page shows it.
type trouble struct {
	Text, Hint string
	Typed      string // what a person typed into a form that was not taken
	SignIn     string // the address at which to sign in, and which leads back to that form; empty for none
}

func problem(err error) trouble { return trouble{Text: err.Error(), Hint: reason.Hint(err)} }

// unsent is problem for a form that was not taken. What the person typed is not lost: the page
// has it, and as much of it comes back after signing in as an address has room for.
func unsent(r *http.Request, err error) trouble {
	t := problem(err)
	if r.ParseForm() != nil || r.PathValue("action") == "" {
		return t
	}
	t.Typed = strings.TrimSpace(r.PostFormValue("reason"))
	back := func(fields ...string) string {
		q := url.Values{}
		for _, name := range fields {
			if value := strings.TrimSpace(r.PostFormValue(name)); value != "" {
				q.Set(name, value)
			}
		}
		return r.URL.Path + "?" + q.Encode()
	}
	to := back("stage", "build", "name", "ttl", "reason")
	if len(to) > longestTo {
		to = back("stage", "build", "name", "ttl")
	}
	t.SignIn = "/sign-in?" + url.Values{"to": {to}}.Encode()
	return t
}

// hasToken reports whether a request carries the bearer token.
func hasToken(r *http.Request, token string) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}
