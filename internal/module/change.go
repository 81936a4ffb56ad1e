// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// change is the change of one environment's module, under way.
type change struct {
	m    *Modules
	op   string
	w    *workdir
	site *keptSite
	log  *runlog.Log
	done []pipeline.ModuleChange // by the last apply
}

// change does some work on an environment, alone on this machine, from what is known of it:
// also from what earlier changes left here. The time-out is that of the given inputs, or of
// those that were applied last.
func (m *Modules) change(ctx context.Context, op string, site *keptSite, to io.Writer, in *inputs, work func(context.Context, *change) error) (err error) {
	if err := site.reload(ctx, op); err != nil {
		return err
	}
	log := m.newLog(to, in, site.site)
	defer func() { _ = log.Finish() }()
	if err := site.show(ctx, op); err != nil { // whoever was displaced can't write from now on
		return err
	}
	w, err := m.openWorkdir(ctx, site.environment, log)
	if err != nil {
		return err
	}
	defer w.close()
	if err := site.reload(ctx, op); err != nil { // it may have changed while this waited
		return err
	}
	if err := w.recover(ctx, site, m.config.Now(), log); err != nil {
		return err
	}
	if in == nil {
		in = site.Applied
	}
	var timeout time.Duration
	if in != nil {
		timeout = in.Timeout
	}
	limit, cancel := limited(ctx, timeout)
	defer cancel()
	return work(limit, &change{m: m, op: op, w: w, site: site, log: log})
}

// apply applies a package with inputs. Where kept is not nil, resources that it lacks may be
// destroyed even if they keep data.
func (c *change) apply(ctx context.Context, in *inputs, data []byte, allowDestroy bool, kept map[string]string) error {
	if err := c.w.begin(c.site); err != nil {
		return c.failed(err)
	}
	t, err := c.m.prepare(ctx, c.w, in, func() ([]byte, error) { return data, nil }, c.log)
	if err != nil {
		return err
	}
	plan, err := t.plan(ctx, c.op)
	if err != nil {
		return err
	}
	if lost := losing(plan.changes, c.site.State, kept); len(lost) > 0 && !allowDestroy {
		return refuse(t.of(c.op), lost)
	}
	// The record comes before the first resource, so that none is without one.
	if _, err := c.m.config.Store.Put(ctx, c.site.spot.pack(in.Package), data, ""); err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict {
		return err
	}
	c.site.Applied = in
	if err := c.site.save(ctx, c.op); err != nil {
		return err
	}
	if plan.any {
		if err := c.run(ctx, t, t.applyArgs()...); err != nil {
			return err
		}
	}
	c.op, c.done = t.of(c.op), plan.changes
	return c.applied(ctx)
}

// applied records that what is under way has ended well.
func (c *change) applied(ctx context.Context) error {
	state, _ := readState(c.site.State)
	c.site.Outputs = state.Outputs
	if c.site.Outputs == nil {
		c.site.Outputs = map[string]output{}
	}
	if err := c.site.save(ctx, c.op); err != nil {
		return err
	}
	return errors.Join(c.failed(removeFile(c.w.journal())), c.m.tidy(ctx, c.site))
}

// destroy destroys what there is, and forgets the environment.
func (c *change) destroy(ctx context.Context) error {
	if state, _ := readState(c.site.State); len(state.Resources) > 0 {
		if c.site.Applied == nil {
			return pipeline.Errorf(pipeline.CodeCorrupt, c.op, "environment %s has resources, but there is no record of how they were made", c.site.environment)
		}
		if err := c.w.begin(c.site); err != nil {
			return c.failed(err)
		}
		content := func() ([]byte, error) { return c.m.storedPackage(ctx, c.site.spot, c.site.Applied.Package) }
		t, err := c.m.prepare(ctx, c.w, c.site.Applied, content, c.log)
		if err != nil {
			return err
		}
		if err := c.run(ctx, t, t.destroyArgs()...); err != nil {
			return err
		}
		if state, _ := readState(c.site.State); len(state.resources()) > 0 {
			return pipeline.Errorf(pipeline.CodeFailed, c.op, "resources are left: %s", quoted(lacking(state, tfstate{})))
		}
	}
	store := c.m.config.Store
	keys, err := store.List(ctx, c.site.spot.packages())
	for _, key := range keys {
		err = errors.Join(err, store.Delete(ctx, key))
	}
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, c.site.spot.site()); err != nil {
		return err
	}
	return c.failed(c.w.erase())
}

// failed makes an error of this machine one of the change.
func (c *change) failed(err error) error {
	if err == nil {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeFailed, c.op, "%w", err)
}

// run runs a command that changes resources. While it runs, and when it has ended, its state
// goes into the store.
func (c *change) run(ctx context.Context, t *terraform, args ...string) error {
	if err := c.w.load(c.site.State); err != nil {
		return c.failed(err)
	}
	defer func() { _ = removeFile(c.w.ballast()) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done, saved := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(saved)
		c.follow(ctx, done, stop)
	}()
	err := t.change(ctx, c.op, args...)
	close(done)
	<-saved
	if saveErr := c.saveLast(ctx); saveErr != nil {
		if ctx.Err() == nil || pipeline.CodeOf(saveErr) == pipeline.CodeLeaseLost {
			err = errors.Join(saveErr, err)
		}
	}
	return err
}

// follow stores the state whenever it has changed, until done. Who was displaced ends what is
// under way.
func (c *change) follow(ctx context.Context, done <-chan struct{}, stop context.CancelCauseFunc) {
	tick := time.NewTicker(c.m.config.SaveEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if err := c.lighten(); err != nil {
			stop(err) // and goes on to store what Terraform writes
		}
		err := c.saveState(context.WithoutCancel(ctx))
		if err == nil && n%lookEvery == 0 {
			err = c.displaced(context.WithoutCancel(ctx))
		}
		switch {
		case err == nil:
		case pipeline.CodeOf(err) == pipeline.CodeLeaseLost || pipeline.CodeOf(err) == pipeline.CodeConflict:
			stop(err)
			return
		default:
			c.m.config.Logger.Warn("store state of module", "environment", c.site.environment, "error", err)
		}
	}
}

// lookEvery is after how many looks at the state one goes to the store, whether or not there
// is something to store: nobody else tells who was displaced.
const lookEvery = 5

// displaced reports whether another process has taken over.
func (c *change) displaced(ctx context.Context) error {
	present, version, err := load(ctx, c.m.config.Store, c.site.spot)
	if err != nil || version == c.site.version {
		return err
	}
	for _, f := range c.site.fences {
		if newest := present.Fences[f.Key]; f.Token < newest {
			return pipeline.LeaseLost(c.op, f, newest)
		}
	}
	return nil
}

// saveState stores the state if it has changed.
func (c *change) saveState(ctx context.Context) error {
	state := c.w.newest()
	if state == nil || bytes.Equal(state, c.site.State) {
		return nil
	}
	before := c.site.State
	c.site.State = state
	err := c.site.save(ctx, c.op)
	if err != nil {
		c.site.State = before
	}
	return err
}

// saveLast stores the last state, also when ctx has ended. Where that can't be done, it stays
// in the working directory, and the next change on this machine stores it.
func (c *change) saveLast(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.m.config.SaveWait)
	defer cancel()
	err := poll.Until(ctx, poll.Schedule{First: 200 * time.Millisecond, Max: 5 * time.Second, Factor: 2, What: "the store of states"}, func(ctx context.Context) (poll.Probe, error) {
		err := c.saveState(ctx)
		switch pipeline.CodeOf(err) {
		case pipeline.CodeLeaseLost, pipeline.CodeConflict:
			return poll.Probe{}, err
		}
		return poll.Probe{Done: err == nil}, poll.Retryable(err)
	})
	if err == nil || pipeline.CodeOf(err) == pipeline.CodeLeaseLost {
		return err
	}
	return pipeline.Errorf(pipeline.CodeFailed, c.op, "its state could not be stored, and is in %s: %w", c.w.state(), err).
		WithHint("Try again on this machine when the store can be reached: that stores it. Don't remove the file.")
}
