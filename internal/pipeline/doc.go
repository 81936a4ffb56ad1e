// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package pipeline is the domain of Penstock: what a pipeline, a stage, a
// build, a run and a decision are, which build may enter which stage (the gate
// rules), how a run is keyed, and what the core needs of the outside world (the
// ports: Ledger, Platform, Runner, Sources, Artifacts and Logs).
//
// It holds plain values and pure functions and imports nothing but the standard
// library. It runs no command, opens no file and knows no cloud: package engine
// moves stages with it, and the adapters implement its ports.
//
// The question that everything turns on is asked with Decide:
//
//	move := pipeline.Decide(state, stage)
//	if move.Err != nil {
//		return move.Err // a gate refuses the stage's pin
//	}
//	if move.Action == pipeline.ActionRun {
//		// run the stage for build move.Candidate
//	}
package pipeline
