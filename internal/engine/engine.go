// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package engine opens the rooms in which pipelines are worked on, over one set of ports: what
// executes (package run), what people decide (decision), what is removed (collect), and what
// is shown (report). They share one view of the ledger (state) and its leases (lock).
//
// It does nothing itself, and shows nobody the ports. Its tests run all rooms together, in
// memory, with the process killed at every call:
//
//	e := engine.New(engine.Config{Ledger: ledger, Platform: platform, …})
//	status, err := e.Stages.Advance(ctx, run.AdvanceRequest{Stage: stage})
package engine

import (
	"context"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/modular"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/places"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// Ledger is what an Engine needs of the ledger.
type Ledger interface {
	pipeline.Reader
	pipeline.Appender
	pipeline.Leaser
	// Purge removes a pipeline that is no longer defined, with its history.
	Purge(ctx context.Context, pipeline string) error
}

// Config is what an Engine works with. All but Targets, Modules, Dead, Logger, Now and LeaseTTL are required.
type Config struct {
	Ledger    Ledger
	Platform  pipeline.Platform
	Targets   pipeline.Targets // nil: all environments are where the ledger is
	Modules   pipeline.Modules // nil: no pipeline can have a module
	Runner    pipeline.Runner
	Sources   pipeline.Sources
	Artifacts pipeline.Artifacts
	Logs      pipeline.Logs
	WorkDir   string // checkouts and other files of a run, each below its run's ID
	// Surroundings says what lies above WorkDir that steps may find; empty for nothing.
	Surroundings string
	Holder       pipeline.Holder // what this process is
	// Dead reports that a process has certainly ended. With nil, no process is known to have.
	Dead     func(pipeline.Process) bool
	Person   pipeline.Person // the person that it works for; without a name the holder's actor
	Logger   hclog.Logger
	Now      func() time.Time
	LeaseTTL time.Duration // 0 means DefaultLeaseTTL
	// Jitter returns numbers from 0 to 1 that vary the pauses of waits, so that waiting
	// processes don't ask together. With nil they are random.
	Jitter func() float64
	// HeadAge is how long a pipeline's state is believed before the ledger is asked
	// whether it has moved. 0 means that it is asked each time; see state.Config.
	HeadAge time.Duration
	// Appended is called after events were recorded of a pipeline that has targets to be
	// notified. It must not wait.
	Appended func(pipeline string)
	// Environment is called after an event was recorded that is of an environment. It must not
	// wait.
	Environment func(e pipeline.Event)
	// Archives keep the histories of removed pipelines, as Export writes them. With nil,
	// histories are not kept.
	Archives pipeline.Archives
	Export   func(ctx context.Context, w io.Writer, pipeline string) error
}

// DefaultLeaseTTL is how long a lease outlives the last sign of life of a process
// on another host: long enough for a paused laptop's short nap or a slow ledger,
// short enough to wait for.
const DefaultLeaseTTL = 30 * time.Second

// Engine is the rooms, for one person. Each is safe for concurrent use.
type Engine struct {
	Stages       *run.Stages
	Images       *run.Images
	Environments *run.Environments
	Pipelines    *run.Pipelines
	Creations    *run.Creations
	Decisions    *decision.Decisions
	Collector    *collect.Collector
	Reports      *report.Reports

	config Config // as it was opened with
	states *state.Store
	locks  *lock.Locker
	found  *run.Found
}

// Position is the position at which a pipeline was looked at.
type Position = state.Position

// New opens the rooms.
func New(c Config) *Engine {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Dead == nil {
		c.Dead = func(pipeline.Process) bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.Modules == nil {
		c.Modules = modular.None{}
	}
	if c.Person.Name == "" {
		c.Person.Name = c.Holder.Actor
	}
	c.Holder.Actor = c.Person.Name
	e := &Engine{config: c, found: &run.Found{}}
	e.states = state.New(state.Config{Ledger: c.Ledger, Places: places.New(c.Platform, c.Targets), Names: c.Platform, Actor: c.Person.Name, Now: c.Now, HeadAge: c.HeadAge, Appended: c.Appended, Environment: c.Environment})
	e.locks = lock.New(lock.Config{Ledger: c.Ledger, Holder: c.Holder, TTL: c.LeaseTTL, Logger: c.Logger, Now: c.Now, Jitter: c.Jitter})
	e.Creations = run.NewCreations(run.CreationsConfig{
		States: e.states, Locks: e.locks, Ledger: c.Ledger, Holder: c.Holder, Now: c.Now, Patience: c.LeaseTTL + time.Second, Jitter: c.Jitter,
	})
	e.Collector = collect.New(collect.Config{
		States: e.states, Locks: e.locks, Ledger: c.Ledger, Platform: c.Platform, Targets: c.Targets, Modules: c.Modules, Artifacts: c.Artifacts, Logs: c.Logs,
		WorkDir: c.WorkDir, Process: c.Holder.Process, Logger: c.Logger, Now: c.Now, Archives: c.Archives, Export: c.Export,
	})
	return e.open()
}

// As returns the rooms for another person, in the same process. They share with e what is
// cached of the ledger and the platform.
func (e *Engine) As(who pipeline.Person) *Engine {
	as := &Engine{config: e.config, found: e.found, states: e.states.As(who.Name), locks: e.locks.As(who.Name)}
	as.config.Person, as.config.Holder.Actor = who, who.Name
	as.Creations = e.Creations.As(as.states, as.locks, who.Name)
	as.Collector = e.Collector.As(as.states, as.locks)
	return as.open()
}

// open opens those rooms that are made for a person.
func (e *Engine) open() *Engine {
	c := e.config
	e.Reports = report.New(report.Config{
		States: e.states, Ledger: c.Ledger, Platform: c.Platform, Sources: c.Sources, Artifacts: c.Artifacts, Logs: c.Logs,
		Dead: c.Dead, Now: c.Now, HeadAge: c.HeadAge,
	})
	e.Decisions = decision.New(decision.Config{States: e.states, Inquiries: e.Collector, Person: c.Person, Logger: c.Logger, Now: c.Now})
	e.Stages, e.Images, e.Environments, e.Pipelines = run.New(run.Config{
		States: e.states, Locks: e.locks, Creations: e.Creations, Collector: e.Collector, Statuses: e.Reports, Ledger: c.Ledger,
		Platform: c.Platform, Targets: c.Targets, Modules: c.Modules, Runner: c.Runner, Sources: c.Sources, Artifacts: c.Artifacts, Logs: c.Logs, WorkDir: c.WorkDir,
		Surroundings: c.Surroundings, Holder: c.Holder, Person: c.Person, Dead: c.Dead, Logger: c.Logger, Now: c.Now,
	}, e.found)
	return e
}

// Person returns the person that the rooms work for.
func (e *Engine) Person() pipeline.Person { return e.config.Person }

// HeadAge returns how long a pipeline's state is cached before the ledger is asked again.
func (e *Engine) HeadAge() time.Duration { return e.config.HeadAge }

// State returns a pipeline's state, with its environments as the platform sees them now. The
// caller must not change it. A pipeline that does not exist has an empty state.
func (e *Engine) State(ctx context.Context, name string) (*pipeline.State, error) {
	return e.states.State(ctx, name)
}

// Recorded returns a pipeline's state as the ledger has it, without asking the platform about
// its environments. The caller must not change it.
func (e *Engine) Recorded(ctx context.Context, name string) (*pipeline.State, error) {
	return e.states.Recorded(ctx, name)
}

// States returns the states of all pipelines, by name.
func (e *Engine) States(ctx context.Context) (map[string]*pipeline.State, error) {
	return e.states.All(ctx)
}

// Snapshot returns a pipeline at the newest position of its ledger, and that position.
func (e *Engine) Snapshot(ctx context.Context, name string) (gate.Snapshot, state.Position, error) {
	return e.states.Snapshot(ctx, name)
}

// SnapshotAt returns a pipeline as it was at a position.
func (e *Engine) SnapshotAt(ctx context.Context, name string, at state.Position) (gate.Snapshot, error) {
	return e.states.SnapshotAt(ctx, name, at)
}

// Watch makes the caller the only watcher of a pipeline until it ends the watch, and returns a
// context that ends when another has taken over. It does not wait: CodeLocked says who
// watches already.
func (e *Engine) Watch(ctx context.Context, pipelineName, purpose string) (context.Context, *lock.Watch, error) {
	return e.locks.Watch(ctx, pipelineName, purpose)
}

// Close releases the leases that say that this process creates something.
func (e *Engine) Close(ctx context.Context) { e.Creations.Close(ctx) }
