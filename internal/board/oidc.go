// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// OIDCOptions say where people sign in. Scopes, NameClaim and GroupsClaim may be empty; the
// others are required.
type OIDCOptions struct {
	Issuer       string // its URL
	ClientID     string
	ClientSecret pipeline.Secret
	URL          string   // of the board, as browsers reach it
	Allow        []string // who gets in, in the words of authorize; "*" means every user of the provider
	Scopes       []string
	NameClaim    string // empty means email where that is verified, else sub
	GroupsClaim  string // empty means groups
}

// OIDC lets in who has signed in to an OpenID provider: by the authorization code flow
// with PKCE.
type OIDC struct {
	OIDCOptions
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
	client   *http.Client
	seal     cipher.AEAD
	host     string // of the provider
	signOut  string // the provider's end_session_endpoint; empty for none
	dates    bool   // the provider says when people signed in, or does not say that it doesn't
}

// attempt is a sign-in that has begun. The browser keeps it, sealed, in a cookie that has
// the attempt's state in its name: so it is of this browser, several can be under way in
// it, and others can't crowd them out.
type attempt struct {
	Nonce, Verifier, To, Key string
	At                       time.Time
	Asks                     bool // the person has to sign in at the provider, and not have done so before
}

const (
	signInLimit   = 10 * time.Minute // to sign in at the provider
	longestTo     = 1000             // bytes of the address to go on to; a cookie has about 4000
	maxAttempts   = 10               // of a browser
	attemptCookie = "penstock-sign-in-"

	// askCookie is in a browser whose next sign-in has to be one that the person makes: they
	// have signed out.
	askCookie = "penstock-ask"
	askFor    = 30 * 24 * time.Hour

	clockSkew = time.Minute // that a provider's clock may be off
)

// CheckIssuer refuses, with CodeInvalid, a provider that is not reached through TLS, unless
// it is on this machine: who listens would read the client's secret, and could be anybody.
func CheckIssuer(issuer string) error {
	at, err := url.Parse(issuer)
	if err != nil || at.Host == "" || !confidential(at) {
		return pipeline.Errorf(pipeline.CodeInvalid, "find OpenID provider", "--oidc-issuer %q is not an https URL", issuer).
			WithHint("Name the provider by https://…; http is for a provider on this machine only.")
	}
	return nil
}

// confidential reports whether nobody on the way reads what is sent to an address.
func confidential(at *url.URL) bool {
	if at.Scheme == "https" {
		return true
	}
	address, err := netip.ParseAddr(at.Hostname())
	return at.Scheme == "http" && (err == nil && address.IsLoopback() || strings.EqualFold(at.Hostname(), "localhost"))
}

// newClient makes what asks the provider. It follows no redirect to where others could read.
func newClient() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case !confidential(r.URL):
			return fmt.Errorf("the provider redirects to %s, which is not https", r.URL.Redacted())
		case len(via) > 5:
			return errors.New("the provider redirects without end")
		}
		return nil
	}}
}

// NewOIDC asks the provider where its endpoints and its keys are. CodeInvalid where it
// does not answer as a provider does, and where nobody is said to get in.
func NewOIDC(ctx context.Context, o OIDCOptions) (*OIDC, error) {
	invalid := func(format string, args ...any) *pipeline.Error {
		return pipeline.Errorf(pipeline.CodeInvalid, "find OpenID provider", format, args...)
	}
	if err := CheckIssuer(o.Issuer); err != nil {
		return nil, err
	}
	if len(o.Allow) == 0 {
		return nil, invalid("--oidc-allow names nobody").WithHint("Name who gets in; '*' means every user of the provider.")
	}
	client := newClient()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), o.Issuer)
	if err != nil {
		return nil, invalid("--oidc-issuer %s: %w", o.Issuer, err).
			WithHint("It takes the URL below which the provider has .well-known/openid-configuration.")
	}
	var more struct {
		Keys    string   `json:"jwks_uri"`
		SignOut string   `json:"end_session_endpoint"`
		Claims  []string `json:"claims_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, invalid("--oidc-issuer %s: %w", o.Issuer, err)
	}
	for _, endpoint := range []string{provider.Endpoint().AuthURL, provider.Endpoint().TokenURL, more.Keys, more.SignOut} {
		if at, err := url.Parse(endpoint); endpoint != "" && (err != nil || !confidential(at)) {
			return nil, invalid("--oidc-issuer %s: the provider's endpoint %q is not an https URL", o.Issuer, endpoint)
		}
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"profile", "email"}
	}
	if o.GroupsClaim == "" {
		o.GroupsClaim = "groups"
	}
	seal, err := newSeal()
	if err != nil {
		return nil, err
	}
	at, _ := url.Parse(o.Issuer) // checked above
	return &OIDC{
		OIDCOptions: o, client: client, seal: seal, host: at.Host, signOut: more.SignOut,
		dates:    len(more.Claims) == 0 || slices.Contains(more.Claims, "auth_time"),
		verifier: provider.Verifier(&oidc.Config{ClientID: o.ClientID}),
		config: oauth2.Config{
			ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal(), Endpoint: provider.Endpoint(),
			RedirectURL: strings.TrimRight(o.URL, "/") + "/sign-in/callback", Scopes: append([]string{oidc.ScopeOpenID}, o.Scopes...),
		},
	}, nil
}

// Vouched implements Access: people sign in.
func (*OIDC) Vouched(*http.Request) (pipeline.Person, bool, error) {
	return pipeline.Person{}, false, nil
}

// newSeal makes a key that is known to this process alone.
func newSeal() (cipher.AEAD, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Door implements Access. The page goes on to the provider by itself, unless the person has
// signed out.
func (o *OIDC) Door(r *http.Request) Door { return Door{At: o.host, Auto: !o.asks(r)} }

// SignIn implements Access: it sends people to the provider, and reads what the provider
// sends them back with.
func (o *OIDC) SignIn(w http.ResponseWriter, r *http.Request) (Arrival, error) {
	if r.Method == http.MethodPost {
		at, err := o.begin(w, r)
		return Arrival{Go: at}, err
	}
	who, err := o.finish(w, r)
	if err != nil {
		return Arrival{}, pipeline.Errorf(pipeline.CodeNotAllowed, "sign in", "%w", err).WithHint("Go to the first page of the board to sign in again.")
	}
	if err := o.admit(who.Who); err != nil {
		o.askNext(w) // as somebody else
		return Arrival{}, pipeline.Errorf(pipeline.CodeNotAllowed, "sign in", "%w", err).
			WithHint("Go to the first page of the board to sign in as somebody else.")
	}
	http.SetCookie(w, o.cookie(askCookie, "", -1))
	return who, nil
}

// admit refuses who is not among those who get in.
func (o *OIDC) admit(who pipeline.Person) error {
	if a := (&pipeline.Authorization{Approve: o.Allow}); !a.Allows(pipeline.RightApprove, who) { // by the rules of authorize
		return fmt.Errorf("%s is not among those whom --oidc-allow lets in", who.Name)
	}
	return nil
}

// SignOut implements Access: it ends the session at the provider, where that can be done. The
// next sign-in from the browser is one that the person makes.
func (o *OIDC) SignOut(w http.ResponseWriter, proof string) Farewell {
	o.askNext(w)
	at, err := url.Parse(o.signOut)
	if o.signOut == "" || err != nil {
		checks := ", and checks that it did"
		if !o.dates {
			checks = ", and can't check that it did"
		}
		return Farewell{Says: fmt.Sprintf("%s has no way to sign out from here, so you may still be signed in there. "+
			"The board asks it to have you sign in again next time%s; on a computer of others, sign out there, too.", o.host, checks)}
	}
	q := at.Query()
	q.Set("client_id", o.ClientID)
	if proof != "" {
		q.Set("id_token_hint", proof)
	}
	at.RawQuery = q.Encode()
	return Farewell{Says: fmt.Sprintf("This browser goes on to %s, to sign out there, too.", o.host), Go: at.String()}
}

// asks reports whether the person has to make the next sign-in of a browser.
func (o *OIDC) asks(r *http.Request) bool {
	c, err := r.Cookie(o.cookie(askCookie, "", 0).Name)
	return err == nil && c.Value != ""
}

func (o *OIDC) askNext(w http.ResponseWriter) {
	http.SetCookie(w, o.cookie(askCookie, "yes", int(askFor/time.Second)))
}

// Realm implements Access.
func (o *OIDC) Realm() string {
	return strings.Join([]string{"oidc", o.Issuer, o.ClientID, o.NameClaim, o.GroupsClaim}, " ")
}

// Again implements Access: --oidc-allow may name others now.
func (o *OIDC) Again(who pipeline.Person) (pipeline.Person, bool) { return who, o.admit(who) == nil }

// cookie is a cookie of the sign-in, for this many seconds; negative: not any more.
func (o *OIDC) cookie(name, value string, age int) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if strings.HasPrefix(o.URL, "https:") {
		c.Name, c.Secure = "__Host-"+c.Name, true
	}
	return c
}

// begin returns the address at the provider.
func (o *OIDC) begin(w http.ResponseWriter, r *http.Request) (string, error) {
	a := attempt{Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), To: here(r.PostFormValue("to")), Key: keyOf(r), At: time.Now(), Asks: o.asks(r)}
	if len(a.To) > longestTo {
		a.To = "/"
	}
	data, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	var before []string // attempts of this browser
	for _, c := range r.Cookies() {
		if _, state, ok := strings.Cut(c.Name, attemptCookie); ok {
			before = append(before, state)
		}
	}
	if len(before) >= maxAttempts {
		for _, state := range before {
			http.SetCookie(w, o.cookie(attemptCookie+state, "", -1))
		}
	}
	state := rand.Text()
	sealed := base64.RawURLEncoding.EncodeToString(o.seal.Seal(nil, nil, data, []byte(state)))
	http.SetCookie(w, o.cookie(attemptCookie+state, sealed, int(signInLimit/time.Second)))
	with := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if a.Asks {
		with = append(with, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0")) // so that the answer has auth_time
	}
	return o.config.AuthCodeURL(state, with...), nil
}

// begun takes the attempt of a state from the browser. It counts once.
func (o *OIDC) begun(w http.ResponseWriter, r *http.Request, state string) (a attempt, err error) {
	none := errors.New("this sign-in did not begin in this browser, or too long ago")
	c, err := r.Cookie(o.cookie(attemptCookie+state, "", 0).Name)
	if err != nil {
		return a, none
	}
	http.SetCookie(w, o.cookie(attemptCookie+state, "", -1))
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return a, none
	}
	data, err := o.seal.Open(nil, nil, sealed, []byte(state))
	if err != nil || json.Unmarshal(data, &a) != nil || time.Since(a.At) > signInLimit {
		return a, none
	}
	return a, nil
}

// finish reads who has signed in.
func (o *OIDC) finish(w http.ResponseWriter, r *http.Request) (Arrival, error) {
	q := r.URL.Query()
	a, err := o.begun(w, r, q.Get("state"))
	switch {
	case err != nil:
		return Arrival{}, err
	case q.Get("error") != "":
		return Arrival{}, fmt.Errorf("the provider says %s: %s", q.Get("error"), q.Get("error_description"))
	}
	ctx := oidc.ClientContext(r.Context(), o.client)
	token, err := o.config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return Arrival{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := o.verifier.Verify(ctx, raw)
	if err != nil {
		return Arrival{}, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return Arrival{}, fmt.Errorf("the provider's answer is to another question")
	}
	if a.Asks && o.dates {
		if err := signedInSince(id, a.At); err != nil {
			return Arrival{}, err
		}
	}
	who, err := o.person(id)
	return Arrival{Who: who, To: a.To, Key: a.Key, Proof: raw}, err
}

// signedInSince refuses a sign-in at the provider from before it was asked for: whoever is at the
// browser goes on with what somebody else has done there.
func signedInSince(id *oidc.IDToken, asked time.Time) error {
	var claims struct {
		At *float64 `json:"auth_time"` // seconds since 1970
	}
	if err := id.Claims(&claims); err != nil {
		return fmt.Errorf("the provider says when you signed in as no number: %w", err)
	}
	if claims.At == nil {
		return errors.New("the provider does not say in auth_time when you signed in there, as it was asked to after a sign-out: sign out there, and let the provider add auth_time to ID tokens")
	}
	switch at := time.Unix(int64(*claims.At), 0); {
	case at.Before(asked.Add(-clockSkew)):
		return fmt.Errorf("the provider did not ask you to sign in: it says that you did at %s, before you signed out here; sign out there, too", pipeline.Moment(at.UTC()))
	case at.After(time.Now().Add(clockSkew)):
		return fmt.Errorf("the provider says that you signed in at %s, which is in the future", pipeline.Moment(at.UTC()))
	}
	return nil
}
