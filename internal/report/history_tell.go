// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The actions that more than one place knows.
const (
	actionDeployed   = "deployed"
	actionRolledBack = "rolled_back"
	actionCancelled  = "cancelled"
	actionRetried    = "asked_to_run_again"
)

// scene is an event whose entries are being made.
type scene struct {
	*historian
	event  pipeline.Event
	builds int64 // how many there were before
}

// tellers make the entries of the kinds of event. A kind that is in none of tellers and silent
// fails a test.
var tellers = map[pipeline.EventKind]func(scene){
	pipeline.PipelineDefined:    scene.defined,
	pipeline.PipelineRemoved:    scene.removed,
	pipeline.StageDefined:       scene.defined,
	pipeline.StageMoved:         scene.moved,
	pipeline.StageRemoved:       scene.removed,
	pipeline.ImageDefined:       scene.defined,
	pipeline.ImageUndefined:     scene.removed,
	pipeline.BuildOffered:       scene.offered,
	pipeline.BuildCollected:     scene.collected,
	pipeline.RunStarted:         scene.started,
	pipeline.RunEnded:           scene.ended,
	pipeline.BuildDecided:       scene.decided,
	pipeline.BuildPromoted:      scene.promoted,
	pipeline.PromotionCancelled: scene.cancelled,
	pipeline.GateOverridden:     scene.overridden,
	pipeline.StagePaused:        scene.paused,
	pipeline.StageResumed:       scene.resumed,
	pipeline.RetryAsked:         scene.retried,
	pipeline.ImageBaked:         scene.baked,
	pipeline.ImagePublished:     scene.published,
	pipeline.ImageRemoved:       scene.collected,
	pipeline.EnvironmentChanged: scene.environment,
	pipeline.EnvironmentNoticed: scene.noticed,
	pipeline.DriftChecked:       scene.drifted,
	pipeline.DataBackedUp:       scene.data,
	pipeline.DataRestored:       scene.data,
	pipeline.DataFinished:       scene.data,
	pipeline.DataFinishFailed:   scene.data,
	pipeline.ChannelMoved:       scene.channel,
	pipeline.ChannelLeft:        scene.channel,
	pipeline.ChannelRemoved:     scene.channel,
}

// silent are the kinds of event without entries, and why.
var silent = map[pipeline.EventKind]string{
	pipeline.RunProgressed:    "the end of the run says what came of it",
	pipeline.EnvironmentEnded: "the change to ending, before it, says what and by whom",
	pipeline.NoticesDelivered: "it is of how far notices were sent",
	pipeline.BuildPlanned:     "it is of what would happen, and the run that does it says what did",
	pipeline.ChannelMoving:    "nothing leads elsewhere yet, and the end of the move says what came of it",
	pipeline.CreationRecorded: "it is of what the state of Terraform has",
}

// tell makes the entries of an event.
func (h *historian) tell(e pipeline.Event, builds int64) {
	if teller, ok := tellers[e.Kind]; ok {
		teller(scene{h, e, builds})
	}
}

// add adds an entry that is complete.
func (s scene) add(e HistoryEntry) { s.wait(e, pipeline.Key{}, nil) }

// wait adds an entry that is completed by the facts that the record of a key had before.
func (s scene) wait(e HistoryEntry, key pipeline.Key, complete func(*HistoryEntry, *pipeline.Facts, bool) bool) {
	e.Sequence, e.Hash, e.PreviousHash, e.Event, e.RecordedAt = s.event.Seq, s.event.Hash, s.event.Prev, s.event.Kind, s.event.Time
	if e.At.IsZero() {
		e.At = e.RecordedAt
	}
	if e.Actor == "" {
		e.Actor = s.event.Actor
	}
	if !s.query.concerns(e) || complete == nil && !s.query.matches(e) {
		return
	}
	d := &draft{HistoryEntry: e, complete: complete}
	if s.drafts = append(s.drafts, d); complete != nil {
		s.waits[key] = append(s.waits[key], d)
	}
}

// gone calls do with the IDs of the records of a kind that the event removed.
func (s scene) gone(kind pipeline.RecordKind, do func(id string)) {
	for _, key := range s.event.Facts.Gone {
		if key.Kind == kind {
			do(key.ID)
		}
	}
}

// started tells of the build that a run of a commit stage makes, and of the definition of the
// image that a bake is for.
func (s scene) started() {
	s.offered()
	s.defined()
}

func (s scene) offered() {
	b := s.event.Facts.Build
	switch {
	case b == nil:
	case b.Number > s.builds:
		s.add(HistoryEntry{Kind: HistoryBuild, Action: "made", Stage: b.Stage, Build: b.ID, Run: s.runID(), order: b.Order, Detail: "by " + b.Revision.Author})
	case b.Order == s.event.Seq:
		s.add(HistoryEntry{Kind: HistoryBuild, Action: "offered_again", Stage: b.Stage, Build: b.ID, Run: s.runID(), order: b.Order, Detail: "it is the newest again"})
	}
}

func (s scene) runID() string {
	if r := s.event.Facts.Run; r != nil {
		return r.ID
	}
	return ""
}

func (s scene) collected() {
	s.gone(pipeline.RecordBuild, func(id string) { s.add(HistoryEntry{Kind: HistoryBuild, Action: "collected", Build: id}) })
	s.gone(pipeline.RecordImage, func(id string) { s.add(HistoryEntry{Kind: HistoryImage, Action: "removed", Image: id}) })
}

// ended tells of a run and, if the stage moved, of that, which comes after it.
func (s scene) ended() {
	s.moved()
	if r := s.event.Facts.Run; r != nil && r.Status.Final() {
		s.add(HistoryEntry{Kind: HistoryRun, Action: string(r.Status), Stage: r.Stage, Build: r.Build, Run: r.ID, order: r.Order, Detail: pipeline.FirstLine(r.Error)})
	}
	s.environment()
}

// moved tells that a stage moved to another build. If it is none that delivers, the end of the
// run says so.
func (s scene) moved() {
	c := s.event.Facts.Current
	if c == nil || c.Build == c.Previous || c.Build == "" {
		return
	}
	e := HistoryEntry{Kind: HistoryDeployment, Action: actionDeployed, Stage: c.Stage, Build: c.Build, From: c.Previous, Run: c.Run}
	if r := s.event.Facts.Run; r != nil {
		e.order = r.Order
	}
	if stage, ok := s.state.Stages[c.Stage]; !ok || !stage.Delivers() {
		if s.event.Kind != pipeline.StageMoved {
			return
		}
		e.Action = "moved"
	}
	if s.event.Kind == pipeline.StageMoved {
		e.Detail = "it had passed there before"
	}
	s.add(e)
}

// decided tells what a person said of a build. Each approval and each vote is an entry.
func (s scene) decided() {
	d := s.event.Facts.Decision
	if d == nil {
		return
	}
	e := HistoryEntry{Kind: HistoryDecision, Action: string(d.Result), Actor: d.Actor, At: d.At, Stage: d.Stage, Build: d.Build, Run: d.Run, Reason: d.Reason}
	switch {
	case d.Result == pipeline.Rejected && d.Lift != nil && len(d.Lift.Votes) > 0:
		vote := d.Lift.Votes[len(d.Lift.Votes)-1]
		e.Action, e.Actor, e.At, e.Run, e.Reason, e.Approvals = "voted_to_lift", vote.Actor, vote.At, d.Lift.Run, vote.Reason, len(d.Lift.Votes)
		e.Detail = "it was rejected " + pipeline.DescribeRejections(d.Stand())
	case d.Result == pipeline.Approved:
		e.Approvals = len(d.Approvals)
	}
	if d.Result != pipeline.Approved || len(d.Lifted) == 0 {
		s.add(e)
		return
	}
	// An approval keeps which rejections were lifted before it.
	lifted := "it was rejected " + pipeline.DescribeRejections(d.Lifted)
	s.wait(e, pipeline.Key{Kind: pipeline.RecordDecision, ID: pipeline.StageBuild(d.Stage, d.Build)}, func(e *HistoryEntry, was *pipeline.Facts, _ bool) bool {
		if was == nil || was.Decision == nil || was.Decision.Result == pipeline.Rejected {
			e.Action, e.Detail = "lifted", lifted
		}
		return true
	})
}

func (s scene) promoted() {
	if p := s.event.Facts.Promotion; p != nil {
		e := HistoryEntry{Kind: HistoryPromotion, Action: "promoted", Actor: p.Actor, At: p.At, Stage: p.Stage, Build: p.Build}
		if p.Restore != nil {
			e.Detail = "with the data of backup " + p.Restore.Backup
		}
		s.add(e)
	}
}

// data tells what was done to the data of a stage's environment.
func (s scene) data() {
	e := HistoryEntry{Kind: HistoryData, Run: s.runID()}
	if b := s.event.Facts.Backup; b != nil {
		e.Stage, e.Build, e.Environment, e.Action, e.Detail = b.Stage, b.Build, b.Stage, "backed_up", "backup "+b.Name
		if s.event.Kind == pipeline.DataRestored {
			e.Action = "restored"
			if r := s.event.Facts.Run; r != nil {
				e.Build = r.Build
			}
		}
		s.add(e)
	}
	if f := s.event.Facts.Finish; f != nil {
		e.Stage, e.Build, e.Environment, e.Action, e.Run, e.Detail = f.Stage, f.Build, f.Stage, "finished", f.Run, "service.finish"
		if s.event.Kind == pipeline.DataFinishFailed {
			e.Action, e.Detail = "finish_failed", f.Error
		}
		s.add(e)
	}
}

func (s scene) cancelled() {
	if p := s.event.Facts.CancelledPromotion(); p != nil {
		s.add(HistoryEntry{Kind: HistoryPromotion, Action: actionCancelled, Stage: p.Stage, Build: p.Build, Detail: "it was promoted by " + p.Actor})
	}
}

func (s scene) overridden() {
	if o := s.event.Facts.Override; o != nil {
		s.add(HistoryEntry{Kind: HistoryOverride, Action: "overridden", Actor: o.Actor, At: o.At, Stage: o.Stage, Build: o.Build, Run: o.Run, Reason: o.Reason})
	}
}

func (s scene) paused() {
	if p := s.event.Facts.Pause; p != nil {
		s.add(HistoryEntry{Kind: HistoryPause, Action: "paused", Actor: p.Actor, At: p.At, Stage: p.Stage, Reason: p.Reason})
	}
}

func (s scene) resumed() {
	if p := s.event.Facts.EndedPause(); p != nil {
		s.add(HistoryEntry{Kind: HistoryPause, Action: "resumed", Stage: p.Stage, Detail: "it was " + p.Describe()})
	}
}

func (s scene) retried() {
	if r := s.event.Facts.Retry; r != nil {
		s.add(HistoryEntry{Kind: HistoryRun, Action: actionRetried, Actor: r.Actor, At: r.At, Stage: r.Stage, Build: r.Build, Run: r.Run})
	}
}

func (s scene) baked() {
	if i := s.event.Facts.Image; i != nil {
		s.add(HistoryEntry{Kind: HistoryImage, Action: "baked", Stage: imageStage(*i), Build: i.Build, Run: i.Run, Image: i.ID})
	}
	s.defined()
}

// imageStage returns the stage that baked an application image; the name from
// pipeline.ImageRun for another image.
func imageStage(i pipeline.Image) string {
	if i.Build != "" {
		return i.Name
	}
	return pipeline.ImageRun(i.Name)
}

func (s scene) published() {
	if i := s.event.Facts.Image; i != nil {
		regions := slices.Sorted(maps.Keys(i.Copies))
		s.add(HistoryEntry{Kind: HistoryImage, Action: "published", Stage: imageStage(*i), Build: i.Build, Image: i.ID, Detail: strings.Join(regions, ", ")})
	}
}

// channelRemoved tells that a channel is no more.
func (s scene) channelRemoved(id string) {
	key := pipeline.Key{Kind: pipeline.RecordChannel, ID: id}
	s.wait(HistoryEntry{Kind: HistoryChannel, Action: "removed", Stage: id}, key, func(e *HistoryEntry, was *pipeline.Facts, _ bool) bool {
		if was != nil {
			e.Stage, e.Channel, e.From = was.Channel.Stage, was.Channel.Name, was.Channel.Build
		}
		return true
	})
}

// channel tells what a stage's channel leads to since. A record that is gone with one that is
// written has become that.
func (s scene) channel() {
	c := s.event.Facts.Channel
	if c == nil {
		s.gone(pipeline.RecordChannel, s.channelRemoved)
		return
	}
	e := HistoryEntry{Kind: HistoryChannel, Action: "moved", Stage: c.Stage, Build: c.Build, Run: c.Run, Image: c.Image, Channel: c.Name}
	e.Detail = strings.Join(slices.Sorted(maps.Keys(c.Images)), ", ")
	switch {
	case c.Left:
		e.Action = "left"
	case c.Image == "":
		e.Action, e.Detail = "emptied", "no build is left that passed"
	}
	key := pipeline.Key{Kind: pipeline.RecordChannel, ID: c.Stage}
	s.wait(e, key, func(e *HistoryEntry, was *pipeline.Facts, _ bool) bool {
		if was != nil && was.Channel.Build != e.Build {
			e.From = was.Channel.Build
		}
		return true
	})
}

// environment tells of an environment of a person, and of those of stages that people can look
// at. That of a run belongs to the run, unless it is kept.
func (s scene) environment() {
	env := s.event.Facts.Environment
	if env == nil {
		return
	}
	e := HistoryEntry{Kind: HistoryEnvironment, Action: "changed", Stage: env.Stage, Build: env.Build, Run: env.Run, Environment: env.Name}
	if env.Purpose == pipeline.ForPerson {
		e.Detail = "of " + env.Owner
	}
	key := pipeline.Key{Kind: pipeline.RecordEnvironment, ID: env.ID}
	switch {
	case env.Status == pipeline.EnvKept:
		e.Action, e.Detail = "kept", "of a failed run"
		s.add(e)
	case env.Status == pipeline.EnvEnding && env.Purpose == pipeline.ForRun:
		e.Action = "ended"
		s.wait(e, key, func(_ *HistoryEntry, was *pipeline.Facts, known bool) bool {
			return !known || was != nil && was.Environment.Status == pipeline.EnvKept
		})
	case env.Status == pipeline.EnvEnding:
		e.Action = "ended"
		s.add(e)
	case env.Purpose != pipeline.ForPerson: // the run that changed it tells
	case env.Status == pipeline.EnvLaunching:
		e.Action = "launched"
		s.wait(e, key, func(_ *HistoryEntry, was *pipeline.Facts, _ bool) bool { return was == nil })
	default:
		s.wait(e, key, func(e *HistoryEntry, was *pipeline.Facts, known bool) bool {
			return changedEnvironment(e, *env, was, known)
		})
	}
}

// changedEnvironment completes what is told of a person's environment.
func changedEnvironment(e *HistoryEntry, now pipeline.Environment, was *pipeline.Facts, known bool) bool {
	if was == nil {
		if known {
			e.Action = "launched"
		}
		return true
	}
	then := *was.Environment
	switch {
	case then.Status == pipeline.EnvLaunching:
		return false // the launch has ended
	case !then.ExpiresAt.Equal(now.ExpiresAt):
		e.Action = "extended"
		if now.ExpiresAt.IsZero() {
			e.Detail += ", for good"
		} else {
			e.Detail += ", until " + pipeline.Moment(now.ExpiresAt.UTC())
		}
	case then.Build != now.Build || then.Image != now.Image || then.Instances != now.Instances:
	default:
		return false
	}
	return true
}

// noticed tells what a look at an environment showed.
func (s scene) noticed() {
	r := s.event.Facts.Raised
	if r == nil {
		return
	}
	env := r.Environment
	e := HistoryEntry{Kind: HistoryEnvironment, Action: string(r.Kind), Stage: env.Stage, Build: env.Build, Run: env.Run, Environment: env.Name, Detail: pipeline.FirstLine(env.Reason)}
	if r.Kind == pipeline.NoticeDrift {
		e.Action = string(env.Status)
	}
	s.add(e)
}

// drifted tells of what a check found first. That it found the same again, or nothing, is no
// news.
func (s scene) drifted() {
	d := s.event.Facts.Drift
	if d == nil || !d.New() {
		return
	}
	var all []string
	for _, c := range d.Changes {
		all = append(all, c.Address)
	}
	stage, _ := pipeline.CutTarget(d.Stage)
	s.add(HistoryEntry{Kind: HistoryEnvironment, Action: "drifted", Stage: stage, Build: d.Build, Environment: d.Stage, Detail: pipeline.Count(d.Total, "resource") + ": " + strings.Join(all[:min(len(all), historyDrifted)], ", ")})
}

// historyDrifted bounds the resources that an entry names.
const historyDrifted = 5

// defined tells what is defined otherwise: which arguments changed, and no values, as those
// may be secret. That a commit stage has another commit is no change of its definition.
func (s scene) defined() {
	f := s.event.Facts
	tell := func(stage string, key pipeline.Key, now any, then func(*pipeline.Facts) any) {
		e := HistoryEntry{Kind: HistoryDefinition, Action: "changed", Stage: stage}
		s.wait(e, key, func(e *HistoryEntry, was *pipeline.Facts, known bool) bool {
			switch {
			case was != nil:
				e.Changed = changedFields(then(was), now)
				e.Detail = strings.Join(e.Changed, ", ")
				return len(e.Changed) > 0
			case known:
				e.Action = "defined"
			default:
				e.Detail = "it was defined more than " + pipeline.Count(historyBack, "event") + " before"
			}
			return true
		})
	}
	if f.Pipeline != nil {
		tell("", pipeline.Key{Kind: pipeline.RecordPipeline, ID: f.Pipeline.Name}, *f.Pipeline, func(f *pipeline.Facts) any { return *f.Pipeline })
	}
	if f.Stage != nil {
		tell(f.Stage.Name, pipeline.Key{Kind: pipeline.RecordStage, ID: f.Stage.Name}, *f.Stage, func(f *pipeline.Facts) any { return *f.Stage })
	}
	if f.ImageDefinition != nil {
		tell(pipeline.ImageRun(f.ImageDefinition.Name), pipeline.Key{Kind: pipeline.RecordImageDefinition, ID: f.ImageDefinition.Name}, *f.ImageDefinition,
			func(f *pipeline.Facts) any { return *f.ImageDefinition })
	}
}

func (s scene) removed() {
	s.gone(pipeline.RecordPipeline, func(string) { s.add(HistoryEntry{Kind: HistoryDefinition, Action: "removed"}) })
	s.gone(pipeline.RecordStage, func(name string) {
		s.add(HistoryEntry{Kind: HistoryDefinition, Action: "removed", Stage: name})
	})
	s.gone(pipeline.RecordImageDefinition, func(name string) {
		s.add(HistoryEntry{Kind: HistoryDefinition, Action: "removed", Stage: pipeline.ImageRun(name)})
	})
}

// results are the fields of definitions that no configuration sets: what came of them, and of
// which commit they are.
var results = []string{"id", "made", "applied", "image", "baked", "run", "base", "source.commit", "source.digest", "source.components"}

// changedFields returns the names of the fields in which two definitions differ, also of those in
// blocks.
func changedFields(was, now any) (names []string) {
	a, b := fieldsOf(was), fieldsOf(now)
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(results, name) && !reflect.DeepEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}

// fieldsOf returns the fields of a definition by name, and those of its blocks as block.field.
func fieldsOf(definition any) map[string]any {
	doc, err := json.Marshal(definition)
	var all map[string]any
	if err == nil {
		err = json.Unmarshal(doc, &all)
	}
	if err != nil {
		panic(fmt.Sprintf("report: encode definition: %v", err)) // only plain values are passed
	}
	flat := map[string]any{}
	for name, v := range all {
		block, ok := v.(map[string]any)
		if !ok {
			flat[name] = v
		}
		for field, v := range block {
			flat[name+"."+field] = v
		}
	}
	return flat
}
