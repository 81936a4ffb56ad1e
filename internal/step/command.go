// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// errTimedOut is the cause of a try's context when the step's time-out is over.
var errTimedOut = pipeline.ErrTimedOut

// prepareCommand prepares a command that runs beside the checkout, or in a copy of
// it on a machine of the worker's.
func (r *Runner) prepareCommand(ctx context.Context, req pipeline.StepRequest) (attempt, error) {
	run := r.runRemote
	if req.Runner == pipeline.RunnerLocal {
		run = runLocal
	}
	if err := checkDirectory(req.Checkout, req.Step.Directory); err != nil {
		return nil, err
	}
	if req.Step.Report == "" {
		return func(ctx context.Context, try int, log *runlog.Log) outcome { return run(ctx, req, try, log) }, nil
	}
	tests, err := r.newReports(ctx, req)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, try int, log *runlog.Log) outcome {
		if try > 1 {
			tests.remove(ctx) // of the try before
		}
		out := run(ctx, req, try, log)
		if ctx.Err() == nil {
			tests.read(ctx, &out)
		}
		return out
	}, nil
}

// checkDirectory reports why a directory is none of the checkout's.
func checkDirectory(checkout, directory string) error {
	if directory == "" {
		return nil
	}
	const hint = "Name a directory of the repository, relative to its root."
	if !filepath.IsLocal(directory) {
		return invalid("directory %q leads out of the checkout", directory).WithHint(hint)
	}
	root, err := os.OpenRoot(checkout)
	if err != nil {
		return fmt.Errorf("open checkout: %w", err)
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(directory) // refuses links that lead out
	switch {
	case err != nil:
		return invalid("directory %q: %w", directory, err).WithHint(hint)
	case !info.IsDir():
		return invalid("directory %q is a file", directory).WithHint(hint)
	}
	return nil
}

func runLocal(ctx context.Context, req pipeline.StepRequest, _ int, log *runlog.Log) outcome {
	dir := filepath.Join(req.Checkout, req.Step.Directory)
	if req.Checkout == "" { // a run without a source
		empty, err := os.MkdirTemp("", "penstock-step-")
		if err != nil {
			return outcome{err: fmt.Errorf("make working directory: %w", err)}
		}
		defer func() { _ = os.RemoveAll(empty) }()
		dir = empty
	}
	env := map[string]string{process.CeilingVariable: process.Ceiling(filepath.Dir(cmp.Or(req.Checkout, dir)))}
	maps.Copy(env, variables(req))
	for name, secret := range req.Secrets {
		env[name] = secret.Reveal()
	}
	bound := limit(req.Step, pipeline.DefaultStepTimeout)
	bounded, cancel := context.WithTimeoutCause(ctx, bound, errTimedOut)
	defer cancel()
	p, err := process.Start(bounded, process.Spec{
		Args: process.Shell(req.Step.Command), Dir: dir, Env: process.Environ(env), Stdout: log, Stderr: log,
	})
	if err != nil {
		return outcome{err: err, exit: -1}
	}
	exit, err := p.Wait()
	return conclude(bounded, bound, exit, err, log)
}

// variables returns what a command sees beside the secrets.
func variables(req pipeline.StepRequest) map[string]string {
	env := map[string]string{}
	maps.Copy(env, req.Env)
	maps.Copy(env, req.Step.Env)
	return env
}

// prepareRemote prepares a command that runs in the environment.
func prepareRemote(req pipeline.StepRequest) (attempt, error) {
	switch {
	case req.Exec == nil:
		return nil, invalid("the command runs on the environment, but the stage has none").
			WithAdvice(pipeline.Set("environment.instances", "1", "the stage"), pipeline.Unset("on"))
	case req.Step.Report != "":
		return nil, invalid("the report %q is read from the checkout, but the command runs on the environment", req.Step.Report).
			WithAdvice(pipeline.Unset("report"), pipeline.Unset("on"))
	}
	env := variables(req)
	bound := limit(req.Step, pipeline.DefaultStepTimeout)
	command := pipeline.Command{
		Name: req.Step.Name, Line: req.Step.Command, Dir: req.Step.Directory,
		Env: env, Secrets: req.Secrets, Timeout: bound, Everywhere: req.Step.On == pipeline.OnInstances,
	}
	return func(ctx context.Context, _ int, log *runlog.Log) outcome {
		bounded, cancel := context.WithTimeoutCause(ctx, bound, errTimedOut)
		defer cancel()
		code, err := req.Exec(bounded, command, log)
		return conclude(bounded, bound, process.Exit{Code: code}, err, log)
	}, nil
}

// conclude makes the outcome of a command that has ended.
func conclude(ctx context.Context, bound time.Duration, exit process.Exit, err error, log *runlog.Log) outcome {
	out := outcome{exit: exit.Code}
	switch {
	case err != nil && (context.Cause(ctx) == errTimedOut || errors.Is(err, errTimedOut)):
		out.err = failed("timed out after %v", bound).
			WithHint("If the step needs more time, set its timeout. The last lines show where it hangs.")
	case err != nil:
		out.err = err
	case exit.Code == 0:
		return out
	case exit.Signal == "killed" || exit.Code == 137: // 137: the shell's word for it
		out.err = failed("%v", exit).
			WithHint("Nobody cancelled the step; the system may have killed it for lack of memory.")
	case exit.Code == 127:
		out.err = failed("%v", exit).
			WithHint("The shell did not find the command; it must be on the PATH of the machine that runs the step.")
	default:
		out.err = failed("%v", exit)
	}
	out.tail = tail(log)
	return out
}
