// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// FinishDue runs service.finish of the stages of a pipeline where it is due, and returns the
// names of the stages. It leaves out a stage that somebody else works on. If it fails at one,
// the others are done all the same.
func (s *Stages) FinishDue(ctx context.Context, pipelineName string) (done []string, err error) {
	st, err := s.states.State(ctx, pipelineName)
	if err != nil {
		return nil, err
	}
	var all []pipeline.Stage
	for _, stage := range st.StagesInOrder() {
		all = append(append(all, stage), stage.AtTargets()...)
	}
	for _, stage := range all {
		if f, pending := st.PendingFinish(stage.Name); !pending || !f.Due {
			continue
		}
		leased, h, failed := s.locks.Try(ctx, lock.Stage(pipelineName, stage.Name), "finish of stage "+stage.Name)
		if failed == nil && h == nil {
			continue
		}
		if failed == nil {
			failed = s.finishUnder(leased, h, stage, nil)
			s.locks.Unlock(ctx, h)
		}
		if failed == nil {
			done = append(done, stage.Name)
		}
		err = errors.Join(err, failed)
	}
	return done, err
}

// finishUnder runs service.finish for the build that a stage serves, if it is due, under the
// lock of the stage.
func (s *Stages) finishUnder(ctx context.Context, h *lock.Lock, stage pipeline.Stage, hide []pipeline.Secret) error {
	st, err := s.states.Fresh(ctx, stage.Pipeline)
	if err != nil {
		return err
	}
	f, pending := st.PendingFinish(stage.Name)
	_, paused := st.Pauses[stage.Name]
	if !pending || !f.Due || paused || st.RunsNow(stage.Name) {
		return nil
	}
	log, err := s.createLog(ctx, stage.Pipeline, f.Run, hide...)
	if err != nil {
		return err
	}
	defer log.Close()
	return s.finishData(ctx, h.Lease, st, f, log)
}

// finishData runs service.finish in the fleet that serves, and records how that went. What was
// killed before it was recorded is done again.
func (e *core) finishData(ctx context.Context, lease pipeline.Lease, st *pipeline.State, f pipeline.Finish, log *runLog) error {
	env := st.Environments[f.Environment]
	if !env.Serves() || env.Build != f.Build {
		return nil // it comes back with the build, or goes with it
	}
	v := st.Pipeline.Service
	began := e.now()
	log.Forget()
	log.Mark(pipeline.HookHeader(hookFinish), pipeline.FirstLine(v.Finish))
	exit, err := e.places.At(env.Target).Exec(ctx, env.ID, env.Fleet, pipeline.Command{Name: hookFinish, Line: v.Finish, Timeout: v.HookTimeout}, log)
	if ctx.Err() != nil {
		log.Mark(pipeline.HookFooter(hookFinish), "was interrupted; it is run again")
		return lock.LostOr(ctx, errors.Join(err, ctx.Err()))
	}
	ctx, cancel := lock.CleanUp(ctx) // how it ended is recorded, whoever gave up waiting
	defer cancel()
	if err == nil && exit != 0 {
		err = pipeline.Errorf(pipeline.CodeFailed, "run "+hookFinish, "%s", runlog.Saying(fmt.Sprintf("exit status %d", exit), log.Tail())).
			WithHint("Correct what it works on, or deploy a build whose finish works. It is run again by the next apply, and the build goes on serving.")
	}
	event := pipeline.Event{Kind: pipeline.DataFinished}
	if took := pipeline.Period(e.now().Sub(began).Round(time.Millisecond)); err != nil {
		log.Mark(pipeline.HookFooter(hookFinish), "failed after "+took)
		event.Kind = pipeline.DataFinishFailed
		f.FailedAt, f.Error, f.Tries = e.now().UTC(), pipeline.FirstLine(err.Error()), f.Tries+1
		err = fmt.Errorf("finish the deployment of build %s to stage %q: %w", f.Build, f.Stage, err)
	} else {
		log.Mark(pipeline.HookFooter(hookFinish), "passed in "+took)
		f.DoneAt, f.Error = e.now().UTC(), ""
	}
	event.Facts.Finish = &f
	return errors.Join(err, e.states.Append(ctx, f.Pipeline, &lease, event))
}

// settleFinish sees to the finish of the build that serves before another is migrated in. It
// is done if it is due and the stage goes forward. Otherwise, or if it fails, the log says
// that it is skipped, and the finish of the new build takes its place once that serves.
func (a dataWork) settleFinish(ctx context.Context) error {
	f, pending := a.state.PendingFinish(a.stage.Name)
	if !pending || f.Build == a.run.Build {
		return nil
	}
	back := a.state.Builds[a.run.Build].Order < a.state.Builds[f.Build].Order
	if f.Due && !back {
		err := a.finishData(ctx, a.lease, a.state, f, a.log)
		if err == nil || ctx.Err() != nil {
			return lock.LostOr(ctx, err)
		}
		if pipeline.CodeOf(err) == pipeline.CodeLeaseLost {
			return err
		}
		f.Error = pipeline.FirstLine(err.Error())
	}
	if s := skipped(a.state, f, a.run.Build); s != nil {
		a.logf("%s of build %s is skipped: %s", hookFinish, s.Build, s.Reason)
	}
	return nil
}
