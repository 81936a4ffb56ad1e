// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "time"

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
	PromotionCancelled EventKind = "promotion.cancelled" // before an apply took it up
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
	BuildPlanned       EventKind = "build.planned" // what its module would do in a stage's environment
	DriftChecked       EventKind = "drift.checked" // of the infrastructure of a stage's environment
	DataBackedUp       EventKind = "data.backed_up"
	DataRestored       EventKind = "data.restored"
	DataFinished       EventKind = "data.finished"
	DataFinishFailed   EventKind = "data.finish_failed" // it is tried again
	CreationRecorded   EventKind = "creation.recorded"  // a state of Terraform has what was created
)

// Event is one entry of a pipeline's ledger: what happened, and the facts that are true
// since. Events are never changed. Each carries the hash of the one before.
//
// The hash is of the event's JSON as it was sealed, which the ledger keeps byte for byte and
// exports. So an event stays valid that was written by a version with other fields.
type Event struct {
	Seq      int64     `json:"seq"` // 1, 2, 3, … in the pipeline
	Pipeline string    `json:"pipeline"`
	Time     time.Time `json:"time"` // UTC; never before the time of the event before
	Kind     EventKind `json:"kind"`
	Actor    string    `json:"actor"`
	Facts    Facts     `json:"facts"`
	Builds   int64     `json:"builds,omitempty"` // how many builds the pipeline has had, with this event's
	Prev     string    `json:"prev"`             // hash of the event before; empty for the first
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
	StagePlan       *StagePlan       `json:"stage_plan,omitempty"`
	Drift           *Drift           `json:"drift,omitempty"`
	Creation        *Creation        `json:"creation,omitempty"`
	Backup          *Backup          `json:"backup,omitempty"`
	Finish          *Finish          `json:"finish,omitempty"`
	Gone            []Key            `json:"gone,omitempty"`
	Ended           *Ended           `json:"ended,omitempty"` // what Gone takes away, where a person ended it
}

// Ended is what a person ended, as it was, so that the event says it by itself. Exactly one
// field is set.
type Ended struct {
	Pause     *Pause     `json:"pause,omitempty"`
	Promotion *Promotion `json:"promotion,omitempty"`
}

// EndedPause returns the pause that the event ended; nil for none.
func (f Facts) EndedPause() *Pause {
	if f.Ended == nil {
		return nil
	}
	return f.Ended.Pause
}

// CancelledPromotion returns the promotion that the event took back; nil for none.
func (f Facts) CancelledPromotion() *Promotion {
	if f.Ended == nil {
		return nil
	}
	return f.Ended.Promotion
}
