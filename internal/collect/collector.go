// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package collect removes what nothing needs any more: builds beyond what a pipeline retains,
// images, artifacts and logs, what dead runs left, environments that have ended, and the
// histories of pipelines that are gone, which it archives. It never removes what is in use,
// or what a rollback may need.
//
// It starts nothing, and decides only what is garbage:
//
//	garbage, err := collector.Collect(ctx, collect.Request{Pipeline: "shop", DryRun: true})
package collect

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/modular"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/places"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// ledger is what a Collector needs of the ledger, beside the states.
type ledger interface {
	Run(ctx context.Context, pipeline, id string) (pipeline.Run, error)
	Removed(ctx context.Context) ([]string, error)
	Head(ctx context.Context, pipeline string) (int64, error)
	Events(ctx context.Context, pipeline string, after int64, limit int) ([]pipeline.Event, error)
	Leases(ctx context.Context) ([]pipeline.Lease, error)
	Purge(ctx context.Context, pipeline string) error
}

type artifacts interface {
	List(ctx context.Context) ([]string, error)
	Remove(ctx context.Context, digest string) error
}

type logs interface {
	Remove(ctx context.Context, pipeline, run string) error
}

type archives interface {
	Put(ctx context.Context, a pipeline.Archive, write func(w io.Writer) error) error
	List(ctx context.Context) ([]pipeline.Archive, error)
	Remove(ctx context.Context, a pipeline.Archive) error
}

// Config is what a Collector works with.
type Config struct {
	States    *state.Store
	Locks     *lock.Locker
	Ledger    ledger
	Platform  pipeline.Platform
	Targets   pipeline.Targets // nil: all environments are where the ledger is
	Modules   pipeline.Modules
	Artifacts artifacts
	Logs      logs
	WorkDir   string           // where runs have their files, each below its ID
	Process   pipeline.Process // this one, whose own leases stay
	Logger    hclog.Logger
	Now       func() time.Time
	// Archives keep the histories of removed pipelines, as Export writes them. With nil,
	// histories are not kept.
	Archives archives
	Export   func(ctx context.Context, w io.Writer, pipeline string) error
}

// Collector removes garbage. It is safe for concurrent use.
type Collector struct {
	states    *state.Store
	locks     *lock.Locker
	ledger    ledger
	platform  pipeline.Platform
	places    places.Places
	modules   pipeline.Modules
	artifacts artifacts
	logs      logs
	archives  archives
	export    func(ctx context.Context, w io.Writer, pipeline string) error
	workDir   string
	process   pipeline.Process
	logger    hclog.Logger
	now       func() time.Time
	looked    *atomic.Bool // for expired archives, once in an apply: not by each stage
}

// New makes a Collector.
func New(c Config) *Collector {
	return &Collector{
		states: c.States, locks: c.Locks, ledger: c.Ledger, platform: c.Platform, places: places.New(c.Platform, c.Targets), modules: c.Modules, artifacts: c.Artifacts, logs: c.Logs,
		archives: c.Archives, export: c.Export, workDir: c.WorkDir, process: c.Process, logger: c.Logger, now: c.Now, looked: new(atomic.Bool),
	}
}

// As returns a Collector for somebody else, in the same process.
func (c *Collector) As(states *state.Store, locks *lock.Locker) *Collector {
	as := *c
	as.states, as.locks = states, locks
	return &as
}

// of returns the platform for the end of an environment under its lease, with the module that
// makes its infrastructure.
func (c *Collector) of(env pipeline.Environment, lease pipeline.Lease) pipeline.Platform {
	return modular.New(c.places.At(env.Target).Under(lease.Fence()), c.modules.Under(lease.Fence()), env, nil)
}

// under returns the platform of the ledger for what is removed under the leases.
func (c *Collector) under(leases ...pipeline.Lease) pipeline.Platform {
	return c.platform.Under(lock.Fences(leases...)...)
}
