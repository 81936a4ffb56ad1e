// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// attempt is one run of a stage under its lease.
type attempt struct {
	*core
	lease   pipeline.Lease
	state   *pipeline.State
	stage   pipeline.Stage
	build   pipeline.Build // zero for a bootstrap stage
	secrets StageSecrets
	run     pipeline.Run
	env     *pipeline.Environment // nil until one is recorded
	fleet   pipeline.Fleet
	outputs pipeline.ModuleOutputs // of the environment's module
	takes   map[pipeline.Key]int64 // the promotion that the run takes up, unchanged; nil for none
	work    string                 // directory of the run, removed when it ends
	log     *runLog                // nil before there is one
}

// forBuild says which build a run is for, as people name it; empty for none.
func forBuild(st *pipeline.State, id string) string {
	b, known := st.Builds[id]
	switch {
	case id == "":
		return ""
	case !known || b.Number == 0:
		return " for build " + id
	}
	return fmt.Sprintf(" for build #%d %q (%s)", b.Number, pipeline.FirstLine(b.Revision.Message), id)
}

// run executes the stage for the move's candidate and records how it ended.
func (s *Stages) run(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage, move gate.Move, secrets StageSecrets) (err error) {
	a, build := &attempt{core: s.core, lease: h.Lease, state: st, stage: stage, secrets: secrets, takes: takenUp(st, move)}, move.Candidate.ID
	a.run = pipeline.Run{
		ID: s.states.NewID(pipeline.RunPrefix), Pipeline: stage.Pipeline, Stage: stage.Name, Kind: pipeline.KindStage,
		Build: build, Digest: stage.Digest(st.Pipeline), Status: pipeline.RunRunning,
		Elsewhere: stage.Elsewhere,
		Phase:     pipeline.PhaseCheckout, Why: move.Why.String(), Promotion: gate.Consumes(st, stage, build), Actor: s.holder.Actor, Process: s.holder.Process, StartedAt: s.now().UTC(),
		Committed: st.Builds[build].Revision.Time.UTC(), Order: st.Builds[build].Order, Ready: pipeline.ReadyAt(st, stage, build),
	}
	a.work = s.workDir(a.run.ID)
	if err := a.start(ctx, build); err != nil {
		return err
	}
	log, err := s.createLog(ctx, stage.Pipeline, a.run.ID, secrets.all()...)
	if err != nil {
		return a.fail(ctx, err)
	}
	a.log = log
	defer a.closeLog()
	a.logf("run %s of stage %q%s: %s", a.run.ID, stage.Name, forBuild(st, build), move.Why)
	if s.surroundings != "" {
		a.logf("note: %s", s.surroundings)
	}
	work := a.phases
	if stage.Spread() {
		work = rollout{a}.over
	}
	if err := work(ctx); err != nil {
		return a.fail(ctx, lock.LostOr(ctx, err))
	}
	return a.pass(ctx)
}

func (a *attempt) checkout() string { return filepath.Join(a.work, "checkout") }

// start records the run, and on a commit stage the build that it makes.
func (a *attempt) start(ctx context.Context, build string) error {
	event := pipeline.Event{Kind: pipeline.RunStarted, Facts: pipeline.Facts{Run: &a.run}}
	b, exists := a.state.Builds[build]
	if a.stage.Type == pipeline.TypeCommit {
		revision, err := a.sources.Describe(ctx, a.stage.Source.Repository, a.stage.Source.Commit)
		if err != nil {
			return fmt.Errorf("read commit %s: %w", a.stage.Source.Commit, err)
		}
		if !exists {
			b = pipeline.Build{
				ID: build, Pipeline: a.run.Pipeline, Stage: a.stage.Name, Digest: a.stage.Source.Digest,
				BaseImage: a.stage.BaseImage, CreatedAt: a.now().UTC(), CreatedBy: a.holder.Actor, Authors: a.authors(ctx),
			}
		}
		revision.Components = a.stage.Source.Components
		b.Revision, b.Directory = revision, a.stage.Source.Directory()
		if a.state.Current[a.stage.Name].Build != build {
			b.Order = 0 // it becomes the newest
		}
		event.Facts.Build = &b
	}
	a.build = b
	a.run.Inputs = a.state.Inputs(a.stage, build)
	if err := a.states.AppendExpecting(ctx, a.run.Pipeline, &a.lease, a.takes, event); err != nil {
		return err
	}
	if a.stage.Type == pipeline.TypeCommit { // the ledger chose its order
		st, err := a.states.State(ctx, a.run.Pipeline)
		if err != nil {
			return err
		}
		a.state, a.build = st, st.Builds[build]
	}
	return nil
}

// authors returns the authors and committers of the commits since the build before. If those
// are unknown, as after a forced push, it returns those of the one commit.
func (a *attempt) authors(ctx context.Context) []string {
	before := a.state.Builds[a.state.Current[a.stage.Name].Build].Revision
	if before.Commit == "" || before.Commit == a.stage.Source.Commit {
		return nil
	}
	c, err := a.sources.Compare(ctx, a.stage.Source.Repository, before.Commit, a.stage.Source.Commit, a.stage.Source.Paths)
	if err != nil {
		a.logger.Warn("find the authors of the build", "build", a.run.Build, "error", err)
		return nil
	}
	seen := map[string]bool{}
	for _, r := range c.Ahead {
		seen[r.Author], seen[r.Committer] = true, true
	}
	delete(seen, "")
	return slices.Sorted(maps.Keys(seen))
}

// phases takes the run from checkout to the point where only the end has to be recorded.
func (a *attempt) phases(ctx context.Context) error {
	if err := a.takeCheckout(ctx); err != nil {
		return err
	}
	if a.stage.Env != nil {
		if err := a.enter(ctx, pipeline.PhaseEnvironment); err != nil {
			return err
		}
		if err := a.prepare(ctx); err != nil {
			return err
		}
	}
	a.next(0)
	if err := a.enter(ctx, pipeline.PhaseSteps); err != nil {
		return err
	}
	if err := a.steps(ctx); err != nil {
		return err
	}
	if err := a.store(ctx); err != nil {
		return err
	}
	if a.stage.Bake && a.env != nil {
		if err := a.bake(ctx); err != nil {
			return err
		}
	}
	return a.finishEnvironment(ctx)
}

// enter records that a phase begins.
func (a *attempt) enter(ctx context.Context, phase pipeline.Phase, more ...pipeline.Facts) error {
	a.run.Phase = phase
	run := a.run
	event := pipeline.Event{Kind: pipeline.RunProgressed, Facts: pipeline.Facts{Run: &run}}
	for _, f := range more {
		f.Run = &run
		event.Facts = f
	}
	return a.states.Append(ctx, a.run.Pipeline, &a.lease, event)
}

// takeCheckout makes the work tree that the steps run in.
func (a *attempt) takeCheckout(ctx context.Context) error {
	if err := os.MkdirAll(a.work, 0o700); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "create work directory", "%w", err)
	}
	var repository, commit string
	switch {
	case a.stage.Source != nil:
		repository, commit = a.stage.Source.Repository, a.stage.Source.Commit
	case a.build.ID != "":
		repository, commit = a.build.Revision.Repository, a.build.Revision.Commit
	}
	if repository == "" || !a.needsCheckout() {
		return os.Mkdir(a.checkout(), 0o700)
	}
	a.logf("checkout of %s at %s", repository, commit)
	return a.sources.Checkout(ctx, pipeline.CheckoutRequest{
		Repository: repository, Commit: commit, Dir: a.checkout(), Travels: a.stage.Runner == pipeline.RunnerCodeBuild,
	})
}

// directory returns where in the checkout the steps run and leave what they make:
// slash-separated, and empty for its root.
func (a *attempt) directory() string {
	if a.stage.Source != nil {
		return a.stage.Source.Directory()
	}
	return a.build.Directory
}

// labels says what the run is, on the things that it makes.
func (a *attempt) labels() pipeline.Labels {
	return pipeline.Labels{Pipeline: a.run.Pipeline, Stage: a.run.Stage, Build: a.run.Build, Run: a.run.ID}
}

func (a *attempt) needsCheckout() bool {
	for _, s := range a.stage.Steps {
		if s.Command != "" && s.On == pipeline.OnRunner {
			return true
		}
	}
	return a.stage.Artifact != "" || packs(a.state, a.stage) && a.state.Pipeline.Module.Directory != ""
}

// packs reports whether a run of the stage stores the module with its build.
func packs(st *pipeline.State, stage pipeline.Stage) bool {
	return stage.Type == pipeline.TypeCommit && st.Pipeline.Module != nil
}

// steps executes the stage's steps in order and stops at the first that fails.
func (a *attempt) steps(ctx context.Context) error {
	env, err := a.variables(ctx)
	if err != nil {
		return err
	}
	steps := make([]pipeline.Step, len(a.stage.Steps))
	for i, step := range a.stage.Steps {
		steps[i] = step.Within(a.directory())
	}
	before, err := a.runner.Survey(ctx, a.checkout(), steps)
	if err != nil {
		return err
	}
	for i, step := range steps {
		req := pipeline.StepRequest{
			Step: step, Run: a.run.ID, Runner: a.stage.Runner, Checkout: a.checkout(), Env: env, Secrets: stepSecrets(step, a.secrets.step(i), a.outputs.SecretEnv),
			Mask: append(a.secrets.all(), a.outputs.SecretEnv.Values()...), Endpoint: a.fleet.Endpoint, Host: a.fleet.Host, Before: before, Log: a.log.raw, Styles: true,
		}
		headed(&req, a.fleet.Header)
		if a.env != nil && !a.env.IsModule() {
			req.Exec = func(ctx context.Context, c pipeline.Command, log io.Writer) (int, error) {
				return a.places.At(a.env.Target).Exec(ctx, a.env.ID, a.fleet.ID, c, log)
			}
		}
		from := a.log.size()
		result, err := a.runner.Run(ctx, req)
		result.Log = &pipeline.LogPart{From: from, To: a.log.size()}
		a.run.Steps, a.run.UnderWay = append(a.run.Steps, result), nil
		if err != nil {
			return err
		}
		a.next(i + 1)
		if err := a.enter(ctx, pipeline.PhaseSteps); err != nil {
			return err
		}
	}
	return nil
}

// next records in the run that a step is the next one to begin, at the end of the log.
func (a *attempt) next(i int) {
	if i < len(a.stage.Steps) {
		a.run.UnderWay = &pipeline.StepUnderWay{Name: a.stage.Steps[i].Name, From: a.log.size()}
	}
}

// stepSecrets returns the secret variables of a step: its own, and those that the module of the
// environment has made.
func stepSecrets(step pipeline.Step, own, made pipeline.Secrets) pipeline.Secrets {
	all := pipeline.Secrets{}
	maps.Copy(all, made)
	for name := range step.Env {
		delete(all, name) // the step's own value counts
	}
	maps.Copy(all, own)
	return all
}

// variables returns what every step sees.
func (a *attempt) variables(ctx context.Context) (map[string]string, error) {
	env := maps.Clone(a.outputs.Env)
	if env == nil {
		env = map[string]string{}
	}
	stage, target := pipeline.CutTarget(a.stage.Name)
	if target != "" {
		env["PENSTOCK_TARGET"] = target
	}
	maps.Copy(env, map[string]string{
		"PENSTOCK_PIPELINE": a.run.Pipeline,
		"PENSTOCK_STAGE":    stage,
		"PENSTOCK_BUILD":    a.build.ID,
		"PENSTOCK_RUN":      a.run.ID,
		"PENSTOCK_REVISION": a.build.Revision.Commit,
		"PENSTOCK_ENDPOINT": a.fleet.Endpoint,
		"PENSTOCK_ROOT":     a.checkout(),
	})
	if a.fleet.Host != "" {
		env["PENSTOCK_ENDPOINT_HOST"] = a.fleet.Host
	}
	if a.stage.Source != nil {
		env["PENSTOCK_REVISION"] = a.stage.Source.Commit
	}
	if a.build.Artifact != nil && a.stage.Type != pipeline.TypeCommit {
		file, err := a.artifacts.Get(ctx, *a.build.Artifact)
		if err != nil {
			return nil, fmt.Errorf("fetch artifact of build %s: %w", a.build.ID, err)
		}
		env["PENSTOCK_ARTIFACT"] = file
	}
	return env, nil
}

// store keeps the artifact that the steps made, and the module that rides with the build.
func (a *attempt) store(ctx context.Context) error {
	if a.stage.Artifact == "" && !packs(a.state, a.stage) {
		return nil
	}
	if err := a.enter(ctx, pipeline.PhaseArtifact); err != nil {
		return err
	}
	if a.stage.Artifact != "" {
		if err := a.storeArtifact(ctx); err != nil {
			return err
		}
	}
	if packs(a.state, a.stage) {
		return a.pack(ctx)
	}
	return nil
}

// storeArtifact keeps the artifact that the steps made.
func (a *attempt) storeArtifact(ctx context.Context) error {
	root, err := os.OpenRoot(a.checkout())
	if err != nil {
		return err
	}
	defer root.Close()
	name := path.Join(a.directory(), a.stage.Artifact)
	if _, err := root.Stat(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("it does not exist")
		}
		return pipeline.Errorf(pipeline.CodeFailed, "store artifact", "artifact %q: %w", name, err).
			WithHint("The steps of stage %q passed, and left no such file in the checkout. Set artifact to the path that they write, relative to the directory of the source.", a.stage.Name)
	}
	artifact, err := a.artifacts.Put(ctx, filepath.Join(a.checkout(), filepath.FromSlash(name)))
	if err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	a.logf("artifact %s (%d bytes) is %s", artifact.Name, artifact.Size, artifact.Digest)
	a.run.Artifact, a.build.Artifact = &artifact, &artifact
	return nil
}

// pass records that the run passed, and that its build is the stage's current build.
func (a *attempt) pass(ctx context.Context) error {
	a.logf("passed")
	a.finish(pipeline.RunPassed)
	facts := pipeline.Facts{Run: &a.run, Current: &pipeline.Current{
		Stage: a.stage.Name, Build: a.run.Build, Run: a.run.ID, Previous: a.state.Current[a.stage.Name].Build, Promotion: &a.run.Promotion,
		At: a.state.Current[a.stage.Name].Since(a.run.Build, a.now()),
	}}
	if a.run.Artifact != nil || a.run.Module != nil || a.run.Image != "" {
		facts.Build = &a.build
	}
	ctx, cancel := lock.CleanUp(ctx) // nothing is left that could be cancelled
	defer cancel()
	if err := a.data().deployed(ctx, &facts); err != nil {
		return err
	}
	if err := a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.RunEnded, Facts: facts}); err != nil {
		return err
	}
	a.removeWork()
	return nil
}

// fail records that the run failed or was cancelled, after it cleaned up. A displaced run
// does neither: what it left belongs to whoever took over.
func (a *attempt) fail(ctx context.Context, cause error) error {
	if why := context.Cause(ctx); ctx.Err() != nil && why != ctx.Err() && pipeline.CodeOf(cause) == pipeline.CodeCancelled {
		cause = pipeline.Errorf(pipeline.CodeCancelled, "run stage "+a.run.Stage, "it was ended: %w", why)
	}
	ctx, cancel := lock.CleanUp(ctx)
	defer cancel()
	if pipeline.CodeOf(cause) == pipeline.CodeLeaseLost {
		a.run.Error = cause.Error()
		a.finish(pipeline.RunDisplaced)
		a.removeWork()
		return &Error{Run: a.run, Log: a.logs.Location(a.run.Pipeline, a.run.ID), Err: cause}
	}
	status := pipeline.RunFailed
	if pipeline.CodeOf(cause) == pipeline.CodeCancelled || errors.Is(cause, context.Canceled) {
		status = pipeline.RunCancelled
	}
	a.run.UnderWay = nil // the results of its steps are recorded
	a.logf("%s: %v", status, cause)
	kept, err := a.abandonEnvironment(ctx, status)
	if err != nil {
		cause = errors.Join(cause, err)
	}
	a.run.Error = cause.Error()
	a.finish(status)
	if err := a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &a.run, Environment: kept}}); err != nil {
		cause = errors.Join(cause, err)
	}
	a.removeWork()
	return &Error{Run: a.run, Log: a.logs.Location(a.run.Pipeline, a.run.ID), Kept: kept, Err: cause}
}

// finish returns how the run ended, which is to be recorded. The log is complete by then:
// readers go by the record, and a log in a bucket gets there when it is closed.
func (a *attempt) finish(status pipeline.RunStatus) {
	a.closeLog()
	a.run.Status, a.run.Phase, a.run.EndedAt = status, pipeline.PhaseDone, a.now().UTC()
}

// removeWork removes the run's files. Steps may have left directories that their owner can't
// write, so those are made writable first.
func (a *attempt) removeWork() {
	if err := workplace.RemoveTree(a.work); err != nil {
		a.logger.Warn("remove work directory", "run", a.run.ID, "error", err)
	}
}

// closeLog completes the log. What comes afterwards is written nowhere.
func (a *attempt) closeLog() {
	if a.log != nil {
		_ = a.log.Close() // a log that can't be written fails no run
		a.log = a.noLog()
	}
}

func (a *attempt) logf(format string, args ...any) {
	if a.log == nil {
		return
	}
	a.log.Note(format, args...)
}

// buildOr names a build, after the given prefix, or returns the words for none.
func orElse(id, none string, before ...string) string {
	if id == "" {
		return none
	}
	return strings.Join(before, "") + id
}

// Error says that a run failed, was cancelled or was displaced, and where to look.
type Error struct {
	Run  pipeline.Run
	Log  string
	Kept *pipeline.Environment // the environment that was kept for a look; nil for none
	Err  error
}

// Error names the run and the cause.
func (e *Error) Error() string {
	return fmt.Sprintf("run %s of stage %q %s: %v", e.Run.ID, e.Run.Stage, e.Run.Status, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
