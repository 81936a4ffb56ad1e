// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package lab makes pipelines to look at: a data directory in which everything that the
// board and the commands can show is there to be seen. It is for tests, and for "make lab",
// which leaves it running.
//
// Its story is told through the engine, by people who commit, decide and launch, on a clock
// that is turned forward, with steps and instances that are only said to run. So it takes
// seconds, and has no state that a real pipeline could not have.
//
//	l, err := lab.Open(ctx, lab.Options{Dir: dir})
//	…
//	defer l.Close(ctx)
//	board.New(board.Options{Engine: l.Engine, Now: l.Now, …})
//
// Fill makes pipelines of any size instead, for figures. They are written to the ledger as
// they are.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// The pipelines of the lab.
const (
	// Shop has seven stages and 43 builds, in all states that there are.
	Shop = "shop"
	// Wide has sixteen stages with long names, which fan out twice.
	Wide = "wide"
)

// Options configure a lab. Dir is required.
type Options struct {
	Dir string // holds the repositories, and the data directory "data"
	// End is when the story ends. The zero time means now, from when on the clock goes; a
	// lab with another End stays at it.
	End time.Time
	// Real brings up what serves on the local platform, so that another process sees it, too,
	// and its endpoints answer. It takes some seconds more.
	Real bool
	// Only makes one of the pipelines; empty means both.
	Only string
}

// Lab is a data directory with its pipelines. Two of its runs are under way until it is closed.
type Lab struct {
	Dir    string // the data directory
	Engine *engine.Engine
	App    *app.App

	options  Options
	clock    *clock
	record   *ledger.SQLite
	platform *platform
	runner   *runner
	real     *local.Platform // nil where nothing is real
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Open makes a lab. The caller must Close it.
func Open(ctx context.Context, o Options) (_ *Lab, err error) {
	l := &Lab{Dir: filepath.Join(o.Dir, "data"), options: o, clock: newClock(o.End)}
	ctx, l.cancel = context.WithCancel(ctx)
	if l.App, err = app.Open(ctx, app.Options{DataDir: l.Dir}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(context.WithoutCancel(ctx)))
		}
	}()
	if l.record, err = ledger.Open(ctx, filepath.Join(l.Dir, "ledger.db"), ledger.Options{Now: l.clock.Now, Dead: dead}); err != nil {
		return l, err
	}
	l.platform, l.runner = newPlatform(l.clock), newRunner(l.clock)
	work, _ := l.App.WorkDir()
	l.Engine = engine.New(engine.Config{
		Ledger: l.record, Platform: l.platform, Runner: l.runner, Sources: sources{l.App.Source},
		Artifacts: artifact.NewStore(filepath.Join(l.Dir, "artifacts")), Logs: artifact.NewLogs(filepath.Join(l.Dir, "logs")),
		WorkDir: filepath.Join(work, "runs"), Holder: self(), Dead: dead, Person: pipeline.Person{Name: "ci"}, Now: l.clock.Now,
		LeaseTTL: 24 * time.Hour, // those of the runs that go on are from before the end
	})
	l.App.Engine = l.Engine // for whoever opens an App
	for _, tell := range []struct {
		name string
		tell func(context.Context, *Lab) error
	}{{Wide, tellWide}, {Shop, tellShop}} {
		if o.Only != "" && o.Only != tell.name {
			continue
		}
		if err := tell.tell(ctx, l); err != nil {
			return l, fmt.Errorf("tell the story of %s: %w", tell.name, err)
		}
	}
	l.clock.present()
	close(l.runner.told)
	if o.Real {
		l.real = local.New(local.Options{Dir: l.Dir, Work: work})
		err = l.platform.bringUp(ctx, l.real)
	}
	return l, err
}

// Now is what the lab's clock says, for the Now of whoever shows the lab.
func (l *Lab) Now() time.Time { return l.clock.Now() }

// Close ends the runs that are under way, and what serves.
func (l *Lab) Close(ctx context.Context) error {
	l.cancel()
	l.running.Wait()
	var err error
	if l.real != nil {
		err = l.platform.takeDown(ctx, l.real)
	}
	if l.Engine != nil {
		l.Engine.Close(ctx)
	}
	if l.record != nil {
		err = errors.Join(err, l.record.Close())
	}
	return errors.Join(err, l.App.Close(ctx))
}

// self is this process, as the holder of leases.
func self() pipeline.Holder {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	me := process.Self()
	return pipeline.Holder{Process: pipeline.Process{Host: host, PID: me.PID, Started: me.Started, Scope: me.Scope}}
}

// dead reports whether a process of this machine has ended.
func dead(p pipeline.Process) bool {
	return process.Identity{PID: p.PID, Started: p.Started, Scope: p.Scope}.Gone()
}

// configuration is a pipeline as one apply of its configuration has it.
type configuration struct {
	pipeline pipeline.Pipeline
	stages   []pipeline.Stage // the first is the commit stage, whose source each apply sets
	paths    *pipeline.Paths
	repo     string
}

// apply does what an apply at a commit would: it defines the pipeline, and advances its
// stages in order, but for those behind one that failed.
func (l *Lab) apply(ctx context.Context, c configuration, commit string) (build string, err error) {
	snapshot, err := l.App.Source.Snapshot(ctx, source.Query{Repository: c.repo, Ref: commit, Paths: *c.paths})
	if err != nil {
		return "", err
	}
	c.stages[0].Source = &snapshot.Source
	failed := map[string]bool{}
	for _, s := range c.stages {
		behind := false
		for _, up := range s.After {
			behind = behind || failed[up]
		}
		if behind {
			failed[s.Name] = true
			continue
		}
		_, err := l.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: s})
		var ended *run.Error
		switch {
		case errors.As(err, &ended):
			failed[s.Name] = true
		case err != nil:
			return "", err
		}
	}
	return pipeline.BuildID(c.pipeline.Name, snapshot.Source.Digest, ""), nil
}

// define defines the pipeline.
func (l *Lab) define(ctx context.Context, c configuration) error {
	_, err := l.Engine.Pipelines.Create(ctx, c.pipeline)
	return err
}

// advanceLive advances a stage, whose run goes on until the lab is closed. It returns once the
// run is as far as the runner lets it go.
func (l *Lab) advanceLive(ctx context.Context, stage pipeline.Stage) error {
	begun := l.runner.hang(stage.Pipeline, stage.Name)
	ended := make(chan error, 1)
	l.running.Go(func() {
		_, err := l.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: stage})
		ended <- err
	})
	select {
	case <-begun:
		return nil
	case err := <-ended:
		return fmt.Errorf("the run of %s ended: %w", stage.Name, err)
	}
}

// do does what a person decides, some time later.
func (l *Lab) do(ctx context.Context, who string, c decision.Command) error {
	l.clock.pass(90 * time.Second)
	_, err := l.Engine.As(pipeline.Person{Name: who}).Decisions.Do(ctx, c)
	if err != nil {
		return fmt.Errorf("%s of %s at %s by %s: %w", c.Verb, c.Build, c.Stage, who, err)
	}
	return nil
}
