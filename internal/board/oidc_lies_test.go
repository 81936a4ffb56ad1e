// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
)

// Who somebody is, is what the provider has verified: not what a person may have entered
// there, nor what merely looks like somebody's address.
func TestOIDCLies(t *testing.T) {
	b, is := newBed(t), newIssuer(t)
	b.apply()
	company := []string{"*@example.com"}
	named := func(claim string, allow ...string) func(*board.OIDCOptions) {
		return func(o *board.OIDCOptions) { o.NameClaim, o.Allow = claim, allow }
	}
	for name, c := range map[string]struct {
		option func(*board.OIDCOptions)
		claims map[string]any
		who    string // who is in; empty for nobody
		says   string
	}{
		"a verified address":                   {named("", company...), nil, "ann@example.com", ""},
		"verified, as text":                    {named("email", company...), map[string]any{"email_verified": "true"}, "ann@example.com", ""},
		"verified, as text in capitals":        {named("", company...), map[string]any{"email_verified": "True"}, "ann@example.com", ""},
		"in another case":                      {named("", "ann@example.com"), map[string]any{"email": "Ann@Example.COM"}, "ann@example.com", ""},
		"allowed in another case":              {named("email", "Ann@Example.com"), nil, "ann@example.com", ""},
		"unverified":                           {named("", company...), map[string]any{"email_verified": false}, "", "sub:u-1 is not among"},
		"unverified, as text":                  {named("", company...), map[string]any{"email_verified": "false"}, "", "sub:u-1 is not among"},
		"verified with a number":               {named("", company...), map[string]any{"email_verified": 1}, "", "sub:u-1 is not among"},
		"nothing said of it":                   {named("", company...), map[string]any{"email_verified": nil}, "", "sub:u-1 is not among"},
		"unverified, and named by it":          {named("email", "*"), map[string]any{"email": "boss@example.com", "email_verified": false}, "", `your address "boss@example.com" is verified`},
		"unverified as text, and named by it":  {named("email", "*"), map[string]any{"email": "boss@example.com", "email_verified": "false"}, "", `your address "boss@example.com" is verified`},
		"nothing said, and named by it":        {named("email", "*"), map[string]any{"email_verified": nil}, "", "is verified"},
		"no address, and named by it":          {named("email", "*"), map[string]any{"email": nil}, "", "is verified"},
		"a list of addresses":                  {named("email", "*"), map[string]any{"email": []string{"ann@example.com"}}, "", "is verified"},
		"verified, but no address":             {named("", company...), map[string]any{"email": "@example.com"}, "", "sub:u-1 is not among"},
		"a subject like an address":            {named("", company...), map[string]any{"sub": "boss@example.com", "email": "boss@example.com", "email_verified": false}, "", "sub:boss@example.com is not among"},
		"a subject that is a listed address":   {named("", "boss@example.com"), map[string]any{"sub": "boss@example.com", "email_verified": false}, "", "is not among"},
		"a subject, named so":                  {named("sub", company...), map[string]any{"sub": "boss@example.com", "email_verified": false}, "", "is not among"},
		"a subject in full":                    {named("", "sub:u-1"), map[string]any{"email_verified": false}, "sub:u-1", ""},
		"a subject in another case":            {named("", "sub:U-1"), map[string]any{"email_verified": false}, "", "is not among"},
		"a pattern of subjects":                {named("", "sub:*"), map[string]any{"email_verified": false}, "", "is not among"},
		"everybody, with a subject":            {named("", "*"), map[string]any{"email_verified": false}, "sub:u-1", ""},
		"no subject":                           {named("", "*"), map[string]any{"sub": ""}, "", "does not say your subject"},
		"a chosen name like an address":        {named("preferred_username", company...), map[string]any{"preferred_username": "boss@example.com", "email_verified": false}, "", "boss@example.com is not among"},
		"a chosen name, and the address":       {named("preferred_username", company...), nil, "ann", ""},
		"a chosen name in full":                {named("nick", "Annie"), nil, "Annie", ""},
		"a chosen name like a subject":         {named("nick", "*"), map[string]any{"nick": "sub:u-2"}, "", "does not say your name"},
		"a chosen name that is a list":         {named("nick", "*"), map[string]any{"nick": []string{"Annie"}}, "", "does not say your name"},
		"a group that is a name":               {named("", "@example"), map[string]any{"groups": []string{"ann@example.com"}}, "", "is not among"},
		"too late":                             {named("", "*"), map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, "", "expired"},
		"to nobody":                            {named("", "*"), map[string]any{"aud": nil}, "", "audience"},
		"to several, of which one is another":  {named("", "*"), map[string]any{"aud": []string{"mail", "board"}}, "ann@example.com", ""},
		"of another issuer, by one character":  {named("", "*"), map[string]any{"iss": is.server.URL + "/"}, "", "issue"},
		"without the question":                 {named("", "*"), map[string]any{"nonce": nil}, "", "to another question"},
		"to the question in another form":      {named("", "*"), map[string]any{"nonce": ""}, "", "to another question"},
		"an address that turns the text":       {named("", "*"), map[string]any{"email": "ann\u202e@example.com"}, "", "control characters"},
		"a subject that is no text on a line":  {named("", "*"), map[string]any{"sub": "u\n1"}, "", "control characters"},
		"a verified address of another domain": {named("", company...), map[string]any{"email": "ann@example.com.evil.example"}, "", "is not among"},
	} {
		t.Run(name, func(t *testing.T) {
			is.change = func(claims map[string]any) { maps.Copy(claims, c.claims) }
			b.serveWith(is, c.option)
			status, page := b.send(b.client, http.MethodGet, "/p/shop", nil)
			in := strings.Contains(page, "Value stream")
			switch {
			case c.who != "" && (!in || !strings.Contains(page, "<span>"+c.who+"</span>")):
				t.Errorf("%s is not in: %d: %s", c.who, status, words(page))
			case c.who == "" && (in || status != http.StatusUnauthorized || !strings.Contains(html.UnescapeString(page), c.says)):
				t.Errorf("it answers %d: %s", status, words(page))
			}
		})
	}
}

// A token counts only with a signature by a key that the provider shows.
func TestOIDCSignatures(t *testing.T) {
	b, is := newBed(t), newIssuer(t)
	b.apply()
	part := func(v any) string {
		data, err := json.Marshal(v)
		b.must(err)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	for name, sign := range map[string]func(claims any) string{
		"none at all":    func(any) string { return "" },
		"algorithm none": func(claims any) string { return part(map[string]string{"alg": "none"}) + "." + part(claims) + "." },
		"algorithm None": func(claims any) string { return part(map[string]string{"alg": "None"}) + "." + part(claims) + "." },
		"the key's, with no value": func(claims any) string {
			return part(map[string]string{"alg": "RS256", "kid": "one"}) + "." + part(claims) + "."
		},
		"the client's secret": func(claims any) string {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("hush", 8))}, nil)
			b.must(err)
			token, err := jwt.Signed(signer).Claims(claims).Serialize()
			b.must(err)
			return token
		},
	} {
		t.Run(name, func(t *testing.T) {
			is.sign = sign
			b.serveWith(is)
			if status, page := b.send(b.client, http.MethodGet, "/p/shop", nil); status != http.StatusUnauthorized || strings.Contains(page, "Value stream") {
				t.Errorf("it answers %d: %s", status, words(page))
			}
		})
	}
}

// The client's secret goes to nobody in the clear.
func TestOIDCInTheClear(t *testing.T) {
	for _, issuer := range []string{"http://id.example.com", "http://10.0.0.5:8080", "http://localhost.example.com", "ftp://id.example.com", "id.example.com", "//id.example.com", "", "https://"} {
		if _, err := board.NewOIDC(t.Context(), board.OIDCOptions{Issuer: issuer, ClientID: "board", Allow: []string{"*"}}); err == nil || !strings.Contains(err.Error(), "is not an https URL") {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	is := newIssuer(t)
	if _, err := board.NewOIDC(t.Context(), board.OIDCOptions{Issuer: is.server.URL, ClientID: "board"}); err == nil || !strings.Contains(err.Error(), "--oidc-allow names nobody") {
		t.Errorf("nobody is said to get in: %v", err)
	}
	for _, endpoint := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"} {
		is.finds = map[string]any{endpoint: "http://id.example.com/" + endpoint}
		if _, err := board.NewOIDC(t.Context(), board.OIDCOptions{Issuer: is.server.URL, ClientID: "board", Allow: []string{"*"}}); err == nil || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	elsewhere := httptest.NewServer(http.RedirectHandler("http://id.example.com/token", http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	is.finds = map[string]any{"token_endpoint": elsewhere.URL}
	b := newBed(t)
	b.serveWith(is)
	b.want(b.client, http.MethodGet, "/p/shop", nil, http.StatusUnauthorized, "which is not https")
}

// A sign-out ends the session at the provider, too, or says that it does not. The next
// sign-in from the browser waits for a press, and is asked for at the provider, once.
func TestOIDCSignOut(t *testing.T) {
	for _, ends := range []bool{false, true} {
		b, is := newBed(t), newIssuer(t)
		if ends {
			is.finds = map[string]any{"end_session_endpoint": is.server.URL + "/end?a=b"}
		}
		b.apply()
		b.serveWith(is)
		b.get("/p/shop", "ann@example.com")
		resp, page := b.request(b.client, http.MethodPost, b.server.URL+"/sign-out", url.Values{})
		_, to, _ := strings.Cut(resp.Header.Get("Refresh"), "; url=")
		switch {
		case !ends && (to != "" || !strings.Contains(words(page), "you may still be signed in there")):
			t.Errorf("it goes on to %q, and says %s", to, words(page))
		case ends:
			b.request(b.client, http.MethodGet, to, nil)
			if q := <-is.ended; q.Get("a") != "b" || q.Get("client_id") != "board" || strings.Count(q.Get("id_token_hint"), ".") != 2 {
				t.Errorf("the provider is asked %v", q)
			}
		}
		page = b.get("/p/shop", "Sign in at "+strings.TrimPrefix(is.server.URL, "http://"))
		if strings.Contains(page, "Value stream") || strings.Contains(page, "data-auto") {
			t.Fatal("it signs in again, unasked")
		}
		press := func() url.Values {
			t.Helper()
			resp, _ := b.request(b.client, http.MethodPost, b.server.URL+"/sign-in", form(page))
			_, to, _ := strings.Cut(resp.Header.Get("Refresh"), "; url=")
			at, err := url.Parse(to)
			b.must(err)
			if _, page := b.request(b.client, http.MethodGet, to, nil); !strings.Contains(page, "Value stream") {
				t.Fatalf("it does not sign in: %s", words(page))
			}
			return at.Query()
		}
		if q := press(); q.Get("prompt") != "login" || q.Get("max_age") != "0" {
			t.Errorf("the provider is asked %v", q)
		}
		if q := press(); q.Has("prompt") || q.Has("max_age") {
			t.Errorf("the next time the provider is asked %v", q)
		}
	}
}

// After a sign-out nobody comes in by a sign-in at the provider from before it, whatever the
// provider makes of what it is asked for.
func TestOIDCStaleSignIn(t *testing.T) {
	b := newBed(t)
	b.apply()
	const noTime = "does not say in auth_time"
	for name, c := range map[string]struct {
		at    any      // auth_time; nil: it says none
		finds []string // claims_supported; nil: it says nothing of that
		says  string   // what the page says; empty for who is in
	}{
		"signed in now":                         {time.Now().Unix(), nil, ""},
		"now, with a part of a second":          {float64(time.Now().UnixMilli()) / 1000, nil, ""},
		"an hour ago":                           {time.Now().Add(-time.Hour).Unix(), nil, "did not ask you to sign in"},
		"two minutes ago":                       {time.Now().Add(-2 * time.Minute).Unix(), nil, "did not ask you to sign in"},
		"never":                                 {0, nil, "did not ask you to sign in"},
		"tomorrow":                              {time.Now().Add(24 * time.Hour).Unix(), nil, "in the future"},
		"as text":                               {"1764446400", nil, "as no number"},
		"not said":                              {nil, nil, noTime},
		"not said by one that says it":          {nil, []string{"sub", "auth_time"}, noTime},
		"not said by one that never says it":    {nil, []string{"sub", "email"}, ""},
		"an hour ago, by one that says it":      {time.Now().Add(-time.Hour).Unix(), []string{"auth_time"}, "did not ask you to sign in"},
		"now, by one that says that it does so": {time.Now().Unix(), []string{"auth_time"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := newIssuer(t)
			if c.finds != nil {
				is.finds = map[string]any{"claims_supported": c.finds}
			}
			b.serveWith(is)
			b.get("/p/shop", "ann@example.com")
			b.request(b.client, http.MethodPost, b.server.URL+"/sign-out", url.Values{})
			is.change = func(claims map[string]any) {
				if delete(claims, "auth_time"); c.at != nil {
					claims["auth_time"] = c.at
				}
			}
			enter := func() string {
				t.Helper()
				resp, _ := b.request(b.client, http.MethodPost, b.server.URL+"/sign-in", form(b.get("/p/shop", "Sign in at")))
				_, to, _ := strings.Cut(resp.Header.Get("Refresh"), "; url=")
				_, page := b.request(b.client, http.MethodGet, to, nil)
				return html.UnescapeString(page)
			}
			page := enter()
			if in := strings.Contains(page, "Value stream"); in != (c.says == "") || !strings.Contains(page, c.says) {
				t.Fatalf("in: %v: %s", in, words(page))
			}
			if c.says == "" {
				return
			}
			// It stays so until the person signs in there.
			if page := enter(); !strings.Contains(page, c.says) {
				t.Errorf("the second time: %s", words(page))
			}
			is.change = nil
			if page := enter(); !strings.Contains(page, "Value stream") {
				t.Errorf("who has signed in there is not in: %s", words(page))
			}
		})
	}
}
