// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package engine takes stages through runs: it asks the domain what a stage does
// next and does it through the ports, recording each transition before and after,
// so that a run killed anywhere is found by the next call, cleaned up, and
// repeated or finished, never doubled.
//
// It holds no rule about which build may go where (package pipeline does) and
// knows no platform, ledger or Terraform. The provider and the CLI both call it:
//
//	e := engine.New(engine.Config{Ledger: ledger, Platform: platform, …})
//	standing, err := e.Advance(ctx, engine.AdvanceRequest{Stage: stage})
package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Ledger is what an Engine needs of one.
type Ledger interface {
	pipeline.Reader
	pipeline.Appender
	pipeline.Leaser
	// Purge removes a pipeline that is no longer defined, with its history.
	Purge(ctx context.Context, pipeline string) error
}

// Config is what an Engine works with. All but Dead, Logger, Now and LeaseTTL are required.
type Config struct {
	Ledger    Ledger
	Platform  pipeline.Platform
	Runner    pipeline.Runner
	Sources   pipeline.Sources
	Artifacts pipeline.Artifacts
	Logs      pipeline.Logs
	WorkDir   string // checkouts and other files of a run, each below its run's ID
	// Surroundings says what lies above WorkDir that steps may find; empty for nothing.
	Surroundings string
	Holder       pipeline.Holder // what this process is
	// Dead tells that a process has certainly ended. nil: of none that is known.
	Dead     func(pipeline.Process) bool
	Person   pipeline.Person // who it works for; without a name the holder's actor
	Logger   hclog.Logger
	Now      func() time.Time
	LeaseTTL time.Duration // 0 means DefaultLeaseTTL
	// Jitter returns numbers from 0 to 1 that vary the pauses of waits, so that those who
	// wait don't ask together; nil: at random.
	Jitter func() float64
	// HeadAge is how long a pipeline's state is believed before the ledger is asked
	// whether it has moved: one plan of many stages then asks a remote ledger once.
	// What this engine records itself, and all that is decided under a lease, is read
	// anew. 0 means that it is asked each time.
	HeadAge time.Duration
	// Appended is called after events were recorded of a pipeline that has targets to be
	// notified. It must not wait.
	Appended func(pipeline string)
	// Archives keep the histories of pipelines that are removed, as Export writes them; nil:
	// they are not kept.
	Archives pipeline.Archives
	Export   func(ctx context.Context, w io.Writer, pipeline string) error
	// Echo gets what this engine writes to the logs of runs, bakes and launches, in
	// whole lines, as it writes it. nil: nobody looks on.
	Echo io.Writer
}

// DefaultLeaseTTL is how long a lease outlives the last sign of life of a process
// on another host: long enough for a paused laptop's short nap or a slow ledger,
// short enough to wait for.
const DefaultLeaseTTL = 30 * time.Second

// cleanUpLimit bounds the clean-up after a failure or a cancel, which must not
// hang on the thing that failed.
const cleanUpLimit = 2 * time.Minute

// describeAge is how long what the platform said of environments is believed: one
// plan asks for each stage, and gets one answer.
const describeAge = time.Second

// Engine moves stages. It is safe for concurrent use.
type Engine struct {
	Config
	*cache
	creations      *creations
	archivesLooked *atomic.Bool // for those whose time is over, once an apply: not by each stage
}

// cache is what is believed for a while.
type cache struct {
	mu     sync.Mutex
	states map[string]*cachedState // by pipeline
	images struct {
		mu    sync.Mutex
		on    map[string]bool // what the platform has
		asked time.Time
	}
}

// believed is how long what the platform said is believed.
func (e *Engine) believed() time.Duration { return max(describeAge, e.HeadAge) }

type cachedState struct {
	mu        sync.Mutex
	head      int64
	asked     time.Time // when the ledger gave head
	recorded  *pipeline.State
	merged    *pipeline.State
	described time.Time
}

// New makes an engine.
func New(c Config) *Engine {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Dead == nil {
		c.Dead = func(pipeline.Process) bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.Person.Name == "" {
		c.Person.Name = c.Holder.Actor
	}
	c.Holder.Actor = c.Person.Name
	return &Engine{
		Config: c, cache: &cache{states: map[string]*cachedState{}},
		creations: &creations{leases: map[string]*lock{}, made: map[string]map[pipeline.Key]string{}},

		archivesLooked: new(atomic.Bool),
	}
}

// As gives an engine that works for another person, and shares everything else with e.
func (e *Engine) As(who pipeline.Person) *Engine {
	as := *e
	as.Person, as.Holder.Actor = who, who.Name
	return &as
}

// State gives the pipeline's state, with its environments as the platform sees
// them now. The caller must not change it; Clone gives a copy to change. It is
// read anew only when the ledger has moved. A pipeline that does not exist has an
// empty state.
func (e *Engine) State(ctx context.Context, name string) (*pipeline.State, error) {
	c := e.cached(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := e.refresh(ctx, name, c); err != nil {
		return nil, err
	}
	if c.merged == nil || time.Since(c.described) > e.believed() {
		merged, err := e.describe(ctx, c.recorded)
		if err != nil {
			return nil, err
		}
		c.merged, c.described = merged, time.Now()
	}
	return c.merged, nil
}

func (e *Engine) cached(name string) *cachedState {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.states[name]
	if c == nil {
		c = &cachedState{}
		e.states[name] = c
	}
	return c
}

// refresh reads what the ledger has of the pipeline, if it may have moved.
func (e *Engine) refresh(ctx context.Context, name string, c *cachedState) error {
	if c.recorded != nil && time.Since(c.asked) < e.HeadAge {
		return nil
	}
	asked := time.Now()
	head, err := e.Ledger.Head(ctx, name)
	if err != nil {
		return err
	}
	if c.recorded == nil || head != c.head {
		recorded, err := e.Ledger.State(ctx, name)
		if err != nil {
			return err
		}
		c.recorded, c.head, c.merged = recorded, head, nil
	}
	c.asked = asked
	return nil
}

// fresh gives the state with the platform asked anew.
func (e *Engine) fresh(ctx context.Context, name string) (*pipeline.State, error) {
	e.mu.Lock()
	delete(e.states, name)
	e.mu.Unlock()
	return e.State(ctx, name)
}

// askAgain makes the next look at each pipeline ask the ledger, however young its last
// answer is.
func (e *Engine) askAgain() {
	e.mu.Lock()
	states := slices.Collect(maps.Values(e.states))
	e.mu.Unlock()
	for _, c := range states {
		c.mu.Lock()
		c.asked = time.Time{}
		c.mu.Unlock()
	}
}

// existing gives the state of a pipeline that must exist.
func (e *Engine) existing(ctx context.Context, name string) (*pipeline.State, error) {
	st, err := e.State(ctx, name)
	if err == nil && !st.Exists() {
		return nil, noPipeline(name)
	}
	return st, err
}

func noPipeline(name string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, "read pipeline", "there is no pipeline %q", name).
		WithHint("`penstock status` lists the pipelines; penstock_pipeline makes one.")
}

// describe lays what the platform says over the environments in the ledger.
func (e *Engine) describe(ctx context.Context, recorded *pipeline.State) (*pipeline.State, error) {
	var ids []string
	for id, env := range recorded.Environments {
		if env.Alive() {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return recorded, nil
	}
	reports, err := e.Platform.Describe(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe environments: %w", err)
	}
	st := recorded.Clone()
	for _, id := range ids {
		env := merge(st.Environments[id], reports[id], e.Now())
		st.Environments[id] = traced(env, reports[id], st.Latest[env.Stage])
	}
	return st, nil
}

// traced corrects what the record says that an environment runs, where another fleet
// has its traffic: somebody was about to record that, or ended before that. The fleet
// is that of the stage's latest run, or of nobody knows which build.
func traced(env pipeline.Environment, r pipeline.EnvironmentReport, latest pipeline.RunSummary) pipeline.Environment {
	if !env.Serves() || env.Fleet == "" || r.Serving == "" || r.Serving == env.Fleet {
		return env
	}
	env.Fleet, env.Build, env.Run, env.Digest = r.Serving, "", "", ""
	if latest.ID != "" && fleetOf(latest.ID) == r.Serving {
		env.Build, env.Run, env.Digest = latest.Build, latest.ID, latest.Digest
	}
	return env
}

// merge lays a report over the record of an environment. The record's own status
// stays where it says what the platform can't know.
func merge(env pipeline.Environment, r pipeline.EnvironmentReport, now time.Time) pipeline.Environment {
	gone := r.Status == "" || r.Status == pipeline.EnvGone
	switch {
	case env.Status == pipeline.EnvLaunching, env.Status == pipeline.EnvEnding:
		return env // somebody is at work on it, or died at work
	case r.Status == pipeline.EnvExpired, gone && !env.ExpiresAt.IsZero() && !now.Before(env.ExpiresAt):
		env.Status = pipeline.EnvExpired
	case gone:
		env.Status = pipeline.EnvGone
	case env.Status == pipeline.EnvKept:
	default:
		env.Status = r.Status
	}
	env.Reason = r.Reason
	if !env.Alive() {
		env.Endpoint = ""
	} else if r.Endpoint != "" && env.Status != pipeline.EnvKept {
		env.Endpoint = r.Endpoint
	}
	return env
}

// append records events under a lease.
func (e *Engine) append(ctx context.Context, name string, fence *pipeline.Lease, events ...pipeline.Event) error {
	return e.appendExpecting(ctx, name, fence, nil, events...)
}

func (e *Engine) appendExpecting(ctx context.Context, name string, fence *pipeline.Lease, expect map[pipeline.Key]int64, events ...pipeline.Event) error {
	for i := range events {
		events[i].Actor = e.Holder.Actor
	}
	_, err := e.Ledger.Append(ctx, pipeline.Batch{Pipeline: name, Events: events, Fence: fence, Expect: maps.Clone(expect)})
	c := e.cached(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Time{} // also after an error: the answer alone may be lost
	if e.Appended != nil && notifies(c.recorded, events) {
		e.Appended(name)
	}
	return err
}

// notifies reports whether somebody is to be told of events, as far as is known.
func notifies(st *pipeline.State, events []pipeline.Event) bool {
	for _, event := range events {
		if p := event.Facts.Pipeline; p != nil && len(p.Notify) > 0 {
			return true
		}
	}
	return st != nil && len(st.Pipeline.Notify) > 0
}

// newID makes an ID that sorts by the time it was made: prefix, the time in
// milliseconds as nine base-36 digits (enough until the year 5188), four random
// hexadecimal digits.
func (e *Engine) newID(prefix string) string {
	stamp := strconv.FormatInt(e.Now().UnixMilli(), 36)
	return prefix + strings.Repeat("0", max(0, 9-len(stamp))) + stamp + randomHex(2)
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails, by crypto/rand's contract
	return hex.EncodeToString(b)
}

// cleanUpContext gives a context for cleaning up after ctx may have ended.
func cleanUpContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
}
