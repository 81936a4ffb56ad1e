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
	// Door returns what the sign-in page asks of a browser in which nobody has signed in.
	// It changes nothing: programs look at addresses, too.
	Door(r *http.Request) Door
	// SignIn reads the form of that page, or what a provider sends people back with. It
	// returns who has signed in, or where the browser has to go for that.
	SignIn(w http.ResponseWriter, r *http.Request) (Arrival, error)
	// SignOut returns what becomes of a person's sign-in outside of the board. proof is
	// what the Arrival had.
	SignOut(w http.ResponseWriter, proof string) Farewell
	// Realm names what a sign-in depends on. A board that is started again with the same
	// one keeps the sessions of those whom Again returns, as they are now. Empty: none.
	Realm() string
	Again(who pipeline.Person) (pipeline.Person, bool)
}

var (
	_ Access = (*Token)(nil)
	_ Access = (*Proxy)(nil)
	_ Access = (*OIDC)(nil)
)

// Door is what the sign-in page asks.
type Door struct {
	Who    string // who signs in here; empty where that is not known yet
	Token  string // what the address has; empty where the person has to enter one
	Enters bool   // the person enters what the terminal shows
	At     string // the host of the provider at which people sign in; empty for none
	Auto   bool   // the page goes on by itself
	Err    error  // what went wrong
}

// open reports whether pressing the button is all that is left to do.
func (d Door) open() bool { return !d.Enters || d.Token != "" }

// Arrival is how far a person has come: signed in, or on the way to a provider.
type Arrival struct {
	Who   pipeline.Person
	To    string // the page to go on to
	Key   string // what the browser has to send with each form, hashed; empty for nothing
	Proof string // what the provider wants to see again when the person signs out
	Go    string // the address at the provider; empty for who has arrived
}

// Farewell is what a sign-out says.
type Farewell struct {
	Says string // in a sentence or two
	Go   string // where the browser goes to sign out there, too; empty for nowhere
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
func (t *Token) Path() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return "/sign-in?token=" + t.secret
}

// Fresh returns the Path of another address, in place of the one before.
func (t *Token) Fresh() string {
	t.mu.Lock()
	t.secret = rand.Text()
	t.mu.Unlock()
	return t.Path()
}

// Vouched implements Access: people sign in.
func (t *Token) Vouched(*http.Request) (pipeline.Person, bool, error) {
	return pipeline.Person{}, false, nil
}

// errUsedToken refuses what does not let in any more.
var errUsedToken = pipeline.Errorf(pipeline.CodeNotAllowed, "sign in", "this address was used already, or is not the newest: each lets in one browser")

// Door implements Access. The address alone lets in nobody: a program that looks at it, to
// show what it leads to, does not use it up.
func (t *Token) Door(r *http.Request) Door {
	given := r.URL.Query().Get("token")
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case given == "":
		return Door{Enters: true}
	case !t.is(given):
		return Door{Enters: true, Err: errUsedToken}
	}
	return Door{Enters: true, Token: given, Who: t.person.Name}
}

// is reports whether a token is the one that lets in. The caller has the lock.
func (t *Token) is(given string) bool {
	return t.secret != "" && subtle.ConstantTimeCompare([]byte(given), []byte(t.secret)) == 1
}

// SignIn implements Access: it takes the token, or the whole address.
func (t *Token) SignIn(_ http.ResponseWriter, r *http.Request) (Arrival, error) {
	given := strings.TrimSpace(r.PostFormValue("token"))
	if _, token, ok := strings.Cut(given, "token="); ok {
		given = token
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.is(given) {
		return Arrival{}, errUsedToken
	}
	t.secret = ""
	return Arrival{Who: t.person, To: r.PostFormValue("to"), Key: keyOf(r)}, nil
}

// SignOut implements Access.
func (t *Token) SignOut(http.ResponseWriter, string) Farewell {
	return Farewell{Says: "For another sign-in, press Enter in the terminal of penstock serve, or start it again: it prints an address."}
}

// Realm implements Access.
func (t *Token) Realm() string { return "token" }

// Again implements Access: the board lets in who starts it.
func (t *Token) Again(who pipeline.Person) (pipeline.Person, bool) {
	return t.person, who.Name == t.person.Name
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
	who := pipeline.Person{Name: canonical(strings.TrimSpace(names[0]))}
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

// Door implements Access: nobody comes there.
func (p *Proxy) Door(*http.Request) Door { return Door{} }

// SignIn implements Access: there is nothing to do.
func (p *Proxy) SignIn(_ http.ResponseWriter, r *http.Request) (Arrival, error) {
	who, _, err := p.Vouched(r)
	return Arrival{Who: who, To: r.FormValue("to")}, err
}

// SignOut implements Access.
func (p *Proxy) SignOut(http.ResponseWriter, string) Farewell {
	return Farewell{Says: "You are still signed in at the proxy in front of the board, which the board can't end: the next page that you open here signs you in again. Sign out at the proxy."}
}

// Realm implements Access: the proxy says with each request who it is.
func (p *Proxy) Realm() string { return "" }

// Again implements Access.
func (p *Proxy) Again(who pipeline.Person) (pipeline.Person, bool) { return who, false }

// here returns an address of the board itself, to go to: no other site gets anybody.
func here(to string) string {
	u, err := url.Parse(to) // which refuses control characters
	if err != nil || u.Scheme != "" || u.Opaque != "" || u.User != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") ||
		present.Line(u.Path) != u.Path || strings.Contains(u.Path, `\`) {
		return "/"
	}
	return u.String()
}

// canonical returns the one way to write a person's name: an address means the same person
// in any case.
func canonical(name string) string {
	if pipeline.IsAddress(name) {
		return strings.ToLower(name)
	}
	return name
}

// portOf returns the port of a host, or what distinguishes the host.
func portOf(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		return port
	}
	return "board"
}
