// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// issuer is an OpenID provider at which everybody signs in as ann at once.
type issuer struct {
	t      *testing.T
	server *httptest.Server
	key    *rsa.PrivateKey
	change func(claims map[string]any)
	signer *rsa.PrivateKey         // another key than the one it shows
	sign   func(claims any) string // signs in another way
	finds  map[string]any          // what its configuration says besides, or instead
	ended  chan url.Values         // gets what is asked of its end_session_endpoint

	mu    sync.Mutex
	codes map[string]url.Values // requests to sign in, by code
}

func newIssuer(t *testing.T) *issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	is := &issuer{t: t, key: key, codes: map[string]url.Values{}, ended: make(chan url.Values, 1)}
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, body any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		at := is.server.URL
		found := map[string]any{
			"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		}
		maps.Copy(found, is.finds)
		reply(w, found)
	})
	mux.HandleFunc("GET /end", func(_ http.ResponseWriter, r *http.Request) { is.ended <- r.URL.Query() })
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "one", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		code := rand.Text()
		is.mu.Lock()
		is.codes[code] = q
		is.mu.Unlock()
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		is.mu.Lock()
		asked, ok := is.codes[r.PostFormValue("code")]
		delete(is.codes, r.PostFormValue("code"))
		is.mu.Unlock()
		id, secret, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if !ok || id != "board" || secret != "hush" || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("code_challenge_method") != "S256" {
			w.WriteHeader(http.StatusBadRequest)
			reply(w, map[string]string{"error": "invalid_grant"})
			return
		}
		reply(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": is.token(asked)})
	})
	is.server = httptest.NewServer(mux)
	t.Cleanup(is.server.Close)
	return is
}

// token signs who ann is.
func (is *issuer) token(asked url.Values) string {
	claims := map[string]any{
		"iss": is.server.URL, "aud": "board", "sub": "u-1", "nonce": asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"email": "ann@example.com", "email_verified": true, "preferred_username": "ann", "groups": []string{"testers"}, "nick": "Annie",
	}
	if asked.Has("max_age") {
		claims["auth_time"] = time.Now().Unix()
	}
	if is.change != nil {
		is.change(claims)
	}
	if is.sign != nil {
		return is.sign(claims)
	}
	key := is.key
	if is.signer != nil {
		key = is.signer
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "one"))
	if err != nil {
		is.t.Error(err)
		return ""
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		is.t.Error(err)
	}
	return token
}

// later is an Access that is there once the board's address is known.
type later struct{ board.Access }

// serveWith starts a board at which people sign in at the issuer.
func (b *bed) serveWith(is *issuer, change ...func(*board.OIDCOptions)) {
	b.Helper()
	access := &later{}
	b.serve(access)
	o := board.OIDCOptions{Issuer: is.server.URL, ClientID: "board", ClientSecret: "hush", URL: b.server.URL, Allow: []string{"*"}}
	for _, c := range change {
		c(&o)
	}
	var err error
	access.Access, err = board.NewOIDC(b.Context(), o)
	b.must(err)
}

// People sign in at the provider, come back to the page that they asked for, and may do
// what their groups may.
func TestOIDC(t *testing.T) {
	b, is := newBed(t), newIssuer(t)
	b.authorize = &pipeline.Authorization{Approve: []string{"@testers"}}
	b.apply()
	one := b.newest()
	b.serveWith(is)
	b.get("/p/shop/builds/"+one+"?a=b", one, "ann@example.com")
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK, "is approved")
	b.get("/p/shop/builds/"+one, "approved by ann@example.com")

	for name, c := range map[string]struct {
		options func(*board.OIDCOptions)
		claims  map[string]any
		want    string
	}{
		"an address that nobody has verified": {nil, map[string]any{"email_verified": false}, "<span>sub:u-1</span>"},
		"nothing but a subject":               {nil, map[string]any{"email": "", "preferred_username": ""}, "<span>sub:u-1</span>"},
		"a claim that was chosen":             {func(o *board.OIDCOptions) { o.NameClaim = "preferred_username" }, nil, "<span>ann</span>"},
		"among names that get in":             {func(o *board.OIDCOptions) { o.Allow = []string{"bob", "a?n@*"} }, nil, "<span>ann@example.com</span>"},
		"a subject that gets in":              {func(o *board.OIDCOptions) { o.Allow = []string{"sub:u-1"} }, nil, "<span>ann@example.com</span>"},
		"a group that gets in":                {func(o *board.OIDCOptions) { o.Allow = []string{"@testers"} }, map[string]any{"groups": "testers"}, "<span>ann@example.com</span>"},
	} {
		t.Run(name, func(t *testing.T) {
			is.change = func(claims map[string]any) { maps.Copy(claims, c.claims) }
			b.serveWith(is, func(o *board.OIDCOptions) {
				if c.options != nil {
					c.options(o)
				}
			})
			b.get("/", c.want)
		})
	}
	is.change = func(claims map[string]any) { delete(claims, "groups") }
	b.serveWith(is)
	b.get("/p/shop/do/reject?"+stageBuild("exploratory", one).Encode(), "Reject") // reject is for everybody here
	b.get("/p/shop/do/approve?"+stageBuild("exploratory", one).Encode(), "has no right to approve")
}

// What does not come from the provider, for this browser, now, lets in nobody.
func TestOIDCForged(t *testing.T) {
	b, is := newBed(t), newIssuer(t)
	b.apply()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	b.must(err)
	for name, c := range map[string]struct {
		change func(map[string]any)
		signer *rsa.PrivateKey
		option func(*board.OIDCOptions)
		says   string
	}{
		"the answer to another question": {func(m map[string]any) { m["nonce"] = "old" }, nil, nil, "to another question"},
		"a token for another client":     {func(m map[string]any) { m["aud"] = "mail" }, nil, nil, "audience"},
		"a token of another issuer":      {func(m map[string]any) { m["iss"] = "https://evil.example" }, nil, nil, "issue"},
		"a token that has expired":       {func(m map[string]any) { m["exp"] = time.Now().Add(-time.Hour).Unix() }, nil, nil, "expired"},
		"a token with another's key":     {nil, other, nil, "signature"},
		"a wrong secret":                 {nil, nil, func(o *board.OIDCOptions) { o.ClientSecret = "guess" }, "invalid_grant"},
		"a name that is no text":         {func(m map[string]any) { m["email"] = "ann\x1b[2J@example.com" }, nil, nil, "control characters"},
		"nobody who gets in":             {nil, nil, func(o *board.OIDCOptions) { o.Allow = []string{"bob", "ann", "testers", "@sales"} }, "ann@example.com is not among those whom --oidc-allow lets in"},
		"no name in the chosen claim":    {nil, nil, func(o *board.OIDCOptions) { o.NameClaim = "none" }, "does not say your name as none"},
	} {
		t.Run(name, func(t *testing.T) {
			is.change, is.signer = c.change, c.signer
			b.serveWith(is, func(o *board.OIDCOptions) {
				if c.option != nil {
					c.option(o)
				}
			})
			page := b.want(b.client, http.MethodGet, "/p/shop", nil, http.StatusUnauthorized, c.says)
			if strings.Contains(page, "hush") {
				t.Error("the page tells the secret")
			}
			if _, again := b.send(b.client, http.MethodGet, "/p/shop", nil); strings.Contains(again, "Value stream") {
				t.Error("the second try lets in")
			}
		})
	}
	is.change, is.signer = nil, nil
	b.serveWith(is)
	// The callback of a sign-in that began in one browser does nothing in another, nor twice.
	victim, thief := b.browser(), b.browser()
	callback := b.untilCallback(thief, "/p/shop")
	b.want(victim, http.MethodGet, callback, nil, http.StatusUnauthorized, "did not begin in this browser")
	b.want(thief, http.MethodGet, strings.Replace(callback, "state=", "state=A", 1), nil, http.StatusUnauthorized, "did not begin in this browser")
	b.want(thief, http.MethodGet, callback, nil, http.StatusOK, "ann@example.com")
	b.want(thief, http.MethodGet, callback, nil, http.StatusUnauthorized, "did not begin in this browser")
	b.want(victim, http.MethodGet, "/sign-in/callback?error=access_denied&error_description=%3Cb%3Eno", nil, http.StatusUnauthorized, "did not begin in this browser")

	// Nor is one that a browser made up, or has of another board, an attempt.
	b.untilCallback(victim, "/p/shop")
	at, err := url.Parse(b.server.URL)
	b.must(err)
	cookies := victim.Jar.Cookies(at)
	if len(cookies) != 1 {
		t.Fatalf("the cookies of a sign-in are %v", cookies)
	}
	_, state, _ := strings.Cut(cookies[0].Name, "penstock-sign-in-")
	victim.Jar.SetCookies(at, []*http.Cookie{{Name: cookies[0].Name, Value: strings.Replace(cookies[0].Value, cookies[0].Value[20:24], "AAAA", 1), Path: "/"}})
	b.want(victim, http.MethodGet, "/sign-in/callback?code=a&state="+state, nil, http.StatusUnauthorized, "did not begin in this browser")

	if _, err := board.NewOIDC(t.Context(), board.OIDCOptions{Issuer: b.server.URL, Allow: []string{"*"}}); err == nil || !strings.Contains(err.Error(), "--oidc-issuer") {
		t.Errorf("what is no provider: %v", err)
	}
}

// untilCallback signs in at the provider, and returns where that sends the browser back to.
func (b *bed) untilCallback(c *http.Client, path string) (callback string) {
	b.Helper()
	before := c.CheckRedirect
	defer func() { c.CheckRedirect = before }()
	c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/callback") {
			callback = r.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}
	b.send(c, http.MethodGet, path, nil)
	if callback == "" {
		b.Fatalf("%s sends nobody to the provider", path)
	}
	return callback
}

// People sign in in several tabs at once, however many sign-ins strangers begin; a browser
// that begins one after another keeps few of them.
func TestOIDCTabs(t *testing.T) {
	b, is := newBed(t), newIssuer(t)
	b.apply()
	b.serveWith(is)
	first, second := b.untilCallback(b.client, "/p/shop"), b.untilCallback(b.client, "/p/shop/images")
	stranger := b.browser()
	stranger.Jar = nil
	stranger.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for range 1100 {
		if resp, _ := b.request(stranger, http.MethodPost, b.server.URL+"/sign-in", url.Values{}); !strings.Contains(resp.Header.Get("Refresh"), is.server.URL) {
			t.Fatalf("a sign-in is answered %s", resp.Status)
		}
	}
	b.want(b.client, http.MethodGet, first, nil, http.StatusOK, "Value stream", "ann@example.com")
	b.want(b.client, http.MethodGet, second, nil, http.StatusOK, "Images", "ann@example.com")

	busy := b.browser()
	at, err := url.Parse(b.server.URL)
	b.must(err)
	for range 30 {
		callback := b.untilCallback(busy, "/p/shop?q="+strings.Repeat("long", 1000))
		if n := len(busy.Jar.Cookies(at)); n == 0 || n > 11 {
			t.Fatalf("there are %d cookies", n)
		}
		first = callback
	}
	b.want(busy, http.MethodGet, first, nil, http.StatusOK, "Pipelines", "ann@example.com")
}
