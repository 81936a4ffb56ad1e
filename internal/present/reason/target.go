// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// serving reports whether a target runs a build and answers.
func serving(t gate.TargetStanding) bool {
	return t.Environment != nil && t.Environment.Status == pipeline.EnvRunning
}

// Serving says how many of the targets of a stage serve, as in "2/3"; empty for no targets.
func Serving(targets []gate.TargetStanding) string {
	if len(targets) == 0 {
		return ""
	}
	n := 0
	for _, t := range targets {
		if serving(t) {
			n++
		}
	}
	return fmt.Sprintf("%d/%d", n, len(targets))
}

// Targets says what the targets of a stage run, where not all of them serve the same build;
// otherwise it is empty. name names builds.
func Targets(targets []gate.TargetStanding, name func(build string) string) string {
	alike := func(t gate.TargetStanding) bool { return serving(t) && t.Build == targets[0].Build }
	if !slices.ContainsFunc(targets, func(t gate.TargetStanding) bool { return !alike(t) }) {
		return ""
	}
	var all []string
	for _, t := range targets {
		text := t.Name + " "
		switch {
		case t.Build == "" || t.Environment == nil:
			text += "nothing"
		case serving(t):
			text += name(t.Build)
		default:
			text += name(t.Build) + ", " + string(t.Environment.Status)
		}
		all = append(all, text)
	}
	return "targets run: " + strings.Join(all, "; ")
}
