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
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// OIDCOptions say where people sign in. Allow, Scopes, NameClaim and GroupsClaim may be
// empty; the others are required.
type OIDCOptions struct {
	Issuer       string // its URL
	ClientID     string
	ClientSecret pipeline.Secret
	URL          string   // of the board, as browsers reach it
	Allow        []string // who gets in, in the words of authorize; nil means every user of the provider
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
}

// attempt is a sign-in that has begun. The browser keeps it, sealed, in a cookie that has
// the attempt's state in its name: so it is of this browser, several can be under way in
// it, and others can't crowd them out.
type attempt struct {
	Nonce, Verifier, To string
	At                  time.Time
}

const (
	signInLimit   = 10 * time.Minute // to sign in at the provider
	longestTo     = 1000             // bytes of the address to go on to; a cookie has about 4000
	maxAttempts   = 10               // of a browser
	attemptCookie = "penstock-sign-in-"
)

// NewOIDC asks the provider where its endpoints and its keys are. CodeInvalid where it
// does not answer as a provider does.
func NewOIDC(ctx context.Context, o OIDCOptions) (*OIDC, error) {
	client := &http.Client{Timeout: 30 * time.Second}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), o.Issuer)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "find OpenID provider", "--oidc-issuer %s: %w", o.Issuer, err).
			WithHint("It takes the URL below which the provider has .well-known/openid-configuration.")
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
	return &OIDC{
		OIDCOptions: o, client: client, seal: seal, verifier: provider.Verifier(&oidc.Config{ClientID: o.ClientID}),
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

// SignIn implements Access: it sends people to the provider, and reads what the provider
// sends them back with.
func (o *OIDC) SignIn(w http.ResponseWriter, r *http.Request) (pipeline.Person, string, error) {
	if !strings.HasSuffix(r.URL.Path, "/callback") {
		at, err := o.begin(w, r)
		if err == nil {
			http.Redirect(w, r, at, http.StatusSeeOther)
		}
		return pipeline.Person{}, "", err
	}
	who, to, err := o.finish(w, r)
	if err == nil {
		err = o.admit(who)
	}
	if err != nil {
		return pipeline.Person{}, "", pipeline.Errorf(pipeline.CodeNotAllowed, "sign in", "%w", err).WithHint("Go to the first page of the board to sign in again.")
	}
	return who, to, nil
}

// admit refuses who is not among those who get in.
func (o *OIDC) admit(who pipeline.Person) error {
	if a := (&pipeline.Authorization{Approve: o.Allow}); !a.Allows(pipeline.RightApprove, who) { // by the rules of authorize
		return fmt.Errorf("%s is not among those whom --oidc-allow lets in", who.Name)
	}
	return nil
}

// cookie is the cookie of an attempt.
func (o *OIDC) cookie(state, value string, age int) *http.Cookie {
	c := &http.Cookie{Name: attemptCookie + state, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if strings.HasPrefix(o.URL, "https:") {
		c.Name, c.Secure = "__Host-"+c.Name, true
	}
	return c
}

// begin returns the address at the provider.
func (o *OIDC) begin(w http.ResponseWriter, r *http.Request) (string, error) {
	a := attempt{Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), To: here(r.URL.Query().Get("to")), At: time.Now()}
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
			http.SetCookie(w, o.cookie(state, "", -1))
		}
	}
	state := rand.Text()
	sealed := base64.RawURLEncoding.EncodeToString(o.seal.Seal(nil, nil, data, []byte(state)))
	http.SetCookie(w, o.cookie(state, sealed, int(signInLimit/time.Second)))
	return o.config.AuthCodeURL(state, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

// begun takes the attempt of a state from the browser. It counts once.
func (o *OIDC) begun(w http.ResponseWriter, r *http.Request, state string) (a attempt, err error) {
	none := errors.New("this sign-in did not begin in this browser, or too long ago")
	c, err := r.Cookie(o.cookie(state, "", 0).Name)
	if err != nil {
		return a, none
	}
	http.SetCookie(w, o.cookie(state, "", -1))
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
func (o *OIDC) finish(w http.ResponseWriter, r *http.Request) (pipeline.Person, string, error) {
	q := r.URL.Query()
	a, err := o.begun(w, r, q.Get("state"))
	switch {
	case err != nil:
		return pipeline.Person{}, "", err
	case q.Get("error") != "":
		return pipeline.Person{}, "", fmt.Errorf("the provider says %s: %s", q.Get("error"), q.Get("error_description"))
	}
	ctx := oidc.ClientContext(r.Context(), o.client)
	token, err := o.config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return pipeline.Person{}, "", err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := o.verifier.Verify(ctx, raw)
	if err != nil {
		return pipeline.Person{}, "", err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return pipeline.Person{}, "", fmt.Errorf("the provider's answer is to another question")
	}
	who, err := o.person(id)
	return who, a.To, err
}

// person reads the claims. The subject is one of the person's further names: it stays
// when the address changes.
func (o *OIDC) person(id *oidc.IDToken) (pipeline.Person, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return pipeline.Person{}, err
	}
	text := func(name string) string {
		s, _ := claims[name].(string)
		return strings.TrimSpace(s)
	}
	who := pipeline.Person{Names: []string{id.Subject}}
	switch verified, _ := claims["email_verified"].(bool); {
	case o.NameClaim != "":
		who.Name = text(o.NameClaim)
	case verified && text("email") != "":
		who.Name = text("email")
	default:
		who.Name = id.Subject
	}
	switch {
	case who.Name == "":
		return who, fmt.Errorf("the provider does not say your name as %s", o.NameClaim)
	case present.Line(who.Name) != who.Name:
		return who, fmt.Errorf("the provider says your name with control characters: %q", who.Name)
	}
	groups, many := claims[o.GroupsClaim].([]any)
	if !many {
		groups = []any{claims[o.GroupsClaim]} // some providers say a single one so
	}
	for _, g := range groups {
		if group, ok := g.(string); ok && group != "" {
			who.Groups = append(who.Groups, group)
		}
	}
	return who, nil
}
