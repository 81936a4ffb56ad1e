// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build acceptance

package acceptance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var client = &http.Client{Timeout: 10 * time.Second}

type product struct {
	ID    string
	Name  string
	Price int
}

type order struct {
	ID       string
	Product  string
	Quantity int
	Total    int
}

func TestVisitorSeesTheShop(t *testing.T) {
	if got := call(t, "GET", "/healthz", nil, http.StatusOK, nil); got != "ok" {
		t.Errorf("/healthz says %q", got)
	}
	version := call(t, "GET", "/version", nil, http.StatusOK, nil)
	if want := os.Getenv("PENSTOCK_BUILD"); want != "" && version != want {
		t.Errorf("version %q answers; the build under test is %q", version, want)
	}
	page := call(t, "GET", "/", nil, http.StatusOK, nil)
	for _, p := range products(t) {
		if !strings.Contains(page, p.Name) {
			t.Errorf("the page does not show %q", p.Name)
		}
	}
	if !strings.Contains(page, version) {
		t.Errorf("the page does not show the version %q", version)
	}
	call(t, "GET", "/static/style.css", nil, http.StatusOK, nil)
}

func TestCustomerFindsTheirOrder(t *testing.T) {
	before := orders(t)
	p := products(t)[0]
	var placed order
	call(t, "POST", "/orders", map[string]any{"product": p.ID, "quantity": 3}, http.StatusCreated, &placed)
	if placed.Total != 3*p.Price {
		t.Errorf("three of %d cost %d", p.Price, placed.Total)
	}
	after := orders(t)
	if !slices.Contains(after, placed) {
		t.Errorf("order %s is not among the %d orders; there were %d before it", placed.ID, len(after), len(before))
	}
}

func TestWrongOrdersAreRefused(t *testing.T) {
	p := products(t)[0].ID
	for name, c := range map[string]struct {
		body   any
		status int
	}{
		"unknown product": {map[string]any{"product": "moon", "quantity": 1}, http.StatusNotFound},
		"none at all":     {map[string]any{"product": p, "quantity": 0}, http.StatusUnprocessableEntity},
		"far too many":    {map[string]any{"product": p, "quantity": 1 << 20}, http.StatusUnprocessableEntity},
		"no order":        {"a mug please", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) { call(t, "POST", "/orders", c.body, c.status, nil) })
	}
}

func products(t *testing.T) []product {
	t.Helper()
	var all []product
	call(t, "GET", "/products", nil, http.StatusOK, &all)
	if len(all) == 0 {
		t.Fatal("the shop has no products; has it been migrated?")
	}
	return all
}

func orders(t *testing.T) []order {
	t.Helper()
	var all []order
	call(t, "GET", "/orders", nil, http.StatusOK, &all)
	return all
}

// call makes a request, checks the status of the answer, decodes it into result if
// there is one, and returns its text.
func call(t *testing.T, method, path string, body any, status int, result any) string {
	t.Helper()
	endpoint := os.Getenv("PENSTOCK_ENDPOINT")
	if endpoint == "" {
		t.Fatal("PENSTOCK_ENDPOINT is not set; set it to the address of a running shop, such as http://127.0.0.1:8080")
	}
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, strings.TrimSuffix(endpoint, "/")+path, content)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s answers %s, not %d: %s", method, path, resp.Status, status, text)
	}
	if result != nil {
		if err := json.Unmarshal(text, result); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return strings.TrimSpace(string(text))
}
