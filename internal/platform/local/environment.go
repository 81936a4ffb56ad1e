// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// cleanLimit bounds what is cleared away after a failure or a cancel: every
// instance gets its grace.
const cleanLimit = time.Minute

// environment is one whose lock is held: nobody else changes its files.
type environment struct {
	*Platform
	id     string
	dir    string
	fleets string // where its fleets are
	lock   *os.File
	client *supervisorClient
}

// lock takes the lock of an environment for a change, and waits for it as long as ctx
// allows. It makes the directory, or else fails where there is none.
func (p *Platform) lock(ctx context.Context, op, id string, make bool) (*environment, error) {
	if err := p.admit(ctx, op); err != nil { // before there is anything of an environment that others have removed
		return nil, err
	}
	e := &environment{Platform: p, id: id, dir: p.dir(id), fleets: p.fleets(id)}
	e.client = newClient(e.dir, e.fleets, p.by)
	schedule := poll.Schedule{First: 5 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 1.5, What: "environment " + id + " to be free"}
	err := poll.Until(ctx, schedule, func(context.Context) (poll.Probe, error) {
		var err error
		if make {
			err = os.MkdirAll(e.dir, 0o700)
		}
		if err == nil {
			e.lock, err = protocol.TryLock(filepath.Join(e.dir, protocol.LockFile))
		}
		if make && errors.Is(err, fs.ErrNotExist) {
			err = poll.Retryable(err) // somebody removed it just now
		}
		return poll.Probe{Done: e.lock != nil, State: "another process changes it"}, err
	})
	if err != nil {
		return nil, err
	}
	if err := p.admit(ctx, op); err != nil { // others may have come while this one waited
		if make {
			_ = os.Remove(filepath.Join(e.dir, protocol.LockFile))
			_ = os.Remove(e.dir) // stays where there is anything else
		}
		e.unlock()
		return nil, err
	}
	return e, nil
}

func (e *environment) unlock() { _ = e.lock.Close() }

// remove ends the environment and removes every trace of it.
func (e *environment) remove(ctx context.Context) error {
	if err := e.client.end(ctx); err != nil {
		return err
	}
	if err := e.admit(ctx, protocol.OpDestroy); err != nil { // the supervisor may have had requests of others
		return err
	}
	err := poll.Until(ctx, poll.Schedule{First: 5 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 2, Limit: 5 * time.Second, What: "the removal of " + e.dir},
		func(context.Context) (poll.Probe, error) {
			err := errors.Join(workplace.RemoveTree(e.fleets), workplace.RemoveTree(e.dir))
			return poll.Probe{Done: err == nil}, poll.Retryable(err) // a command of Exec may write there yet
		})
	if err == nil {
		e.tidy()
	}
	return err
}

// tidy removes the directories of environments where there is none.
func (p *Platform) tidy() {
	for _, dir := range []string{p.environments(), filepath.Join(p.Work, protocol.EnvironmentsDir)} {
		_ = os.Remove(dir)
	}
}

// drop removes a fleet that serves nothing. An environment that never served and
// has no other fleet goes with it; of one that served, the data stays to be restored.
func (e *environment) drop(ctx context.Context, fleet string) error {
	if e.client.alive() {
		var s protocol.Status
		err := e.client.ask(ctx, "DELETE", protocol.PathFleets+fleet, e.client.change(), &s)
		if pipeline.CodeOf(err) == pipeline.CodeLeaseLost || err != nil && e.client.staysAlive(ctx) {
			return err // whatever ails it, what serves must not suffer
		}
		if _, there := s.Fleets[fleet]; err == nil && len(s.Fleets) > 0 {
			if there { // it serves
				return nil
			}
			return workplace.RemoveTree(filepath.Join(e.fleets, fleet))
		}
		if err := e.client.end(ctx); err != nil {
			return err
		}
	}
	rec, err := protocol.ReadRecord(e.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !rec.Served():
		return e.remove(ctx)
	case err != nil:
		return err
	}
	return errors.Join(e.client.endOrphans(ctx), workplace.RemoveTree(e.fleets))
}

// ask sends a request to the supervisor of an environment.
func (p *Platform) ask(ctx context.Context, id, op, method, path string, message, reply any) error {
	c := newClient(p.dir(id), p.fleets(id), p.by)
	err := c.ask(ctx, method, path, message, reply)
	switch {
	case err == nil || !errors.Is(err, errNoSupervisor) || ctx.Err() != nil:
		return protocol.Coded(ctx, op, err)
	case !exists(c.dir):
		return noEnvironment(op, id)
	case c.alive():
		return pipeline.Errorf(pipeline.CodeFailed, op, "the supervisor of environment %s does not answer: %w", id, err).
			WithHint("See %s.", filepath.Join(c.dir, protocol.SuperviseLog))
	}
	return pipeline.Errorf(pipeline.CodeNotFound, op, "environment %s is gone: its supervisor has ended", id).
		WithHint("Apply again, which restores it.")
}

const atOnce = "which sends all of the traffic over at once"

// Check implements pipeline.Platform.
func (p *Platform) Check(e pipeline.EnvironmentSpec) error {
	for _, a := range []struct {
		name string
		set  bool
		why  string
	}{
		{"shift", len(e.Shift) > 0, atOnce}, {"alarms", len(e.Alarms) > 0, atOnce}, {"keep_previous", e.KeepPrevious > 0, atOnce},
		{"load_balancer", e.Balancer != nil, "which has no load balancers"}, {"listener_arn", e.Rule != nil, "which has no load balancers"},
		{"dns", e.DNS != nil, "which keeps no names"},
		{"instance_profile", e.Profile != "", "which has no machines of its own"}, {"security_groups", len(e.Groups) > 0, "which has no machines of its own"},
		{"certificate", e.Certificate != "", "whose endpoints speak HTTP"}, {"scaling", e.Scaling != nil, "where the number of instances is fixed"},
		{"volume", e.Volume != nil, ownMachine}, {"metadata_hop_limit", e.Hops != 0, ownMachine}, {"spot", e.Spot, ownMachine},
		{"target_attributes", len(e.TargetAttributes) > 0, "which has no target groups"},
	} {
		if a.set {
			return pipeline.Errorf(pipeline.CodeInvalid, "check environment", "environment.%s has no meaning on the local platform, %s", a.name, a.why).
				WithAdvice(pipeline.Unset("environment."+a.name), pipeline.Set("aws", "{ … }", "the provider"))
		}
	}
	return nil
}

// ownMachine is why arguments of machines mean nothing here.
const ownMachine = "whose instances are processes of this machine"

// CheckLaunch implements pipeline.Platform: every instance is of this machine.
func (p *Platform) CheckLaunch(context.Context, string, string, *pipeline.Volume) error { return nil }

// Foresee implements pipeline.Platform: nothing is attached to processes.
func (p *Platform) Foresee(context.Context, pipeline.Foresight) (string, error) { return "", nil }

// CheckService implements pipeline.Platform. What runs here runs as who runs Terraform.
func (p *Platform) CheckService(s pipeline.Service) error {
	if s.User == "" {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check service", "service.user has no meaning on the local platform, where the service runs as the user that runs Terraform").
		WithAdvice(pipeline.Unset("service.user"), pipeline.Set("aws", "{ … }", "the provider"))
}

// Shift sends the traffic to a prepared fleet and returns when the one before has
// answered its last request, at the latest after the drain time-out, and is gone.
func (p *Platform) Shift(ctx context.Context, environment, fleet string, t pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	const op = protocol.OpShift
	if err := p.Check(pipeline.EnvironmentSpec{Shift: t.Steps, Alarms: t.Alarms, KeepPrevious: t.KeepPrevious, Certificate: t.Certificate, Scaling: t.Scaling}); err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	if err := errors.Join(checkID(op, "environment", environment), checkID(op, "fleet", fleet)); err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	var s protocol.Status
	err := p.ask(ctx, environment, op, "POST", protocol.PathFleets+fleet+"/shift", protocol.Change{By: p.by}, &s)
	return s.Report, err
}

// Discard removes a fleet that got no traffic.
func (p *Platform) Discard(ctx context.Context, environment, fleet string) error {
	const op = protocol.OpDiscard
	if err := errors.Join(checkID(op, "environment", environment), checkID(op, "fleet", fleet)); err != nil {
		return err
	}
	e, err := p.lock(ctx, op, environment, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return protocol.Coded(ctx, op, err)
	}
	defer e.unlock()
	return protocol.Coded(ctx, op, e.drop(ctx, fleet))
}

// Resize changes the number of instances that serve.
func (p *Platform) Resize(ctx context.Context, environment string, to pipeline.Size) error {
	const op = protocol.OpResize
	if err := checkID(op, "environment", environment); err != nil {
		return err
	}
	if err := p.Check(pipeline.EnvironmentSpec{Scaling: to.Scaling}); err != nil {
		return err
	}
	if to.Instances < 1 {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "instances %d is less than 1", to.Instances).WithHint("Set instances to 1 or more.")
	}
	return p.ask(ctx, environment, op, "PUT", protocol.PathInstances, protocol.ResizeMessage{Change: protocol.Change{By: p.by}, Instances: to.Instances}, nil)
}

const hintProxies = "List IP addresses and networks in CIDR notation, as in [\"10.0.0.7\", \"10.1.0.0/16\"], or nothing to trust nobody."

// Ringing implements pipeline.Fleets: there are no alarms here.
func (p *Platform) Ringing(context.Context, []string) ([]string, error) { return nil, nil }

// Trust sets whose forwarding headers the endpoint keeps, from the next request on.
func (p *Platform) Trust(ctx context.Context, environment string, proxies []string) error {
	const op = protocol.OpTrust
	if err := checkID(op, "environment", environment); err != nil {
		return err
	}
	if _, err := pipeline.ParseProxies(proxies); err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "trusted_proxies: %v", err).WithHint(hintProxies)
	}
	return p.ask(ctx, environment, op, "PUT", protocol.PathProxies, protocol.TrustMessage{Change: protocol.Change{By: p.by}, Proxies: proxies}, nil)
}

// Extend sets when the environment ends by itself.
func (p *Platform) Extend(ctx context.Context, environment string, at time.Time) error {
	const op = protocol.OpExtend
	if err := checkID(op, "environment", environment); err != nil {
		return err
	}
	return p.ask(ctx, environment, op, "PUT", protocol.PathExpiry, protocol.ExpiryMessage{Change: protocol.Change{By: p.by}, At: at}, nil)
}

// Destroy ends an environment and removes it with its data.
func (p *Platform) Destroy(ctx context.Context, environment string) error {
	const op = protocol.OpDestroy
	if err := checkID(op, "environment", environment); err != nil {
		return err
	}
	e, err := p.lock(ctx, op, environment, false)
	if errors.Is(err, fs.ErrNotExist) {
		err = workplace.RemoveTree(p.fleets(environment))
		p.tidy()
		return protocol.Coded(ctx, op, err)
	}
	if err != nil {
		return protocol.Coded(ctx, op, err)
	}
	defer e.unlock()
	if err := e.remove(ctx); err != nil {
		return protocol.Coded(ctx, op, fmt.Errorf("environment %s: %w", environment, err))
	}
	return nil
}
