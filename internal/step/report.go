// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// shownFailures is how many failed tests an error names; the result names more.
const shownFailures = 5

// reports are the JUnit files that a command is to write into the checkout.
type reports struct {
	checkout string
	pattern  string
	before   pipeline.ReportFiles // what was there, and says nothing of this run
	empty    bool                 // no test at all will do
}

func (r *Runner) newReports(ctx context.Context, req pipeline.StepRequest) (*reports, error) {
	if req.Checkout == "" {
		return nil, invalid("report %q needs a checkout", req.Step.Report).
			WithHint("Remove report, or set a source on the stage.")
	}
	if err := CheckReport(req.Step.Report); err != nil {
		return nil, err
	}
	tests := &reports{checkout: req.Checkout, pattern: req.Step.Report, before: req.Before, empty: req.Step.AllowEmptyReport}
	if tests.before != nil {
		return tests, nil
	}
	var err error
	tests.before, err = r.Survey(ctx, req.Checkout, []pipeline.Step{req.Step})
	return tests, err
}

// brackets makes brackets stand for themselves.
var brackets = strings.NewReplacer(`[`, `\[`, `]`, `\]`)

// lookups returns the ways in which a report is looked for, in the order in which they are
// tried: as the path that is written, as a pattern in which brackets stand for themselves,
// as in Next.js's [id] directories, and as one in which they are a class. A root refuses
// links that lead out of the checkout.
func lookups(report string) []func(root *os.Root) ([]string, error) {
	clean := path.Clean(filepath.ToSlash(report))
	all := []func(root *os.Root) ([]string, error){func(root *os.Root) ([]string, error) {
		if _, err := root.Lstat(clean); err != nil {
			return nil, nil //nolint:nilerr // nothing is there
		}
		return []string{clean}, nil
	}}
	for _, pattern := range slices.Compact([]string{brackets.Replace(clean), clean}) {
		if !doublestar.ValidatePattern(pattern) {
			continue
		}
		all = append(all, func(root *os.Root) ([]string, error) {
			names, err := doublestar.Glob(root.FS(), pattern, doublestar.WithFilesOnly(), doublestar.WithNoFollow())
			if err != nil {
				return nil, fmt.Errorf("find report %q: %w", pattern, err)
			}
			return names, nil
		})
	}
	return all
}

// CheckReport refuses, with CodeInvalid, what is no path or pattern in a checkout.
func CheckReport(pattern string) error {
	clean := path.Clean(filepath.ToSlash(pattern))
	switch {
	case !filepath.IsLocal(filepath.FromSlash(clean)):
		return invalid("report %q leads out of the checkout", pattern).
			WithHint("Name a path or pattern relative to the repository's root.")
	case !doublestar.ValidatePattern(clean) && !doublestar.ValidatePattern(brackets.Replace(clean)):
		return invalid("report %q is not a valid pattern", pattern).
			WithHint("Write a path, or a pattern such as %q.", "build/**/TEST-*.xml")
	}
	return nil
}

// coarse is more than the steps in which any file system counts time.
const coarse = 3 * time.Second

// Survey implements pipeline.Runner. A file so new that its time may not show whether it
// is written again is made a little older.
func (*Runner) Survey(ctx context.Context, checkout string, steps []pipeline.Step) (pipeline.ReportFiles, error) {
	files := pipeline.ReportFiles{}
	steps = slices.DeleteFunc(slices.Clone(steps), func(s pipeline.Step) bool { return s.Report == "" })
	if len(steps) == 0 {
		return files, nil
	}
	root, err := os.OpenRoot(checkout)
	if err != nil {
		return nil, fmt.Errorf("open checkout: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, s := range steps {
		for _, look := range lookups(s.Report) {
			names, err := look(root)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if info, err := root.Stat(name); err == nil && time.Since(info.ModTime()) < coarse {
					old := info.ModTime().Add(-time.Minute)
					_ = root.Chtimes(name, old, old)
				}
				if stamp := stampOf(ctx, root, name); stamp != (pipeline.FileStamp{}) {
					files[name] = stamp
				}
			}
		}
	}
	return files, ctx.Err()
}

// stampOf tells a file from a later one. It returns the zero stamp for what can't be read,
// which is refused when it is read as a report.
func stampOf(ctx context.Context, root *os.Root, name string) pipeline.FileStamp {
	file, err := regular.OpenIn(root, name)
	if err != nil {
		return pipeline.FileStamp{}
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	content := sha256.New()
	if err == nil {
		_, err = io.Copy(content, io.LimitReader(reader{ctx, file}, maxReport))
	}
	if err != nil {
		return pipeline.FileStamp{}
	}
	return pipeline.FileStamp{Size: info.Size(), Modified: info.ModTime(), Digest: hex.EncodeToString(content.Sum(nil))}
}

// reader reads until its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// find lists the report files that the run wrote, and how many others there are: those
// that were there before and still are what they were.
func (r *reports) find(ctx context.Context, root *os.Root) (written []string, old int, err error) {
	for _, look := range lookups(r.pattern) {
		names, err := look(root)
		if err != nil {
			return nil, 0, err
		}
		for _, name := range names {
			was, known := r.before[name]
			is := pipeline.FileStamp{}
			if known {
				is = stampOf(ctx, root, name)
			}
			if known && is.Size == was.Size && is.Modified.Equal(was.Modified) && is.Digest == was.Digest {
				old++
				continue
			}
			written = append(written, name)
		}
		if len(names) > 0 {
			break
		}
	}
	return written, old, ctx.Err()
}

// remove removes the reports of a failed attempt, so that the next is not evaluated
// by them.
func (r *reports) remove(ctx context.Context) {
	root, err := os.OpenRoot(r.checkout)
	if err != nil {
		return
	}
	defer func() { _ = root.Close() }()
	written, _, _ := r.find(ctx, root)
	for _, name := range written {
		_ = root.Remove(name)
	}
}

// read adds the reports to the outcome of the command. A command that failed
// stays failed, and its own exit is what the error says first.
func (r *reports) read(ctx context.Context, out *outcome) {
	counts := &pipeline.TestCounts{}
	written, err := r.count(ctx, counts)
	if err == nil {
		out.tests = counts
		if counts.Failed > 0 {
			err = failed("%s", namesOf(counts))
		}
	}
	switch {
	case err == nil:
	case out.err == nil:
		out.err = err
	case written: // without a report the exit says enough
		hint, ways := pipeline.RemedyOf(out.err)
		out.err = failed("%w; %w", out.err, err).WithHint("%s", hint).WithAdvice(ways...)
	}
}

// count adds up the reports that the run wrote, and tells whether there are any.
func (r *reports) count(ctx context.Context, counts *pipeline.TestCounts) (written bool, err error) {
	root, err := os.OpenRoot(r.checkout)
	if err != nil {
		return false, fmt.Errorf("open checkout: %w", err)
	}
	defer func() { _ = root.Close() }()
	names, old, err := r.find(ctx, root)
	switch {
	case err != nil:
		return false, err
	case len(names) == 0 && old > 0:
		return false, failed("report %q has not changed since the run began: the command did not write it", r.pattern).
			WithHint("A report from the repository, or from an earlier build, says nothing about this one. Let the command write it, and keep it out of the repository.")
	case len(names) == 0:
		return false, failed("the command wrote no report %q", r.pattern).
			WithHint("Set report to where the tests write JUnit XML, relative to the repository's root, or remove it.")
	}
	for _, name := range names {
		if err := countFile(ctx, root, name, counts); err != nil {
			return true, failed("report %q %w", name, err).WithHint("The report must be a complete JUnit XML file.")
		}
	}
	if counts.Total == 0 && !r.empty {
		return true, failed("report %q has no test", r.pattern).
			WithHint("Find out why no test ran. If that is intended, say so.").WithAdvice(pipeline.Set("allow_empty_report", "true", "the step"))
	}
	return true, nil
}

func countFile(ctx context.Context, root *os.Root, name string, counts *pipeline.TestCounts) error {
	file, err := regular.OpenIn(root, name)
	if special, is := errors.AsType[*regular.KindError](err); is {
		return fmt.Errorf("is a %s, not a file", regular.Kind(special.Mode))
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return readJUnit(reader{ctx, file}, maxReport, counts)
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
			b.WriteString(": " + present.Cut(m, 200))
		}
	}
	return b.String()
}
