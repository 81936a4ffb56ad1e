// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// define defines the pipeline anew, as the engine does.
func (s *shop) define(targets ...pipeline.NotifyTarget) {
	s.Helper()
	before := s.state().Pipeline
	s.event(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Notify: targets}})
	for _, t := range targets {
		if _, known := before.Target(t.Key()); !known {
			s.event(pipeline.NoticesDelivered, pipeline.Facts{Delivery: &pipeline.Delivery{Target: t.Key(), On: t.On}})
		}
	}
}

// A target that is new is told what happens from its definition on, also when its first
// try comes after another definition.
func TestRedefined(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t)
	s.ran("left", pipeline.RunFailed)
	s.define(hook(r))
	s.ran("left", pipeline.RunPassed) // and the process dies
	s.define(hook(r), pipeline.NotifyTarget{Command: "true"})
	s.ran("right", pipeline.RunFailed)
	s.flush()
	if got := r.texts(); !slices.Equal(got, []string{"passed left", "failed right"}) {
		t.Errorf("told %q", got)
	}
}

// A target that is to be told more is told more of what happens from then on, and what
// it was to be told before.
func TestWidened(t *testing.T) {
	r := newReceiver(t)
	narrow, wide := hook(r), hook(r)
	narrow.On = []pipeline.NoticeKind{pipeline.NoticeFailed}
	s := newShop(t)
	s.define(narrow)
	s.ran("left", pipeline.RunPassed)
	s.ran("right", pipeline.RunFailed)
	s.define(wide)
	s.ran("left", pipeline.RunPassed)
	s.define(narrow)
	s.ran("left", pipeline.RunPassed)
	s.flush()
	if got := r.texts(); !slices.Equal(got, []string{"failed right", "passed left"}) {
		t.Errorf("told %q", got)
	}
	s.define(wide) // after a record of how far it was told
	s.ran("right", pipeline.RunPassed)
	s.flush()
	if got := r.texts(); !slices.Equal(got, []string{"failed right", "passed left", "passed right", "ready both"}) {
		t.Errorf("told %q", got)
	}
}

// counting counts the events that are read.
type counting struct {
	pipeline.Ledger
	read int
}

func (c *counting) Events(ctx context.Context, name string, after int64, limit int) ([]pipeline.Event, error) {
	events, err := c.Ledger.Events(ctx, name, after, limit)
	c.read += len(events)
	return events, err
}

// Thousands of events that a target is not told of are each looked at a bounded number
// of times, with few records of it.
func TestQuietThousands(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, pipeline.NotifyTarget{Webhook: r.URL, On: []pipeline.NoticeKind{pipeline.NoticeRejected}}, pipeline.NotifyTarget{Command: "exit 1", On: []pipeline.NoticeKind{pipeline.NoticeDrift}})
	sender := s.sender()
	ledger := &counting{Ledger: s.ledger}
	sender.Ledger = ledger
	flush := func() {
		t.Helper()
		if _, err := sender.Flush(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
	}
	const batches, size = 60, 50
	quiet := make([]pipeline.Event, size)
	for i := range quiet {
		quiet[i] = pipeline.Event{Kind: pipeline.RunEnded, Actor: "ada", Facts: pipeline.Facts{Run: &pipeline.Run{ID: "r-1", Pipeline: "shop", Stage: "left", Kind: pipeline.KindStage, Build: "b-1", Status: pipeline.RunPassed}}}
	}
	for range batches {
		if _, err := s.ledger.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: quiet}); err != nil {
			t.Fatal(err)
		}
		flush()
	}
	records := 0
	for _, e := range s.events() {
		if e.Kind == pipeline.NoticesDelivered {
			records++
		}
	}
	if most := 2 * batches * size / farBehind; records == 0 || records > most {
		t.Errorf("%d records of quiet events, more than %d", records, most)
	}
	if most := batches * size * 20; ledger.read > most {
		t.Errorf("%d events were read, more than %d", ledger.read, most)
	}
	ledger.read = 0
	before := len(s.events())
	for range 20 {
		flush()
	}
	if most := 20 * 2 * 2 * farBehind; ledger.read > most || len(s.events()) != before {
		t.Errorf("%d events were read, more than %d, and %d recorded, where nothing happens", ledger.read, most, len(s.events())-before)
	}
	if _, pending, err := sender.Notified(t.Context(), "shop", s.state().Pipeline.Notify[0]); err != nil || pending != 0 {
		t.Errorf("%d are pending: %v", pending, err)
	}
}

// A notice that is refused for good is one: the others of its event are told.
func TestRefusedAmongOthers(t *testing.T) {
	r := newReceiver(t)
	r.does = func(n int, w http.ResponseWriter, _ *http.Request) {
		if n > 1 && n <= 1+maxRefusals { // the second notice
			w.WriteHeader(http.StatusBadRequest)
		}
	}
	s := newShop(t, hook(r))
	s.define(hook(r))
	for _, stage := range []pipeline.Stage{{Name: "third", After: []string{"left"}}, {Name: "fourth", After: []string{"left"}}} {
		stage.Pipeline, stage.Type = "shop", pipeline.TypeCustom
		stage = stage.WithDefaults(nil, nil)
		s.event(pipeline.StageDefined, pipeline.Facts{Stage: &stage})
	}
	s.ran("left", pipeline.RunPassed)
	for range maxRefusals {
		s.flush()
		if _, pending, err := s.sender().Notified(t.Context(), "shop", hook(r)); s.delivery().Tries > 0 && (err != nil || pending != 2) {
			t.Errorf("%d are pending: %v", pending, err)
		}
		s.clock = s.clock.Add(longestPause * 2)
	}
	if got := r.texts(); !slices.Equal(got, []string{"passed left", "ready fourth", "ready fourth", "ready fourth", "ready third"}) {
		t.Errorf("told %q", got)
	}
	if d := s.delivery(); d.Skipped != 1 || d.Tries != 0 || d.Notified != 0 {
		t.Errorf("delivery %+v", d)
	}
}

// Who sent says when to come again, and what happened meanwhile is told as well.
func TestAgain(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, hook(r), pipeline.NotifyTarget{Command: "true"})
	r.does = func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	s.ran("left", pipeline.RunPassed)
	again, err := s.sender().Flush(t.Context(), "shop")
	if d := s.delivery(); err != nil || again.IsZero() || !again.Equal(d.Next) {
		t.Errorf("again at %s, not %s: %v", again, d.Next, err)
	}
	if early, err := s.sender().Flush(t.Context(), "shop"); err != nil || !early.Equal(again) {
		t.Errorf("asked early, again at %s, not %s: %v", early, again, err)
	}
	r.does = func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 2 {
			s.ran("right", pipeline.RunFailed)
		}
	}
	s.clock = again
	if again, err := s.sender().Flush(t.Context(), "shop"); err != nil || !again.IsZero() {
		t.Errorf("again at %s: %v", again, err)
	}
	if got := r.texts(); !slices.Equal(got, []string{"passed left", "passed left", "failed right"}) {
		t.Errorf("told %q", got)
	}
}

// A definition while a notice is on its way loses nothing, and recalls nothing.
func TestDefinedMeanwhile(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t)
	s.define(hook(r))
	s.ran("left", pipeline.RunPassed)
	r.does = func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			s.event(pipeline.PipelineRemoved, pipeline.Facts{Gone: s.state().Keys()})
		}
	}
	s.flush()
	if keys := s.state().Keys(); len(keys) != 0 || len(r.ids()) != 1 {
		t.Errorf("a pipeline that was removed has %v", keys)
	}
}
