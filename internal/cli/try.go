// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

type tryOptions struct {
	*factory
	target
	ttl  time.Duration
	keep bool
}

func newTry(f *factory, runF func(context.Context, *tryOptions) error) *cobra.Command {
	o := &tryOptions{factory: f}
	if runF == nil {
		runF = runTry
	}
	c := &cobra.Command{
		Use:   "try [PIPELINE] [STAGE]",
		Short: "Launch the build that waits for a decision, try it, decide",
		Long: "Show the build that waits for a decision at a stage, launch an environment with it or show the stage's own,\n" +
			"and ask for the decision: approve, reject, or later. A launched environment ends with the decision. Without a\n" +
			"terminal the environment stays, and the commands for the decision are printed. PIPELINE may be left out if\n" +
			"there is only one, and STAGE if only one waits.",
		Args: args(0, 2),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.stage = arg(given, 0), arg(given, 1)
			return runF(c.Context(), o)
		},
	}
	c.Flags().DurationVar(&o.ttl, "ttl", 2*time.Hour, "how long the environment lives at most")
	c.Flags().BoolVar(&o.keep, "keep", false, "keep the environment after the decision")
	return c
}

// tried is the JSON shape of what there is to try.
type tried struct {
	Pipeline    string `json:"pipeline"`
	Stage       string `json:"stage"`
	Build       string `json:"build"`
	Run         string `json:"run"`  // that the decision is about
	Seen        int64  `json:"seen"` // version of the decision that there is, for --seen; 0 for none
	Commit      string `json:"commit"`
	Author      string `json:"author,omitempty"`
	Message     string `json:"message,omitempty"`
	Environment string `json:"environment,omitempty"` // that was launched; empty where the stage has one
	Endpoint    string `json:"endpoint,omitempty"`
}

func runTry(ctx context.Context, o *tryOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "try", &o.target); err != nil {
			return err
		}
		what, err := o.offer(ctx, a)
		if err != nil {
			return err
		}
		if err := o.launch(ctx, a, &what); err != nil {
			return err
		}
		if o.json {
			return o.printJSON(what)
		}
		fmt.Fprintf(o.Out, "%s\n", what.Endpoint)
		if o.canAsk("decide", false) != nil {
			fmt.Fprintf(o.Err, "Try it, and decide:\n  penstock approve %[1]s %[2]s %[3]s --run %[4]s --seen %[5]d\n  penstock reject %[1]s %[2]s %[3]s --run %[4]s --seen %[5]d --reason WHY\n",
				what.Pipeline, what.Stage, what.Build, what.Run, what.Seen)
			if what.Environment != "" {
				fmt.Fprintf(o.Err, "The environment stays for %s, or until:\n  penstock env destroy --yes %s %s\n", present.Duration(o.ttl), what.Pipeline, what.Environment)
			}
			return nil
		}
		return o.decide(ctx, a, what)
	})
}

// offer finds the stage that waits and the build that it offers.
func (o *tryOptions) offer(ctx context.Context, a *app.App) (tried, error) {
	const op = "try a build"
	states, err := selectPipelines(ctx, a, o.pipeline)
	if err != nil {
		return tried{}, err
	}
	st := states[o.pipeline]
	plan := gate.Now(st)
	for _, s := range st.StagesInOrder() {
		build := plan.View(s.Name).Undecided
		if build == "" || o.stage != "" && s.Name != o.stage {
			continue
		}
		b := st.Builds[build]
		fmt.Fprintf(o.Err, "Stage %s offers build %s: %s; commit %s by %s.\n", s.Name, inFull(b), present.Line(pipeline.FirstLine(b.Revision.Message)), present.Commit(b.Revision.Commit), present.Line(personOf(b.Revision.Author)))
		run, _ := st.ResultOf(s, b.ID)
		what := tried{Pipeline: o.pipeline, Stage: s.Name, Build: b.ID, Run: run.ID, Seen: st.Version(pipeline.RecordDecision, pipeline.StageBuild(s.Name, b.ID)), Commit: b.Revision.Commit, Author: b.Revision.Author, Message: b.Revision.Message}
		if env, ok := st.RunEnvironment(s.Name, pipeline.ForInquiry); ok && env.Serves() && env.Build == b.ID {
			what.Endpoint = env.Endpoint
		}
		return what, nil
	}
	return tried{}, pipeline.Errorf(pipeline.CodeRefused, op, "stage %q of pipeline %q does not wait for a decision", o.stage, o.pipeline).
		WithHint("`penstock status %s` shows what the stages wait for.", o.pipeline)
}

// launch launches an environment with the build, unless the stage has one.
func (o *tryOptions) launch(ctx context.Context, a *app.App, what *tried) error {
	if what.Endpoint != "" {
		return nil
	}
	st, err := a.Engine.State(ctx, o.pipeline)
	if err != nil {
		return err
	}
	o.ttl = min(o.ttl, run.LongestTTL(st))
	name := "try-" + run.OwnName(a.Engine.Person().Name)
	log, done := o.working("Launching environment " + name)
	env, err := a.Engine.Environments.Launch(ctx, run.LaunchRequest{
		Pipeline: o.pipeline, Name: name, Build: what.Build, TTL: o.ttl, Renew: true, Create: true, Configured: run.LaunchedByHand,
		Spec: pipeline.EnvironmentSpec{Instances: 1}, Log: log,
	})
	done()
	what.Environment, what.Endpoint = env.Name, env.Endpoint
	return err
}

// decide asks for the decision and takes it.
func (o *tryOptions) decide(ctx context.Context, a *app.App, what tried) error {
	answers := lines(o.factory)
	for {
		fmt.Fprint(o.Err, "Decide: [a]pprove, [r]eject, or [l]ater? ")
		answer, err := next(ctx, answers)
		if err != nil {
			fmt.Fprintln(o.Err, "\nNothing was decided, and the environment stays.")
			return err
		}
		c := decision.Command{
			Verb: decision.Approve, Pipeline: what.Pipeline, Stage: what.Stage, Build: what.Build,
			Looked: decision.Looked{Run: &what.Run, Decision: &what.Seen},
		}
		switch {
		case strings.HasPrefix("approve", answer) && answer != "":
		case strings.HasPrefix("reject", answer) && answer != "":
			c.Verb = decision.Reject
			fmt.Fprint(o.Err, "Why? ")
			if c.Reason, err = next(ctx, answers); err != nil {
				return err
			}
		case answer == "" || strings.HasPrefix("later", answer):
			fmt.Fprintln(o.Err, "Nothing was decided, and the environment stays.")
			return nil
		default:
			continue
		}
		done, err := a.Engine.Decisions.Do(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintln(o.Out, present.Line(decided(done)))
		if o.keep || what.Environment == "" {
			return nil
		}
		return a.Engine.Environments.End(ctx, what.Pipeline, what.Environment, "")
	}
}

// lines returns what is typed, line by line.
func lines(f *factory) <-chan string {
	typed := make(chan string)
	go func() {
		for scan := bufio.NewScanner(f.In); scan.Scan(); {
			typed <- strings.TrimSpace(scan.Text())
		}
		close(typed)
	}()
	return typed
}

// next waits for a line. The end of what is typed is an empty one.
func next(ctx context.Context, typed <-chan string) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case line := <-typed:
		return line, nil
	}
}
