// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func testFactory() (*factory, *bytes.Buffer, *bytes.Buffer) {
	var out, talk bytes.Buffer
	return &factory{Streams: Streams{In: strings.NewReader(""), Out: &out, Err: &talk}, version: "1.2.3", now: time.Now}, &out, &talk
}

// parse runs a command with its run function replaced by one that keeps the options.
func parse[O any](t *testing.T, make func(*factory, func(context.Context, *O) error) *cobra.Command, given ...string) (O, error) {
	t.Helper()
	f, _, _ := testFactory()
	var got O
	c := make(f, func(_ context.Context, o *O) error {
		got = *o
		return nil
	})
	c.SetArgs(given)
	c.SetOut(io.Discard)
	c.SetErr(io.Discard)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetFlagErrorFunc(wrongFlag)
	return got, c.Execute()
}

func TestArguments(t *testing.T) {
	decide := func(v decision.Verb) func(*factory, func(context.Context, *decideOptions) error) *cobra.Command {
		return func(f *factory, runF func(context.Context, *decideOptions) error) *cobra.Command {
			return newDecide(f, v, runF)
		}
	}
	tests := map[string]struct {
		parse func() (any, error)
		want  any
		usage bool
	}{
		"status of all": {
			parse: func() (any, error) { o, err := parse(t, newStatus); return o.pipeline, err }, want: "",
		},
		"status of one": {
			parse: func() (any, error) { o, err := parse(t, newStatus, "shop"); return o.pipeline, err }, want: "shop",
		},
		"status of two": {
			parse: func() (any, error) { o, err := parse(t, newStatus, "a", "b"); return o.pipeline, err }, usage: true,
		},
		"builds": {
			parse: func() (any, error) {
				o, err := parse(t, newBuilds, "shop", "--limit", "3")
				return []any{o.pipeline, o.limit}, err
			}, want: []any{"shop", 3},
		},
		"builds of the one": {
			parse: func() (any, error) { o, err := parse(t, newBuilds); return o.pipeline, err }, want: "",
		},
		"builds of two": {
			parse: func() (any, error) { o, err := parse(t, newBuilds, "shop", "till"); return o, err }, usage: true,
		},
		"runs": {
			parse: func() (any, error) {
				o, err := parse(t, newRuns, "shop", "--stage", "commit", "--build", "b-1", "--status", "failed", "--limit", "5", "--after", "r-1")
				return o.query, err
			}, want: pipeline.RunQuery{Stage: "commit", Build: "b-1", Status: pipeline.RunFailed, Limit: 5, After: "r-1"},
		},
		"logs": {
			parse: func() (any, error) { o, err := parse(t, newLogs, "r-1"); return o.run, err }, want: "r-1",
		},
		"approve the candidate": {
			parse: func() (any, error) {
				o, err := parse(t, decide(decision.Approve), "shop", "qa", "--reason", "fine")
				return []any{o.verb, o.pipeline, o.stage, o.build, o.reason}, err
			}, want: []any{decision.Approve, "shop", "qa", "", "fine"},
		},
		"reject a build": {
			parse: func() (any, error) {
				o, err := parse(t, decide(decision.Reject), "shop", "qa", "b-1", "--reason", "bad")
				return []any{o.verb, o.build, o.reason}, err
			}, want: []any{decision.Reject, "b-1", "bad"},
		},
		"reject what": {
			parse: func() (any, error) {
				o, err := parse(t, decide(decision.Reject), "shop", "qa", "b-1", "b-2")
				return o, err
			}, usage: true,
		},
		"promote": {
			parse: func() (any, error) {
				o, err := parse(t, newPromote, "shop", "production", "b-1")
				return []string{o.pipeline, o.stage, o.build}, err
			}, want: []string{"shop", "production", "b-1"},
		},
		"override": {
			parse: func() (any, error) {
				o, err := parse(t, newOverride, "shop", "qa", "b-1", "--reason", "it is urgent")
				return []string{o.pipeline, o.stage, o.build, o.reason}, err
			}, want: []string{"shop", "qa", "b-1", "it is urgent"},
		},
		"override of no build": {
			parse: func() (any, error) { o, err := parse(t, newOverride, "shop", "qa"); return o, err }, usage: true,
		},
		"pause": {
			parse: func() (any, error) {
				o, err := parse(t, newPause, "shop", "qa", "--reason", "Friday")
				return []string{o.pipeline, o.stage, o.reason}, err
			}, want: []string{"shop", "qa", "Friday"},
		},
		"pause of a build": {
			parse: func() (any, error) { o, err := parse(t, newPause, "shop", "qa", "b-1"); return o, err }, usage: true,
		},
		"resume": {
			parse: func() (any, error) { o, err := parse(t, newResume, "shop", "qa"); return o.stage, err }, want: "qa",
		},
		"retry": {
			parse: func() (any, error) { o, err := parse(t, newRetry, "shop", "qa"); return o.stage, err }, want: "qa",
		},
		"gc": {
			parse: func() (any, error) { o, err := parse(t, newGC, "shop", "--dry-run", "--kept"); return o.request, err },
			want:  collect.Request{Pipeline: "shop", DryRun: true, Kept: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.parse()
			var usage *usageError
			if tt.usage != errors.As(err, &usage) {
				t.Fatalf("error %v, want a usage error: %v", err, tt.usage)
			}
			if !tt.usage && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	tests := []struct {
		err  error
		want int
		code pipeline.Code
	}{
		{nil, exitDone, ""},
		{pipeline.Errorf(pipeline.CodeFailed, "x", "y"), exitFailed, "failed"},
		{pipeline.Errorf(pipeline.CodeConflict, "x", "y"), exitFailed, "conflict"},
		{errors.New("x"), exitFailed, "internal"},
		{pipeline.Errorf(pipeline.CodeInvalid, "x", "y"), exitUsage, "invalid"},
		{fmt.Errorf("wrapped: %w", &usageError{errors.New("x")}), exitUsage, "invalid"},
		{fmt.Errorf("wrapped: %w", pipeline.Errorf(pipeline.CodeRefused, "x", "y")), exitRefused, "refused"},
		{pipeline.Errorf(pipeline.CodeNotAllowed, "x", "y"), exitNotAllowed, "not_allowed"},
		{pipeline.Errorf(pipeline.CodeNotFound, "x", "y"), exitNotFound, "not_found"},
		{pipeline.Errorf(pipeline.CodeLocked, "x", "y"), exitWaiting, "locked"},
		{context.Canceled, exitCancelled, "cancelled"},
		{fmt.Errorf("wait: %w", context.Canceled), exitCancelled, "cancelled"},
		{pipeline.Errorf(pipeline.CodeCancelled, "x", "y"), exitCancelled, "cancelled"},
		{commandStatus(7), 7, "internal"},
	}
	for _, tt := range tests {
		if got, code := exitStatus(tt.err), codeOf(tt.err); got != tt.want || code != tt.code {
			t.Errorf("%v gives exit status %d and code %q, want %d and %q", tt.err, got, code, tt.want, tt.code)
		}
	}
}

// What is wrong with a command line is usage, in JSON where that is asked for at all.
func TestWrongCommandLines(t *testing.T) {
	for _, given := range []string{
		"status --nonsense", "approve a b c d", "override shop qa", "env destroy", "nonsense", "statsu", "env nonsense", "ledger nonsense", "context nonsense", "completion nonsense", "help nonsense", "help env nonsense", "status --interval soon", "metrics shop --since ever",
	} {
		t.Run(given, func(t *testing.T) {
			run := func(args ...string) (status int, out, talk string) {
				var o, e bytes.Buffer
				status = Main(context.Background(), args, Streams{In: strings.NewReader(""), Out: &o, Err: &e}, "dev")
				return status, o.String(), e.String()
			}
			words := strings.Fields(given)
			if status, out, talk := run(words...); status != exitUsage || talk == "" || out != "" {
				t.Errorf("exit status %d, out %q, talk %q", status, out, talk)
			}
			for _, args := range [][]string{append(words, "--json"), append([]string{"--json=true"}, words...)} {
				var got struct {
					Error struct{ Code, Message string }
				}
				status, out, talk := run(args...)
				if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitUsage || talk != "" || got.Error.Code != "invalid" || got.Error.Message == "" {
					t.Errorf("%v: exit status %d, out %q, talk %q, %v", args, status, out, talk, err)
				}
			}
			if status, out, talk := run(append(words, "--json=false")...); status != exitUsage || talk == "" || out != "" {
				t.Errorf("without JSON: exit status %d, out %q, talk %q", status, out, talk)
			}
		})
	}
}

func TestHelpOfCommands(t *testing.T) {
	for _, given := range []string{"help", "help status", "help env launch", "help help", "env --help"} {
		var out, talk bytes.Buffer
		status := Main(context.Background(), strings.Fields(given), Streams{In: strings.NewReader(""), Out: &out, Err: &talk}, "dev")
		if status != exitDone || !strings.Contains(out.String(), "Exit status:") || talk.Len() > 0 {
			t.Errorf("%s: exit status %d, out %q, talk %q", given, status, &out, &talk)
		}
	}
}

func TestEveryHelpShowsTheExitStatuses(t *testing.T) {
	f, _, _ := testFactory()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if !strings.Contains(c.Long, "Exit status:") {
			t.Errorf("%s: its help does not show the exit statuses", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(f))
}

// A flag's help shows a word for its value, and no value where it takes none.
func TestEveryFlagShowsItsValue(t *testing.T) {
	f, _, _ := testFactory()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		c.Flags().VisitAll(func(flag *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(flag)
			if strings.ContainsAny(value, " _") || flag.NoOptDefVal != "" && value != "" {
				t.Errorf("%s: its help shows --%s %s", c.CommandPath(), flag.Name, value)
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	root := newRoot(f)
	root.Flags().AddFlagSet(root.PersistentFlags())
	visit(root)
}
