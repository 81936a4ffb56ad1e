// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type logsOptions struct {
	*factory
	run    string
	target // instead of run: the latest there
	follow bool
	step   string
}

func newLogs(f *factory, runF func(context.Context, *logsOptions) error) *cobra.Command {
	o := &logsOptions{factory: f}
	if runF == nil {
		runF = runLogs
	}
	c := &cobra.Command{
		Use:   "logs RUN | [PIPELINE] [STAGE]",
		Short: "Print the log of a run",
		Long: "Print the log of a run, or of a stage's latest run; image/NAME stands for the bakes of an image. PIPELINE may\n" +
			"be left out if there is only one; the default STAGE is the one that ran last. Wherever it prints to, it leaves\n" +
			"colours out, and shows what a terminal would act on as an escape, such as \\x07.\n\n" +
			"With --json, print the run itself: its steps, their results and reports.",
		Args: args(0, 2),
		RunE: func(c *cobra.Command, given []string) error {
			if o.pipeline, o.stage = arg(given, 0), arg(given, 1); o.stage == "" && strings.HasPrefix(o.pipeline, "r-") {
				o.run, o.pipeline = o.pipeline, ""
			}
			if o.json && (o.follow || o.step != "") {
				return &usageError{errors.New("--json prints the run and not its log, so --follow and --step have no effect with it")}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "continue until the run has ended, or an interrupt, and print what is added")
	c.Flags().StringVar(&o.step, "step", "", "only the part of this step")
	return c
}

func runLogs(ctx context.Context, o *logsOptions) error {
	return o.with(ctx, func(a *app.App) error {
		run, err := o.find(ctx, a)
		if err != nil {
			return err
		}
		if o.json {
			return o.printJSON(run)
		}
		if err := o.head(ctx, a, run); err != nil {
			return err
		}
		out := present.NewWriter(o.Out)
		found := true
		if o.follow {
			var end context.CancelFunc
			ctx, end = o.untilInterrupted(ctx)
			defer end()
		}
		switch {
		case o.step != "":
			found, err = a.Engine.Reports.StepLog(ctx, run.Pipeline, run.ID, o.step, o.follow, out)
		case o.follow:
			err = a.Engine.Reports.Follow(ctx, run.Pipeline, run.ID, 0, out)
		default:
			err = o.copy(ctx, a, run, out)
		}
		if closed := out.Close(); err == nil {
			err = closed
		}
		if o.follow && errors.Is(err, context.Canceled) {
			return nil
		}
		if pipeline.IsNotFound(err) {
			return pipeline.Errorf(pipeline.CodeNotFound, "read log", "the log of run %s was removed with its build, or has not begun", run.ID).
				WithHint("A pipeline's keep says how many builds it retains.")
		}
		if err == nil && !found {
			return pipeline.Errorf(pipeline.CodeNotFound, "read log", "run %s has begun no step %q", run.ID, o.step).
				WithHint("`penstock logs %s --json` lists its steps.", run.ID)
		}
		return err
	})
}

// head says on a terminal which run the log is of.
func (o *logsOptions) head(ctx context.Context, a *app.App, run pipeline.Run) error {
	if !isTerminal(o.Out) {
		return nil
	}
	st, err := a.Engine.State(ctx, run.Pipeline)
	if err != nil {
		return err
	}
	b := st.Builds[run.Build]
	text := strings.Join(strings.Fields(strings.Join([]string{present.Build(b.Number, run.Build), pipeline.FirstLine(b.Revision.Message)}, " ")), " ")
	if text != "" {
		text += ", "
	}
	text += fmt.Sprintf("%s: %s, began %s; run %s", run.Stage, run.Status, present.Ago(o.now(), run.StartedAt), run.ID)
	if b.ID != "" {
		text += " of build " + b.ID
	}
	return o.remark(present.Line(text))
}

// find returns the run that was asked for.
func (o *logsOptions) find(ctx context.Context, a *app.App) (pipeline.Run, error) {
	if o.run == "" {
		if err := o.resolve(ctx, a, "logs", &o.target); err != nil {
			return pipeline.Run{}, err
		}
		st, err := a.Engine.State(ctx, o.pipeline)
		if err != nil {
			return pipeline.Run{}, err
		}
		if o.run = st.Latest[o.stage].ID; o.run == "" {
			return pipeline.Run{}, pipeline.Errorf(pipeline.CodeNotFound, "read log", "pipeline %q has no run of stage %q", o.pipeline, o.stage).
				WithHint("`penstock runs %s` lists them.", o.pipeline)
		}
	}
	run, err := a.Engine.Reports.Run(ctx, o.pipeline, o.run)
	if pipeline.IsNotFound(err) {
		return run, pipeline.Errorf(pipeline.CodeNotFound, "read log", "there is no run %q", o.run).
			WithHint("`penstock runs PIPELINE` lists them.")
	}
	return run, err
}

func (o *logsOptions) copy(ctx context.Context, a *app.App, run pipeline.Run, to io.Writer) error {
	log, err := a.Engine.Reports.Log(ctx, run.Pipeline, run.ID)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := io.Copy(to, log); err != nil {
		return fmt.Errorf("read log of run %s: %w", run.ID, err)
	}
	return nil
}
