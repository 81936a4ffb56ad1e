// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// thief is a program on another port of this machine, which collects cookies.
type thief struct {
	*httptest.Server
	mu      sync.Mutex
	visited map[string]bool   // host names under which a browser came
	cookies map[string]string // by the host name
}

// newThief starts one. Its page leads browsers on to the same port of localhost.
func newThief(t *testing.T) *thief {
	th := &thief{visited: map[string]bool{}, cookies: map[string]string{}}
	th.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, _ := net.SplitHostPort(r.Host)
		th.mu.Lock()
		th.visited[host] = true
		if c := r.Header.Get("Cookie"); c != "" {
			th.cookies[host] = c
		}
		th.mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		if host == "127.0.0.1" {
			fmt.Fprintf(w, `<script>location = "http://localhost:%s/"</script>`, port)
			return
		}
		fmt.Fprint(w, "<p>thank you</p>")
	}))
	t.Cleanup(th.Close)
	return th
}

func (th *thief) got(host string) (cookie string, visited bool) {
	th.mu.Lock()
	defer th.mu.Unlock()
	return th.cookies[host], th.visited[host]
}

// A program that the board links to gets no cookie of it. One that leads the browser on to
// another port of the board's own host name gets one, and with that alone it presses no
// button, whatever it makes up; the person's own buttons work.
func TestBrowserStolenCookieBetweenPorts(t *testing.T) {
	b, th := newBed(t), newThief(t)
	b.apply()
	one := b.newest()
	me := b.browse()
	me.visit("/p/shop")
	// The environment of the build under test is the thief's: what the board links to is on
	// another host name than the board.
	me.click("main", "Try it")
	me.click("form[@class='ask']", "Launch")
	me.sees("running", "http://127.0.0.1:")
	links := eval[[]string](me, `Array.from(document.querySelectorAll("a[target=_blank]"), (a) => a.rel + " " + a.hostname)`)
	if len(links) == 0 {
		t.Fatal("there is no link to the environment")
	}
	for _, link := range links {
		if link != "noreferrer 127.0.0.1" {
			t.Errorf("there is a link to %s", link)
		}
	}
	eval[bool](me, fmt.Sprintf(`document.querySelector("a[target=_blank]").href = %q; true`, th.URL))
	me.do(chromedp.Click(chromedp.CSS("a[target=_blank]")))
	b.await("the browser", func() bool { _, visited := th.got("localhost"); return visited })
	if cookie, visited := th.got("127.0.0.1"); !visited || cookie != "" {
		t.Errorf("the program that the board links to was visited: %v, with %q", visited, cookie)
	}
	stolen, _ := th.got("localhost")
	if !strings.HasPrefix(stolen, "penstock-") {
		t.Fatalf("there is nothing to replay, as browsers had it before: %q", stolen)
	}

	// The replay reads pages. It has the tickets of forms, and can't send them.
	replay := &http.Client{}
	for _, key := range []string{"", "guess", strings.Repeat("0", 64)} {
		for action, q := range map[string]url.Values{
			"approve": stageBuild("exploratory", one), "reject": stageBuild("exploratory", one), "pause": {"stage": {"production"}}, "destroy": {"name": {b.launched()}},
		} {
			_, page := b.send(replay, http.MethodGet, "/p/shop/do/"+action+"?"+q.Encode(), nil, "Cookie", stolen)
			values := form(page)
			if values.Get("ticket") == "" {
				t.Fatalf("%s: there is no form to steal: %s", action, words(page))
			}
			values.Set("reason", "mine now")
			values.Set("key", key)
			status, page := b.send(replay, http.MethodPost, "/p/shop/do/"+action, values, "Cookie", stolen, "Origin", b.server.URL, "Sec-Fetch-Site", "same-origin")
			if status != http.StatusForbidden || !strings.Contains(page, "does not have the key of the browser") {
				t.Errorf("%s with the key %q is answered %d: %s", action, key, status, words(page))
			}
		}
	}
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeWaiting {
		t.Fatalf("exploratory is %q", got)
	}
	// Nor does signing in with the cookie give it another key.
	b.send(replay, http.MethodPost, "/sign-in", url.Values{"key": {"mine"}}, "Cookie", stolen)

	me.visit("/p/shop")
	me.click("main", "Approve")
	me.click("form[@class='ask']", "Approve")
	me.sees("is approved at stage exploratory")

	// A browser that has lost the key says what to do.
	eval[bool](me, `localStorage.clear(); true`)
	me.visit("/p/shop")
	me.click("main", "Promote")
	me.click("form[@class='ask']", "Promote")
	me.sees("does not have the key of the browser that signed in", "Sign out, and sign in again")
	me.picture("key-lost")
	me.accessible("a lost key")
	me.click("header", "Sign out")
	me.sees("You have signed out")
	me.enter(b.page.Access.(*board.Token).Fresh())
	me.visit("/p/shop")
	me.click("main", "Promote")
	me.click("form[@class='ask']", "Promote")
	me.sees("is promoted to stage production")
}

// A name that nobody else has, below localhost, keeps the cookie from every other port.
func TestBrowserNameOfItsOwn(t *testing.T) {
	b, th := newBed(t), newThief(t)
	b.hostname = "board-7xk2.localhost"
	b.apply()
	me := b.browse()
	me.visit("/p/shop")
	me.do(chromedp.Navigate(th.URL))
	b.await("the browser", func() bool { _, visited := th.got("localhost"); return visited })
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if cookie, _ := th.got(host); cookie != "" {
			t.Errorf("%s gets %q", host, cookie)
		}
	}
}

// launched returns the name of the environment that was launched.
func (b *bed) launched() string {
	b.Helper()
	for _, env := range b.state().Environments {
		if env.Purpose == pipeline.ForPerson {
			return env.Name
		}
	}
	b.Fatal("there is no environment")
	return ""
}

// Programs that look at the printed address, to show what it leads to, don't use it up; nor
// does the browser that is signed in, which goes to the board. It takes a press.
func TestTokenIsNotUsedUp(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	path := b.token.Fresh()
	stranger := b.browser()
	for range 3 {
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			if resp, _ := b.request(stranger, method, b.server.URL+path, nil); resp.StatusCode != http.StatusOK || len(resp.Cookies()) > 0 {
				t.Fatalf("%s is answered %s, with %v", method, resp.Status, resp.Cookies())
			}
		}
	}
	b.get(path, "Pipelines") // signed in
	b.signIn(stranger, path, "")
	b.want(b.browser(), http.MethodGet, path, nil, http.StatusUnauthorized, "each lets in one browser")
	b.want(b.browser(), http.MethodPost, "/sign-in", url.Values{"token": {strings.TrimPrefix(path, "/sign-in?token=")}}, http.StatusUnauthorized, "each lets in one browser")

	// Another address, in a browser whose session has ended, leads back to where it was.
	tab := b.browser()
	page := b.want(tab, http.MethodGet, "/p/shop?q=a", nil, http.StatusUnauthorized, "Press Enter in the terminal")
	values := form(page)
	values.Set("token", b.server.URL+b.token.Fresh())
	tab.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if resp, page := b.request(tab, http.MethodPost, b.server.URL+"/sign-in", values); resp.Header.Get("Location") != "/p/shop?q=a" {
		t.Errorf("it goes on to %q: %s", resp.Header.Get("Location"), words(page))
	}
	old := b.token.Fresh()
	b.token.Fresh()
	b.want(b.browser(), http.MethodGet, old, nil, http.StatusUnauthorized, "is not the newest")
}

// The board is at one host name. Somebody who types the number of this machine is led there,
// and nothing else is answered at a name that environments have.
func TestHostNames(t *testing.T) {
	b := newBed(t)
	b.apply()
	b.serve(nil)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(b.server.URL, "http://"))
	c := &http.Client{Jar: b.client.Jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, host := range []string{"127.0.0.1:" + port, "[::1]:" + port} {
		for path, want := range map[string]string{
			"/": b.server.URL + "/", "/sign-in": b.server.URL + "/sign-in", "/?a=b": "", "/p/shop": "", b.token.Fresh(): "", "/sign-in?to=%2Fp": "", "/static/board.js": "", "/metrics": "",
		} {
			resp, page := b.request(c, http.MethodGet, b.server.URL+path, nil, "Host", host)
			if got := resp.Header.Get("Location"); got != want || want == "" && resp.StatusCode != http.StatusMisdirectedRequest || want != "" && resp.StatusCode != http.StatusTemporaryRedirect {
				t.Errorf("%s of %s is answered %s, %q: %s", path, host, resp.Status, got, words(page))
			}
			if want == "" && !strings.Contains(page, "answers at "+b.server.URL+" only") {
				t.Errorf("%s of %s says %s", path, host, page)
			}
			if resp, _ := b.request(c, http.MethodPost, b.server.URL+path, url.Values{}, "Host", host); resp.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("POST %s of %s is answered %s", path, host, resp.Status)
			}
		}
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.1:1", "localhost", "localhost:1", "board.localhost:" + port, "evil.example:" + port, ""} {
		if host == "" {
			continue
		}
		if resp, page := b.request(c, http.MethodGet, b.server.URL+"/", nil, "Host", host); resp.StatusCode != http.StatusMisdirectedRequest || strings.Contains(page, "localhost") {
			t.Errorf("%q is answered %s: %s", host, resp.Status, page)
		}
	}
}

var hrefs = regexp.MustCompile(`(?:href|action|src)="(https?:[^"]*)"`)

// No page links to the board's own host name: another port of that gets the board's cookies.
func TestLinksLeadElsewhere(t *testing.T) {
	b := newBed(t)
	b.slow = "echo see http://localhost:17999/prize, and http://127.0.0.1:17999/too"
	b.apply()
	run := "/p/shop/runs/" + b.state().Latest["commit"].ID
	b.serve(nil)
	b.press(b.client, "launch", url.Values{"build": {b.newest()}}, url.Values{"name": {"mine"}}, http.StatusOK)
	b.await("the environment", func() bool { env, ok := b.state().PersonEnvironment("mine"); return ok && env.Serves() })
	seen := func(own string) (links int) {
		t.Helper()
		for _, path := range []string{"/", "/p/shop", "/p/shop/environments", "/p/shop/builds/" + b.newest(), run} {
			for _, m := range hrefs.FindAllStringSubmatch(b.get(path), -1) {
				at, err := url.Parse(m[1])
				b.must(err)
				if path != run {
					links++
				}
				if strings.EqualFold(at.Hostname(), own) {
					t.Errorf("%s links to %s", path, m[1])
				}
			}
		}
		return links
	}
	if seen("localhost") == 0 {
		t.Error("there is no link to the environment")
	}
	// A board that has the name of environments links to none of them.
	b.hostname = "127.0.0.1"
	b.serve(nil)
	if n := seen("127.0.0.1"); n > 0 {
		t.Errorf("there are %d links", n)
	}
}

// One person takes no streams of others, however many pages and browsers they have open.
func TestStreamsOfAPerson(t *testing.T) {
	b := newBed(t)
	b.apply()
	b.serve(behind)
	open := func(c *http.Client) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/p/shop/events", nil)
		b.must(err)
		r.Header.Set("Accept", "text/event-stream")
		resp, err := c.Do(r)
		b.must(err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode
	}
	taken := 0
	for range 6 {
		ann := b.as("ann")
		b.want(ann, http.MethodGet, "/p/shop", nil, http.StatusOK)
		for i := range 40 {
			status := open(ann)
			if status == http.StatusTooManyRequests {
				if i == 0 && taken < 100 {
					t.Fatalf("a browser has no stream, and its person %d", taken)
				}
				break
			}
			taken++
		}
	}
	if taken != 100 {
		t.Errorf("one person has %d streams", taken)
	}
	bob := b.as("bob")
	if status := open(bob); status != http.StatusOK {
		t.Errorf("another is answered %d", status)
	}
	b.want(b.as("ann"), http.MethodGet, "/p/shop", nil, http.StatusOK, "Value stream")
}
