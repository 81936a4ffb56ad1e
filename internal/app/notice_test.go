// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// receiver is a webhook. Each request waits for does to end.
type receiver struct {
	*testing.T
	*httptest.Server
	mu   sync.Mutex
	got  []pipeline.Notice // that came to an end
	came int
	does func(n int, w http.ResponseWriter, r *http.Request)
}

func newReceiver(t *testing.T, does func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	r := &receiver{T: t, does: does}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var n pipeline.Notice
		if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
			t.Errorf("that is no notice: %v", err)
		}
		r.mu.Lock()
		r.came++
		count := r.came
		r.mu.Unlock()
		if r.does != nil {
			r.does(count, w, req)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, n)
	}))
	t.Cleanup(r.Close)
	return r
}

// asked waits until requests have come.
func (r *receiver) asked(n int) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		came := r.came
		r.mu.Unlock()
		if came >= n {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%d requests came, not %d", came, n)
		}
	}
}

func (r *receiver) ended() []pipeline.Notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// hangs answers nothing until the request is given up or the test ends.
func hangs(t *testing.T) func(int, http.ResponseWriter, *http.Request) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
}

func openApp(t *testing.T, dir string) *app.App {
	t.Helper()
	a, err := app.Open(t.Context(), app.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func closeApp(t *testing.T, a *app.App) {
	t.Helper()
	if err := a.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func define(t *testing.T, a *app.App, name string, targets ...pipeline.NotifyTarget) {
	t.Helper()
	if _, err := a.Engine.Pipelines.Create(t.Context(), pipeline.Pipeline{Name: name, Owner: a.Owner, Notify: targets}); err != nil {
		t.Fatal(err)
	}
}

// fails records a failed run directly in the ledger, so that nothing wakes the
// notifier.
func fails(t *testing.T, a *app.App, name string) {
	t.Helper()
	if _, err := a.Ledger().Append(t.Context(), pipeline.Batch{Pipeline: name, Events: []pipeline.Event{{
		Kind: pipeline.RunEnded, Actor: "ada", Facts: pipeline.Facts{Run: &pipeline.Run{ID: "r-1", Pipeline: name, Stage: "commit", Kind: pipeline.KindStage, Status: pipeline.RunFailed}},
	}}}); err != nil {
		t.Fatal(err)
	}
}

func watch(t *testing.T, a *app.App, name string) {
	t.Helper()
	st, err := a.Engine.State(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	a.Watch(st)
}

// A receiver that hangs delays neither a run nor the notices of other pipelines, and the
// end of the process only a little.
func TestHungReceiver(t *testing.T) {
	t.Parallel()
	hung, up := newReceiver(t, hangs(t)), newReceiver(t, nil)
	repo := t.TempDir()
	git(t, repo, "init", "-q", "-b", "main")
	commit(t, repo, "one")
	dir := filepath.Join(t.TempDir(), "data")
	a := openApp(t, dir)
	define(t, a, "shop", pipeline.NotifyTarget{Webhook: hung.URL})
	define(t, a, "other", pipeline.NotifyTarget{Webhook: up.URL})
	snap, err := source.New(source.Options{Dir: filepath.Join(dir, "cache")}).Snapshot(t.Context(), source.Query{Repository: repo, Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	fails(t, a, "shop")
	watch(t, a, "shop")
	hung.asked(1)
	s := pipeline.Stage{Pipeline: "shop", Owner: a.Owner, Type: pipeline.TypeCommit, Source: &snap.Source, Steps: []pipeline.Step{{Name: "test", Command: "true"}}}
	if _, err := a.Engine.Stages.Advance(t.Context(), run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)}); err != nil {
		t.Fatal(err)
	}
	watch(t, a, "shop")
	fails(t, a, "other")
	watch(t, a, "other")
	up.asked(1)
	if n := len(hung.ended()); n > 0 {
		t.Errorf("by then the receiver that hangs had been given up %d times", n)
	}
	closeApp(t, a)
}

// A notice that could not be sent is sent again without another event.
func TestNotifierTriesAgain(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	a := openApp(t, filepath.Join(t.TempDir(), "data"))
	define(t, a, "shop", pipeline.NotifyTarget{Webhook: r.URL})
	fails(t, a, "shop")
	watch(t, a, "shop")
	r.asked(2)
	closeApp(t, a)
	if got := r.ended(); len(got) != 2 || got[0].ID != got[1].ID {
		t.Errorf("told %+v", got)
	}
}

// A process that stays, or watches a pipeline, sends the notices that others left.
func TestLeftByOthers(t *testing.T) {
	r := newReceiver(t, nil)
	dir := filepath.Join(t.TempDir(), "data")
	for i, next := range []func(*app.App){
		func(a *app.App) { a.Stay() },
		func(a *app.App) { watch(t, a, "shop") },
	} {
		a := openApp(t, dir)
		define(t, a, "shop", pipeline.NotifyTarget{Webhook: "$PENSTOCK_TEST_HOOK"})
		t.Setenv("PENSTOCK_TEST_HOOK", "")
		fails(t, a, "shop")
		if err := a.Notify(t.Context(), "shop"); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
			t.Fatalf("without the variable: %v", err)
		}
		closeApp(t, a)
		t.Setenv("PENSTOCK_TEST_HOOK", r.URL)
		a = openApp(t, dir)
		next(a)
		r.asked(i + 1)
		closeApp(t, a)
		if got := r.ended(); len(got) != i+1 || got[i].Kind != pipeline.NoticeFailed {
			t.Errorf("told %+v", got)
		}
	}
}

// Two tests are two notices.
func TestTestNotice(t *testing.T) {
	r := newReceiver(t, nil)
	a := openApp(t, filepath.Join(t.TempDir(), "data"))
	defer closeApp(t, a)
	for range 2 {
		if err := a.TestNotice(t.Context(), "shop", pipeline.NotifyTarget{Webhook: r.URL}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.ended(); len(got) != 2 || got[0].ID == got[1].ID {
		t.Errorf("told %+v", got)
	}
}
