// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// Config is what Modules work with. Dir and Store must be set.
type Config struct {
	Dir      string // for the work on this machine; made if need be
	Store    Store  // of states, inputs and packages
	CacheDir string // of providers, for all modules of this machine; empty: below Dir. The user's own setting of Terraform goes first
	Logger   hclog.Logger
	// Environ returns the variables by which Terraform's providers reach a target; one that is
	// empty is removed. Nil: no target needs any.
	Environ func(context.Context, pipeline.Target) (map[string]string, error)
	Now     func() time.Time
	// Grace is what a cancelled Terraform has to end what is under way; 0 means DefaultGrace.
	Grace time.Duration
	// LockWait bounds the wait for another change of the same environment on this machine;
	// 0 means Grace and a minute more.
	LockWait time.Duration
	// SaveEvery is how often a state is looked at while it may change; 0 means a second.
	SaveEvery time.Duration
	// SaveWait bounds the attempts to store the last state of a change; 0 means a minute.
	SaveWait time.Duration
}

// DefaultGrace is what a cancelled Terraform has to end what is under way. Most providers
// give a request up when they are asked to; what they don't give up is soon done, or lost.
const DefaultGrace = 5 * time.Minute

// Modules applies modules. It is safe for concurrent use: changes of one environment take
// turns, also with those of other processes of this machine.
type Modules struct {
	config Config
	fences []pipeline.Fence
	shared *shared
	free   func(dir string) (bytes int64, known bool) // of its disk
}

// shared is what all Modules that are made from one another have in common.
type shared struct {
	mu       sync.Mutex
	programs map[string]program
}

var _ pipeline.Modules = (*Modules)(nil)

// New returns Modules.
func New(c Config) *Modules {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.LockWait == 0 {
		c.LockWait = c.Grace + time.Minute
	}
	if c.SaveEvery == 0 {
		c.SaveEvery = time.Second
	}
	if c.SaveWait == 0 {
		c.SaveWait = time.Minute
	}
	if abs, err := filepath.Abs(c.Dir); err == nil {
		c.Dir = abs
	}
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(c.Dir, ".providers")
	}
	return &Modules{config: c, shared: &shared{programs: map[string]program{}}, free: freeSpace}
}

// Under implements pipeline.Modules.
func (m *Modules) Under(by ...pipeline.Fence) pipeline.Modules {
	under := *m
	under.fences = slices.Clone(by)
	return &under
}

// Plan implements pipeline.Modules.
func (m *Modules) Plan(ctx context.Context, r pipeline.ModuleRequest) (pipeline.ModulePlan, error) {
	const op = "plan module"
	data, in, err := readRequest(r)
	if err != nil {
		return pipeline.ModulePlan{}, pipeline.During(op, err)
	}
	s, _, err := load(ctx, m.config.Store, spotOf(r.Environment, r.Facts))
	if err != nil {
		return pipeline.ModulePlan{}, err
	}
	in.lend(s.Applied)
	return m.look(ctx, op, s, in, func() ([]byte, error) { return data, nil }, r.Log)
}

// Drift implements pipeline.Modules.
func (m *Modules) Drift(ctx context.Context, environment string, log io.Writer) (pipeline.ModulePlan, error) {
	const op = "look for drift"
	s, _, at, err := find(ctx, m.config.Store, environment)
	if err != nil {
		return pipeline.ModulePlan{}, err
	}
	if s.Applied == nil {
		return pipeline.ModulePlan{}, noModule(op, environment)
	}
	return m.look(ctx, op, s, s.Applied, func() ([]byte, error) { return m.storedPackage(ctx, at, s.Applied.Package) }, log, "-refresh-only")
}

func noModule(op, environment string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "environment %s has no module that was applied", environment)
}

// look plans in a directory of its own, on a copy of the state.
func (m *Modules) look(ctx context.Context, op string, s site, in *inputs, content func() ([]byte, error), to io.Writer, options ...string) (pipeline.ModulePlan, error) {
	ctx, cancel := limited(ctx, in.Timeout)
	defer cancel()
	log := m.newLog(to, in, s)
	defer func() { _ = log.Finish() }()
	w, err := m.scratch(ctx)
	if err != nil {
		return pipeline.ModulePlan{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer w.remove()
	if err := w.begin(&keptSite{site: s}); err != nil {
		return pipeline.ModulePlan{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	t, err := m.prepare(ctx, w, in, content, log)
	if err != nil {
		return pipeline.ModulePlan{}, err
	}
	plan, err := t.plan(ctx, op, options...)
	if err != nil {
		return pipeline.ModulePlan{}, err
	}
	return pipeline.ModulePlan{Changes: plan.changes, Drift: plan.drift}, nil
}

// readRequest reads the package and the inputs of a request.
func readRequest(r pipeline.ModuleRequest) ([]byte, *inputs, error) {
	data, err := readPackage(r.Package)
	if err != nil {
		return nil, nil, err
	}
	in, err := inputsOf(r, digestOf(data))
	return data, in, err
}

// Apply implements pipeline.Modules.
func (m *Modules) Apply(ctx context.Context, r pipeline.ModuleRequest) (pipeline.ModuleOutputs, error) {
	const op = "apply module"
	data, in, err := readRequest(r)
	if err != nil {
		return pipeline.ModuleOutputs{}, pipeline.During(op, err)
	}
	var out pipeline.ModuleOutputs
	site := m.site(r.Environment)
	site.spot = spotOf(r.Environment, r.Facts)
	err = m.change(ctx, op, site, r.Log, in, func(ctx context.Context, c *change) error {
		err := c.apply(ctx, in, data, r.AllowDestroy, nil)
		if err == nil {
			out, err = expandOutputs(c.site.Outputs)
			out.Changes, err = c.done, pipeline.During(c.op, err)
		}
		return err
	})
	return out, err
}

// Revert implements pipeline.Modules.
func (m *Modules) Revert(ctx context.Context, environment string, log io.Writer) error {
	const op = "revert module"
	return m.change(ctx, op, m.site(environment), log, nil, func(ctx context.Context, c *change) error {
		if c.site.Serving == nil {
			return c.destroy(ctx)
		}
		data, err := m.storedPackage(ctx, c.site.spot, c.site.Serving.Package)
		if err != nil {
			return err
		}
		// What was made since it began to serve has nothing that anybody relied on.
		return c.apply(ctx, c.site.Serving, data, false, c.site.Kept)
	})
}

// Destroy implements pipeline.Modules.
func (m *Modules) Destroy(ctx context.Context, environment string, log io.Writer) error {
	return m.change(ctx, "destroy module", m.site(environment), log, nil, func(ctx context.Context, c *change) error { return c.destroy(ctx) })
}

// Keep implements pipeline.Modules.
func (m *Modules) Keep(ctx context.Context, environment string) error {
	const op = "keep module"
	site := m.site(environment)
	if err := site.reload(ctx, op); err != nil {
		return err
	}
	if site.Applied == nil {
		return noModule(op, environment)
	}
	state, _ := readState(site.State)
	site.Serving, site.Kept = site.Applied, state.resources()
	if err := site.save(ctx, op); err != nil {
		return err
	}
	return m.tidy(ctx, site)
}

// Resize implements pipeline.Modules.
func (m *Modules) Resize(ctx context.Context, environment string, instances int, log io.Writer) error {
	const op = "resize module"
	err := m.change(ctx, op, m.site(environment), log, nil, func(ctx context.Context, c *change) error {
		if c.site.Serving == nil {
			return noModule(op, environment)
		}
		data, err := m.storedPackage(ctx, c.site.spot, c.site.Serving.Package)
		if err != nil {
			return err
		}
		in := *c.site.Serving
		in.Facts.Instances = instances
		return c.apply(ctx, &in, data, false, nil)
	})
	if err != nil {
		return err
	}
	return m.Keep(ctx, environment)
}

// Site implements pipeline.Modules.
func (m *Modules) Site(ctx context.Context, environment string) (pipeline.ModuleSite, error) {
	var at pipeline.ModuleSite
	s, _, _, err := find(ctx, m.config.Store, environment)
	if err != nil {
		return at, err
	}
	if s.Applied == nil {
		return at, noModule("read module", environment)
	}
	at.Applied = s.Applied.Fleet
	if s.Serving != nil {
		at.Serving = s.Serving.Fleet
	}
	if s.Outputs != nil {
		at.Outputs, err = expandOutputs(s.Outputs)
	}
	return at, err
}

// Environments implements pipeline.Modules.
func (m *Modules) Environments(ctx context.Context) ([]string, error) {
	var all []string
	for _, kind := range []string{ofPeople, ofStages} {
		keys, err := m.config.Store.List(ctx, kind)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			escaped, ok := strings.CutSuffix(strings.TrimPrefix(key, kind), siteObject)
			if name, err := url.PathUnescape(escaped); ok && err == nil {
				all = append(all, name)
			}
		}
	}
	return sorted(all), nil
}

func (m *Modules) site(environment string) *keptSite {
	return &keptSite{environment: environment, store: m.config.Store, fences: m.fences, writer: rand.Text()}
}

// storedPackage returns a package that is kept with an environment.
func (m *Modules) storedPackage(ctx context.Context, at spot, digest string) ([]byte, error) {
	data, _, err := m.config.Store.Get(ctx, at.pack(digest))
	if pipeline.IsNotFound(err) || err == nil && digestOf(data) != digest {
		return nil, pipeline.Errorf(pipeline.CodeCorrupt, "read package of module", "%s is missing or damaged", at.pack(digest)).
			WithHint("Apply the module once more: that stores its package.")
	}
	return data, err
}

// tidy removes the packages that are not needed any more.
func (m *Modules) tidy(ctx context.Context, site *keptSite) error {
	keys, err := m.config.Store.List(ctx, site.spot.packages())
	if err != nil {
		return err
	}
	for _, key := range keys {
		needed := func(in *inputs) bool { return in != nil && site.spot.pack(in.Package) == key }
		if !needed(site.Applied) && !needed(site.Serving) {
			err = errors.Join(err, m.config.Store.Delete(ctx, key))
		}
	}
	return err
}

// logRoom bounds what one change of a module writes to its log.
const logRoom = 16 << 20

// newLog makes the log of a change. It shows none of what is known to be secret: a secret that
// the module is about to make is Terraform's to hide.
func (m *Modules) newLog(to io.Writer, in *inputs, s site) *runlog.Log {
	secrets := s.secrets()
	if in != nil {
		secrets = append(secrets, in.secrets()...)
	}
	return runlog.New(to, runlog.Options{Hide: pipeline.NewRedactor(secrets...), Room: logRoom})
}

// timedOut is why the context of a module's change ended.
type timedOut struct{ after time.Duration }

func (t *timedOut) Error() string { return fmt.Sprintf("it did not end within %s", t.after) }

func limited(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		timeout = pipeline.DefaultModuleTimeout
	}
	return context.WithTimeoutCause(ctx, timeout, &timedOut{timeout})
}

// ended returns the error of a change whose context ended: what it was doing is named.
func ended(ctx context.Context, op, busy string) error {
	cause := context.Cause(ctx)
	if busy != "" {
		busy = "; it was " + busy
	}
	var late *timedOut
	var own *pipeline.Error // of who ended it
	switch {
	case errors.As(cause, &own):
		return cause
	case errors.As(cause, &late):
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w%s", late, busy).WithHint("Find out why it hangs, or raise the module's time-out.")
	}
	return pipeline.Errorf(pipeline.CodeCancelled, op, "%w%s", cause, busy)
}

// scratch makes a working directory for one look. Those that killed processes left go.
func (m *Modules) scratch(ctx context.Context) (*workdir, error) {
	if err := os.MkdirAll(m.config.Dir, 0o700); err != nil {
		return nil, err
	}
	left, _ := filepath.Glob(filepath.Join(m.config.Dir, scratchPrefix+"*"))
	for _, dir := range left {
		if file, err := os.Open(filepath.Join(dir, "lock")); err == nil {
			if dead, _ := tryLock(file); dead {
				_ = os.RemoveAll(dir)
			}
			_ = file.Close()
		}
	}
	dir, err := os.MkdirTemp(m.config.Dir, scratchPrefix)
	if err != nil {
		return nil, err
	}
	w := &workdir{dir: dir}
	w.lock, err = lockFile(ctx, w.path("lock"), "a new directory")
	return w, err
}

const scratchPrefix = ".scratch-"

func (w *workdir) remove() {
	_ = os.RemoveAll(w.dir)
	w.close()
}
