// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

type envOptions struct {
	*factory
	all                                 bool // of all purposes
	pipeline, name, build, instanceType string
	ttl                                 time.Duration
	ttlGiven                            bool
	yes                                 bool
}

func newEnv(f *factory) *cobra.Command {
	c := &cobra.Command{
		Use:   "env",
		Short: "Launch, use, extend and end self-service environments",
		Long: "Launch, list, use, extend and end self-service environments. Each is scaled down, belongs to one person, and\n" +
			"ends by itself when its time is over. penstock_self_service_env makes the same environments.",
		Args: args(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		newEnvLaunch(f, nil), newEnvList(f, nil), newEnvShow(f, nil), newEnvOpen(f, nil), newEnvLogs(f, nil), newEnvExec(f, nil),
		newEnvExtend(f, nil), newEnvDestroy(f, nil), newEnvForget(f, nil),
	)
	return c
}

func newEnvLaunch(f *factory, runF func(context.Context, *envOptions) error) *cobra.Command {
	o := &envOptions{factory: f}
	if runF == nil {
		runF = runEnvLaunch
	}
	c := &cobra.Command{
		Use:   "launch [PIPELINE] [NAME]",
		Short: "Launch an environment of your own",
		Long: "Launch an environment with one instance of a build that passed acceptance; without --build, the newest.\n" +
			"Without NAME it has your name; a single argument is the pipeline, which may be left out if there is only one.\n" +
			"An environment of that name moves to the build, or is launched again if it has ended.",
		Args: args(0, 2),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.name, o.ttlGiven = arg(given, 0), arg(given, 1), c.Flags().Changed("ttl")
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.build, "build", "", "the build, by its number or ID")
	c.Flags().DurationVar(&o.ttl, "ttl", run.DefaultTTL, "how long it lives")
	c.Flags().StringVar(&o.instanceType, "instance-type", "", "the type of its instance, if the platform has types")
	return c
}

func newEnvList(f *factory, runF func(context.Context, *envOptions) error) *cobra.Command {
	o := &envOptions{factory: f}
	if runF == nil {
		runF = runEnvList
	}
	c := &cobra.Command{
		Use:   "list [PIPELINE]",
		Short: "List self-service environments",
		Long:  "List the self-service environments of a pipeline, or of all pipelines; with --all, also those of stages.",
		Args:  args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.all, "all", false, "also those of stages")
	return c
}

func newEnvExtend(f *factory, runF func(context.Context, *envOptions) error) *cobra.Command {
	o := &envOptions{factory: f}
	if runF == nil {
		runF = runEnvExtend
	}
	c := &cobra.Command{
		Use:   "extend [PIPELINE] [NAME]",
		Short: "Change how long an environment lives",
		Long: "Set how long an environment lives from now on. An ended environment is launched again. PIPELINE and NAME may\n" +
			"be left out if there is only one.",
		Args: args(0, 2),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.name, o.ttlGiven = arg(given, 0), arg(given, 1), c.Flags().Changed("ttl")
			return runF(c.Context(), o)
		},
	}
	c.Flags().DurationVar(&o.ttl, "ttl", run.DefaultTTL, "how long it lives from now on")
	return c
}

func newEnvDestroy(f *factory, runF func(context.Context, *envOptions) error) *cobra.Command {
	o := &envOptions{factory: f}
	if runF == nil {
		runF = runEnvDestroy
	}
	c := &cobra.Command{
		Use:   "destroy [PIPELINE] NAME",
		Short: "End an environment with its data",
		Long:  "End an environment with its data, after asking. PIPELINE may be left out if there is only one.",
		Args:  args(1, 2),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.name = arg(given, 0), arg(given, 1)
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "don't ask")
	return c
}

func newEnvForget(f *factory, runF func(context.Context, *envOptions) error) *cobra.Command {
	o := &envOptions{factory: f}
	if runF == nil {
		runF = runEnvForget
	}
	c := &cobra.Command{
		Use:   "forget [PIPELINE] NAME",
		Short: "Let go of an environment that can't be ended",
		Long: "Remove the record of an environment whose place can't be reached, after asking: if its account, its region or the\n" +
			"role there is gone for good, nothing can end it. What there is of it stays, and nobody looks after it. NAME is its ID,\n" +
			"or that of its stage and target, as in production@us. PIPELINE may be left out if there is only one.",
		Args: args(1, 2),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.name = arg(given, 0), arg(given, 1)
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "don't ask")
	return c
}

// checkTTL refuses times that end nothing, or never.
func (o *envOptions) checkTTL() error {
	if o.ttl < time.Minute {
		return &usageError{fmt.Errorf("--ttl %s is less than a minute", o.ttl)}
	}
	return nil
}

func runEnvLaunch(ctx context.Context, o *envOptions) error {
	if err := o.checkTTL(); err != nil {
		return err
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "launch an environment", nobody); err != nil {
			return err
		}
		if err := o.number(ctx, a, o.pipeline, &o.build); err != nil {
			return err
		}
		if o.name == "" {
			o.name = run.OwnName(a.Engine.Person().Name)
		}
		return o.launch(ctx, a, "Launching", run.LaunchRequest{
			Build: o.build, Spec: pipeline.EnvironmentSpec{Instances: 1, InstanceType: o.instanceType}, Create: true, Configured: run.LaunchedByHand,
		})
	})
}

func runEnvExtend(ctx context.Context, o *envOptions) error {
	if err := o.checkTTL(); err != nil {
		return err
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "extend an environment", theOne); err != nil {
			return err
		}
		env, err := o.existing(ctx, a)
		if err != nil {
			return err
		}
		verb := "Extending"
		if !env.Serves() {
			verb = "Launching again"
		}
		return o.launch(ctx, a, verb, run.LaunchRequest{Build: env.Build, Spec: env.Spec, Configured: env.Configured})
	})
}

// launch launches or changes the environment, which lives for the TTL from now.
func (o *envOptions) launch(ctx context.Context, a *app.App, verb string, r run.LaunchRequest) error {
	st, err := a.Engine.State(ctx, o.pipeline)
	if err != nil {
		return err
	}
	if longest := run.LongestTTL(st); !o.ttlGiven {
		o.ttl = min(o.ttl, longest)
	}
	r.Pipeline, r.Name, r.TTL, r.Renew = o.pipeline, o.name, o.ttl, true
	log, done := o.working(verb + " environment " + o.name)
	r.Log = log
	env, err := a.Engine.Environments.Launch(ctx, r)
	done()
	if err != nil {
		return err
	}
	if o.json {
		return o.printJSON(environmentRow(st, env))
	}
	fmt.Fprintf(o.Out, "%s\n", env.Endpoint)
	fmt.Fprintf(o.Err, "Environment %s runs build %s until %s.\n", env.Name, ask.Build(report.NameOf(st, env.Build)), pipeline.Moment(env.ExpiresAt.Local()))
	return nil
}

// existing returns the environment that the command is about.
func (o *envOptions) existing(ctx context.Context, a *app.App) (pipeline.Environment, error) {
	return a.Engine.Environments.Find(ctx, run.EnvironmentRef{Pipeline: o.pipeline, Name: o.name})
}

func runEnvDestroy(ctx context.Context, o *envOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "destroy an environment", theNamed); err != nil {
			return err
		}
		env, err := o.existing(ctx, a)
		if err != nil {
			return err
		}
		st, err := a.Engine.State(ctx, o.pipeline)
		if err != nil {
			return err
		}
		build := report.NameOf(st, env.Build)
		what := fmt.Sprintf("End environment %s of %s (%s) with its data", env.Name, env.Owner, strings.TrimSpace(present.Build(build.Number, build.ID)+" "+string(env.Status)))
		if err := o.ask(ctx, "destroy environment", o.yes, what); err != nil {
			return err
		}
		defer o.atWork()()
		if err := a.Engine.Environments.End(ctx, o.pipeline, o.name, ""); err != nil {
			return err
		}
		if o.json {
			return o.printJSON(environmentRow(st, env))
		}
		fmt.Fprintf(o.Out, "Environment %s has ended.\n", env.Name)
		return nil
	})
}

func runEnvForget(ctx context.Context, o *envOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "forget an environment", theNamed); err != nil {
			return err
		}
		env, why, err := a.Engine.Environments.Unreachable(ctx, o.pipeline, o.name)
		if err != nil {
			return err
		}
		st, err := a.Engine.State(ctx, o.pipeline)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Err, "Its place can't be reached: %v\n", why)
		what := fmt.Sprintf("Forget %s, and leave what there is of it in %s", env.Describe(), env.Target.Describe())
		if err := o.ask(ctx, "forget environment", o.yes, what); err != nil {
			return err
		}
		if env, err = a.Engine.Environments.Forget(ctx, o.pipeline, env.ID); err != nil {
			return err
		}
		if o.json {
			return o.printJSON(environmentRow(st, env))
		}
		fmt.Fprintf(o.Out, "Environment %s is forgotten.\n", env.ID)
		return nil
	})
}

// envRow is the JSON shape of an environment.
type envRow struct {
	Pipeline string `json:"pipeline"`
	statusEnvironment
}

func environmentRow(st *pipeline.State, env pipeline.Environment) envRow {
	return envRow{env.Pipeline, describeEnvironment(st, env)}
}

func runEnvList(ctx context.Context, o *envOptions) error {
	return o.with(ctx, func(a *app.App) error {
		states, err := selectPipelines(ctx, a, o.pipeline)
		if err != nil {
			return err
		}
		rows := []envRow{}
		for _, st := range states {
			for _, env := range st.Environments {
				if o.all || env.Purpose == pipeline.ForPerson {
					rows = append(rows, environmentRow(st, env))
				}
			}
		}
		slices.SortFunc(rows, func(a, b envRow) int { return strings.Compare(a.Pipeline+"/"+a.Name, b.Pipeline+"/"+b.Name) })
		if o.json {
			return o.printJSON(rows)
		}
		t := o.newTable("PIPELINE", "ENVIRONMENT", "STATUS", "BUILD", "MESSAGE", "OWNER", "ENDS", "ID", "ENDPOINT").beside("MESSAGE", "ID")
		for _, r := range rows {
			t.row(r.Pipeline, r.Name, string(r.Status), present.Build(r.Number, r.Build), r.Message, r.Owner, o.ends(r.statusEnvironment), r.Build, r.Endpoint)
		}
		return t.flush()
	})
}
