// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// shownFailures is how many failed tests an error names; the result names more.
const shownFailures = 5

// reports are the JUnit files that a command leaves in the checkout.
type reports struct {
	checkout string
	pattern  string
}

func newReports(checkout, pattern string) (*reports, error) {
	if checkout == "" {
		return nil, invalid("report %q has no checkout to be looked for in", pattern).
			WithHint("Leave out report, or give the stage a source.")
	}
	if err := CheckReport(pattern); err != nil {
		return nil, err
	}
	return &reports{checkout: checkout, pattern: reportPattern(pattern)}, nil
}

func reportPattern(pattern string) string { return path.Clean(filepath.ToSlash(pattern)) }

// CheckReport refuses, with CodeInvalid, what is no path or pattern in a checkout.
func CheckReport(pattern string) error {
	clean := reportPattern(pattern)
	switch {
	case !filepath.IsLocal(filepath.FromSlash(clean)):
		return invalid("report %q leads out of the checkout", pattern).
			WithHint("Name a path or pattern relative to the repository's root.")
	case !doublestar.ValidatePattern(clean):
		return invalid("report %q is not a valid pattern", pattern).
			WithHint("Write a path, or a pattern such as %q.", "build/**/TEST-*.xml")
	}
	return nil
}

// each calls do for every report, and gives their number. The root refuses links
// that lead out of the checkout.
func (r *reports) each(do func(root *os.Root, name string) error) (int, error) {
	root, err := os.OpenRoot(r.checkout)
	if err != nil {
		return 0, fmt.Errorf("open checkout: %w", err)
	}
	defer func() { _ = root.Close() }()
	names, err := doublestar.Glob(root.FS(), r.pattern, doublestar.WithFilesOnly(), doublestar.WithNoFollow())
	if err != nil {
		return 0, fmt.Errorf("find report %q: %w", r.pattern, err)
	}
	for _, name := range names {
		if err := do(root, name); err != nil {
			return 0, fmt.Errorf("report %q %w", name, err)
		}
	}
	return len(names), nil
}

// remove removes the reports of a try that failed, so that the next is not judged
// by them.
func (r *reports) remove() {
	_, _ = r.each(func(root *os.Root, name string) error { return root.Remove(name) })
}

// read adds the reports to the outcome of the command. A command that failed
// stays failed, and its own exit is what the error says first.
func (r *reports) read(out *outcome) {
	counts := &pipeline.TestCounts{}
	found, err := r.each(func(root *os.Root, name string) error {
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return readJUnit(f, maxReport, counts)
	})
	switch {
	case err != nil:
		err = failed("%w", err).WithHint("The report must be a complete JUnit XML file.")
	case found == 0:
		err = failed("the command left no report %q", r.pattern).
			WithHint("Set report to where the tests write JUnit XML, relative to the repository's root, or remove it.")
	default:
		out.tests = counts
		if counts.Failed > 0 {
			err = failed("%s", namesOf(counts))
		}
	}
	switch {
	case err == nil:
	case out.err == nil:
		out.err = err
	case found > 0: // without a report the exit says enough
		out.err = failed("%w; %w", out.err, err).WithHint("%s", pipeline.HintOf(out.err))
	}
}

// namesOf says which tests failed.
func namesOf(c *pipeline.TestCounts) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d tests failed", c.Failed, c.Total)
	for i, f := range c.Failures {
		if i == shownFailures {
			fmt.Fprintf(&b, "\n  and %d more", c.Failed-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s", f.Name)
		if m := pipeline.FirstLine(f.Message); m != "" {
			b.WriteString(": " + shorten(m, 200))
		}
	}
	return b.String()
}
