// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason

import (
	"fmt"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// drifted are what somebody else did to resources, in words.
var drifted = map[pipeline.ModuleAction]string{
	pipeline.ModuleCreate: "was added", pipeline.ModuleUpdate: "was changed", pipeline.ModuleReplace: "was replaced", pipeline.ModuleDestroy: "is gone",
}

// Drifted says what somebody else did to a resource.
func Drifted(c pipeline.ModuleChange) string { return drifted[c.Action] }

// Drift says in a line how the infrastructure of a stage's environment differs from what was
// applied, or that this is not known. It is empty if it does not differ. when writes times.
func Drift(d *pipeline.Drift, when func(time.Time) string) string {
	if d == nil {
		return ""
	}
	at := ""
	if _, target := pipeline.CutTarget(d.Stage); target != "" {
		at = " at target " + target
	}
	switch {
	case d.Unknown != "":
		return fmt.Sprintf("drift%s could not be checked %s: %s", at, when(d.At), pipeline.FirstLine(d.Unknown))
	case !d.Any():
		return ""
	}
	return fmt.Sprintf("drift%s: %s changed outside of the pipeline, found %s", at, pipeline.Count(d.Total, "resource"), when(d.Since))
}

// DriftedResources says of each resource what somebody else did to it, and of how many it does
// not say that. It names at most a number of them; 0: all that are recorded.
func DriftedResources(d pipeline.Drift, most int) (lines []string) {
	listed := d.Changes
	if most > 0 && len(listed) > most {
		listed = listed[:most]
	}
	for _, c := range listed {
		lines = append(lines, c.Address+" "+Drifted(c))
	}
	if more := d.Total - len(listed); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}
