// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// describe lays what the platform says over the environments and channels in the ledger.
func (s *Store) describe(ctx context.Context, recorded *pipeline.State) (*pipeline.State, error) {
	var strays map[string]pipeline.Stray
	var lost error
	var looking sync.WaitGroup
	looking.Go(func() { strays, lost = s.strays(ctx, recorded) })
	st, err := s.describeEnvironments(ctx, recorded)
	looking.Wait()
	if err = errors.Join(err, lost); err != nil {
		return nil, err
	}
	return withStrays(st, strays), nil
}

// strays asks the platform which channels don't lead where they are recorded to lead.
func (s *Store) strays(ctx context.Context, recorded *pipeline.State) (map[string]pipeline.Stray, error) {
	pointed := pipeline.Published(recorded)
	if len(pointed) == 0 || s.config.Names == nil {
		return nil, nil
	}
	publishers := slices.Sorted(maps.Keys(pointed))
	requests := make([]pipeline.PointRequest, len(publishers))
	for i, publisher := range publishers {
		requests[i] = pointed[publisher]
	}
	found, err := s.config.Names.Strays(ctx, requests...)
	if err != nil {
		return nil, fmt.Errorf("look at channels: %w", err)
	}
	strays := map[string]pipeline.Stray{}
	for i, publisher := range publishers {
		if found[i] != (pipeline.Stray{}) {
			strays[publisher] = found[i]
		}
	}
	return strays, nil
}

// withStrays lays over a state how its channels lead elsewhere. The state itself does not change.
func withStrays(st *pipeline.State, strays map[string]pipeline.Stray) *pipeline.State {
	if len(strays) == 0 {
		return st
	}
	over := st.Clone()
	over.Channels = maps.Clone(st.Channels)
	for publisher, stray := range strays {
		if c, ok := over.Channels[publisher]; ok {
			c.Stray = &stray
			over.Channels[publisher] = c
		}
	}
	return over
}

// describeEnvironments lays what the platform says over the environments in the ledger.
func (s *Store) describeEnvironments(ctx context.Context, recorded *pipeline.State) (*pipeline.State, error) {
	var ids []string
	var asked []pipeline.Environment
	for id, env := range recorded.Environments {
		if env.Alive() {
			ids = append(ids, id)
		}
		if env.Alive() && !env.IsModule() {
			env.Target = pipeline.LookedAt(recorded, env)
			asked = append(asked, env)
		}
	}
	if len(ids) == 0 {
		return recorded, nil
	}
	reports := map[string]pipeline.EnvironmentReport{}
	if len(asked) > 0 {
		var err error
		if reports, err = s.config.Places.Describe(ctx, asked...); err != nil {
			return nil, fmt.Errorf("describe environments: %w", err)
		}
	}
	st := recorded.Clone()
	for _, id := range ids {
		env := st.Environments[id]
		if env.IsModule() { // no platform knows of it
			reports[id] = pipeline.EnvironmentReport{ID: id, Status: byTime(env, s.config.Now()), Endpoint: env.Endpoint, Reason: env.Reason, Healthy: env.Instances}
		}
		env = merge(env, reports[id], s.config.Now())
		st.Environments[id] = traced(env, reports[id], st.Latest[env.Stage])
	}
	st.Finishes = due(st.Finishes, s.config.Now())
	return st, nil
}

// due says of finishes whether their time has come.
func due(finishes map[string]pipeline.Finish, now time.Time) map[string]pipeline.Finish {
	all := maps.Clone(finishes)
	for stage, f := range all {
		f.Due = !f.Done() && !now.Before(f.DueAt)
		all[stage] = f
	}
	return all
}

// byTime is the status of an environment whose time may be over.
func byTime(env pipeline.Environment, now time.Time) pipeline.EnvironmentStatus {
	if !env.ExpiresAt.IsZero() && !now.Before(env.ExpiresAt) {
		return pipeline.EnvExpired
	}
	return pipeline.EnvRunning
}

// traced corrects the record of what an environment runs if another fleet has its traffic: a
// process was about to record that, or died first. The fleet is that of the stage's latest
// run, or else of an unknown build.
func traced(env pipeline.Environment, r pipeline.EnvironmentReport, latest pipeline.RunSummary) pipeline.Environment {
	if !env.Serves() || env.Fleet == "" || r.Serving == "" || r.Serving == env.Fleet {
		return env
	}
	env.Fleet, env.Build, env.Run, env.Digest = r.Serving, "", "", ""
	if latest.ID != "" && pipeline.FleetOf(latest.ID) == r.Serving {
		env.Build, env.Run, env.Digest = latest.Build, latest.ID, latest.Digest
	}
	return env
}

// merge lays a report over the record of an environment. The record keeps its own status if
// that says what the platform can't know.
func merge(env pipeline.Environment, r pipeline.EnvironmentReport, now time.Time) pipeline.Environment {
	gone := r.Status == "" || r.Status == pipeline.EnvGone
	switch {
	case env.Status == pipeline.EnvLaunching, env.Status == pipeline.EnvEnding:
		return env // somebody works on it, or died while working on it
	case r.Status == pipeline.EnvExpired, gone && !env.ExpiresAt.IsZero() && !now.Before(env.ExpiresAt):
		env.Status = pipeline.EnvExpired
	case gone:
		env.Status = pipeline.EnvGone
	case env.Status == pipeline.EnvKept:
	default:
		env.Status = r.Status
	}
	env.Reason, env.Healthy = r.Reason, r.Healthy
	if !env.Alive() {
		env.Endpoint = ""
	} else if r.Endpoint != "" && env.Status != pipeline.EnvKept {
		env.Endpoint = r.Endpoint
	}
	return env
}
