// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package run executes: a move of a stage, a bake of an image, a launch of an environment,
// and the definition of each. It works through the ports and records each transition before
// and after. So whatever was killed anywhere is found by the next call, cleaned up, and
// repeated or finished, never doubled.
//
// It has no rule about which build may go where (package gate does), and knows no platform,
// ledger or Terraform:
//
//	status, err := stages.Advance(ctx, run.AdvanceRequest{Stage: stage})
//	image, err := images.Bake(ctx, run.BakeRequest{Definition: definition})
package run

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/places"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// ledger is what runs need of the ledger, beside states and locks.
type ledger interface {
	State(ctx context.Context, pipeline string) (*pipeline.State, error)
	Run(ctx context.Context, pipeline, id string) (pipeline.Run, error)
}

type sources interface {
	Describe(ctx context.Context, repository, commit string) (pipeline.Revision, error)
	Compare(ctx context.Context, repository, from, to string, paths *pipeline.Paths) (pipeline.Comparison, error)
	Checkout(ctx context.Context, r pipeline.CheckoutRequest) error
}

type artifacts interface {
	Put(ctx context.Context, path string) (pipeline.Artifact, error)
	Get(ctx context.Context, a pipeline.Artifact) (path string, err error)
	URL(a pipeline.Artifact) string
}

type logs interface {
	Create(ctx context.Context, pipeline, run string) (io.WriteCloser, error)
	Remove(ctx context.Context, pipeline, run string) error
	Location(pipeline, run string) string
}

// collector removes what a run leaves, and what nothing needs after it.
type collector interface {
	// EndEnvironment ends an environment under its lease, and removes its record.
	EndEnvironment(ctx context.Context, pipeline string, lease pipeline.Lease, env pipeline.Environment) error
	// ForgetEnvironment removes the record of an environment that can't be ended, under its
	// lease, and says why.
	ForgetEnvironment(ctx context.Context, lease pipeline.Lease, env pipeline.Environment, why error) error
	// Sweep removes files that no record names, unless somebody else makes some. own is the
	// caller's lock; nil for none.
	Sweep(ctx context.Context, own *lock.Lock) error
	// Quietly collects the builds of a pipeline; a failure is no reason to fail the caller.
	Quietly(ctx context.Context, st *pipeline.State, own *lock.Lock)
	// Purge archives and removes the history of a pipeline that is not defined any more.
	Purge(ctx context.Context, pipeline string) error
}

// statuses return the status of a stage.
type statuses interface {
	StageViewIn(st *pipeline.State, s pipeline.Stage) report.StageView
}

// Config is what runs work with.
type Config struct {
	States    *state.Store
	Locks     *lock.Locker
	Creations *Creations
	Collector collector
	Statuses  statuses
	Ledger    ledger
	Platform  pipeline.Platform
	Targets   pipeline.Targets // nil: all environments are where the ledger is
	Modules   pipeline.Modules
	Runner    pipeline.Runner
	Sources   sources
	Artifacts artifacts
	Logs      logs
	WorkDir   string // checkouts and other files of a run, each below its run's ID
	// Surroundings is what lies above WorkDir that steps may find; empty for nothing.
	Surroundings string
	Holder       pipeline.Holder               // what this process is
	Person       pipeline.Person               // the person that it works for
	Dead         func(p pipeline.Process) bool // reports that a process has certainly ended
	Logger       hclog.Logger
	Now          func() time.Time
}

// core is what stages, images, environments and pipelines have in common.
type core struct {
	states       *state.Store
	locks        *lock.Locker
	creations    *Creations
	collector    collector
	statuses     statuses
	ledger       ledger
	platform     pipeline.Platform
	places       places.Places
	modules      pipeline.Modules
	runner       pipeline.Runner
	sources      sources
	artifacts    artifacts
	logs         logs
	workDirs     string
	surroundings string
	holder       pipeline.Holder
	person       pipeline.Person
	dead         func(pipeline.Process) bool
	logger       hclog.Logger
	now          func() time.Time
}

// Stages defines, moves and removes stages. It is safe for concurrent use.
type Stages struct{ *core }

// Environments launches, changes and ends people's environments, and works in all. It is safe
// for concurrent use.
type Environments struct{ *core }

// Pipelines defines and removes pipelines. It is safe for concurrent use.
type Pipelines struct{ *core }

// Images bakes images and removes their definitions. It is safe for concurrent use.
type Images struct {
	*core
	found *Found
}

// Found is what the platform was found to have, cached for a while.
type Found struct {
	mu    sync.Mutex
	on    map[string]bool
	asked time.Time
}

// New makes the parts that execute. Several that work on one platform may share found.
func New(c Config, found *Found) (*Stages, *Images, *Environments, *Pipelines) {
	all := &core{
		states: c.States, locks: c.Locks, creations: c.Creations, collector: c.Collector, statuses: c.Statuses, ledger: c.Ledger,
		platform: c.Platform, places: places.New(c.Platform, c.Targets), modules: c.Modules, runner: c.Runner, sources: c.Sources, artifacts: c.Artifacts, logs: c.Logs, workDirs: c.WorkDir,
		surroundings: c.Surroundings, holder: c.Holder, person: c.Person, dead: c.Dead, logger: c.Logger, now: c.Now,
	}
	return &Stages{all}, &Images{all, found}, &Environments{all}, &Pipelines{all}
}

// under returns the platform of the ledger for changes under the leases.
func (e *core) under(leases ...pipeline.Lease) pipeline.Platform {
	return e.platform.Under(lock.Fences(leases...)...)
}

// workDir is where a run keeps its checkout. Whoever cleans up a dead run finds it by this.
func (e *core) workDir(run string) string { return filepath.Join(e.workDirs, run) }

// recordEnvironment records an environment under its lock.
func (e *core) recordEnvironment(ctx context.Context, h *lock.Lock, env pipeline.Environment) error {
	return e.states.Append(ctx, env.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}})
}
