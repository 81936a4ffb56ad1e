// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// contextFile is the user's file of contexts.
type contextFile struct {
	Current  string           `json:"current,omitempty"`
	Contexts map[string]place `json:"contexts"`
}

func contextPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, "find the user's configuration", "%w", err).WithHint("Name the place of the pipelines with --data-dir or --stack.")
	}
	return filepath.Join(dir, "penstock", "contexts.json"), nil
}

// readContexts reads the contexts; none where there is no file, or no place for one.
func readContexts() (contextFile, error) {
	c := contextFile{Contexts: map[string]place{}}
	path, err := contextPath()
	if err != nil {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, pipeline.Errorf(pipeline.CodeInvalid, "read contexts", "%s: %w", path, err).WithHint("Correct the file, or remove it.")
	}
	if c.Contexts == nil {
		c.Contexts = map[string]place{}
	}
	return c, nil
}

// writeContexts puts the file in place of the one before, as a whole.
func writeContexts(c contextFile) error {
	const op = "write contexts"
	path, err := contextPath()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".contexts-")
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	_, err = file.Write(append(data, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

type contextOptions struct {
	*factory
	verb, name string
}

func newContext(f *factory, runF func(context.Context, *contextOptions) error) *cobra.Command {
	runs := func(verb string, run func(context.Context, *contextOptions) error) func(*cobra.Command, []string) error {
		if runF != nil {
			run = runF
		}
		return func(c *cobra.Command, given []string) error {
			return run(c.Context(), &contextOptions{factory: f, verb: verb, name: arg(given, 0)})
		}
	}
	c := &cobra.Command{
		Use:   "context",
		Short: "Name the places where pipelines are",
		Long: "Name the places where pipelines are, and choose the one to use when no flag, no variable and no data directory\n" +
			"here or above names another. The names are in the user's configuration.",
		Args: args(0, 0),
		RunE: runs("list", runContextList),
	}
	sub := func(use, short, long string, count int, run func(context.Context, *contextOptions) error) *cobra.Command {
		verb, _, _ := strings.Cut(use, " ")
		return &cobra.Command{Use: use, Short: short, Long: long, Args: args(count, count), RunE: runs(verb, run)}
	}
	c.AddCommand(
		sub("list", "List the contexts", "List the contexts; a star marks the one in use.", 0, runContextList),
		sub("show", "Show where the command looks here, and why", "Show where the command looks in this directory, and which setting decides that.", 0, runContextShow),
		sub("set NAME", "Name a place", "Name the place given by --data-dir, or by --stack with --region and --profile.", 1, runContextSet),
		sub("use NAME", "Choose the context to use", "Choose the context to use when nothing else says where to look; - uses none.", 1, runContextUse),
		sub("remove NAME", "Forget a name", "Forget the name of a place. The place itself stays.", 1, runContextRemove),
	)
	return c
}

// contextRow is the JSON shape of one context.
type contextRow struct {
	Name    string `json:"name"`
	Current bool   `json:"in_use"`
	place
}

// contextNamed is the JSON shape of a context that is used, or is no more.
type contextNamed struct {
	Name string `json:"name"` // empty: none is used
}

func runContextList(_ context.Context, o *contextOptions) error {
	c, err := readContexts()
	if err != nil {
		return err
	}
	rows := []contextRow{}
	for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
		rows = append(rows, contextRow{name, name == c.Current, c.Contexts[name]})
	}
	if o.json {
		return o.printJSON(rows)
	}
	t := o.newTable("IN USE", "CONTEXT", "STACK", "REGION", "PROFILE", "DATA DIRECTORY")
	for _, r := range rows {
		star := " "
		if r.Current {
			star = "*"
		}
		t.row(star, r.Name, r.Stack, r.Region, r.Profile, r.DataDir)
	}
	return t.flush()
}

func runContextShow(_ context.Context, o *contextOptions) error {
	at, err := o.where(".")
	where := "data directory " + at.DataDir
	if at.Stack != "" {
		where = "stack " + at.Stack
	}
	return o.printDone(err, at, "%s, as %s says", where, at.From)
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func runContextSet(_ context.Context, o *contextOptions) error {
	if !contextName.MatchString(o.name) {
		return &usageError{fmt.Errorf("%q is not a valid name of a context: use letters, digits, dots, dashes and underscores", o.name)}
	}
	p := place{DataDir: o.dataDir, Stack: o.aws.Stack, Region: o.aws.Region, Profile: o.aws.Profile}
	if p.DataDir+p.Stack == "" {
		return &usageError{errors.New("the name needs a place: pass --data-dir or --stack")}
	}
	if p.DataDir != "" {
		var err error
		if p.DataDir, err = filepath.Abs(p.DataDir); err != nil {
			return err
		}
	}
	c, err := readContexts()
	if err == nil {
		c.Contexts[o.name] = p
		err = writeContexts(c)
	}
	return o.printDone(err, contextRow{o.name, o.name == c.Current, p}, "Context %s is set.", o.name)
}

func runContextUse(_ context.Context, o *contextOptions) error {
	c, err := readContexts()
	if err != nil {
		return err
	}
	if o.name == "-" {
		o.name = ""
	} else if _, ok := c.Contexts[o.name]; !ok {
		return pipeline.Errorf(pipeline.CodeNotFound, "use context", "there is no context %q", o.name).WithHint("`penstock context` lists them.")
	}
	c.Current = o.name
	return o.printDone(writeContexts(c), contextNamed{o.name}, "Context %s is in use.", present.Dash(o.name))
}

func runContextRemove(_ context.Context, o *contextOptions) error {
	c, err := readContexts()
	if err != nil {
		return err
	}
	if _, ok := c.Contexts[o.name]; !ok {
		return pipeline.Errorf(pipeline.CodeNotFound, "remove context", "there is no context %q", o.name).WithHint("`penstock context` lists them.")
	}
	delete(c.Contexts, o.name)
	if c.Current == o.name {
		c.Current = ""
	}
	return o.printDone(writeContexts(c), contextNamed{o.name}, "Context %s is removed.", o.name)
}
