// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

type decideOptions struct {
	*factory
	target
	verb      decision.Verb
	reason    string
	lift, yes bool
	run       string
	seen      int64
	looked    decision.Looked // what was given of the two before
}

func newDecide(f *factory, verb decision.Verb, runF func(context.Context, *decideOptions) error) *cobra.Command {
	o := &decideOptions{factory: f, verb: verb}
	if runF == nil {
		runF = runDecide
	}
	c := &cobra.Command{
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			o.read(given)
			if c.Flags().Changed("run") {
				o.looked.Run = &o.run
			}
			if c.Flags().Changed("seen") {
				o.looked.Decision = &o.seen
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "do not show what is known, and do not ask")
	c.Flags().StringVar(&o.run, "run", "", "the run that you looked at: refused if the stage has run again since")
	c.Flags().Int64Var(&o.seen, "seen", 0, "the version of the decision that you looked at, 0 for none: refused if somebody has decided since")
	if verb == decision.Approve {
		c.Use, c.Short = "approve [PIPELINE] [STAGE] [BUILD]", "Approve a build at a stage that waits for a decision"
		c.Long = "Approve a build at a stage that waits for a decision; without BUILD, the stage's candidate. PIPELINE may be\n" +
			"left out if there is only one, and STAGE if only one waits.\n\n" +
			"The next apply moves what the approval opens. A rejected build can't be approved: --lift shows its rejection\n" +
			"and lifts it, which takes as many people as an approval.\n\n" + mayAsk
		c.Flags().StringVar(&o.reason, "reason", "", "why")
		c.Flags().BoolVar(&o.lift, "lift", false, "lift the rejection of BUILD at the stage")
	} else {
		c.Use, c.Short = "reject [PIPELINE] [STAGE] [BUILD] --reason WHY", "Reject a build at a stage"
		c.Long = "Reject a build at a stage; without BUILD, the stage's candidate. The build goes no further, at that stage and\n" +
			"below, until approve --lift lifts the rejection. Whatever already runs it stays. PIPELINE may be left out if\n" +
			"there is only one, and STAGE if only one waits for a decision.\n\n" + mayAsk
		c.Flags().StringVar(&o.reason, "reason", "", "why (required)")
	}
	return c
}

func runDecide(ctx context.Context, o *decideOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if o.lift {
			o.verb = decision.Lift
		}
		if err := o.resolve(ctx, a, string(o.verb), &o.target); err != nil {
			return err
		}
		if o.lift {
			return o.liftRejection(ctx, a)
		}
		c := o.command()
		if err := (asker{o.factory, a}).confirm(ctx, &c, o.yes, false); err != nil {
			return err
		}
		return o.record(ctx, a, c)
	})
}

// command is what the arguments and flags say.
func (o *decideOptions) command() decision.Command {
	return decision.Command{Verb: o.verb, Pipeline: o.pipeline, Stage: o.stage, Build: o.build, Reason: o.reason, Looked: o.looked}
}

// liftRejection shows the rejection that is to be lifted, asks, and lifts that one.
func (o *decideOptions) liftRejection(ctx context.Context, a *app.App) error {
	const op = "lift rejection"
	if err := o.canAsk(op, o.yes); err != nil {
		return err
	}
	states, err := selectPipelines(ctx, a, o.pipeline)
	if err != nil {
		return err
	}
	st := states[o.pipeline]
	id := pipeline.StageBuild(o.stage, o.build)
	if d := st.Decisions[id]; o.looked.Decision == nil && d.Result == pipeline.Rejected {
		version := st.Version(pipeline.RecordDecision, id)
		o.looked.Decision = &version
		fmt.Fprintf(o.Err, "%s.\n", sentence(d))
		if err := o.ask(ctx, op, o.yes, "Lift that"); err != nil {
			return err
		}
	}
	return o.record(ctx, a, o.command())
}

// record takes the decision and prints it, and how many more people it takes.
func (o *decideOptions) record(ctx context.Context, a *app.App, c decision.Command) error {
	done, err := a.Engine.Decisions.Do(ctx, c)
	if err != nil || o.json {
		return o.printDone(err, done.Decision, "")
	}
	fmt.Fprintln(o.Out, present.Line(decided(done)))
	if done.More > 0 {
		fmt.Fprintf(o.Out, "It takes %d more.\n", done.More)
		return nil
	}
	if done.Decision.Result == pipeline.Approved {
		asker{o.factory, a}.follow(ctx, o.pipeline)
	}
	return nil
}

// decided says what was decided, and on which run.
func decided(done decision.Outcome) string {
	d := done.Decision
	text := fmt.Sprintf("%s is %s at stage %s by %s", inFull(done.Build), d.Result, d.Stage, d.Actor)
	if d.Lift != nil || len(d.Lifted) > 0 {
		text = sentence(d)
	}
	if d.Run != "" && d.Lift == nil {
		text += ", on run " + d.Run
	}
	return text + "."
}

// inFull names a build by its number, and by its ID.
func inFull(b pipeline.Build) string {
	return ask.Build(report.Named{ID: b.ID, Number: b.Number})
}

// sentence says who decided what, in a line of its own.
func sentence(d pipeline.Decision) string {
	return present.Line(strings.TrimPrefix(d.Describe(), "build "))
}

// How the commands of decisions ask.
const (
	asks = "On a terminal it shows what is known of the build, what happens and who carries it out, and asks. Without a\n" +
		"terminal it needs --yes, and ends with status 2 if that is missing."
	mayAsk = "On a terminal it shows what is known of the build and what happens, and asks, unless --yes is given. Without a\n" +
		"terminal it does not ask, so that scripts may decide; --run and --seen tie the decision to what was looked at."
)

type promoteOptions struct {
	*factory
	target
	back, cancel, yes bool
	restore           bool
	backup            string
}

func newRollback(f *factory, runF func(context.Context, *promoteOptions) error) *cobra.Command {
	o := &promoteOptions{factory: f, back: true}
	if runF == nil {
		runF = runPromote
	}
	c := &cobra.Command{
		Use:   "rollback [PIPELINE] [STAGE] [BUILD]",
		Short: "Let a stage with a manual trigger move back to an older build",
		Long: "Let a stage with a manual trigger, such as production, move back to an older build; without BUILD, the last\n" +
			"one before the current build that passed the stage. The next apply deploys it. PIPELINE may be left out if\n" +
			"there is only one, and STAGE if only one has a manual trigger.\n\n" +
			"The data stays as it is, unless --restore-data is given: service.restore then restores the backup that was\n" +
			"taken before the build that replaced the older one was migrated in, or the one that --backup names. What was\n" +
			"written since is lost. `penstock runs --json` lists the backups.\n\n" + asks,
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			if o.read(given); o.backup != "" && !o.restore {
				return &usageError{errors.New("cannot roll back: --backup is for --restore-data")}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "do not show what is known, and do not ask")
	c.Flags().BoolVar(&o.restore, "restore-data", false, "restore a backup of the data, too: what was written since is lost")
	c.Flags().StringVar(&o.backup, "backup", "", "with --restore-data: the name of the backup")
	return c
}

func newPromote(f *factory, runF func(context.Context, *promoteOptions) error) *cobra.Command {
	o := &promoteOptions{factory: f}
	if runF == nil {
		runF = runPromote
	}
	c := &cobra.Command{
		Use:   "promote [PIPELINE] [STAGE] [BUILD]",
		Short: "Let a stage with a manual trigger move to a build",
		Long: "Let a stage with a manual trigger, such as production, move to a build; without BUILD, the newest that passed\n" +
			"the stages above. The next apply deploys it. An older build that passed is a rollback. PIPELINE may be left\n" +
			"out if there is only one, and STAGE if only one has a manual trigger.\n\n" +
			"--cancel takes a promotion or a rollback back that no apply has taken up yet. The stage stays where it is.\n\n" + asks,
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			o.read(given)
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "do not show what is known, and do not ask")
	c.Flags().BoolVar(&o.cancel, "cancel", false, "take the promotion back that no apply has taken up yet")
	return c
}

func runPromote(ctx context.Context, o *promoteOptions) error {
	return o.with(ctx, func(a *app.App) error {
		verb, what := decision.Promote, "promote"
		switch {
		case o.cancel:
			verb, what = decision.CancelPromotion, cancelPromotion
		case o.back:
			verb, what = decision.Rollback, "rollback"
		}
		if err := o.resolve(ctx, a, what, &o.target); err != nil {
			return err
		}
		c := decision.Command{Verb: verb, Pipeline: o.pipeline, Stage: o.stage, Build: o.build, RestoreData: o.restore, Backup: o.backup}
		if err := (asker{o.factory, a}).confirm(ctx, &c, o.yes || o.cancel, true); err != nil {
			return err
		}
		done, err := a.Engine.Decisions.Do(ctx, c)
		if o.cancel {
			return o.printDone(err, done.Promotion, "%s", cancelled(done))
		}
		if err := o.printDone(err, done.Promotion, "%s", moves(done)); err != nil || o.json || done.From.ID == done.To.ID {
			return err
		}
		asker{o.factory, a}.follow(ctx, o.pipeline)
		return nil
	})
}

// moves says where a promotion takes a stage, and what that leaves.
func moves(done decision.Outcome) string {
	p, from, to := done.Promotion, done.From, done.To
	switch {
	case p.Restore != nil:
		return fmt.Sprintf("Stage %s goes back from %s to %s. The next apply restores backup %s of %s, and deploys it.",
			p.Stage, inFull(from), inFull(to), p.Restore.Backup, pipeline.Moment(p.Restore.At.Local()))
	case from.ID == "":
		return fmt.Sprintf("Stage %s is promoted to %s. The next apply deploys it.", p.Stage, inFull(to))
	case from.ID == to.ID:
		return fmt.Sprintf("Stage %s stays at %s.", p.Stage, inFull(to))
	case from.Order > to.Order:
		return fmt.Sprintf("Stage %s goes back from %s to %s. The next apply deploys it.", p.Stage, inFull(from), inFull(to))
	}
	return fmt.Sprintf("Stage %s is promoted from %s to %s. The next apply deploys it.", p.Stage, inFull(from), inFull(to))
}
