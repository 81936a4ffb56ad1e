// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// CreationsConfig is what Creations work with.
type CreationsConfig struct {
	States *state.Store
	Locks  *lock.Locker
	Ledger leases
	Holder pipeline.Holder
	Now    func() time.Time
	// Patience is how long to wait for another creation: as long as a process that was killed
	// may seem alive.
	Patience time.Duration
	Jitter   func() float64
}

// Creations separate what several configurations create under one name: they record whose a
// thing is, and that no state is known to have it yet. They are safe for concurrent use.
type Creations struct {
	states   *state.Store
	locks    *lock.Locker
	ledger   leases
	holder   pipeline.Holder
	now      func() time.Time
	patience time.Duration
	jitter   func() float64
	*begun
}

type leases interface {
	Leases(ctx context.Context) ([]pipeline.Lease, error)
}

// begun is what this process has created and no state is known to have yet.
type begun struct {
	mu     sync.Mutex
	leases map[string]*lock.Lock              // by pipeline: others see in them that it lives
	ids    map[string]map[pipeline.Key]string // by pipeline: the IDs of the things that Terraform was informed of
}

// NewCreations makes Creations of a process that has created nothing yet.
func NewCreations(c CreationsConfig) *Creations {
	return &Creations{c.States, c.Locks, c.Ledger, c.Holder, c.Now, c.Patience, c.Jitter, &begun{leases: map[string]*lock.Lock{}, ids: map[string]map[pipeline.Key]string{}}}
}

// As returns Creations by somebody else, in the same process.
func (cs *Creations) As(states *state.Store, locks *lock.Locker, actor string) *Creations {
	as := *cs
	as.states, as.locks, as.holder.Actor = states, locks, actor
	return &as
}

// created notes that Terraform is informed that a thing was created.
func (cs *Creations) created(pipelineName string, kind pipeline.RecordKind, name, id string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.ids[pipelineName] == nil {
		cs.ids[pipelineName] = map[pipeline.Key]string{}
	}
	cs.ids[pipelineName][pipeline.CreationKey(kind, name)] = id
}

// creation returns the record of a creation that begins, once others can see that this
// process is alive.
func (cs *Creations) creation(ctx context.Context, pipelineName string, kind pipeline.RecordKind, name, id string) (*pipeline.Creation, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	h := cs.leases[pipelineName]
	if h == nil {
		var err error
		if h, err = cs.locks.Session(ctx, lock.Session(pipelineName, state.RandomHex(8)), "apply that creates parts of the pipeline"); err != nil {
			return nil, err
		}
		cs.leases[pipelineName] = h
	}
	return &pipeline.Creation{Kind: kind, Name: name, ID: id, Session: h.Lease.Key, Made: cs.stamp()}, nil
}

// stamp returns who makes something now.
func (cs *Creations) stamp() pipeline.Made {
	return pipeline.Made{At: cs.now().UTC().Truncate(time.Second), By: cs.holder.Actor, Host: cs.holder.Host}
}

// Finish records that states have what this process created: from then on it belongs to them.
// Call it when Terraform has ended well.
func (cs *Creations) Finish(ctx context.Context) error {
	cs.mu.Lock()
	made := cs.ids
	cs.ids = map[string]map[pipeline.Key]string{}
	cs.mu.Unlock()
	var errs []error
	for name, ids := range made {
		errs = append(errs, cs.finish(ctx, name, ids))
	}
	return errors.Join(errs...)
}

// Recorded records that a state has something, if that was not known yet.
func (cs *Creations) Recorded(ctx context.Context, st *pipeline.State, kind pipeline.RecordKind, name, id string) error {
	key := pipeline.CreationKey(kind, name)
	if c, pending := st.Creations[key.ID]; !pending || c.ID != id {
		return nil
	}
	return cs.finish(ctx, st.Pipeline.Name, map[pipeline.Key]string{key: id})
}

// finish removes the records of creations, by ID, that are still there.
func (cs *Creations) finish(ctx context.Context, pipelineName string, ids map[pipeline.Key]string) error {
	st, err := cs.states.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	var gone []pipeline.Key
	var died []pipeline.Creation // or still works
	expect := map[pipeline.Key]int64{}
	for _, key := range slices.SortedFunc(maps.Keys(ids), func(a, b pipeline.Key) int { return strings.Compare(a.ID, b.ID) }) {
		if c, pending := st.Creations[key.ID]; pending && c.ID == ids[key] {
			gone = append(gone, key)
			expect[key] = st.Version(key.Kind, key.ID)
			died = append(died, c)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	err = cs.states.AppendExpecting(ctx, pipelineName, nil, expect, pipeline.Event{Kind: pipeline.CreationRecorded, Facts: pipeline.Facts{Gone: gone}})
	if len(gone) > 1 && pipeline.CodeOf(err) == pipeline.CodeConflict { // one of them belongs to another by now, or is gone
		var errs []error
		for _, key := range gone {
			errs = append(errs, cs.finish(ctx, pipelineName, map[pipeline.Key]string{key: ids[key]}))
		}
		return errors.Join(errs...)
	}
	if err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict {
		return err
	}
	for _, c := range died {
		if _, err := cs.creator(ctx, c); err != nil { // releases the lease of a dead one
			return err
		}
	}
	return nil
}

// Close releases the leases that say that this process creates something.
func (cs *Creations) Close(ctx context.Context) {
	cs.mu.Lock()
	leases := cs.leases
	cs.leases = map[string]*lock.Lock{}
	cs.mu.Unlock()
	for _, h := range leases {
		cs.locks.Unlock(ctx, h)
	}
}

// thing is what exists under a name.
type thing struct {
	noun, id string
	owner    string // the configuration that made it
	made     pipeline.Made
}

// lookUp finds what exists under a name.
func lookUp(st *pipeline.State, kind pipeline.RecordKind, name string) (t thing, exists bool) {
	switch kind {
	case pipeline.RecordPipeline:
		return thing{"pipeline", st.Pipeline.ID, st.Pipeline.Owner, st.Pipeline.Made}, st.Exists()
	case pipeline.RecordStage:
		s, ok := st.Stages[name]
		return thing{"stage", s.ID, s.Owner, s.Made}, ok
	case pipeline.RecordImageDefinition:
		r, ok := st.ImageDefinitions[name]
		return thing{"image", r.ID, r.Owner, r.Made}, ok
	default:
		env, ok := st.PersonEnvironment(name)
		return thing{"environment", env.ID, env.Configured, env.Made}, ok
	}
}

// CreateRequest says what is to be created.
type CreateRequest struct {
	Kind     pipeline.RecordKind // pipeline, stage, image or environment
	Name     string
	Replaces func(id string) bool // whether the thing of an ID is removed for it; nil for none
	Hint     string               // what to do if it exists already; empty for the advice to import it
}

// Check refuses to create what exists already. It returns CodeConflict if the thing belongs
// to the state that recorded it, or if no configuration made it, and CodeLocked while another
// process is creating it. The next caller continues a creation whose process died before a
// state recorded it.
//
// It waits for that process as long as a killed process may seem alive, or may take to clean
// up.
func (cs *Creations) Check(ctx context.Context, st *pipeline.State, r CreateRequest) error {
	name, locked := st.Pipeline.Name, cs.check(ctx, st, r)
	if pipeline.CodeOf(locked) != pipeline.CodeLocked {
		return locked
	}
	decided := false
	limit := poll.Schedule{First: 100 * time.Millisecond, Max: time.Second, Factor: 1.5, Limit: cs.patience, What: "another creation", Jitter: cs.jitter}
	err := poll.Until(ctx, limit, func(ctx context.Context) (poll.Probe, error) {
		now, err := cs.states.Fresh(ctx, name)
		if err == nil {
			err = cs.check(ctx, now, r)
		}
		if pipeline.CodeOf(err) == pipeline.CodeLocked {
			locked = err
			return poll.Probe{}, poll.Retryable(err)
		}
		decided = ctx.Err() == nil
		return poll.Probe{Done: true}, err
	})
	if decided || ctx.Err() != nil {
		return err
	}
	return locked
}

func (cs *Creations) check(ctx context.Context, st *pipeline.State, r CreateRequest) error {
	t, exists := lookUp(st, r.Kind, r.Name)
	if !exists || r.Replaces != nil && r.Replaces(t.id) {
		return nil
	}
	op := "create " + t.noun
	c, pending := st.Creations[pipeline.CreationKey(r.Kind, r.Name).ID]
	if env, _ := st.PersonEnvironment(r.Name); r.Kind == pipeline.RecordEnvironment && !pending && env.Status == pipeline.EnvLaunching {
		return nil // what a dead launch left belongs to whoever asks for it
	}
	if !pending {
		err := pipeline.Errorf(pipeline.CodeConflict, op, "%s %q exists already; %s", t.noun, r.Name, t.origin())
		if r.Hint != "" {
			return err.WithHint("%s", r.Hint)
		}
		return err.WithAdvice(pipeline.Advice{Verb: pipeline.VerbImport})
	}
	other, err := cs.creator(ctx, c)
	if err == nil && other != nil {
		err = pipeline.Errorf(pipeline.CodeLocked, op, "%s on %s (process %d) is creating %s %q since %s, for %s",
			other.Actor, other.Host, other.PID, t.noun, r.Name, instant(c.Made.At), configuration(t.owner)).
			WithHint("Wait until that apply has ended. Then it belongs to the state of that configuration.")
	}
	return err
}

// creator returns the living process that creates what a record names; nil if there is no
// other. It releases the lease of a dead one.
func (cs *Creations) creator(ctx context.Context, c pipeline.Creation) (*pipeline.Holder, error) {
	leases, err := cs.ledger.Leases(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	for _, l := range leases {
		mine := l.Holder.Process == cs.holder.Process
		if l.Key != c.Session || mine {
			continue
		}
		_, taken, err := cs.locks.Try(ctx, pipeline.ParseLeaseKey(l.Key), "look after a creation")
		if taken != nil {
			cs.locks.Unlock(ctx, taken)
			continue
		}
		if err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
			return nil, err
		}
		if err == nil || cs.now().Before(l.Expires) { // without the right to write, the time decides
			return &l.Holder, nil
		}
	}
	return nil, nil
}

// origin says where a thing was made, as far as is known.
func (t thing) origin() string {
	if t.made.At.IsZero() {
		return configuration(t.owner) + " made it"
	}
	return fmt.Sprintf("%s made it for %s on %s at %s", t.made.By, configuration(t.owner), t.made.Host, instant(t.made.At))
}

func configuration(owner string) string {
	if strings.HasPrefix(owner, "penstock ") { // a command of this program
		return "`" + owner + "`"
	}
	return "the configuration in " + owner
}

func instant(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }
