// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"errors"
	"net"
	"strconv"
	"syscall"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Listen listens for TCP connections at a port of an address.
func Listen(address string, port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
}

// Available reports whether one could listen there.
func Available(address string, port int) error {
	l, err := Listen(address, port)
	if err != nil {
		return err
	}
	return l.Close()
}

// PortError explains why one can't listen at an address.
func PortError(code pipeline.Code, op, address string, port int, chosen bool, err error) error {
	e := pipeline.Errorf(code, op, "port %d: %w", port, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && chosen:
		return pipeline.Errorf(code, op, "port %d of %s is in use by another program", port, address).
			WithHint("Stop what listens there, set port to another one, or leave port out for any free one.")
	case errors.Is(err, syscall.EADDRINUSE):
		return pipeline.Errorf(code, op, "port %d of %s, where the environment answered before, is in use by another program", port, address).
			WithHint("Stop what listens there, or set port to another one.")
	case errors.Is(err, syscall.EACCES):
		return e.WithHint("Set port to one that this user may listen on, as a rule 1024 or above.")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return pipeline.Errorf(code, op, "address %q does not belong to this machine", address).
			WithHint("Set address to one of this machine's addresses, or leave it out for loopback.")
	}
	return e.WithHint("Check address and port.")
}

// Loopback is where instances listen, and an endpoint that is given no address.
const Loopback = "127.0.0.1"
