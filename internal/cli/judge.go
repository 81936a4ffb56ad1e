// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

type judgeOptions struct {
	*factory
	target
	verdict  pipeline.Verdict
	reason   string
	run      string
	runGiven bool // what was looked at, which may be no run
}

func newJudge(f *factory, verdict pipeline.Verdict, runF func(context.Context, *judgeOptions) error) *cobra.Command {
	o := &judgeOptions{factory: f, verdict: verdict}
	if runF == nil {
		runF = runJudge
	}
	c := &cobra.Command{
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			o.read(given)
			o.runGiven = c.Flags().Changed("run")
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.run, "run", "", "the run that was looked at: refused where the stage has run again since")
	if verdict == pipeline.Approved {
		c.Use, c.Short = "approve [PIPELINE] [STAGE] [BUILD]", "Approve a build at a stage that waits for a decision"
		c.Long = "Approve a build at a stage that waits for a decision; without BUILD the one on offer. PIPELINE may be left\n" +
			"out where there is one, and STAGE where one waits.\n" +
			"The next apply moves what the approval opens. An approval of a rejected build lifts the rejection."
		c.Flags().StringVar(&o.reason, "reason", "", "why")
	} else {
		c.Use, c.Short = "reject [PIPELINE] [STAGE] [BUILD] --reason WHY", "Reject a build at a stage"
		c.Long = "Reject a build at a stage; without BUILD the one on offer. It goes no further, at that stage and below,\n" +
			"until somebody approves it there. What runs already stays. PIPELINE may be left out where there is one, and\n" +
			"STAGE where one waits for a decision."
		c.Flags().StringVar(&o.reason, "reason", "", "why (required)")
	}
	return c
}

func runJudge(ctx context.Context, o *judgeOptions) error {
	return o.with(ctx, func(a *app.App) error {
		verb := "approve"
		if o.verdict == pipeline.Rejected {
			verb = "reject"
		}
		if err := o.resolve(ctx, a, verb, &o.target); err != nil {
			return err
		}
		var d pipeline.Decision
		var err error
		if o.runGiven {
			d, err = a.Engine.JudgeOn(ctx, o.pipeline, o.stage, o.build, o.run, o.verdict, o.reason)
		} else {
			d, err = a.Engine.Judge(ctx, o.pipeline, o.stage, o.build, o.verdict, o.reason)
		}
		if err != nil || o.json {
			return o.tell(err, d, "")
		}
		fmt.Fprintln(o.Out, judged(d))
		if o.verdict != pipeline.Approved {
			return nil
		}
		st, err := a.Engine.State(ctx, o.pipeline)
		if err != nil {
			return err
		}
		if missing := st.MissingApprovals(st.Stages[o.stage], d.Build); missing > 0 && st.Stages[o.stage].Approval {
			fmt.Fprintf(o.Out, "It takes %d more.\n", missing)
		}
		return nil
	})
}

// judged says what was decided, and on which run.
func judged(d pipeline.Decision) string {
	text := fmt.Sprintf("%s is %s at stage %s by %s", d.Build, d.Verdict, d.Stage, d.Actor)
	if d.Run != "" {
		text += ", on run " + d.Run
	}
	return text + "."
}

type promoteOptions struct {
	*factory
	target
	back bool
}

func newRollback(f *factory, runF func(context.Context, *promoteOptions) error) *cobra.Command {
	o := &promoteOptions{factory: f, back: true}
	if runF == nil {
		runF = runPromote
	}
	return &cobra.Command{
		Use:   "rollback [PIPELINE] [STAGE] [BUILD]",
		Short: "Let a stage with a manual trigger move back to an older build",
		Long: "Let a stage with a manual trigger, such as production, move back to an older build; without BUILD the\n" +
			"one that passed it last before the one that it holds. The next apply deploys it. PIPELINE may be left out\n" +
			"where there is one, and STAGE where one moves by hand.",
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			o.read(given)
			return runF(c.Context(), o)
		},
	}
}

func newPromote(f *factory, runF func(context.Context, *promoteOptions) error) *cobra.Command {
	o := &promoteOptions{factory: f}
	if runF == nil {
		runF = runPromote
	}
	return &cobra.Command{
		Use:   "promote [PIPELINE] [STAGE] [BUILD]",
		Short: "Let a stage with a manual trigger move to a build",
		Long: "Let a stage with a manual trigger, such as production, move to a build; without BUILD the newest\n" +
			"that passed what is before it. The next apply deploys it. An older build that passed is a rollback.\n" +
			"PIPELINE may be left out where there is one, and STAGE where one moves by hand.",
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			o.read(given)
			return runF(c.Context(), o)
		},
	}
}

func runPromote(ctx context.Context, o *promoteOptions) error {
	return o.with(ctx, func(a *app.App) error {
		verb, move := "promote", a.Engine.Promote
		if o.back {
			verb, move = "rollback", a.Engine.Rollback
		}
		if err := o.resolve(ctx, a, verb, &o.target); err != nil {
			return err
		}
		p, err := move(ctx, o.pipeline, o.stage, o.build)
		if err != nil || o.json {
			return o.tell(err, p, "")
		}
		st, err := a.Engine.State(ctx, o.pipeline)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(o.Out, moves(st, p))
		return err
	})
}

// moves says where a promotion takes a stage, and what that leaves.
func moves(st *pipeline.State, p pipeline.Promotion) string {
	from, to := st.Builds[st.Holds[p.Stage].Build], st.Builds[p.Build]
	switch {
	case from.ID == "":
		return fmt.Sprintf("Stage %s is promoted to %s. The next apply deploys it.", p.Stage, p.Build)
	case from.ID == to.ID:
		return fmt.Sprintf("Stage %s stays at %s.", p.Stage, p.Build)
	case from.Order > to.Order:
		return fmt.Sprintf("Stage %s goes back from %s to %s. The next apply deploys it.", p.Stage, from.ID, p.Build)
	}
	return fmt.Sprintf("Stage %s is promoted from %s to %s. The next apply deploys it.", p.Stage, from.ID, p.Build)
}
