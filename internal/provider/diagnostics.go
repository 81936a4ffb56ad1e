// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// summaries renders an error's code as a diagnostic's summary: the one table.
var summaries = map[pipeline.Code]string{
	pipeline.CodeInvalid:    "Invalid value",
	pipeline.CodeNotFound:   "Not found",
	pipeline.CodeConflict:   "Conflict",
	pipeline.CodeLocked:     "Another run is under way",
	pipeline.CodeLeaseLost:  "The right to change was lost",
	pipeline.CodeRefused:    "Refused by a gate",
	pipeline.CodeNotAllowed: "Not allowed",
	pipeline.CodeFailed:     "Failed",
	pipeline.CodeCorrupt:    "Stored data is damaged",
	pipeline.CodeCancelled:  "Cancelled",
	pipeline.CodeInternal:   "Unexpected error",
}

func summary(err error) string {
	var failed *run.Error
	if errors.As(err, &failed) && failed.Run.Status == pipeline.RunFailed {
		if failed.Run.Kind == pipeline.KindBake {
			return "Bake failed"
		}
		return "Stage failed"
	}
	return summaries[pipeline.CodeOf(err)]
}

// addError adds the diagnostic of an error that happened while doing something
// with a thing of a name.
func addError(diags *diag.Diagnostics, doing, name string, err error) {
	diags.AddError(summary(err), detail(doing, name, err))
}

// addAttributeError is addError for what a user wrote in an argument.
func addAttributeError(diags *diag.Diagnostics, at path.Path, doing, name string, err error) {
	diags.AddAttributeError(at, summary(err), detail(doing, name, err))
}

// partOf says what is being done with a part of a pipeline, to be followed by the name of the
// pipeline: `move stage "production" of pipeline`.
func partOf(doing, name string) string { return fmt.Sprintf("%s %q of pipeline", doing, name) }

// detail says what was being done with what, what to do now, and the cause.
func detail(doing, name string, err error) string {
	parts := []string{fmt.Sprintf("Could not %s %q.", doing, name)}
	if hint := reason.Hint(err); hint != "" {
		parts = append(parts, hint)
	}
	var failed *run.Error
	if errors.As(err, &failed) {
		parts = append(parts, fmt.Sprintf("`penstock logs %s` prints the log, which is in %s.", failed.Run.ID, failed.Log))
		if kept := failed.Kept; kept != nil {
			parts = append(parts, fmt.Sprintf("Its environment stays up and answers at %s. It ends with the stage's next run, or with `penstock gc --kept`.", kept.Endpoint))
		}
	}
	return present.Text(strings.Join(append(parts, cause(doing, name, err)), "\n\n"))
}

// cause says why. What was being done is left out if the error says the same.
func cause(doing, name string, err error) string {
	return strings.TrimPrefix(err.Error(), fmt.Sprintf("%s %q: ", doing, name))
}
