// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package develop runs a service from a working tree, and builds and replaces it
// whenever a file changes: what fails leaves what served before. It moves no build.
//
//	err := develop.Run(ctx, stop, develop.Options{Engine: e, Dir: ".", …})
package develop

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// Configured marks the environments that are made here.
const Configured = "penstock bootstrap local"

// DefaultInterval is how often the working tree is looked at.
const DefaultInterval = 500 * time.Millisecond

// environments are launched and ended.
type environments interface {
	Launch(ctx context.Context, r run.LaunchRequest) (pipeline.Environment, error)
	End(ctx context.Context, pipeline, name, id string) error
}

// runner runs the steps.
type runner interface {
	Run(ctx context.Context, r pipeline.StepRequest) (pipeline.StepResult, error)
}

// sources make work trees.
type sources interface {
	Checkout(ctx context.Context, r pipeline.CheckoutRequest) error
}

// Options say what to run and how.
type Options struct {
	Environments environments // on the local platform
	Runner       runner
	Sources      sources
	Pipeline     string
	Name         string // of the environment
	Dir          string // the working tree, of git
	Work         string // a directory for the copy that is built, which is kept for the next build
	Steps        []pipeline.Step
	Artifact     string // that the steps make, relative to the tree; empty for none
	Image        string // that instances start from; empty for an empty root
	TTL          time.Duration
	Tests        bool // run all steps, and not only until the artifact is made
	Once         bool
	Keep         bool // leave the environment running at the end
	Interval     time.Duration
	Say          func(format string, args ...any)
	Log          io.Writer // what the steps and the launch print
}

// Run builds and launches, and with every change again, until stop is closed or ctx ends.
// Then it ends the environment, unless it is to be kept. With Once it gives the error of
// the one build.
func Run(ctx context.Context, stop <-chan struct{}, o Options) (err error) {
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	t := &tree{dir: o.Dir, copy: filepath.Join(o.Work, "checkout")}
	if o.Once {
		_, err := o.cycle(ctx, t)
		return err
	}
	defer func() {
		if o.Keep {
			return
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if ended := o.Environments.End(end, o.Pipeline, o.Name, ""); ended != nil && err == nil {
			err = ended
		}
		if removed := os.RemoveAll(o.Work); removed != nil && err == nil {
			err = removed
		}
	}()
	return o.loop(ctx, stop, t)
}

// building is a build under way.
type building struct {
	of     string // the state of the tree
	cancel context.CancelFunc
	done   chan struct{}
}

// end cancels the build and waits for its end.
func (b *building) end() {
	if b != nil {
		b.cancel()
		<-b.done
	}
}

// loop looks at the tree, and builds it once it has stopped changing. A change cancels the
// build under way.
func (o *Options) loop(ctx context.Context, stop <-chan struct{}, t *tree) error {
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	var now *building
	defer func() { now.end() }()
	last := ""
	for {
		state, err := t.state(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case state == last && (now == nil || now.of != state):
			now.end()
			now = o.begin(ctx, t, state)
		}
		last = state
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// begin starts a build in the background.
func (o *Options) begin(ctx context.Context, t *tree, state string) *building {
	ctx, cancel := context.WithCancel(ctx)
	b := &building{of: state, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		began := time.Now()
		endpoint, err := o.cycle(ctx, t)
		switch took := present.Duration(time.Since(began)); {
		case ctx.Err() != nil:
			o.Say("cancelled, because something changed")
		case err != nil:
			o.Say("failed after %s: %v", took, err)
		default:
			o.Say("runs at %s after %s", endpoint, took)
		}
	}()
	return b
}

// cycle copies, builds and launches once.
func (o *Options) cycle(ctx context.Context, t *tree) (endpoint string, err error) {
	changed, err := t.sync(ctx)
	if err != nil {
		return "", err
	}
	if err := t.takeHead(ctx, o.Sources); err != nil && ctx.Err() == nil {
		o.Say("the steps find no repository: %v", err)
	}
	o.Say("building: %s", changed)
	if err := o.build(ctx, t.copy); err != nil {
		return "", err
	}
	artifact := ""
	if o.Artifact != "" {
		artifact = filepath.Join(t.copy, filepath.FromSlash(o.Artifact))
		if info, err := os.Stat(artifact); err != nil || !info.Mode().IsRegular() {
			return "", pipeline.Errorf(pipeline.CodeFailed, "build", "the steps made no file %s", o.Artifact).WithHint("--verbose shows what they print.")
		}
	}
	env, err := o.Environments.Launch(ctx, run.LaunchRequest{
		Pipeline: o.Pipeline, Name: o.Name, Tree: &run.Tree{Artifact: artifact, Image: o.Image, Dir: t.copy}, TTL: o.TTL, Renew: true,
		Spec: pipeline.EnvironmentSpec{Instances: 1}, Configured: Configured, Log: o.Log,
	})
	return env.Endpoint, err
}

// build runs the steps, until the artifact is new or to the last.
func (o *Options) build(ctx context.Context, dir string) error {
	artifact := filepath.Join(dir, filepath.FromSlash(o.Artifact))
	before := stamp(artifact)
	for _, s := range o.Steps {
		if s.Command == "" || s.On != pipeline.OnRunner {
			continue
		}
		_, err := o.Runner.Run(ctx, pipeline.StepRequest{
			Step: s, Run: "development", Checkout: dir, Log: o.Log,
			Env: map[string]string{"PENSTOCK_PIPELINE": o.Pipeline, "PENSTOCK_ROOT": dir, "PENSTOCK_STAGE": "development"},
		})
		if err != nil {
			return err
		}
		if made := stamp(artifact); !o.Tests && o.Artifact != "" && made != "" && made != before {
			return nil
		}
	}
	return nil
}

// stamp tells versions of a file apart; empty where there is none.
func stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}
