// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package modular completes a platform for an environment whose infrastructure a module makes:
// what becomes of the instances becomes of the module, too. Whoever ends such an environment,
// or takes a deployment back, need not know of the module:
//
//	platform := modular.New(platform, modules, env)
//	err := platform.Discard(ctx, env.ID, fleet) // the module is again what serves
//
// If the module is the environment, it answers in place of instances. The apply of a module is
// a step of its own, with the port: only a run knows what it is to be applied for.
package modular

import (
	"context"
	"io"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Platform is a platform for the environments of one module. It does not implement Under: it
// is made for one change.
type Platform struct {
	pipeline.Platform
	modules pipeline.Modules
	instead bool
	log     io.Writer
}

// New completes a platform for an environment; it returns the platform itself for an
// environment without a module. Both must be under the leases of the change.
func New(platform pipeline.Platform, modules pipeline.Modules, env pipeline.Environment, log io.Writer) pipeline.Platform {
	if env.Module == nil {
		return platform
	}
	if log == nil {
		log = io.Discard
	}
	return &Platform{platform, modules, env.Module.Instead, log}
}

// Prepare implements pipeline.Fleets: the module has been applied, so that the fleet is ready
// if the module is the environment.
func (p *Platform) Prepare(ctx context.Context, r pipeline.FleetRequest) (pipeline.Fleet, error) {
	if !p.instead {
		return p.Platform.Prepare(ctx, r)
	}
	site, err := p.modules.Site(ctx, r.Environment)
	return pipeline.Fleet{ID: r.Fleet, Endpoint: site.Outputs.Endpoint}, err
}

// Shift implements pipeline.Fleets. Once the instances have the traffic, the module serves.
func (p *Platform) Shift(ctx context.Context, environment, fleet string, t pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	var report pipeline.EnvironmentReport
	if !p.instead {
		var err error
		if report, err = p.Platform.Shift(ctx, environment, fleet, t); err != nil {
			return report, err
		}
	}
	if err := p.modules.Keep(ctx, environment); err != nil || !p.instead {
		return report, err
	}
	return p.describe(ctx, environment)
}

// Discard implements pipeline.Fleets. The module is again what serves; a new environment is
// removed.
func (p *Platform) Discard(ctx context.Context, environment, fleet string) error {
	if !p.instead {
		if err := p.Platform.Discard(ctx, environment, fleet); err != nil {
			return err
		}
	}
	site, err := p.modules.Site(ctx, environment)
	if pipeline.IsNotFound(err) || err == nil && site.Applied == site.Serving {
		return nil
	}
	if err != nil {
		return err
	}
	if !p.instead { // a fleet that has the traffic by now can't be discarded
		reports, err := p.Platform.Describe(ctx, environment)
		if err != nil {
			return err
		}
		if site.Applied == fleet && reports[environment].Serving == fleet {
			return p.modules.Keep(ctx, environment)
		}
	}
	return p.modules.Revert(ctx, environment, p.log)
}

// Resize implements pipeline.Fleets.
func (p *Platform) Resize(ctx context.Context, environment string, to pipeline.Size) error {
	if p.instead {
		return p.modules.Resize(ctx, environment, to.Instances, p.log)
	}
	return p.Platform.Resize(ctx, environment, to)
}

// Trust implements pipeline.Fleets.
func (p *Platform) Trust(ctx context.Context, environment string, proxies []string) error {
	if p.instead {
		return nil // the endpoint is the module's
	}
	return p.Platform.Trust(ctx, environment, proxies)
}

// Extend implements pipeline.Environments.
func (p *Platform) Extend(ctx context.Context, environment string, at time.Time) error {
	if p.instead {
		return nil // the record says it
	}
	return p.Platform.Extend(ctx, environment, at)
}

// Describe implements pipeline.Environments.
func (p *Platform) Describe(ctx context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	if !p.instead {
		return p.Platform.Describe(ctx, ids...)
	}
	reports := map[string]pipeline.EnvironmentReport{}
	for _, id := range ids {
		report, err := p.describe(ctx, id)
		if err != nil {
			return nil, err
		}
		reports[id] = report
	}
	return reports, nil
}

// describe reports on an environment that the module is.
func (p *Platform) describe(ctx context.Context, environment string) (pipeline.EnvironmentReport, error) {
	report := pipeline.EnvironmentReport{ID: environment, Status: pipeline.EnvGone, Reason: "its module is not applied"}
	site, err := p.modules.Site(ctx, environment)
	if pipeline.IsNotFound(err) {
		return report, nil
	}
	if err != nil {
		return report, err
	}
	report.Status, report.Reason = pipeline.EnvRunning, ""
	report.Serving, report.Endpoint = site.Serving, site.Outputs.Endpoint
	if site.Applied != site.Serving {
		report.Pending = site.Applied
	}
	return report, nil
}

// Destroy implements pipeline.Environments: the instances go before what they use.
func (p *Platform) Destroy(ctx context.Context, environment string) error {
	if !p.instead {
		if err := p.Platform.Destroy(ctx, environment); err != nil {
			return err
		}
	}
	return p.modules.Destroy(ctx, environment, p.log)
}
