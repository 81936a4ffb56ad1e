// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package board is the page on which people see pipelines and press their buttons. It
// shows what the engine knows and calls what the command calls, for the person who has
// signed in: it decides nothing itself.
//
// Pages are made on the server and can be read without JavaScript. A little of it makes
// them live: the server says when something changed, and the page is asked for again.
//
//	b := board.New(board.Options{Engine: engine, Access: access, Hosts: []string{"localhost:8080"}})
//	defer b.Close()
//	http.Serve(listener, b)
package board

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Options configure a Board. Engine, Access and Hosts are required.
type Options struct {
	Engine *engine.Engine
	Access Access
	// Hosts are the values of the Host header that the board answers to, with the port
	// where a browser sends one. The first is where browsers go. No page links to another
	// port of theirs, as a browser would send the board's cookies there.
	Hosts   []string
	Secure  bool   // browsers reach it through TLS
	Where   string // the place of the pipelines, in words
	Version string
	// Sessions is the file that keeps sessions for the next start; empty: an end of the board
	// signs everybody out.
	Sessions string
	// MetricsToken is what a scraper of /metrics says as its bearer token; empty: only who
	// has signed in sees the metrics.
	MetricsToken string
	Interval     time.Duration // how often to look for what is new; 0 means a second
	Now          func() time.Time
	Logger       hclog.Logger
}

// Board is an http.Handler. It is safe for concurrent use. It has the pages; who comes in,
// what forms do and what makes pages live are parts of their own.
type Board struct {
	*core
	*entrance
	*forms
	*fingerprints
	logs    *logIndexes
	ended   *endedRuns
	handler http.Handler
	cancel  context.CancelFunc // of streams and work
	signOff context.CancelFunc // of everybody
}

// core is what the parts of a board share: how to show a page, and what pages and forms ask
// of the engine.
type core struct {
	Options
	pages *pages
	hub   *hub
	work  *work
	diffs *diffs
}

// New makes a board. The caller must Close it.
func New(o Options) *Board {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	o.Interval = max(o.Interval, o.Engine.HeadAge())
	ctx, cancel := context.WithCancel(context.Background())
	signedIn, signOff := context.WithCancel(context.Background())
	c := &core{Options: o, pages: newPages(o.Now, o.Hosts), work: newWork(ctx), diffs: newDiffs(ctx, o.Now)}
	b := &Board{
		core: c, entrance: &entrance{c, keptSessions(signedIn, o)}, forms: &forms{c}, fingerprints: &fingerprints{c},
		logs: newLogIndexes(), ended: &endedRuns{}, cancel: cancel, signOff: signOff,
	}
	c.hub = newHub(ctx, b.fingerprint, o.Interval, o.Logger)
	b.handler = b.routes()
	return b
}

// Close ends the streams, cancels launches that are under way, and waits until they have
// cleaned up.
func (b *Board) Close() {
	b.cancel()
	b.work.wait()
	b.diffs.work.Wait()
	b.sessions.close()
	b.signOff()
}

// ServeHTTP implements http.Handler.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }

// routes says which page is where.
func (b *Board) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", compressed(b.pages.static(http.HandlerFunc(b.noFile))))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /sign-in", b.signInPage)
	mux.HandleFunc("POST /sign-in", b.signIn)
	mux.HandleFunc("GET /sign-in/callback", b.signIn)
	mux.HandleFunc("POST /sign-out", b.signOut)
	mux.Handle("GET /metrics", b.scraped(scrapeHandler(b.Engine, b.Now)))
	for pattern, h := range map[string]page{
		"GET /":                            nowhere,
		"GET /{$}":                         b.home,
		"GET /events":                      b.streaming(b.events(kindHome)),
		"GET /p/{pipeline}":                b.overview,
		"GET /p/{pipeline}/events":         b.streaming(b.events(kindBoard)),
		"GET /p/{pipeline}/builds/{build}": b.build,
		"GET /p/{pipeline}/builds/{build}/events": b.streaming(b.events(kindBuild)),
		"GET /p/{pipeline}/runs":                  b.runs,
		"GET /p/{pipeline}/runs/events":           b.streaming(b.events(kindRuns)),
		"GET /p/{pipeline}/runs/{run}":            b.run,
		"GET /p/{pipeline}/runs/{run}/events":     b.streaming(b.events(kindRun)),
		"GET /p/{pipeline}/runs/{run}/log":        b.log,
		"GET /p/{pipeline}/runs/{run}/follow":     b.streaming(b.follow),
		"GET /p/{pipeline}/environments":          b.environments,
		"GET /p/{pipeline}/environments/events":   b.streaming(b.events(kindEnvironments)),
		"GET /p/{pipeline}/images":                b.images,
		"GET /p/{pipeline}/images/events":         b.streaming(b.events(kindImages)),
		"GET /p/{pipeline}/metrics":               b.metrics,
		"GET /p/{pipeline}/history":               b.history,
		"GET /p/{pipeline}/history/events":        b.streaming(b.events(kindHistory)),
		"GET /p/{pipeline}/history.csv":           b.streaming(b.historyFile("csv")),
		"GET /p/{pipeline}/history.json":          b.streaming(b.historyFile("json")),
		"GET /p/{pipeline}/do/{action}":           b.confirm,
		"POST /p/{pipeline}/do/{action}":          b.act,
	} {
		if handler := b.signedIn(h); streams(pattern) {
			mux.Handle(pattern, handler)
		} else {
			mux.Handle(pattern, compressed(handler))
		}
	}
	return b.guard(mux)
}

// page answers somebody who has signed in. An error is shown as a page of its own.
type page func(w http.ResponseWriter, r *http.Request, s *session) error

// existing returns the state of the pipeline that the address names; one without anything
// where it is about all of them.
func (b *core) existing(r *http.Request) (*pipeline.State, error) {
	name := r.PathValue("pipeline")
	if name == "" {
		return &pipeline.State{}, nil
	}
	st, err := b.Engine.State(r.Context(), name)
	if err == nil && !st.Exists() {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "find pipeline", "there is no pipeline %q", name).WithHint("The first page lists them.")
	}
	return st, err
}

// work is what goes on after its request was answered: launches take minutes.
type work struct {
	ctx context.Context
	sync.WaitGroup
	mu      sync.Mutex
	closing bool
	failed  map[string]failure // by pipeline and environment
}

// failure says what became of a launch that failed.
type failure struct {
	What string
	Err  error
	At   time.Time
}

// keptFailures is how many failures are kept for a pipeline's page at most.
const keptFailures = 50

func newWork(ctx context.Context) *work { return &work{ctx: ctx, failed: map[string]failure{}} }

// begin calls do in the background. What fails is kept under the key until the next try.
// CodeConflict when the board is closing.
func (w *work) begin(key, what string, now func() time.Time, do func(context.Context) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return pipeline.Errorf(pipeline.CodeConflict, what+" environment", "the board is closing").WithHint("Press the button again when it is back.")
	}
	delete(w.failed, key)
	w.Go(func() {
		err := do(w.ctx)
		if err == nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.failed) >= keptFailures {
			clear(w.failed)
		}
		w.failed[key] = failure{what, err, now()}
	})
	return nil
}

// failures returns what failed, by key.
func (w *work) failures() map[string]failure {
	w.mu.Lock()
	defer w.mu.Unlock()
	copied := make(map[string]failure, len(w.failed))
	for k, f := range w.failed {
		copied[k] = f
	}
	return copied
}

// wait lets nothing more begin, and waits for what has.
func (w *work) wait() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.Wait()
}
