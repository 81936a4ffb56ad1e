// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// withNothingRunning calls f while no run that makes images or artifacts is under way, except
// the caller's own (nil: none). While f runs, such a run can begin only under a lease that is
// not among those that f gets. If one is under way already, it does nothing.
func (c *Collector) withNothingRunning(ctx context.Context, own *lock.Lock, f func(ctx context.Context, all lock.Several) error) error {
	all, err := c.states.All(ctx)
	if err != nil {
		return err
	}
	held := lock.Several{}
	if own != nil {
		held[pipeline.ParseLeaseKey(own.Lease.Key)] = own
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, key := range makers(name, all[name]) {
			if held[key] != nil {
				continue
			}
			leased, h, err := c.locks.Try(ctx, key, "collection of garbage")
			if err != nil || h == nil {
				return err
			}
			defer c.locks.Unlock(ctx, h)
			ctx, held[key] = leased, h
		}
	}
	return lock.LostOr(ctx, f(ctx, held))
}

// makers returns the lease keys of everything that makes images and artifacts.
func makers(name string, st *pipeline.State) []pipeline.LeaseKey {
	var keys []pipeline.LeaseKey
	for _, s := range st.Stages {
		if s.Bake || s.Artifact != "" || s.Type == pipeline.TypeCommit { // which stores a module
			keys = append(keys, lock.Stage(name, s.Name))
		}
	}
	for _, r := range st.ImageDefinitions {
		keys = append(keys, lock.Image(name, r.Name))
	}
	slices.SortFunc(keys, pipeline.LeaseKey.Compare) // all take them in one order
	return keys
}

// orphans finds the images and artifacts that nothing needs, and the bakes and work
// directories of runs that have ended, and adds them to g. It adds nothing if there is a new
// maker whose lease is not among those held. It lists what exists first, because makers are
// recorded before they make anything.
func (c *Collector) orphans(ctx context.Context, held lock.Several, g *Garbage) error {
	existing, err := c.platform.Images(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	bakes, halves, err := c.platform.Orphans(ctx)
	if err != nil {
		return fmt.Errorf("list what is left of bakes and images: %w", err)
	}
	stored, err := c.artifacts.List(ctx)
	if err != nil {
		return fmt.Errorf("list artifacts: %w", err)
	}
	c.states.AskAgain()
	all, err := c.states.All(ctx)
	if err != nil {
		return err
	}
	for name, st := range all {
		if slices.ContainsFunc(makers(name, st), func(key pipeline.LeaseKey) bool { return held[key] == nil }) {
			return nil
		}
	}
	uses := Uses(all)
	for _, image := range existing {
		if len(uses[image.ID]) == 0 {
			g.Images = append(g.Images, image.ID)
		}
	}
	g.Images = append(g.Images, halves...)
	for _, digest := range stored {
		if len(uses[digest]) == 0 {
			g.Artifacts = append(g.Artifacts, digest)
		}
	}
	if g.Bakes, err = c.ended(ctx, bakes); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.workDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list work directories: %w", err)
	}
	var runs []string
	for _, entry := range entries {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), pipeline.RunPrefix) { // nothing else is a run's
			runs = append(runs, entry.Name())
		}
	}
	g.WorkDirs, err = c.ended(ctx, runs)
	return err
}

// ended returns those of the runs that have ended or are unknown.
func (c *Collector) ended(ctx context.Context, runs []string) (dead []string, err error) {
	for _, id := range runs {
		run, err := c.ledger.Run(ctx, "", id)
		switch {
		case pipeline.IsNotFound(err) || err == nil && run.Status.Final():
			dead = append(dead, id)
		case err != nil:
			return nil, err
		}
	}
	return dead, nil
}

// removeOrphans removes the records of images first: an image without a record is found
// again, but a record without an image would promise what is gone.
func (c *Collector) removeOrphans(ctx context.Context, held lock.Several, g Garbage) error {
	platform := c.under(held.Leases()...)
	all, err := c.states.All(ctx)
	if err != nil {
		return err
	}
	for _, id := range g.Images {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if _, ok := all[name].Images[id]; !ok {
				continue
			}
			err := c.states.Append(ctx, name, nil, pipeline.Event{Kind: pipeline.ImageRemoved, Facts: pipeline.Facts{
				Gone: []pipeline.Key{{Kind: pipeline.RecordImage, ID: id}},
			}})
			if err != nil {
				return err
			}
		}
		if err := platform.RemoveImage(ctx, id); err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict {
			return fmt.Errorf("remove image %s: %w", id, err)
		}
	}
	for _, token := range g.Bakes {
		if err := platform.Abandon(ctx, token); err != nil {
			return fmt.Errorf("clear the bake of run %s: %w", token, err)
		}
	}
	for _, digest := range g.Artifacts {
		if err := c.artifacts.Remove(ctx, digest); err != nil {
			return fmt.Errorf("remove artifact %s: %w", digest, err)
		}
	}
	for _, run := range g.WorkDirs {
		if err := workplace.RemoveTree(filepath.Join(c.workDir, run)); err != nil {
			return fmt.Errorf("remove work directory of run %s: %w", run, err)
		}
	}
	return nil
}

// orphanedEnvironments returns the environments of the ledger's own place that no pipeline has
// a record of, and the records of those that have ended and of which a platform has something
// left, wherever that is. The record comes first, so nobody is about to write one. At other
// places there may be environments of other ledgers, so that one without a record is nobody's
// garbage there.
func (c *Collector) orphanedEnvironments(ctx context.Context) (orphans []string, ended []pipeline.Environment, err error) {
	reports, err := c.platform.Describe(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("describe environments: %w", err)
	}
	applied, err := c.modules.Environments(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list the environments that modules made: %w", err)
	}
	for _, id := range applied {
		if _, there := reports[id]; !there {
			reports[id] = pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone}
		}
	}
	c.states.AskAgain()
	all, err := c.states.All(ctx)
	if err != nil {
		return nil, nil, err
	}
	elsewhere := c.elsewhere(ctx, all)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, env := range all[name].EnvironmentsInOrder() {
			report, there := reports[env.ID]
			if !env.Target.Home() {
				report, there = elsewhere[env.ID]
			}
			left := slices.Contains(applied, env.ID) || report.Status == pipeline.EnvGone
			if there && left && !env.Alive() {
				ended = append(ended, env)
			}
			delete(reports, env.ID)
		}
	}
	return slices.Sorted(maps.Keys(reports)), ended, nil
}

// elsewhere reports on the environments at other places than the ledger's own. A place that
// can't be asked keeps what it has until the next collection.
func (c *Collector) elsewhere(ctx context.Context, all map[string]*pipeline.State) map[string]pipeline.EnvironmentReport {
	reports, asked := map[string]pipeline.EnvironmentReport{}, map[pipeline.Target]bool{}
	for _, st := range all {
		for _, target := range st.Places() {
			if asked[target.Place()] {
				continue
			}
			asked[target.Place()] = true
			there, err := c.places.At(target).Describe(ctx)
			if err != nil {
				c.logger.Warn("look for what environments have left", "place", target.Describe(), "error", err)
			}
			maps.Copy(reports, there)
		}
	}
	return reports
}
