// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Only the board's own pages, at its own name, in a browser that has signed in, can send a
// form that does something.
func TestForged(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	page := b.get("/p/shop/do/reject?" + stageBuild("exploratory", one).Encode())
	values := form(page)
	values.Set("reason", "because")
	stranger := b.browser()
	for name, c := range map[string]struct {
		client *http.Client
		form   url.Values
		header []string
		status int
	}{
		"another site's origin":        {b.client, values, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"no origin that can be told":   {b.client, values, []string{"Origin", "null"}, http.StatusForbidden},
		"another port's origin":        {b.client, values, []string{"Origin", "http://localhost:1"}, http.StatusForbidden},
		"another site's page":          {b.client, values, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"a page of the same domain":    {b.client, values, []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		"a foreign host":               {b.client, values, []string{"Host", "evil.example"}, http.StatusMisdirectedRequest},
		"a foreign host's own origin":  {b.client, values, []string{"Host", "evil.example", "Origin", "http://evil.example"}, http.StatusMisdirectedRequest},
		"a browser that no one is in":  {stranger, values, nil, http.StatusUnauthorized},
		"a session that somebody made": {stranger, values, []string{"Cookie", "penstock-" + b.server.URL[strings.LastIndex(b.server.URL, ":")+1:] + "=AAAA"}, http.StatusUnauthorized},
		"a form that is too large":     {b.client, url.Values{"reason": {strings.Repeat("x", 100_000)}}, nil, http.StatusBadRequest},
	} {
		if status, page := b.send(c.client, http.MethodPost, "/p/shop/do/reject", c.form, c.header...); status != c.status {
			t.Errorf("%s: the answer is %d; want %d: %s", name, status, c.status, words(page))
		}
	}
	if status, _ := b.send(b.client, http.MethodGet, "/p/shop/do/reject?"+values.Encode(), nil); status != http.StatusOK {
		t.Errorf("the page that asks answers %d", status)
	}
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeWaiting {
		t.Fatalf("a forged form had its effect: exploratory is %q", got)
	}
	b.want(b.client, http.MethodPost, "/p/shop/do/reject", values, http.StatusOK, "is rejected") // nothing above has used it up

	// The host that the address names is the board's, and nothing is shown at another.
	if status, page := b.send(b.client, http.MethodGet, "/p/shop", nil, "Host", "evil.example"); status != http.StatusMisdirectedRequest || strings.Contains(page, one) {
		t.Errorf("a foreign host is answered %d", status)
	}
}

// Who is not signed in sees nothing, and learns how to; the printed address lets in once.
func TestSignIn(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	stranger := b.browser()
	for _, path := range []string{"/", "/p/shop", "/p/none", "/p/shop/builds/" + one, "/p/shop/runs", "/p/shop/environments", "/p/shop/do/approve", "/metrics", "/p/shop/events"} {
		if status, page := b.send(stranger, http.MethodGet, path, nil); status != http.StatusUnauthorized || strings.Contains(words(page), one) {
			t.Errorf("GET %s answers a stranger %d: %s", path, status, words(page))
		}
	}
	b.want(stranger, http.MethodGet, b.token.Path(), nil, http.StatusUnauthorized, "Press Enter in the terminal")
	b.want(stranger, http.MethodGet, "/sign-in?token=AAAA", nil, http.StatusUnauthorized, "each lets in one browser", "Press Enter in the terminal")
	b.want(stranger, http.MethodPost, "/sign-in", url.Values{"token": {""}}, http.StatusUnauthorized, "each lets in one browser")
	b.want(stranger, http.MethodGet, "/healthz", nil, http.StatusOK, "ok")

	// A page that a stream asks for is refused, and not redirected.
	if status, page := b.send(stranger, http.MethodGet, "/p/shop/events", nil, "Accept", "text/event-stream"); status != http.StatusUnauthorized || !strings.Contains(page, "you have not signed in") {
		t.Errorf("the stream answers a stranger %d: %s", status, words(page))
	}
	b.want(b.client, http.MethodPost, "/sign-out", url.Values{}, http.StatusOK, "You have signed out")
	b.want(b.client, http.MethodGet, "/p/shop", nil, http.StatusUnauthorized)
}

// Whoever signs in goes on within the board, wherever an address says to go.
func TestGoesOnHere(t *testing.T) {
	b := newBed(t)
	b.serve(&board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for to, want := range map[string]string{
		"/p/shop?q=a": "/p/shop?q=a", "": "/", "https://evil.example/": "/", "//evil.example/": "/", `/\evil.example/`: "/", "javascript:alert(1)": "/", "/\r\nSet-Cookie: a=b": "/",
		"/p/shop/runs/r-1#L7": "/p/shop/runs/r-1#L7", "/p/a%20b?q=%2F%2F": "/p/a%20b?q=%2F%2F", "p/shop": "/", "mailto:ann@example.com": "/",
		"/\t/evil.example/": "/", "/%09/evil.example/": "/", "/%2Fevil.example/": "/", "/%5Cevil.example/": "/", "///evil.example/": "/", "/\x00/": "/",
		"https:/evil.example": "/", "https:evil.example": "/", "\\\\evil.example": "/", "http://ann@evil.example": "/", "/\u202e/": "/", "/%zz": "/",
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/sign-in?to="+url.QueryEscape(to), nil)
		b.must(err)
		r.Header.Set("X-User", "ann")
		resp, err := b.client.Do(r)
		b.must(err)
		resp.Body.Close()
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("to %q it goes to %q; want %q", to, got, want)
		}
	}
}

// Every answer says to the browser what it may do.
func TestHeaders(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	for _, path := range []string{"/", "/p/shop", "/p/none", "/sign-in", "/nowhere"} {
		resp, err := b.client.Get(b.server.URL + path)
		b.must(err)
		resp.Body.Close()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("GET %s: %s is %q; want %q", path, name, got, want)
			}
		}
		policy := resp.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("GET %s: the policy %q has no %q", path, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("GET %s: the policy is %q", path, policy)
		}
	}
	u, err := url.Parse(b.server.URL)
	b.must(err)
	if cookies := b.client.Jar.Cookies(u); len(cookies) != 1 {
		t.Fatalf("there are %d cookies", len(cookies))
	}
}

// A cookie of the session can't be read by scripts, nor sent by another site's form; with
// TLS it is for TLS, and for this host alone.
func TestCookie(t *testing.T) {
	for _, secure := range []bool{false, true} {
		b := newBed(t)
		b.serve(&board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, func(o *board.Options) { o.Secure = secure })
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/", nil)
		b.must(err)
		r.Header.Set("X-User", "ann")
		resp, err := b.client.Do(r)
		b.must(err)
		resp.Body.Close()
		cookie := resp.Header.Get("Set-Cookie")
		for _, part := range []string{"HttpOnly", "SameSite=Lax", "Path=/"} {
			if !strings.Contains(cookie, part) {
				t.Errorf("the cookie %q has no %s", cookie, part)
			}
		}
		if strings.Contains(cookie, "Secure") != secure || strings.HasPrefix(cookie, "__Host-") != secure || (resp.Header.Get("Strict-Transport-Security") != "") != secure {
			t.Errorf("secure %v: the cookie is %q", secure, cookie)
		}
	}
}

// A proxy's word counts only from its addresses, and only where it is one word. Who a
// session is of follows the proxy, and the forms of one person are not another's.
func TestProxy(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Approve: []string{"@testers"}}
	b.apply()
	one := b.newest()
	b.serve(&board.Proxy{Header: "X-User", Groups: "X-Groups", Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if status, page := b.send(b.client, http.MethodGet, "/p/shop", nil, "X-User", "ann"); status != http.StatusForbidden || !strings.Contains(page, "is no trusted proxy") {
		t.Fatalf("the word of anybody is answered %d: %s", status, words(page))
	}

	b.serve(&board.Proxy{Header: "X-User", Groups: "X-Groups", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if status, page := b.send(b.client, http.MethodGet, "/p/shop", nil); status != http.StatusForbidden || !strings.Contains(page, "does not say who you are in X-User") {
		t.Fatalf("no word is answered %d: %s", status, words(page))
	}
	ask := "/p/shop/do/approve?" + stageBuild("exploratory", one).Encode()
	_, page := b.send(b.client, http.MethodGet, ask, nil, "X-User", "bob", "X-Groups", "sales")
	if !strings.Contains(page, "has no right to approve") {
		t.Fatalf("bob may approve: %s", words(page))
	}
	ann := []string{"X-User", "ann", "X-Groups", "sales, testers"}
	_, page = b.send(b.client, http.MethodGet, ask, nil, ann...)
	if status, page := b.send(b.client, http.MethodPost, "/p/shop/do/approve", form(page), "X-User", "eve", "X-Groups", "testers"); status != http.StatusConflict {
		t.Fatalf("the form of ann, sent by eve, is answered %d: %s", status, words(page))
	}
	_, page = b.send(b.client, http.MethodGet, ask, nil, ann...)
	if status, page := b.send(b.client, http.MethodPost, "/p/shop/do/approve", form(page), ann...); status != http.StatusSeeOther && status != http.StatusForbidden && status != http.StatusOK {
		t.Fatalf("ann's form is answered %d: %s", status, words(page))
	}
	for _, d := range b.state().Decisions {
		if d.Build == one && len(d.Approvals) == 1 && d.Approvals[0].Actor == "ann" {
			return
		}
	}
	t.Errorf("ann's approval is not in the record: %+v", b.state().Decisions)
}

// What a commit, a log or a name says is text: none of it becomes a page's markup, and
// none of it turns what stands beside it.
func TestHostileText(t *testing.T) {
	const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>` + "\x1b[31mred\u202egnp.exe {{.}} javascript:alert(3)"
	b := newBed(t)
	b.commit("1.1", hostile)
	b.slow = `printf '%b\n' '</ol><script>alert(4)</script>\033[2Jgone\r\0342\0200\0256hidden \0377'`
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", one), url.Values{"reason": {`</textarea><script>alert(5)</script>`}}, http.StatusOK)
	run := b.state().Latest["commit"].ID
	for _, path := range []string{
		"/p/shop", "/p/shop?q=" + url.QueryEscape(`"><script>alert(6)</script>`) + "&outcome=" + url.QueryEscape(`"><script>`), "/p/shop/builds/" + one, "/p/shop/runs",
		"/p/shop/runs?build=" + url.QueryEscape(`"><script>alert(7)</script>`), "/p/shop/runs/" + run, "/p/shop/runs/" + run + "?q=" + url.QueryEscape(`<script>`),
		"/p/shop/images", "/p/shop/metrics", "/p/shop/do/launch", "/p/shop/do/promote?stage=production&build=" + one,
	} {
		_, page := b.send(b.client, http.MethodGet, path, nil)
		for _, bad := range []string{"<script>", "<img src=x", "\x1b", "\u202e", "\r"} {
			if strings.Contains(page, bad) {
				t.Errorf("GET %s has %q", path, bad)
			}
		}
	}
	b.get("/p/shop/builds/"+one, `<script>alert(1)</script>"'>`, `</textarea><script>alert(5)</script>`)
	b.get("/p/shop/runs/"+run, `</ol><script>alert(4)</script>gone`)

	// A log as text is not taken for a page.
	resp, err := b.client.Get(b.server.URL + "/p/shop/runs/" + run + "/log")
	b.must(err)
	resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("the log is %s", got)
	}
	// Nothing but the pages and their files is served.
	for _, path := range []string{"/p/shop/runs/..%2f..%2fetc", "/p/..%2f", "/static/../board.go", "/static/%2e%2e/board.go"} {
		if status, page := b.send(b.client, http.MethodGet, path, nil); status == http.StatusOK && strings.Contains(page, "package board") {
			t.Errorf("GET %s answers %d", path, status)
		}
	}
}

// A scraper has its token; no other opens the metrics.
func TestMetricsToken(t *testing.T) {
	b := newBed(t)
	b.apply()
	b.serve(nil, func(o *board.Options) { o.MetricsToken = "scrape-me" })
	stranger := b.browser()
	for header, want := range map[string]int{"Bearer scrape-me": http.StatusOK, "Bearer other": http.StatusUnauthorized, "Bearer ": http.StatusUnauthorized, "scrape-me": http.StatusUnauthorized} {
		if status, page := b.send(stranger, http.MethodGet, "/metrics", nil, "Authorization", header); status != want || (want == http.StatusOK) != strings.Contains(page, "penstock_builds") {
			t.Errorf("%q is answered %d: %.200s", header, status, page)
		}
	}
}

// What was refused is in the log, with who asked and why, as plain text.
func TestRefusalsAreLogged(t *testing.T) {
	var said lines
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Reject: []string{"ann"}}
	b.apply()
	one := b.newest()
	b.serve(&board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, func(o *board.Options) {
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Warn})
	})
	bob := []string{"X-User", "bob"}
	values := stageBuild("exploratory", one)
	values.Set("reason", "because")
	_, page := b.send(b.client, http.MethodGet, "/p/shop/do/reject?"+values.Encode(), nil, bob...)
	if !strings.Contains(page, "has no right to reject") {
		t.Fatalf("bob may: %s", words(page))
	}
	for _, c := range []struct {
		path, says string
		header     []string
	}{
		{"/p/shop/do/reject", `person=bob`, bob},
		{"/p/shop/do/reject", `the form is not one`, bob},
		{"/p/shop/do/reject", `comes from .*evil`, append([]string{"Origin", "https://evil.example"}, bob...)},
		{"/p/shop/do/reject", `does not say who you are`, nil},
		{"/p/sh%1b%0aop/do/reject", `path="/p/sh\\x1b op/do/reject"`, bob},
	} {
		said.reset()
		b.send(b.client, http.MethodPost, c.path, values, c.header...)
		if got := said.String(); !regexp.MustCompile(c.says).MatchString(got) || !strings.Contains(got, "from=127.0.0.1:") || strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") {
			t.Errorf("%s: the log says %q; want %s", c.path, got, c.says)
		}
	}
	said.reset()
	b.send(b.client, http.MethodGet, "/p/none", nil, bob...)
	if got := said.String(); got != "" {
		t.Errorf("a page that is not there is logged: %s", got)
	}

	// Nor does anybody sign in unseen, with an address that was used.
	b.serve(nil, func(o *board.Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Warn}) })
	b.want(b.browser(), http.MethodGet, "/sign-in?token=AAAA", nil, http.StatusUnauthorized)
	if got := said.String(); !strings.Contains(got, "path=/sign-in") || strings.Contains(got, "AAAA") {
		t.Errorf("the log says %q", got)
	}
}

// lines is what a log says.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// What somebody may send in a time is counted by who it is, also where a browser keeps no
// cookie.
func TestTooFast(t *testing.T) {
	b := newBed(t)
	b.apply()
	b.serve(&board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	fast := 0
	for range 100 {
		if status, _ := b.send(&http.Client{}, http.MethodPost, "/p/shop/do/approve", url.Values{}, "X-User", "ann"); status == http.StatusTooManyRequests {
			fast++
		}
	}
	if fast == 0 {
		t.Error("any number of forms is taken at once")
	}
	if status, page := b.send(&http.Client{}, http.MethodPost, "/p/shop/do/approve", stageBuild("exploratory", b.newest()), "X-User", "bob"); status != http.StatusConflict {
		t.Errorf("another's form is answered %d: %s", status, words(page))
	}
}

// The person sees what an action did; a tab that refreshes by itself does not
// consume that message.
func TestSaidOnce(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	page := b.get("/p/shop/do/approve?" + stageBuild("exploratory", b.newest()).Encode())
	follow := b.client.CheckRedirect
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.want(b.client, http.MethodPost, "/p/shop/do/approve", form(page), http.StatusSeeOther)
	b.client.CheckRedirect = follow
	if status, page := b.send(b.client, http.MethodGet, "/p/shop", nil, "HX-Request", "true"); status != http.StatusOK || strings.Contains(page, "is approved at stage") {
		t.Errorf("a live page is answered %d: %s", status, words(page))
	}
	b.get("/p/shop", "is approved at stage")
	if page := b.get("/p/shop"); strings.Contains(page, "is approved at stage") {
		t.Error("it is said twice")
	}
}
