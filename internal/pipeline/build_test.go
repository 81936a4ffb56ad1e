// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestFirstLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		" \n Mend it \n\nIt was broken.":      "Mend it",
		"it failed; its last lines:\n  no db": "it failed; its last lines: no db",
		"nothing follows:":                    "nothing follows:",
	} {
		if got := pipeline.FirstLine(text); got != want {
			t.Errorf("first line of %q: %q, want %q", text, got, want)
		}
	}
}
