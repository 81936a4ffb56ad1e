// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

// seen is what the test service says of a request.
type seen struct {
	Method, Target, Proto, Host string
	Header, Trailer             http.Header
	Body, Error                 string
}

// patience bounds what a test waits for an endpoint, on any machine.
const testPatience = time.Minute

// dial connects to an endpoint.
func (b *bed) dial(endpoint string) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "http://"))
	b.Must(err)
	b.Cleanup(func() { _ = conn.Close() })
	b.Must(conn.SetDeadline(time.Now().Add(testPatience)))
	return conn
}

// raw sends text over a connection of its own, and returns all that comes back until the
// endpoint closes it.
func (b *bed) raw(endpoint, text string) string {
	b.Helper()
	conn := b.dial(endpoint)
	_, err := io.WriteString(conn, text)
	b.Must(err)
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		b.Fatalf("%q is answered with nothing: %v", text, err)
	}
	return string(answer)
}

// h2c is a client that speaks HTTP/2 without TLS.
func (b *bed) h2c() *http.Client {
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.Protocols.SetUnencryptedHTTP2(true)
	b.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// look sends a request and returns what the service saw of it.
func (b *bed) look(client *http.Client, r *http.Request) (seen, *http.Response) {
	b.Helper()
	resp, err := client.Do(r)
	b.Must(err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	b.Must(err)
	var s seen
	if err := json.Unmarshal(data, &s); err != nil {
		b.Fatalf("%s %s is answered with %s %q", r.Method, r.URL, resp.Status, data)
	}
	return s, resp
}

func (b *bed) newRequest(method, url string, body io.Reader) *http.Request {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, url, body)
	b.Must(err)
	return r
}

// What could be read in two ways, or is malformed, is refused with a 4xx or 501, and what
// follows on the connection is no request.
func TestEndpointRefuses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	const next = "GET /seen/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, text := range map[string]string{
		"Content-Length and Transfer-Encoding": "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"Transfer-Encoding and Content-Length": "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n" + next,
		"two lengths":                          "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef" + next,
		"one length twice":                     "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde" + next,
		"a list of lengths":                    "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde" + next,
		"a signed length":                      "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde" + next,
		"an empty length":                      "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n" + next,
		"another coding":                       "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + next,
		"an odd coding":                        "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + next,
		"chunks in HTTP/1.0":                   "POST /seen/ HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"a folded field":                       "GET /seen/ HTTP/1.1\r\nHost: x\r\nX-Note: one\r\n two\r\n\r\n" + next,
		"a folded field at the beginning":      "GET /seen/ HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n" + next,
		"a field that ends with LF":            "GET /seen/ HTTP/1.1\r\nHost: x\nX-Note: one\r\n\r\n" + next,
		"a header that ends with LF":           "GET /seen/ HTTP/1.1\r\nHost: x\r\n\n" + next,
		"LF alone":                             "GET /seen/ HTTP/1.1\nHost: x\n\n" + next,
		"a CR in a field":                      "GET /seen/ HTTP/1.1\r\nHost: x\r\nX-Note: one\rX-More: two\r\n\r\n" + next,
		"a space before the colon":             "POST /seen/ HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde" + next,
		"no Host":                              "GET /seen/ HTTP/1.1\r\n\r\n" + next,
		"two Hosts":                            "GET /seen/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + next,
		"a chunk of no size":                   "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n" + next,
		"a chunk of an empty size":             "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n" + next,
		"a chunk of a signed size":             "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n" + next,
		"a chunk of a huge size":               "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n" + next,
		"a chunk that is longer":               "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n" + next,
		"a chunk's line that ends with LF":     "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n" + next,
		"a chunk that ends with LF":            "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n" + next,
		"a trailer that ends with LF":          "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Note: one\n\r\n" + next,
		"a folded trailer":                     "POST /seen/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Note: one\r\n two\r\n\r\n" + next,
		"a large header":                       "GET /seen/ HTTP/1.1\r\nHost: x\r\nX-Note: " + strings.Repeat("x", http.DefaultMaxHeaderBytes+8<<10) + "\r\n\r\n",
		"a proxy to elsewhere":                 "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n" + next,
		"HTTP/2 that is none":                  "PRI * HTTP/2.0\r\n\r\n" + next,
		"HTTP/2 after HTTP/1":                  "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + next,
		"an expectation that nobody knows":     "POST /seen/ HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\na" + next,
	} {
		for _, size := range []int{1 << 30, 1} { // in one piece, and byte by byte
			if size == 1 && len(text) > 1000 {
				continue
			}
			answer := b.pieces(endpoint, text, size)
			if line, _, _ := strings.Cut(answer, "\r\n"); !strings.HasPrefix(line, "HTTP/1.1 4") && !strings.HasPrefix(line, "HTTP/1.1 501") {
				t.Errorf("%s (in pieces of %d) is answered with %q", name, size, line)
			}
			if strings.Contains(answer, " 200 OK") || strings.Contains(answer, "smuggled") {
				t.Errorf("%s (in pieces of %d): what follows was taken for a request: %q", name, size, answer)
			}
		}
	}
	if text := b.raw(endpoint, "GET /seen/ HTTP/1.1\r\nHost: x\r\nX-Note: "+strings.Repeat("x", http.DefaultMaxHeaderBytes+8<<10)+"\r\n\r\n"); !strings.HasPrefix(text, "HTTP/1.1 431 ") {
		t.Errorf("a large header is answered with %.60q", text)
	}
	b.WantGet(localtest.VersionAt(endpoint), "f-1")
}

// pieces sends a text in pieces of a size, and returns all that comes back.
func (b *bed) pieces(endpoint, text string, size int) string {
	b.Helper()
	conn := b.dial(endpoint)
	b.Must(conn.(*net.TCPConn).SetNoDelay(true))
	go func() {
		for rest := text; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := io.WriteString(conn, rest[:n]); err != nil {
				return // refused already
			}
			rest = rest[n:]
		}
	}()
	answer, _ := io.ReadAll(conn) // a reset comes after the answer
	return string(answer)
}

// What is right is passed on as it came.
func TestEndpointPasses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	for name, c := range map[string]struct{ text, target, host, body string }{
		"HTTP/1.0":                  {"GET /seen/a HTTP/1.0\r\n\r\n", "/seen/a", "", ""},
		"HTTP/1.0 with a body":      {"POST /seen/a HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", "/seen/a", "x", "ab"},
		"Connection: close":         {"GET /seen/a HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: close\r\n\r\n", "/seen/a", "shop.example:8080", ""},
		"an escaped path":           {"GET /seen/a%2Fb?x=%zz;y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "/seen/a%2Fb?x=%zz;y", "x", ""},
		"an absolute target":        {"GET http://shop.example/seen/a?b HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n", "/seen/a?b", "shop.example", ""},
		"chunks":                    {"POST /seen/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n2;note=\"x\"\r\nab\r\n01\r\nc\r\n0\r\n\r\n", "/seen/a", "x", "abc"},
		"an announced trailer":      {"POST /seen/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n", "/seen/a", "x", "ab"},
		"empty lines before":        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab\r\nGET /seen/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "/seen/a", "x", ""},
		"pipelined":                 {"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nPOST /seen/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab", "/seen/a", "x", "ab"},
		"hop-by-hop fields":         {"GET /seen/a HTTP/1.1\r\nHost: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Authorization: secret\r\nX-Stays: 1\r\n\r\n", "/seen/a", "x", ""},
		"an offer of HTTP/2":        {"GET /seen/a HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "/seen/a", "x", ""},
		"an upgrade that isn't one": {"GET /seen/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "/seen/a", "x", ""},
	} {
		for _, size := range []int{1 << 30, 1} {
			answer := b.pieces(endpoint, c.text, size)
			begin, end := strings.Index(answer, "{"), strings.LastIndex(answer, "}")
			var s seen
			if begin < 0 || json.Unmarshal([]byte(answer[begin:end+1]), &s) != nil || s.Target != c.target || s.Body != c.body || s.Error != "" || c.host != "" && s.Host != c.host {
				t.Errorf("%s (in pieces of %d): the service saw %+v, the answer is %q", name, size, s, answer)
			}
			for _, hop := range []string{"X-Hop", "Keep-Alive", "Proxy-Authorization", "Http2-Settings", "Te"} {
				if s.Header[hop] != nil {
					t.Errorf("%s: the service saw %s", name, hop)
				}
			}
			if strings.HasPrefix(name, "HTTP/1.0") && (strings.Contains(answer, "103") || strings.Contains(answer, "chunked")) {
				t.Errorf("%s is answered with %q", name, answer)
			}
			if name == "hop-by-hop fields" && s.Header["X-Stays"] == nil {
				t.Errorf("a field is lost: %v", s.Header)
			}
			if name == "an announced trailer" && (s.Trailer.Get("X-Sum") != "7" || s.Trailer["X-Other"] != nil) {
				t.Errorf("the service saw the trailers %v", s.Trailer)
			}
		}
	}
	if answer := b.raw(endpoint, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.Contains(answer, "Allow: GET, HEAD, OPTIONS\r\n") {
		t.Errorf("OPTIONS * is answered with %q", answer)
	}
	if answer := b.raw(endpoint, "HEAD /seen/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab"); !strings.Contains(answer, " 200 OK") || strings.Contains(answer, "{") {
		t.Errorf("HEAD is answered with %q", answer)
	}
}

// Hints and trailers come through in both directions, whatever the client and the service
// speak.
func TestEndpointProtocols(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"", pipeline.ProtocolH2C} {
		t.Run("service "+service, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := b.Request("f-1")
			if r.Service.Protocol = service; service != "" {
				r.Env[platformtest.Mode] = platformtest.ModeHTTP2
			}
			endpoint := b.Serve(r)
			for _, client := range []*http.Client{{Transport: &http.Transport{}}, b.h2c()} {
				var hints atomic.Int32
				req := b.newRequest(http.MethodPost, endpoint+"/seen/x", io.MultiReader(strings.NewReader("two "), strings.NewReader("parts")))
				req.Trailer = http.Header{"X-Sum": {"9"}}
				req.Header.Set("TE", "trailers")
				req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if code == http.StatusEarlyHints && h.Get("Link") != "" {
						hints.Add(1)
					}
					return nil
				}}))
				s, resp := b.look(client, req)
				want := map[string]string{"": "HTTP/1.1", pipeline.ProtocolH2C: "HTTP/2.0"}[service]
				if s.Proto != want || s.Body != "two parts" || s.Trailer.Get("X-Sum") != "9" || s.Host != strings.TrimPrefix(endpoint, "http://") || s.Header.Get("Te") != "trailers" {
					t.Errorf("%s: the service saw %+v", resp.Proto, s)
				}
				if hints.Load() != 1 || resp.Trailer.Get("X-Announced") != "yes" || resp.Trailer.Get("X-Late") != "too" {
					t.Errorf("%s: %d hints, the trailers %v", resp.Proto, hints.Load(), resp.Trailer)
				}
				client.CloseIdleConnections()
			}
			big := strings.Repeat("0123456789abcdef", 1<<18)
			resp, err := b.h2c().Post(endpoint+"/echo", "text/plain", strings.NewReader(big))
			b.Must(err)
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != big || resp.ProtoMajor != 2 {
				t.Errorf("a large body came back as %d bytes over %s, %v", len(body), resp.Proto, err)
			}
			b.Must(resp.Body.Close())
		})
	}
}

// A service that speaks HTTP/1.1 only has another error than one that is not
// healthy.
func TestNotHTTP2(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Service.Protocol = pipeline.ProtocolH2C
	r.Service.Start = "exec python3 -u -m http.server --bind $HOST $PORT"
	r.Service.HealthCheck.StartTimeout = 2 * time.Second
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no python3")
		}
		t.Skip("there is no python3")
	}
	_, err := b.Prepare(t.Context(), r)
	b.WantError(err, pipeline.CodeFailed, "", "no HTTP/2 answer", `service.protocol "h2c"`)
}

// The service answers an expectation: it asks for the body, or refuses it unseen.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"", pipeline.ProtocolH2C} {
		b := newBed(t)
		r := b.Request("f-1")
		r.Service.Protocol = service
		endpoint := b.Serve(r)
		conn := b.dial(endpoint)
		_, err := io.WriteString(conn, "POST /reject HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
		b.Must(err)
		answers := bufio.NewReader(conn)
		resp, err := http.ReadResponse(answers, nil)
		b.Must(err)
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: an expectation that the service refuses is answered with %s", service, resp.Status)
		}
		conn = b.dial(endpoint)
		_, err = io.WriteString(conn, "POST /seen/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		b.Must(err)
		answers = bufio.NewReader(conn)
		resp, err = http.ReadResponse(answers, nil)
		b.Must(err)
		if resp.StatusCode != http.StatusContinue {
			t.Fatalf("%s: an expectation that the service meets is answered with %s", service, resp.Status)
		}
		_, err = io.WriteString(conn, "hello")
		b.Must(err)
		rest, err := io.ReadAll(answers)
		b.Must(err)
		if strings.Contains(string(rest), "100 Continue") || !strings.Contains(string(rest), `"Body":"hello"`) {
			t.Errorf("%s: the rest of the answer is %q", service, rest)
		}
		resp, err = b.h2c().Do(func() *http.Request {
			req := b.newRequest(http.MethodPost, endpoint+"/reject", bytes.NewReader(make([]byte, 1<<20)))
			req.Header.Set("Expect", "100-continue")
			return req
		}())
		b.Must(err)
		b.Must(resp.Body.Close())
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: over HTTP/2 it is answered with %s", service, resp.Status)
		}
	}
}

// The service sees that a client has gone.
func TestClientGoes(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"", pipeline.ProtocolH2C} {
		b := newBed(t)
		r := b.Request("f-1")
		r.Service.Protocol = service
		endpoint := b.Serve(r)
		for _, client := range []*http.Client{{Transport: &http.Transport{}}, b.h2c()} {
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/slow/1h", nil)
			b.Must(err)
			resp, err := client.Do(req)
			b.Must(err)
			cancel()
			_, _ = io.Copy(io.Discard, resp.Body)
			b.Must(resp.Body.Close())
			client.CloseIdleConnections()
		}
		// The drain would wait for them otherwise.
		began := time.Now()
		next := b.Request("f-2")
		next.Service.Protocol, next.DrainTimeout = service, testPatience
		b.Serve(next)
		if took := time.Since(began); took >= testPatience {
			t.Errorf("%s: the requests of clients that had gone went on for %v", service, took)
		}
	}
}

// curl is a client as people have it.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no curl")
		}
		t.Skip("there is no curl")
	}
	b := newBed(t)
	r := b.Request("f-1")
	r.Service.Protocol = pipeline.ProtocolH2C
	endpoint := b.Serve(r)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", "-o", "/dev/null"}, "2 200"},
		{[]string{"--http2", "-w", "%{http_version} %{http_code}", "-o", "/dev/null"}, "1.1 200"},
		{[]string{"--http1.0", "-w", "%{http_version} %{http_code}", "-o", "/dev/null"}, "1 200"},
		{[]string{"-H", "Expect: 100-continue", "--data-binary", "@-", "-w", " %{http_code}"}, " 200"},
		{[]string{"-H", "Transfer-Encoding: chunked", "--data-binary", "@-", "-w", " %{http_code}"}, " 200"},
	} {
		cmd := exec.CommandContext(t.Context(), curl, append(append([]string{"-sS", "--max-time", "60"}, c.args...), endpoint+"/seen/")...)
		cmd.Stdin = strings.NewReader(strings.Repeat("x", 1<<16))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && strings.Contains(string(out), "Unsupported protocol") {
			t.Logf("this curl knows no HTTP/2: %s", out)
			continue
		}
		if err != nil || !strings.HasSuffix(string(out), c.want) {
			t.Errorf("curl %v: %v, %.200q, want %q", c.args, err, out, c.want)
		}
	}
}

// An instance that refuses a large request before it has read it is heard, each time.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	for _, client := range []*http.Client{{Transport: &http.Transport{}}, b.h2c()} {
		for range 100 {
			resp, err := client.Do(b.newRequest(http.MethodPost, endpoint+"/reject", bytes.NewReader(make([]byte, 1<<20))))
			b.Must(err)
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Fatalf("over %s the answer is %s, %v", resp.Proto, resp.Status, err)
			}
			b.Must(resp.Body.Close())
		}
		client.CloseIdleConnections()
	}
	if log := b.SupervisorLog(); strings.Contains(log, "panic") {
		t.Errorf("the log says:\n%s", log)
	}
}
