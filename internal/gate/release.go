// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// NextRelease returns the newest build, newer than a stage's current one, that may enter it, or
// that waits for a decision at a stage above; empty if there is none.
func NextRelease(st *pipeline.State, s pipeline.Stage) (build, waits string) {
	above := st.Builds[st.Current[s.Name].Build].Order
	deciders := slices.DeleteFunc(st.Ancestors(s.After), func(name string) bool { return !st.Stages[name].Approval })
	for b := range st.NewestBuilds() {
		if b.Order <= above {
			break
		}
		for _, name := range deciders {
			if st.Outcome(st.Stages[name], b.ID) == pipeline.OutcomeWaiting {
				return b.ID, name
			}
		}
		if MayEnter(st, s, b.ID) {
			return b.ID, ""
		}
	}
	return "", ""
}
