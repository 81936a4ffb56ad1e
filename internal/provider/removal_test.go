// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// What goes with a pipeline is counted in words.
func TestDescribeRemoval(t *testing.T) {
	for builds, want := range map[int]string{
		0: "It has no builds.",
		1: "1 build is removed with it, with its image, artifact and logs.",
		2: "2 builds are removed with it, with their images, artifacts and logs.",
	} {
		if got := describeRemoval(run.Removal{Builds: builds}, pipeline.Pipeline{RetainHistory: time.Hour}); !strings.HasPrefix(got, want+"\n") {
			t.Errorf("with %d builds: %s", builds, got)
		}
	}
}
