// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var errKilled = errors.New("the process was killed")

// world is everything outside the engine, in memory. It outlives the processes
// that work on it. A process can be killed at its nth call that changes the world,
// before or after the effect; from then on none of its calls has an effect.
type world struct {
	mu        sync.Mutex
	clock     time.Time
	record    *ledgertest.Memory
	images    map[string]int64
	envs      map[string]*memEnv
	fences    map[string]int64 // highest token of each lease
	artifacts map[string][]byte
	logs      map[string]*bytes.Buffer
	published map[string]pipeline.Publication // by image
	names     map[string]memName              // of channels, each with its region
	watch     func()                          // called after each change
	builders  map[string]bool                 // by token of their bake
	snapshots map[string]bool                 // of images that are half removed
	form      form                            // of the module that makes environments
	sites     map[string]*memSite             // by environment
	planned   []pipeline.ModuleRequest        // of modules
	planFails error
	stuck     string                          // environment whose module can't be destroyed
	checked   []string                        // environments that were checked for drift
	drifted   []pipeline.ModuleChange         // what such a check finds
	unchecked error                           // of such a check
	seenBy    map[string]pipeline.StepRequest // by command: what it was run with
	prepared  int                             // fleets brought up
	shifted   int
	alarmed   bool              // no fleet keeps the traffic
	failsAt   string            // "target/build" that never becomes healthy
	stepFails string            // name of a step that fails once
	ringing   []string          // alarms
	down      map[string]bool   // targets that can't be opened
	onShift   func(*memEnv)     // called once a fleet of a target has the traffic
	reused    string            // the fleet that Prepare takes again, instead of a new one
	unhealthy map[string]bool   // artifact digests whose service never becomes healthy
	stepRuns  map[string]int    // by command
	hooked    []string          // what hooks did, in order
	during    map[string]func() // by command or step: called while a step runs
}

// memName is what a name leads to, and whose it is.
type memName struct{ image, build, owner string }

type memEnv struct {
	serving, pending string
	requests         map[string]pipeline.FleetRequest
	installed        map[string]string // image that a fleet's installed state would bake to
	instances        int
	port             int
	expires          time.Time
	degraded         bool
	ended            bool // and something of it is left
	proxies          []string
}

func newWorld() *world {
	return &world{
		clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), record: &ledgertest.Memory{},
		images: map[string]int64{"img-base": 1}, envs: map[string]*memEnv{}, fences: map[string]int64{}, artifacts: map[string][]byte{},
		logs: map[string]*bytes.Buffer{}, published: map[string]pipeline.Publication{}, names: map[string]memName{}, builders: map[string]bool{}, snapshots: map[string]bool{}, unhealthy: map[string]bool{}, stepRuns: map[string]int{}, during: map[string]func(){},
		form: noModule, sites: map[string]*memSite{}, seenBy: map[string]pipeline.StepRequest{},
	}
}

// copied returns a copy of w that is independent of it.
func (w *world) copied() *world {
	c := newWorld()
	c.clock, c.prepared, c.shifted = w.clock, w.prepared, w.shifted
	c.record = w.record.Clone()
	for id, env := range w.envs {
		e := *env
		e.requests, e.installed = maps.Clone(env.requests), maps.Clone(env.installed)
		c.envs[id] = &e
	}
	c.form, c.drifted = w.form, w.drifted
	for id, site := range w.sites {
		s := *site
		c.sites[id] = &s
	}
	for id, log := range w.logs {
		c.logs[id] = bytes.NewBuffer(bytes.Clone(log.Bytes()))
	}
	c.fences, c.hooked = maps.Clone(w.fences), slices.Clone(w.hooked)
	c.images, c.artifacts, c.published, c.names = maps.Clone(w.images), maps.Clone(w.artifacts), maps.Clone(w.published), maps.Clone(w.names)
	c.unhealthy, c.stepRuns, c.during = maps.Clone(w.unhealthy), maps.Clone(w.stepRuns), maps.Clone(w.during)
	return c
}

// life is one process working on the world.
type life struct {
	*world
	pid    int
	dir    string // where lists are given from
	calls  int    // changing calls so far
	limit  int    // killed, or cancelled, at this call; 0 for never
	after  bool
	cancel context.CancelFunc // what limit does; nil: it kills
	dead   bool
}

// do makes a changing call.
func (l *life) do(ctx context.Context, effect func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errKilled
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.calls++
	l.clock = l.clock.Add(time.Second)
	defer func() {
		if l.watch != nil {
			l.watch()
		}
	}()
	if l.calls != l.limit {
		return effect()
	}
	if l.cancel != nil {
		l.cancel()
		if ctx.Err() == nil {
			return effect()
		}
		if l.after {
			_ = effect() // the caller does not hear of it
		}
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: "call", Err: ctx.Err()}
	}
	l.dead = true
	if l.after {
		_ = effect()
	}
	return errKilled
}

// look makes a reading call.
func (l *life) look(read func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errKilled
	}
	return read()
}

// memLedger is a process's way to the world's ledger. A process takes over from those before
// it: the tests have one living process at a time, except for those that give several the
// same ID.
type memLedger struct{ *life }

func (l memLedger) ledger() pipeline.Ledger {
	return l.record.Open(ledgertest.Options{
		Now:  func() time.Time { return l.clock }, // with the world locked
		Dead: func(p pipeline.Process) bool { return p.PID != l.pid },
	})
}

func (l memLedger) Append(ctx context.Context, b pipeline.Batch) (sealed []pipeline.Event, err error) {
	return sealed, l.do(ctx, func() error { sealed, err = l.ledger().Append(ctx, b); return err })
}

func (l memLedger) State(ctx context.Context, name string) (st *pipeline.State, err error) {
	return st, l.look(func() error { st, err = l.ledger().State(ctx, name); return err })
}

func (l memLedger) Head(ctx context.Context, name string) (head int64, err error) {
	return head, l.look(func() error { head, err = l.ledger().Head(ctx, name); return err })
}

func (l memLedger) Newest(ctx context.Context, name string) (a pipeline.Anchor, err error) {
	return a, l.look(func() error { a, err = l.ledger().Newest(ctx, name); return err })
}

func (l memLedger) Pipelines(ctx context.Context) (names []string, err error) {
	return names, l.look(func() error { names, err = l.ledger().Pipelines(ctx); return err })
}

func (l memLedger) Removed(ctx context.Context) (names []string, err error) {
	return names, l.look(func() error { names, err = l.ledger().Removed(ctx); return err })
}

func (l memLedger) Run(ctx context.Context, name, id string) (run pipeline.Run, err error) {
	return run, l.look(func() error { run, err = l.ledger().Run(ctx, name, id); return err })
}

func (l memLedger) Runs(ctx context.Context, name string, q pipeline.RunQuery) (page pipeline.RunPage, err error) {
	return page, l.look(func() error { page, err = l.ledger().Runs(ctx, name, q); return err })
}

func (l memLedger) Events(ctx context.Context, name string, after int64, limit int) (events []pipeline.Event, err error) {
	return events, l.look(func() error { events, err = l.ledger().Events(ctx, name, after, limit); return err })
}

func (l memLedger) Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (lease pipeline.Lease, err error) {
	h.PID = l.pid
	return lease, l.do(ctx, func() error { lease, err = l.ledger().Acquire(ctx, key, h, ttl); return err })
}

func (l memLedger) Renew(ctx context.Context, lease pipeline.Lease, ttl time.Duration) (renewed pipeline.Lease, err error) {
	return renewed, l.look(func() error { renewed, err = l.ledger().Renew(ctx, lease, ttl); return err })
}

func (l memLedger) Release(ctx context.Context, lease pipeline.Lease) error {
	return l.do(ctx, func() error { return l.ledger().Release(ctx, lease) })
}

func (l memLedger) Leases(ctx context.Context) (held []pipeline.Lease, err error) {
	return held, l.look(func() error { held, err = l.ledger().Leases(ctx); return err })
}

func (l memLedger) Purge(ctx context.Context, name string) error {
	return l.do(ctx, func() error { return l.ledger().Purge(ctx, name) })
}

// memPlatform refuses changes that carry no lease, and those whose lease was taken over.
type memPlatform struct {
	*life
	by []pipeline.Fence
}

func (p memPlatform) Under(by ...pipeline.Fence) pipeline.Platform {
	p.by = by
	return p
}

// change makes a changing call under the platform's leases.
func (p memPlatform) change(ctx context.Context, op string, effect func() error) error {
	return p.fenced(ctx, op, false, effect)
}

// clear is change for calls that also remove what no record names, so that nobody has a lease
// of it.
func (p memPlatform) clear(ctx context.Context, op string, effect func() error) error {
	return p.fenced(ctx, op, true, effect)
}

func (p memPlatform) fenced(ctx context.Context, op string, clears bool, effect func() error) error {
	return p.do(ctx, func() error {
		if len(p.by) == 0 && !clears {
			return pipeline.Errorf(pipeline.CodeInternal, op, "it is done without a lease")
		}
		for _, by := range p.by {
			if newest := p.fences[by.Key]; by.Token < newest {
				return pipeline.LeaseLost(op, by, newest)
			}
			p.fences[by.Key] = by.Token
		}
		return effect()
	})
}

func (p memPlatform) Bake(ctx context.Context, r pipeline.BakeRequest) (image pipeline.BakedImage, err error) {
	if r.Environment == "" {
		if err := p.change(ctx, "bake", func() error { p.builders[r.Token] = true; return nil }); err != nil {
			return image, err
		}
	}
	return image, p.change(ctx, "bake", func() error {
		delete(p.builders, r.Token)
		image = pipeline.BakedImage{ID: "img-" + r.Name, Size: 1}
		if r.Environment != "" {
			env := p.envs[r.Environment]
			if env == nil {
				return pipeline.Errorf(pipeline.CodeNotFound, "bake", "no environment %s", r.Environment)
			}
			image.ID = env.installed[cmp.Or(env.pending, env.serving)]
		}
		for _, c := range r.Commands {
			if c.Line == "fail" {
				return pipeline.Errorf(pipeline.CodeFailed, "bake", "step %q failed", c.Name)
			}
			image.ID += "-" + c.Line
		}
		p.images[image.ID] = image.Size
		image.Packages = []pipeline.Package{{Name: "image", Version: image.ID}, {Name: "kept", Version: "1"}}
		return nil
	})
}

func (p memPlatform) CheckImage(r pipeline.ImageDefinition) error {
	if r.KMSKey != "" {
		return pipeline.Errorf(pipeline.CodeInvalid, "check", "this platform has no kms_key")
	}
	return nil
}

func (p memPlatform) CheckPublication(r pipeline.Publication) error {
	if len(r.Regions) > 2 {
		return pipeline.Errorf(pipeline.CodeInvalid, "check", "this platform has two regions")
	}
	return nil
}

func (p memPlatform) CheckTargets(context.Context, pipeline.PublishRequest, string) error { return nil }

func (p memPlatform) Publish(ctx context.Context, r pipeline.PublishRequest) (copies map[string]string, err error) {
	return copies, p.change(ctx, "publish", func() error {
		if _, ok := p.images[r.Image]; !ok {
			return pipeline.Errorf(pipeline.CodeNotFound, "publish", "no image %s", r.Image)
		}
		p.published[r.Image] = r.Publication
		copies = map[string]string{"here": r.Image}
		for _, region := range r.Publication.Regions {
			copies[region] = r.Image + "@" + region
		}
		return nil
	})
}

// Point lets a name lead to images, region by region: each is a call of its own.
func (p memPlatform) Point(ctx context.Context, r pipeline.PointRequest) error {
	for _, region := range slices.Sorted(maps.Keys(r.Images)) {
		err := p.change(ctx, "point", func() error {
			n := memName{image: r.Images[region], build: r.Labels.Build, owner: r.Labels.Stage}
			if before, ok := p.names[r.Name+"@"+region]; ok && before.owner != n.owner && !r.Adopt {
				return pipeline.Errorf(pipeline.CodeConflict, "point", "channel %s is of %s", r.Name, before.owner)
			}
			p.names[r.Name+"@"+region] = n
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p memPlatform) Strays(_ context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error) {
	strays := make([]pipeline.Stray, len(pointed))
	return strays, p.look(func() error {
		for i, r := range pointed {
			for _, region := range slices.Sorted(maps.Keys(r.Images)) {
				n, there := p.names[r.Name+"@"+region]
				if !there || n.owner != r.Labels.Stage || n.image != r.Images[region] {
					strays[i] = pipeline.Stray{Region: region, Image: n.image, Foreign: there && n.owner != r.Labels.Stage}
					break
				}
			}
		}
		return nil
	})
}

func (p memPlatform) Unpoint(ctx context.Context, r pipeline.UnpointRequest) error {
	return p.change(ctx, "unpoint", func() error {
		for _, region := range r.Regions {
			key := r.Name + "@" + cmp.Or(region, "here")
			if p.names[key].owner == r.Labels.Stage {
				delete(p.names, key)
			}
		}
		return nil
	})
}

// follow returns what is wrong with what a consumer of the names finds; empty for nothing.
func (w *world) follow() string {
	for key, n := range w.names {
		_, region, _ := strings.Cut(key, "@")
		image, _, _ := strings.Cut(n.image, "@")
		_, exists := w.images[image]
		switch placed, ok := w.published[image]; {
		case !exists, !ok, region != "here" && !slices.Contains(placed.Regions, region):
			return fmt.Sprintf("name %s leads to %s, which is not there: %+v", key, n.image, placed)
		}
	}
	return ""
}

func (p memPlatform) Resolve(_ context.Context, from pipeline.ImageFrom) (string, error) {
	return from.Image, nil
}

func (p memPlatform) Abandon(ctx context.Context, token string) error {
	return p.clear(ctx, "abandon", func() error { delete(p.builders, token); return nil })
}

func (p memPlatform) Orphans(context.Context) (bakes, images []string, err error) {
	return bakes, images, p.look(func() error {
		bakes, images = slices.Collect(maps.Keys(p.builders)), slices.Collect(maps.Keys(p.snapshots))
		return nil
	})
}

func (p memPlatform) Images(context.Context) (images []pipeline.BakedImage, err error) {
	return images, p.look(func() error {
		for id, size := range p.images {
			images = append(images, pipeline.BakedImage{ID: id, Size: size})
		}
		return nil
	})
}

func (p memPlatform) RemoveImage(ctx context.Context, id string) error {
	err := p.clear(ctx, "remove image", func() error {
		if _, ok := p.images[id]; ok {
			p.snapshots[id] = true
		}
		delete(p.images, id)
		return nil
	})
	if err != nil {
		return err
	}
	return p.clear(ctx, "remove image", func() error { delete(p.snapshots, id); return nil })
}

func (p memPlatform) Prepare(ctx context.Context, r pipeline.FleetRequest) (fleet pipeline.Fleet, err error) {
	for _, h := range r.Hooks {
		if p.reused != "" && !h.Again {
			continue
		}
		if err := h.Run(ctx, p.hook(h, r.Env["PENSTOCK_BUILD"], r.Log)); err != nil {
			return fleet, err
		}
	}
	return fleet, p.change(ctx, "prepare", func() error {
		if _, ok := p.images[r.Image]; !ok && r.Image != "" {
			return pipeline.Errorf(pipeline.CodeNotFound, "prepare", "no image %s", r.Image)
		}
		if p.failsAt != "" && p.failsAt == r.Env["PENSTOCK_TARGET"]+"/"+r.Env["PENSTOCK_BUILD"] {
			return pipeline.Errorf(pipeline.CodeFailed, "prepare", "the service never became healthy")
		}
		if p.unhealthy[r.Artifact] || p.unhealthy[r.Image] {
			return pipeline.Errorf(pipeline.CodeFailed, "prepare", "the service never became healthy")
		}
		env := p.envs[r.Environment]
		if env == nil {
			env = &memEnv{installed: map[string]string{}, requests: map[string]pipeline.FleetRequest{}, port: 40000 + len(p.envs)}
			p.envs[r.Environment] = env
		}
		if p.reused != "" {
			r.Fleet = p.reused
		}
		env.pending, env.expires = r.Fleet, r.ExpiresAt
		env.instances = r.Instances
		env.installed[r.Fleet], env.requests[r.Fleet] = r.Image+"+"+r.Artifact, r
		p.prepared++
		fleet = pipeline.Fleet{ID: r.Fleet, Endpoint: "http://test/" + r.Fleet}
		return nil
	})
}

// hook returns what runs a hook. One "fail" fails, as does one "fail BUILD" for a build. Each
// prints how often it has run in the world.
func (p memPlatform) hook(h pipeline.Hook, build string, log io.Writer) pipeline.HookFunc {
	return func(ctx context.Context) (last string, err error) {
		err = p.change(ctx, h.Name, func() error {
			said := strings.TrimPrefix(h.Name, "service.") + " " + build
			if backup := h.Env["PENSTOCK_BACKUP"]; backup != "" {
				said += " " + backup
			}
			if h.From != "" {
				said += " from " + h.Env["PENSTOCK_FROM_ENDPOINT"] + " " + h.Env["PENSTOCK_FROM_COLOUR"]
			}
			p.hooked = append(p.hooked, said)
			if h.Line == "fail" || h.Line == "fail "+build {
				return pipeline.Errorf(pipeline.CodeFailed, "run "+h.Name, "exit status 7")
			}
			p.stepRuns[h.Name]++
			last = fmt.Sprintf("%s-%d", h.Line, p.stepRuns[h.Name])
			return nil
		})
		fmt.Fprintln(log, last)
		return last, err
	}
}

func (p memPlatform) LogCommand(lines int, follow bool) string {
	return fmt.Sprint("log ", lines, follow)
}

func (p memPlatform) Check(e pipeline.EnvironmentSpec) error {
	if e.Address == "refused" {
		return pipeline.Errorf(pipeline.CodeInvalid, "check", "this platform has no such address")
	}
	return nil
}

func (p memPlatform) Shift(ctx context.Context, id, fleet string, t pipeline.Traffic) (report pipeline.EnvironmentReport, err error) {
	return report, p.change(ctx, "shift", func() error {
		env := p.envs[id]
		switch {
		case env == nil || env.pending != fleet && env.serving != fleet:
			return pipeline.Errorf(pipeline.CodeNotFound, "shift", "no fleet %s in %s", fleet, id)
		case p.alarmed:
			return pipeline.Errorf(pipeline.CodeFailed, "shift", "an alarm went off")
		case env.pending == fleet:
			env.serving, env.pending = fleet, ""
			p.shifted++
			if p.onShift != nil {
				p.onShift(env)
			}
		}
		report = p.report(id)
		return nil
	})
}

func (p memPlatform) report(id string) pipeline.EnvironmentReport {
	env := p.envs[id]
	switch {
	case env == nil || env.ended:
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone}
	case !env.expires.IsZero() && env.expires.Before(p.clock):
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvExpired}
	}
	status := pipeline.EnvRunning
	if env.degraded {
		status = pipeline.EnvDegraded
	}
	return pipeline.EnvironmentReport{
		ID: id, Status: status, Endpoint: fmt.Sprintf("http://127.0.0.1:%d", env.port),
		Serving: env.serving, Pending: env.pending, Instances: env.instances, Healthy: env.instances, ExpiresAt: env.expires,
	}
}

func (p memPlatform) Discard(ctx context.Context, id, fleet string) error {
	return p.change(ctx, "discard", func() error {
		env := p.envs[id]
		if env != nil && env.pending == fleet {
			env.pending = ""
			if env.serving == "" {
				delete(p.envs, id)
			}
		}
		return nil
	})
}

func (p memPlatform) Resize(ctx context.Context, id string, to pipeline.Size) error {
	return p.change(ctx, "resize", func() error { p.envs[id].instances = to.Instances; return nil })
}

func (p memPlatform) Trust(ctx context.Context, id string, proxies []string) error {
	return p.change(ctx, "trust", func() error { p.envs[id].proxies = proxies; return nil })
}

func (p memPlatform) Ringing(context.Context, []string) ([]string, error)                 { return p.ringing, nil }
func (p memPlatform) Foresee(context.Context, pipeline.Foresight) (string, error)         { return "", nil }
func (p memPlatform) CheckLaunch(context.Context, string, string, *pipeline.Volume) error { return nil }
func (p memPlatform) CheckService(pipeline.Service) error                                 { return nil }

func (p memPlatform) Extend(ctx context.Context, id string, at time.Time) error {
	return p.change(ctx, "extend", func() error { p.envs[id].expires = at; return nil })
}

func (p memPlatform) Exec(ctx context.Context, id, fleet string, c pipeline.Command, log io.Writer) (exit int, err error) {
	defer func() {
		if exit != 0 {
			fmt.Fprintln(log, "the table is locked")
		}
	}()
	return exit, p.do(ctx, func() error {
		p.stepRuns[c.Line]++
		if c.Name == "service.finish" {
			p.hooked = append(p.hooked, "finish "+p.envs[id].requests[fleet].Env["PENSTOCK_BUILD"])
			if c.Line == "fail" {
				exit = 7
			}
		}
		return nil
	})
}

func (p memPlatform) Describe(_ context.Context, ids ...string) (reports map[string]pipeline.EnvironmentReport, err error) {
	return reports, p.look(func() error {
		if len(ids) == 0 {
			ids = slices.Collect(maps.Keys(p.envs))
		}
		reports = map[string]pipeline.EnvironmentReport{}
		for _, id := range ids {
			reports[id] = p.report(id)
		}
		return nil
	})
}

func (p memPlatform) Destroy(ctx context.Context, id string) error {
	return p.clear(ctx, "destroy", func() error { delete(p.envs, id); return nil })
}

// memRunner runs nothing. A command "fail" fails, "fail BUILD" fails for a build,
// and "wait" waits for the context.
type memRunner struct{ *life }

func (memRunner) Survey(context.Context, string, []pipeline.Step) (pipeline.ReportFiles, error) {
	return pipeline.ReportFiles{"surveyed": {}}, nil
}

func (memRunner) Check(pipeline.RunnerKind) error { return nil }

func (m memRunner) Run(ctx context.Context, r pipeline.StepRequest) (pipeline.StepResult, error) {
	result := pipeline.StepResult{Name: r.Step.Name, Status: pipeline.RunPassed}
	if _, surveyed := r.Before["surveyed"]; !surveyed {
		return result, pipeline.Errorf(pipeline.CodeInternal, "run step", "what lies there from before the run is not known")
	}
	if r.Step.Command == "wait" {
		<-ctx.Done()
		return result, &pipeline.Error{Code: pipeline.CodeCancelled, Op: "step", Err: ctx.Err()}
	}
	if r.Step.Command == "print" {
		fmt.Fprintf(r.Log, "%s prints\n%s\n", r.Step.Name, pipeline.StepHeader("second"))
	}
	if f := m.during[r.Step.Name]; f != nil {
		f()
	}
	if f := m.during[r.Step.Command]; f != nil {
		f()
	}
	err := m.do(ctx, func() error {
		m.stepRuns[r.Step.Command]++
		m.seenBy[r.Step.Command] = r
		if r.Step.Name == m.stepFails && r.Step.Name != "" {
			m.stepFails = ""
			result.Status = pipeline.RunFailed
			return pipeline.Errorf(pipeline.CodeFailed, "step", "step %q failed", r.Step.Name)
		}
		if r.Step.Command == "fail" || r.Step.Command == "fail "+r.Env["PENSTOCK_BUILD"] {
			result.Status = pipeline.RunFailed
			return pipeline.Errorf(pipeline.CodeFailed, "step", "step %q failed", r.Step.Name)
		}
		if r.Step.Command == "make" {
			return os.WriteFile(r.Checkout+"/out", []byte(r.Env["PENSTOCK_REVISION"]), 0o600)
		}
		return nil
	})
	return result, err
}

type memSources struct{ *life }

func (memSources) Checkout(_ context.Context, r pipeline.CheckoutRequest) error {
	commit, dir := r.Commit, r.Dir
	return errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(dir+"/rootfs", 0o700), os.WriteFile(dir+"/rootfs/f", []byte(commit), 0o600))
}

func (memSources) Describe(_ context.Context, repository, commit string) (pipeline.Revision, error) {
	return pipeline.Revision{Repository: repository, Commit: commit, Author: "Ada <ada@example.com>"}, nil
}

func (memSources) Compare(_ context.Context, _, from, to string, _ *pipeline.Paths) (pipeline.Comparison, error) {
	return pipeline.Comparison{Ahead: []pipeline.Revision{{Commit: to, Author: "Ada <ada@example.com>"}, {Commit: from + "+", Author: "Eve <eve@example.com>", Committer: "Mallory <mallory@example.com>"}}}, nil
}

type memArtifacts struct{ *life }

func (m memArtifacts) Put(ctx context.Context, path string) (a pipeline.Artifact, err error) {
	return a, m.do(ctx, func() error {
		data, err := os.ReadFile(path)
		a = pipeline.Artifact{Digest: "sha256:" + string(data), Name: "out", Size: int64(len(data))}
		m.artifacts[a.Digest] = data
		return err
	})
}

// Get returns the digest for the path, as the tests identify installed content by it. A list
// is in a file, though.
func (m memArtifacts) Get(_ context.Context, a pipeline.Artifact) (path string, err error) {
	path = a.Digest
	return path, m.look(func() error {
		data, ok := m.artifacts[a.Digest]
		if !ok {
			return pipeline.Errorf(pipeline.CodeNotFound, "get artifact", "%s is gone", a.Digest)
		}
		if !bytes.HasPrefix(data, []byte("[")) {
			return nil
		}
		path = filepath.Join(m.dir, fmt.Sprintf("%x", sha256.Sum256(data)))
		return os.WriteFile(path, data, 0o600)
	})
}

func (m memArtifacts) URL(a pipeline.Artifact) string { return "mem:" + a.Digest }

func (m memArtifacts) Remove(ctx context.Context, digest string) error {
	return m.do(ctx, func() error { delete(m.artifacts, digest); return nil })
}

func (m memArtifacts) List(context.Context) (digests []string, err error) {
	return digests, m.look(func() error { digests = slices.Collect(maps.Keys(m.artifacts)); return nil })
}

type memLogs struct{ *life }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

type nopSeekCloser struct{ io.ReadSeeker }

func (nopSeekCloser) Close() error { return nil }

func (m memLogs) Create(_ context.Context, name, run string) (w io.WriteCloser, err error) {
	return nopCloser{memLog{m, name + "/" + run}}, m.look(func() error {
		if m.logs[name+"/"+run] == nil {
			m.logs[name+"/"+run] = &bytes.Buffer{}
		}
		return nil
	})
}

func (m memLogs) Open(_ context.Context, name, run string) (r io.ReadSeekCloser, err error) {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	log := m.logs[name+"/"+run]
	if log == nil {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read log", "there is none")
	}
	return nopSeekCloser{bytes.NewReader(bytes.Clone(log.Bytes()))}, nil
}

// memLog writes to a log.
type memLog struct {
	memLogs
	key string
}

func (l memLog) Write(p []byte) (int, error) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if log := l.logs[l.key]; log != nil {
		return log.Write(p)
	}
	return len(p), nil
}

func (memLogs) Location(name, run string) string { return name + "/" + run }

func (m memLogs) Remove(ctx context.Context, name, run string) error {
	return m.do(ctx, func() error { delete(m.logs, name+"/"+run); return nil })
}
