// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// The way of a request from the endpoint to an instance, and of the answer back: what a proxy has
// to take out, to add and to refuse, so that the service sees what the client sent.

import (
	"context"
	"errors"
	stdlog "log"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"
)

const (
	// Sane limits of a server that faces people: slow headers tie up nothing for
	// long, and a browser's idle connection outlives its user's reading of a page.
	headerTimeout     = 10 * time.Second
	clientIdleTimeout = 2 * time.Minute

	copyBuffer = 32 << 10
)

// balancer sends each request to one of a fleet's instances.
type balancer struct {
	fleet func() *fleet // the one that serves now; nil for none
	proxy *httputil.ReverseProxy
}

// newBalancer returns a balancer over the fleet that serving returns at the time of
// each request.
func newBalancer(serving func() *fleet, log *stdlog.Logger) *balancer {
	b := &balancer{fleet: serving}
	b.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: carrier{}, FlushInterval: -1, // streams are passed on as they come
		ErrorLog: log, BufferPool: newBuffers(), ErrorHandler: refuse, ModifyResponse: prepare,
	}
	return b
}

// rewrite makes the request that goes to an instance of the one that came in.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came
	forward(r.Out, r.In, inFlightOf(r.In).fleet.trusted())
	// What follows a change to HTTP/2 would pass unseen. Who gets no answer to it goes on
	// with HTTP/1.1.
	if strings.Contains(strings.ToLower(r.Out.Header.Get("Upgrade")), "h2c") {
		r.Out.Header.Del("Connection")
		r.Out.Header.Del("Upgrade")
		r.Out.Header.Del("Http2-Settings")
	}
}

// prepare makes an answer ready for the client. HTTP/2 has trailers and a length, HTTP/1.1
// has trailers only where it has chunks.
func prepare(resp *http.Response) error {
	if resp.ProtoMajor == 2 && resp.ContentLength == 0 && resp.Header.Get("Grpc-Status") != "" {
		trailersOnly(resp)
	}
	if len(resp.Trailer) > 0 {
		resp.Header.Del("Content-Length")
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		closeEarly(resp.Header, inFlightOf(resp.Request))
	}
	return nil
}

// trailersOnly makes trailers of what gRPC sends as the header of an answer without a body:
// a client takes it for that only where the header ends the answer, and here it is sent
// before that is known.
func trailersOnly(resp *http.Response) {
	resp.Trailer = http.Header{}
	for name, values := range resp.Header {
		switch name {
		case "Content-Type", "Content-Length", "Date", "Trailer":
		default:
			resp.Trailer[name] = values
			delete(resp.Header, name)
		}
	}
}

// closeEarly closes an HTTP/1 connection after an answer that comes before the end of
// the request's body. Nobody reads the rest of that body, and net/http must not look
// for the next request behind it: having read in full duplex, it breaks off.
func closeEarly(answer http.Header, r *inFlight) {
	if r != nil && r.in.ProtoMajor == 1 && !r.body.ended() {
		answer.Set("Connection", "close")
	}
}

// ServeHTTP passes a request to an instance. It counts as one of that instance's
// until it has ended, upgraded connections included.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || r.ProtoMajor == 2 && r.Method == "PRI" {
		w.Header().Set("Connection", "close")
		http.Error(w, "penstock: the endpoint is no proxy to elsewhere", http.StatusNotImplemented)
		return
	}
	for {
		f := b.fleet()
		if f == nil {
			refuse(w, r, errNoneHealthy)
			return
		}
		flying, err := f.acquire(r)
		if errors.Is(err, errClosed) && b.fleet() != f {
			continue // traffic was shifted meanwhile
		}
		if err != nil {
			refuse(w, r, err)
			return
		}
		defer f.release(flying)
		if isGRPC(r) && !f.http2 {
			refuseGRPC(w)
			return
		}
		// A service may answer while it is still being sent to.
		_ = http.NewResponseController(w).EnableFullDuplex()
		if !r.ProtoAtLeast(1, 1) {
			w = onlyFinal{w}
		}
		b.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), inFlightKey{}, flying)))
		return
	}
}

// refuse answers a request that no instance answers.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var malformed error
	if flying := inFlightOf(r); flying != nil {
		closeEarly(w.Header(), flying)
		malformed = flying.body.failure()
	}
	answer := func(status int, text string) { http.Error(w, "penstock: "+text, status) }
	switch {
	case malformed != nil:
		answer(http.StatusBadRequest, "the body of the request is malformed or incomplete")
	case r.Context().Err() != nil: // nobody listens any more
		w.WriteHeader(http.StatusBadGateway)
	case errors.Is(err, errNoneHealthy), errors.Is(err, errClosed):
		w.Header().Set("Retry-After", "1")
		answer(http.StatusServiceUnavailable, "no instance of the service is healthy")
	case errors.Is(err, errHangs):
		answer(http.StatusGatewayTimeout, "the instance hangs: it answers neither this request nor its health checks")
	default:
		answer(http.StatusBadGateway, "the instance did not answer")
	}
}

// isGRPC reports whether a request is one of gRPC, which has no meaning in HTTP/1.1.
func isGRPC(r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	kind, _, _ = strings.Cut(kind, "+")
	return r.ProtoMajor == 2 && strings.TrimSpace(kind) == "application/grpc"
}

// refuseGRPC says in the way of gRPC that the service is not reached by it.
func refuseGRPC(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Grpc-Status", "12") // UNIMPLEMENTED
	w.Header().Set("Grpc-Message", "penstock: the endpoint speaks HTTP/1.1 to the service; set service.protocol to h2c on the pipeline for gRPC")
	w.WriteHeader(http.StatusOK)
}

// onlyFinal leaves out what a client of HTTP/1.0 can't read: answers before the final one.
type onlyFinal struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w onlyFinal) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap is for http.ResponseController.
func (w onlyFinal) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// newServer makes the server of an endpoint.
func newServer(h http.Handler, log *stdlog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: clientIdleTimeout, ErrorLog: log}
}

// newEndpoint makes the server that faces clients. They speak HTTP/1, or HTTP/2 without
// being asked for it.
func newEndpoint(serving func() *fleet, log *stdlog.Logger) *http.Server {
	server := newServer(newBalancer(serving, log), log)
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.DisableGeneralOptionsHandler = true // OPTIONS * is the service's to answer
	server.ConnState = changed
	return server
}

// buffers are reused between responses.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { return new([copyBuffer]byte) }}}
}

func (b *buffers) Get() []byte  { return b.pool.Get().(*[copyBuffer]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[copyBuffer]byte)(p)) }
