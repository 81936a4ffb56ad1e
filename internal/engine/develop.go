// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// DevelopRequest asks for a person's environment with what was built from a working tree.
type DevelopRequest struct {
	Pipeline, Name string
	Artifact       string // a file of this machine to install; empty for none
	Image          string // empty for an empty root
	TTL            time.Duration
	Configured     string    // who makes it, for telling it from one of a build
	Log            io.Writer // may be nil
}

// Develop gives a person an environment that runs what is in a working tree, and no
// build: it launches one, or sends the traffic of the one of that name to the new
// instances without failing a request. When it fails, what served before serves on.
func (e *Engine) Develop(ctx context.Context, r DevelopRequest) (_ pipeline.Environment, err error) {
	leased, h, err := e.lock(ctx, envKey(r.Pipeline, r.Name), "development in environment "+r.Name)
	if err != nil {
		return pipeline.Environment{}, err
	}
	defer e.unlock(ctx, h)
	st, err := e.fresh(leased, r.Pipeline)
	if err != nil {
		return pipeline.Environment{}, err
	}
	if !st.Exists() {
		return pipeline.Environment{}, noPipeline(r.Pipeline)
	}
	if st.Pipeline.Service.Start == "" {
		return pipeline.Environment{}, pipeline.Errorf(pipeline.CodeInvalid, "launch environment", "pipeline %q has no service.start", r.Pipeline).
			WithHint("Set service = { start = \"…\" } on the pipeline, or say how it starts with --start.")
	}
	launch := LaunchRequest{Pipeline: r.Pipeline, Name: r.Name, TTL: r.TTL, Renew: true, Configured: r.Configured}
	if err := e.CheckLaunch(st, launch); err != nil {
		return pipeline.Environment{}, err
	}
	env, exists := st.PersonEnvironment(r.Name)
	switch {
	case exists && env.Configured != r.Configured:
		if err := e.CheckCreate(leased, st, CreateRequest{Kind: pipeline.RecordEnvironment, Name: r.Name}); err != nil {
			return pipeline.Environment{}, err
		}
		env.Configured = r.Configured
	case !exists:
		env = e.newPersonEnvironment(launch)
	}
	env, err = e.develop(leased, h, st, env, r, launch)
	return env, lostOr(leased, err)
}

func (e *Engine) develop(ctx context.Context, h *lock, st *pipeline.State, env pipeline.Environment, r DevelopRequest, launch LaunchRequest) (pipeline.Environment, error) {
	fresh := !env.Serves()
	env.TTL, env.Instances, env.Image = r.TTL, 1, r.Image
	env.Spec = pipeline.EnvironmentSpec{Instances: 1}
	env.ExpiresAt = time.Time{}
	if r.TTL > 0 {
		env.ExpiresAt = e.Now().UTC().Add(r.TTL)
	}
	if fresh {
		env.CreatedAt, env.Status, env.Endpoint, env.Reason = e.Now().UTC(), pipeline.EnvLaunching, "", ""
		if err := e.under(h.lease).Destroy(ctx, env.ID); err != nil {
			return env, fmt.Errorf("clear %s: %w", env.Describe(), err)
		}
		if err := e.reserve(ctx, h, st, env, launch); err != nil {
			return env, err
		}
	}
	log := r.Log
	if log == nil {
		log = io.Discard
	}
	req, err := e.fleetRequest(ctx, env, pipeline.Launch{Image: r.Image}, nil, log)
	if err != nil {
		return env, e.abandonLaunch(ctx, h, env, "", fresh, err)
	}
	req.Artifact, req.Fleet, req.Seed = r.Artifact, e.newID("f-"), fresh && req.Service.Seed != ""
	fleet, err := e.under(h.lease).Prepare(ctx, req)
	if err != nil {
		return env, e.abandonLaunch(ctx, h, env, req.Fleet, fresh, err)
	}
	report, err := e.sendTraffic(ctx, h.lease, env.ID, fleet.ID, pipeline.Traffic{})
	if err != nil {
		return env, e.abandonLaunch(ctx, h, env, fleet.ID, fresh, err)
	}
	ctx, cancel := cleanUpContext(ctx) // what serves is recorded, whoever gave up waiting
	defer cancel()
	if err := e.under(h.lease).Extend(ctx, env.ID, env.ExpiresAt); err != nil {
		return env, err
	}
	env.Status, env.Endpoint, env.Fleet = pipeline.EnvRunning, report.Endpoint, fleet.ID
	return env, e.recordEnvironment(ctx, h, env)
}
