// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// front is the server of the environment's endpoint.
type front struct {
	address  string
	port     int
	listener net.Listener
	server   *http.Server
}

func (f *front) serve() { go func() { _ = f.server.Serve(strictListener{f.listener}) }() }

// open listens where the fleet's endpoint is to be. It gives nil where the
// environment listens there.
func (s *supervisor) open(want fleetRecord) (*front, error) {
	at := s.front
	if at != nil && at.address == want.Address && (want.Port == 0 || want.Port == at.port) {
		return nil, nil
	}
	port := cmp.Or(want.Port, s.rec.Port)
	var l net.Listener
	var err error
	switch {
	case port == 0:
		l, err = listenFree(want.Address)
	case at != nil && at.port == port:
		l, err = s.move(want.Address)
	default:
		l, err = listen(want.Address, port)
	}
	if err != nil {
		return nil, portError(pipeline.CodeFailed, "open endpoint", want.Address, port, want.Port != 0, err)
	}
	return s.newFront(want.Address, l), nil
}

// move listens at another address with the same port. Addresses may include one
// another, so the old listener has to close first; its connections stay.
func (s *supervisor) move(address string) (net.Listener, error) {
	_ = s.front.listener.Close()
	l, err := listen(address, s.front.port)
	if err == nil {
		return l, nil
	}
	if again, undo := listen(s.front.address, s.front.port); undo == nil {
		s.front = s.newFront(s.front.address, again)
		s.front.serve()
	}
	return nil, err
}

func (s *supervisor) newFront(address string, l net.Listener) *front {
	return &front{
		address: address, port: portOf(l), listener: l,
		server: newEndpoint(s.serving.Load, s.log),
	}
}

// replaceFront serves at the new address, and ends the old one after the requests
// that came in there.
func (s *supervisor) replaceFront(next *front, drain time.Duration) {
	old := s.front
	s.front = next
	s.log.Printf("endpoint: %s", endpointURL(next.address, next.port))
	next.serve()
	if old == nil {
		return
	}
	go func() {
		bounded, cancel := context.WithTimeout(s.life, drain)
		defer cancel()
		if old.server.Shutdown(bounded) != nil {
			_ = old.server.Close()
		}
	}()
}

// portError explains why one can't listen at an address.
func portError(code pipeline.Code, op, address string, port int, chosen bool, err error) error {
	e := pipeline.Errorf(code, op, "port %d: %w", port, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && chosen:
		return pipeline.Errorf(code, op, "port %d of %s is in use by another program", port, address).
			WithHint("End what listens there, set port to another one, or leave port out for any free one.")
	case errors.Is(err, syscall.EADDRINUSE):
		return pipeline.Errorf(code, op, "port %d of %s, where the environment answered before, is in use by another program", port, address).
			WithHint("End what listens there, or set port to another one.")
	case errors.Is(err, syscall.EACCES):
		return e.WithHint("Set port to one that this user may listen on, as a rule 1024 or above.")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return pipeline.Errorf(code, op, "address %q is none of this machine's", address).
			WithHint("Set address to one of this machine's addresses, or leave it out for loopback.")
	}
	return e.WithHint("Check address and port.")
}
