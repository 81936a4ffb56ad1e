// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package decision

import (
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A reason has no more characters than a record may have, whatever it is the reason of.
func TestReasonLength(t *testing.T) {
	t.Parallel()
	d := New(Config{Person: pipeline.Person{Name: "alice"}})
	st := &pipeline.State{Stages: map[string]pipeline.Stage{"production": {Name: "production"}}}
	for verb := range rules {
		for n, refused := range map[int]bool{MaxReason: false, MaxReason + 1: true} {
			err := d.Check(st, Command{Verb: verb, Pipeline: "shop", Stage: "production", Reason: strings.Repeat("é", n)})
			if got := err != nil && strings.Contains(err.Error(), "at most 4000 are allowed"); got != refused {
				t.Errorf("%s with %d characters: %v", verb, n, err)
			}
		}
	}
}
