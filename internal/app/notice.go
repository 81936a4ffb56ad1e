// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// lastCall is how long the end of a process waits for what is still to be told. The
// next process tells the rest.
const lastCall = 5 * time.Second

// teller tells in the background what was recorded, pipeline by pipeline.
type teller struct {
	app    *App
	sender *notice.Sender

	mu      sync.Mutex
	wanted  map[string]bool
	busy    bool
	closed  bool
	working sync.WaitGroup
	life    context.Context
	end     context.CancelFunc
}

func newTeller(a *App, s *notice.Sender) *teller {
	t := &teller{app: a, sender: s, wanted: map[string]bool{}}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

// nudge has the targets of a pipeline told soon what they have not been told yet.
func (t *teller) nudge(pipelineName string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.wanted[pipelineName] = true
	if !t.busy {
		t.busy = true
		t.working.Go(t.work)
	}
}

// next takes a pipeline that was nudged; false when there is none, or no time left.
func (t *teller) next() (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.wanted {
		delete(t.wanted, name)
		return name, t.life.Err() == nil
	}
	t.busy = false
	return "", false
}

func (t *teller) work() {
	for {
		name, ok := t.next()
		if !ok {
			return
		}
		if err := t.tell(t.life, name); err != nil && t.life.Err() == nil {
			t.app.logger.Warn("tell what happened", "pipeline", name, "error", err)
		}
	}
}

// tell tells the targets of a pipeline what they have not been told yet. It is quick
// where there are no targets.
func (t *teller) tell(ctx context.Context, name string) error {
	st, err := t.app.ledger.State(ctx, name)
	if err != nil || len(st.Pipeline.Notify) == 0 {
		return err
	}
	return t.sender.Flush(ctx, name)
}

// close waits a while for what is under way.
func (t *teller) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	late := time.AfterFunc(lastCall, t.end)
	t.working.Wait()
	late.Stop()
	t.end()
}

// Tell notices what there is to notice in the environments of a pipeline, and tells its
// targets what they have not been told yet. What can't be told is recorded there.
func (a *App) Tell(ctx context.Context, pipelineName string) error {
	if err := a.Engine.Notice(ctx, pipelineName); err != nil {
		return err
	}
	return a.teller.tell(ctx, pipelineName)
}

// Told gives how far a target has been told, and how many notices it has still to get.
func (a *App) Told(ctx context.Context, st *pipeline.State, t pipeline.NotifyTarget) (pipeline.Delivery, int64, error) {
	return a.teller.sender.Told(ctx, st, t)
}

// CheckTarget refuses a target that can't be told here: CodeInvalid.
func (a *App) CheckTarget(t pipeline.NotifyTarget) error {
	argument := ""
	switch {
	case t.Topic != "" && a.topics == nil:
		argument = "sns_topic"
	case t.EventBus != "" && a.buses == nil:
		argument = "event_bus"
	default:
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check notify", "%s has no meaning on the local platform", argument).
		WithHint("Use webhook_url, slack_url or command, or set aws on the provider.")
}

// TestNotice sends a notice to a target that says no more than that it was sent.
func (a *App) TestNotice(ctx context.Context, pipelineName string, t pipeline.NotifyTarget) error {
	return a.teller.sender.Send(ctx, t, pipeline.Notice{
		ID: "test-" + pipelineName, Kind: pipeline.NoticeWaiting, Pipeline: pipelineName, Actor: a.person.Name, Time: time.Now().UTC(),
		Text: "This is a test by " + a.person.Name + ".",
	})
}
