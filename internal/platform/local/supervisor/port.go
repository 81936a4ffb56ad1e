// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// Free ports. They are chosen outside of the ranges from which systems take the ports of outgoing
// connections, so that nobody takes one between its choice and its use.

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

const (
	// Ports are chosen below the ranges that Linux (32768) and macOS (49152) give
	// to outgoing connections. Among those, one could be taken between being chosen
	// and being listened on, by a connection to an instance, say.
	lowestPort  = 20000
	highestPort = 32000

	portTries = 200
)

// listenFree listens on a free port of an address.
func listenFree(address string) (net.Listener, error) {
	var last error
	for range portTries {
		l, err := protocol.Listen(address, lowestPort+rand.IntN(highestPort-lowestPort))
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, fmt.Errorf("find a free port: %w", last)
}

// freePort returns a port on loopback that nobody listens on.
func freePort() (int, error) {
	l, err := listenFree(protocol.Loopback)
	if err != nil {
		return 0, err
	}
	return portOf(l), l.Close()
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// endpointURL returns the URL of a listener. One on all addresses is reached by loopback, by
// its number: the name localhost is the board's, whose cookies are not for environments.
func endpointURL(address string, port int) string {
	switch ip := net.ParseIP(address); {
	case address == "" || strings.EqualFold(address, "localhost") || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		address = protocol.Loopback
	case ip != nil && ip.IsUnspecified():
		address = net.IPv6loopback.String()
	}
	return "http://" + net.JoinHostPort(address, strconv.Itoa(port))
}
