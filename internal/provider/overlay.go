// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// overlay holds the definitions that have been planned in one walk of Terraform.
// A stage's plan depends on its pipeline and on the stages above, of which the
// ledger knows only what was applied; Terraform plans them first, so their planned
// definitions are here by then.
type overlay struct {
	engine *engine.Engine

	mu        sync.Mutex
	pipelines map[string]*planned
	inState   map[string]use // by ID: what the walk has found in Terraform's state

	names         sync.Map // of resources: the ID of the one that has it, or empty while that is to be created
	appliedStages sync.Map // stages whose passed build this apply has found out
}

// planned is a pipeline with what has been planned laid over its state.
type planned struct {
	recorded *pipeline.State // that the rest was laid over
	state    *pipeline.State // nil when something was planned since
	pipeline *pipeline.Pipeline
	unknown  bool // the planned definition of the pipeline is not known yet
	changes  bool // the pipeline is planned to change
	stages   map[string]pipeline.Stage
	open     map[string]bool   // stages whose planned definition is not known yet
	enters   map[string]string // by stage: the one build that can enter it in the apply, where that is known
}

// entering gives the one build that can enter all of some stages in the apply; empty where
// it is not known, or not one.
func (p *planned) entering(stages []string) string {
	build := ""
	for _, name := range stages {
		b := p.enters[name]
		if b == "" || build != "" && b != build {
			return ""
		}
		build = b
	}
	return build
}

// mayMake reports whether a commit stage among the named ones, or above them, could make
// a build in the apply that is planned.
func (p *planned) mayMake(stages []string, build string) bool {
	for _, name := range p.state.Ancestors(stages) {
		s := p.state.Stages[name]
		if p.open[name] || s.Type == pipeline.TypeCommit && s.Source != nil && pipeline.BuildID(s.Pipeline, s.Source.Digest, s.BaseImage) == build {
			return true
		}
	}
	return false
}

func newOverlay(e *engine.Engine) *overlay {
	return &overlay{engine: e, pipelines: map[string]*planned{}, inState: map[string]use{}}
}

// use is what a walk does with what Terraform's state has.
type use int

const (
	wasRead use = iota + 1
	isPlanned
	isTainted
)

// read notes that Terraform's state has the thing of an ID.
func (o *overlay) read(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inState[id] == 0 {
		o.inState[id] = wasRead
	}
}

// plan notes that the thing of an ID is planned as what it is, and reports false where
// another resource was planned in its place.
func (o *overlay) plan(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inState[id] == isTainted {
		return false
	}
	o.inState[id] = isPlanned
	return true
}

// tainted reports whether a creation replaces the thing of an ID. Terraform plans what is
// tainted as if there were none, and nothing else that it has read: so it is tainted unless
// it is planned otherwise, before or after this.
func (o *overlay) tainted(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inState[id] != wasRead {
		return false
	}
	o.inState[id] = isTainted
	return true
}

func (o *overlay) of(name string) *planned {
	p := o.pipelines[name]
	if p == nil {
		p = &planned{stages: map[string]pipeline.Stage{}, open: map[string]bool{}, enters: map[string]string{}}
		o.pipelines[name] = p
	}
	return p
}

// take notes that a resource has a name, and reports false when another one has it
// too. id is empty for a resource that is to be created, and no replacement.
func (o *overlay) claim(kind, pipelineName, name, id string) bool {
	had, taken := o.names.LoadOrStore(kind+"/"+pipelineName+"/"+name, id)
	return !taken || id != "" && had == id
}

// plansImage reports whether a baked image of the pipeline was planned before.
func (o *overlay) plansImage(pipelineName string) (found bool) {
	o.names.Range(func(key, _ any) bool {
		found = strings.HasPrefix(key.(string), "image/"+pipelineName+"/")
		return !found
	})
	return found
}

// learn notes that an apply has found out what build passed a stage, which its plan did
// not know.
func (o *overlay) markApplied(pipelineName, stage string) {
	o.appliedStages.Store(pipelineName+"/"+stage, true)
}

// late reports whether an apply has found out what passed one of the stages of an after
// list.
func (o *overlay) hasApplied(pipelineName string, g gates) bool {
	return len(o.lately(pipelineName, g)) > 0
}

// lately lists those stages.
func (o *overlay) lately(pipelineName string, g gates) []string {
	return slices.DeleteFunc(slices.Clone(g.stages), func(up string) bool {
		_, late := o.appliedStages.Load(pipelineName + "/" + up)
		return !late
	})
}

// planPipeline notes a planned pipeline, nil for one that is not known yet, and whether it
// changes.
func (o *overlay) planPipeline(name string, p *pipeline.Pipeline, changes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.of(name)
	at.pipeline, at.unknown, at.changes, at.state = p, p == nil, changes, nil
}

// planStage notes a planned stage.
func (o *overlay) planStage(s pipeline.Stage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.of(s.Pipeline)
	at.stages[s.Name] = s
	if at.state != nil {
		at.state.Stages[s.Name] = s
	}
}

// planUndecided notes that a stage will exist whose definition is not known yet:
// enough for others to come after it.
func (o *overlay) planUnknown(ctx context.Context, s pipeline.Stage) error {
	o.mu.Lock()
	o.of(s.Pipeline).open[s.Name] = true
	o.mu.Unlock()
	recorded, err := o.engine.State(ctx, s.Pipeline)
	if err != nil {
		return err
	}
	if _, exists := recorded.Stages[s.Name]; !exists {
		o.planStage(s)
	}
	return nil
}

// view calls f with the pipeline's state as it is planned, and what is not known of it
// yet. f must not keep the two, and must not call the overlay.
func (o *overlay) view(ctx context.Context, name string, f func(st *pipeline.State, at *planned) error) error {
	recorded, err := o.engine.State(ctx, name)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.of(name)
	if at.state == nil || at.recorded != recorded {
		at.recorded, at.state = recorded, recorded.Clone()
		if at.pipeline != nil {
			at.state.Pipeline = *at.pipeline
		}
		for stageName, s := range at.stages {
			at.state.Stages[stageName] = s
		}
	}
	if !at.state.Exists() && !at.unknown {
		return pipeline.Errorf(pipeline.CodeNotFound, "find pipeline", "there is no pipeline %q", name).
			WithHint("Refer to the resource, as in penstock_pipeline.%s.name, so that it is made first.", name)
	}
	return f(at.state, at)
}
