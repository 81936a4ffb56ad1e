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
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// kind is what an argument or a flag names.
type kind int

const (
	flagged kind = iota // nothing: a flag's value comes after the pipeline
	pipelines
	stages
	builds
	environments
	contexts
	directories
	verbs
)

// arguments says what the arguments of commands name, in order: a new command needs a
// line here.
var arguments = map[string][]kind{
	"status": {pipelines}, "builds": {pipelines}, "runs": {pipelines}, "history": {pipelines}, "logs": {pipelines, stages}, "graph": {pipelines}, "metrics": {pipelines}, "diff": {pipelines, builds, builds}, "images": {pipelines},
	"gc": {pipelines}, "notify": {pipelines}, "try": {pipelines, stages},
	"approve": {pipelines, stages, builds}, "reject": {pipelines, stages, builds}, "promote": {pipelines, stages, builds},
	"rollback": {pipelines, stages, builds}, "evidence": {verbs, pipelines, stages, builds}, "override": {pipelines, stages, builds},
	"pause": {pipelines, stages}, "resume": {pipelines, stages}, "retry": {pipelines, stages},
	"env launch": {pipelines, environments}, "env list": {pipelines}, "env show": {pipelines, environments}, "env open": {pipelines, environments},
	"env logs": {pipelines, environments}, "env exec": {pipelines, environments}, "env extend": {pipelines, environments}, "env destroy": {pipelines, environments}, "env forget": {pipelines},
	"init": {directories}, "watch": {directories}, "bootstrap local": {pipelines, directories}, "ledger verify": {pipelines}, "ledger head": {pipelines}, "ledger checkpoint": {pipelines}, "ledger export": {pipelines},
	"context use": {contexts}, "context remove": {contexts},
}

// flags says what flags name, in every command that has them.
var flags = map[string]kind{"stage": stages, "build": builds, "context": contexts}

// words are the values of flags that have a few.
var words = map[string][]string{
	"format":   {"text", "svg", "mermaid", "dot"},
	"platform": {"local", "aws"},
	"status":   runStatuses(),
	"kind":     historyKinds(),
}

// completeIn is how long a completion may take. Who presses a key does not wait longer.
const completeIn = 2 * time.Second

// complete returns the commands their completions.
func (f *factory) complete(root *cobra.Command) {
	var visit func(c *cobra.Command, path string)
	visit = func(c *cobra.Command, path string) {
		if kinds, ok := arguments[path]; ok {
			c.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				if len(given) < len(kinds) && kinds[len(given)] == directories {
					return nil, cobra.ShellCompDirectiveFilterDirs
				}
				return f.suggest(path, kinds, given), cobra.ShellCompDirectiveNoFileComp
			}
		}
		for name, k := range flags {
			if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
					return f.suggest(path, []kind{flagged, k}, given[:min(len(given), 1)]), cobra.ShellCompDirectiveNoFileComp
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

// suggest returns what the next argument of a command can be, after those that are given. The
// pipeline may have been left out. Where that can't be found out there is nothing: a
// completion says no errors.
func (f *factory) suggest(path string, kinds []kind, given []string) []cobra.Completion {
	if kinds[0] == verbs {
		if len(given) == 0 {
			return slices.Clone(decidingVerbs)
		}
		kinds, given = kinds[1:], given[1:]
	}
	if slices.Contains(kinds, contexts) {
		c, err := readContexts()
		if err != nil {
			return nil
		}
		return slices.Sorted(maps.Keys(c.Contexts))
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeIn)
	defer cancel()
	var found []cobra.Completion
	err := f.with(ctx, func(a *app.App) error {
		names, err := a.Engine.Reports.Names(ctx)
		if err != nil {
			return err
		}
		if len(given) == 0 && kinds[0] == pipelines {
			found = append(found, names...)
		}
		if len(names) == 1 && (len(given) == 0 || !slices.Contains(names, given[0])) {
			given = append(names, given...)
		}
		if len(given) == 0 || len(given) >= len(kinds) {
			return nil
		}
		st, err := a.Engine.Recorded(ctx, given[0])
		if err == nil {
			found = append(found, suggestIn(st, kinds[len(given)], stagesFor[path])...)
		}
		return err
	})
	if err != nil {
		return nil
	}
	return found
}

// suggestIn returns the things of a kind in a pipeline; of the stages those that fit.
func suggestIn(st *pipeline.State, k kind, fit *fitting) (found []cobra.Completion) {
	switch k {
	case stages:
		for _, s := range st.StagesInOrder() {
			if fit == nil || slices.Contains(fit.stages(st), s.Name) {
				found = append(found, cobra.CompletionWithDesc(s.Name, string(s.Type)))
			}
		}
	case builds:
		for _, b := range st.BuildsNewestFirst() {
			found = append(found, cobra.CompletionWithDesc(b.ID, present.Line(fmt.Sprintf("%s %s", present.Commit(b.Revision.Commit), b.Revision.Message))))
		}
	case environments:
		for _, env := range st.Environments {
			if env.Purpose == pipeline.ForPerson {
				found = append(found, cobra.CompletionWithDesc(env.Name, present.Line(env.Owner)))
			}
		}
		slices.Sort(found)
	}
	return found
}
