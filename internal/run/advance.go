// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// AdvanceRequest asks for a stage to be defined and moved.
type AdvanceRequest struct {
	Stage  pipeline.Stage // with its defaults filled in
	Create bool           // the caller knows of no such stage yet: it takes over an existing one
	// Intent is what was planned; zero if nothing was planned. If the gates have opened for a
	// newer build since, the planned one still goes.
	Intent  gate.Intent
	Secrets StageSecrets
}

// StageSecrets are the write-only variables of a stage.
type StageSecrets struct {
	Environment pipeline.Secrets
	Module      map[string]pipeline.Secret // variables of the module: values in JSON
	Steps       []pipeline.Secrets         // by the step's index; may be shorter
}

func (s StageSecrets) step(i int) pipeline.Secrets {
	if i < len(s.Steps) {
		return s.Steps[i]
	}
	return nil
}

// all returns the secrets of the whole stage.
func (s StageSecrets) all() []pipeline.Secret {
	all := s.Environment.Values()
	for _, secrets := range s.Steps {
		all = append(all, secrets.Values()...)
	}
	for _, secret := range s.Module {
		all = append(all, secret)
	}
	return all
}

// Advance records the stage's definition and does what the gates allow: nothing, a run, a
// restored or an adjusted environment. If it fails, the stage keeps its current build. It is
// safe to call again after any failure, kill or cancel, and concurrently: one call works, the
// others wait for it.
func (s *Stages) Advance(ctx context.Context, r AdvanceRequest) (report.StageView, error) {
	view, err := s.advance(ctx, r)
	if err == nil {
		s.planNext(ctx, r.Stage.Pipeline, r.Stage.Name)
	}
	return view, err
}

func (s *Stages) advance(ctx context.Context, r AdvanceRequest) (report.StageView, error) {
	stage := r.Stage
	leased, h, err := s.locks.Lock(ctx, lock.Stage(stage.Pipeline, stage.Name), "stage "+stage.Name)
	if err != nil {
		return report.StageView{}, err
	}
	defer s.locks.Unlock(ctx, h)
	st, err := s.recovered(leased, h, stage.Pipeline, stage.Name)
	if err != nil {
		return report.StageView{}, err
	}
	if err := s.Check(st, stage); err != nil {
		return report.StageView{}, err
	}
	if err := pipeline.CheckImages(st, stage); err != nil {
		return report.StageView{}, err
	}
	if _, err := gate.Confirm(gate.At(st, 0), stage, r.Intent); err != nil { // refused definitions are not recorded
		return report.StageView{}, err
	}
	if err := gate.CheckPerson(st, stage, s.person); err != nil {
		return report.StageView{}, err
	}
	if stage, err = s.define(leased, h, st, stage, r.Create); err != nil {
		return report.StageView{}, err
	}
	if st, err = s.states.State(leased, stage.Pipeline); err != nil {
		return report.StageView{}, err
	}
	move, err := gate.Confirm(gate.At(st, 0), stage, r.Intent)
	if err != nil {
		return report.StageView{}, err
	}
	if err := s.actAndPublish(leased, h, st, stage, move, r.Secrets); err != nil {
		return report.StageView{}, lock.LostOr(leased, err)
	}
	if !stage.Applied {
		stage.Applied = true
		if err := s.states.Append(leased, stage.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &stage}}); err != nil {
			return report.StageView{}, lock.LostOr(leased, err)
		}
	}
	if err := s.endLeft(leased, h, stage); err != nil {
		return report.StageView{}, lock.LostOr(leased, err)
	}
	if st, err = s.removeObsolete(leased, h, stage); err != nil {
		return report.StageView{}, lock.LostOr(leased, err)
	}
	if r.Create {
		s.creations.created(stage.Pipeline, pipeline.RecordStage, stage.Name, stage.ID)
	}
	s.collector.Quietly(leased, st, h)
	return s.statuses.StageViewIn(st, stage), nil
}

// Check refuses a stage that can't be where it is, whose environment the platform can't
// provide, or whose runner does not exist.
func (s *Stages) Check(st *pipeline.State, stage pipeline.Stage) error {
	if err := pipeline.CheckStage(st, stage); err != nil {
		return err
	}
	if err := s.runner.Check(stage.Runner); err != nil {
		return err
	}
	if err := s.CheckPlaces(st, stage); err != nil {
		return err
	}
	if err := s.CheckPublication(stage); err != nil || stage.Env == nil {
		return err
	}
	if err := pipeline.CheckData(st, stage); err != nil {
		return err
	}
	if err := pipeline.CheckEndpoint(st, stage); err != nil {
		return err
	}
	return s.platform.Check(*stage.Env)
}

// CheckPlaces refuses places that the environments of a stage can't be at, or not yet. It opens
// none.
func (s *Stages) CheckPlaces(st *pipeline.State, stage pipeline.Stage) error {
	if err := pipeline.CheckTargets(st, stage); err != nil || stage.Env == nil {
		return err
	}
	siting := pipeline.Siting{Spec: *stage.Env}
	for _, at := range stage.AtPlaces() {
		siting.At = append(siting.At, at.At)
	}
	left := pipeline.LeftPlaces(st, stage)
	for _, env := range st.EnvironmentsInOrder() {
		if slices.Contains(left, env.Stage) {
			siting.Beside = append(siting.Beside, env)
		}
	}
	return s.places.Allow(siting)
}

// CheckLaunch refuses instances of a stage that can't be launched from the images of a build,
// and places that can't be reached.
func (s *Stages) CheckLaunch(ctx context.Context, st *pipeline.State, stage pipeline.Stage, build string) error {
	if err := s.places.Check(ctx, stage.At); err != nil {
		return err
	}
	err := sideBySide(ctx, stage.AtTargets(), func(ctx context.Context, at pipeline.Stage) error { return s.places.Check(ctx, at.At) })
	if err != nil {
		return err
	}
	b, known := st.Builds[build]
	if !known || stage.Env == nil || b.BaseImage == "" {
		return nil
	}
	env := stage.EnvironmentFor(st.Pipeline)
	return s.platform.CheckLaunch(ctx, b.BaseImage, env.InstanceType, env.Volume)
}

// Foresee looks, before a plan's deployment to a persistent environment of a stage, at what it
// meets, as the platform does. It asks for nothing where there is none.
func (s *Stages) Foresee(ctx context.Context, st *pipeline.State, stage pipeline.Stage) (carried string, err error) {
	if !stage.Persistent() || st.Pipeline.Service.Start == "" { // else a module makes what there is
		return "", nil
	}
	for _, at := range stage.AtTargets() {
		there, err := s.Foresee(ctx, st, at)
		if err != nil {
			return "", err
		}
		if there != "" {
			carried = strings.TrimPrefix(carried+"; "+at.At.Name+": "+there, "; ")
		}
	}
	if stage.Spread() {
		return carried, nil
	}
	f := pipeline.Foresight{Env: stage.EnvironmentFor(st.Pipeline)}
	if env, exists := st.RunEnvironment(stage.Name, pipeline.ForStage); exists && env.Serves() {
		f.Fleet = env.Fleet
	}
	return s.places.At(stage.At).Foresee(ctx, f)
}

// CheckRunner refuses a runner that does not exist.
func (s *Stages) CheckRunner(runner pipeline.RunnerKind) error { return s.runner.Check(runner) }

// recovered returns the state of an existing pipeline, after finishing or clearing away what
// a dead run of the stage left.
func (e *core) recovered(ctx context.Context, h *lock.Lock, pipelineName, stage string) (*pipeline.State, error) {
	st, err := e.states.Fresh(ctx, pipelineName)
	if err != nil {
		return nil, err
	}
	if !st.Exists() {
		return nil, state.NoPipeline(pipelineName)
	}
	if err := e.recover(ctx, h, st, stage); err != nil {
		return nil, err
	}
	return e.states.Fresh(ctx, pipelineName)
}

// actAndPublish executes the move, and brings the stage's channel to what the stage gives out
// then. What it gives out already comes first: a build that fails must not keep a channel at
// one that was rejected.
func (s *Stages) actAndPublish(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage, move gate.Move, secrets StageSecrets) error {
	var before error
	if move.Action != gate.ActionNone && move.Action != gate.ActionPublish && pipeline.ChannelDue(st, stage.Name) {
		before = s.publishDue(ctx, h, stage.Pipeline, stage.Name)
	}
	if err := s.act(ctx, h, st, stage, move, secrets); err != nil {
		return errors.Join(err, before)
	}
	if _, recorded := st.Channels[stage.Name]; stage.Publish == nil && !recorded {
		return nil
	}
	return s.publishDue(ctx, h, stage.Pipeline, stage.Name)
}

// act executes the move.
func (s *Stages) act(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage, move gate.Move, secrets StageSecrets) error {
	switch adjusts := move.Action == gate.ActionAdjust || move.Action == gate.ActionFinish; {
	case move.Why.Kind == gate.WhyTargetLeft: // which is done last, whatever else is
		return nil
	case adjusts && stage.Spread():
		return s.adjustTargets(ctx, st, stage, secrets)
	}
	switch move.Action {
	case gate.ActionRun, gate.ActionRestore:
		if err := s.run(ctx, h, st, stage, move, secrets); err != nil || !stage.Persistent() {
			return err
		}
		return s.finishUnder(ctx, h, stage, secrets.all())
	case gate.ActionFinish:
		return s.finishUnder(ctx, h, stage, secrets.all())
	case gate.ActionAdopt:
		event := gate.Adoption(st, stage, move.Candidate.ID)
		event.Facts.Current.At = st.Current[stage.Name].Since(move.Candidate.ID, s.now())
		return s.states.AppendExpecting(ctx, stage.Pipeline, &h.Lease, takenUp(st, move), event)
	case gate.ActionAdjust:
		return s.adjustStage(ctx, h, st, stage, move.Instances)
	case gate.ActionEnd:
		env, _ := st.DecidedEnvironment(stage)
		return s.collector.EndEnvironment(ctx, stage.Pipeline, h.Lease, env)
	default:
		return nil
	}
}

// takenUp returns what must not have changed when a move begins: the promotion that it takes
// up, which a person may cancel until then. It is nil for a move that nobody promoted.
func takenUp(st *pipeline.State, move gate.Move) map[pipeline.Key]int64 {
	if move.Origin != gate.OriginPromotion {
		return nil
	}
	key := pipeline.Key{Kind: pipeline.RecordPromotion, ID: move.Stage.Name}
	return map[pipeline.Key]int64{key: st.Version(key.Kind, key.ID)}
}

// adjustStage changes what can be changed of a stage's environment while it serves.
func (s *Stages) adjustStage(ctx context.Context, h *lock.Lock, st *pipeline.State, stage pipeline.Stage, instances int) error {
	env, ok := st.RunEnvironment(stage.Name, pipeline.ForStage)
	if !ok {
		return pipeline.Errorf(pipeline.CodeInternal, "adjust stage "+stage.Name, "it has no environment")
	}
	env, err := s.adjusted(ctx, h, env, stage.EnvironmentFor(st.Pipeline), instances)
	if err != nil {
		return err
	}
	return s.recordEnvironment(ctx, h, env)
}
