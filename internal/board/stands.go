// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// Stands is report.Stands, for pages that have a state.
func (v view) Stands(run pipeline.RunSummary) pipeline.Outcome {
	if v.State == nil {
		return ""
	}
	return report.Stands(v.State, run)
}
