// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// certificate makes one for this machine, and returns its files and who believes in it.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &signer.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, roots = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), x509.NewCertPool()
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	put(t, cert, string(chain))
	put(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	roots.AppendCertsFromPEM(chain)
	return cert, key, roots
}

// visitor is a browser that has not been anywhere.
func visitor(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport}
}

// ask sends a request, and returns the answer with its text.
func ask(t *testing.T, c *http.Client, at string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// With a certificate the board speaks TLS, and HTTP/2, and nothing else; an interrupt ends
// it though a page is open.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	cert, key, roots := certificate(t)
	printed, cmd, talk := serve(t, dir, "--tls-cert", cert, "--tls-key", key)
	address, browser := strings.TrimSpace(printed), visitor(t, roots)
	base, _, _ := strings.Cut(address, "/sign-in")
	pressSignIn(t, browser, address)
	if resp, page := ask(t, browser, address); resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || !strings.HasPrefix(base, "https://localhost:") ||
		resp.Header.Get("Strict-Transport-Security") == "" {
		t.Fatalf("%s answers %s %s:\n%s", address, resp.Proto, resp.Status, page)
	}
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	if cookies := browser.Jar.Cookies(at); len(cookies) != 1 || cookies[0].Name != "__Host-penstock" {
		t.Errorf("the cookies are %v", cookies)
	}
	if resp, page := ask(t, visitor(t, nil), "http://"+at.Host+"/"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS it answers %s: %s", resp.Status, page)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/p/shop/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" || resp.StatusCode != http.StatusOK {
		t.Fatalf("the stream answers %s, %s", resp.Status, got)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("it ended with %v:\n%s", err, talk.String())
	}
}

// A proxy that is trusted names people; it asks for the name that browsers know, with the
// port or without.
func TestServeBehindProxy(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	_, _, talk := serve(t, dir, "--url", "https://board.example.com", "--proxy-header", "X-User", "--proxy-groups-header", "X-Groups", "--trusted-proxy", "127.0.0.1")
	talk.wait(t, `It listens on 127\.0\.0\.1:\d+\.`)
	base := "http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(talk.String())
	for _, host := range []string{"board.example.com", "board.example.com:443"} {
		if resp, page := ask(t, visitor(t, nil), base+"/p/shop", "Host", host, "X-User", "ann"); resp.StatusCode != http.StatusOK || !strings.Contains(page, "<span>ann</span>") {
			t.Errorf("%s answers %s:\n%s", host, resp.Status, page)
		}
	}
	if resp, page := ask(t, visitor(t, nil), base+"/p/shop", "Host", "evil.example", "X-User", "ann"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another name answers %s:\n%s", resp.Status, page)
	}
	if resp, page := ask(t, visitor(t, nil), base+"/p/shop"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("nobody is answered %s:\n%s", resp.Status, page)
	}

	_, _, talk = serve(t, dir, "--url", "https://board.example.com", "--proxy-header", "X-User", "--trusted-proxy", "10.0.0.1")
	talk.wait(t, `It listens on 127\.0\.0\.1:\d+\.`)
	base = "http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(talk.String())
	if resp, page := ask(t, visitor(t, nil), base+"/p/shop", "X-User", "ann"); resp.StatusCode != http.StatusForbidden || !strings.Contains(page, "is no trusted proxy") {
		t.Errorf("one that is no proxy is answered %s:\n%s", resp.Status, page)
	}
}

// provider is an OpenID provider at which everybody signs in as ann at once.
func provider(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "one"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	reply := func(w http.ResponseWriter, body any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token", "jwks_uri": server.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {q.Get("nonce")}, "state": {q.Get("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if id, secret, _ := r.BasicAuth(); id != "board" || secret != "hush" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		token, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": server.URL, "aud": "board", "sub": "u-1", "nonce": r.PostFormValue("code"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
			"email": "ann@example.com", "email_verified": true, "login": "annie", "teams": []string{"testers"},
		}).Serialize()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		reply(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": token})
	})
	return server.URL
}

// People sign in at a provider, those who get in.
func TestServeOIDC(t *testing.T) {
	t.Parallel()
	dir, secret := workplace(t), filepath.Join(t.TempDir(), "secret")
	put(t, secret, "hush\n")
	at := provider(t)
	for name, c := range map[string]struct {
		flags  []string
		status int
		says   string
	}{
		"everybody":        {[]string{"--oidc-allow", "*"}, http.StatusOK, "<span>ann@example.com</span>"},
		"some":             {[]string{"--oidc-allow", "bob", "--oidc-allow", "*@Example.com"}, http.StatusOK, "<span>ann@example.com</span>"},
		"a group":          {[]string{"--oidc-allow", "@testers", "--oidc-groups-claim", "teams", "--oidc-name-claim", "login"}, http.StatusOK, "<span>annie</span>"},
		"others":           {[]string{"--oidc-allow", "@testers"}, http.StatusUnauthorized, "is not among those whom --oidc-allow lets in"},
		"a group's member": {[]string{"--oidc-allow", "testers", "--oidc-groups-claim", "teams"}, http.StatusUnauthorized, "is not among those"},
	} {
		t.Run(name, func(t *testing.T) {
			printed, _, _ := serve(t, dir, append([]string{"--oidc-issuer", at, "--oidc-client-id", "board", "--oidc-client-secret-file", secret}, c.flags...)...)
			base, browser := strings.TrimSuffix(strings.TrimSpace(printed), "/"), visitor(t, nil)
			resp, err := browser.PostForm(base+"/sign-in", url.Values{"to": {"/p/shop"}})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			_, to, _ := strings.Cut(resp.Header.Get("Refresh"), "; url=")
			resp, page := ask(t, browser, to)
			if resp.StatusCode != c.status || !strings.Contains(page, c.says) {
				t.Errorf("it answers %s:\n%s", resp.Status, page)
			}
		})
	}
}
