// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

type diffOptions struct {
	*factory
	target
	from, to string
}

func newDiff(f *factory, runF func(context.Context, *diffOptions) error) *cobra.Command {
	o := &diffOptions{factory: f}
	if runF == nil {
		runF = runDiff
	}
	return &cobra.Command{
		Use:   "diff [PIPELINE] [BUILD [BUILD]]",
		Short: "Show what a promotion would release",
		Long: "Show what differs between two builds: commits, files by component, artifact, images and their packages. With\n" +
			"one BUILD, compare it with the current build of production, or of the last stage with a persistent\n" +
			"environment. Without any, compare the newest that may enter there, or that waits for a decision on its way\n" +
			"there. PIPELINE may be left out if there is only one.",
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) > 0 && !pipeline.ValidBuildID(given[0]) {
				o.pipeline, given = given[0], given[1:]
			}
			switch len(given) {
			case 1:
				o.to = given[0]
			case 2:
				o.from, o.to = given[0], given[1]
			case 3:
				return &usageError{fmt.Errorf("cannot diff: %q is one build too many; usage: %s", given[2], c.UseLine())}
			}
			return runF(c.Context(), o)
		},
	}
}

func runDiff(ctx context.Context, o *diffOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "compare builds", &o.target); err != nil {
			return err
		}
		d, err := a.Engine.Reports.Diff(ctx, o.pipeline, o.from, o.to)
		if err != nil || o.json {
			return o.printDone(err, d, "")
		}
		current := ""
		if d.Stage != "" {
			current = ", the current build of stage " + d.Stage + ","
		}
		waits := ""
		if d.Waits != "" {
			waits = ", which waits for a decision at stage " + d.Waits
		}
		on := screenOf(o.Out)
		if _, err := io.WriteString(o.Out, on.lines(fmt.Sprintf("From %s%s to %s%s", d.From, current, d.To, waits), uncoloured)); err != nil {
			return err
		}
		if d.Unknown != "" {
			fmt.Fprintf(o.Err, "Commits and files are unknown: %s\n", present.Line(d.Unknown))
		}
		for _, side := range []struct {
			title   string
			commits []pipeline.Revision
		}{{"Commits that it adds", d.Ahead}, {"Commits that it removes", d.Behind}} {
			if err := o.commits(side.title, side.commits); err != nil {
				return err
			}
		}
		return cmp.Or(o.files(d), o.parts(d))
	})
}

func (o *diffOptions) commits(title string, commits []pipeline.Revision) error {
	if len(commits) == 0 {
		return nil
	}
	fmt.Fprintf(o.Out, "\n%s\n", title)
	t := o.newTable("COMMIT", "MESSAGE", "AUTHOR", "WHEN")
	for _, r := range commits {
		t.row(present.Commit(r.Commit), r.Message, personOf(r.Author), present.Ago(o.now(), r.Time))
	}
	return t.flush()
}

func (o *diffOptions) files(d report.Diff) error {
	if len(d.Files) == 0 {
		return nil
	}
	slices.SortStableFunc(d.Files, func(a, b pipeline.FileChange) int { return strings.Compare(a.Component, b.Component) })
	fmt.Fprintln(o.Out)
	t := o.newTable("COMPONENT", "FILE", "ADDED", "REMOVED")
	for _, f := range d.Files {
		t.row(f.Component, f.Path, fmt.Sprint(f.Added), fmt.Sprint(f.Removed))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if d.Cut {
		fmt.Fprintln(o.Err, "There are more commits or files than these.")
	}
	return nil
}

func (o *diffOptions) parts(d report.Diff) error {
	fmt.Fprintln(o.Out)
	if len(d.Parts) == 0 {
		fmt.Fprintln(o.Out, "The artifact and the images are the same.")
		return nil
	}
	t := o.newTable("PART", "FROM", "TO")
	for _, p := range d.Parts {
		t.row(p.Name, present.Dash(p.From), present.Dash(p.To))
	}
	if err := t.flush(); err != nil || len(d.Packages) == 0 {
		return err
	}
	fmt.Fprintln(o.Out)
	t = o.newTable("PACKAGE", "FROM", "TO")
	for _, p := range d.Packages {
		t.row(p.Name, present.Dash(p.From), present.Dash(p.To))
	}
	return t.flush()
}
