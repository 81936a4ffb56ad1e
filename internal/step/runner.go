// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package step executes the steps of a run: commands beside the checkout or
// inside the environment, HTTP checks, and load profiles. It streams what they
// print to the run's log, with times and without secrets, and judges them.
//
// It does not decide what runs when, and records nothing: package engine does.
//
//	runner := step.NewRunner(step.Options{Logger: logger})
//	result, err := runner.Run(ctx, pipeline.StepRequest{
//		Step:     pipeline.Step{Name: "unit tests", Command: "make test", Report: "junit.xml"},
//		Checkout: dir,
//		Log:      log,
//	})
package step

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// The pause before a further try. A service that is just starting is given a
// little more time with each.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// Options are what a Runner needs of its surroundings. The zero value is usable.
type Options struct {
	Now     func() time.Time // nil means time.Now
	Logger  hclog.Logger     // nil logs nothing
	Worker  pipeline.Worker  // runs the steps of stages whose runner is not this machine; nil for none
	Program string           // path of Penstock, for the Worker's machines; empty means that of this process
}

// Runner executes steps. It may be used concurrently.
type Runner struct {
	now     func() time.Time
	logger  hclog.Logger
	worker  pipeline.Worker
	program string
	pause   func(context.Context, time.Duration) error
}

var _ pipeline.Runner = (*Runner)(nil)

// NewRunner makes a Runner.
func NewRunner(o Options) *Runner {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Runner{now: o.Now, logger: o.Logger, worker: o.Worker, program: o.Program, pause: pause}
}

// Check implements pipeline.Runner.
func (r *Runner) Check(kind pipeline.RunnerKind) error {
	switch {
	case kind == pipeline.RunnerLocal:
		return nil
	case kind != pipeline.RunnerCodeBuild:
		return invalid("%q is not a runner", kind).WithHint("Set runner to local or codebuild.")
	case r.worker == nil:
		return invalid("runner %q needs the provider's aws argument: without it everything is on this machine", kind).
			WithAdvice(pipeline.Set("aws", "{ … }", "the provider"), pipeline.Unset("runner"))
	}
	return r.worker.Check()
}

// outcome is what one try of a step came to.
type outcome struct {
	exit  int
	tests *pipeline.TestCounts
	load  *pipeline.LoadReport
	tail  string // the last lines of the output
	err   error  // why it failed; nil when it passed
	final bool   // a further try would come to the same
}

// maxOutput bounds what one step's output adds to the log. It is more than anybody
// reads, and less than fills a disk when a command runs wild.
const maxOutput = 64 << 20

// tail returns the last lines of output, each set in by two spaces.
func tail(log *runlog.Log) string {
	if lines := log.Tail(); len(lines) > 0 {
		return indent(strings.Join(lines, "\n"))
	}
	return ""
}

// attempt is one try of a step. The number counts from 1.
type attempt func(ctx context.Context, try int, log *runlog.Log) outcome

// Run executes a step, with its retries. The step's time-out bounds each try; a
// further try is made after any failure but a mistake in the step itself. The
// error of a step that failed has CodeFailed (CodeInvalid for a mistake in its
// definition) and carries the last lines of the output; that of one that was
// cancelled has CodeCancelled and wraps the context's. The log, the error and the
// result hold no secret.
func (r *Runner) Run(ctx context.Context, req pipeline.StepRequest) (pipeline.StepResult, error) {
	hide := newRedactor(req)
	log := runlog.New(req.Log, runlog.Options{Hide: hide.Redactor, Now: r.now, Room: maxOutput, Styles: req.Styles})
	result := pipeline.StepResult{Name: req.Step.Name, StartedAt: r.now()}
	begun := time.Now()
	log.Mark(pipeline.StepHeader(req.Step.Name), title(req.Step))

	out := r.tries(ctx, req, log, &result)
	if err := log.Finish(); err != nil && out.err == nil {
		out.err = fmt.Errorf("write log: %w", err)
	}
	result.Duration = time.Since(begun)
	result.ExitCode, result.Tests, result.Load = out.exit, hide.tests(out.tests), hide.load(out.load)
	err := r.conclude(ctx, &result, out, hide)
	log.Mark(pipeline.StepFooter(result.Name), summary(result))
	_ = log.Finish()
	r.logger.Debug("step ended", "step", result.Name, "status", result.Status, "duration", result.Duration, "attempts", result.Attempts)
	return result, err
}

// tries makes tries until one passes, or none is left.
func (r *Runner) tries(ctx context.Context, req pipeline.StepRequest, log *runlog.Log, result *pipeline.StepResult) outcome {
	try, err := r.prepare(ctx, req)
	if err != nil {
		return outcome{err: err}
	}
	for {
		if err := ctx.Err(); err != nil {
			return outcome{err: err}
		}
		result.Attempts++
		log.Forget()
		out := try(ctx, result.Attempts, log)
		if out.err == nil || out.final || result.Attempts > req.Step.Retries {
			return out
		}
		wait := pauseBefore(result.Attempts)
		log.Note("attempt %d of %d failed: %v; trying again in %v", result.Attempts, req.Step.Retries+1, out.err, wait)
		if r.pause(ctx, wait) != nil {
			return out
		}
	}
}

// prepare checks the step's definition and gives what one try of it does.
func (r *Runner) prepare(ctx context.Context, req pipeline.StepRequest) (attempt, error) {
	s := req.Step
	if err := r.Check(req.Runner); err != nil {
		return nil, err
	}
	kinds := 0
	for _, set := range []bool{s.Command != "", s.Script != "", s.HTTP != nil, s.Load != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return nil, invalid("the step sets %d of command, http and load", kinds).WithHint("Set exactly one of them.")
	case s.Script != "":
		return nil, invalid("script %q is only for the steps of a baked image", s.Script).WithHint("Call it from a command.").WithAdvice(pipeline.Set("command", strconv.Quote("sh "+s.Script), "the step"))
	case s.HTTP != nil:
		return prepareHTTP(req)
	case s.Load != nil:
		return r.prepareLoad(req)
	case s.On == pipeline.OnEnvironment, s.On == pipeline.OnInstances:
		return prepareRemote(req)
	case s.On == pipeline.OnRunner:
		return r.prepareCommand(ctx, req)
	default:
		return nil, invalid("%q is not a place to run a command on", s.On).
			WithAdvice(pipeline.Set("on", strconv.Quote(string(pipeline.OnEnvironment)), ""), pipeline.Set("on", strconv.Quote(string(pipeline.OnInstances)), ""), pipeline.Unset("on"))
	}
}

// conclude sets the result's status and makes the step's error.
func (r *Runner) conclude(ctx context.Context, result *pipeline.StepResult, out outcome, hide redactor) error {
	op := fmt.Sprintf("step %q failed", result.Name)
	switch {
	case out.err == nil:
		result.Status = pipeline.RunPassed
		return nil
	case ctx.Err() != nil:
		result.Status = pipeline.RunCancelled
		result.Error = "cancelled: " + hide.Text(context.Cause(ctx).Error())
		return cancelled(ctx, result.Name)
	}
	result.Status = pipeline.RunFailed
	text := out.err.Error()
	if out.tail != "" {
		text += "\nThe last lines of its output:\n" + out.tail
	}
	result.Error = hide.Text(text)
	code := pipeline.CodeFailed
	if pipeline.CodeOf(out.err) == pipeline.CodeInvalid {
		code = pipeline.CodeInvalid
	}
	hint, ways := pipeline.RemedyOf(out.err)
	return pipeline.Errorf(code, op, "%s", result.Error).WithHint("%s", hide.Text(hint)).WithAdvice(ways...)
}

func cancelled(ctx context.Context, name string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &pipeline.Error{Code: pipeline.CodeCancelled, Op: fmt.Sprintf("run step %q", name), Err: err}
}

// invalid makes the error for a mistake in the step's definition.
func invalid(format string, args ...any) *pipeline.Error {
	return pipeline.Errorf(pipeline.CodeInvalid, "", format, args...)
}

// failed makes the error of a try, to give it a hint.
func failed(format string, args ...any) *pipeline.Error {
	return pipeline.Errorf(pipeline.CodeFailed, "", format, args...)
}

// limit returns the bound of each try of a step.
func limit(s pipeline.Step, otherwise time.Duration) time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return otherwise
}

// pauseBefore returns the pause after the given number of tries.
func pauseBefore(tries int) time.Duration {
	wait := firstPause
	for range tries - 1 {
		wait = min(2*wait, maxPause)
	}
	return wait
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
