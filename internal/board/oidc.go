// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// OIDCOptions say where people sign in. All but Scopes, NameClaim and GroupsClaim are
// required.
type OIDCOptions struct {
	Issuer       string // its URL
	ClientID     string
	ClientSecret pipeline.Secret
	URL          string // of the board, as browsers reach it
	Scopes       []string
	NameClaim    string // empty means email where that is verified, else preferred_username, else sub
	GroupsClaim  string // empty means groups
}

// OIDC lets in who has signed in to an OpenID provider: by the authorization code flow
// with PKCE.
type OIDC struct {
	OIDCOptions
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
	client   *http.Client

	mu    sync.Mutex
	begun map[string]attempt // by state
}

// attempt is a sign-in that has begun.
type attempt struct {
	nonce, verifier, browser, to string
	at                           time.Time
}

const (
	signInLimit = 10 * time.Minute // to sign in at the provider
	maxAttempts = 1000
	// attemptCookie ties a sign-in to the browser that began it.
	attemptCookie = "penstock-sign-in"
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
	return &OIDC{
		OIDCOptions: o, client: client, begun: map[string]attempt{}, verifier: provider.Verifier(&oidc.Config{ClientID: o.ClientID}),
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

// SignIn implements Access: it sends people to the provider, and reads what the provider
// sends them back with.
func (o *OIDC) SignIn(w http.ResponseWriter, r *http.Request) (pipeline.Person, string, error) {
	if !strings.HasSuffix(r.URL.Path, "/callback") {
		http.Redirect(w, r, o.begin(w, r), http.StatusSeeOther)
		return pipeline.Person{}, "", nil
	}
	who, to, err := o.finish(r)
	if err != nil {
		err = pipeline.Errorf(pipeline.CodeNotAllowed, "sign in", "%w", err).WithHint("Go to the first page of the board to sign in again.")
	}
	return who, to, err
}

// begin gives the address at the provider.
func (o *OIDC) begin(w http.ResponseWriter, r *http.Request) string {
	a := attempt{nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), browser: rand.Text(), to: here(r.URL.Query().Get("to")), at: time.Now()}
	state := rand.Text()
	http.SetCookie(w, &http.Cookie{
		Name: attemptCookie, Value: a.browser, Path: "/sign-in", MaxAge: int(signInLimit / time.Second), HttpOnly: true,
		Secure: strings.HasPrefix(o.URL, "https:"), SameSite: http.SameSiteLaxMode,
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for s, old := range o.begun {
		if time.Since(old.at) > signInLimit || len(o.begun) >= maxAttempts {
			delete(o.begun, s)
		}
	}
	o.begun[state] = a
	return o.config.AuthCodeURL(state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier))
}

// finish reads who has signed in.
func (o *OIDC) finish(r *http.Request) (pipeline.Person, string, error) {
	q := r.URL.Query()
	o.mu.Lock()
	a, ok := o.begun[q.Get("state")]
	delete(o.begun, q.Get("state"))
	o.mu.Unlock()
	c, err := r.Cookie(attemptCookie)
	switch {
	case !ok || time.Since(a.at) > signInLimit:
		return pipeline.Person{}, "", fmt.Errorf("this sign-in did not begin here, or too long ago")
	case err != nil || subtle.ConstantTimeCompare([]byte(c.Value), []byte(a.browser)) != 1:
		return pipeline.Person{}, "", fmt.Errorf("this sign-in began in another browser")
	case q.Get("error") != "":
		return pipeline.Person{}, "", fmt.Errorf("the provider says %s: %s", q.Get("error"), q.Get("error_description"))
	}
	ctx := oidc.ClientContext(r.Context(), o.client)
	token, err := o.config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(a.verifier))
	if err != nil {
		return pipeline.Person{}, "", err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := o.verifier.Verify(ctx, raw)
	if err != nil {
		return pipeline.Person{}, "", err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.nonce)) != 1 {
		return pipeline.Person{}, "", fmt.Errorf("the provider's answer is to another question")
	}
	who, err := o.person(id)
	return who, a.to, err
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
	case text("preferred_username") != "":
		who.Name = text("preferred_username")
	default:
		who.Name = id.Subject
	}
	if who.Name == "" {
		return who, fmt.Errorf("the provider does not say your name as %s", o.NameClaim)
	}
	groups, _ := claims[o.GroupsClaim].([]any)
	for _, g := range groups {
		if group, ok := g.(string); ok {
			who.Groups = append(who.Groups, group)
		}
	}
	return who, nil
}
