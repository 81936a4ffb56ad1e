// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

type logsOptions struct {
	*factory
	run string
}

func newLogs(f *factory, runF func(context.Context, *logsOptions) error) *cobra.Command {
	o := &logsOptions{factory: f}
	if runF == nil {
		runF = runLogs
	}
	return &cobra.Command{
		Use:   "logs RUN",
		Short: "Print the log of a run",
		Long:  "Print the log of a run. With --json, print the run itself: its steps, their results and reports.",
		Args:  args(1, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.run = given[0]
			return runF(c.Context(), o)
		},
	}
}

func runLogs(ctx context.Context, o *logsOptions) error {
	return o.with(ctx, func(a *app.App) error {
		run, err := a.Ledger().Run(ctx, "", o.run)
		if pipeline.IsNotFound(err) {
			return pipeline.Errorf(pipeline.CodeNotFound, "read log", "there is no run %q", o.run).
				WithHint("`penstock runs PIPELINE` lists them.")
		}
		if err != nil {
			return err
		}
		if o.json {
			return o.printJSON(run)
		}
		log, err := a.Engine.Log(ctx, run.Pipeline, run.ID)
		if pipeline.IsNotFound(err) {
			return pipeline.Errorf(pipeline.CodeNotFound, "read log", "the log of run %s was collected with its build", run.ID).
				WithHint("A pipeline's keep says how many builds it retains.")
		}
		if err != nil {
			return err
		}
		defer log.Close()
		if _, err := io.Copy(o.Out, log); err != nil {
			return fmt.Errorf("read log of run %s: %w", run.ID, err)
		}
		return nil
	})
}
