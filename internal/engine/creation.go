// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// creations are what this engine has created and no state is known to have yet.
type creations struct {
	mu     sync.Mutex
	leases map[string]*lock                   // by pipeline: others see in them that it lives
	made   map[string]map[pipeline.Key]string // by pipeline: the IDs of what Terraform was told of
}

// created notes that Terraform is told that a thing was created.
func (c *creations) created(pipelineName string, kind pipeline.RecordKind, name, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made[pipelineName] == nil {
		c.made[pipelineName] = map[pipeline.Key]string{}
	}
	c.made[pipelineName][pipeline.CreationKey(kind, name)] = id
}

// creation gives the record of a creation that begins, once others can see that this
// process is alive.
func (e *Engine) creation(ctx context.Context, pipelineName string, kind pipeline.RecordKind, name, id string) (*pipeline.Creation, error) {
	e.creations.mu.Lock()
	defer e.creations.mu.Unlock()
	h := e.creations.leases[pipelineName]
	if h == nil {
		holder := e.Holder
		holder.Purpose, holder.Since = "apply that creates parts of the pipeline", e.Now()
		key := pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseCreation, Name: randomHex(8)}
		lease, err := e.Ledger.Acquire(ctx, key.String(), holder, e.LeaseTTL)
		if err != nil {
			return nil, err
		}
		_, h = e.keep(context.WithoutCancel(ctx), lease)
		e.creations.leases[pipelineName] = h
	}
	return &pipeline.Creation{Kind: kind, Name: name, ID: id, Session: h.lease.Key, Made: e.madeNow()}, nil
}

func (e *Engine) madeNow() pipeline.Made {
	return pipeline.Made{At: e.Now().UTC().Truncate(time.Second), By: e.Holder.Actor, Host: e.Holder.Host}
}

// Settle records that states have what this engine created: from then on it belongs to
// them. Call it when Terraform has ended well.
func (e *Engine) Settle(ctx context.Context) error {
	e.creations.mu.Lock()
	made := e.creations.made
	e.creations.made = map[string]map[pipeline.Key]string{}
	e.creations.mu.Unlock()
	var errs []error
	for name, ids := range made {
		errs = append(errs, e.settle(ctx, name, ids))
	}
	return errors.Join(errs...)
}

// Recorded records that a state has something, where that was not known yet.
func (e *Engine) Recorded(ctx context.Context, st *pipeline.State, kind pipeline.RecordKind, name, id string) error {
	key := pipeline.CreationKey(kind, name)
	if c, pending := st.Creations[key.ID]; !pending || c.ID != id {
		return nil
	}
	return e.settle(ctx, st.Pipeline.Name, map[pipeline.Key]string{key: id})
}

// settle removes the records of creations, by ID, that still stand.
func (e *Engine) settle(ctx context.Context, pipelineName string, ids map[pipeline.Key]string) error {
	st, err := e.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	var gone []pipeline.Key
	var died []pipeline.Creation // or is at work yet
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
	err = e.appendExpecting(ctx, pipelineName, nil, expect, pipeline.Event{Kind: pipeline.CreationRecorded, Facts: pipeline.Facts{Gone: gone}})
	if len(gone) > 1 && pipeline.CodeOf(err) == pipeline.CodeConflict { // one of them is another's by now, or gone
		var errs []error
		for _, key := range gone {
			errs = append(errs, e.settle(ctx, pipelineName, map[pipeline.Key]string{key: ids[key]}))
		}
		return errors.Join(errs...)
	}
	if err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict {
		return err
	}
	for _, c := range died {
		if _, err := e.creator(ctx, c); err != nil { // gives the lease of one that died up
			return err
		}
	}
	return nil
}

// Close gives up the leases that say that this engine creates something.
func (e *Engine) Close(ctx context.Context) {
	e.creations.mu.Lock()
	leases := e.creations.leases
	e.creations.leases = map[string]*lock{}
	e.creations.mu.Unlock()
	for _, h := range leases {
		e.unlock(ctx, h)
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
	Kind     pipeline.RecordKind // pipeline, stage, recipe or environment
	Name     string
	Replaces func(id string) bool // whether the one of an ID goes for it; nil for none
	Advice   string               // what to do where it exists already; empty for what holds everywhere
}

// CheckCreate refuses to create what exists already. It is CodeConflict where the thing
// belongs to the state that recorded it, or was made by no configuration, and CodeHeld while
// another process is creating it. A creation whose process died before a state recorded it is
// taken up by whoever comes next.
//
// It waits for that process as long as one that was killed may seem alive, or may take to
// clean up.
func (e *Engine) CheckCreate(ctx context.Context, st *pipeline.State, r CreateRequest) error {
	name, held := st.Pipeline.Name, e.checkCreate(ctx, st, r)
	if pipeline.CodeOf(held) != pipeline.CodeLocked {
		return held
	}
	decided := false
	limit := poll.Schedule{First: 100 * time.Millisecond, Max: time.Second, Factor: 1.5, Limit: e.LeaseTTL + time.Second, What: "another creation", Jitter: e.Jitter}
	err := poll.Until(ctx, limit, func(ctx context.Context) (poll.Probe, error) {
		now, err := e.fresh(ctx, name)
		if err == nil {
			err = e.checkCreate(ctx, now, r)
		}
		if pipeline.CodeOf(err) == pipeline.CodeLocked {
			held = err
			return poll.Probe{}, poll.Retryable(err)
		}
		decided = ctx.Err() == nil
		return poll.Probe{Done: true}, err
	})
	if decided || ctx.Err() != nil {
		return err
	}
	return held
}

func (e *Engine) checkCreate(ctx context.Context, st *pipeline.State, r CreateRequest) error {
	t, exists := lookUp(st, r.Kind, r.Name)
	if !exists || r.Replaces != nil && r.Replaces(t.id) {
		return nil
	}
	op := "create " + t.noun
	c, pending := st.Creations[pipeline.CreationKey(r.Kind, r.Name).ID]
	if env, _ := st.PersonEnvironment(r.Name); r.Kind == pipeline.RecordEnvironment && !pending && env.Status == pipeline.EnvLaunching {
		return nil // what a launch left that died is whose asks for it
	}
	if !pending {
		if r.Advice == "" {
			r.Advice = "Choose another name, or take it over with `terraform import`."
		}
		return pipeline.Errorf(pipeline.CodeConflict, op, "%s %q exists already; %s", t.noun, r.Name, t.origin()).WithHint("%s", r.Advice)
	}
	other, err := e.creator(ctx, c)
	if err == nil && other != nil {
		err = pipeline.Errorf(pipeline.CodeLocked, op, "%s on %s (process %d) is creating %s %q since %s, for %s",
			other.Actor, other.Host, other.PID, t.noun, r.Name, instant(c.Made.At), configuration(t.owner)).
			WithHint("Wait until that apply has ended. Then it belongs to the state of that configuration.")
	}
	return err
}

// creator gives who is alive and creates what a record says; nil for nobody else. The lease
// of one that died is given up.
func (e *Engine) creator(ctx context.Context, c pipeline.Creation) (*pipeline.Holder, error) {
	leases, err := e.Ledger.Leases(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	for _, l := range leases {
		mine := l.Holder.Process == e.Holder.Process
		if l.Key != c.Session || mine {
			continue
		}
		_, taken, err := e.tryLock(ctx, pipeline.ParseLeaseKey(l.Key), "look after a creation")
		if taken != nil {
			e.unlock(ctx, taken)
			continue
		}
		if err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
			return nil, err
		}
		if err == nil || e.Now().Before(l.Expires) { // who may not write goes by the time
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
