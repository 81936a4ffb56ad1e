// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
)

// cleanUpTimeout bounds what is done after a failure or a cancel.
const cleanUpTimeout = 5 * time.Minute

// Check implements pipeline.Fleets.
func (p *Platform) Check(e pipeline.EnvironmentSpec) error {
	if e.Rule != nil {
		if err := fleet.CheckRule(e.Rule, p.stack.Config.Region); err != nil {
			return err
		}
	}
	return fleet.Check(e)
}

// CheckLaunch implements pipeline.Platform. AWS is asked once for each type of instances.
func (p *Platform) CheckLaunch(ctx context.Context, image, instanceType string, volume *pipeline.Volume) error {
	return p.instances.Fits(ctx, image, instanceType, volume)
}

// Foresee implements pipeline.Fleets, with five requests at most: one of a new environment.
func (p *Platform) Foresee(ctx context.Context, f pipeline.Foresight) (string, error) {
	carried, err := p.fleets.Foresee(ctx, f)
	if pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
		return "", nil
	}
	return carried, err
}

// CheckService implements pipeline.Fleets.
func (p *Platform) CheckService(s pipeline.Service) error { return fleet.CheckService(s) }

// Prepare implements pipeline.Fleets.
func (p *Platform) Prepare(ctx context.Context, r pipeline.FleetRequest) (f pipeline.Fleet, err error) {
	ctx, err = p.fenced(ctx)
	if err != nil {
		return f, err
	}
	if err := fleet.CheckRequest(r); err != nil {
		return f, err
	}
	defer func() {
		if err == nil {
			return
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
		defer cancel()
		if failed := p.Discard(undo, r.Environment, r.Fleet); failed != nil {
			err = fmt.Errorf("%w; and then: %w", err, failed)
		}
	}()
	return p.fleets.For(r).Prepare(ctx, &r)
}

// Shift implements pipeline.Fleets.
func (p *Platform) Shift(ctx context.Context, environment, fleet string, t pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	ctx, env, err := p.environment(ctx, environment)
	if err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	endpoint, err := env.Shift(ctx, fleet, t)
	if err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	reports, err := p.Describe(ctx, environment)
	if err != nil { // the traffic has gone over all the same
		p.stack.Logger.Warn("read environment", "environment", environment, "error", err)
		return pipeline.EnvironmentReport{ID: environment, Status: pipeline.EnvRunning, Serving: fleet, Endpoint: endpoint}, nil
	}
	return reports[environment], nil
}

// environment returns an environment as it is, to change it under the platform's fences.
func (p *Platform) environment(ctx context.Context, id string) (context.Context, fleet.Environment, error) {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return ctx, nil, err
	}
	env, err := p.fleets.Of(ctx, id)
	return ctx, env, err
}

// Discard implements pipeline.Fleets.
func (p *Platform) Discard(ctx context.Context, environment, fleet string) error {
	ctx, env, err := p.environment(ctx, environment)
	if err != nil {
		return err
	}
	last, err := env.Discard(ctx, fleet)
	if err != nil || !last {
		return err
	}
	return p.Destroy(ctx, environment)
}

// Resize implements pipeline.Fleets.
func (p *Platform) Resize(ctx context.Context, environment string, to pipeline.Size) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	if to.Instances < 1 {
		return pipeline.Errorf(pipeline.CodeInvalid, "resize environment", "instances %d is less than 1", to.Instances).WithHint("Set instances to 1 or more.")
	}
	env, err := p.fleets.Of(ctx, environment)
	if err != nil {
		return err
	}
	return env.Resize(ctx, to)
}

// Ringing implements pipeline.Fleets.
func (p *Platform) Ringing(ctx context.Context, alarms []string) ([]string, error) {
	return p.fleets.Ringing(ctx, alarms)
}

// Trust implements pipeline.Fleets. Check refuses what would need it.
func (p *Platform) Trust(context.Context, string, []string) error {
	return fleet.Check(pipeline.EnvironmentSpec{TrustedProxies: []string{}})
}
