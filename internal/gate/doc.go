// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package gate says what an apply will do to a pipeline, and why not: the one place that
// knows which build may enter which stage, and which stage moves to which build.
//
// Plan takes a Snapshot, which is the pipeline at a position of its ledger, and what is
// Desired, which is what the configuration says of each stage. It returns a Move for each
// stage. It changes nothing and asks nobody, so that the same question has the same answer
// whenever it is asked:
//
//	plan := gate.Plan(gate.At(state, position), gate.Desired{Stages: wanted})
//	switch move := plan.Stage("production"); {
//	case move.Refusal != nil:
//		return move.Err() // of the stage's pin
//	case move.Candidate.Unknown:
//		// it depends on what stages above do in the apply
//	case move.Action == gate.ActionRun:
//		// an apply runs the stage for build move.Candidate.ID
//	}
//
// What is not known before an apply has run the stages above is a value, too: see Value. Why
// a stage stays where it is, a Wait, a Refusal or an Obstacle says by kinds; package present
// has the words and the commands. Confirm checks, at the time of the apply, that what was
// planned may still be done.
//
// It imports only the standard library and package pipeline.
package gate
