// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package report is what faces show: stages and runs, the differences between
// builds, how well a stage delivers, what keeps images, and logs. It writes only to the
// writer that it is given.
//
// It renders nothing either. It returns values, with the JSON that commands print:
//
//	view, err := reports.StageView(ctx, "shop", "production")
//	diff, err := reports.Diff(ctx, "shop", "", "")
package report

import (
	"context"
	"io"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// ledger is what Reports need of the ledger, beside the states.
type ledger interface {
	Pipelines(ctx context.Context) ([]string, error)
	Head(ctx context.Context, pipeline string) (int64, error)
	Newest(ctx context.Context, pipeline string) (pipeline.Anchor, error)
	Events(ctx context.Context, pipeline string, after int64, limit int) ([]pipeline.Event, error)
	Run(ctx context.Context, pipeline, id string) (pipeline.Run, error)
	Runs(ctx context.Context, pipeline string, q pipeline.RunQuery) (pipeline.RunPage, error)
	Leases(ctx context.Context) ([]pipeline.Lease, error)
}

type platform interface {
	Images(ctx context.Context) ([]pipeline.BakedImage, error)
}

type sources interface {
	Compare(ctx context.Context, repository, from, to string, paths *pipeline.Paths) (pipeline.Comparison, error)
}

type artifacts interface {
	Get(ctx context.Context, a pipeline.Artifact) (path string, err error)
}

type logs interface {
	Open(ctx context.Context, pipeline, run string) (io.ReadSeekCloser, error)
	Location(pipeline, run string) string
}

// Config is what Reports work with.
type Config struct {
	States    *state.Store
	Ledger    ledger
	Platform  platform
	Sources   sources
	Artifacts artifacts
	Logs      logs
	Dead      func(pipeline.Process) bool // reports that a process has certainly ended
	Now       func() time.Time
	HeadAge   time.Duration // how often the ledger is asked at most for the end of a followed run
}

// Reports look at pipelines. They are safe for concurrent use.
type Reports struct {
	states    *state.Store
	ledger    ledger
	platform  platform
	sources   sources
	artifacts artifacts
	logs      logs
	dead      func(pipeline.Process) bool
	now       func() time.Time
	headAge   time.Duration
	past      *past
}

// New makes Reports.
func New(c Config) *Reports {
	return &Reports{
		states: c.States, ledger: c.Ledger, platform: c.Platform, sources: c.Sources, artifacts: c.Artifacts, logs: c.Logs,
		dead: c.Dead, now: c.Now, headAge: c.HeadAge, past: newPast(c.Ledger),
	}
}

// Names lists the names of the pipelines, sorted.
func (r *Reports) Names(ctx context.Context) ([]string, error) { return r.ledger.Pipelines(ctx) }

// Head returns the sequence number of a pipeline's newest event; 0 for none.
func (r *Reports) Head(ctx context.Context, pipelineName string) (int64, error) {
	return r.ledger.Head(ctx, pipelineName)
}

// LastEvent returns a pipeline's newest event; the zero Event for none.
func (r *Reports) LastEvent(ctx context.Context, pipelineName string) (pipeline.Event, error) {
	head, err := r.ledger.Head(ctx, pipelineName)
	if err != nil || head == 0 {
		return pipeline.Event{}, err
	}
	last, err := r.ledger.Events(ctx, pipelineName, head-1, 1)
	if err != nil || len(last) == 0 {
		return pipeline.Event{}, err
	}
	return last[0], nil
}

// Run returns one run; CodeNotFound where there is none. With pipelineName "" all are searched.
func (r *Reports) Run(ctx context.Context, pipelineName, id string) (pipeline.Run, error) {
	return r.ledger.Run(ctx, pipelineName, id)
}

// Runs lists runs, the newest first.
func (r *Reports) Runs(ctx context.Context, pipelineName string, q pipeline.RunQuery) (pipeline.RunPage, error) {
	return r.ledger.Runs(ctx, pipelineName, q)
}

// Leases lists who works on what, including holders of expired leases.
func (r *Reports) Leases(ctx context.Context) ([]pipeline.Lease, error) { return r.ledger.Leases(ctx) }

// Log opens the log of a run.
func (r *Reports) Log(ctx context.Context, pipelineName, run string) (io.ReadSeekCloser, error) {
	return r.logs.Open(ctx, pipelineName, run)
}

// LogLocation says where the log of a run is.
func (r *Reports) LogLocation(pipelineName, run string) string {
	return r.logs.Location(pipelineName, run)
}

// Artifact returns the path of a verified copy of an artifact on this machine.
func (r *Reports) Artifact(ctx context.Context, a pipeline.Artifact) (path string, err error) {
	return r.artifacts.Get(ctx, a)
}
