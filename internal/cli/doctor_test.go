// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/doctor"
)

// What is well is said with the warnings that are above it.
func TestWellSaid(t *testing.T) {
	good, warning := doctor.Finding{Status: doctor.OK}, doctor.Finding{Status: doctor.Warning}
	for want, findings := range map[string][]doctor.Finding{
		"There are no problems.":                 {good, good},
		"There are no problems, and 1 warning.":  {good, warning},
		"There are no problems, and 2 warnings.": {warning, good, warning},
	} {
		if got := wellSaid(findings); got != want {
			t.Errorf("of %v it says %q, want %q", findings, got, want)
		}
	}
}
