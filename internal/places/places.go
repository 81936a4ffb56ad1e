// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package places finds the platform that an environment is on: that of the ledger, or that of
// a target elsewhere, which is opened once it is needed:
//
//	there := places.New(platform, targets)
//	report, err := there.At(env.Target).Describe(ctx, env.ID)
//
// Images are made where the ledger is, wherever they are launched. So a platform elsewhere has
// fleets and environments only: all else that it is asked, the one of the ledger answers.
package places

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Places are where environments may be. It is safe for concurrent use.
type Places struct {
	home    pipeline.Platform
	targets pipeline.Targets
}

// New returns the places of a ledger. With nil, all is where the ledger is.
func New(home pipeline.Platform, targets pipeline.Targets) Places { return Places{home, targets} }

// Look returns the platform of a target for who only looks at its environments.
func (p Places) Look(t pipeline.Target) pipeline.Platform {
	if t.Home() {
		return p.home
	}
	return &remote{Platform: p.home, places: p, target: t, looks: true}
}

// At returns the platform of a target. Where it can't be opened, each of its methods says why.
func (p Places) At(t pipeline.Target) pipeline.Platform {
	if t.Home() {
		return p.home
	}
	return &remote{Platform: p.home, places: p, target: t}
}

// Allow refuses, by what is said of them alone, places where no environment can be.
func (p Places) Allow(s pipeline.Siting) error {
	if p.targets != nil {
		return p.targets.Check(s)
	}
	for _, t := range s.At {
		if !t.Home() {
			return noTargets(t)
		}
	}
	return nil
}

// noTargets refuses a target where there are none.
func noTargets(t pipeline.Target) error {
	return pipeline.Errorf(pipeline.CodeInvalid, "open "+t.Describe(), "environments can only be where the ledger is")
}

// Check opens the platform of a target, and says why it can't be.
func (p Places) Check(ctx context.Context, t pipeline.Target) error {
	if t.Home() {
		return nil
	}
	_, err := (&remote{places: p, target: t}).open(ctx)
	return err
}

// Describe reports on environments wherever they are, side by side. One at a place that can't
// be asked is reported as degraded, with the reason: what can't be seen is not taken to be
// gone. That the ledger's own place can't be asked is an error.
func (p Places) Describe(ctx context.Context, environments ...pipeline.Environment) (map[string]pipeline.EnvironmentReport, error) {
	ids := map[pipeline.Target][]string{}
	names := map[pipeline.Target]pipeline.Target{}
	for _, env := range environments {
		place := env.Target.Place()
		ids[place], names[place] = append(ids[place], env.ID), env.Target
	}
	all, errs := map[string]pipeline.EnvironmentReport{}, []error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for place, asked := range ids {
		wg.Go(func() {
			reports, err := p.Look(names[place]).Describe(ctx, asked...)
			mu.Lock()
			defer mu.Unlock()
			for id, report := range reports {
				all[id] = report
			}
			switch {
			case err == nil:
			case place.Home() || ctx.Err() != nil:
				errs = append(errs, err)
			default:
				for _, id := range asked {
					all[id] = pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvDegraded, Reason: fmt.Sprintf("it can't be asked for: %v", err)}
				}
			}
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// remote is the platform of a target. What it has no method for here, the platform of the
// ledger does.
type remote struct {
	pipeline.Platform
	places Places
	target pipeline.Target
	looks  bool // only, with the rights of a reader
	by     []pipeline.Fence
}

// Under implements pipeline.Platform.
func (r *remote) Under(by ...pipeline.Fence) pipeline.Platform {
	under := *r
	under.Platform, under.by = r.places.home.Under(by...), by
	return &under
}

// open opens the platform of the target.
func (r *remote) open(ctx context.Context) (pipeline.Platform, error) {
	if r.places.targets == nil {
		return nil, noTargets(r.target)
	}
	open := r.places.targets.Open
	if r.looks {
		open = r.places.targets.Look
	}
	there, err := open(ctx, r.target)
	if err != nil || len(r.by) == 0 {
		return there, err
	}
	return there.Under(r.by...), nil
}

// do calls f with the platform of the target. Its errors say where they come from.
func do[T any](ctx context.Context, r *remote, f func(pipeline.Platform) (T, error)) (T, error) {
	there, err := r.open(ctx)
	if err != nil {
		var none T
		return none, err
	}
	v, err := f(there)
	if err != nil {
		err = fmt.Errorf("in %s: %w", r.target.Describe(), err)
	}
	return v, err
}

// act is do for what returns nothing.
func (r *remote) act(ctx context.Context, f func(pipeline.Platform) error) error {
	_, err := do(ctx, r, func(p pipeline.Platform) (struct{}, error) { return struct{}{}, f(p) })
	return err
}

// Prepare implements pipeline.Fleets.
func (r *remote) Prepare(ctx context.Context, q pipeline.FleetRequest) (pipeline.Fleet, error) {
	return do(ctx, r, func(p pipeline.Platform) (pipeline.Fleet, error) { return p.Prepare(ctx, q) })
}

// Foresee implements pipeline.Fleets.
func (r *remote) Foresee(ctx context.Context, f pipeline.Foresight) (string, error) {
	return do(ctx, r, func(p pipeline.Platform) (string, error) { return p.Foresee(ctx, f) })
}

// Shift implements pipeline.Fleets.
func (r *remote) Shift(ctx context.Context, environment, fleet string, t pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	return do(ctx, r, func(p pipeline.Platform) (pipeline.EnvironmentReport, error) {
		return p.Shift(ctx, environment, fleet, t)
	})
}

// Discard implements pipeline.Fleets.
func (r *remote) Discard(ctx context.Context, environment, fleet string) error {
	return r.act(ctx, func(p pipeline.Platform) error { return p.Discard(ctx, environment, fleet) })
}

// Resize implements pipeline.Fleets.
func (r *remote) Resize(ctx context.Context, environment string, to pipeline.Size) error {
	return r.act(ctx, func(p pipeline.Platform) error { return p.Resize(ctx, environment, to) })
}

// Ringing implements pipeline.Fleets.
func (r *remote) Ringing(ctx context.Context, alarms []string) ([]string, error) {
	return do(ctx, r, func(p pipeline.Platform) ([]string, error) { return p.Ringing(ctx, alarms) })
}

// Trust implements pipeline.Fleets.
func (r *remote) Trust(ctx context.Context, environment string, proxies []string) error {
	return r.act(ctx, func(p pipeline.Platform) error { return p.Trust(ctx, environment, proxies) })
}

// Extend implements pipeline.Environments.
func (r *remote) Extend(ctx context.Context, environment string, at time.Time) error {
	return r.act(ctx, func(p pipeline.Platform) error { return p.Extend(ctx, environment, at) })
}

// Exec implements pipeline.Environments.
func (r *remote) Exec(ctx context.Context, environment, fleet string, c pipeline.Command, log io.Writer) (int, error) {
	return do(ctx, r, func(p pipeline.Platform) (int, error) { return p.Exec(ctx, environment, fleet, c, log) })
}

// Describe implements pipeline.Environments.
func (r *remote) Describe(ctx context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	return do(ctx, r, func(p pipeline.Platform) (map[string]pipeline.EnvironmentReport, error) {
		return p.Describe(ctx, ids...)
	})
}

// Destroy implements pipeline.Environments. Nothing is left where there can't be anything.
func (r *remote) Destroy(ctx context.Context, environment string) error {
	if r.places.Allow(pipeline.Siting{At: []pipeline.Target{r.target}}) != nil {
		return nil
	}
	return r.act(ctx, func(p pipeline.Platform) error { return p.Destroy(ctx, environment) })
}
