// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package pipeline is the domain of Penstock: what a pipeline, a stage, a
// build, a run and a decision are, what a history says of a build at a stage (whether it
// ran, passed, was rejected or let through), how a run is keyed, and what the core needs of
// the outside world (the ports: Ledger, Platform, Runner, Sources, Artifacts and Logs).
//
// It holds plain values and pure functions and imports nothing but the standard
// library. It runs no command, opens no file and knows no cloud: package gate says which
// build may go where, package engine moves stages, and the adapters implement its ports.
//
//	if state.Passed("acceptance", build) {
//		// by its run, by the decisions on it, and by the definition that the stage has now
//	}
package pipeline
