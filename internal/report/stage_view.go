// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// StageView is a stage, or a baked image, as all faces show it: what it is at, and what comes
// next. For an image, only the view, the run, its log and the progress are set.
type StageView struct {
	gate.View
	Stage       pipeline.Stage
	Passed      string // the newest build that passed; empty for none
	Run         pipeline.RunSummary
	Image       string // the image that the stage baked of its current build, or that its persistent environment runs from; empty for none
	Artifact    *pipeline.Artifact
	Environment *pipeline.Environment // that the stage has now, also that of a run; nil for none
	Finish      *pipeline.Finish      // that its deployment is still to be finished by; nil for none
	Drift       *pipeline.Drift       // of the infrastructure of its persistent environment; nil if nothing is known of it
	// TargetDrifts are those at the targets of a stage with several, in their order, of which
	// something is known.
	TargetDrifts []pipeline.Drift
	Channel      *pipeline.Channel // that the stage publishes by; nil for none
	Log          string            // where the log of Run is; empty without a run
	Progress     *Progress         // of the run that is under way; only Views sets it
	Applies      *Applies          // who makes what comes next happen; only Views sets it

	state *pipeline.State // which names its builds
}

// Build returns a build of the stage, such as the current or the next one, as people name it.
func (v StageView) Build(id string) Named {
	if v.state == nil {
		return Named{ID: id}
	}
	return NameOf(v.state, id)
}

// Drifts returns what is known of the drift of the stage, wherever it has environments.
func (v StageView) Drifts() []pipeline.Drift {
	if v.Drift != nil {
		return []pipeline.Drift{*v.Drift}
	}
	return v.TargetDrifts
}

// DriftAt returns what is known of the drift of the stage at one of its targets; nil for nothing.
func (v StageView) DriftAt(target string) *pipeline.Drift {
	for _, d := range v.TargetDrifts {
		if d.Stage == pipeline.AtTarget(v.Stage.Name, target) {
			return &d
		}
	}
	return nil
}

// StageView returns a stage; CodeNotFound for one that does not exist.
func (r *Reports) StageView(ctx context.Context, pipelineName, stage string) (StageView, error) {
	st, s, err := r.states.Stage(ctx, pipelineName, stage)
	if err != nil {
		return StageView{}, err
	}
	return r.StageViewIn(st, s), nil
}

// StageViewIn returns a stage in a state. It reads nothing.
func (r *Reports) StageViewIn(st *pipeline.State, s pipeline.Stage) StageView {
	return r.stageView(st, s, gate.Now(st).View(s.Name))
}

func (r *Reports) stageView(st *pipeline.State, s pipeline.Stage, v gate.View) StageView {
	out := StageView{View: v, Stage: s, Passed: st.NewestPassed(s.Name), Run: st.Latest[s.Name], state: st}
	if out.Run.ID != "" {
		out.Log = r.logs.Location(s.Pipeline, out.Run.ID)
	}
	if c, ok := st.Channels[s.Name]; ok && !c.Left {
		out.Channel = &c
	}
	if b, ok := st.Builds[out.Current.Build]; ok {
		out.Artifact = b.Artifact
		switch {
		case s.Bake:
			out.Image = b.Image
		case s.Persistent():
			out.Image = st.Launch(s, b.ID).Image
		}
	}
	if f, pending := st.PendingFinish(s.Name); pending {
		out.Finish = &f
	}
	for _, at := range s.AtPlaces() {
		switch drift, known := pipeline.DriftOf(st, at); {
		case !known:
		case s.Spread():
			out.TargetDrifts = append(out.TargetDrifts, drift)
		default:
			out.Drift = &drift
		}
	}
	if out.Environment = out.Current.Environment; out.Environment == nil {
		if env, ok := st.RunEnvironment(s.Name, pipeline.ForRun); ok && env.Serves() {
			out.Environment = &env
		}
	}
	return out
}

// Views returns the images and the stages of a pipeline in order, with the progress of what
// runs, and whether somebody applies. What a process ran that is gone, the next apply runs.
func (r *Reports) Views(ctx context.Context, st *pipeline.State) ([]StageView, error) {
	leases, err := r.ledger.Leases(ctx)
	if err != nil {
		return nil, err
	}
	applies, plan := r.appliesIn(leases, st.Pipeline.Name), gate.Now(st)
	var all []StageView
	for _, v := range plan.Views() {
		progress, err := r.progress(ctx, st, v.Name, leases)
		if err != nil {
			return nil, err
		}
		s, isStage := st.Stages[v.Name]
		if progress != nil && progress.Dead {
			v = plan.ViewWithoutRun(v.Name)
		}
		out := StageView{View: v, Run: st.Latest[v.Name], state: st}
		if isStage {
			out = r.stageView(st, s, v)
		} else if out.Run.ID != "" {
			out.Log = r.logs.Location(st.Pipeline.Name, out.Run.ID)
		}
		out.Progress, out.Applies = progress, &applies
		if out.Next.Kind == gate.NextPromoted && !applies.Watched {
			out.Next.Signal = gate.SignalPerson // who has to apply
			if out.Signal != gate.SignalServing && out.Signal != gate.SignalFailed {
				out.Signal = gate.SignalPerson
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// Applies says who applies a pipeline's configuration.
type Applies struct {
	Watched  bool              `json:"watched"`          // a watcher applies what can move
	Watcher  pipeline.Holder   `json:"watcher,omitzero"` // without an activity it waits for what can move
	UnderWay []pipeline.Holder `json:"holders"`          // what is being done
}

// Applies returns who applies the configuration of a pipeline.
func (r *Reports) Applies(ctx context.Context, pipelineName string) (Applies, error) {
	leases, err := r.ledger.Leases(ctx)
	if err != nil {
		return Applies{}, err
	}
	return r.appliesIn(leases, pipelineName), nil
}

// AppliesOf is Applies of some pipelines, by name.
func (r *Reports) AppliesOf(ctx context.Context, pipelines ...string) (map[string]Applies, error) {
	leases, err := r.ledger.Leases(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Applies, len(pipelines))
	for _, name := range pipelines {
		all[name] = r.appliesIn(leases, name)
	}
	return all, nil
}

func (r *Reports) appliesIn(leases []pipeline.Lease, pipelineName string) (a Applies) {
	for _, l := range leases {
		switch key := pipeline.ParseLeaseKey(l.Key); {
		case key.Pipeline != pipelineName || r.now().After(l.Expires):
		case key.Kind == pipeline.LeaseWatch:
			a.Watched, a.Watcher = true, l.Holder
		case key.Kind == pipeline.LeaseNotify, key.Kind == pipeline.LeaseDrift:
		default:
			a.UnderWay = append(a.UnderWay, l.Holder)
		}
	}
	slices.SortFunc(a.UnderWay, func(x, y pipeline.Holder) int {
		return cmp.Or(x.Since.Compare(y.Since), strings.Compare(x.Purpose, y.Purpose))
	})
	return a
}
