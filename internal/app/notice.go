// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// lastCall is how long the end of a process waits for notices that are still to be sent. The
// next process sends the rest.
const lastCall = 5 * time.Second

// attention is how often a process that stays looks at the environments of pipelines.
const attention = time.Minute

// notifier sends in the background the notices of what was recorded, each pipeline by itself.
type notifier struct {
	app    *App
	sender *notice.Sender

	mu      sync.Mutex
	wanted  map[string]bool // pipelines that were woken; true: their environments are to be looked at
	busy    map[string]bool // pipelines whose notices are being sent
	timers  map[string]*time.Timer
	closed  chan struct{}
	working sync.WaitGroup
	life    context.Context
	end     context.CancelFunc
}

func newNotifier(a *App, s *notice.Sender) *notifier {
	t := &notifier{app: a, sender: s, wanted: map[string]bool{}, busy: map[string]bool{}, timers: map[string]*time.Timer{}, closed: make(chan struct{})}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

// over reports whether the process ends. The caller holds the lock.
func (t *notifier) over() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// wake makes the notifier send soon what a pipeline's targets have not received yet, after
// a look at its environments where that is wanted. It does not wait.
func (t *notifier) wake(pipelineName string, look bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over() {
		return
	}
	t.wanted[pipelineName] = t.wanted[pipelineName] || look
	if !t.busy[pipelineName] {
		t.busy[pipelineName] = true
		t.working.Go(func() { t.work(pipelineName) })
	}
}

// next reports whether a pipeline was woken again, and there is time left.
func (t *notifier) next(name string) (look, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	look, ok = t.wanted[name]
	delete(t.wanted, name)
	if ok = ok && t.life.Err() == nil; !ok {
		delete(t.busy, name)
	}
	return look, ok
}

func (t *notifier) work(name string) {
	for {
		look, ok := t.next(name)
		if !ok {
			return
		}
		again, err := t.notify(t.life, name, look)
		if err != nil && t.life.Err() == nil {
			t.app.logger.Warn("send notices", "pipeline", name, "error", err)
		}
		t.later(name, again)
	}
}

// later wakes a pipeline at a time; zero for never.
func (t *notifier) later(name string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timer := t.timers[name]; timer != nil {
		timer.Stop()
		delete(t.timers, name)
	}
	if !at.IsZero() && !t.over() {
		t.timers[name] = time.AfterFunc(time.Until(at), func() { t.wake(name, false) })
	}
}

// notify sends the targets of a pipeline the notices that wait for them, and returns when
// one is to be tried again.
func (t *notifier) notify(ctx context.Context, name string, look bool) (time.Time, error) {
	if look {
		if err := t.app.Engine.Environments.Notice(ctx, name); err != nil {
			return time.Time{}, err
		}
	}
	return t.sender.Flush(ctx, name)
}

// stay looks at all pipelines now and then, until the process ends.
func (t *notifier) stay() {
	tick := time.NewTicker(attention)
	defer tick.Stop()
	for {
		names, err := t.app.ledger.Pipelines(t.life)
		if err != nil && t.life.Err() == nil {
			t.app.logger.Warn("find notices", "error", err)
		}
		for _, name := range names {
			t.wake(name, true)
		}
		select {
		case <-t.closed:
			return
		case <-tick.C:
		}
	}
}

// close waits a while for what is under way.
func (t *notifier) close() {
	t.mu.Lock()
	close(t.closed)
	for _, timer := range t.timers {
		timer.Stop()
	}
	t.mu.Unlock()
	late := time.AfterFunc(lastCall, t.end)
	t.working.Wait()
	late.Stop()
	t.end()
}

// Notify finds what has happened to the environments of a pipeline, and sends the pending
// notices to its targets. A notice that can't be sent is recorded in the ledger. The error
// is CodeNotAllowed where this process lacks the credentials for a target.
func (a *App) Notify(ctx context.Context, pipelineName string) error {
	_, err := a.notifier.notify(ctx, pipelineName, true)
	return err
}

// Watch does what Notify does, in the background, where the pipeline has targets.
func (a *App) Watch(st *pipeline.State) {
	if len(st.Pipeline.Notify) > 0 {
		a.notifier.wake(st.Pipeline.Name, true)
	}
}

// Stay watches all pipelines from now on, every minute, until Close. It is for
// long-lived processes.
func (a *App) Stay() { a.notifier.working.Go(a.notifier.stay) }

// Notified returns how far a target has been notified, and how many notices wait for it.
func (a *App) Notified(ctx context.Context, pipelineName string, t pipeline.NotifyTarget) (pipeline.Delivery, int64, error) {
	return a.notifier.sender.Notified(ctx, pipelineName, t)
}

// CanNotify reports, with CodeNotAllowed, what this process lacks to reach a target.
func (a *App) CanNotify(t pipeline.NotifyTarget) error { return a.notifier.sender.Able(t) }

// CheckTarget refuses a target that can't be notified here: CodeInvalid.
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
	return pipeline.Errorf(pipeline.CodeInvalid, "check notify", "%s has no effect on the local platform", argument).
		WithHint("Use webhook_url, slack_url or command, or set aws on the provider.")
}

// TestNotice sends a test notice to a target. Each has its own ID, as receivers drop
// repeats.
func (a *App) TestNotice(ctx context.Context, pipelineName string, t pipeline.NotifyTarget) error {
	return a.notifier.sender.Send(ctx, t, pipeline.Notice{
		ID: "test-" + pipelineName + "-" + rand.Text()[:10], Kind: pipeline.NoticeWaiting, Pipeline: pipelineName, Actor: a.person.Name, Time: time.Now().UTC(),
		Text: "This is a test by " + a.person.Name + ".",
	})
}
