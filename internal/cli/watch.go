// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/install"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/watch"
)

type watchOptions struct {
	*factory
	dir, terraform     string
	interval           time.Duration
	planOnly, once     bool
	verbose            bool
	vars, varFiles     []string
	apply              *progress         // of the one under way
	applied            func()            // ends the work of the one under way
	reported           map[string]string // by run: the step that was reported
	firstBack, maxBack time.Duration
}

func newWatch(f *factory, runF func(context.Context, *watchOptions) error) *cobra.Command {
	o := &watchOptions{factory: f}
	if runF == nil {
		runF = runWatch
	}
	c := &cobra.Command{
		Use:   "watch [DIR]",
		Short: "Apply a configuration whenever something in its pipelines can move",
		Long: "Apply the Terraform configuration in DIR (default: this directory), when and only when something in its\n" +
			"pipelines can move: a commit touches a component; somebody approved, promoted, resumed or asked for another\n" +
			"run; or an environment has ended. It watches the repositories and the ledger, and prints one line for each\n" +
			"thing that it does, with the reason.\n\n" +
			"One watcher works at a time; others of the same pipelines stand by. It tries a failed apply again after a\n" +
			"minute, then two, up to an hour, or at once when there is something new.\n\n" +
			"The first interrupt lets the current apply finish, the second cancels it.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			if o.dir = arg(given, 0); o.dir == "" {
				o.dir = "."
			}
			if o.interval < time.Second {
				return &usageError{fmt.Errorf("--interval %s is less than a second", o.interval)}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().DurationVar(&o.interval, "interval", watch.DefaultInterval, "how often to check")
	c.Flags().BoolVar(&o.once, "once", false, "check once, apply if needed, and end")
	c.Flags().BoolVar(&o.planOnly, "plan-only", false, "plan instead of applying")
	c.Flags().StringVar(&o.terraform, "terraform", "", "the program (default: terraform, otherwise tofu, on PATH)")
	c.Flags().StringArrayVar(&o.vars, "var", nil, "a variable, NAME=VALUE; may be repeated")
	c.Flags().StringArrayVar(&o.varFiles, "var-file", nil, "a file of variables; may be repeated")
	c.Flags().BoolVar(&o.verbose, "verbose", false, "also print what Terraform prints")
	return c
}

func runWatch(ctx context.Context, o *watchOptions) error {
	tightenMemory()
	var out io.Writer
	if o.verbose {
		out = o.Err
	}
	tf, err := watch.NewCLI(o.dir, o.terraform, out)
	if err != nil {
		return err
	}
	tf.Vars, tf.VarFiles = o.vars, o.varFiles
	options := watch.Options{
		Terraform: tf, Dir: o.dir, Interval: o.interval, PlanOnly: o.planOnly, Once: o.once,
		Open:   func(ctx context.Context) (*app.App, error) { return o.openIn(ctx, o.dir) },
		Report: o.report, FirstBackOff: o.firstBack, MaxBackOff: o.maxBack,
	}
	if !o.json && !o.verbose { // else nobody looks on, or Terraform tells
		options.Progress = o.progress
	}
	err = watch.New(options).Run(ctx, o.finishing("Finishing the current apply. Interrupt again to cancel it."))
	var begin *watch.BeginError
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &begin):
		return pipeline.Errorf(pipeline.CodeFailed, "begin to watch "+o.dir, "%w", begin.Err).WithHint("%s", providerHint(install.Settings()))
	case o.once && err != nil:
		return &silentError{err}
	}
	return err
}

// providerHint says what to do where Terraform may not find the provider.
func providerHint(settings []install.Setting) string {
	for _, s := range settings {
		switch {
		case s.Override != "":
			return fmt.Sprintf("%s has dev_overrides for the provider, with which `terraform init` can't work. Remove them, and run `penstock install`.", s.File)
		case s.Hides:
			return fmt.Sprintf("%s has a provider_installation block, which keeps Terraform from finding the provider by itself. `penstock install` says what to add to it.", s.File)
		}
	}
	return "If Terraform does not find the provider, `penstock install` puts it where Terraform looks."
}

// report prints an event as a line.
func (o *watchOptions) report(e watch.Event) {
	if o.applied != nil {
		o.applied()
		o.applied = nil
	}
	if e.Kind == watch.KindApply {
		o.applied = o.atWork()
	}
	if o.json {
		_ = o.printJSONLine(e)
		return
	}
	if o.apply != nil {
		o.apply.end()
		o.apply = nil
	}
	fmt.Fprintf(o.Out, "%s %s\n", pipeline.Clock(e.Time.Local()), present.Line(describeEvent(e)))
	if e.Kind == watch.KindApply && !o.verbose {
		o.apply, o.reported = o.begin("applying"), map[string]string{}
	}
	for line := range strings.Lines(e.Error) {
		fmt.Fprintf(o.Err, "  %s\n", present.Line(strings.TrimRight(line, "\n")))
	}
}

// progress tells what an apply is at: on a terminal all of it, in a pipe each step that
// has begun since.
func (o *watchOptions) progress(runs []report.Progress) {
	var all []string
	for _, r := range runs {
		step := string(r.Run.Phase)
		if r.Step != "" {
			step = fmt.Sprintf("%s %d of %d, %s", step, r.Number, r.Of, r.Step)
		}
		text := fmt.Sprintf("%s: %s, %s", r.Run.Stage, present.Age(o.now().Sub(r.Run.StartedAt)), step)
		if r.Line != "" {
			text += ": " + r.Line
		}
		if o.apply.on.terminal || o.reported[r.Run.ID] != step {
			all = append(all, present.Line(text))
		}
		o.reported[r.Run.ID] = step
	}
	switch {
	case o.apply.on.terminal:
		fmt.Fprintln(o.apply, strings.Join(all, "; "))
	case len(all) > 0:
		fmt.Fprintln(o.apply, strings.Join(all, "\n"))
	}
}

func describeEvent(e watch.Event) string {
	why := strings.Join(e.Reasons, "; ")
	took := present.Duration(e.Took)
	switch e.Kind {
	case watch.KindWatching:
		return "watching: nothing can move"
	case watch.KindStandby:
		return "standing by: " + e.Text
	case watch.KindApply:
		return "apply: " + why
	case watch.KindApplied:
		return fmt.Sprintf("applied in %s: %s", took, e.Text)
	case watch.KindPlanned:
		return fmt.Sprintf("planned: %s: %s", why, e.Text)
	case watch.KindFailed:
		if e.Next.IsZero() {
			return fmt.Sprintf("failed after %s", took)
		}
		return fmt.Sprintf("failed after %s; tried again at %s, or when there is something new", took, pipeline.Clock(e.Next.Local()))
	case watch.KindUnreachable:
		return "can't check, and keeps trying"
	case watch.KindReachable:
		return "can check again"
	case watch.KindEmpty:
		return "the state is empty: nothing is applied until somebody applies the configuration"
	default:
		return string(e.Kind)
	}
}
