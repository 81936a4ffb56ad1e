// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Tests have nothing of production's, whatever they say of themselves.
func TestLasting(t *testing.T) {
	t.Parallel()
	keep := &pipeline.EnvironmentSpec{Keep: true}
	for _, tt := range []struct {
		pipeline.Stage
		want bool
	}{
		{pipeline.Stage{Type: pipeline.TypeProduction}, true}, {pipeline.Stage{Type: pipeline.TypePreProduction}, true},
		{pipeline.Stage{Type: pipeline.TypeCustom, Env: keep}, true}, {pipeline.Stage{Type: pipeline.TypeCustom, Env: &pipeline.EnvironmentSpec{}}, false},
		{pipeline.Stage{Type: pipeline.TypeAcceptance, Env: keep}, false}, {pipeline.Stage{Type: pipeline.TypeCapacity}, false},
		{pipeline.Stage{Type: pipeline.TypeExploratory}, false}, {pipeline.Stage{}, false},
	} {
		if got := tt.Lasting(); got != tt.want {
			t.Errorf("a stage of type %q lasts: %v", tt.Type, got)
		}
	}
}
