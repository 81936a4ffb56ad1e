// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// title says in one line what a step does.
func title(s pipeline.Step) string {
	switch {
	case s.HTTP != nil:
		return method(s.HTTP.Method) + " " + firstOf(s.HTTP.URL, s.HTTP.Path, "/")
	case s.Load != nil:
		return fmt.Sprintf("%s %s, %s/s for %s", method(s.Load.Method), firstOf(s.Load.URL, s.Load.Path, "/"),
			strconv.FormatFloat(s.Load.Rate, 'g', -1, 64), pipeline.Period(s.Load.Duration))
	}
	line := pipeline.FirstLine(s.Command)
	if line != strings.TrimSpace(s.Command) {
		line += " …"
	}
	switch s.On {
	case pipeline.OnEnvironment:
		line += " (in the environment)"
	case pipeline.OnInstances:
		line += " (in each instance)"
	}
	return line
}

// summary says in one line how a step ended.
func summary(r pipeline.StepResult) string {
	text := string(r.Status) + " in " + present.Duration(r.Duration)
	if r.Attempts > 1 {
		text += fmt.Sprintf(" after %d attempts", r.Attempts)
	}
	if t := r.Tests; t != nil {
		text += fmt.Sprintf(" (%s, %d failed, %d skipped)", present.Count(t.Total, "test"), t.Failed, t.Skipped)
	}
	if reason := pipeline.FirstLine(r.Error); reason != "" {
		text += ": " + reason
	}
	return text
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// indent sets every line of s in by two spaces.
func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}
