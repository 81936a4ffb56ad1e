// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serve starts a board, and returns what it printed.
func serve(t *testing.T, dir string, args ...string) (printed string, cmd *exec.Cmd, talk *syncBuffer) {
	t.Helper()
	var out syncBuffer
	talk = &syncBuffer{}
	cmd = command(t, dir, "penstock", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	out.wait(t, `https?://[^\n]+\n`)
	return out.String(), cmd, talk
}

// pressSignIn presses the button of the page at a printed address, and returns the next page.
func pressSignIn(t *testing.T, browser *http.Client, address string) string {
	t.Helper()
	base, token, _ := strings.Cut(strings.TrimSpace(address), "/sign-in?token=")
	resp, err := browser.PostForm(base+"/sign-in", url.Values{"token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the sign-in is answered %s:\n%s", resp.Status, body)
	}
	return string(body)
}

// A board that is started again at its port takes the browsers along that are signed in.
func TestServeAgain(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_ = free.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	for again := range 3 {
		printed, cmd, talk := serve(t, dir, "--listen", at)
		base, _, _ := strings.Cut(printed, "/sign-in")
		if again == 0 {
			pressSignIn(t, browser, printed)
		}
		if resp, page := ask(t, browser, base+"/p/shop"); resp.StatusCode != http.StatusOK || !strings.Contains(page, "A shop") {
			t.Fatalf("start %d: the board answers %s:\n%s", again, resp.Status, page)
		}
		end := os.Signal(syscall.SIGINT)
		if again == 1 {
			end = os.Kill
		}
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil && end != os.Kill {
			t.Fatalf("it ended with %v:\n%s", err, talk.String())
		}
	}
}

// The printed address shows the pipelines to one browser, as who started the board; an
// interrupt ends it, and nothing of it stays.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	address, cmd, talk := serve(t, dir)
	address = strings.TrimSpace(address)
	if !strings.HasPrefix(address, "http://localhost:") {
		t.Errorf("the board is at %s", address)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	page := func(c *http.Client, at string, status int) string {
		t.Helper()
		resp, err := c.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != status {
			t.Fatalf("GET %s answers %d:\n%s", at, resp.StatusCode, body)
		}
		return string(body)
	}
	base, path, _ := strings.Cut(address, "/sign-in")
	page(browser, address, http.StatusOK)
	if got := pressSignIn(t, browser, address); !strings.Contains(got, `href="/p/shop"`) {
		t.Fatalf("the first page is\n%s", got)
	}
	if got := page(browser, address, http.StatusOK); !strings.Contains(got, `href="/p/shop"`) {
		t.Errorf("the address leads who is in to\n%s", got)
	}
	if got := page(browser, base+"/p/shop", http.StatusOK); !strings.Contains(got, "A shop") {
		t.Errorf("the board is\n%s", got)
	}
	page(&http.Client{}, address, http.StatusUnauthorized)
	_, port, _ := strings.Cut(strings.TrimPrefix(base, "http://"), ":")
	page(&http.Client{}, "http://localhost:"+port+"/p/shop", http.StatusUnauthorized)
	for _, host := range []string{"127.0.0.1", "[::1]"} { // both are the board's, and its name is neither
		page(&http.Client{}, "http://"+host+":"+port+"/healthz", http.StatusOK)
		page(&http.Client{}, "http://"+host+":"+port+"/", http.StatusUnauthorized)
		page(&http.Client{}, "http://"+host+":"+port+"/p/shop", http.StatusMisdirectedRequest)
		page(&http.Client{}, "http://"+host+":"+port+"/sign-in"+path, http.StatusMisdirectedRequest)
	}

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("it ended with %v:\n%s", err, talk.String())
	}
	if _, err := browser.Get(base); err == nil {
		t.Error("it answers still")
	}
}

// The address is printed as JSON for programs, the metrics open to the token of a file, and
// a port that is taken says so.
func TestServeForPrograms(t *testing.T) {
	t.Parallel()
	dir := workplace(t)
	token := filepath.Join(t.TempDir(), "token")
	put(t, token, "scrape-me\n")
	out, cmd, talk := serve(t, dir, "--json", "--metrics-token-file", token)
	var printed struct{ URL string }
	if err := json.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	base, _, _ := strings.Cut(printed.URL, "/sign-in")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer scrape-me")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the metrics answer %d", resp.StatusCode)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(base, "http://"), ":")
	if resp, page := ask(t, http.DefaultClient, "http://127.0.0.1:"+port+"/metrics", "Authorization", "Bearer scrape-me"); resp.StatusCode != http.StatusOK {
		t.Errorf("a scraper that goes by the number is answered %s: %s", resp.Status, page)
	}
	second := command(t, dir, "penstock", "serve", "--listen", strings.TrimPrefix(base, "http://"))
	said, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(said), "--listen 127.0.0.1:0 takes a free port") {
		t.Errorf("a port that is taken: %v\n%s", err, said)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, talk.String())
	}
}
