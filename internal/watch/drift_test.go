// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Stages are checked beside the looks, once at a time; the end of the watcher gives a check up,
// unless it is all that it was started for.
func TestDriftChecks(t *testing.T) {
	due := []pipeline.Stage{{Name: "a"}, {Name: "b"}}
	for _, complete := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var d driftChecks
			d.end(complete) // of none
			var checked []string
			given, goOn := 0, make(chan struct{})
			check := func(ctx context.Context, s pipeline.Stage) {
				checked = append(checked, s.Name)
				select {
				case <-goOn:
				case <-ctx.Done():
					given++
				}
			}
			d.begin(t.Context(), nil, check)
			d.begin(t.Context(), due, check)
			synctest.Wait()
			d.begin(t.Context(), due, check)
			synctest.Wait()
			if len(checked) != 1 {
				t.Errorf("at once, it checks %v", checked)
			}
			if complete {
				close(goOn)
			}
			d.end(complete)
			if want := map[bool]int{false: 1, true: 2}[complete]; len(checked) != want || (given == 0) != complete {
				t.Errorf("it has checked %v, and given %d up", checked, given)
			}
		})
	}
}
