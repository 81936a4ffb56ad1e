// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestForward(t *testing.T) {
	t.Parallel()
	trusted, err := pipeline.ParseProxies([]string{"10.0.0.0/8", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	own := http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"shop.example:8080"}, "X-Forwarded-Port": {"8080"}}
	with := func(h http.Header, more http.Header) http.Header {
		h = h.Clone()
		for name, values := range more {
			h[name] = values
		}
		return h
	}
	for name, c := range map[string]struct {
		from      string
		sent, got http.Header
	}{
		"a client": {"192.0.2.1:999", http.Header{}, with(own, http.Header{"X-Forwarded-For": {"192.0.2.1"}})},
		"a client that lies": {"192.0.2.1:999",
			http.Header{"X-Forwarded-For": {"10.1.1.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Port": {"1"}, "X-Forwarded-Prefix": {"/evil"},
				"Forwarded": {"for=10.1.1.1;proto=https"}, "X_forwarded_for": {"10.1.1.1"}, "X-Forwarded_proto": {"https"}},
			with(own, http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Forwarded": {`for=192.0.2.1;host="shop.example:8080";proto=http`}})},
		"a proxy that says nothing": {"10.0.0.9:999", http.Header{}, with(own, http.Header{"X-Forwarded-For": {"10.0.0.9"}})},
		"a proxy that says who":     {"10.0.0.9:999", http.Header{"X-Forwarded-For": {"192.0.2.1", "192.0.2.2"}}, with(own, http.Header{"X-Forwarded-For": {"192.0.2.1, 192.0.2.2, 10.0.0.9"}})},
		"a proxy that says all": {"[::ffff:10.0.0.9]:999",
			http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"shop"}, "X-Forwarded-Port": {"443"}, "X-Forwarded-Prefix": {"/a"}, "X_forwarded_for": {"192.0.2.7"}},
			http.Header{"X-Forwarded-For": {"192.0.2.1, 10.0.0.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"shop"}, "X-Forwarded-Port": {"443"}, "X-Forwarded-Prefix": {"/a"}}},
		"a proxy that says how": {"10.0.0.9:999", http.Header{"X-Forwarded-Proto": {"https"}}, http.Header{"X-Forwarded-For": {"10.0.0.9"}, "X-Forwarded-Proto": {"https"}}},
		"a proxy of RFC 7239": {"[fd00::9%eth0]:999", http.Header{"Forwarded": {"for=192.0.2.1;proto=https", "for=10.1.1.1"}},
			http.Header{"X-Forwarded-For": {"fd00::9"}, "Forwarded": {`for=192.0.2.1;proto=https, for=10.1.1.1, for="[fd00::9]"`}}},
	} {
		in := httptest.NewRequest(http.MethodGet, "/", nil)
		in.Host, in.RemoteAddr, in.Header = "shop.example:8080", c.from, c.sent
		out := in.Clone(t.Context())
		if forward(out, in, trusted); !reflect.DeepEqual(out.Header, c.got) {
			t.Errorf("from %s the service gets\n%v, want\n%v", name, out.Header, c.got)
		}
	}
}

// An endpoint's trusted proxies change while it serves, and with the next fleet.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	proto := func() string {
		req := b.newRequest(http.MethodGet, endpoint+"/seen/", nil)
		req.Header.Set("X-Forwarded-Proto", "https")
		s, _ := b.look(http.DefaultClient, req)
		return s.Header.Get("X-Forwarded-Proto")
	}
	if got := proto(); got != "https" {
		t.Errorf("by default a proxy on loopback is not trusted: %q", got)
	}
	was := b.Supervisor()
	b.Must(b.Trust(t.Context(), "e-1", []string{}))
	if got := proto(); got != "http" {
		t.Errorf("nobody is to be trusted, and the service gets %q", got)
	}
	b.Must(b.Trust(t.Context(), "e-1", []string{"127.0.0.1"}))
	if got := proto(); got != "https" {
		t.Errorf("127.0.0.1 is to be trusted, and the service gets %q", got)
	}
	if b.Supervisor() != was || strings.Count(b.SupervisorLog(), "healthy on port") != 1 {
		t.Errorf("a change of who is trusted started something:\n%s", b.SupervisorLog())
	}
	b.Must(b.Trust(t.Context(), "e-1", nil))
	next := b.Request("f-2")
	next.TrustedProxies = []string{"10.0.0.0/8"}
	b.Serve(next)
	if got := proto(); got != "http" {
		t.Errorf("only 10.0.0.0/8 is to be trusted, and the service gets %q", got)
	}
	b.WantError(b.Trust(t.Context(), "e-1", []string{"10.0.0.1/8"}), pipeline.CodeInvalid, "CIDR", "write 10.0.0.0/8 for the network")
	b.WantError(b.Trust(t.Context(), "e-none", nil), pipeline.CodeNotFound, "")
	next.Fleet, next.TrustedProxies = "f-3", []string{"localhost"}
	_, err := b.Prepare(t.Context(), next)
	b.WantError(err, pipeline.CodeInvalid, "CIDR", `"localhost" is neither`)
}
