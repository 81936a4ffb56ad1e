// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"sync"
	"time"
)

const (
	// Sane limits of a server that faces people: slow headers tie up nothing for
	// long, and a browser's idle connection outlives its user's reading of a page.
	headerTimeout     = 10 * time.Second
	clientIdleTimeout = 2 * time.Minute

	// Idle connections to an instance end before the instance ends them: Node.js
	// does so after five seconds, Gunicorn after two.
	backendIdleTimeout = time.Second
	backendIdleConns   = 64

	dialTimeout = 2 * time.Second

	copyBuffer = 32 << 10
)

// balancer sends each request to one of a fleet's instances.
type balancer struct {
	fleet func() *fleet // the one that serves now; nil for none
	proxy *httputil.ReverseProxy
}

// newBalancer gives a balancer over the fleet that the function gives at the time
// of each request.
func newBalancer(serving func() *fleet, log *stdlog.Logger) *balancer {
	b := &balancer{fleet: serving}
	b.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		},
		Transport:     rider{},
		FlushInterval: -1, // streams are passed on as they come
		ErrorLog:      log,
		BufferPool:    newBuffers(),
		ErrorHandler:  refuse,
	}
	return b
}

// ServeHTTP passes a request to an instance. It counts as one of that instance's
// until it has ended, upgraded connections included.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for {
		f := b.fleet()
		if f == nil {
			refuse(w, r, errNoneHealthy)
			return
		}
		ride, err := f.board()
		if errors.Is(err, errClosed) && b.fleet() != f {
			continue // traffic was shifted meanwhile
		}
		if err != nil {
			refuse(w, r, err)
			return
		}
		defer f.leave(ride)
		// A service may answer while it is still being sent to.
		_ = http.NewResponseController(w).EnableFullDuplex()
		b.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), rideKey{}, ride)))
		return
	}
}

// refuse answers a request that no instance answers.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case r.Context().Err() != nil: // nobody listens any more
		w.WriteHeader(http.StatusBadGateway)
	case errors.Is(err, errNoneHealthy), errors.Is(err, errClosed):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "penstock: no instance of the service is healthy", http.StatusServiceUnavailable)
	default:
		http.Error(w, "penstock: the instance did not answer", http.StatusBadGateway)
	}
}

// rider is the transport of all balancers: the request says where it goes.
type rider struct{}

// RoundTrip sends the request to the instance of its ride. If that doesn't take
// the connection the request was not sent, and goes to another one. If that ends before
// it answers, another one is tried once, where the request may be sent twice.
func (rider) RoundTrip(req *http.Request) (*http.Response, error) {
	r := req.Context().Value(rideKey{}).(*ride)
	for again := replayable(req); ; {
		resp, err := r.send(req)
		var network *net.OpError
		if err == nil || req.Context().Err() != nil {
			return resp, err
		}
		unsent := errors.As(err, &network) && network.Op == "dial"
		if !unsent && !again {
			return nil, err
		}
		again = again && unsent
		switch other := r.fleet.change(r); {
		case other != nil && unsent:
			return nil, fmt.Errorf("%w: %w", other, err)
		case other != nil:
			return nil, err
		}
	}
}

// send sends the request over a kept connection, if it may be sent again by a new
// one: an instance may close a kept one at the very moment that it is used.
func (r *ride) send(req *http.Request) (*http.Response, error) {
	if !replayable(req) {
		return r.fleet.single.RoundTrip(r.addressed(req.Context(), req))
	}
	reused := false
	traced := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
	})
	resp, err := r.fleet.kept.RoundTrip(r.addressed(traced, req))
	if err != nil && reused && req.Context().Err() == nil {
		resp, err = r.fleet.single.RoundTrip(r.addressed(req.Context(), req))
	}
	return resp, err
}

// addressed gives a copy of the request that goes to the ride's instance.
func (r *ride) addressed(ctx context.Context, req *http.Request) *http.Request {
	out := req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = io.NopCloser(req.Body) // the transport closes it, and a second try needs it
	}
	to := *req.URL
	to.Scheme, to.Host = "http", r.on.address()
	out.URL = &to
	return out
}

// replayable reports whether a request may be sent twice (RFC 9110, 9.2.2).
func replayable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.Body == nil || r.Body == http.NoBody
	}
	return false
}

// newTransport makes a fleet's connections to its instances.
func newTransport(keepAlive bool) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		DisableCompression:  true,
		DisableKeepAlives:   !keepAlive,
		MaxIdleConnsPerHost: backendIdleConns,
		IdleConnTimeout:     backendIdleTimeout,
	}
}

// newServer makes the server of an endpoint.
func newServer(h http.Handler, log *stdlog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: clientIdleTimeout, ErrorLog: log}
}

// buffers are reused between responses.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { return new([copyBuffer]byte) }}}
}

func (b *buffers) Get() []byte  { return b.pool.Get().(*[copyBuffer]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[copyBuffer]byte)(p)) }
