// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// recover deals with a run of the stage (or bake of the image) that is recorded as running.
// The lease's holder knows that the run's process is dead, or was displaced: it may be alive,
// but nothing that it does has any effect. A run whose steps had all passed is finished. Any
// other run, and one that can no longer be finished, is cleared away, and its stage will run
// again.
func (e *core) recover(ctx context.Context, h *lock.Lock, st *pipeline.State, name string) error {
	if err := e.recoverTargets(ctx, st, name); err != nil {
		return err
	}
	latest := st.Latest[name]
	if latest.Status != pipeline.RunRunning {
		if latest.ID != "" {
			if err := workplace.RemoveTree(e.workDir(latest.ID)); err != nil {
				return fmt.Errorf("remove work directory of run %s: %w", latest.ID, err)
			}
		}
		return e.endOrphans(ctx, h, st, name)
	}
	run, err := e.ledger.Run(ctx, st.Pipeline.Name, latest.ID)
	if err != nil {
		return fmt.Errorf("read interrupted run: %w", err)
	}
	if run.ID != latest.ID {
		return pipeline.Errorf(pipeline.CodeCorrupt, "read interrupted run", "run %s is recorded as %q", latest.ID, run.ID).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbVerifyLedger})
	}
	e.logger.Info("found an interrupted run", "run", run.ID, "stage", run.Stage, "phase", run.Phase)
	stage, _ := st.StageOf(run.Stage)
	a := &attempt{core: e, lease: h.Lease, state: st, stage: stage, build: st.Builds[run.Build], run: run, work: e.workDir(run.ID), log: e.noLog()}
	if file, err := e.logs.Create(ctx, st.Pipeline.Name, run.ID); err == nil {
		a.log = e.newLog(file)
		defer a.closeLog()
	}
	if env, ok := st.Environments[run.Environment]; ok {
		a.env, a.fleet.ID = &env, run.Fleet
	}
	_, what := a.fate()
	a.logf("%s while it was in phase %s", what, run.Phase)
	return a.conclude(ctx)
}

// fate says how a run ends whose process lost the lease, and why.
func (a *attempt) fate() (status pipeline.RunStatus, what string) {
	switch p := a.run.Process; {
	case p == a.holder.Process:
		return pipeline.RunCancelled, "the run was given up, and that could not be recorded,"
	case a.dead(p):
		return pipeline.RunCancelled, "the process that ran it ended"
	default:
		return pipeline.RunDisplaced, fmt.Sprintf("process %d on %s, which ran it, did not renew its lease in time, and %s took over", p.PID, p.Host, a.holder.Actor)
	}
}

// conclude ends a run whose process is dead or was displaced.
func (a *attempt) conclude(ctx context.Context) error {
	status, what := a.fate()
	switch {
	case a.run.Phase == pipeline.PhaseTearDown:
		if a.env != nil {
			if err := a.collector.EndEnvironment(ctx, a.run.Pipeline, a.lease, *a.env); err != nil {
				return err
			}
		}
		return a.finishInterrupted(ctx)
	case a.run.Phase == pipeline.PhaseTargets:
		if done, err := a.rolledOut(ctx); err != nil || done {
			if err != nil {
				return err
			}
			return a.finishInterrupted(ctx)
		}
	case a.run.Phase == pipeline.PhaseBake && a.stage.Bake && a.env != nil:
		if err := a.bake(ctx); err != nil {
			return a.giveUp(ctx, status, fmt.Errorf("%s during its bake, and the bake can't be finished: %w", what, err))
		}
		if err := a.finishEnvironment(ctx); err != nil {
			return a.giveUp(ctx, pipeline.RunFailed, err)
		}
		return a.finishInterrupted(ctx)
	case a.run.Phase == pipeline.PhaseShift && a.env != nil:
		alive, err := a.fleetLives(ctx, a.lease, *a.env, a.run)
		if err != nil {
			return err
		}
		if !alive {
			break
		}
		if err := a.shift(ctx); err != nil {
			return a.giveUp(ctx, pipeline.RunFailed, err)
		}
		return a.finishInterrupted(ctx)
	}
	return a.clearInterrupted(ctx, status, fmt.Errorf("%s while it was in phase %s", what, a.run.Phase))
}

// giveUp clears away a run that can't be finished, unless this process itself is ending.
func (a *attempt) giveUp(ctx context.Context, status pipeline.RunStatus, cause error) error {
	if ctx.Err() != nil {
		return lock.LostOr(ctx, cause)
	}
	return a.clearInterrupted(ctx, status, cause)
}

// fleetLives reports whether the platform still has the run's fleet.
func (e *core) fleetLives(ctx context.Context, lease pipeline.Lease, env pipeline.Environment, run pipeline.Run) (bool, error) {
	reports, err := e.of(env, lease, nil).Describe(ctx, env.ID)
	if err != nil {
		return false, fmt.Errorf("describe %s: %w", env.Describe(), err)
	}
	r := reports[env.ID]
	alive := r.Status == pipeline.EnvRunning || r.Status == pipeline.EnvDegraded
	return alive && (r.Serving == run.Fleet || r.Pending == run.Fleet), nil
}

// finishInterrupted records the end of a run whose steps had all passed, and whose
// last act is done.
func (a *attempt) finishInterrupted(ctx context.Context) error {
	a.build = a.state.Builds[a.run.Build]
	if a.run.Artifact != nil {
		a.build.Artifact = a.run.Artifact
	}
	if a.run.Module != nil {
		a.build.Module = a.run.Module
	}
	if a.run.Image != "" {
		a.build.Image, a.build.BakedBy = a.run.Image, a.stage.Name
	}
	return a.pass(ctx)
}

// clearInterrupted removes what the run left and records how it ended.
func (a *attempt) clearInterrupted(ctx context.Context, status pipeline.RunStatus, cause error) error {
	a.logf("%s: %v", status, cause)
	if _, err := a.abandonEnvironment(ctx, status); err != nil {
		return err
	}
	if err := a.under(a.lease).Abandon(ctx, a.run.ID); err != nil {
		return fmt.Errorf("clear the bake of run %s: %w", a.run.ID, err)
	}
	a.run.Error = cause.Error()
	a.finish(status)
	if err := a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &a.run}}); err != nil {
		return err
	}
	a.removeWork()
	return nil
}

// endOrphans ends environments of the stage that were being launched or ended when the
// process died after its run's end was recorded.
func (e *core) endOrphans(ctx context.Context, h *lock.Lock, st *pipeline.State, name string) error {
	for _, env := range st.EnvironmentsInOrder() {
		orphan := env.Status == pipeline.EnvEnding || env.Status == pipeline.EnvLaunching
		if env.Stage == name && env.Purpose != pipeline.ForPerson && orphan {
			if err := e.collector.EndEnvironment(ctx, st.Pipeline.Name, h.Lease, env); err != nil {
				return err
			}
		}
	}
	return nil
}
