// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// redactor masks the secrets of a step, and those that it might come upon.
type redactor struct{ *pipeline.Redactor }

func newRedactor(req pipeline.StepRequest) redactor {
	return redactor{pipeline.NewRedactor(slices.Concat(req.Secrets.Values(), req.Mask)...)}
}

func (r redactor) tests(t *pipeline.TestCounts) *pipeline.TestCounts {
	if t != nil {
		for i, f := range t.Failures {
			t.Failures[i] = pipeline.TestFailure{Name: r.Text(f.Name), Message: r.Text(f.Message)}
		}
	}
	return t
}

func (r redactor) load(l *pipeline.LoadReport) *pipeline.LoadReport {
	if l != nil {
		for i, f := range l.Faults {
			l.Faults[i] = r.Text(f)
		}
	}
	return l
}
