// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Memory is a store that lives as long as the test: the simplest possible ledger, for tests
// of code that uses one. It passes this suite. The zero Memory is empty.
type Memory struct {
	mu     sync.Mutex
	events map[string][]pipeline.Event
	rows   map[string]map[pipeline.Key]pipeline.Record
	runs   map[string]map[string]pipeline.Run
	leases map[string]memoryLease
}

// memoryLease is never removed, so that its tokens never start again from the beginning.
type memoryLease struct {
	pipeline.Lease
	locked bool
	ttl    time.Duration
}

// Open opens a ledger on the store, as a process does.
func (m *Memory) Open(o Options) pipeline.Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dead == nil {
		o.Dead = func(pipeline.Process) bool { return false }
	}
	return memory{m, o}
}

// Clone returns a copy of m that is independent of it.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{leases: maps.Clone(m.leases)}
	c.init()
	for name, chain := range m.events {
		c.events[name] = slices.Clone(chain)
	}
	for name, rows := range m.rows {
		c.rows[name] = maps.Clone(rows)
	}
	for name, runs := range m.runs {
		c.runs[name] = maps.Clone(runs)
	}
	return c
}

// History returns the events of a pipeline.
func (m *Memory) History(name string) []pipeline.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events[name])
}

func (m *Memory) init() {
	if m.events == nil {
		m.events, m.rows, m.runs = map[string][]pipeline.Event{}, map[string]map[pipeline.Key]pipeline.Record{}, map[string]map[string]pipeline.Run{}
	}
	if m.leases == nil {
		m.leases = map[string]memoryLease{}
	}
}

type memory struct {
	*Memory
	Options
}

var _ pipeline.Ledger = memory{}

// do calls f while nobody else reads or writes.
func (l memory) do(ctx context.Context, op string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: op, Err: err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	return f()
}

func (l memory) Append(ctx context.Context, b pipeline.Batch) (sealed []pipeline.Event, err error) {
	const op = "append"
	if b.Pipeline == "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "the batch names no pipeline")
	}
	return sealed, l.do(ctx, op, func() error {
		if f := b.Fence; f != nil && !l.current(*f) {
			return pipeline.Errorf(pipeline.CodeLeaseLost, op, "lease %s with token %d is not current", f.Key, f.Token)
		}
		for key, want := range b.Expect {
			if found := l.version(b.Pipeline, key); found != want {
				return pipeline.Errorf(pipeline.CodeConflict, op, "%s %q has version %d, not %d", key.Kind, key.ID, found, want)
			}
		}
		sealed, err = l.seal(b)
		if err != nil {
			sealed = nil
			return err
		}
		return l.store(b.Pipeline, sealed)
	})
}

func (l memory) version(name string, key pipeline.Key) int64 { return l.rows[name][key].Version }

// seal completes the events of a batch, or checks those that are sealed already.
func (l memory) seal(b pipeline.Batch) (sealed []pipeline.Event, err error) {
	const op = "append"
	var last pipeline.Event
	if chain := l.events[b.Pipeline]; len(chain) > 0 {
		last = chain[len(chain)-1]
	}
	for _, e := range b.Events {
		if b.Sealed {
			if e.Seq != last.Seq+1 || e.Prev != last.Hash {
				return nil, pipeline.Errorf(pipeline.CodeConflict, op, "event %d does not follow event %d", e.Seq, last.Seq)
			}
			if err := e.Check(e.Seq, e.Prev); err != nil {
				return nil, err
			}
			if !e.CountsOn(last.Builds) {
				return nil, pipeline.Errorf(pipeline.CodeCorrupt, op, "event %d does not count the builds on", e.Seq)
			}
		} else {
			e.Pipeline = b.Pipeline
			if e, err = stored(e); err == nil { // what is hashed is what is read back
				err = e.Seal(last, l.Now())
			}
			if err != nil {
				return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "event %q: %w", e.Kind, err)
			}
		}
		sealed, last = append(sealed, e), e
	}
	return sealed, nil
}

// store adds sealed events, and what they change in the view.
func (l memory) store(name string, sealed []pipeline.Event) error {
	rows, runs := maps.Clone(l.rows[name]), l.runs[name]
	if rows == nil {
		rows, runs = map[pipeline.Key]pipeline.Record{}, map[string]pipeline.Run{}
	}
	var chain []pipeline.Event
	for _, e := range sealed {
		changed, err := e.Records()
		if err != nil {
			return err
		}
		for _, r := range changed {
			rows[r.Key] = r
		}
		for _, key := range e.Facts.Gone {
			delete(rows, key)
			if key.Kind == pipeline.RecordRun {
				delete(runs, key.ID)
			}
		}
		copied, err := stored(e)
		if err != nil {
			return err
		}
		if run := copied.Facts.Run; run != nil {
			runs[run.ID] = *run
		}
		chain = append(chain, copied)
	}
	l.events[name], l.rows[name], l.runs[name] = append(l.events[name], chain...), rows, runs
	return nil
}

// stored returns the event as it comes back from storage.
func stored(e pipeline.Event) (c pipeline.Event, err error) {
	data, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

func (l memory) State(ctx context.Context, name string) (st *pipeline.State, err error) {
	return st, l.do(ctx, "read state", func() error {
		var rows []pipeline.Record
		for _, r := range l.rows[name] {
			if r.Kind != pipeline.RecordRun {
				rows = append(rows, r)
			}
		}
		st, err = pipeline.NewState(rows)
		return err
	})
}

func (l memory) Head(ctx context.Context, name string) (head int64, err error) {
	return head, l.do(ctx, "read head", func() error { head = int64(len(l.events[name])); return nil })
}

func (l memory) Newest(ctx context.Context, name string) (a pipeline.Anchor, err error) {
	return a, l.do(ctx, "read head", func() error {
		if n := len(l.events[name]); n > 0 {
			a = l.events[name][n-1].Anchor()
		}
		return nil
	})
}

func (l memory) Pipelines(ctx context.Context) ([]string, error) { return l.names(ctx, true) }
func (l memory) Removed(ctx context.Context) ([]string, error)   { return l.names(ctx, false) }

func (l memory) names(ctx context.Context, defined bool) (names []string, err error) {
	return names, l.do(ctx, "list pipelines", func() error {
		for name := range l.events {
			if (l.version(name, pipeline.Key{Kind: pipeline.RecordPipeline, ID: name}) > 0) == defined {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return nil
	})
}

func (l memory) Run(ctx context.Context, name, id string) (run pipeline.Run, err error) {
	return run, l.do(ctx, "read run", func() error {
		for _, of := range slices.Sorted(maps.Keys(l.runs)) {
			if found, ok := l.runs[of][id]; ok && (name == "" || name == of) {
				run = found
				return nil
			}
		}
		return pipeline.Errorf(pipeline.CodeNotFound, "read run", "there is no run %q", id)
	})
}

func (l memory) Runs(ctx context.Context, name string, q pipeline.RunQuery) (page pipeline.RunPage, err error) {
	return page, l.do(ctx, "list runs", func() error {
		limit := cmp.Or(max(q.Limit, 0), 100)
		for _, id := range slices.Backward(slices.Sorted(maps.Keys(l.runs[name]))) {
			r := l.runs[name][id].Summary()
			if q.After != "" && id >= q.After || q.Build != "" && r.Build != q.Build || q.Stage != "" && r.Stage != q.Stage || q.Status != "" && r.Status != q.Status {
				continue
			}
			if len(page.Runs) == limit {
				page.Next = page.Runs[limit-1].ID
				break
			}
			page.Runs = append(page.Runs, r)
		}
		return nil
	})
}

func (l memory) Events(ctx context.Context, name string, after int64, limit int) (events []pipeline.Event, err error) {
	return events, l.do(ctx, "read events", func() error {
		chain := l.events[name]
		from := min(max(after, 0), int64(len(chain)))
		events = slices.Clone(chain[from:min(from+int64(max(limit, 0)), int64(len(chain)))])
		return nil
	})
}

func (l memory) current(lease pipeline.Lease) bool {
	row := l.leases[lease.Key]
	return row.locked && row.Token == lease.Token
}

func (l memory) Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (lease pipeline.Lease, err error) {
	const op = "take lease"
	if key == "" || ttl <= 0 {
		return lease, pipeline.Errorf(pipeline.CodeInvalid, op, "key %q for %s", key, ttl)
	}
	return lease, l.do(ctx, op, func() error {
		now := l.Now().UTC().Round(0)
		if h.Since.IsZero() {
			h.Since = now
		}
		row := l.leases[key]
		if row.locked && now.Before(row.Expires) && !l.Dead(row.Holder.Process) {
			if latest := now.Add(row.ttl); row.Expires.After(latest) { // the clock was set back
				row.Expires = latest
				l.leases[key] = row
			}
			return pipeline.Errorf(pipeline.CodeLocked, op, "%w", &pipeline.LockedError{Lease: row.Lease})
		}
		lease = pipeline.Lease{Key: key, Token: max(row.Token+1, now.UnixMilli()), Holder: h, Expires: now.Add(ttl)}
		l.leases[key] = memoryLease{lease, true, ttl}
		return nil
	})
}

func (l memory) Renew(ctx context.Context, lease pipeline.Lease, ttl time.Duration) (renewed pipeline.Lease, err error) {
	const op = "renew lease"
	if ttl <= 0 {
		return renewed, pipeline.Errorf(pipeline.CodeInvalid, op, "for %s", ttl)
	}
	return renewed, l.do(ctx, op, func() error {
		row := l.leases[lease.Key]
		if !l.current(lease) {
			return pipeline.Errorf(pipeline.CodeLeaseLost, op, "%s was lost to %s", lease.Key, row.Holder.Actor)
		}
		row.Expires, row.ttl, row.Holder.Activity = l.Now().UTC().Round(0).Add(ttl), ttl, lease.Holder.Activity
		l.leases[lease.Key], renewed = row, row.Lease
		return nil
	})
}

func (l memory) Release(ctx context.Context, lease pipeline.Lease) error {
	return l.do(ctx, "release lease", func() error {
		if l.current(lease) {
			l.leases[lease.Key] = memoryLease{Lease: pipeline.Lease{Key: lease.Key, Token: lease.Token}}
		}
		return nil
	})
}

func (l memory) Leases(ctx context.Context) (held []pipeline.Lease, err error) {
	return held, l.do(ctx, "list leases", func() error {
		for _, key := range slices.Sorted(maps.Keys(l.leases)) {
			if row := l.leases[key]; row.locked {
				held = append(held, row.Lease)
			}
		}
		return nil
	})
}

func (l memory) Verify(ctx context.Context, name string) (n int64, err error) {
	return n, l.do(ctx, "verify", func() error {
		for of, chain := range l.events {
			prev := ""
			for i, e := range chain {
				if name != "" && of != name {
					break
				}
				if err := e.Check(int64(i+1), prev); err != nil {
					return err
				}
				prev = e.Hash
				n++
			}
		}
		return nil
	})
}

func (l memory) Purge(ctx context.Context, name string) error {
	return l.do(ctx, "purge", func() error {
		if l.version(name, pipeline.Key{Kind: pipeline.RecordPipeline, ID: name}) > 0 {
			return pipeline.Errorf(pipeline.CodeConflict, "purge", "pipeline %q is still defined", name)
		}
		delete(l.events, name)
		delete(l.rows, name)
		delete(l.runs, name)
		return nil
	})
}

func (memory) Close() error { return nil }
