// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// EventKind names what happened.
type EventKind string

// The kinds of event.
const (
	PipelineDefined    EventKind = "pipeline.defined"
	PipelineRemoved    EventKind = "pipeline.removed"
	StageDefined       EventKind = "stage.defined"
	StageMoved         EventKind = "stage.moved" // to a build that needs no run
	StageRemoved       EventKind = "stage.removed"
	ImageDefined       EventKind = "image.defined"
	ImageUndefined     EventKind = "image.undefined"
	BuildOffered       EventKind = "build.offered" // it becomes the newest build
	BuildCollected     EventKind = "build.collected"
	RunStarted         EventKind = "run.started"
	RunProgressed      EventKind = "run.progressed"
	RunEnded           EventKind = "run.ended"
	BuildDecided       EventKind = "build.decided"
	BuildPromoted      EventKind = "build.promoted"
	GateOverridden     EventKind = "gate.overridden"
	StagePaused        EventKind = "stage.paused"
	StageResumed       EventKind = "stage.resumed"
	RetryAsked         EventKind = "stage.retried"
	ImageBaked         EventKind = "image.baked"
	ImagePublished     EventKind = "image.published"
	ImageRemoved       EventKind = "image.removed"
	EnvironmentChanged EventKind = "environment.changed"
	EnvironmentEnded   EventKind = "environment.ended"
	EnvironmentNoticed EventKind = "environment.noticed"
	NoticesDelivered   EventKind = "notices.delivered"
	CreationRecorded   EventKind = "creation.recorded" // a state of Terraform has what was created
)

// Event is one entry of a pipeline's ledger: what happened and the facts that
// hold since. Events are never changed; each carries the hash of the one before.
//
// The hash is of the event's JSON as it was sealed, which the ledger keeps byte for byte
// and exports: an event of a version that knew other fields stays what it was.
type Event struct {
	Seq      int64     `json:"seq"` // 1, 2, 3, … in the pipeline
	Pipeline string    `json:"pipeline"`
	Time     time.Time `json:"time"` // UTC; never before the time of the event before
	Kind     EventKind `json:"kind"`
	Actor    string    `json:"actor"`
	Facts    Facts     `json:"facts"`
	Prev     string    `json:"prev"` // hash of the event before; empty for the first
	Hash     string    `json:"hash"`
	Body     []byte    `json:"-"` // the JSON that was sealed, without the hash; nil for an event that a ledger never had
}

// Facts are the records that an event sets or removes.
type Facts struct {
	Pipeline        *Pipeline        `json:"pipeline,omitempty"`
	Stage           *Stage           `json:"stage,omitempty"`
	ImageDefinition *ImageDefinition `json:"image_definition,omitempty"`
	Build           *Build           `json:"build,omitempty"`
	Run             *Run             `json:"run,omitempty"`
	Current         *Current         `json:"current,omitempty"`
	Decision        *Decision        `json:"decision,omitempty"`
	Promotion       *Promotion       `json:"promotion,omitempty"`
	Override        *Override        `json:"override,omitempty"`
	Pause           *Pause           `json:"pause,omitempty"`
	Retry           *Retry           `json:"retry,omitempty"`
	Raised          *Raised          `json:"raised,omitempty"`
	Delivery        *Delivery        `json:"delivery,omitempty"`
	Image           *Image           `json:"image,omitempty"`
	Environment     *Environment     `json:"environment,omitempty"`
	Creation        *Creation        `json:"creation,omitempty"`
	Gone            []Key            `json:"gone,omitempty"`
}

// RecordKind names a kind of record in the current-state view.
type RecordKind string

// The kinds of record. All but runs belong to the state, which is read as a
// whole; runs are history, which is paged.
const (
	RecordPipeline        RecordKind = "pipeline"
	RecordStage           RecordKind = "stage"            // by name
	RecordImageDefinition RecordKind = "image_definition" // by name
	RecordBuild           RecordKind = "build"            // by ID
	RecordRun             RecordKind = "run"              // by ID
	RecordLatest          RecordKind = "latest"           // summary of a stage's latest run, by stage
	RecordResult          RecordKind = "result"           // of the run that judged, by stage/build/digest
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
	RecordCreation        RecordKind = "creation"         // by kind/name of what was created
)

// Key identifies a record within a pipeline.
type Key struct {
	Kind RecordKind `json:"kind"`
	ID   string     `json:"id"`
}

// OfStageAndBuild reports whether the record is about a build at a stage: its ID begins
// with what StageBuild gives.
func (k Key) OfStageAndBuild() bool {
	return k.Kind == RecordResult || k.Kind == RecordDecision || k.Kind == RecordOverride
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

// Seal completes an event as number seq after the event with hash prev: it sets
// the sequence number, the time (now, or last if the clock has gone backwards),
// the order of a build or image that has none, and the hash.
func (e *Event) Seal(seq int64, prev string, now, last time.Time) error {
	now = now.UTC().Round(0)
	if now.Before(last) {
		now = last
	}
	e.Seq, e.Prev, e.Time = seq, prev, now
	if b := e.Facts.Build; b != nil && b.Order == 0 {
		build := *b
		build.Order = seq
		e.Facts.Build = &build
	}
	if i := e.Facts.Image; i != nil && i.Order == 0 {
		image := *i
		image.Order = seq
		e.Facts.Image = &image
	}
	body, err := e.body()
	if err != nil {
		return fmt.Errorf("seal event: %w", err)
	}
	e.Body, e.Hash = body, HashOf(body)
	return nil
}

// DecodeEvent reads an event from the JSON that was sealed. It does not check that the hash
// is that of the body: Check does.
func DecodeEvent(body []byte, hash string) (Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return e, err
	}
	e.Hash, e.Body = hash, bytes.Clone(body)
	return e, nil
}

// Check reports whether the event is the one that was sealed after prev, and can be read.
func (e Event) Check(seq int64, prev string) error {
	sealed, err := e.sealed()
	switch {
	case err != nil:
		return Errorf(CodeCorrupt, "verify event", "event %d: %w", e.Seq, err)
	case e.Seq != seq:
		return Errorf(CodeCorrupt, "verify event", "event %d stands where event %d should be", e.Seq, seq)
	case e.Prev != prev:
		return Errorf(CodeCorrupt, "verify event", "event %d does not follow the event before it", e.Seq)
	case !sealed:
		return Errorf(CodeCorrupt, "verify event", "event %d was changed after it was written", e.Seq)
	case e.Facts.Run != nil:
		return checkRunID(e.Facts.Run.ID)
	}
	return nil
}

// sealed reports whether the event is what its body says, and its hash is the body's.
func (e Event) sealed() (bool, error) {
	body, err := e.body()
	if err != nil || e.Body == nil {
		return HashOf(body) == e.Hash, err
	}
	was, err := DecodeEvent(e.Body, e.Hash)
	if err != nil {
		return false, err
	}
	said, err := was.body()
	return HashOf(e.Body) == e.Hash && bytes.Equal(said, body), err
}

// body makes the JSON that the hash of a new event is of.
func (e Event) body() ([]byte, error) {
	e.Hash = ""
	return json.Marshal(e)
}

// HashOf returns the hash of an event's body: hex SHA-256.
func HashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Records gives the rows that the event writes to the current-state view.
func (e Event) Records() ([]Record, error) {
	var rows []Record
	var firstErr error
	put := func(kind RecordKind, id string, v any) {
		doc, err := json.Marshal(v)
		if err != nil && firstErr == nil {
			firstErr = fmt.Errorf("encode %s %s: %w", kind, id, err)
		}
		rows = append(rows, Record{Key: Key{kind, id}, Version: e.Seq, Doc: doc})
	}
	f := e.Facts
	if f.Pipeline != nil {
		put(RecordPipeline, f.Pipeline.Name, f.Pipeline)
	}
	if f.Stage != nil {
		put(RecordStage, f.Stage.Name, f.Stage)
	}
	if f.ImageDefinition != nil {
		put(RecordImageDefinition, f.ImageDefinition.Name, f.ImageDefinition)
	}
	if f.Build != nil {
		put(RecordBuild, f.Build.ID, f.Build)
	}
	if f.Run != nil {
		put(RecordRun, f.Run.ID, f.Run)
		put(RecordLatest, f.Run.Stage, f.Run.Summary())
		if f.Run.Status.HasResult() && f.Run.Kind == KindStage {
			key, doc := f.Run.result()
			put(key.Kind, key.ID, doc)
		}
	}
	if f.Current != nil {
		put(RecordCurrent, f.Current.Stage, f.Current)
	}
	if f.Decision != nil {
		put(RecordDecision, StageBuild(f.Decision.Stage, f.Decision.Build), f.Decision)
	}
	if f.Promotion != nil {
		put(RecordPromotion, f.Promotion.Stage, f.Promotion)
	}
	if f.Override != nil {
		put(RecordOverride, StageBuild(f.Override.Stage, f.Override.Build), f.Override)
	}
	if f.Pause != nil {
		put(RecordPause, f.Pause.Stage, f.Pause)
	}
	if f.Retry != nil {
		put(RecordRetry, f.Retry.Stage, f.Retry)
	}
	if f.Raised != nil {
		put(RecordRaised, f.Raised.ID, f.Raised)
	}
	if f.Delivery != nil {
		put(RecordDelivery, f.Delivery.Target, f.Delivery)
	}
	if f.Image != nil {
		put(RecordImage, f.Image.ID, f.Image)
	}
	if f.Environment != nil {
		put(RecordEnvironment, f.Environment.ID, f.Environment)
	}
	if f.Creation != nil {
		put(RecordCreation, f.Creation.Key().ID, f.Creation)
	}
	return rows, firstErr
}
