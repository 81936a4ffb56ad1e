// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"testing"
	"time"
)

// story is a history told in events, so that tests read as one would tell it.
type story struct {
	t      testing.TB
	events []Event
	rows   map[Key]Record
	runs   int
	now    time.Time
}

func tell(t testing.TB) *story {
	s := &story{t: t, rows: map[Key]Record{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return s.event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{Instances: 3}, Service: Service{Start: "start"}}})
}

func (s *story) event(kind EventKind, f Facts) *story {
	s.t.Helper()
	var last Event
	if len(s.events) > 0 {
		last = s.events[len(s.events)-1]
	}
	s.now = s.now.Add(time.Second)
	e := Event{Pipeline: "shop", Kind: kind, Actor: "alice", Facts: f}
	if err := e.Seal(last.Seq+1, last.Hash, s.now, last.Time); err != nil {
		s.t.Fatal(err)
	}
	rows, err := e.Records()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rows {
		if r.Kind != RecordRun {
			s.rows[r.Key] = r
		}
	}
	for _, key := range f.Gone {
		delete(s.rows, key)
	}
	s.events = append(s.events, e)
	return s
}

func (s *story) state() *State {
	s.t.Helper()
	var rows []Record
	for _, r := range s.rows {
		rows = append(rows, r)
	}
	st, err := NewState(rows)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// a makes a stage of a type that comes after others, named like its type.
func a(kind StageType, after ...string) Stage {
	return Stage{Pipeline: "shop", Type: kind, After: after}.WithDefaults(nil, nil)
}

// named makes a custom stage.
func named(name string, after ...string) Stage {
	return Stage{Pipeline: "shop", Name: name, Type: TypeCustom, After: after}.WithDefaults(nil, nil)
}

func (s *story) stages(stages ...Stage) *story {
	for _, stage := range stages {
		s.event(StageDefined, Facts{Stage: &stage})
	}
	return s
}

// id is the ID of the build that the stories call by a short name.
func id(name string) string { return BuildID("shop", name, "img-1") }

// offered makes builds, each newer than the one before, that commit has passed.
func (s *story) offered(names ...string) *story {
	for _, name := range names {
		s.event(BuildOffered, Facts{Build: &Build{ID: id(name), Pipeline: "shop", Stage: "commit", Digest: name, BaseImage: "img-1"}})
		s.ran("commit", name, RunPassed)
	}
	return s
}

// ran records a run of the stage as it is defined now.
func (s *story) ran(stage, build string, status RunStatus) *story {
	st := s.state()
	s.runs++
	run := Run{
		ID: "r-" + string(rune('a'+s.runs%26)) + stage + build, Pipeline: "shop", Stage: stage, Kind: KindStage, Build: id(build),
		Digest: st.Stages[stage].Digest(st.Pipeline), Inputs: st.Inputs(st.Stages[stage], id(build)), Status: status,
	}
	f := Facts{Run: &run}
	if status == RunPassed {
		f.Current = &Current{Stage: stage, Build: id(build), Run: run.ID}
	}
	return s.event(RunEnded, f)
}

func (s *story) passed(stage string, builds ...string) *story {
	for _, b := range builds {
		s.ran(stage, b, RunPassed)
	}
	return s
}

// passedSince passes a stage as the engine does: by a run that notes which promotion it
// answers when it begins, with something that happens meanwhile.
func (s *story) passedSince(stage, build string, meanwhile func(*story)) *story {
	st := s.state()
	answers := st.Consumes(st.Stages[stage], id(build))
	meanwhile(s)
	s.ran(stage, build, RunPassed)
	hold := s.state().Current[stage]
	hold.Promotion = &answers
	return s.event(StageMoved, Facts{Current: &hold})
}

// decided records a decision on the run that judges the build now.
func (s *story) decided(stage, build string, v DecisionResult) *story {
	st := s.state()
	run, _ := st.ResultOf(st.Stages[stage], id(build))
	d := Decision{
		Pipeline: "shop", Stage: stage, Build: id(build), Run: run.ID, Inputs: st.Inputs(st.Stages[stage], id(build)),
		Result: v, Reason: "because", Actor: "bob", At: s.now,
	}
	if v == Approved {
		d.Approvals = []Approval{{Person: "bob", Actor: "bob"}}
	}
	return s.event(BuildDecided, Facts{Decision: &d})
}

// overridden records an override with the evidence that there is now.
func (s *story) overridden(stage, build string) *story {
	st := s.state()
	def := st.Stages[stage]
	run, _ := st.ResultOf(def, id(build))
	return s.event(GateOverridden, Facts{Override: &Override{
		Pipeline: "shop", Stage: stage, Build: id(build), Run: run.ID, Inputs: st.Inputs(def, id(build)), Digest: def.Digest(st.Pipeline), Reason: "because", Actor: "bob",
	}})
}

func (s *story) current(stage string) *story {
	return s.event(StagePaused, Facts{Pause: &Pause{Stage: stage, Reason: "it is Friday", Actor: "bob", At: s.now}})
}

// retried records a wish for another run after the one that judges the build now.
func (s *story) retried(stage, build string) *story {
	st := s.state()
	run, _ := st.ResultOf(st.Stages[stage], id(build))
	return s.event(RetryAsked, Facts{Retry: &Retry{Stage: stage, Build: id(build), Run: run.ID, Actor: "bob"}})
}

func (s *story) promoted(stage, build string) *story {
	return s.event(BuildPromoted, Facts{Promotion: &Promotion{Pipeline: "shop", Stage: stage, Build: id(build), Actor: "bob"}})
}

// serves records that the stage's lasting environment runs a build.
func (s *story) serves(stage, build string, status EnvironmentStatus) *story {
	st := s.state()
	def := st.Stages[stage]
	return s.event(EnvironmentChanged, Facts{Environment: &Environment{
		ID: "e-" + stage, Pipeline: "shop", Purpose: ForStage, Stage: stage, Name: stage, Build: id(build),
		Digest: def.Digest(st.Pipeline), Instances: def.Instances(st.Pipeline), Status: status,
	}})
}

// route defines the usual pipeline.
func (s *story) route() *story {
	return s.stages(commitOf("none"), a(TypeAcceptance, "commit"), a(TypeExploratory, "acceptance"), a(TypeCapacity, "acceptance"),
		a(TypePreProduction, "exploratory", "capacity"), a(TypeProduction, "pre-production"))
}

// commitOf is the commit stage with the source of a build.
func commitOf(build string) Stage {
	s := a(TypeCommit)
	s.Source = &SourceRef{Repository: "repo", Commit: "c" + build, Digest: build}
	s.BaseImage = "img-1"
	return s
}

// through takes a build to pre-production.
func (s *story) through(builds ...string) *story {
	for _, b := range builds {
		s.offered(b).passed("acceptance", b).passed("exploratory", b).decided("exploratory", b, Approved).passed("capacity", b).passed("pre-production", b)
	}
	return s
}

func pinnedTo(s Stage, build string) Stage {
	s.Pin = build
	return s
}
