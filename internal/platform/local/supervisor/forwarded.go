// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// The client that a request came from. Only trusted proxies are believed; forwarding headers
// of others are replaced by what is seen here.

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The headers by which a proxy names a request's client and URL.
const (
	forwarded      = "Forwarded" // RFC 7239
	forwardedAny   = "X-Forwarded-"
	forwardedFor   = forwardedAny + "For"
	forwardedHost  = forwardedAny + "Host"
	forwardedPort  = forwardedAny + "Port"
	forwardedProto = forwardedAny + "Proto"
)

// forward sets the forwarding headers of a request that goes out to an instance, from the
// one that came in. A proxy that is trusted knows the client: what it says is kept, and its
// own address added. What anybody else says is replaced by what is seen here.
func forward(out, in *http.Request, trusted []netip.Prefix) {
	peer := peerOf(in)
	word := http.Header{}
	if pipeline.Trusted(trusted, peer) {
		word = in.Header
	}
	for name := range out.Header {
		if isForwarding(name) {
			delete(out.Header, name)
		}
	}
	for name, said := range word {
		if strings.HasPrefix(name, forwardedAny) {
			out.Header[name] = said
		}
	}
	out.Header[forwardedFor] = []string{list(word[forwardedFor], peer.String())}
	if word[forwarded] == nil && word[forwardedProto] == nil && word[forwardedHost] == nil && word[forwardedPort] == nil {
		out.Header[forwardedProto] = []string{"http"}
		out.Header[forwardedHost] = []string{in.Host}
		out.Header[forwardedPort] = []string{portIn(in.Host)}
	}
	switch said := word[forwarded]; {
	case said != nil:
		out.Header[forwarded] = []string{list(said, "for="+node(peer))}
	case in.Header[forwarded] != nil:
		out.Header[forwarded] = []string{"for=" + node(peer) + ";host=" + quoted(in.Host) + ";proto=http"}
	}
}

// isForwarding reports whether a header says where a request came from. It includes
// headers that CGI and its like can't distinguish from such a header.
func isForwarding(name string) bool {
	if strings.Contains(name, "_") {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	return name == forwarded || strings.HasPrefix(name, forwardedAny)
}

// list returns the values of a header as one, with another at its end.
func list(said []string, more string) string {
	return strings.Join(append(said[:len(said):len(said)], more), ", ")
}

// peerOf returns the address that a request came from.
func peerOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // not of this server; "invalid IP" is nobody
	}
	return at.Addr().Unmap().WithZone("")
}

// portIn returns the port of a Host header.
func portIn(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		return port
	}
	return "80"
}

// node returns an address as RFC 7239, 6.1, writes it.
func node(a netip.Addr) string {
	if a.Is6() {
		return `"[` + a.String() + `]"`
	}
	return a.String()
}

// quoted returns text as a quoted string of HTTP.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
