// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// steerOptions are those of the commands that steer a stage without a decision on a
// build: override, pause, resume and retry.
type steerOptions struct {
	*factory
	target
	reason string
	yes    bool
}

// steer makes a command whose arguments are a pipeline, a stage and maybe a build. The
// first two may be left out.
func (f *factory) steer(most int, c *cobra.Command, runF, run func(context.Context, *steerOptions) error) (*cobra.Command, *steerOptions) {
	o := &steerOptions{factory: f}
	if runF == nil {
		runF = run
	}
	c.Args = args(0, most)
	c.RunE = func(c *cobra.Command, given []string) error {
		switch o.read(given); {
		case o.build == "" && most == 3:
			return &usageError{fmt.Errorf("cannot %s: BUILD required; usage: %s", c.Name(), c.UseLine())}
		case o.build != "" && most < 3:
			return &usageError{fmt.Errorf("cannot %s: %q is a build, but the command is about a stage; usage: %s", c.Name(), o.build, c.UseLine())}
		}
		return runF(c.Context(), o)
	}
	return c, o
}

func newOverride(f *factory, runF func(context.Context, *steerOptions) error) *cobra.Command {
	c, o := f.steer(3, &cobra.Command{
		Use:   "override [PIPELINE] [STAGE] BUILD --reason WHY",
		Short: "Let a build pass a stage that it has not passed",
		Long: "Let a build pass a stage that it has not passed: one that failed, did not run, or lacks approvals. The build\n" +
			"must have passed the stages above, and must not be rejected. Requires the override right. The override is\n" +
			"recorded on the build permanently.\n\n" + asks,
	}, runF, runOverride)
	c.Flags().StringVar(&o.reason, "reason", "", "why (required)")
	c.Flags().BoolVar(&o.yes, "yes", false, "do not show what is known, and do not ask")
	return c
}

func runOverride(ctx context.Context, o *steerOptions) error {
	return o.at(ctx, "override", func(a *app.App) error {
		c := o.command(decision.Override)
		if strings.TrimSpace(c.Reason) != "" { // else it is refused for that
			if err := (asker{o.factory, a}).confirm(ctx, &c, o.yes, true); err != nil {
				return err
			}
		}
		outcome, err := a.Engine.Decisions.Do(ctx, c)
		done := outcome.Override
		err = o.printDone(err, done, "%s passes stage %s by an override of %s. The next apply moves what that opens.", inFull(outcome.Build), done.Stage, done.Actor)
		if err == nil && !o.json {
			asker{o.factory, a}.follow(ctx, o.pipeline)
		}
		return err
	})
}

func newPause(f *factory, runF func(context.Context, *steerOptions) error) *cobra.Command {
	c, o := f.steer(2, &cobra.Command{
		Use:   "pause [PIPELINE] [STAGE]",
		Short: "Keep a stage where it is: no build enters it",
		Long: "Keep a stage where it is until it is resumed. No build enters it, and what it runs continues to run. The\n" +
			"stages below it go on with what has passed it.",
	}, runF, runPause)
	c.Flags().StringVar(&o.reason, "reason", "", "why")
	return c
}

func runPause(ctx context.Context, o *steerOptions) error {
	return o.at(ctx, "pause", func(a *app.App) error {
		outcome, err := o.do(ctx, a, decision.Pause)
		done := outcome.Pause
		return o.printDone(err, done, "Stage %s is paused by %s.", done.Stage, done.Actor)
	})
}

func newResume(f *factory, runF func(context.Context, *steerOptions) error) *cobra.Command {
	c, _ := f.steer(2, &cobra.Command{
		Use:   "resume [PIPELINE] [STAGE]",
		Short: "Let a paused stage go on",
		Long:  "Let a paused stage go on. The next apply moves it.",
	}, runF, runResume)
	return c
}

func runResume(ctx context.Context, o *steerOptions) error {
	return o.at(ctx, "resume", func(a *app.App) error {
		outcome, err := o.do(ctx, a, decision.Resume)
		was := outcome.Pause
		return o.printDone(err, was, "Stage %s goes on with the next apply.", o.stage)
	})
}

func newRetry(f *factory, runF func(context.Context, *steerOptions) error) *cobra.Command {
	c, _ := f.steer(2, &cobra.Command{
		Use:   "retry [PIPELINE] [STAGE]",
		Short: "Let a stage run once more for its latest build",
		Long: "Let a stage run once more, with the next apply, for its latest build, whether that passed or failed. A\n" +
			"decision on the earlier run does not count for the new one.",
	}, runF, runRetry)
	return c
}

func runRetry(ctx context.Context, o *steerOptions) error {
	return o.at(ctx, "retry", func(a *app.App) error {
		outcome, err := o.do(ctx, a, decision.Retry)
		asked := outcome.Retry
		return o.printDone(err, asked, "Stage %s runs again with the next apply.", asked.Stage)
	})
}

// do does what the arguments say.
func (o *steerOptions) do(ctx context.Context, a *app.App, verb decision.Verb) (decision.Outcome, error) {
	return a.Engine.Decisions.Do(ctx, o.command(verb))
}

// command is what the arguments and flags say.
func (o *steerOptions) command(verb decision.Verb) decision.Command {
	return decision.Command{Verb: verb, Pipeline: o.pipeline, Stage: o.stage, Build: o.build, Reason: o.reason}
}

// at is with, once the pipeline and the stage are known.
func (o *steerOptions) at(ctx context.Context, verb string, call func(*app.App) error) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, verb, &o.target); err != nil {
			return err
		}
		return call(a)
	})
}

// printDone prints what was done, as JSON or in words; or returns the error.
func (f *factory) printDone(err error, done any, format string, args ...any) error {
	switch {
	case err != nil:
		return err
	case f.json:
		return f.printJSON(done)
	}
	_, err = fmt.Fprintln(f.Out, present.Text(fmt.Sprintf(format, args...)))
	return err
}
