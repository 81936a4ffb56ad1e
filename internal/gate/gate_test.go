// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// look returns a stage, which need not be the recorded one, as people see it.
func look(st *State, stage Stage) View {
	return Plan(At(st, 0), Desired{Alone: true, Stages: map[string]Want{stage.Name: {Stage: stage}}}).View(stage.Name)
}

// decide plans one stage alone, which need not be the recorded one.
func decide(st *State, stage Stage) Move {
	return Plan(At(st, 0), Desired{Alone: true, Stages: map[string]Want{stage.Name: {Stage: stage}}}).Stage(stage.Name)
}
