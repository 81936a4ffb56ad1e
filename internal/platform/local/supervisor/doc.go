// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package supervisor runs one environment of the local platform. It is all that happens in
// a process of its own, which package local starts with the argument __supervise and which
// outlives whoever launched the environment.
//
// The supervisor listens at the endpoint, balances over the healthy instances, restarts
// those that end, swaps fleets without failing a request, and ends the environment at its
// time. Everything that it started ends with it, however it ends. It takes requests at a
// socket, as package protocol says, and makes no tree but those of instances: fleets are
// installed before it hears of them.
//
//	client ── front ── balancer ── inFlight ─ instance   a request on its way
//	           │         │                   │
//	           supervisor ─ serving fleet ───┘           what serves
//	           │         └ other fleets                  what starts or drains
//	           control ── change                         what a Platform asks for
//
// Package local is not known here.
package supervisor
