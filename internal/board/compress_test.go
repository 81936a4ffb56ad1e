// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"net/http"
	"strings"
	"testing"
)

// Pages and their files are compressed for who can read them so, and streams never.
func TestCompressed(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	sheet := strings.SplitN(strings.SplitN(b.get("/"), `<link rel="stylesheet" href="`, 2)[1], `"`, 2)[0]
	run := b.state().Latest["commit"].ID
	for path, want := range map[string]string{"/p/shop": "gzip", sheet: "gzip", "/p/shop/runs/" + run + "/log": "", "/p/shop/events": "", "/p/shop/runs/" + run + "/follow": ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, nil)
		b.must(err)
		r.Header.Set("Accept-Encoding", "gzip")
		resp, err := b.client.Do(r)
		b.must(err)
		b.must(resp.Body.Close())
		if got := resp.Header.Get("Content-Encoding"); got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s is %d, encoded as %q, not %q", path, resp.StatusCode, got, want)
		}
	}
}

// What no page has the address of is answered by a page of the board, and no directory is
// listed.
func TestNowhere(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	for _, path := range []string{"/nope", "/p/shop/nope", "/static/", "/static", "/static/vendor/", "/static/nope.css"} {
		b.want(b.client, http.MethodGet, path, nil, http.StatusNotFound, "no such page", "To the board")
	}
}
