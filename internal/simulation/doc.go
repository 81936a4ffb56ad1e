// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package simulation lets several processes work on one pipeline at once, on a virtual
// clock, in orders that a seed chooses: applies, people and the collection of garbage,
// over a platform in memory and each ledger. Processes are killed between any two calls,
// paused for longer than their leases last, and answers are lost or given twice. What
// must hold is checked on the way and at the end.
//
// A seed that breaks something is printed, and replayed with it:
//
//	PENSTOCK_SEED=17 go test ./internal/simulation -run TestMemory
//
// Time is that of testing/synctest: the engine's own timers and time-outs run on it, and
// it goes on only while all wait. One call is under way at a time, and the seed says
// whose is next, so that a seed means one order: engines wait in an order of their own
// only where they look at the clock. There is no clock of ours to inject beside the one
// for what is recorded, which is the same here.
//
// There is nothing in it but tests.
package simulation
