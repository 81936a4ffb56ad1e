// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
)

// crashes is the variable that lets the lab's service end soon after it has started.
const crashes = "LAB_CRASHES"

// service is what the lab's environments run, where they are real.
var service = pipeline.Service{
	Install: `tar -xzf "$PENSTOCK_ARTIFACT"`,
	Start:   `if [ -n "$LAB_CRASHES" ]; then timeout 3 python3 -m http.server --bind "$HOST" "$PORT"; exit 1; fi; exec python3 -m http.server --bind "$HOST" "$PORT"`,
}

// platform says at once that everything was done, and remembers what. It bakes nothing.
type platform struct {
	noImages
	clock *clock
	mu    *sync.Mutex
	envs  map[string]*environment
	by    []pipeline.Fence
}

// environment is what the platform knows of one.
type environment struct {
	serving, pending string
	requests         map[string]request // by fleet
	expires          time.Time
}

// request is what a fleet was asked for with.
type request struct {
	pipeline.FleetRequest
	by []pipeline.Fence
}

var _ pipeline.Platform = (*platform)(nil)

func newPlatform(c *clock) *platform {
	return &platform{clock: c, mu: &sync.Mutex{}, envs: map[string]*environment{}}
}

// Under implements pipeline.Platform.
func (p *platform) Under(by ...pipeline.Fence) pipeline.Platform {
	under := *p
	under.by = by
	return &under
}

// Prepare implements pipeline.Platform.
func (p *platform) Prepare(_ context.Context, r pipeline.FleetRequest) (pipeline.Fleet, error) {
	p.clock.pass(12 * time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	env := p.envs[r.Environment]
	if env == nil {
		env = &environment{requests: map[string]request{}}
		p.envs[r.Environment] = env
	}
	fmt.Fprintf(r.Log, "%s healthy\n", pipeline.Count(r.Instances, "instance is", "instances are"))
	r.Log = io.Discard
	env.pending, env.expires, env.requests[r.Fleet] = r.Fleet, r.ExpiresAt, request{r, p.by}
	return pipeline.Fleet{ID: r.Fleet, Endpoint: endpoint(r.Environment)}, nil
}

// endpoint returns the address of an environment that is not real.
func endpoint(id string) string {
	port := 0
	for _, c := range id {
		port = (port*31 + int(c)) % 10000
	}
	return fmt.Sprintf("http://127.0.0.1:%d", 30000+port)
}

// Shift implements pipeline.Platform.
func (p *platform) Shift(_ context.Context, id, fleet string, _ pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	p.clock.pass(4 * time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	env := p.envs[id]
	if env == nil {
		return pipeline.EnvironmentReport{}, pipeline.Errorf(pipeline.CodeNotFound, "shift", "there is no environment %s", id)
	}
	env.serving, env.pending = fleet, ""
	for other := range env.requests {
		if other != fleet {
			delete(env.requests, other)
		}
	}
	return p.report(id), nil
}

// report returns what is known of an environment. The lock is held.
func (p *platform) report(id string) pipeline.EnvironmentReport {
	env := p.envs[id]
	if env == nil {
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone, Reason: "there is no such environment on this machine"}
	}
	r := pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvRunning, Endpoint: endpoint(id), Serving: env.serving, Pending: env.pending, ExpiresAt: env.expires}
	if !env.expires.IsZero() && env.expires.Before(p.clock.Now()) {
		r.Status, r.Endpoint, r.Reason = pipeline.EnvExpired, "", "it reached the end of its time to live"
		return r
	}
	request := env.requests[env.serving]
	r.Instances, r.Healthy = request.Instances, request.Instances
	if request.Env[crashes] != "" {
		r.Status, r.Healthy, r.Reason = pipeline.EnvDegraded, request.Instances-1, "instance 1: the service ended with exit status 1"
	}
	return r
}

// Describe implements pipeline.Platform.
func (p *platform) Describe(_ context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(ids) == 0 {
		ids = slices.Collect(maps.Keys(p.envs))
	}
	reports := map[string]pipeline.EnvironmentReport{}
	for _, id := range ids {
		reports[id] = p.report(id)
	}
	return reports, nil
}

// Discard implements pipeline.Platform.
func (p *platform) Discard(_ context.Context, id, fleet string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if env := p.envs[id]; env != nil && env.pending == fleet {
		delete(env.requests, fleet)
		if env.pending = ""; env.serving == "" {
			delete(p.envs, id)
		}
	}
	return nil
}

// Resize implements pipeline.Platform.
func (p *platform) Resize(_ context.Context, id string, to pipeline.Size) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if env := p.envs[id]; env != nil {
		r := env.requests[env.serving]
		r.Instances = to.Instances
		env.requests[env.serving] = r
	}
	return nil
}

// Extend implements pipeline.Platform.
func (p *platform) Extend(_ context.Context, id string, at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if env := p.envs[id]; env != nil {
		env.expires = at
	}
	return nil
}

// Destroy implements pipeline.Platform.
func (p *platform) Destroy(_ context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.envs, id)
	return nil
}

// Exec implements pipeline.Platform.
func (p *platform) Exec(_ context.Context, _, _ string, c pipeline.Command, log io.Writer) (int, error) {
	_, err := fmt.Fprintln(log, c.Line)
	return 0, err
}

// LogCommand implements pipeline.Platform.
func (p *platform) LogCommand(int, bool) string { return "the service has printed nothing" }

// Check implements pipeline.Platform.
func (p *platform) Check(pipeline.EnvironmentSpec) error { return nil }

// Foresee implements pipeline.Platform.
func (p *platform) Foresee(context.Context, pipeline.Foresight) (string, error) { return "", nil }

// CheckLaunch implements pipeline.Platform.
func (p *platform) CheckLaunch(context.Context, string, string, *pipeline.Volume) error { return nil }

// CheckService implements pipeline.Platform.
func (p *platform) CheckService(pipeline.Service) error { return nil }

// Ringing implements pipeline.Platform.
func (p *platform) Ringing(context.Context, []string) ([]string, error) { return nil, nil }

// Trust implements pipeline.Platform.
func (p *platform) Trust(context.Context, string, []string) error { return nil }

// bringUp makes what serves on a real platform, as it is here.
func (p *platform) bringUp(ctx context.Context, real *local.Platform) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var errs error
	for id, env := range p.envs {
		if p.report(id).Status == pipeline.EnvExpired {
			continue
		}
		tasks.Go(func() {
			err := env.bringUp(ctx, real, id)
			mu.Lock()
			defer mu.Unlock()
			errs = errors.Join(errs, err)
		})
	}
	tasks.Wait()
	return errs
}

// bringUp makes an environment on a real platform.
func (e *environment) bringUp(ctx context.Context, real *local.Platform, id string) error {
	for fleet, r := range e.requests {
		r.DataFrom, r.ExpiresAt = "", e.expires
		under := real.Under(r.by...)
		if _, err := under.Prepare(ctx, r.FleetRequest); err != nil {
			return fmt.Errorf("bring up environment %s: %w", id, err)
		}
		if fleet != e.serving {
			continue
		}
		if _, err := under.Shift(ctx, id, fleet, pipeline.Traffic{}); err != nil {
			return fmt.Errorf("bring up environment %s: %w", id, err)
		}
	}
	return nil
}

// takeDown removes what a real platform has.
func (p *platform) takeDown(ctx context.Context, real *local.Platform) error {
	reports, err := real.Describe(ctx)
	for id := range reports {
		err = errors.Join(err, real.Destroy(ctx, id))
	}
	return err
}
