// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Size says how large a pipeline is that Fill makes.
type Size struct {
	Pipeline string
	Chain    int // stages behind the commit stage, one after the other; 0 means 4
	Branches int // stages beside one another behind the chain, before production; 0 means none
	Builds   int
	Owner    string
	End      time.Time // when the newest build was made; zero means now
}

// Filled is a pipeline that Fill has made.
type Filled struct {
	Stages []string // in order; all take builds
	Some   string   // a build in the middle
}

// Fill writes a pipeline to a ledger in which every build went through all stages, of which
// one in a hundred failed at the stage before the last. The newest tenth waits for a decision
// at the second stage behind the commit stage, and has run everywhere all the same.
func Fill(ctx context.Context, l pipeline.Appender, s Size) (Filled, error) {
	if s.Chain == 0 {
		s.Chain = 4
	}
	if s.End.IsZero() {
		s.End = time.Now()
	}
	f := &filler{Size: s, ctx: ctx, to: l, batch: pipeline.Batch{Pipeline: s.Pipeline}}
	f.define()
	for i := range s.Builds {
		f.build(i)
	}
	f.flush()
	return Filled{Stages: f.names, Some: f.id(s.Builds / 2)}, f.err
}

// filler collects events.
type filler struct {
	Size
	ctx   context.Context
	to    pipeline.Appender
	batch pipeline.Batch
	names []string
	err   error
}

func (f *filler) id(build int) string {
	return pipeline.BuildID(f.Pipeline, fmt.Sprint(build), "")
}

func (f *filler) flush() {
	if f.err == nil && len(f.batch.Events) > 0 {
		_, f.err = f.to.Append(f.ctx, f.batch)
	}
	f.batch.Events = nil
}

func (f *filler) add(kind pipeline.EventKind, facts pipeline.Facts) {
	f.batch.Events = append(f.batch.Events, pipeline.Event{Kind: kind, Actor: "ann", Facts: facts})
	if len(f.batch.Events) == 2000 {
		f.flush()
	}
}

// define writes the definitions, and the environments of some people.
func (f *filler) define() {
	f.add(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: f.Pipeline, Owner: f.Owner, Keep: max(f.Builds, 1)}})
	stage := func(kind pipeline.StageType, name string, after ...string) {
		s := pipeline.Stage{Pipeline: f.Pipeline, Owner: f.Owner, Name: name, Type: kind, After: after, Applied: true}.WithDefaults(nil, nil)
		s.Env = nil // no platform has environments of these pipelines
		f.add(pipeline.StageDefined, pipeline.Facts{Stage: &s})
		f.names = append(f.names, name)
	}
	stage(pipeline.TypeCommit, "commit")
	for i := range f.Chain - 1 {
		kind, name := pipeline.TypeCustom, fmt.Sprintf("stage-%d", i+1)
		if i == 1 {
			kind, name = pipeline.TypeExploratory, "exploratory"
		}
		stage(kind, name, f.names[i])
	}
	last := f.names[len(f.names)-1:]
	var ends []string
	for i := range f.Branches {
		stage(pipeline.TypeCustom, fmt.Sprintf("branch-%d", i+1), last...)
		ends = append(ends, f.names[len(f.names)-1])
	}
	if ends == nil {
		ends = last
	}
	stage(pipeline.TypeProduction, "production", ends...)
	for i := range 20 {
		env := pipeline.Environment{
			ID: fmt.Sprintf("e-%s-%d", f.Pipeline, i), Pipeline: f.Pipeline, Name: fmt.Sprintf("env-%d", i), Purpose: pipeline.ForPerson, Owner: "ann", Status: pipeline.EnvRunning,
		}
		f.add(pipeline.EnvironmentChanged, pipeline.Facts{Environment: &env})
	}
}

// build writes a build, with its runs.
func (f *filler) build(i int) {
	at := f.End.Add(-time.Duration(f.Builds-i) * 8 * time.Minute)
	build := pipeline.Build{
		ID: f.id(i), Pipeline: f.Pipeline, Stage: "commit", Order: int64(i + 1), CreatedAt: at,
		Revision: pipeline.Revision{Commit: fmt.Sprintf("%040x", i), Author: "Ann <ann@example.com>", Message: fmt.Sprintf("Change number %d", i), Time: at},
	}
	f.add(pipeline.BuildOffered, pipeline.Facts{Build: &build})
	for j, name := range f.names {
		facts := pipeline.Facts{Run: &pipeline.Run{
			ID: fmt.Sprintf("r-%013d", i*len(f.names)+j), Pipeline: f.Pipeline, Stage: name, Kind: pipeline.KindStage, Build: build.ID, Digest: "d-1",
			Status: pipeline.RunPassed, Phase: pipeline.PhaseDone, StartedAt: at, EndedAt: at.Add(time.Minute), Order: build.Order, Ready: at.Add(-time.Second),
		}}
		if j == len(f.names)-2 && i%100 == 50 {
			facts.Run.Status = pipeline.RunFailed
		}
		if i == f.Builds*9/10 {
			facts.Current = &pipeline.Current{Stage: name, Build: build.ID, Run: facts.Run.ID}
		}
		f.add(pipeline.RunEnded, facts)
		if name == "exploratory" && i < f.Builds*9/10 {
			d := pipeline.Decision{Pipeline: f.Pipeline, Stage: name, Build: build.ID, Run: facts.Run.ID, Result: pipeline.Approved, Approvals: []pipeline.Approval{{Person: "ann"}}, At: at.Add(time.Hour)}
			f.add(pipeline.BuildDecided, pipeline.Facts{Decision: &d})
		}
	}
}
