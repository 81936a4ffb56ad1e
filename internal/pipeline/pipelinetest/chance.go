// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipelinetest

import (
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Chance tells a random history, also of what no engine would record.
func Chance(t testing.TB, r *rand.Rand) *Story {
	names := []string{"u", "v", "w", "x", "y", "z"}
	stages := []string{"commit", "acceptance", "exploratory", "capacity", "pre-production", "production"}
	s := Tell(t).Route().Offered("u")
	for range 30 {
		stage, build := stages[r.IntN(len(stages))], names[r.IntN(len(names))]
		_, made := s.State().Builds[ID(build)]
		def := s.State().Stages[stage]
		switch n := r.IntN(13); {
		case n < 2:
			s.Stages(CommitOf(build)).Offered(build)
		case !made:
		case n < 6:
			s.Ran(stage, build, []pipeline.RunStatus{pipeline.RunPassed, pipeline.RunPassed, pipeline.RunFailed, pipeline.RunCancelled, pipeline.RunRunning}[r.IntN(5)])
		case n == 6:
			s.Decided(stage, build, []pipeline.DecisionResult{pipeline.Approved, pipeline.Rejected}[r.IntN(2)])
		case n == 7 && stage != "commit":
			s.Promoted(stage, build)
		case n == 8:
			s.Paused(stage)
		case n == 9 && stage != "commit":
			s.Stages(PinnedTo(def, []string{ID(build), ""}[r.IntN(2)]))
		case n == 10 && stage != "commit":
			def.Trigger = []pipeline.Trigger{pipeline.TriggerManual, pipeline.TriggerAutomatic}[r.IntN(2)]
			s.Stages(def)
		case n == 11:
			s.Overridden(stage, build)
		case n == 12:
			def.Elsewhere = []pipeline.Elsewhere{{Ledger: "theirs", Pipeline: "images", Stage: "tested", Build: []string{"", "b-00000000f1"}[r.IntN(2)]}}
			s.Stages(def)
		}
	}
	return s
}
