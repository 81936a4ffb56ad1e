// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newTestServer(t *testing.T) (http.Handler, *Store) {
	t.Helper()
	cfg, err := loadConfig("config/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	s := stocked(t)
	h, err := newServer(s, cfg, os.DirFS("static"))
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

func request(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"GET", "/", "", 200, "12.50 EUR"},
		{"GET", "/", "", 200, "<footer>dev</footer>"},
		{"GET", "/healthz", "", 200, "ok"},
		{"GET", "/version", "", 200, "dev"},
		{"GET", "/products", "", 200, `"id":"mug"`},
		{"GET", "/orders", "", 200, "[]"},
		{"GET", "/static/style.css", "", 200, "body"},
		{"GET", "/elsewhere", "", 404, ""},
		{"DELETE", "/orders", "", 405, ""},
		{"POST", "/orders", `{"product":"mug","quantity":2}`, 201, `"total":2500`},
		{"POST", "/orders", `{"product":"moon","quantity":1}`, 404, `product \"moon\"`},
		{"POST", "/orders", `{"product":"mug","quantity":0}`, 422, "between 1 and 20"},
		{"POST", "/orders", `{"product":"mug","quantity":21}`, 422, "between 1 and 20"},
		{"POST", "/orders", `{"product":"mug","quantity":"two"}`, 400, "not valid"},
		{"POST", "/orders", "", 400, "not valid"},
	} {
		h, _ := newTestServer(t)
		w := request(h, c.method, c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s %s %s: %d %s; want %d and %q", c.method, c.path, c.body, w.Code, w.Body, c.status, c.contains)
		}
	}
}

func TestOrderIsListed(t *testing.T) {
	t.Parallel()
	h, _ := newTestServer(t)
	var placed Order
	if err := json.Unmarshal(request(h, "POST", "/orders", `{"product":"notebook","quantity":1}`).Body.Bytes(), &placed); err != nil {
		t.Fatal(err)
	}
	var listed []Order
	if err := json.Unmarshal(request(h, "GET", "/orders", "").Body.Bytes(), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != 1 || listed[0] != placed {
		t.Errorf("got %v; want %v", listed, placed)
	}
}

func TestBrokenDataIsUnhealthy(t *testing.T) {
	t.Parallel()
	h, s := newTestServer(t)
	if err := os.WriteFile(s.path("products"), []byte("no JSON\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/healthz", "/products"} {
		if w := request(h, "GET", path, ""); w.Code != 500 || strings.Contains(w.Body.String(), "line 1") {
			t.Errorf("%s: %d %s; want 500 that tells nothing of the inside", path, w.Code, w.Body)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`{"name":"S","currency":"EUR","max_quantity":0}`: "max_quantity 0",
		`{"name":"S","currency":"€","max_quantity":1}`:   "currency",
		`{"currency":"EUR","max_quantity":1}`:            "name is empty",
		`{"name":"S","colour":"blue"}`:                   "colour",
		`name = "S"`:                                     "invalid character",
	} {
		path := filepath.Join(t.TempDir(), "shop.json")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := loadConfig(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want an error about %s", content, err, want)
		}
	}
	if _, err := loadConfig("nowhere.json"); err == nil || !strings.Contains(err.Error(), "SHOP_CONFIG") {
		t.Errorf("a missing file: got %v; want the remedy", err)
	}
}
