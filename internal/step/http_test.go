// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// site answers as the tests need it.
func site(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "all is well\nversion 7\n") })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "no\x1b[31m database\n2\n3\n4\n5\n6\n")
	})
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle", http.StatusFound) })
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for line := strings.Repeat("x", 1<<16); r.Context().Err() == nil; {
			_, _ = io.WriteString(w, line)
		}
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.Host, r.Header.Get("X-Test"), r.URL.RawQuery, body)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	server := site(t)
	unused := httptest.NewServer(nil)
	unused.Close()
	tests := []struct {
		name  string
		check pipeline.HTTPCheck
		says  []string // of the error; none for a pass
		log   string
	}{
		{name: "path", check: pipeline.HTTPCheck{Path: "/ok"}, log: "/ok: 200 OK in "},
		{name: "path without slash", check: pipeline.HTTPCheck{Path: "ok"}},
		{name: "URL", check: pipeline.HTTPCheck{URL: server.URL + "/ok", Contains: `version \d`}},
		{name: "pattern over lines", check: pipeline.HTTPCheck{Path: "/ok", Contains: "(?s)well.*7"}},
		{name: "request", check: pipeline.HTTPCheck{
			Path: "/echo?a=b", Method: "post", Body: "hello", Headers: map[string]string{"X-Test": "x", "host": "shop.test"},
			Contains: "^POST shop.test x a=b hello$",
		}},
		{name: "status", check: pipeline.HTTPCheck{Path: "/broken"}, log: "/broken: 503 Service Unavailable in ",
			says: []string{"/broken: expected status 200, got 503 Service Unavailable with\n  no database\n  2\n  3\n  4\n  5"}},
		{name: "expected failure", check: pipeline.HTTPCheck{Path: "/broken", Status: 503}},
		{name: "no body", check: pipeline.HTTPCheck{Path: "/empty"}, says: []string{"expected status 200, got 204 No Content with no body"}},
		{name: "body", check: pipeline.HTTPCheck{Path: "/ok", Contains: "version 8"},
			says: []string{`expected a body that matches "version 8", got 200 OK with` + "\n  all is well"}},
		{name: "redirect", check: pipeline.HTTPCheck{Path: "/moved", Contains: "well"}},
		{name: "expected redirect", check: pipeline.HTTPCheck{Path: "/moved", Status: 302}},
		{name: "circle", check: pipeline.HTTPCheck{Path: "/circle"}, says: []string{"stopped after 10 redirects"}},
		{name: "hangs", check: pipeline.HTTPCheck{Path: "/hangs"}, says: []string{"/hangs: no answer within 500ms"}},
		{name: "endless", check: pipeline.HTTPCheck{Path: "/endless"}},
		{name: "endless without", check: pipeline.HTTPCheck{Path: "/endless", Contains: "y"}, says: []string{"in its first 1024 KiB"}},
		{name: "nobody listens", check: pipeline.HTTPCheck{URL: unused.URL}, says: []string{"GET http://127.0.0.1:", "connection refused"}, log: "connection refused (after "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			timeout := 20 * time.Second
			if tt.check.Path == "/hangs" {
				timeout = 500 * time.Millisecond
			}
			result, log, err := run(t, t.Context(), pipeline.StepRequest{
				Step: pipeline.Step{Name: "s", HTTP: &tt.check, Timeout: timeout}, Endpoint: server.URL + "/",
			}, nil)
			if (err == nil) != (tt.says == nil) || (err != nil && pipeline.CodeOf(err) != pipeline.CodeFailed) {
				t.Fatalf("got %+v, %v", result, err)
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) || !strings.Contains(result.Error, says) {
					t.Errorf("error is %v, want %q", err, says)
				}
			}
			if !strings.Contains(log, tt.log) {
				t.Errorf("log is\n%s", log)
			}
		})
	}
}

func TestHTTPRetries(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	result, log, err := run(t, t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", HTTP: &pipeline.HTTPCheck{Path: "/"}, Retries: 5}, Endpoint: strings.TrimPrefix(server.URL, "http://"),
	}, nil)
	if err != nil || result.Attempts != 3 || strings.Count(log, ": 502 Bad Gateway in ") != 2 || !strings.Contains(log, "after 3 attempts") {
		t.Errorf("got %+v, %v, log\n%s", result, err, log)
	}
}

func TestHTTPIsCancelled(t *testing.T) {
	t.Parallel()
	server := site(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	result, _, err := run(t, ctx, pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", HTTP: &pipeline.HTTPCheck{Path: "/hangs"}, Retries: 5}, Endpoint: server.URL,
	}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeCancelled || !errors.Is(err, context.DeadlineExceeded) || result.Status != pipeline.RunCancelled || result.Attempts != 1 {
		t.Errorf("got %+v, %v", result, err)
	}
}

// A service that takes connections and says nothing that is HTTP.
func TestHTTPFromAnotherProtocol(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 mail ready\r\n")
			_ = conn.Close()
		}
	}()
	_, _, err = run(t, t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", HTTP: &pipeline.HTTPCheck{}}, Endpoint: "http://" + listener.Addr().String(),
	}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeFailed {
		t.Errorf("error is %v", err)
	}
}

// What an error shows of an answer holds no secret of the run, nor what a cut left of one.
func TestHTTPMasks(t *testing.T) {
	t.Parallel()
	const secret = "hush-1234567890"
	server := site(t)
	for _, before := range []int{0, shownWidth - 6, 4*shownLines*shownWidth - 6} {
		body := strings.Repeat("\n", before) + secret
		if before > 0 && before < 2*shownWidth {
			body = strings.Repeat("x", before) + secret
		}
		result, err := NewRunner(Options{}).Run(t.Context(), pipeline.StepRequest{
			Step:     pipeline.Step{Name: "echo", HTTP: &pipeline.HTTPCheck{Path: "/echo", Method: "POST", Body: body, Status: 201}},
			Endpoint: server.URL, Mask: []pipeline.Secret{secret},
		})
		if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(result.Error, "POST ") {
			t.Fatalf("after %d bytes: %v", before, err)
		}
		if strings.Contains(result.Error+err.Error(), "hush") {
			t.Errorf("after %d bytes the error holds a part of the secret: %v", before, err)
		}
	}
}
