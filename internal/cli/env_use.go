// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cli/browser"
	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// useOptions are those of the commands that use an environment.
type useOptions struct {
	*factory
	at         run.EnvironmentRef
	line       []string
	everywhere bool
	follow     bool
	lines      int
}

// use makes a command whose arguments are a pipeline and an environment, which --stage can
// name instead. What can be only one may be left out.
func (f *factory) use(c *cobra.Command, runF, run func(context.Context, *useOptions) error) (*cobra.Command, *useOptions) {
	o := &useOptions{factory: f}
	if runF == nil {
		runF = run
	}
	c.RunE = func(c *cobra.Command, given []string) error {
		if dash := c.ArgsLenAtDash(); dash >= 0 {
			given, o.line = given[:dash], given[dash:]
		}
		most := 2
		if o.at.Stage != "" {
			most = 1
		}
		if err := args(0, most)(c, given); err != nil {
			return err
		}
		o.at.Pipeline, o.at.Name = arg(given, 0), arg(given, 1)
		return runF(c.Context(), o)
	}
	c.Flags().StringVar(&o.at.Stage, "stage", "", "the environment of this stage, instead of a person's")
	return c, o
}

// place fills in what the arguments leave out.
func (o *useOptions) place(ctx context.Context, a *app.App, verb string) error {
	which := theOne
	if o.at.Stage != "" {
		which = nobody
	}
	return o.environment(ctx, a, verb, which, &o.at.Pipeline, &o.at.Name)
}

func newEnvShow(f *factory, runF func(context.Context, *useOptions) error) *cobra.Command {
	c, _ := f.use(&cobra.Command{
		Use:   "show [PIPELINE] [NAME]",
		Short: "Show an environment in detail",
		Long:  "Show an environment in detail, and how a Terraform configuration takes it over.",
	}, runF, runEnvShow)
	return c
}

// envShown is the JSON shape of one environment with all about it.
type envShown struct {
	envRow
	Stage     string    `json:"stage,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Author    string    `json:"author,omitempty"`
	Image     string    `json:"image,omitempty"`
	Instances int       `json:"instances"`
	Created   time.Time `json:"created"`
	Import    string    `json:"import,omitempty"` // the ID for `terraform import`
	// Module says which module made its infrastructure, with the outputs that are for people.
	Module *pipeline.EnvironmentModule `json:"module,omitempty" shape:"environment_module"`
}

// moduleRows say which module made the infrastructure of an environment, and its outputs.
func moduleRows(m *pipeline.EnvironmentModule) (rows [][2]string) {
	if m == nil {
		return nil
	}
	what := "makes what the instances use"
	if m.Instead {
		what = "is the environment, without instances of Penstock's"
	}
	rows = append(rows, [2]string{"module", strings.TrimSpace(present.Digest(m.Package) + " " + what)})
	for _, name := range slices.Sorted(maps.Keys(m.Outputs)) {
		value := string(m.Outputs[name])
		var text string
		if json.Unmarshal(m.Outputs[name], &text) == nil {
			value = text
		}
		rows = append(rows, [2]string{"output " + name, value})
	}
	return rows
}

func runEnvShow(ctx context.Context, o *useOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "show an environment"); err != nil {
			return err
		}
		env, err := a.Engine.Environments.Find(ctx, o.at)
		if err != nil {
			return err
		}
		st, err := a.Engine.State(ctx, o.at.Pipeline)
		if err != nil {
			return err
		}
		b := st.Builds[env.Build]
		shown := envShown{
			envRow: environmentRow(st, env), Stage: env.Stage, Commit: b.Revision.Commit, Author: b.Revision.Author,
			Image: env.Image, Instances: env.Instances, Created: env.CreatedAt.UTC(), Module: env.Module,
		}
		if env.Purpose == pipeline.ForPerson {
			shown.Import = env.Pipeline + "/" + env.Name
		}
		if o.json {
			return o.printJSON(shown)
		}
		t := o.newTable("ENVIRONMENT", env.Name)
		t.columns[1] = noting
		rows := append([][2]string{
			{"status", string(env.Status)}, {"reason", env.Reason}, {"endpoint", env.Endpoint}, {"owner", env.Owner}, {"stage", env.Stage},
			{"build", strings.TrimSpace(strings.Join([]string{present.Build(b.Number, env.Build), shown.Message}, " "))},
			{"ID", b.ID}, {"commit", strings.TrimSpace(present.Commit(b.Revision.Commit) + " " + b.Revision.Author)},
			{"image", env.Image}, {"instances", fmt.Sprint(env.Instances)}, {"launched", present.Ago(o.now(), env.CreatedAt)}, {"ends", o.ends(shown.statusEnvironment)},
		}, moduleRows(env.Module)...)
		for _, row := range rows {
			if strings.TrimSpace(row[1]) != "" {
				t.row(row[0], row[1])
			}
		}
		if err := t.flush(); err != nil || shown.Import == "" {
			return err
		}
		return o.remark(fmt.Sprintf("Terraform takes it over with `terraform import penstock_self_service_env.NAME %s`.", shown.Import))
	})
}

func newEnvOpen(f *factory, runF func(context.Context, *useOptions) error) *cobra.Command {
	c, _ := f.use(&cobra.Command{
		Use:   "open [PIPELINE] [NAME]",
		Short: "Open an environment in a browser",
		Long:  "Open the endpoint of an environment in a browser. Without a terminal, print it.",
	}, runF, runEnvOpen)
	return c
}

func runEnvOpen(ctx context.Context, o *useOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "open an environment"); err != nil {
			return err
		}
		env, err := a.Engine.Environments.Find(ctx, o.at)
		if err != nil {
			return err
		}
		if env.Endpoint == "" {
			return pipeline.Errorf(pipeline.CodeRefused, "open "+env.Describe(), "it is %s, and has no endpoint", env.Status).
				WithHint("`penstock env show %s %s` shows more.", o.at.Pipeline, cmp.Or(o.at.Name, "--stage "+o.at.Stage))
		}
		if !o.json && isTerminal(o.Out) {
			browser.Stdout, browser.Stderr = o.Err, o.Err
			if err := browser.OpenURL(env.Endpoint); err == nil {
				fmt.Fprintf(o.Err, "Opened %s.\n", env.Endpoint)
				return nil
			}
		}
		st, err := a.Engine.State(ctx, o.at.Pipeline)
		if err != nil {
			return err
		}
		return o.printDone(nil, environmentRow(st, env), "%s", env.Endpoint)
	})
}

func newEnvLogs(f *factory, runF func(context.Context, *useOptions) error) *cobra.Command {
	c, o := f.use(&cobra.Command{
		Use:   "logs [PIPELINE] [NAME]",
		Short: "Print what the service of an environment prints",
		Long:  "Print the last lines that the service has printed in one instance of an environment.",
	}, runF, runEnvLogs)
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "continue with new lines, until an interrupt")
	c.Flags().IntVar(&o.lines, "lines", 100, "how many")
	return c
}

func runEnvLogs(ctx context.Context, o *useOptions) error {
	if o.json {
		return &usageError{errors.New("--json has no effect here: the output is that of the service")}
	}
	if o.lines < 0 {
		return &usageError{fmt.Errorf("--lines %d is negative", o.lines)}
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "print the log of an environment"); err != nil {
			return err
		}
		if o.follow {
			var end context.CancelFunc
			ctx, end = o.untilInterrupted(ctx)
			defer end()
		}
		err := a.Engine.Environments.ServiceLog(ctx, o.at, o.lines, o.follow, o.Out)
		if o.follow && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
}

func newEnvExec(f *factory, runF func(context.Context, *useOptions) error) *cobra.Command {
	c, o := f.use(&cobra.Command{
		Use:   "exec [PIPELINE] [NAME] -- COMMAND [ARGUMENT…]",
		Short: "Run a command in an instance of an environment",
		Long: "Run a command in the root of an instance of an environment, with the variables of its service. A single\n" +
			"COMMAND is a command line for the shell. penstock prints what the command prints, and exits with its status;\n" +
			"so here a status of 1 to 6 can come from the command, too.",
	}, runF, runEnvExec)
	c.Flags().BoolVar(&o.everywhere, "everywhere", false, "in each instance, one after another, until one fails")
	return c
}

func runEnvExec(ctx context.Context, o *useOptions) error {
	if o.json {
		return &usageError{errors.New("--json has no effect here: the output is that of the command")}
	}
	if len(o.line) == 0 {
		return &usageError{errors.New("exec needs a command after --, as in: penstock env exec shop alice -- ls -l")}
	}
	line := o.line[0]
	if len(o.line) > 1 {
		quoted := make([]string, len(o.line))
		for i, word := range o.line {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		line = strings.Join(quoted, " ")
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.place(ctx, a, "run a command in an environment"); err != nil {
			return err
		}
		status, err := a.Engine.Environments.Exec(ctx, o.at, line, o.everywhere, o.Out)
		if err == nil && status != 0 {
			return commandStatus(status)
		}
		return err
	})
}
