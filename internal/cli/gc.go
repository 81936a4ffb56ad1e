// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type gcOptions struct {
	*factory
	request collect.Request
	yes     bool
}

func newGC(f *factory, runF func(context.Context, *gcOptions) error) *cobra.Command {
	o := &gcOptions{factory: f}
	if runF == nil {
		runF = runGC
	}
	c := &cobra.Command{
		Use:   "gc [PIPELINE]",
		Short: "Remove what nothing needs",
		Long: "Remove builds beyond what the pipelines retain, with their images, artifacts and logs, and what dead runs\n" +
			"left, after asking. Nothing that is in use, or that a rollback may need, is ever removed; `penstock images`\n" +
			"says what keeps an image.\n\n" +
			"An apply does the same by itself, and also removes expired archives of destroyed pipelines. Use this after a\n" +
			"crash, or with --dry-run to see what would go.\n\n" +
			"It also runs service.finish at the stages where that is due, which an apply does, too.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.request.Pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.request.DryRun, "dry-run", false, "only say what would be removed")
	c.Flags().BoolVar(&o.request.Kept, "kept", false, "also end environments that were kept after a failure")
	c.Flags().BoolVar(&o.yes, "yes", false, "don't ask")
	return c
}

func runGC(ctx context.Context, o *gcOptions) error {
	const op = "remove garbage"
	return o.with(ctx, func(a *app.App) error {
		look := o.request
		look.DryRun = true
		g, err := a.Engine.Collector.Collect(ctx, look)
		if err != nil {
			return err
		}
		if o.request.DryRun {
			return o.list("would remove", g)
		}
		if things := listGarbage("remove", g); len(things) > 0 {
			if !o.yes {
				fmt.Fprintln(o.Err, present.Text(strings.Join(things, "\n")))
			}
			if err := o.ask(ctx, op, o.yes, "Remove these"); err != nil {
				return err
			}
		}
		defer o.atWork()()
		if g, err = a.Engine.Collector.Collect(ctx, o.request); err != nil {
			return err
		}
		if err := o.list("removed", g); err != nil {
			return err
		}
		return o.finish(ctx, a)
	})
}

// finish runs service.finish where it is due.
func (o *gcOptions) finish(ctx context.Context, a *app.App) error {
	states, err := selectPipelines(ctx, a, o.request.Pipeline)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		stages, failed := a.Engine.Stages.FinishDue(ctx, name)
		for _, stage := range stages {
			if err := o.remark(fmt.Sprintf("service.finish was run at stage %s of %s.", stage, name)); err != nil {
				return err
			}
		}
		err = errors.Join(err, failed)
	}
	return err
}

func (o *gcOptions) list(verb string, g collect.Garbage) error {
	if o.json {
		return o.printJSON(g)
	}
	lines := listGarbage(verb, g)
	if len(lines) == 0 {
		return o.remark("There is nothing to remove.")
	}
	on := screenOf(o.Out)
	for _, line := range lines {
		fmt.Fprint(o.Out, on.lines(present.Line(line), uncoloured))
	}
	return nil
}

// listGarbage returns a line for each thing, with why it goes.
func listGarbage(verb string, g collect.Garbage) []string {
	var lines []string
	for _, part := range []struct {
		noun, why string
		ids       []string
	}{
		{"build", "it is older than the builds to keep, and nothing runs it", g.Builds},
		{"image", "nothing needs it", g.Images},
		{"bake", "its run has ended", g.Bakes},
		{"artifact", "no build has it", g.Artifacts},
		{"environment", "its maker has ended", g.Environments},
		{"work directory", "its run has ended", g.WorkDirs},
		{"archive of pipeline", "it has expired", g.Archives},
	} {
		for _, id := range part.ids {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", verb, part.noun, id, part.why))
		}
	}
	return lines
}
