// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/modular"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// CheckModule refuses a module that can't be applied here.
func (ps *Pipelines) CheckModule(m *pipeline.Module) error {
	if m == nil {
		return nil
	}
	return ps.modules.Check(*m)
}

// of returns the platform for changes of an environment under its lease, with the module that
// makes its infrastructure.
func (e *core) of(env pipeline.Environment, lease pipeline.Lease, log io.Writer) pipeline.Platform {
	return modular.New(e.places.At(env.Target).Under(lease.Fence()), e.modules.Under(lease.Fence()), env, log)
}

// pack stores the module with the build. What environments are made of is fixed from here on.
func (a *attempt) pack(ctx context.Context) error {
	m := a.state.Pipeline.Module
	if m == nil {
		return nil
	}
	a.logf("module: pack %s", m.Where())
	file := filepath.Join(a.work, "module.tar.gz")
	instead, err := a.modules.Pack(ctx, pipeline.PackRequest{Module: *m, Checkout: a.checkout(), Within: a.directory(), Out: file, Log: a.log})
	if err != nil {
		return fmt.Errorf("pack module: %w", err)
	}
	stored, err := a.artifacts.Put(ctx, file)
	if err != nil {
		return fmt.Errorf("store module: %w", err)
	}
	_ = os.Remove(file) // with the run's other files, otherwise
	a.run.Module = &pipeline.ModulePackage{Artifact: stored, Instead: instead}
	a.build.Module = a.run.Module
	return nil
}

// packTree stores the module of a working tree, as pack does that of a build. What was stored
// before is garbage then: an environment keeps its own. The files that it makes are named after
// the lease that it works under, so that the next one, or a collection, removes those of one
// that was killed.
func (e *core) packTree(ctx context.Context, lease pipeline.Lease, m pipeline.Module, tree Tree, log io.Writer) (*pipeline.ModulePackage, error) {
	if m.Directory != "" && tree.Dir == "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "pack module", "the module is directory %q of the working tree, which is not known", m.Directory)
	}
	dir := filepath.Join(e.workDirs, workplace.PackDir(lease.Key))
	defer func() { _ = os.RemoveAll(dir) }()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("pack module: %w", err)
	}
	file := filepath.Join(dir, "module.tar.gz")
	instead, err := e.modules.Pack(ctx, pipeline.PackRequest{Module: m, Checkout: tree.Dir, Out: file, Log: log})
	if err != nil {
		return nil, fmt.Errorf("pack module: %w", err)
	}
	stored, err := e.artifacts.Put(ctx, file)
	return &pipeline.ModulePackage{Artifact: stored, Instead: instead}, err
}

// checkModule refuses to run, in an environment, what was made without the pipeline's module,
// and an environment that can't become one of that module. want is the module of what it is to
// run. It returns want, or nil for a pipeline without a module.
func checkModule(st *pipeline.State, env pipeline.Environment, want *pipeline.ModulePackage, lives bool) (*pipeline.ModulePackage, error) {
	op := "apply module to " + env.Describe()
	if st.Pipeline.Module == nil {
		want = nil
	}
	if st.Pipeline.Module != nil {
		if want == nil {
			return nil, pipeline.Errorf(pipeline.CodeRefused, op, "build %s was made before the pipeline had a module", env.Build).
				WithHint("Let the commit stage run again, and deploy the build that it makes.")
		}
	} else if lives && env.Module != nil {
		return nil, pipeline.Errorf(pipeline.CodeRefused, op, "a module made its infrastructure, but the pipeline no longer has one").
			WithHint("Set module again, or destroy the environment first: remove its resource, apply, and add it again.")
	}
	if was, is := env.IsModule(), want != nil && want.Instead; lives && was != is {
		return nil, pipeline.Errorf(pipeline.CodeRefused, op, "the module %s the output \"endpoint\", so that the endpoint would move from one owner to another", map[bool]string{true: "has now", false: "no longer has"}[is]).
			WithHint("Destroy the environment first: remove its resource, apply, and add it again.")
	}
	return want, nil
}

// moduleRequest asks for the infrastructure of an environment, as it is for its build.
func (e *core) moduleRequest(ctx context.Context, st *pipeline.State, env pipeline.Environment, r moduleInputs) (pipeline.ModuleRequest, error) {
	build, m := st.Builds[env.Build], st.Pipeline.Module
	if hook := st.Pipeline.Service.OnInstances(); r.module.Instead && hook != "" {
		return pipeline.ModuleRequest{}, pipeline.Errorf(pipeline.CodeInvalid, "apply module to "+env.Describe(), "the module has the output \"endpoint\", so that it is the environment, and there is no instance that could run service.%s", hook).
			WithHint("Let the module do that, and remove the argument; or remove the output, so that Penstock launches instances.")
	}
	file, err := e.artifacts.Get(ctx, r.module.Artifact)
	if err != nil {
		return pipeline.ModuleRequest{}, fmt.Errorf("fetch module of %s: %w", orElse(env.Build, "the working tree", "build "), err)
	}
	req := pipeline.ModuleRequest{
		Environment: env.ID, Target: env.Target, Fleet: r.fleet, Package: file, Program: m.Program, Variables: m.VariablesOf(env.Spec), Secrets: r.secrets,
		Stateful: m.Stateful, AllowDestroy: env.Spec.AllowDestroy || !r.lasting, Timeout: m.Timeout, Log: r.log,
		Facts: pipeline.ModuleFacts{
			Pipeline: env.Pipeline, Stage: env.Stage, Environment: env.ID, Name: env.Name, Build: env.Build, Commit: build.Revision.Commit, ImageID: r.image,
			Instances: env.Instances, InstanceType: env.Spec.InstanceType, Port: st.Pipeline.Service.Port, Lasting: env.Purpose == pipeline.ForStage,
		},
	}
	if a := build.Artifact; a != nil {
		req.Facts.Artifact = &pipeline.ModuleArtifact{URL: e.artifacts.URL(*a), Digest: a.Digest, Name: a.Name}
	}
	if !env.ExpiresAt.IsZero() {
		req.Facts.ExpiresAt = env.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if r.from != "" {
		site, err := e.modules.Site(ctx, r.from)
		if err != nil && !pipeline.IsNotFound(err) {
			return req, fmt.Errorf("read the outputs of environment %s: %w", r.from, err)
		}
		req.Facts.From = site.Outputs.Data
	}
	return req, nil
}

// applyModule makes the infrastructure of an environment that of its build. The environment's
// record says that it has a module.
func (e *core) applyModule(ctx context.Context, st *pipeline.State, lease pipeline.Lease, env pipeline.Environment, r moduleInputs) (pipeline.ModuleOutputs, error) {
	var none pipeline.ModuleOutputs
	req, err := e.moduleRequest(ctx, st, env, r)
	if err != nil {
		return none, err
	}
	module := r.module
	outputs, err := e.modules.Under(lease.Fence()).Apply(ctx, req)
	switch {
	case err != nil:
		return none, fmt.Errorf("apply module to %s: %w", env.Describe(), err)
	case module.Instead && outputs.Endpoint == "":
		return none, pipeline.Errorf(pipeline.CodeFailed, "apply module to "+env.Describe(), "its output \"endpoint\" is empty").
			WithHint("A module with that output is the environment. Let it be the URL of the service, or remove the output, so that Penstock launches instances.")
	case !module.Instead && st.Pipeline.Service.Start == "":
		return none, pipeline.Errorf(pipeline.CodeInvalid, "launch "+env.Describe(), "the module has no output \"endpoint\", and the pipeline no service.start to start in instances").
			WithAdvice(pipeline.Set("service.start", `"…"`, "the pipeline"))
	}
	return outputs, nil
}

// moduleInputs are what a launch knows of an environment, beside its record.
type moduleInputs struct {
	module  *pipeline.ModulePackage
	fleet   string
	image   string
	from    string // environment whose data this one gets; empty for none
	lasting bool   // it may have data that nobody else has
	secrets map[string]pipeline.Secret
	log     io.Writer
}

// furnish lets a fleet have what the module made.
func furnish(req *pipeline.FleetRequest, out pipeline.ModuleOutputs) {
	env, own := maps.Clone(out.Env), req.Env
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, own) // the environment's own come last
	req.Env = env
	secrets := maps.Clone(out.SecretEnv)
	if secrets == nil {
		secrets = pipeline.Secrets{}
	}
	for name := range own { // a name has one value
		delete(secrets, name)
	}
	for name := range req.Secrets {
		delete(req.Env, name)
	}
	maps.Copy(secrets, req.Secrets)
	req.Secrets = secrets
	if out.Instance.Profile != "" && req.Profile == "" {
		req.Profile = out.Instance.Profile
	}
	req.ExtraGroups, req.Subnets, req.TargetGroups = out.Instance.SecurityGroups, out.Instance.Subnets, out.Instance.TargetGroups
}

// served records in an environment which module serves in it. It has the traffic by then, so
// that outputs which can't be read fail nothing: they are for people.
func (e *core) served(ctx context.Context, module *pipeline.ModulePackage, env *pipeline.Environment) {
	if env.Module == nil {
		return
	}
	now := *env.Module
	if module != nil {
		now.Package = module.Digest
	}
	site, err := e.modules.Site(ctx, env.ID)
	if err != nil {
		e.logger.Warn("read the outputs of a module", "environment", env.ID, "error", err)
	} else {
		now.Outputs = site.Outputs.Others
	}
	env.Module = &now
}

// tracedModule corrects the record of an environment that is a module, if another one serves: a
// process was about to record that, or died first. No platform says so.
func (e *core) tracedModule(ctx context.Context, env pipeline.Environment) (pipeline.Environment, error) {
	if !env.IsModule() || !env.Serves() {
		return env, nil
	}
	site, err := e.modules.Site(ctx, env.ID)
	switch {
	case pipeline.IsNotFound(err):
		env.Status, env.Endpoint, env.Reason = pipeline.EnvGone, "", "its module has no state any more"
	case err != nil:
		return env, fmt.Errorf("read the module of %s: %w", env.Describe(), err)
	case site.Serving != env.Fleet:
		env.Fleet, env.Build, env.Run, env.Digest = site.Serving, "", "", ""
	}
	return env, nil
}

// enterModule applies the module for the run's environment.
func (a *attempt) enterModule(ctx context.Context, env pipeline.Environment, image, from string) error {
	if env.Module == nil {
		return nil
	}
	if err := a.enter(ctx, pipeline.PhaseModule); err != nil {
		return err
	}
	a.logf("module %s: apply for %s", a.build.Module.Digest, env.Describe())
	done := pipeline.ModuleRun{StartedAt: a.now().UTC(), Failed: true, Log: &pipeline.LogPart{From: a.log.size()}}
	a.run.Changed = &done
	var err error
	a.outputs, err = a.applyModule(ctx, a.state, a.lease, env, moduleInputs{
		module: a.build.Module, fleet: a.run.Fleet, image: image, from: from, lasting: a.stage.Lasting(), secrets: a.secrets.Module, log: a.log,
	})
	done.Duration, done.Log.To = a.now().UTC().Sub(done.StartedAt), a.log.size()
	if err != nil {
		return lock.LostOr(ctx, err)
	}
	done.Failed, done.ModuleCounts, done.Changes = false, pipeline.CountChanges(a.outputs.Changes), pipeline.ListChanges(a.outputs.Changes)
	a.log = a.hiding(a.log, append(a.secrets.all(), a.outputs.SecretEnv.Values()...)...)
	return a.enter(ctx, pipeline.PhaseEnvironment)
}
