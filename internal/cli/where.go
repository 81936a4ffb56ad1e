// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The variables that say where the pipelines are, beside app.DataDirVariable.
const (
	stackVariable   = "PENSTOCK_STACK"
	contextVariable = "PENSTOCK_CONTEXT"
)

// place is where pipelines are: a data directory, or a stack on AWS with a directory for
// copies of logs and artifacts.
type place struct {
	DataDir string `json:"data_dir,omitempty"`
	Stack   string `json:"stack,omitempty"`
	Region  string `json:"region,omitempty"`
	Profile string `json:"profile,omitempty"`
	From    string `json:"from,omitempty"` // what said so
}

// places adds the flags that say where to look.
func (f *factory) places(flags *pflag.FlagSet) {
	flags.StringVar(&f.dataDir, "data-dir", "", "the data directory (default: $"+app.DataDirVariable+", otherwise "+app.DataDirName+" here or above)")
	flags.StringVar(&f.aws.Stack, "stack", "", "a stack on AWS, if no data directory leads to it (default: $"+stackVariable+")")
	flags.StringVar(&f.aws.Region, "region", "", "its region (default: $AWS_REGION, or the profile's)")
	flags.StringVar(&f.aws.Profile, "profile", "", "the profile of the shared AWS configuration (default: $AWS_PROFILE)")
	flags.StringVar(&f.context, "context", "", "the `NAME` of a place that penstock context lists (default: $"+contextVariable+")")
}

// where finds where the command has to look; CodeNotFound where nothing says so.
func (f *factory) where(here string) (place, error) {
	at, err := f.find(here)
	if err == nil && at == nil {
		return place{}, pipeline.Errorf(pipeline.CodeNotFound, "find data directory", "there is no %s in this directory or one above it", app.DataDirName).
			WithHint("Run the command where Terraform was applied, or name the place with --data-dir or %s, or with `penstock context`.", app.DataDirVariable)
	}
	if err != nil {
		return place{}, err
	}
	return *at, nil
}

// find finds where the command has to look: what flags say, else the environment, else
// a data directory here or above, else the context in use. The first that says anything
// decides; nil where nothing does.
func (f *factory) find(here string) (*place, error) {
	for _, said := range []struct{ dir, stack, context, from string }{
		{f.dataDir, f.aws.Stack, f.context, "flags"},
		{os.Getenv(app.DataDirVariable), os.Getenv(stackVariable), os.Getenv(contextVariable), "the environment"},
	} {
		switch {
		case said.context != "" && said.dir+said.stack != "":
			return nil, &usageError{fmt.Errorf("%s name the context %q, and also a data directory or a stack: use only one of them", said.from, said.context)}
		case said.context != "":
			return named(said.context, said.from)
		case said.dir+said.stack != "":
			return &place{DataDir: said.dir, Stack: said.stack, From: said.from}, nil
		}
	}
	if dir, err := app.FindDataDir(here); err != nil || dir != "" {
		return &place{DataDir: dir, From: "a directory here or above"}, err
	}
	contexts, err := readContexts()
	if err != nil || contexts.Current == "" {
		return nil, err
	}
	return named(contexts.Current, "the context in use")
}

// named returns what a context says.
func named(name, from string) (*place, error) {
	contexts, err := readContexts()
	if err != nil {
		return nil, err
	}
	p, ok := contexts.Contexts[name]
	if !ok {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "find context", "there is no context %q, which %s name", name, from).
			WithHint("`penstock context` lists them.")
	}
	p.From = fmt.Sprintf("context %q", name)
	return &p, nil
}

// onAWS returns the stack of a place, which may be that of its data directory; nil where it
// is none.
func (f *factory) onAWS(at place) (*app.AWS, error) {
	found := &app.AWS{Stack: at.Stack, Region: at.Region, Profile: at.Profile}
	if at.Stack == "" {
		var err error
		if found, err = app.ReadContext(at.DataDir); err != nil || found == nil {
			return nil, err
		}
	}
	found.Region, found.Profile = cmp.Or(f.aws.Region, found.Region), cmp.Or(f.aws.Profile, found.Profile)
	return found, nil
}

// open opens what where finds.
func (f *factory) open(ctx context.Context) (*app.App, error) { return f.openIn(ctx, ".") }

// openIn is open for another directory than this.
func (f *factory) openIn(ctx context.Context, here string) (*app.App, error) {
	at, err := f.where(here)
	if err != nil {
		return nil, err
	}
	if at.Stack == "" {
		if !app.HasPipelines(at.DataDir) {
			return nil, pipeline.Errorf(pipeline.CodeNotFound, "open data directory", "there is no ledger in %s (%s)", at.DataDir, at.From).
				WithHint("--data-dir and %s must name the same directory as the provider's data_dir.", app.DataDirVariable)
		}
	} else if at.DataDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, pipeline.Errorf(pipeline.CodeFailed, "find cache directory", "%w", err).WithHint("Use --data-dir to name a place for copies of logs and artifacts.")
		}
		at.DataDir = filepath.Join(cache, "penstock", at.Stack)
	}
	aws, err := f.onAWS(at)
	if err != nil {
		return nil, err
	}
	return app.Open(ctx, app.Options{DataDir: at.DataDir, AWS: aws})
}

// create is with for a data directory that need not exist.
func (f *factory) create(ctx context.Context, dir string, call func(*app.App) error) error {
	at, err := app.ReadContext(dir)
	if err != nil {
		return err
	}
	a, err := app.Open(ctx, app.Options{DataDir: dir, AWS: at})
	if err != nil {
		return err
	}
	return errors.Join(call(a), a.Close(context.WithoutCancel(ctx)))
}

// with opens what where finds for the time of a call.
func (f *factory) with(ctx context.Context, call func(*app.App) error) error {
	if f.opened != nil {
		return call(f.opened)
	}
	a, err := f.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(call(a), a.Close(context.WithoutCancel(ctx)))
}
