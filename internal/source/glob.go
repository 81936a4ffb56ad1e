// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ValidateGlob checks one pattern of a pipeline.Paths, which says what patterns mean.
func ValidateGlob(pattern string) error {
	switch reason := globFault(pattern); reason {
	case "":
		return nil
	default:
		return pipeline.Errorf(pipeline.CodeInvalid, "check pattern", "%q %s", pattern, reason).
			WithHint("Patterns are relative to the repository's root, as in \"image/**\", \"*.md\" or \"/README.md\".")
	}
}

func globFault(pattern string) string {
	switch {
	case pattern == "" || pattern == "/":
		return "matches nothing"
	case unprintable(pattern):
		return "has a control character or is not UTF-8"
	case strings.HasPrefix(pattern, "!"):
		return "begins with \"!\": patterns can't exclude what another one matched; a path has the first component that matches it"
	case len(pattern) > maxGlob:
		return "is too long"
	case strings.Count(pattern, "{") > maxGroups:
		return "has too many {…} groups"
	case !doublestar.ValidatePattern(pattern):
		return "is not a valid pattern: a bracket, a brace or a backslash is unmatched"
	}
	for _, part := range strings.Split(strings.Trim(pattern, "/"), "/") {
		switch part {
		case "":
			return "has an empty path element"
		case ".", "..":
			return "has the path element \"" + part + "\""
		}
	}
	return ""
}

// Limits of a pattern. Each group of alternatives multiplies the time to match, so
// that a handful is plenty and a hundred would never end.
const (
	maxGlob   = 1024 // bytes
	maxGroups = 6
)

// globs matches paths with a list of patterns.
type globs []string

// brackets makes brackets stand for themselves.
var brackets = strings.NewReplacer("[", `\[`, "]", `\]`)

// compile returns the patterns in the form that doublestar matches against a whole
// path. Brackets match what is named like them, as Next.js's [id] directories, and what
// the class matches that they make.
func compile(patterns []string) globs {
	var g globs
	for _, pattern := range patterns {
		whole := strings.Trim(pattern, "/")
		if !strings.Contains(strings.TrimSuffix(pattern, "/"), "/") {
			whole = "**/" + whole
		}
		directory := strings.HasSuffix(pattern, "/")
		add := func(whole string, plain bool) {
			if !directory {
				g = append(g, whole)
			}
			if directory || plain {
				g = append(g, whole+"/**/*")
			}
		}
		add(whole, !strings.ContainsAny(pattern, `*?[{\`))
		if strings.Contains(pattern, "[") && !strings.Contains(pattern, `\`) {
			add(brackets.Replace(whole), !strings.ContainsAny(pattern, `*?{`))
		}
	}
	return g
}

func (g globs) match(path string) bool {
	for _, pattern := range g {
		if doublestar.MatchUnvalidated(pattern, path) {
			return true
		}
	}
	return false
}
