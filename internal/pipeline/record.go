// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// RecordKind names a kind of record in the current-state view.
type RecordKind string

// The kinds of record. All but runs belong to the state, which is read as a whole. Runs are
// history, which is paged. The table kinds says what each kind is.
const (
	RecordPipeline        RecordKind = "pipeline"
	RecordStage           RecordKind = "stage"            // by name
	RecordImageDefinition RecordKind = "image_definition" // by name
	RecordBuild           RecordKind = "build"            // by ID
	RecordRun             RecordKind = "run"              // by ID
	RecordLatest          RecordKind = "latest"           // summary of a stage's latest run, by stage
	RecordResult          RecordKind = "result"           // of a run for its build, by stage/build/digest
	RecordCurrent         RecordKind = "current"          // by stage
	RecordDecision        RecordKind = "decision"         // by stage/build
	RecordPromotion       RecordKind = "promotion"        // by stage
	RecordOverride        RecordKind = "override"         // by stage/build
	RecordPause           RecordKind = "pause"            // by stage
	RecordRetry           RecordKind = "retry"            // by stage
	RecordRaised          RecordKind = "raised"           // by RaisedID
	RecordDelivery        RecordKind = "delivery"         // by the target's key
	RecordImage           RecordKind = "image"            // by ID
	RecordEnvironment     RecordKind = "environment"      // by ID
	RecordStagePlan       RecordKind = "stage_plan"       // by stage/build
	RecordDrift           RecordKind = "drift"            // by stage
	RecordCreation        RecordKind = "creation"         // by kind/name of what was created
	RecordBackup          RecordKind = "backup"           // by stage/build/run
	RecordFinish          RecordKind = "finish"           // by stage
	RecordChannel         RecordKind = "channel"          // by stage, or image/NAME for a baked image, or left/NAME
)

// kinds is the table of the kinds of record, in the order in which an event writes them. An
// entry has everything that events, the state, the seal and ledgers do with the kind.
var kinds = []recordKind{
	alone(RecordPipeline, func(f *Facts) **Pipeline { return &f.Pipeline }, func(s *State) *Pipeline { return &s.Pipeline },
		func(p *Pipeline) string { return p.Name }),
	on(RecordStage, func(f *Facts) **Stage { return &f.Stage }, func(s *State) *map[string]Stage { return &s.Stages },
		func(v *Stage) string { return v.Name }).of(aStage),
	on(RecordImageDefinition, func(f *Facts) **ImageDefinition { return &f.ImageDefinition }, func(s *State) *map[string]ImageDefinition { return &s.ImageDefinitions },
		func(d *ImageDefinition) string { return d.Name }),
	on(RecordBuild, func(f *Facts) **Build { return &f.Build }, func(s *State) *map[string]Build { return &s.Builds },
		func(b *Build) string { return b.ID }),
	paged(RecordRun, func(f *Facts) **Run { return &f.Run }, func(r *Run) string { return r.ID }),
	latest, result,
	on(RecordCurrent, func(f *Facts) **Current { return &f.Current }, func(s *State) *map[string]Current { return &s.Current },
		func(c *Current) string { return c.Stage }).of(aStage),
	on(RecordDecision, func(f *Facts) **Decision { return &f.Decision }, func(s *State) *map[string]Decision { return &s.Decisions },
		func(d *Decision) string { return StageBuild(d.Stage, d.Build) }).of(aStageAndBuild),
	on(RecordPromotion, func(f *Facts) **Promotion { return &f.Promotion }, func(s *State) *map[string]Promotion { return &s.Promotions },
		func(p *Promotion) string { return p.Stage }).of(aStage),
	on(RecordOverride, func(f *Facts) **Override { return &f.Override }, func(s *State) *map[string]Override { return &s.Overrides },
		func(o *Override) string { return StageBuild(o.Stage, o.Build) }).of(aStageAndBuild),
	on(RecordPause, func(f *Facts) **Pause { return &f.Pause }, func(s *State) *map[string]Pause { return &s.Pauses },
		func(p *Pause) string { return p.Stage }).of(aStage),
	on(RecordRetry, func(f *Facts) **Retry { return &f.Retry }, func(s *State) *map[string]Retry { return &s.Retries },
		func(r *Retry) string { return r.Stage }).of(aStage),
	on(RecordRaised, func(f *Facts) **Raised { return &f.Raised }, func(s *State) *map[string]Raised { return &s.Raised },
		func(r *Raised) string { return r.ID }),
	on(RecordDelivery, func(f *Facts) **Delivery { return &f.Delivery }, func(s *State) *map[string]Delivery { return &s.Deliveries },
		func(d *Delivery) string { return d.Target }),
	on(RecordImage, func(f *Facts) **Image { return &f.Image }, func(s *State) *map[string]Image { return &s.Images },
		func(i *Image) string { return i.ID }),
	on(RecordEnvironment, func(f *Facts) **Environment { return &f.Environment }, func(s *State) *map[string]Environment { return &s.Environments },
		func(e *Environment) string { return e.ID }),
	on(RecordStagePlan, func(f *Facts) **StagePlan { return &f.StagePlan }, func(s *State) *map[string]StagePlan { return &s.Plans },
		func(p *StagePlan) string { return StageBuild(p.Stage, p.Build) }).of(aStageAndBuild),
	on(RecordDrift, func(f *Facts) **Drift { return &f.Drift }, func(s *State) *map[string]Drift { return &s.Drifts },
		func(d *Drift) string { return d.Stage }).of(aStage),
	on(RecordCreation, func(f *Facts) **Creation { return &f.Creation }, func(s *State) *map[string]Creation { return &s.Creations },
		func(c *Creation) string { return c.Key().ID }),
	on(RecordBackup, func(f *Facts) **Backup { return &f.Backup }, func(s *State) *map[string]Backup { return &s.Backups },
		func(b *Backup) string { return b.ID() }).of(aStageAndBuild),
	on(RecordFinish, func(f *Facts) **Finish { return &f.Finish }, func(s *State) *map[string]Finish { return &s.Finishes },
		func(f *Finish) string { return f.Stage }).of(aStage),
	on(RecordChannel, func(f *Facts) **Channel { return &f.Channel }, func(s *State) *map[string]Channel { return &s.Channels },
		func(c *Channel) string { return c.Key() }), // it may outlive its stage
}

// kindsByName finds the entries of kinds.
var kindsByName = func() map[RecordKind]recordKind {
	byName := make(map[RecordKind]recordKind, len(kinds))
	for _, k := range kinds {
		byName[k.name] = k
	}
	return byName
}()

// recordKind is all there is to know of a kind of record. A kind without a part belongs to
// the history alone, and none of its state functions is set.
type recordKind struct {
	name  RecordKind
	about about

	fact   func(*Facts) any                              // the field that has the fact, as a pointer to the field
	write  func(*Facts) (id string, doc any, wrote bool) // the record that facts write
	number func(e *Event)                                // numbers what an event creates, when it is sealed; nil: has no number
	check  func(*Facts) error                            // refuses facts that nobody sealed, with CodeCorrupt; nil: none

	part   func(*State) any                     // the field that keeps it, as a pointer to the field
	fresh  func(s *State, n int)                // lets a new state, of n records of all kinds, have none
	own    func(*State)                         // makes a part of a state's copy its own
	decode func(r Record) (func(*State), error) // returns what sets a record, with its version, that is newer than all others
	drop   func(s *State, id string)            // takes a record out
}

// about is what a record is about. It is removed with that.
type about int

const (
	itself         about = iota // or what its ID does not name
	aStage                      // its ID is the stage's name
	aStageAndBuild              // its ID begins with StageBuild
)

func (k recordKind) of(a about) recordKind {
	k.about = a
	return k
}

// on makes a kind of record of which each is a fact, unchanged, and which a state keeps by
// ID. A fact whose type has a method number(seq) is numbered; one that has check() is
// checked.
func on[T any](name RecordKind, fact func(*Facts) **T, part func(*State) *map[string]T, id func(*T) string) recordKind {
	return paged(name, fact, id).keptIn(keepBy(part))
}

// alone makes a kind of which a pipeline has one record.
func alone[T any](name RecordKind, fact func(*Facts) **T, part func(*State) *T, id func(*T) string) recordKind {
	return paged(name, fact, id).keptIn(recordKind{
		part:  func(s *State) any { return part(s) },
		fresh: func(*State, int) {},
		own:   func(*State) {},
		decode: func(r Record) (func(*State), error) {
			v, err := read[T](r)
			return func(s *State) {
				*part(s) = v
				s.versions[r.Key] = r.Version
			}, err
		},
		drop: func(s *State, _ string) {
			var none T
			*part(s) = none
		},
	})
}

// paged makes a kind of which no state has records: they are history.
func paged[T any](name RecordKind, fact func(*Facts) **T, id func(*T) string) recordKind {
	k := recordKind{
		name: name,
		fact: func(f *Facts) any { return fact(f) },
		write: func(f *Facts) (string, any, bool) {
			v := *fact(f)
			if v == nil {
				return "", nil, false
			}
			return id(v), v, true
		},
	}
	if _, ok := any((*T)(nil)).(numbered); ok {
		k.number = func(e *Event) {
			if v := *fact(&e.Facts); v != nil {
				c := *v // the caller's stays as it is
				any(&c).(numbered).number(e)
				*fact(&e.Facts) = &c
			}
		}
	}
	if _, ok := any((*T)(nil)).(checked); ok {
		k.check = func(f *Facts) error {
			if v := *fact(f); v != nil {
				return any(v).(checked).check()
			}
			return nil
		}
	}
	return k
}

// numbered is a fact that gets the number of the event that creates it, unless it has one.
type numbered interface{ number(e *Event) }

// checked is a fact that is refused, with CodeCorrupt, if no event of this program could
// contain it.
type checked interface{ check() error }

func (b *Build) number(e *Event) {
	if b.Order == 0 {
		b.Order = e.Seq
	}
	if b.Number == 0 {
		b.Number = e.Builds + 1
	}
	e.Builds = max(e.Builds, b.Number)
}

func (i *Image) number(e *Event) {
	if i.Order == 0 {
		i.Order = e.Seq
	}
}

func (r *Run) check() error        { return checkRunID(r.ID) }
func (r *RunSummary) check() error { return checkRunID(r.ID) }

// keptIn completes a kind by the functions of a state.
func (k recordKind) keptIn(s recordKind) recordKind {
	k.part, k.fresh, k.own, k.decode, k.drop = s.part, s.fresh, s.own, s.decode, s.drop
	return k
}

// keepBy makes the functions of a state for facts that it keeps by ID.
func keepBy[T any](part func(*State) *map[string]T) recordKind {
	return recordKind{
		part:  func(s *State) any { return part(s) },
		fresh: func(s *State, _ int) { *part(s) = map[string]T{} },
		own:   func(s *State) { *part(s) = maps.Clone(*part(s)) },
		decode: func(r Record) (func(*State), error) {
			v, err := read[T](r)
			return func(s *State) {
				(*part(s))[r.ID] = v
				s.versions[r.Key] = r.Version
			}, err
		},
		drop: func(s *State, id string) { delete(*part(s), id) },
	}
}

// read decodes the document of a record.
func read[T any](r Record) (v T, err error) {
	if err := json.Unmarshal(r.Doc, &v); err != nil {
		return v, err
	}
	if c, ok := any(&v).(checked); ok {
		return v, c.check()
	}
	return v, nil
}

// latest is the kind of a stage's latest run in the state.
var latest = recordKind{
	name: RecordLatest, about: aStage,
	fact: func(f *Facts) any { return &f.Run },
	write: func(f *Facts) (string, any, bool) {
		if f.Run == nil {
			return "", nil, false
		}
		return f.Run.Stage, f.Run.Summary(), true
	},
}.keptIn(keepBy(func(s *State) *map[string]RunSummary { return &s.Latest }))

// result is the kind of a run's result for its build. A state keeps all results of a stage
// and a build together.
var result = recordKind{
	name: RecordResult, about: aStageAndBuild,
	fact: func(f *Facts) any { return &f.Run },
	write: func(f *Facts) (string, any, bool) {
		if f.Run == nil || !f.Run.Status.HasResult() || f.Run.Kind != KindStage {
			return "", nil, false
		}
		id, doc := f.Run.result()
		return id, doc, true
	},
	part:   func(s *State) any { return &s.Results },
	fresh:  func(s *State, n int) { s.Results = make(map[string][]RunSummary, n) },
	own:    ownResults,
	decode: decodeResult,
	drop:   dropResult,
}

// resultDoc is what the record of a result says beside its key, which names the stage,
// the build and the definition. A state has thousands of them, so it is short.
type resultDoc struct {
	ID        string    `json:"id"`
	Inputs    Inputs    `json:"inputs,omitzero"`
	Status    RunStatus `json:"status"`
	Error     string    `json:"error,omitempty"`
	Actor     string    `json:"actor"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}

// result returns the ID and the record of the run's result for its build.
func (r Run) result() (string, resultDoc) {
	return StageBuild(r.Stage, r.Build) + "/" + r.Digest, resultDoc{
		ID: r.ID, Inputs: r.Inputs, Status: r.Status, Error: r.Error, Actor: r.Actor,
		StartedAt: r.StartedAt, EndedAt: r.EndedAt,
	}
}

// summary returns the summary of the result's run, without its Made, Step, Backup, Committed,
// Order and Ready.
func (d resultDoc) summary(id string) (RunSummary, error) {
	stage, rest, _ := strings.Cut(id, "/")
	build, digest, ok := strings.Cut(rest, "/")
	if !ok {
		return RunSummary{}, errors.New("its ID is not stage/build/digest")
	}
	return RunSummary{
		ID: d.ID, Stage: stage, Kind: KindStage, Build: build, Digest: digest, Inputs: d.Inputs, Status: d.Status, Phase: PhaseDone,
		Error: d.Error, Actor: d.Actor, StartedAt: d.StartedAt, EndedAt: d.EndedAt,
	}, nil
}

// Key identifies a record within a pipeline.
type Key struct {
	Kind RecordKind `json:"kind"`
	ID   string     `json:"id"`
}

// StageBuild makes the record ID of something about a build at a stage.
func StageBuild(stage, build string) string { return stage + "/" + build }

// Record is one row of the current-state view. Its version is the sequence number
// of the event that wrote it last.
type Record struct {
	Key
	Version int64           `json:"version"`
	Doc     json.RawMessage `json:"doc"`
}

// Records returns the rows that the event writes to the current-state view.
func (e Event) Records() ([]Record, error) {
	var rows []Record
	for _, k := range kinds {
		id, v, ok := k.write(&e.Facts)
		if !ok {
			continue
		}
		doc, err := json.Marshal(v)
		if err != nil {
			return rows, fmt.Errorf("encode %s %s: %w", k.name, id, err)
		}
		rows = append(rows, Record{Key: Key{k.name, id}, Version: e.Seq, Doc: doc})
	}
	return rows, nil
}
