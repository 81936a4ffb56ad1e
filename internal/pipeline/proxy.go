// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"net/netip"
	"strings"
)

// DefaultTrustedProxies are the proxies that an endpoint trusts if an environment names none:
// those of the same machine.
var DefaultTrustedProxies = []string{"127.0.0.0/8", "::1"}

// ParseProxies reads addresses and networks in CIDR notation; nil stands for
// DefaultTrustedProxies, and an empty list for nobody.
func ParseProxies(list []string) ([]netip.Prefix, error) {
	if list == nil {
		list = DefaultTrustedProxies
	}
	out := make([]netip.Prefix, 0, len(list))
	for _, text := range list {
		p, err := ParseProxy(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// ParseProxy reads an address, or a network in CIDR notation.
func ParseProxy(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a network, as in 10.0.0.7 or 10.0.0.0/8", text)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no network in CIDR notation, as in 10.0.0.0/8 or fd00::/8", text)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network in the notation of IPv6; write it as one of IPv4", text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length; write %s for the network, or %s for the address", text, p.Masked(), p.Addr())
	}
	return p, nil
}

// Trusted reports whether a proxy is one of those that are trusted.
func Trusted(trusted []netip.Prefix, a netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
