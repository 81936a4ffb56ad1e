// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// Connections to instances: when one is used again, when a request may be sent once more, and how
// long an instance may be silent.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// Idle connections to an instance end before the instance ends them: Node.js
	// does so after five seconds, Gunicorn after two.
	backendIdleTimeout = time.Second
	backendIdleConns   = 64

	dialTimeout = 2 * time.Second

	// continueTimeout is how long an instance may take to ask for a body that the client
	// has announced with "Expect: 100-continue". Clients wait about as long for an answer,
	// and then send it all the same; a service that doesn't know of it never asks.
	continueTimeout = time.Second
)

// newTransport makes a fleet's connections to its instances. Those of HTTP/2 carry many
// requests at a time.
func newTransport(keepAlive, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:           dialInstance,
		DisableCompression:    true,
		DisableKeepAlives:     !keepAlive,
		MaxIdleConnsPerHost:   backendIdleConns,
		IdleConnTimeout:       backendIdleTimeout,
		ExpectContinueTimeout: continueTimeout,
		Protocols:             new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	return t
}

// dialInstance connects to an instance.
func dialInstance(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &instanceConn{Conn: conn}, nil
}

// instanceConn is a connection to an instance, which may answer a request and close the
// connection before the body has come, as one does that refuses it. net/http takes the
// failure to send the rest for the end of the connection. Here what can't be sent is
// dropped, and reading says what became of the request.
type instanceConn struct {
	net.Conn
	deaf atomic.Bool
}

// Write implements net.Conn.
func (c *instanceConn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		c.deaf.Store(true)
		return len(p), nil
	}
	return n, err
}

// CloseWrite ends one direction of an upgraded connection.
func (c *instanceConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// carrier is the transport of all balancers: the request says where it goes.
type carrier struct{}

// RoundTrip sends the request to the instance that it is on. If that doesn't take
// the connection the request was not sent, and goes to another one. If that ends before
// it answers, or hangs, another one is tried once, where the request may be sent twice.
func (carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	r := inFlightOf(req)
	r.body = newBody(req.Body, r.in.Trailer, idempotent(req))
	for again := idempotent(req); ; {
		resp, err := r.send(req)
		if err == nil || req.Context().Err() != nil || r.body.failure() != nil {
			return resp, err
		}
		var network *net.OpError
		unsent := errors.As(err, &network) && network.Op == "dial"
		if !unsent && !again || !r.body.whole() {
			return nil, err
		}
		again = again && unsent
		switch other := r.fleet.move(r); {
		case other != nil && unsent:
			return nil, fmt.Errorf("%w: %w", other, err)
		case other != nil:
			return nil, err
		}
	}
}

// send sends the request over a kept connection, if it may be sent again by a new
// one: an instance may close a kept one at the very moment that it is used. One of
// HTTP/2 says which requests it has not seen.
func (r *inFlight) send(req *http.Request) (*http.Response, error) {
	kept, again := r.fleet.kept, r.fleet.single
	switch upgrade := req.Header.Get("Upgrade") != ""; {
	case r.fleet.http2 && !upgrade:
		again = kept
	case upgrade || !idempotent(req) || req.ContentLength < 0 || req.ContentLength > keptBody:
		return r.try(req.Context(), again, req)
	}
	reused := false
	traced := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
	})
	resp, err := r.try(traced, kept, req)
	if err != nil && reused && idempotent(req) && r.body.whole() && r.body.failure() == nil && req.Context().Err() == nil && !errors.Is(err, errHangs) {
		resp, err = r.try(req.Context(), again, req)
	}
	return resp, err
}

// try sends the request to the instance that it is on once, and waits for its answer as long as
// the instance does not hang. The response's body ends with parent.
func (r *inFlight) try(parent context.Context, over *http.Transport, req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(parent)
	stop := context.AfterFunc(r.on.pulse(), func() { cancel(errHangs) })
	resp, err := over.RoundTrip(r.addressed(ctx, req))
	if !stop() { // it hangs
		if err == nil {
			_ = resp.Body.Close()
		}
		resp, err = nil, errHangs
	}
	if err != nil {
		cancel(nil)
	}
	return resp, err
}

// addressed returns a copy of the request that goes to the instance that it is on.
func (r *inFlight) addressed(ctx context.Context, req *http.Request) *http.Request {
	out := req.WithContext(ctx)
	if r.body != nil {
		out.Trailer = maps.Clone(req.Trailer)
		out.Body = &bodyTry{body: r.body, trailer: out.Trailer}
	}
	to := *req.URL
	to.Scheme, to.Host = "http", r.on.address()
	out.URL = &to
	return out
}

// idempotent reports whether a request may be sent twice, if its body can (RFC 9110,
// 9.2.2). A client says so of others by a key.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}
