// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// purpose says what the stage's environment is for.
func purpose(s pipeline.Stage) pipeline.EnvironmentPurpose {
	switch {
	case s.Persistent():
		return pipeline.ForStage
	case s.Approval:
		return pipeline.ForInquiry
	default:
		return pipeline.ForRun
	}
}

const (
	// runMargin is how much longer than its steps may take the environment of a run lives if
	// nobody ends it: enough for what is done before and after the steps.
	runMargin = 12 * time.Hour
	// keptLife is how long an environment that was kept for a look lives: a weekend.
	keptLife = 72 * time.Hour
)

// prepare brings up the run's fleet: in the stage's environment if that is persistent, else
// in an environment of its own.
func (a *attempt) prepare(ctx context.Context) error {
	if err := a.places.Check(ctx, a.stage.At); err != nil { // what is recorded there must be able to end
		return err
	}
	if err := a.endKept(ctx); err != nil {
		return err
	}
	what := purpose(a.stage)
	env, exists := a.state.RunEnvironment(a.stage.Name, what)
	if !exists || what == pipeline.ForRun {
		env = pipeline.Environment{
			ID: a.states.NewID("e-"), Pipeline: a.run.Pipeline, Name: a.stage.Name, Purpose: what, Stage: a.stage.Name,
			Run: a.run.ID, Build: a.run.Build, Spec: a.stage.EnvironmentFor(a.state.Pipeline), Instances: a.stage.Instances(a.state.Pipeline),
			Target: a.stage.At, Owner: a.holder.Actor, Status: pipeline.EnvLaunching, CreatedAt: a.now().UTC(),
		}
	}
	if what == pipeline.ForRun { // if this machine dies, the platform ends it
		env.ExpiresAt = a.now().UTC().Add(a.stage.StepsLimit() + hooksLimit(a.state.Pipeline.Service) + runMargin)
	}
	next := env // what serves stays recorded until the traffic has gone over
	next.Build, next.Run, next.Spec = a.run.Build, a.run.ID, a.stage.EnvironmentFor(a.state.Pipeline)
	next.Instances = a.stage.Instances(a.state.Pipeline)
	module, err := checkModule(a.state, next, a.state.Builds[next.Build].Module, exists && env.Status != pipeline.EnvLaunching)
	if err != nil {
		return err
	}
	recorded := pipeline.Facts{}
	if module != nil && env.Module == nil { // what is recorded can be removed
		env.Module = &pipeline.EnvironmentModule{Instead: module.Instead}
		recorded.Environment = &env
	}
	next.Module = env.Module
	a.env = &env
	fleet := pipeline.FleetOf(a.run.ID)
	a.run.Environment, a.run.Fleet = env.ID, fleet
	if env.Status == pipeline.EnvLaunching {
		recorded.Environment = &env
	}
	if err := a.enter(ctx, pipeline.PhaseEnvironment, recorded); err != nil {
		return err
	}
	launch := a.state.Launch(a.stage, a.run.Build)
	if launch.Image, err = a.imageAt(ctx, launch.Image); err != nil {
		return err
	}
	from, err := a.data().source()
	if err != nil {
		return err
	}
	if err := a.data().settleFinish(ctx); err != nil {
		return err
	}
	if err := a.enterModule(ctx, next, launch.Image, from.ID); err != nil {
		return err
	}
	req, err := a.fleetRequest(ctx, next, launch, a.secrets.Environment, a.log)
	if err != nil {
		return err
	}
	req.Fleet = fleet
	furnish(&req, a.outputs)
	if err := a.data().plan(ctx, &req, env, from); err != nil {
		return err
	}
	if env.IsModule() {
		a.logf("environment %s: the module is at %s", env.ID, a.outputs.Endpoint)
	} else {
		a.logf("environment %s: %s of %s", env.ID, pipeline.Count(req.Instances, "instance"), cmp.Or(launch.Image, "an empty root"))
	}
	a.fleet, err = a.of(env, a.lease, a.log).Prepare(ctx, req)
	if err != nil {
		return fmt.Errorf("launch %s: %w", env.Describe(), err)
	}
	a.run.Fleet = a.fleet.ID // a kept one, perhaps
	return nil
}

// fleetRequest fills in what all launches have in common.
func (e *core) fleetRequest(ctx context.Context, env pipeline.Environment, launch pipeline.Launch, secrets pipeline.Secrets, log io.Writer) (pipeline.FleetRequest, error) {
	st, err := e.states.State(ctx, env.Pipeline)
	if err != nil {
		return pipeline.FleetRequest{}, err
	}
	vars := map[string]string{}
	for k, v := range env.Spec.Env {
		vars[k] = v
	}
	vars["PENSTOCK_PIPELINE"], vars["PENSTOCK_BUILD"] = env.Pipeline, env.Build
	stage, target := pipeline.CutTarget(env.Stage)
	if stage != "" {
		vars["PENSTOCK_STAGE"] = stage
	}
	if target != "" {
		vars["PENSTOCK_TARGET"] = target
	}
	req := pipeline.FleetRequest{
		Environment: env.ID, Labels: pipeline.Labels{Pipeline: env.Pipeline, Stage: env.Stage, Build: env.Build, Run: env.Run},
		Persistent: env.Purpose == pipeline.ForStage, Image: launch.Image, Instances: env.Instances, InstanceType: env.Spec.InstanceType, Machine: env.Spec.Machine,
		Address: env.Spec.Address, Port: env.Spec.Port, Certificate: env.Spec.Certificate, Balancer: env.Spec.Balancer, Rule: env.Spec.Rule, DNS: env.Spec.DNS, Service: st.Pipeline.Service, Env: vars, Secrets: secrets,
		ExpiresAt: env.ExpiresAt, DrainTimeout: env.Spec.DrainTimeout, Alarms: env.Spec.Alarms, Scaling: env.Spec.Scaling, TargetAttributes: env.Spec.TargetAttributes, Log: log,
		TrustedProxies: env.Spec.TrustedProxies, Lasting: st.Stages[stage].Lasting(), Profile: env.Spec.Profile, Groups: env.Spec.Groups,
	}
	if launch.Install && launch.Artifact != nil {
		if req.Artifact, err = e.artifacts.Get(ctx, *launch.Artifact); err != nil {
			return req, fmt.Errorf("fetch artifact of build %s: %w", env.Build, err)
		}
	}
	return req, nil
}

// endKept ends the environments of earlier failed runs of the stage that were kept for a
// look.
func (a *attempt) endKept(ctx context.Context) error {
	for _, env := range a.state.EnvironmentsInOrder() {
		if env.Stage == a.stage.Name && env.Purpose == pipeline.ForRun {
			if err := a.collector.EndEnvironment(ctx, a.run.Pipeline, a.lease, env); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeObsolete ends the environments that the stage's new definition no longer needs, once
// the stage has moved under it. Environments of a paused stage stay. It returns the state
// that is left.
func (s *Stages) removeObsolete(ctx context.Context, h *lock.Lock, stage pipeline.Stage) (*pipeline.State, error) {
	st, err := s.states.State(ctx, stage.Pipeline)
	if err != nil {
		return nil, err
	}
	if _, paused := st.Pauses[stage.Name]; paused {
		return st, nil
	}
	left := st
	for _, env := range st.EnvironmentsInOrder() {
		wanted := stage.Env != nil && env.Purpose == purpose(stage)
		if env.Stage != stage.Name || env.Purpose == pipeline.ForPerson || wanted {
			continue
		}
		if err := s.collector.EndEnvironment(ctx, stage.Pipeline, h.Lease, env); err != nil {
			return nil, err
		}
		if left, err = s.states.State(ctx, stage.Pipeline); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// bake keeps the installed state of the environment as the build's image.
func (a *attempt) bake(ctx context.Context) error {
	if a.env.IsModule() {
		a.logf("no image is baked: the module is the environment, and has no instance to take one of")
		return nil
	}
	if err := a.enter(ctx, pipeline.PhaseBake); err != nil {
		return err
	}
	baked, err := a.under(a.lease).Bake(ctx, pipeline.BakeRequest{
		Token: a.run.ID, Started: a.run.StartedAt, Name: a.stage.Name, Labels: a.labels(), Environment: a.env.ID, Log: a.log,
	})
	if err != nil {
		return fmt.Errorf("bake image: %w", err)
	}
	image := pipeline.Image{
		ID: baked.ID, Pipeline: a.run.Pipeline, Name: a.stage.Name, Parent: a.build.BaseImage, Build: a.build.ID,
		Run: a.run.ID, Commit: a.build.Revision.Commit, Size: baked.Size, CreatedAt: a.now().UTC(), Packages: a.keepPackages(ctx, baked),
	}
	image = recordOf(a.state, image)
	a.logf("image %s (%d bytes)", image.ID, image.Size)
	a.run.Image, a.build.Image, a.build.BakedBy = image.ID, image.ID, a.stage.Name
	return a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.ImageBaked, Facts: pipeline.Facts{Image: &image}})
}

// finishEnvironment sends the traffic to the fleet of a persistent environment, and ends an
// environment that was for the run alone. Once its phase is recorded, the run has passed:
// whoever finds it dead finishes it.
func (a *attempt) finishEnvironment(ctx context.Context) error {
	if a.env == nil {
		return nil
	}
	if a.env.Purpose == pipeline.ForRun {
		if err := a.enter(ctx, pipeline.PhaseTearDown); err != nil {
			return err
		}
		a.logf("environment %s: tear down", a.env.ID)
		return a.collector.EndEnvironment(ctx, a.run.Pipeline, a.lease, *a.env)
	}
	if err := a.enter(ctx, pipeline.PhaseShift); err != nil {
		return err
	}
	return a.shift(ctx)
}

// shift sends the traffic to the run's fleet and records what serves now.
func (a *attempt) shift(ctx context.Context) error {
	traffic := a.stage.Env.Traffic()
	traffic.Log = a.log
	report, err := a.sendTraffic(ctx, a.lease, *a.env, a.run.Fleet, traffic)
	if err != nil {
		return fmt.Errorf("shift traffic of %s: %w", a.env.Describe(), err)
	}
	ctx, cancel := lock.CleanUp(ctx) // what serves is recorded, whoever gave up waiting
	defer cancel()
	env := *a.env
	env.Build, env.Run, env.Fleet, env.Digest = a.run.Build, a.run.ID, a.run.Fleet, a.run.Digest
	env.Image, env.Spec = a.run.Inputs.Image, a.stage.EnvironmentFor(a.state.Pipeline)
	env.Instances, env.Status = a.stage.Instances(a.state.Pipeline), pipeline.EnvRunning
	env.Endpoint, env.Reason = report.Endpoint, ""
	a.served(ctx, a.state.Builds[env.Build].Module, &env)
	a.env = &env
	a.logf("environment %s: %s serves build %s", env.ID, env.Endpoint, env.Build)
	return a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}})
}

// sendTraffic sends the traffic of an environment to a fleet. If that fails, or is cancelled,
// the fleet is discarded. A fleet that has the traffic by then can't be discarded, and
// serves: that is no failure, though what served before may end a little later.
func (e *core) sendTraffic(ctx context.Context, lease pipeline.Lease, env pipeline.Environment, fleet string, t pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	platform, environment := e.of(env, lease, t.Log), env.ID
	report, err := platform.Shift(ctx, environment, fleet, t)
	if err == nil {
		return report, nil
	}
	ctx, cancel := lock.CleanUp(ctx)
	defer cancel()
	if failed := platform.Discard(ctx, environment, fleet); failed != nil {
		return report, errors.Join(err, fmt.Errorf("discard fleet %s: %w", fleet, failed))
	}
	reports, failed := platform.Describe(ctx, environment)
	if failed != nil {
		return report, errors.Join(err, fmt.Errorf("describe environment %s: %w", environment, failed))
	}
	if now := reports[environment]; now.Serving == fleet {
		e.logger.Warn("the traffic has gone over all the same", "environment", environment, "fleet", fleet, "error", err)
		return now, nil
	}
	return report, err
}

// discardPending removes a fleet that a process prepared in an environment, before it died
// without sending the traffic there.
func (e *core) discardPending(ctx context.Context, h *lock.Lock, env pipeline.Environment) error {
	platform := e.of(env, h.Lease, nil)
	reports, err := platform.Describe(ctx, env.ID)
	fleet := reports[env.ID].Pending
	if err == nil && fleet == "" && env.Module != nil { // the module may have been applied for one that never came up
		var site pipeline.ModuleSite
		if site, err = e.modules.Site(ctx, env.ID); pipeline.IsNotFound(err) {
			err = nil
		} else if site.Applied != site.Serving {
			fleet = site.Applied
		}
	}
	if err == nil && fleet != "" {
		err = platform.Discard(ctx, env.ID, fleet)
	}
	if err != nil {
		return fmt.Errorf("clear %s: %w", env.Describe(), err)
	}
	return nil
}

// adjusted gives an environment another specification under which its service runs no
// differently: the number of its instances and how it follows the load, and the proxies that its endpoint
// trusts. The
// caller records it.
func (e *core) adjusted(ctx context.Context, h *lock.Lock, env pipeline.Environment, spec pipeline.EnvironmentSpec, instances int) (pipeline.Environment, error) {
	if !env.Spec.TrustsAlike(spec) {
		if err := e.of(env, h.Lease, nil).Trust(ctx, env.ID, spec.TrustedProxies); err != nil {
			return env, fmt.Errorf("trust other proxies at %s: %w", env.Describe(), err)
		}
	}
	var err error
	if env.Instances != instances || !env.Spec.ScalesAlike(spec) {
		env, err = e.resized(ctx, h, env, pipeline.Size{Instances: instances, Scaling: spec.Scaling})
	}
	env.Spec = spec
	return env, err
}

// resized changes the number of instances of an environment, for the caller to record. Until
// then the record has no number, so an interrupted change is made again, whatever number is
// wanted then.
func (e *core) resized(ctx context.Context, h *lock.Lock, env pipeline.Environment, to pipeline.Size) (pipeline.Environment, error) {
	env.Instances = 0
	if err := e.recordEnvironment(ctx, h, env); err != nil {
		return env, err
	}
	if err := e.of(env, h.Lease, nil).Resize(ctx, env.ID, to); err != nil {
		return env, fmt.Errorf("resize %s to %s: %w", env.Describe(), pipeline.Count(to.Instances, "instance"), err)
	}
	env.Instances = to.Instances
	return env, nil
}

// abandonEnvironment clears away the environment of a run that did not pass, and leaves what
// served before. If the run failed and the stage keeps such environments, it returns the
// environment's new record.
func (a *attempt) abandonEnvironment(ctx context.Context, status pipeline.RunStatus) (*pipeline.Environment, error) {
	if a.env == nil {
		return nil, nil
	}
	env := *a.env
	if env.Purpose == pipeline.ForRun {
		if status == pipeline.RunFailed && a.stage.OnFailure == pipeline.OnFailureKeep && a.fleet.Endpoint != "" {
			env.Status, env.Endpoint, env.Fleet = pipeline.EnvKept, a.fleet.Endpoint, a.fleet.ID
			env.Reason = "kept after run " + a.run.ID + " failed"
			until := a.now().UTC().Add(keptLife)
			if err := a.of(env, a.lease, a.log).Extend(ctx, env.ID, until); err != nil {
				a.logf("environment %s ends at %s, as it could not be given more time: %v", env.ID, pipeline.Moment(env.ExpiresAt.UTC()), err)
			} else {
				env.ExpiresAt = until
			}
			a.logf("environment %s is kept at %s", env.ID, env.Endpoint)
			return &env, nil
		}
		return nil, a.collector.EndEnvironment(ctx, a.run.Pipeline, a.lease, env)
	}
	if env.Status == pipeline.EnvLaunching { // it was new, so nothing serves in it
		return nil, a.collector.EndEnvironment(ctx, a.run.Pipeline, a.lease, env)
	}
	if err := a.of(env, a.lease, a.log).Discard(ctx, env.ID, a.run.Fleet); err != nil {
		return nil, fmt.Errorf("discard fleet of %s: %w", env.Describe(), err)
	}
	return nil, nil
}

// inside joins a slash-separated path of a source to a directory.
func inside(dir, name string) string { return path.Join(dir, path.Clean("/"+name)) }
