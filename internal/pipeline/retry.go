// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

// Retried returns the retry after the run that the result is from; false if there is none
// that still counts.
func (s *State) Retried(stage Stage, last RunSummary) (Retry, bool) {
	r, ok := s.Retries[stage.Name]
	return r, ok && r.Build == last.Build && r.Run == last.ID
}
