// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// EnvironmentRef names an environment of a pipeline: a person's by its name, or a stage's by
// the name of the stage.
type EnvironmentRef struct{ Pipeline, Name, Stage string }

// longestLook bounds how long a command runs in an environment, or its log is followed.
const longestLook = 24 * time.Hour

// Find returns an environment; CodeNotFound if it does not exist.
func (e *Environments) Find(ctx context.Context, r EnvironmentRef) (pipeline.Environment, error) {
	const op = "find environment"
	st, err := e.states.Existing(ctx, r.Pipeline)
	if err != nil {
		return pipeline.Environment{}, err
	}
	if r.Stage == "" {
		env, ok := st.PersonEnvironment(r.Name)
		if !ok {
			return env, pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q has no self-service environment %q", r.Pipeline, r.Name).
				WithAdvice(pipeline.Advice{Verb: pipeline.VerbListEnvironments, Pipeline: r.Pipeline})
		}
		return env, nil
	}
	if stage := st.Stages[r.Stage]; stage.Spread() {
		var names []string
		for _, at := range stage.AtTargets() {
			names = append(names, at.Name)
		}
		return pipeline.Environment{}, pipeline.Errorf(pipeline.CodeInvalid, op, "stage %q has an environment at each of its targets", r.Stage).
			WithHint("Name one of them: %s.", strings.Join(names, ", "))
	}
	for _, purpose := range []pipeline.EnvironmentPurpose{pipeline.ForStage, pipeline.ForInquiry, pipeline.ForRun} {
		if env, ok := st.RunEnvironment(r.Stage, purpose); ok {
			return env, nil
		}
	}
	return pipeline.Environment{}, pipeline.Errorf(pipeline.CodeNotFound, op, "stage %q of pipeline %q has no environment now", r.Stage, r.Pipeline).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbLookAtStages, Pipeline: r.Pipeline})
}

// running is Find for an environment that has instances.
func (e *Environments) running(ctx context.Context, r EnvironmentRef) (pipeline.Environment, error) {
	env, err := e.Find(ctx, r)
	switch {
	case err == nil && env.IsModule():
		return env, pipeline.Errorf(pipeline.CodeRefused, "use "+env.Describe(), "it has no instances: the module is the environment").
			WithHint("Use the tools of what the module made: the environment's endpoint and the module's outputs say where it is.")
	case err == nil && !env.Serves():
		return env, pipeline.Errorf(pipeline.CodeRefused, "use "+env.Describe(), "it is %s", env.Status).
			WithHint("Launch it again, or choose another environment.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListEnvironments, Pipeline: r.Pipeline})
	}
	return env, err
}

// Exec runs a shell line in an instance of an environment, or in each, and returns its exit
// status. It needs the right to launch. In another person's environment, and in that of a
// stage that people move, it needs the right to deploy.
func (e *Environments) Exec(ctx context.Context, r EnvironmentRef, line string, everywhere bool, out io.Writer) (int, error) {
	env, err := e.running(ctx, r)
	if err != nil {
		return 0, err
	}
	st, err := e.states.State(ctx, r.Pipeline)
	if err != nil {
		return 0, err
	}
	right := pipeline.RightLaunch
	others := env.Purpose == pipeline.ForPerson && !st.Pipeline.Authorization.Owns(env.Owner, e.person)
	if stage, _ := pipeline.StageOf(st, env.Stage); others || stage.RequiresDeployRight() {
		right = pipeline.RightDeploy
	}
	if err := st.Pipeline.Authorize(right, e.person, "run a command in "+env.Describe()); err != nil {
		return 0, err
	}
	exit, err := e.places.At(env.Target).Exec(ctx, env.ID, env.Fleet, pipeline.Command{Line: line, Everywhere: everywhere, Timeout: longestLook}, out)
	if err != nil {
		return exit, fmt.Errorf("run a command in %s: %w", env.Describe(), err)
	}
	return exit, nil
}

// ServiceLog writes the last lines that the service in an environment has printed. With
// follow it also writes what the service prints until ctx ends.
func (e *Environments) ServiceLog(ctx context.Context, r EnvironmentRef, lines int, follow bool, out io.Writer) error {
	env, err := e.running(ctx, r)
	if err != nil {
		return err
	}
	exit, err := e.places.At(env.Target).Exec(ctx, env.ID, env.Fleet, pipeline.Command{Line: e.platform.LogCommand(lines, follow), System: true, Timeout: longestLook}, out)
	switch {
	case err != nil:
		return fmt.Errorf("read the log of %s: %w", env.Describe(), err)
	case exit != 0:
		return pipeline.Errorf(pipeline.CodeFailed, "read the log of "+env.Describe(), "the command for it ended with status %d", exit)
	}
	return nil
}
