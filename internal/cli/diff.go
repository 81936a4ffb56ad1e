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
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
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
		Use:   "diff [PIPELINE] [BUILD|STAGE [BUILD|STAGE]]",
		Short: "Show what a promotion would release",
		Long: "Show what differs between two builds: commits, files by component, artifact, images and their packages, and\n" +
			"what the module of the second would add, change and destroy in the environment of the stage, if a module\n" +
			"makes it: from a stored plan, or from one that is made now and stored, which changes no resource. With\n" +
			"one BUILD, compare it with the current build of production, or of the last stage with a persistent\n" +
			"environment. Without any, compare the newest that may enter there, or that waits for a decision on its way\n" +
			"there. A STAGE stands for its current build; alone, it is compared with the newest that may enter it. A build\n" +
			"may be named by its number, too. PIPELINE may be left out if there is only one.",
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) > 0 && !pipeline.NamesBuild(given[0]) {
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
		if err := o.operands(ctx, a); err != nil {
			return err
		}
		d, err := a.Engine.Reports.Diff(ctx, o.pipeline, o.from, o.to)
		if err == nil {
			d.Infrastructure = asker{o.factory, a}.foresee(ctx, o.pipeline, d.Infrastructure)
		}
		if err != nil || o.json {
			return o.printDone(err, d, "")
		}
		if _, err := io.WriteString(o.Out, screenOf(o.Out).lines(span(d), uncoloured)); err != nil {
			return err
		}
		if d.URL != "" {
			fmt.Fprintln(o.Out, d.URL)
		}
		if d.Unknown != "" {
			fmt.Fprintf(o.Err, "Commits and files are unknown: %s\n", present.Line(d.Unknown))
		}
		for _, side := range []struct {
			title   string
			commits []report.Commit
		}{{"Commits that it adds", d.Ahead}, {"Commits that it removes", d.Behind}} {
			if err := o.commits(side.title, side.commits); err != nil {
				return err
			}
		}
		return cmp.Or(o.files(d), o.migrations(d), o.infrastructure(d), o.parts(d))
	})
}

// operands finds out whether the first argument names a stage, and the only pipeline was left
// out, and replaces numbers by the IDs of builds.
func (o *diffOptions) operands(ctx context.Context, a *app.App) error {
	pipelineName, stage, err := o.shift(ctx, a, o.pipeline)
	switch {
	case err != nil:
		return err
	case stage != "" && o.from != "":
		return noPipeline(ctx, a, o.pipeline)
	case stage != "" && o.to != "":
		o.pipeline, o.from = pipelineName, stage
	case stage != "":
		o.pipeline, o.to = pipelineName, stage
	}
	if err := o.resolve(ctx, a, "compare builds", &o.target); err != nil {
		return err
	}
	return o.number(ctx, a, o.pipeline, &o.from, &o.to)
}

// shift returns the only pipeline and its stage, if a name is one of a stage and of no
// pipeline.
func (o *diffOptions) shift(ctx context.Context, a *app.App, name string) (pipelineName, stage string, err error) {
	names, err := a.Engine.Reports.Names(ctx)
	if err != nil || name == "" {
		return "", "", err
	}
	return o.factory.shift(ctx, a, names, true, name, "")
}

// span says what is compared.
func span(d report.Diff) string {
	name := func(number int64, id, stage string) string {
		text := id
		if number > 0 {
			text = fmt.Sprintf("#%d %s", number, id)
		}
		if stage != "" {
			text += ", the current build of stage " + stage
		}
		return text
	}
	from, to := name(d.FromNumber, d.From, d.Stage), name(d.ToNumber, d.To, d.ToStage)
	if d.Stage != "" {
		from += ","
	}
	if d.Waits != "" {
		to += ", which waits for a decision at stage " + d.Waits
	}
	return fmt.Sprintf("From %s to %s", from, to)
}

func (o *diffOptions) commits(title string, commits []report.Commit) error {
	if len(commits) == 0 {
		return nil
	}
	fmt.Fprintf(o.Out, "\n%s\n", title)
	t := o.newTable("COMMIT", "MESSAGE", "BUILD", "AUTHOR", "WHEN")
	for _, r := range commits {
		build := ""
		if r.Build != "" {
			build = strings.TrimSpace(ask.Brief(r.Number, r.Build) + " " + ask.Mark(r))
		}
		t.row(present.Commit(r.Commit), r.Message, build, personOf(r.Author), present.Ago(o.now(), r.Time))
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

// migrations lists the files of the data component that the migration of the second build
// brings.
func (o *diffOptions) migrations(d report.Diff) error {
	if len(d.Migrations) == 0 {
		return nil
	}
	fmt.Fprintln(o.Out)
	t := o.newTable("MIGRATION", "CHANGE")
	for _, m := range d.Migrations {
		t.row(m.Path, m.Change)
	}
	return t.flush()
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

// infrastructure prints what the module of the second build would do.
func (o *diffOptions) infrastructure(d report.Diff) error {
	for _, i := range d.Infrastructure {
		fmt.Fprintf(o.Out, "\nInfrastructure of stage %s: %s\n", i.Stage, present.Line(ask.Infrastructure(i, o.now())))
		if text := ask.Refusal(i); text != "" {
			fmt.Fprintln(o.Out, present.Line(text))
		}
		if i.Plan == nil {
			continue
		}
		for _, part := range []struct {
			title   string
			changes []pipeline.ModuleChange
		}{{"RESOURCE", i.Plan.Changes}, {"CHANGED OUTSIDE", i.Plan.Drift}} {
			if len(part.changes) == 0 {
				continue
			}
			t := o.newTable(part.title, "CHANGE")
			for _, c := range part.changes {
				t.row(c.Address, ask.Act(c))
			}
			if err := t.flush(); err != nil {
				return err
			}
		}
		if more := ask.Unlisted(i.Plan.ModuleCounts, i.Plan.Changes); more != "" {
			fmt.Fprintln(o.Out, more)
		}
	}
	return nil
}
