// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// recover deals with a run of the stage (or bake of the image) that is recorded
// as running. Whoever holds the lease knows that its process is dead. A run whose
// steps had all passed is finished; any other is cleared away, and its stage will run
// again.
func (e *Engine) recover(ctx context.Context, h *held, st *pipeline.State, name string) error {
	latest := st.Latest[name]
	if latest.Status != pipeline.RunRunning {
		if latest.ID != "" {
			if err := removeAll(e.workDir(latest.ID)); err != nil {
				return fmt.Errorf("remove work directory of run %s: %w", latest.ID, err)
			}
		}
		return e.endOrphans(ctx, h, st, name)
	}
	run, err := e.Ledger.Run(ctx, st.Pipeline.Name, latest.ID)
	if err != nil {
		return fmt.Errorf("read interrupted run: %w", err)
	}
	e.Logger.Info("found an interrupted run", "run", run.ID, "stage", run.Stage, "phase", run.Phase)
	a := &attempt{Engine: e, lease: h.lease, state: st, stage: st.Stages[run.Stage], build: st.Builds[run.Build], run: run, work: e.workDir(run.ID)}
	if log, err := e.Logs.Create(ctx, st.Pipeline.Name, run.ID); err == nil {
		defer log.Close()
		a.log = log
	}
	if env, ok := st.Environments[run.Environment]; ok {
		a.env, a.fleet.ID = &env, run.Fleet
	}
	a.logf("the process that ran this ended while it was in phase %s", run.Phase)
	switch {
	case run.Phase == pipeline.PhaseTearDown:
		return a.finishInterrupted(ctx, func() error {
			if a.env == nil {
				return nil
			}
			return a.endEnvironment(ctx, run.Pipeline, &a.lease, *a.env)
		})
	case run.Phase == pipeline.PhaseBake && a.stage.Bake && a.env != nil:
		if err := a.bake(ctx); err != nil && ctx.Err() == nil {
			a.logf("it can't be finished: %v", err)
			return a.clearInterrupted(ctx)
		} else if err != nil {
			return err
		}
		return a.finishInterrupted(ctx, func() error { return a.settleEnvironment(ctx) })
	case run.Phase == pipeline.PhaseShift && a.env != nil && e.fleetLives(ctx, run):
		return a.finishInterrupted(ctx, func() error { return a.shift(ctx) })
	}
	return a.clearInterrupted(ctx)
}

// fleetLives reports whether the platform still has the run's fleet.
func (e *Engine) fleetLives(ctx context.Context, run pipeline.Run) bool {
	reports, err := e.Platform.Describe(ctx, run.Environment)
	if err != nil {
		return false
	}
	r := reports[run.Environment]
	alive := r.Status == pipeline.EnvRunning || r.Status == pipeline.EnvDegraded
	return alive && (r.Serving == run.Fleet || r.Pending == run.Fleet)
}

// finishInterrupted does the last act of a run whose steps had all passed.
func (a *attempt) finishInterrupted(ctx context.Context, last func() error) error {
	if err := last(); err != nil {
		return err
	}
	a.build = a.state.Builds[a.run.Build]
	if a.run.Artifact != nil {
		a.build.Artifact = a.run.Artifact
	}
	if a.run.Image != "" {
		a.build.Image, a.build.BakedBy = a.run.Image, a.stage.Name
	}
	return a.pass(ctx)
}

// clearInterrupted removes what the run left and records that it was cancelled.
func (a *attempt) clearInterrupted(ctx context.Context) error {
	if _, err := a.abandonEnvironment(ctx, pipeline.RunCancelled); err != nil {
		return err
	}
	if err := a.Platform.Abandon(ctx, a.run.ID); err != nil {
		return fmt.Errorf("clear the bake of run %s: %w", a.run.ID, err)
	}
	a.run.Error = "the process that ran it ended while it was in phase " + string(a.run.Phase)
	a.finish(pipeline.RunCancelled)
	if err := a.append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &a.run}}); err != nil {
		return err
	}
	a.removeWork()
	return nil
}

// endOrphans ends environments of the stage that were being launched or ended when
// the process died after its run's end was recorded.
func (e *Engine) endOrphans(ctx context.Context, h *held, st *pipeline.State, name string) error {
	for _, env := range st.Environments {
		orphan := env.Status == pipeline.EnvEnding || env.Status == pipeline.EnvLaunching
		if env.Stage == name && env.Purpose != pipeline.ForPerson && orphan {
			if err := e.endEnvironment(ctx, st.Pipeline.Name, &h.lease, env); err != nil {
				return err
			}
		}
	}
	return nil
}
