// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// rollbackDepth is how many earlier builds of a persistent stage are retained beside the one
// that it runs: a rollback goes one back, and sometimes that was bad too.
const rollbackDepth = 2

// Garbage is what a collection removes, or would.
type Garbage struct {
	Builds       []string `json:"builds"`
	Images       []string `json:"images"`
	Bakes        []string `json:"bakes"` // by run, that left something on the platform
	Artifacts    []string `json:"artifacts"`
	Environments []string `json:"environments"` // of failed runs that were kept, of dead runs, or that no record names
	WorkDirs     []string `json:"work_dirs"`
	Archives     []string `json:"archives"` // of pipelines that were removed, expired
}

// Request says what to collect.
type Request struct {
	Pipeline string // empty means all
	DryRun   bool
	Kept     bool // end environments that were kept after a failure, too
}

// Collect removes builds beyond what the pipelines retain, with their images, artifacts and
// logs, and what dead runs left. It never removes what is in use, or what a rollback may
// need. While a run is under way anywhere, it leaves files alone that no record names, as the
// run may be about to record them. It releases the leases of processes that have died.
func (c *Collector) Collect(ctx context.Context, r Request) (Garbage, error) {
	var g Garbage
	var unended []error
	c.states.AskAgain()
	all, err := c.states.All(ctx)
	if err != nil {
		return g, err
	}
	if _, ok := all[r.Pipeline]; r.Pipeline != "" && !ok {
		return g, state.NoPipeline(r.Pipeline)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		st := all[name]
		if r.Pipeline != "" && name != r.Pipeline {
			continue
		}
		if err := c.collectBuilds(ctx, st, r.DryRun, &g); err != nil {
			return g, err
		}
		if err := c.collectEnvironments(ctx, st, r, &g); err != nil {
			unended = append(unended, err) // which keeps nothing else
		}
	}
	if r.Pipeline == "" {
		if err := c.collectOrphans(ctx, r.DryRun, &g); err != nil {
			return g, err
		}
		if err := c.collectPackDirs(ctx, r.DryRun, &g); err != nil {
			return g, err
		}
		if err := c.collectArchives(ctx, r.DryRun, &g); err != nil {
			return g, err
		}
		if !r.DryRun {
			if err := c.purgeRemoved(ctx); err != nil {
				return g, err
			}
		}
	}
	err = c.withNothingRunning(ctx, nil, func(ctx context.Context, all lock.Several) error {
		if err := c.orphans(ctx, all, &g); err != nil || r.DryRun {
			return err
		}
		return c.removeOrphans(ctx, all, g)
	})
	slices.Sort(g.Builds)
	if err == nil && !r.DryRun {
		err = c.giveUpLeases(ctx, r.Pipeline)
	}
	return g, errors.Join(append(unended, err)...)
}

// leaseGrace is how long a lease may have expired before it is garbage: its holder may only
// have been asleep, or cut off, and goes on with it if nobody else has taken it.
const leaseGrace = time.Hour

// giveUpLeases releases the leases of a pipeline (of all with "") whose holders have died.
// Their unfinished work is recorded elsewhere.
func (c *Collector) giveUpLeases(ctx context.Context, pipelineName string) error {
	leases, err := c.ledger.Leases(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, l := range leases {
		key := pipeline.ParseLeaseKey(l.Key)
		expired := c.now().Sub(l.Expires)
		if pipelineName != "" && key.Pipeline != pipelineName || l.Holder.Process == c.process || expired >= 0 && expired < leaseGrace {
			continue
		}
		_, taken, err := c.locks.Try(ctx, key, "collection of garbage")
		if err != nil {
			return fmt.Errorf("take lease %s: %w", l.Key, err)
		}
		if taken != nil {
			c.locks.Unlock(ctx, taken)
		}
	}
	return nil
}

// Quietly collects after a successful apply. A failure is no reason to fail the apply. own is
// the caller's lease.
func (c *Collector) Quietly(ctx context.Context, st *pipeline.State, own *lock.Lock) {
	var g Garbage
	err := c.endModules(ctx, st)
	if err == nil {
		err = c.collectBuilds(ctx, st, false, &g)
	}
	if err == nil && len(g.Builds) > 0 {
		err = c.Sweep(ctx, own)
	}
	if err == nil {
		err = c.giveUpLeases(ctx, st.Pipeline.Name)
	}
	if err == nil && c.looked.CompareAndSwap(false, true) {
		err = c.collectArchives(ctx, false, &g)
	}
	if err != nil {
		c.logger.Warn("collect garbage", "pipeline", st.Pipeline.Name, "error", err)
	}
}

// collectBuilds removes the records of builds that are not retained, and their logs.
func (c *Collector) collectBuilds(ctx context.Context, st *pipeline.State, dryRun bool, g *Garbage) error {
	keep := retained(st)
	for _, b := range st.BuildsNewestFirst() {
		if keep[b.ID] {
			continue
		}
		g.Builds = append(g.Builds, b.ID)
		if dryRun {
			continue
		}
		gone := st.KeysOfBuild(b.ID)
		version := map[pipeline.Key]int64{{Kind: pipeline.RecordBuild, ID: b.ID}: st.Version(pipeline.RecordBuild, b.ID)}
		err := c.states.AppendExpecting(ctx, st.Pipeline.Name, nil, version, pipeline.Event{Kind: pipeline.BuildCollected, Facts: pipeline.Facts{Gone: gone}})
		if pipeline.CodeOf(err) == pipeline.CodeConflict {
			continue // somebody works on it
		}
		if err != nil {
			return err
		}
		err = c.states.EachRun(ctx, st.Pipeline.Name, pipeline.RunQuery{Build: b.ID}, func(r pipeline.RunSummary) error {
			return c.logs.Remove(ctx, st.Pipeline.Name, r.ID)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// retained returns the builds of the pipeline that must stay: the newest ones, and those that
// are in use, wanted, or needed for a rollback.
func retained(st *pipeline.State) map[string]bool {
	keep := map[string]bool{}
	for i, b := range st.BuildsNewestFirst() {
		if i < st.Pipeline.Retained() {
			keep[b.ID] = true
		}
	}
	for _, current := range st.Current {
		keep[current.Build] = true
	}
	for _, s := range st.Stages {
		keep[s.Pin] = true
		if s.Persistent() {
			for _, build := range lastPassed(st, s.Name, rollbackDepth+1) {
				keep[build] = true
			}
		}
	}
	for _, c := range st.Channels {
		keep[c.Build] = !c.Left || keep[c.Build]
	}
	for _, p := range st.Promotions {
		keep[p.Build] = true
	}
	for _, env := range st.EnvironmentsInOrder() {
		keep[env.Build] = true
	}
	for _, run := range st.Latest {
		if run.Status == pipeline.RunRunning {
			keep[run.Build] = true
		}
	}
	return keep
}

// lastPassed returns the builds whose runs passed the stage last, at most n of them.
func lastPassed(st *pipeline.State, stage string, n int) []string {
	var runs []pipeline.RunSummary
	for _, verdicts := range st.Results {
		for _, v := range verdicts {
			if v.Stage == stage && v.Status == pipeline.RunPassed {
				runs = append(runs, v)
			}
		}
	}
	slices.SortFunc(runs, func(a, b pipeline.RunSummary) int { return b.EndedAt.Compare(a.EndedAt) })
	var builds []string
	for _, r := range runs {
		if len(builds) < n && !slices.Contains(builds, r.Build) {
			builds = append(builds, r.Build)
		}
	}
	return builds
}

// collectEnvironments ends the environments that dead runs left, removes the records of kept
// ones that have expired and, if asked, ends those that are kept.
func (c *Collector) collectEnvironments(ctx context.Context, st *pipeline.State, r Request, g *Garbage) error {
	left := func(env pipeline.Environment) bool {
		died := env.Status == pipeline.EnvEnding || env.Status == pipeline.EnvLaunching
		return died || env.Purpose == pipeline.ForRun && !env.Alive() || r.Kept && env.Status == pipeline.EnvKept
	}
	var errs []error
	for _, env := range st.EnvironmentsInOrder() {
		if !left(env) {
			continue
		}
		leased, h, err := c.locks.Try(ctx, lock.Environment(env), "collection of garbage")
		if err != nil {
			return err
		}
		if h == nil {
			continue // its run is alive
		}
		now, err := c.states.Fresh(leased, st.Pipeline.Name)
		if err == nil && left(now.Environments[env.ID]) { // and has not been finished meanwhile
			g.Environments = append(g.Environments, env.ID)
			switch env := now.Environments[env.ID]; {
			case r.DryRun:
			case env.Alive():
				err = c.end(leased, h.Lease, env)
			default:
				err = c.EndEnvironment(leased, st.Pipeline.Name, h.Lease, env)
			}
		}
		c.locks.Unlock(ctx, h)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// collectOrphans ends the environments that no record names, and removes what the platform
// has left of others that have ended by themselves. Their records stay.
func (c *Collector) collectOrphans(ctx context.Context, dryRun bool, g *Garbage) error {
	orphans, ended, err := c.orphanedEnvironments(ctx)
	if err != nil {
		return err
	}
	for _, id := range orphans {
		g.Environments = append(g.Environments, id)
		if dryRun {
			continue
		}
		if err := c.platform.Destroy(ctx, id); err != nil {
			return fmt.Errorf("end environment %s: %w", id, err)
		}
		if err := c.modules.Destroy(ctx, id, io.Discard); err != nil {
			return fmt.Errorf("end environment %s: %w", id, err)
		}
	}
	for _, env := range ended {
		if err := c.clearEnded(ctx, env, dryRun, g); err != nil {
			return err
		}
	}
	return nil
}

// clearEnded removes what is left of an environment that has ended, unless somebody is about
// to launch it again.
func (c *Collector) clearEnded(ctx context.Context, env pipeline.Environment, dryRun bool, g *Garbage) error {
	leased, h, err := c.locks.Try(ctx, lock.Environment(env), "collection of garbage")
	if err != nil || h == nil {
		return err
	}
	defer c.locks.Unlock(ctx, h)
	now, err := c.states.Fresh(leased, env.Pipeline)
	if err != nil {
		return err
	}
	found, ok := now.Environments[env.ID]
	if !ok || found.Alive() && !c.overdue(found) || found.Status != env.Status {
		return nil
	}
	g.Environments = append(g.Environments, env.ID)
	if dryRun {
		return nil
	}
	return c.end(leased, h.Lease, found)
}

// overdue reports whether the time of an environment is over that somebody launches or ends, or
// died at.
func (c *Collector) overdue(env pipeline.Environment) bool {
	working := env.Status == pipeline.EnvLaunching || env.Status == pipeline.EnvEnding
	return working && !env.ExpiresAt.IsZero() && !c.now().Before(env.ExpiresAt)
}

// end ends an environment that nobody works on, under its lease. The record of one that has
// ended by itself stays: the configuration of its owner has it, too. One whose module can't be
// destroyed is listed as ending, with the reason, until it can.
func (c *Collector) end(ctx context.Context, lease pipeline.Lease, env pipeline.Environment) error {
	timed := !env.Alive() || c.overdue(env) && env.Status == pipeline.EnvEnding && env.Purpose == pipeline.ForPerson
	if !timed {
		return c.EndEnvironment(ctx, env.Pipeline, lease, env)
	}
	if err := c.of(env, lease).Destroy(ctx, env.ID); err != nil {
		env.Status = pipeline.EnvEnding
		return c.stays(ctx, lease, env, fmt.Errorf("end %s: %w", env.Describe(), err))
	}
	if env.Module == nil { // what it had may have left a working directory here
		return c.modules.Under(lease.Fence()).Destroy(ctx, env.ID, io.Discard)
	}
	if env.Alive() {
		env.Status = pipeline.EnvExpired
	}
	env.Module, env.Endpoint, env.Reason = nil, "", ""
	return c.states.Append(ctx, env.Pipeline, &lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}})
}

// endModules destroys what modules have made for environments whose time is over. Their
// instances end by themselves; what a module made does not.
func (c *Collector) endModules(ctx context.Context, st *pipeline.State) (err error) {
	var g Garbage
	for _, env := range st.EnvironmentsInOrder() {
		if env.Module != nil && (!env.Alive() || c.overdue(env)) { // one that can't end is in nobody's way
			err = errors.Join(err, c.clearEnded(ctx, env, false, &g))
		}
	}
	return err
}

// Sweep removes the files that no record names, unless a run is under way that is not under
// the caller's own lease (nil: the caller has none).
func (c *Collector) Sweep(ctx context.Context, own *lock.Lock) error {
	return c.withNothingRunning(ctx, own, func(ctx context.Context, all lock.Several) error {
		var g Garbage
		if err := c.orphans(ctx, all, &g); err != nil {
			return err
		}
		return c.removeOrphans(ctx, all, g)
	})
}
