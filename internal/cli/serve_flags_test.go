// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// A board that would let in anybody, or nobody, does not start; what it says names the flag.
func TestServeFlags(t *testing.T) {
	anybody := []string{"--oidc-issuer", "https://id.example.com", "--oidc-client-id", "board"}
	proxy := []string{"--proxy-header", "X-User", "--trusted-proxy", "10.0.0.1", "--url", "https://board.example.com"}
	with := func(base []string, more ...string) []string { return append(append([]string{}, base...), more...) }
	oidc := with(anybody, "--oidc-allow", "*")
	issuer := func(at string) []string {
		return []string{"--oidc-issuer", at, "--oidc-client-id", "board", "--oidc-allow", "*"}
	}
	for name, c := range map[string]struct {
		args []string
		says string // empty: it starts
	}{
		"a provider for anybody":           {anybody, "--oidc-allow '*' means every user"},
		"a provider in clear":              {issuer("http://id.example.com"), "is not an https URL"},
		"a provider in clear, by number":   {issuer("http://10.0.0.5"), "is not an https URL"},
		"a provider without a scheme":      {issuer("id.example.com"), "is not an https URL"},
		"a provider on this machine":       {issuer("http://localhost:8080/realms/shop"), ""},
		"a provider here, by number":       {issuer("http://127.0.0.1:8080"), ""},
		"the name of environments":         {[]string{"--url", "http://127.0.0.1:7436"}, "use http://localhost"},
		"the name of theirs, version 6":    {[]string{"--url", "http://[::1]:7436"}, "use http://localhost"},
		"a name that nobody else has":      {[]string{"--url", "http://board-7xk2.localhost:7436"}, ""},
		"on this machine":                  {nil, ""},
		"a free port":                      {[]string{"--listen", "localhost:0"}, ""},
		"version 6 of this machine":        {[]string{"--listen", "[::1]:80"}, ""},
		"no port":                          {[]string{"--listen", "127.0.0.1"}, `--listen "127.0.0.1"`},
		"everybody, without a name":        {[]string{"--listen", ":80"}, "--oidc-issuer or --proxy-header"},
		"another machine, without a name":  {[]string{"--listen", "10.0.0.5:80"}, "--oidc-issuer or --proxy-header"},
		"a provider":                       {with(oidc), ""},
		"a provider for others":            {with(oidc, "--listen", ":443", "--url", "https://board.example.com"), ""},
		"a provider for others, in clear":  {with(oidc, "--listen", ":80", "--url", "http://board.example.com"), "need TLS"},
		"a provider for others, somewhere": {with(oidc, "--listen", ":443"), "need TLS"},
		"a provider that knows no board":   {[]string{"--oidc-issuer", "https://id.example.com", "--oidc-allow", "*"}, "--oidc-client-id"},
		"a board that no provider knows":   {[]string{"--oidc-client-id", "board"}, "--oidc-issuer"},
		"some whom a provider knows":       {with(oidc, "--oidc-allow", "*@example.com", "--oidc-allow", "@CN=qa,OU=shop"), ""},
		"a group in part":                  {with(oidc, "--oidc-allow", "@qa*"), `"@qa*" has a wildcard`},
		"a group without a name":           {with(oidc, "--oidc-allow", "@"), "neither a name nor"},
		"nobody's name":                    {with(oidc, "--oidc-allow", ""), "neither a name nor"},
		"some whom no provider knows":      {[]string{"--oidc-allow", "ann"}, "--oidc-issuer"},
		"a proxy":                          {with(proxy, "--listen", ":80", "--proxy-groups-header", "X-Groups", "--trusted-proxy", "10.1.0.0/16"), ""},
		"a proxy and a provider":           {append(with(oidc), proxy...), "choose one"},
		"any proxy":                        {[]string{"--proxy-header", "X-User", "--url", "https://b.example.com"}, "--trusted-proxy"},
		"a proxy somewhere":                {[]string{"--proxy-header", "X-User", "--trusted-proxy", "10.0.0.1"}, "--url"},
		"a proxy that is no address":       {with(proxy, "--trusted-proxy", "proxy.example.com"), `"proxy.example.com" is neither an address nor a network`},
		"an address of no proxy":           {[]string{"--trusted-proxy", "10.0.0.1"}, "--proxy-header"},
		"half of a certificate":            {[]string{"--tls-cert", "a.pem"}, "go together"},
		"a path for a host":                {[]string{"--url", "https://example.com/board"}, "not the address of a host"},
		"a script for a host":              {[]string{"--url", "javascript:alert(1)"}, "not the address of a host"},
		"an unknown level of what is said": {[]string{"--log-level", "loud"}, `"loud"`},
		"a pipeline":                       {[]string{"shop"}, "serve"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, newServe, c.args...)
			var usage *usageError
			switch {
			case c.says == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &usage) || !strings.Contains(err.Error(), c.says):
				t.Errorf("it says %v; want %q", err, c.says)
			}
		})
	}
	o, err := parse(t, newServe, with(proxy, "--trusted-proxy", "10.1.2.3/16,fd00::/8")...)
	if err != nil || len(o.proxy.Trusted) != 3 || o.proxy.Trusted[0].String() != "10.0.0.1/32" || o.proxy.Trusted[1].String() != "10.1.0.0/16" {
		t.Errorf("it trusts %v, %v", o.proxy.Trusted, err)
	}
}

// The board is localhost on this machine, and answers to no name of an environment, nor to one
// that others could point to it. Browsers leave out the port that goes with the scheme, and
// a board answers with and without it.
func TestServeHosts(t *testing.T) {
	for name, c := range map[string]struct {
		url, cert, address string
		at, want           string
	}{
		"on this machine":       {"", "", "127.0.0.1:7436", "http://localhost:7436", "localhost:7436"},
		"its default port":      {"", "", "127.0.0.1:80", "http://localhost:80", "localhost localhost:80"},
		"version 6, with TLS":   {"", "cert", "[::1]:443", "https://localhost:443", "localhost localhost:443"},
		"another scheme's port": {"", "", "127.0.0.1:443", "http://localhost:443", "localhost:443"},
		"another loopback":      {"", "", "127.0.0.2:7436", "http://127.0.0.2:7436", "127.0.0.2:7436"},
		"a name of this one":    {"http://board-7xk2.localhost:7436", "", "127.0.0.1:7436", "http://board-7xk2.localhost:7436", "board-7xk2.localhost:7436"},
		"a name":                {"https://board.example.com/", "cert", "0.0.0.0:8443", "https://board.example.com", "board.example.com board.example.com:443"},
		"a name with the port":  {"https://board.example.com:443", "cert", "[::]:443", "https://board.example.com:443", "board.example.com board.example.com:443"},
		"a name with another":   {"https://board.example.com:8443", "cert", "[::]:8443", "https://board.example.com:8443", "board.example.com:8443"},
		"behind a proxy":        {"https://board.example.com", "", "10.0.0.5:80", "https://board.example.com", "board.example.com board.example.com:443 10.0.0.5 10.0.0.5:80"},
		"behind one, elsewhere": {"https://board.example.com", "", "10.0.0.5:7436", "https://board.example.com", "board.example.com board.example.com:443 10.0.0.5:7436"},
		"behind one, version 6": {"https://board.example.com", "", "[fd00::5]:7436", "https://board.example.com", "board.example.com board.example.com:443 [fd00::5]:7436"},
	} {
		t.Run(name, func(t *testing.T) {
			address, err := net.ResolveTCPAddr("tcp", c.address)
			if err != nil {
				t.Fatal(err)
			}
			o := &serveOptions{url: c.url, cert: c.cert}
			if at := o.base(address); at != c.at {
				t.Errorf("it is at %s; want %s", at, c.at)
			}
			if got := strings.Join(o.hosts(c.at, address), " "); got != c.want {
				t.Errorf("it answers to %s; want %s", got, c.want)
			}
		})
	}
}
