// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"crypto/rand"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// Access identifies people.
type Access interface {
	// Vouched returns the person that each request names; false where people sign in. An
	// error refuses the request.
	Vouched(r *http.Request) (pipeline.Person, bool, error)
	// SignIn answers a request to sign in, or returns who has signed in and where to go
	// from there.
	SignIn(w http.ResponseWriter, r *http.Request) (who pipeline.Person, to string, err error)
}

// Token lets in who has the address that was printed, once: that is whoever started the
// board.
type Token struct {
	person pipeline.Person
	mu     sync.Mutex
	secret string // empty once it was used
}

// NewToken makes the access of one person.
func NewToken(who pipeline.Person) *Token { return &Token{person: who, secret: rand.Text()} }

// Path is what the printed address has behind the host.
func (t *Token) Path() string { return "/sign-in?token=" + t.secret }

// Vouched implements Access: people sign in.
func (t *Token) Vouched(*http.Request) (pipeline.Person, bool, error) {
	return pipeline.Person{}, false, nil
}

// SignIn implements Access.
func (t *Token) SignIn(_ http.ResponseWriter, r *http.Request) (pipeline.Person, string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	given := r.URL.Query().Get("token")
	if t.secret == "" || subtle.ConstantTimeCompare([]byte(given), []byte(t.secret)) != 1 {
		return pipeline.Person{}, "", pipeline.Errorf(pipeline.CodeNotAllowed, "sign in", "this takes the address that `penstock serve` printed, which lets in one browser").
			WithHint("Start `penstock serve` again for another address.")
	}
	t.secret = ""
	return t.person, "/", nil
}

// Proxy believes a reverse proxy that has signed people in, and names them in headers.
type Proxy struct {
	Header  string // of the person's name
	Groups  string // header of the groups, separated by commas; may be empty
	Trusted []netip.Prefix
}

// Vouched implements Access.
func (p *Proxy) Vouched(r *http.Request) (pipeline.Person, bool, error) {
	const op = "sign in"
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !slices.ContainsFunc(p.Trusted, func(n netip.Prefix) bool { return n.Contains(from.Addr().Unmap()) }) {
		return pipeline.Person{}, false, pipeline.Errorf(pipeline.CodeNotAllowed, op, "the request comes from %s, which is no trusted proxy", r.RemoteAddr).
			WithHint("Come through the proxy; --trusted-proxy says which addresses are its.")
	}
	names := r.Header.Values(p.Header)
	if len(names) != 1 || strings.TrimSpace(names[0]) == "" {
		return pipeline.Person{}, false, pipeline.Errorf(pipeline.CodeNotAllowed, op, "the proxy does not say who you are in %s", p.Header).
			WithHint("Let the proxy set the header, once, and remove what a browser sends as it.")
	}
	who := pipeline.Person{Name: strings.TrimSpace(names[0])}
	if p.Groups != "" {
		for _, list := range r.Header.Values(p.Groups) {
			for group := range strings.SplitSeq(list, ",") {
				if group = strings.TrimSpace(group); group != "" {
					who.Groups = append(who.Groups, group)
				}
			}
		}
	}
	return who, true, nil
}

// SignIn implements Access: there is nothing to do.
func (p *Proxy) SignIn(_ http.ResponseWriter, r *http.Request) (pipeline.Person, string, error) {
	who, _, err := p.Vouched(r)
	return who, r.URL.Query().Get("to"), err
}

// here returns an address of the board itself, to go to: no other site gets anybody.
func here(to string) string {
	u, err := url.Parse(to) // which refuses control characters
	if err != nil || u.Scheme != "" || u.Opaque != "" || u.User != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") ||
		present.Line(u.Path) != u.Path || strings.Contains(u.Path, `\`) {
		return "/"
	}
	return u.String()
}

// portOf returns the port of a host, or what distinguishes the host.
func portOf(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		return port
	}
	return "board"
}
