// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestParseProxies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list           []string
		trusted, other []string
	}{
		{nil, []string{"127.0.0.1", "127.3.2.1", "::1"}, []string{"10.0.0.1", "::2"}},
		{[]string{}, nil, []string{"127.0.0.1", "::1"}},
		{[]string{"10.0.0.7", "fd00::/8", "::ffff:10.0.0.8"}, []string{"10.0.0.7", "fd12::1", "10.0.0.8"}, []string{"10.0.0.9", "127.0.0.1"}},
	} {
		proxies, err := ParseProxies(c.list)
		if err != nil {
			t.Fatal(err)
		}
		for want, list := range map[bool][]string{true: c.trusted, false: c.other} {
			for _, a := range list {
				if Trusted(proxies, netip.MustParseAddr(a)) != want {
					t.Errorf("of %q, %s is trusted: %v, want %v", c.list, a, !want, want)
				}
			}
		}
		// Records keep the difference between none and nobody.
		var again EnvironmentSpec
		data, err := json.Marshal(EnvironmentSpec{TrustedProxies: c.list})
		if err != nil || json.Unmarshal(data, &again) != nil || !again.TrustsAlike(EnvironmentSpec{TrustedProxies: c.list}) {
			t.Errorf("%q is read as %q, %v", c.list, again.TrustedProxies, err)
		}
	}
	if (EnvironmentSpec{}).TrustsAlike(EnvironmentSpec{TrustedProxies: []string{}}) {
		t.Error("to trust nobody is as to say nothing")
	}
	for text, want := range map[string]string{
		"": "neither", "localhost": "neither", "fe80::1%eth0": "neither", "10.0.0.0/33": "no network",
		"10.0.0.7/8": "write 10.0.0.0/8", "::ffff:10.0.0.0/104": "one of IPv4", "10.0.0.0/": "no network",
	} {
		if _, err := ParseProxies([]string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	s := Stage{Type: TypeProduction}.WithDefaults(nil, nil)
	other := s
	env := *s.Env
	env.TrustedProxies = []string{}
	if other.Env = &env; s.Digest(Pipeline{}) != other.Digest(Pipeline{}) || s.Equal(other) {
		t.Error("trusted proxies are of the definition, and not of its digest")
	}
}
