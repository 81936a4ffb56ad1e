// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package pipelinetest tells histories of a pipeline in events, for tests of what follows
// from them:
//
//	state := pipelinetest.Tell(t).Route().Offered("x").Passed("acceptance", "x").State()
package pipelinetest

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Story is a history told in events, so that tests read like a story.
type Story struct {
	Events []pipeline.Event
	Rows   map[pipeline.Key]pipeline.Record // of the current-state view
	Now    time.Time                        // of the last event
	t      testing.TB
	runs   int
}

// Tell begins a story with a pipeline of three instances.
func Tell(t testing.TB) *Story {
	s := &Story{t: t, Rows: map[pipeline.Key]pipeline.Record{}, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return s.Event(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Scale: pipeline.Scale{Instances: 3}, Service: pipeline.Service{Start: "start"}}})
}

// Event adds an event.
func (s *Story) Event(kind pipeline.EventKind, f pipeline.Facts) *Story {
	s.t.Helper()
	var last pipeline.Event
	if len(s.Events) > 0 {
		last = s.Events[len(s.Events)-1]
	}
	s.Now = s.Now.Add(time.Second)
	e := pipeline.Event{Pipeline: "shop", Kind: kind, Actor: "alice", Facts: f}
	if err := e.Seal(last, s.Now); err != nil {
		s.t.Fatal(err)
	}
	rows, err := e.Records()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rows {
		if r.Kind != pipeline.RecordRun {
			s.Rows[r.Key] = r
		}
	}
	for _, key := range f.Gone {
		delete(s.Rows, key)
	}
	s.Events = append(s.Events, e)
	return s
}

// Clone returns a story with the same beginning.
func (s *Story) Clone() *Story {
	c := *s
	c.Rows, c.Events = maps.Clone(s.Rows), slices.Clip(s.Events)
	return &c
}

// State returns what the events add up to.
func (s *Story) State() *pipeline.State {
	s.t.Helper()
	var rows []pipeline.Record
	for _, r := range s.Rows {
		rows = append(rows, r)
	}
	st, err := pipeline.NewState(rows)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// A makes a stage of a type that comes after others, named like its type.
func A(kind pipeline.StageType, after ...string) pipeline.Stage {
	return pipeline.Stage{Pipeline: "shop", Type: kind, After: after}.WithDefaults(nil, nil)
}

// Named makes a custom stage.
func Named(name string, after ...string) pipeline.Stage {
	return pipeline.Stage{Pipeline: "shop", Name: name, Type: pipeline.TypeCustom, After: after}.WithDefaults(nil, nil)
}

// Stages defines stages.
func (s *Story) Stages(stages ...pipeline.Stage) *Story {
	for _, stage := range stages {
		s.Event(pipeline.StageDefined, pipeline.Facts{Stage: &stage})
	}
	return s
}

// ID is the ID of the build that the stories call by a short name.
func ID(name string) string {
	if name == "" { // of a stage that takes none
		return ""
	}
	return pipeline.BuildID("shop", name, "img-1")
}

// Offered makes builds, each newer than the one before, that commit has passed.
func (s *Story) Offered(names ...string) *Story {
	for _, name := range names {
		s.Event(pipeline.BuildOffered, pipeline.Facts{Build: &pipeline.Build{ID: ID(name), Pipeline: "shop", Stage: "commit", Digest: name, BaseImage: "img-1"}})
		s.Ran("commit", name, pipeline.RunPassed)
	}
	return s
}

// Ran records a run of the stage as it is defined now.
func (s *Story) Ran(stage, build string, status pipeline.RunStatus) *Story {
	st := s.State()
	s.runs++
	run := pipeline.Run{
		ID: "r-" + string(rune('a'+s.runs%26)) + stage + build, Pipeline: "shop", Stage: stage, Kind: pipeline.KindStage, Build: ID(build),
		Digest: st.Stages[stage].Digest(st.Pipeline), Inputs: st.Inputs(st.Stages[stage], ID(build)), Status: status,
	}
	f := pipeline.Facts{Run: &run}
	if status == pipeline.RunPassed {
		f.Current = &pipeline.Current{Stage: stage, Build: ID(build), Run: run.ID}
	}
	return s.Event(pipeline.RunEnded, f)
}

// Passed records that builds passed a stage, in order.
func (s *Story) Passed(stage string, builds ...string) *Story {
	for _, b := range builds {
		s.Ran(stage, b, pipeline.RunPassed)
	}
	return s
}

// PassedSince passes a stage as the engine does: by a run that notes when it begins which
// promotion it consumes, while something else happens.
func (s *Story) PassedSince(stage, build string, meanwhile func(*Story)) *Story {
	st := s.State()
	answers := gate.Consumes(st, st.Stages[stage], ID(build))
	meanwhile(s)
	s.Ran(stage, build, pipeline.RunPassed)
	current := s.State().Current[stage]
	current.Promotion = &answers
	return s.Event(pipeline.StageMoved, pipeline.Facts{Current: &current})
}

// Decided records a decision on the run that the build's result is from.
func (s *Story) Decided(stage, build string, v pipeline.DecisionResult) *Story {
	st := s.State()
	run, _ := st.ResultOf(st.Stages[stage], ID(build))
	d := pipeline.Decision{
		Pipeline: "shop", Stage: stage, Build: ID(build), Run: run.ID, Inputs: st.Inputs(st.Stages[stage], ID(build)),
		Result: v, Reason: "because", Actor: "bob", At: s.Now,
	}
	if v == pipeline.Approved {
		d.Approvals = []pipeline.Approval{{Person: "bob", Actor: "bob"}}
	}
	return s.Event(pipeline.BuildDecided, pipeline.Facts{Decision: &d})
}

// Overridden records an override with the present evidence.
func (s *Story) Overridden(stage, build string) *Story {
	st := s.State()
	def := st.Stages[stage]
	run, _ := st.ResultOf(def, ID(build))
	return s.Event(pipeline.GateOverridden, pipeline.Facts{Override: &pipeline.Override{
		Pipeline: "shop", Stage: stage, Build: ID(build), Run: run.ID, Inputs: st.Inputs(def, ID(build)), Digest: def.Digest(st.Pipeline), Reason: "because", Actor: "bob",
	}})
}

// Paused pauses a stage.
func (s *Story) Paused(stage string) *Story {
	return s.Event(pipeline.StagePaused, pipeline.Facts{Pause: &pipeline.Pause{Stage: stage, Reason: "it is Friday", Actor: "bob", At: s.Now}})
}

// Retried records a retry after the run that the build's result is from.
func (s *Story) Retried(stage, build string) *Story {
	st := s.State()
	run, _ := st.ResultOf(st.Stages[stage], ID(build))
	return s.Event(pipeline.RetryAsked, pipeline.Facts{Retry: &pipeline.Retry{Stage: stage, Build: ID(build), Run: run.ID, Actor: "bob"}})
}

// Promoted records that a person moves a stage to a build.
func (s *Story) Promoted(stage, build string) *Story {
	return s.Event(pipeline.BuildPromoted, pipeline.Facts{Promotion: &pipeline.Promotion{Pipeline: "shop", Stage: stage, Build: ID(build), Actor: "bob"}})
}

// Serves records that the stage's persistent environment runs a build.
func (s *Story) Serves(stage, build string, status pipeline.EnvironmentStatus) *Story {
	st := s.State()
	def := st.Stages[stage]
	return s.Event(pipeline.EnvironmentChanged, pipeline.Facts{Environment: &pipeline.Environment{
		ID: "e-" + stage, Pipeline: "shop", Purpose: pipeline.ForStage, Stage: stage, Name: stage, Build: ID(build),
		Digest: def.Digest(st.Pipeline), Instances: def.Instances(st.Pipeline), Status: status,
	}})
}

// Route defines the usual pipeline.
func (s *Story) Route() *Story {
	return s.Stages(CommitOf("none"), A(pipeline.TypeAcceptance, "commit"), A(pipeline.TypeExploratory, "acceptance"), A(pipeline.TypeCapacity, "acceptance"),
		A(pipeline.TypePreProduction, "exploratory", "capacity"), A(pipeline.TypeProduction, "pre-production"))
}

// CommitOf is the commit stage with the source of a build.
func CommitOf(build string) pipeline.Stage {
	s := A(pipeline.TypeCommit)
	s.Source = &pipeline.SourceRef{Repository: "repo", Commit: "c" + build, Digest: build}
	s.BaseImage = "img-1"
	return s
}

// Through takes a build to pre-production.
func (s *Story) Through(builds ...string) *Story {
	for _, b := range builds {
		s.Offered(b).Passed("acceptance", b).Passed("exploratory", b).Decided("exploratory", b, pipeline.Approved).Passed("capacity", b).Passed("pre-production", b)
	}
	return s
}

// PinnedTo pins a stage to a build.
func PinnedTo(s pipeline.Stage, build string) pipeline.Stage {
	s.Pin = build
	return s
}
