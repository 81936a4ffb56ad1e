// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// kind is what an argument or a flag names.
type kind int

const (
	pipelines kind = iota
	stages
	builds
	environments
	contexts
	directories
)

// arguments says what the arguments of commands name, in order: a new command needs a
// line here.
var arguments = map[string][]kind{
	"status": {pipelines}, "builds": {pipelines}, "runs": {pipelines}, "logs": {pipelines, stages}, "graph": {pipelines}, "figures": {pipelines}, "diff": {pipelines, builds, builds}, "images": {pipelines},
	"gc": {pipelines}, "notify": {pipelines}, "try": {pipelines, stages},
	"approve": {pipelines, stages, builds}, "reject": {pipelines, stages, builds}, "promote": {pipelines, stages, builds},
	"rollback": {pipelines, stages, builds}, "override": {pipelines, stages, builds},
	"hold": {pipelines, stages}, "release": {pipelines, stages}, "retry": {pipelines, stages},
	"env launch": {pipelines, environments}, "env list": {pipelines}, "env show": {pipelines, environments}, "env open": {pipelines, environments},
	"env logs": {pipelines, environments}, "env exec": {pipelines, environments}, "env extend": {pipelines, environments}, "env destroy": {pipelines, environments},
	"init": {directories}, "watch": {directories}, "bootstrap local": {pipelines, directories}, "ledger verify": {pipelines}, "ledger export": {pipelines},
	"context use": {contexts}, "context remove": {contexts},
}

// flags says what flags name, in every command that has them.
var flags = map[string]kind{"stage": stages, "build": builds, "context": contexts}

// words are the values of flags that have a few.
var words = map[string][]string{
	"format":   {"svg", "mermaid", "dot"},
	"platform": {"local", "aws"},
	"status":   {"running", "passed", "failed", "cancelled"},
}

// completeIn is how long a completion may take. Who presses a key does not wait longer.
const completeIn = 2 * time.Second

// complete gives the commands their completions.
func (f *factory) complete(root *cobra.Command) {
	var visit func(c *cobra.Command, path string)
	visit = func(c *cobra.Command, path string) {
		if kinds, ok := arguments[path]; ok {
			c.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				if len(given) >= len(kinds) {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				if kinds[len(given)] == directories {
					return nil, cobra.ShellCompDirectiveFilterDirs
				}
				return f.suggest(kinds[len(given)], path, given), cobra.ShellCompDirectiveNoFileComp
			}
		}
		for name, k := range flags {
			if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
					return f.suggest(k, path, given), cobra.ShellCompDirectiveNoFileComp
				})
			}
		}
		for name, values := range words {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		for _, sub := range c.Commands() {
			visit(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
	}
	visit(root, "")
}

// suggest gives what an argument of a kind can be in a command, after those that are given.
// Where that can't be found out there is nothing: a completion says no errors.
func (f *factory) suggest(k kind, command string, given []string) []cobra.Completion {
	if k == contexts {
		c, err := readContexts()
		if err != nil {
			return nil
		}
		return slices.Sorted(maps.Keys(c.Contexts))
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeIn)
	defer cancel()
	var found []cobra.Completion
	err := f.with(ctx, func(a *app.App) (err error) {
		if k == pipelines {
			found, err = a.Ledger().Pipelines(ctx)
			return err
		}
		st, err := a.Ledger().State(ctx, arg(given, 0))
		if err == nil {
			found = suggestIn(st, k, command)
		}
		return err
	})
	if err != nil {
		return nil
	}
	return found
}

// takes says which stages a command takes that does not take all.
var takes = map[string]func(*pipeline.State, pipeline.Stage) bool{
	"approve":  func(st *pipeline.State, s pipeline.Stage) bool { return s.Approval || rejectsAt(st, s.Name) },
	"try":      func(_ *pipeline.State, s pipeline.Stage) bool { return s.Approval },
	"promote":  moved,
	"rollback": moved,
	"override": func(_ *pipeline.State, s pipeline.Stage) bool {
		return !s.Lasting() && s.Type != pipeline.TypeCommit && s.TakesBuild()
	},
}

// moved reports whether a person moves the stage.
func moved(_ *pipeline.State, s pipeline.Stage) bool {
	return s.Trigger == pipeline.TriggerManual && s.TakesBuild()
}

// rejectsAt reports whether a build stands rejected at a stage, which approve --lift lifts.
func rejectsAt(st *pipeline.State, stage string) bool {
	for _, d := range st.Decisions {
		if d.Stage == stage && d.Verdict == pipeline.Rejected {
			return true
		}
	}
	return false
}

func suggestIn(st *pipeline.State, k kind, command string) (found []cobra.Completion) {
	switch k {
	case stages:
		for _, s := range st.StagesInOrder() {
			if ok := takes[command]; ok != nil && !ok(st, s) {
				continue
			}
			found = append(found, cobra.CompletionWithDesc(s.Name, string(s.Type)))
		}
	case builds:
		for _, b := range st.BuildsNewestFirst() {
			found = append(found, cobra.CompletionWithDesc(b.ID, plain(fmt.Sprintf("%s %s", short(b.Revision.Commit), b.Revision.Message))))
		}
	case environments:
		for _, env := range st.Environments {
			if env.Purpose == pipeline.ForPerson {
				found = append(found, cobra.CompletionWithDesc(env.Name, plain(env.Owner)))
			}
		}
		slices.Sort(found)
	}
	return found
}
