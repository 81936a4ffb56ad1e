// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// The endpoint of the environment: one listener, at an address and a port that stay the same while
// fleets come and go. It moves only when a fleet asks for another place, and then the old listener
// closes after the requests that came in there.

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

// front is the server of the environment's endpoint.
type front struct {
	address  string
	port     int
	listener net.Listener
	server   *http.Server
}

func (f *front) serve() { go func() { _ = f.server.Serve(strictListener{f.listener}) }() }

// open listens where the fleet's endpoint is to be. It returns nil where the
// environment listens there.
func (s *supervisor) open(want protocol.FleetRecord) (*front, error) {
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
		l, err = protocol.Listen(want.Address, port)
	}
	if err != nil {
		return nil, protocol.PortError(pipeline.CodeFailed, "open endpoint", want.Address, port, want.Port != 0, err)
	}
	return s.newFront(want.Address, l), nil
}

// move listens at another address with the same port. Addresses may include one
// another, so the old listener has to close first; its connections stay.
func (s *supervisor) move(address string) (net.Listener, error) {
	_ = s.front.listener.Close()
	l, err := protocol.Listen(address, s.front.port)
	if err == nil {
		return l, nil
	}
	if again, undo := protocol.Listen(s.front.address, s.front.port); undo == nil {
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
