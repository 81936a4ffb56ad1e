// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
)

type gcOptions struct {
	*factory
	request engine.CollectRequest
}

func newGC(f *factory, runF func(context.Context, *gcOptions) error) *cobra.Command {
	o := &gcOptions{factory: f}
	if runF == nil {
		runF = runGC
	}
	c := &cobra.Command{
		Use:   "gc [PIPELINE]",
		Short: "Remove what nothing needs any more",
		Long: "Remove builds beyond what the pipelines retain, with their images, artifacts and logs, and what runs\n" +
			"that died left behind. Nothing that is in use, or that a rollback may need, is ever removed.\n" +
			"An apply does the same by itself; this is for after a crash, and for a look with --dry-run.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.request.Pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.request.DryRun, "dry-run", false, "only say what would be removed")
	c.Flags().BoolVar(&o.request.Kept, "kept", false, "end environments that were kept after a failure, too")
	return c
}

func runGC(ctx context.Context, o *gcOptions) error {
	return o.with(ctx, func(a *app.App) error {
		g, err := a.Engine.Collect(ctx, o.request)
		if err != nil {
			return err
		}
		if o.json {
			return o.printJSON(g)
		}
		verb := "removed"
		if o.request.DryRun {
			verb = "would remove"
		}
		for _, part := range []struct {
			noun string
			ids  []string
		}{
			{"build", g.Builds}, {"image", g.Images}, {"artifact", g.Artifacts},
			{"environment", g.Environments}, {"work directory", g.WorkDirs},
		} {
			for _, id := range part.ids {
				fmt.Fprintf(o.Out, "%s %s %s\n", verb, part.noun, id)
			}
		}
		return nil
	})
}

func newVersion(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version.",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if f.json {
				return f.printJSON(map[string]string{"version": f.version})
			}
			fmt.Fprintln(f.Out, "penstock "+f.version)
			return nil
		},
	}
}
