// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package state reads the states of pipelines and records events: it is the ledger as one
// process sees it, with the environments and channels as the platform sees them. What it has read is
// cached until the ledger has moved. The rooms that act on pipelines share one Store.
//
// It decides nothing, and takes no leases:
//
//	st, err := store.State(ctx, "shop")
//	err = store.Append(ctx, "shop", &lease, pipeline.Event{Kind: pipeline.RunStarted, …})
package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ledger is what a Store needs of the ledger.
type ledger interface {
	State(ctx context.Context, pipeline string) (*pipeline.State, error)
	Head(ctx context.Context, pipeline string) (int64, error)
	Pipelines(ctx context.Context) ([]string, error)
	Runs(ctx context.Context, pipeline string, q pipeline.RunQuery) (pipeline.RunPage, error)
	Events(ctx context.Context, pipeline string, after int64, limit int) ([]pipeline.Event, error)
	Append(ctx context.Context, b pipeline.Batch) ([]pipeline.Event, error)
}

// placed is a ledger that tells at which event the reading of a state began. One look at the
// head is enough then.
type placed interface {
	StateFrom(ctx context.Context, pipeline string) (*pipeline.State, int64, error)
}

// environments reports on environments, wherever they are.
type environments interface {
	Describe(ctx context.Context, all ...pipeline.Environment) (map[string]pipeline.EnvironmentReport, error)
}

// names says how names lead elsewhere than they were let.
type names interface {
	Strays(ctx context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error)
}

// leaver is a ledger in which people who may write no history leave decisions, which count at
// once. It returns their events, as the history will have them.
type leaver interface {
	Left(ctx context.Context, pipeline string) ([]pipeline.Event, error)
}

// Config is what a Store works with. HeadAge and Appended may be zero.
type Config struct {
	Ledger ledger
	Places environments
	Names  names  // of channels; nil: they are believed to lead where the ledger says
	Actor  string // who records
	Now    func() time.Time
	// HeadAge is how long a pipeline's state is cached before the ledger is asked whether it
	// has moved: one plan of many stages then asks a remote ledger once. What this Store
	// records itself, and what Fresh reads, is read again. With 0 the ledger is asked each
	// time.
	HeadAge time.Duration
	// Appended is called after events were recorded of a pipeline that has targets to be
	// notified. It must not wait.
	Appended func(pipeline string)
	// Environment is called after an event was recorded that is of an environment. It must not
	// wait.
	Environment func(e pipeline.Event)
}

// describeAge is how long the platform's report of environments is cached: one plan asks for
// each stage, and gets one answer.
const describeAge = time.Second

// Store reads and records. It is safe for concurrent use.
type Store struct {
	config Config
	*cache
}

// cache is what is kept for a while.
type cache struct {
	mu     sync.Mutex
	states map[string]*cachedState // by pipeline
}

type cachedState struct {
	mu        sync.Mutex
	head      int64
	asked     time.Time // when the ledger gave head
	recorded  *pipeline.State
	pinned    bool // recorded is of head, and not of what came after it
	merged    *pipeline.State
	described time.Time
}

// New makes a Store that has read nothing yet.
func New(c Config) *Store {
	return &Store{config: c, cache: &cache{states: map[string]*cachedState{}}}
}

// As returns a Store that records for somebody else, and shares with s what it has read.
func (s *Store) As(actor string) *Store {
	as := *s
	as.config.Actor = actor
	return &as
}

// Believed returns how long the platform's report is cached.
func (s *Store) Believed() time.Duration { return max(describeAge, s.config.HeadAge) }

// State returns the pipeline's state, with its environments as the platform sees them now.
// The caller must not change it; Clone returns a copy to change. The state is read again only
// when the ledger has moved. A pipeline that does not exist has an empty state.
func (s *Store) State(ctx context.Context, name string) (*pipeline.State, error) {
	c := s.cached(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.refresh(ctx, name, c); err != nil {
		return nil, err
	}
	return s.merge(ctx, c)
}

// Recorded returns the pipeline's state as the ledger has it, without asking the platform
// about its environments. The caller must not change it.
func (s *Store) Recorded(ctx context.Context, name string) (*pipeline.State, error) {
	c := s.cached(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	err := s.refresh(ctx, name, c)
	return c.recorded, err
}

// merge returns what was read of a pipeline with its environments as the platform sees them.
// The caller has refreshed it, and holds the lock.
func (s *Store) merge(ctx context.Context, c *cachedState) (*pipeline.State, error) {
	if c.merged == nil || time.Since(c.described) > s.Believed() {
		merged, err := s.describe(ctx, c.recorded)
		if err != nil {
			return nil, err
		}
		c.merged, c.described = merged, time.Now()
	}
	return c.merged, nil
}

func (s *Store) cached(name string) *cachedState {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.states[name]
	if c == nil {
		c = &cachedState{}
		s.states[name] = c
	}
	return c
}

// refresh reads what the ledger has of the pipeline, if it may have moved.
func (s *Store) refresh(ctx context.Context, name string, c *cachedState) error {
	if c.recorded != nil && time.Since(c.asked) < s.config.HeadAge {
		return nil
	}
	asked := time.Now()
	if l, ok := s.config.Ledger.(placed); ok && c.recorded == nil {
		recorded, from, err := l.StateFrom(ctx, name)
		if err != nil {
			return err
		}
		head, err := s.config.Ledger.Head(ctx, name)
		if err != nil {
			return err
		}
		if head == from { // else somebody has recorded something meanwhile
			c.recorded, c.head, c.merged, c.pinned, c.asked = recorded, head, nil, true, asked
			return nil
		}
	}
	head, err := s.config.Ledger.Head(ctx, name)
	if err != nil {
		return err
	}
	if c.recorded == nil || head != c.head {
		recorded, err := s.config.Ledger.State(ctx, name)
		if err != nil {
			return err
		}
		c.recorded, c.head, c.merged, c.pinned = recorded, head, nil, false
	}
	c.asked = asked
	return nil
}

// Fresh returns the state, after asking ledger and platform again.
func (s *Store) Fresh(ctx context.Context, name string) (*pipeline.State, error) {
	s.mu.Lock()
	delete(s.states, name)
	s.mu.Unlock()
	return s.State(ctx, name)
}

// AskAgain makes the next look at each pipeline ask the ledger, however recent its last
// answer is.
func (s *Store) AskAgain() {
	s.mu.Lock()
	states := slices.Collect(maps.Values(s.states))
	s.mu.Unlock()
	for _, c := range states {
		c.mu.Lock()
		c.asked = time.Time{}
		c.mu.Unlock()
	}
}

// Existing is State for a pipeline that must exist; else it returns CodeNotFound.
func (s *Store) Existing(ctx context.Context, name string) (*pipeline.State, error) {
	st, err := s.State(ctx, name)
	if err == nil && !st.Exists() {
		return nil, NoPipeline(name)
	}
	return st, err
}

// Stage returns a stage that must exist, with the state of its pipeline.
func (s *Store) Stage(ctx context.Context, pipelineName, stage string) (*pipeline.State, pipeline.Stage, error) {
	st, err := s.Existing(ctx, pipelineName)
	if err != nil {
		return nil, pipeline.Stage{}, err
	}
	found, ok := st.Stages[stage]
	if !ok {
		return nil, found, NoStage(pipelineName, stage)
	}
	return st, found, nil
}

// All returns the states of all pipelines, by name.
func (s *Store) All(ctx context.Context) (map[string]*pipeline.State, error) {
	names, err := s.config.Ledger.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*pipeline.State, len(names))
	for _, name := range names {
		if all[name], err = s.State(ctx, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// EachRun calls f for every run that the query selects.
func (s *Store) EachRun(ctx context.Context, name string, q pipeline.RunQuery, f func(pipeline.RunSummary) error) error {
	for {
		page, err := s.config.Ledger.Runs(ctx, name, q)
		if err != nil {
			return err
		}
		for _, r := range page.Runs {
			if err := f(r); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		q.After = page.Next
	}
}

// Append records events under a lease; nil for events that need none.
func (s *Store) Append(ctx context.Context, name string, fence *pipeline.Lease, events ...pipeline.Event) error {
	return s.AppendExpecting(ctx, name, fence, nil, events...)
}

// AppendExpecting is Append if records still have the versions that were seen; else it
// returns CodeConflict.
func (s *Store) AppendExpecting(ctx context.Context, name string, fence *pipeline.Lease, expect map[pipeline.Key]int64, events ...pipeline.Event) error {
	for i := range events {
		events[i].Actor = s.config.Actor
	}
	_, err := s.config.Ledger.Append(ctx, pipeline.Batch{Pipeline: name, Events: events, Fence: fence, Expect: maps.Clone(expect)})
	c := s.cached(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Time{} // also after an error: the answer alone may be lost
	for _, e := range events {
		if s.config.Environment != nil && (e.Facts.Environment != nil || e.Kind == pipeline.EnvironmentEnded) {
			s.config.Environment(e)
		}
	}
	if s.config.Appended != nil && notifies(c.recorded, events) {
		s.config.Appended(name)
	}
	return err
}

// notifies reports whether somebody is to be notified of events, as far as is known.
func notifies(st *pipeline.State, events []pipeline.Event) bool {
	for _, event := range events {
		if p := event.Facts.Pipeline; p != nil && len(p.Notify) > 0 {
			return true
		}
	}
	return st != nil && len(st.Pipeline.Notify) > 0
}

// NewID makes an ID that sorts by the time it was made: prefix, the time in
// milliseconds as nine base-36 digits (enough until the year 5188), four random
// hexadecimal digits.
func (s *Store) NewID(prefix string) string {
	stamp := strconv.FormatInt(s.config.Now().UnixMilli(), 36)
	return prefix + strings.Repeat("0", max(0, 9-len(stamp))) + stamp + RandomHex(2)
}

// RandomHex returns random bytes as hexadecimal digits, two for each.
func RandomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails, by crypto/rand's contract
	return hex.EncodeToString(b)
}

// NoPipeline returns the error that a pipeline does not exist.
func NoPipeline(name string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, "read pipeline", "there is no pipeline %q", name).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbListPipelines})
}

// NoStage returns the error that a pipeline has no such stage.
func NoStage(pipelineName, stage string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, "read stage", "pipeline %q has no stage %q", pipelineName, stage).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbLookAtStages, Pipeline: pipelineName})
}

// NoBuild returns the error that a pipeline has no such build.
func NoBuild(op, pipelineName, build string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q has no build %q", pipelineName, build).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: pipelineName})
}
