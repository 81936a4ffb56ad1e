// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"crypto/tls"
	"net/http"
	"net/url"
)

// sender sends requests, over connections that it keeps.
type sender interface {
	http.RoundTripper
	CloseIdleConnections()
}

// endpoint is where the requests of a step go. Where its certificate is for another name than
// its own, requests to it are for that name, as they will be when it serves: the certificate is
// verified for it, and the header Host has it.
type endpoint struct {
	at, host string          // as in a URL
	own      *http.Transport // of requests to at
	others   *http.Transport // of all others, such as redirects
}

// endpointOf returns what sends a step's requests: a transport, where host is empty.
func endpointOf(u *url.URL, host string, transport *http.Transport) sender {
	if host == "" || u.Scheme != "https" {
		return transport
	}
	own := transport.Clone()
	own.TLSClientConfig = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	return endpoint{at: u.Host, host: host, own: own, others: transport}
}

// RoundTrip implements http.RoundTripper.
func (e endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != e.at {
		return e.others.RoundTrip(r)
	}
	if r.Host == "" || r.Host == e.at {
		r = r.Clone(r.Context())
		r.Host = e.host
	}
	return e.own.RoundTrip(r)
}

// CloseIdleConnections closes those of both transports, as http.Client does by it.
func (e endpoint) CloseIdleConnections() {
	e.own.CloseIdleConnections()
	e.others.CloseIdleConnections()
}
