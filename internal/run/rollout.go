// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// watchPause is between two looks at what has moved, while a rollout pauses.
const watchPause = 10 * time.Second

// rollout is the run of a stage with several targets.
type rollout struct{ *attempt }

// over takes the run's build to all targets of its stage, wave by wave. At each target that
// is a run of its own, under a lease of its own. A target that has the build already is left
// as it is, so that what was interrupted goes on where it was.
func (a rollout) over(ctx context.Context) error {
	if err := a.enter(ctx, pipeline.PhaseTargets); err != nil {
		return err
	}
	watched, err := a.watchAlarms(ctx)
	if err != nil {
		return err
	}
	waves := a.stage.Waves()
	if err = a.open(ctx); err == nil {
		err = a.bringImage(ctx)
	}
	if err != nil {
		return a.stopped(ctx, waves, lock.LostOr(ctx, err)) // an earlier run may have moved some
	}
	for i, wave := range waves {
		a.logf("wave %d of %d: %s", i+1, len(waves), targetsOf(wave))
		err := a.deployWave(ctx, wave, a.run.Build)
		if err == nil && i < len(waves)-1 {
			err = a.pauseAfter(ctx, waves[:i+1], watched)
		}
		if err != nil {
			return a.stopped(ctx, waves[:i+1], lock.LostOr(ctx, err))
		}
	}
	return nil
}

// open opens all targets before the first one moves.
func (a rollout) open(ctx context.Context) error {
	return sideBySide(ctx, a.stage.AtTargets(), func(ctx context.Context, at pipeline.Stage) error { return a.places.Check(ctx, at.At) })
}

// bringImage places the image of the run's build for all targets before the first one moves.
func (a rollout) bringImage(ctx context.Context) error {
	image := a.state.Launch(a.stage, a.run.Build).Image
	var targets []pipeline.Target
	for _, at := range a.stage.AtTargets() {
		if !at.At.Home() {
			targets = append(targets, at.At)
		}
	}
	if image == "" || len(targets) == 0 {
		return nil
	}
	_, err := placing(a.attempt, targets).bring(ctx, image)
	return err
}

// recoverTargets deals with interrupted runs of a stage at its targets.
func (e *core) recoverTargets(ctx context.Context, st *pipeline.State, name string) error {
	for _, at := range slices.Sorted(maps.Keys(st.Latest)) {
		if of, target := pipeline.CutTarget(at); of != name || target == "" {
			continue
		}
		if !st.RunsNow(at) {
			if err := workplace.RemoveTree(e.workDir(st.Latest[at].ID)); err != nil {
				return fmt.Errorf("remove work directory of run %s: %w", st.Latest[at].ID, err)
			}
			continue
		}
		leased, h, err := e.locks.Lock(ctx, lock.Stage(st.Pipeline.Name, at), "stage "+at)
		if err != nil {
			return err
		}
		_, err = e.recovered(leased, h, st.Pipeline.Name, at)
		e.locks.Unlock(ctx, h)
		if err != nil {
			return err
		}
	}
	return nil
}

// rolledOut reports whether all targets of an interrupted run have its build, so that only its
// end was not recorded.
func (a rollout) rolledOut(ctx context.Context) (bool, error) {
	st, err := a.states.Fresh(ctx, a.run.Pipeline)
	if err != nil {
		return false, err
	}
	for _, at := range a.stage.AtTargets() {
		if gate.MoveAtTarget(st, at, a.run.Build).Action != gate.ActionNone {
			return false, nil
		}
	}
	return true, nil
}

// targetsOf names the targets of stages.
func targetsOf(stages []pipeline.Stage) string {
	var names []string
	for _, s := range stages {
		names = append(names, s.At.Name)
	}
	return strings.Join(names, ", ")
}

// sideBySide does something at some targets together. The first failure ends the others.
func sideBySide(ctx context.Context, stages []pipeline.Stage, do func(context.Context, pipeline.Stage) error) error {
	all, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(stages))
	var wg sync.WaitGroup
	for i, at := range stages {
		wg.Go(func() {
			err := do(all, at)
			if err == nil || all.Err() != nil && ctx.Err() == nil && context.Cause(all) != nil && pipeline.CodeOf(err) == pipeline.CodeCancelled {
				return // it was ended for the failure of another
			}
			errs[i] = fmt.Errorf("target %s: %w", at.At.Name, err)
			cancel(errs[i])
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// placesAtOnce is how many places of a stage are read side by side: each is a process of
// Terraform with its providers, and needs memory.
const placesAtOnce = 4

// eachPlace does something with a stage at each of some places: side by side where the places
// differ, one after another at the same.
func eachPlace(stages []pipeline.Stage, do func(pipeline.Stage)) {
	at := map[pipeline.Target][]pipeline.Stage{}
	for _, s := range stages {
		at[s.At.Place()] = append(at[s.At.Place()], s)
	}
	free := make(chan struct{}, placesAtOnce)
	var wg sync.WaitGroup
	for _, there := range at {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			for _, s := range there {
				do(s)
			}
		})
	}
	wg.Wait()
}

// deployWave takes a build to the targets of a wave, side by side.
func (a rollout) deployWave(ctx context.Context, wave []pipeline.Stage, build string) error {
	return sideBySide(ctx, wave, func(ctx context.Context, at pipeline.Stage) error {
		return a.deploy(ctx, at, build, a.secrets, a.logf)
	})
}

// deploy makes a stage at a target run a build as it is defined. logf tells what is done.
func (e *core) deploy(ctx context.Context, at pipeline.Stage, build string, secrets StageSecrets, logf func(string, ...any)) error {
	leased, h, err := e.locks.Lock(ctx, lock.Stage(at.Pipeline, at.Name), "stage "+at.Name)
	if err != nil {
		return err
	}
	defer e.locks.Unlock(ctx, h)
	st, err := e.recovered(leased, h, at.Pipeline, at.Name)
	if err != nil {
		return err
	}
	s := &Stages{e}
	move := gate.MoveAtTarget(st, at, build)
	switch move.Action {
	case gate.ActionNone:
		logf("target %s runs build %s", at.At.Name, build)
		return nil
	case gate.ActionAdjust:
		err = s.adjustStage(leased, h, st, at, move.Instances)
	case gate.ActionFinish:
		err = s.finishUnder(leased, h, at, secrets.all())
	default:
		logf("target %s: %s", at.At.Name, move.Why)
		if err = s.run(leased, h, st, at, move, secrets); err == nil {
			logf("target %s runs build %s now", at.At.Name, build)
		}
	}
	return lock.LostOr(leased, err)
}

// stopped deals with targets that have moved when another failed: they go back to the build
// that all had, or keep the new one, as the stage says. After a cancel they keep it, as the
// next apply goes on.
func (a rollout) stopped(ctx context.Context, moved [][]pipeline.Stage, cause error) error {
	clean, cancel := lock.CleanUp(ctx)
	defer cancel()
	if done, err := a.rolledOut(clean); err == nil && done {
		return nil // nothing is left that could be stopped
	}
	before := a.state.Current[a.stage.Name].Build
	_, known := a.state.Builds[before]
	if a.stage.Rollout.OnFailure == pipeline.RolloutKeep || ctx.Err() != nil || !known || before == a.run.Build {
		return fmt.Errorf("%w (%s)", cause, a.holdings(ctx))
	}
	a.logf("%v: what has moved goes back to build %s", cause, before)
	var errs []error
	for _, wave := range slices.Backward(moved) {
		errs = append(errs, a.deployWave(ctx, wave, before))
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(cause, fmt.Errorf("go back to build %s: %w (%s)", before, lock.LostOr(ctx, err), a.holdings(ctx)))
	}
	return fmt.Errorf("%w (%s)", cause, a.holdings(ctx))
}

// holdings says which target holds which build.
func (a rollout) holdings(ctx context.Context) string {
	ctx, cancel := lock.CleanUp(ctx)
	defer cancel()
	st, err := a.states.Fresh(ctx, a.run.Pipeline)
	if err != nil {
		return "which target holds which build can't be read: " + err.Error()
	}
	before, again := a.state.Current[a.stage.Name].Build, true
	var all []string
	for _, at := range a.stage.AtTargets() {
		env, _ := st.RunEnvironment(at.Name, pipeline.ForStage)
		if !env.Serves() { // what is launched, or ends, holds none
			env.Build = ""
		}
		again = again && env.Build == before && before != ""
		all = append(all, fmt.Sprintf("target %s holds %s", at.At.Name, orElse(env.Build, "none", "build ")))
	}
	if again {
		return "all targets run build " + before + " again"
	}
	return strings.Join(all, ", ")
}

// watchAlarms returns the alarms that went off before the rollout, by place: they don't speak
// of its build until they have recovered.
func (a rollout) watchAlarms(ctx context.Context) (map[string][]string, error) {
	ringing := map[string][]string{}
	for _, at := range a.stage.AtTargets() {
		if len(at.Env.Alarms) == 0 {
			continue
		}
		names, err := a.places.At(at.At).Ringing(ctx, at.Env.Alarms)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", at.At.Name, err)
		}
		ringing[at.Name] = names
	}
	return ringing, nil
}

// pauseAfter waits until the pause after the newest deployment of the waves is over, and looks
// at all that has moved: whether it serves, its alarms, and at last the HTTP checks of the
// stage.
func (a rollout) pauseAfter(ctx context.Context, waves [][]pipeline.Stage, ringing map[string][]string) error {
	st, err := a.states.Fresh(ctx, a.run.Pipeline)
	if err != nil {
		return err
	}
	var until time.Time
	for _, at := range waves[len(waves)-1] {
		if end := st.Current[at.Name].At.Add(a.stage.Rollout.Pause); end.After(until) {
			until = end
		}
	}
	moved := slices.Concat(waves...)
	if left := until.Sub(a.now()); left > 0 {
		a.logf("pause of %s after %s", pipeline.Period(left.Round(time.Second)), targetsOf(waves[len(waves)-1]))
	}
	for {
		if err := a.lookAt(ctx, moved, ringing); err != nil {
			return err
		}
		left := until.Sub(a.now())
		if left <= 0 {
			return a.checkMoved(ctx, moved)
		}
		timer := time.NewTimer(min(left, watchPause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

// lookAt refuses targets that don't serve any more, or whose alarms have gone off.
func (a rollout) lookAt(ctx context.Context, moved []pipeline.Stage, ringing map[string][]string) error {
	st, err := a.states.Fresh(ctx, a.run.Pipeline)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	return sideBySide(ctx, moved, func(ctx context.Context, at pipeline.Stage) error {
		op := "watch target " + at.At.Name
		if env, ok := st.RunEnvironment(at.Name, pipeline.ForStage); !ok || env.Status != pipeline.EnvRunning {
			return pipeline.Errorf(pipeline.CodeFailed, op, "its environment is %s: %s", orElse(string(env.Status), "gone"), env.Reason)
		}
		if len(at.Env.Alarms) == 0 {
			return nil
		}
		now, err := a.places.At(at.At).Ringing(ctx, at.Env.Alarms)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		still := ringing[at.Name]
		if new := slices.DeleteFunc(slices.Clone(now), func(name string) bool { return slices.Contains(still, name) }); len(new) > 0 {
			return pipeline.Errorf(pipeline.CodeFailed, op, "these alarms went off: %s", strings.Join(new, ", "))
		}
		ringing[at.Name] = slices.DeleteFunc(slices.Clone(still), func(name string) bool { return !slices.Contains(now, name) })
		return nil
	})
}

// checkMoved runs the HTTP checks of the stage at the endpoints of targets.
func (a rollout) checkMoved(ctx context.Context, moved []pipeline.Stage) error {
	st, err := a.states.State(ctx, a.run.Pipeline)
	if err != nil {
		return err
	}
	before, err := a.runner.Survey(ctx, a.work, a.stage.Steps)
	if err != nil {
		return err
	}
	for _, at := range moved {
		env, _ := st.RunEnvironment(at.Name, pipeline.ForStage)
		for i, step := range at.Steps {
			if step.HTTP == nil {
				continue
			}
			result, err := a.runner.Run(ctx, pipeline.StepRequest{
				Step: step, Run: a.run.ID, Runner: at.Runner, Checkout: a.work, Secrets: a.secrets.step(i), Mask: a.secrets.all(),
				Endpoint: env.Endpoint, Before: before, Log: a.log.raw, Styles: true,
			})
			result.Name = at.At.Name + ": " + result.Name
			a.run.Steps = append(a.run.Steps, result)
			if err != nil {
				return fmt.Errorf("check target %s: %w", at.At.Name, err)
			}
		}
	}
	return nil
}

// endLeft ends what a stage has at places that it has left, once it serves at those where it
// is. That is no part of its run: what can't be ended is tried again by the next apply, and the
// build has passed all the same.
func (s *Stages) endLeft(ctx context.Context, h *lock.Lock, stage pipeline.Stage) error {
	st, err := s.states.Fresh(ctx, stage.Pipeline)
	if err != nil || !pipeline.MayLeave(st, stage) {
		return err
	}
	var errs []error
	for _, name := range pipeline.LeftPlaces(st, stage) {
		end := s.removeAt
		if name == stage.Name { // the stage itself stays
			end = func(ctx context.Context, _, _ string) error { return s.endAlone(ctx, h, st, stage) }
		}
		errs = append(errs, end(ctx, stage.Pipeline, name))
	}
	return errors.Join(errs...)
}

// endAlone ends the environment that a stage had before it had targets, with what is recorded
// of its data.
func (s *Stages) endAlone(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage) error {
	if env, ok := st.RunEnvironment(stage.Name, pipeline.ForStage); ok {
		if err := s.collector.EndEnvironment(ctx, stage.Pipeline, h.Lease, env); err != nil {
			return err
		}
	}
	var gone []pipeline.Key
	for _, key := range []pipeline.Key{{Kind: pipeline.RecordFinish, ID: stage.Name}, {Kind: pipeline.RecordDrift, ID: stage.Name}} {
		if st.Version(key.Kind, key.ID) > 0 {
			gone = append(gone, key)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return s.states.Append(ctx, stage.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.EnvironmentEnded, Facts: pipeline.Facts{Gone: gone}})
}

// removeAt ends what a stage has at one of its targets, and removes what is recorded of it.
// Its runs stay in the history.
func (e *core) removeAt(ctx context.Context, pipelineName, name string) error {
	leased, h, err := e.locks.Lock(ctx, lock.Stage(pipelineName, name), "removal of stage "+name)
	if err != nil {
		return err
	}
	defer e.locks.Unlock(ctx, h)
	return e.removeUnder(leased, h, pipelineName, name)
}

// removeTargets ends all that a stage has at targets, the last wave first.
func (e *core) removeTargets(ctx context.Context, st *pipeline.State, stage pipeline.Stage) error {
	var names []string
	for _, at := range stage.AtTargets() {
		names = append(names, at.Name)
	}
	for _, name := range pipeline.LeftPlaces(st, stage) {
		if name != stage.Name { // which goes with the stage
			names = append(names, name)
		}
	}
	for _, plan := range st.Plans { // also of a target that was removed before it had anything
		if of, target := pipeline.CutTarget(plan.Stage); of == stage.Name && target != "" && !slices.Contains(names, plan.Stage) {
			names = append(names, plan.Stage)
		}
	}
	for _, name := range slices.Backward(names) {
		if err := e.removeAt(ctx, stage.Pipeline, name); err != nil {
			return err
		}
	}
	return nil
}

// adjustTargets gives the environments of a stage at its targets what can be given them while
// they serve.
func (s *Stages) adjustTargets(ctx context.Context, st *pipeline.State, stage pipeline.Stage, secrets StageSecrets) error {
	return sideBySide(ctx, stage.AtTargets(), func(ctx context.Context, at pipeline.Stage) error {
		return s.deploy(ctx, at, st.Current[stage.Name].Build, secrets, func(string, ...any) {})
	})
}
