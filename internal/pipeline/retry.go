// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

// Retried returns the wish for another run after the one that judged; false where there is
// none that still counts.
func (s *State) Retried(stage Stage, judged RunSummary) (Retry, bool) {
	r, ok := s.Retries[stage.Name]
	return r, ok && r.Build == judged.Build && r.Run == judged.ID
}
