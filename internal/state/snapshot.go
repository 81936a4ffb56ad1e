// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Position is the position at which a pipeline was looked at: the events that its ledger had,
// and what the platform saw besides. The Snapshot at a Position is always the same.
type Position struct {
	Sequence     int64      `json:"sequence"` // of the newest event
	Environments []Sighting `json:"environments,omitempty"`
	Due          []string   `json:"due,omitempty"` // stages whose service.finish was due
	// Strays says by publisher how channels led elsewhere than is recorded.
	Strays map[string]pipeline.Stray `json:"strays,omitempty"`
}

// Key identifies the position.
func (p Position) Key() string {
	key, _ := json.Marshal(p) // of numbers and strings
	return string(key)
}

// Sighting is what the platform reported of an environment that differs from the record.
type Sighting struct {
	ID       string                     `json:"id"`
	Status   pipeline.EnvironmentStatus `json:"status"`
	Reason   string                     `json:"reason,omitempty"`
	Endpoint string                     `json:"endpoint,omitempty"`
	Fleet    string                     `json:"fleet,omitempty"`
	Build    string                     `json:"build,omitempty"`
	Run      string                     `json:"run,omitempty"`
	Digest   string                     `json:"digest,omitempty"`
}

// Snapshot returns a pipeline at the newest position of its ledger, with its environments as
// the platform sees them, and that position.
func (s *Store) Snapshot(ctx context.Context, name string) (gate.Snapshot, Position, error) {
	var at Position
	c := s.cached(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.pin(ctx, name, c); err != nil {
		return gate.Snapshot{}, at, err
	}
	merged, err := s.merge(ctx, c)
	if err != nil {
		return gate.Snapshot{}, at, err
	}
	at.Sequence = c.head
	for id, env := range merged.Environments {
		if seen := sighted(env); seen != sighted(c.recorded.Environments[id]) {
			at.Environments = append(at.Environments, seen)
		}
	}
	for stage, f := range merged.Finishes {
		if f.Due {
			at.Due = append(at.Due, stage)
		}
	}
	for publisher, c := range merged.Channels {
		if c.Stray != nil {
			if at.Strays == nil {
				at.Strays = map[string]pipeline.Stray{}
			}
			at.Strays[publisher] = *c.Stray
		}
	}
	slices.Sort(at.Due)
	slices.SortFunc(at.Environments, func(a, b Sighting) int { return strings.Compare(a.ID, b.ID) })
	return gate.At(merged, at.Sequence), at, nil
}

// pin makes sure that what was read of a pipeline is what its ledger had at the position of
// head: somebody may have recorded something between the two.
func (s *Store) pin(ctx context.Context, name string, c *cachedState) error {
	if err := s.refresh(ctx, name, c); err != nil {
		return err
	}
	for !c.pinned {
		head, err := s.config.Ledger.Head(ctx, name)
		if err != nil {
			return err
		}
		if c.pinned = head == c.head; c.pinned {
			break
		}
		recorded, err := s.config.Ledger.State(ctx, name)
		if err != nil {
			return err
		}
		c.recorded, c.head, c.merged = recorded, head, nil
	}
	return nil
}

func sighted(env pipeline.Environment) Sighting {
	return Sighting{env.ID, env.Status, env.Reason, env.Endpoint, env.Fleet, env.Build, env.Run, env.Digest}
}

// eventsPage is how many events are read at a time.
const eventsPage = 500

// SnapshotAt returns a pipeline as it was at a position, from its history, and from the
// decisions that the history does not have yet. It returns
// CodeConflict if the history no longer has the position, or does not have it yet.
func (s *Store) SnapshotAt(ctx context.Context, name string, at Position) (gate.Snapshot, error) {
	st, err := pipeline.NewState(nil)
	if err != nil {
		return gate.Snapshot{}, err
	}
	var left []pipeline.Event // read before the history, which may take them in meanwhile
	if l, ok := s.config.Ledger.(leaver); ok {
		if left, err = l.Left(ctx, name); err != nil {
			return gate.Snapshot{}, err
		}
	}
	for seq := int64(0); seq < at.Sequence; {
		events, err := s.config.Ledger.Events(ctx, name, seq, int(min(eventsPage, at.Sequence-seq)))
		if err != nil {
			return gate.Snapshot{}, err
		}
		if len(events) == 0 {
			events = slices.DeleteFunc(left, func(e pipeline.Event) bool { return e.Seq <= seq || e.Seq > at.Sequence })
			left = nil
		}
		if len(events) == 0 {
			return gate.Snapshot{}, pipeline.Errorf(pipeline.CodeConflict, "read history", "pipeline %q was planned at event %d, and its history ends at event %d", name, at.Sequence, seq).
				WithHint("Plan again.")
		}
		if st, err = st.With(events); err != nil {
			return gate.Snapshot{}, err
		}
		seq = events[len(events)-1].Seq
	}
	return gate.At(at.Over(st), at.Sequence), nil
}

// Over lays what the platform saw over a state. The state itself does not change.
func (p Position) Over(st *pipeline.State) *pipeline.State {
	st = withStrays(st, p.Strays)
	if len(p.Environments)+len(p.Due) == 0 {
		return st
	}
	over := st.Clone()
	over.Finishes = maps.Clone(st.Finishes)
	for _, stage := range p.Due {
		if f, ok := over.Finishes[stage]; ok {
			f.Due = true
			over.Finishes[stage] = f
		}
	}
	over.Environments = maps.Clone(st.Environments)
	for _, s := range p.Environments {
		env, ok := over.Environments[s.ID]
		if !ok {
			continue
		}
		env.Status, env.Reason, env.Endpoint = s.Status, s.Reason, s.Endpoint
		env.Fleet, env.Build, env.Run, env.Digest = s.Fleet, s.Build, s.Run, s.Digest
		over.Environments[s.ID] = env
	}
	return over
}
