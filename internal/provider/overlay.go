// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// overlay is what is known of the configuration in one walk of Terraform, and the pipelines
// that it is planned for. A stage's plan depends on its pipeline and on the stages above;
// Terraform plans them first, so what the configuration says of them is here by then.
type overlay struct {
	engine *engine.Engine

	mu        sync.Mutex
	pipelines map[string]*configured
	inState   map[string]use // by ID: what the walk has found in Terraform's state

	names sync.Map // of resources: the ID of the one that has it, or empty while that is to be created
}

// bakes notes the definition of an image that the apply bakes.
func (o *overlay) bakes(d pipeline.ImageDefinition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.of(d.Pipeline)
	c.baked = append(c.baked, d)
}

// startsFrom notes that a commit stage takes a base image of which the plan does not know which
// one it is.
func (o *overlay) startsFrom(pipelineName string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(pipelineName).baseless = true
}

// base returns the definition of the image that builds of the apply are made of, where the
// apply bakes it first; nil if it is not known which one it is. It reports false where the base
// image is there already.
func (o *overlay) base(pipelineName string) (d *pipeline.ImageDefinition, comes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.of(pipelineName)
	if c.baseless && len(c.baked) == 1 {
		d = &c.baked[0]
	}
	return d, c.baseless
}

// configured is a pipeline with what the walk has said of it.
type configured struct {
	want      gate.Desired
	passed    map[string]string        // by stage: the build that the apply, whose plan did not know it, has said to have passed
	snapshots map[string]gate.Snapshot // by position
	here      engine.Position          // of the first look in this walk, which all plans and reads of it go by

	baked    []pipeline.ImageDefinition // that the apply makes an image of
	baseless bool                       // a commit stage takes a base image that is not known yet
}

func newOverlay(e *engine.Engine) *overlay {
	return &overlay{engine: e, pipelines: map[string]*configured{}, inState: map[string]use{}}
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

// of returns what is known of a pipeline. The caller holds the lock.
func (o *overlay) of(name string) *configured {
	c := o.pipelines[name]
	if c == nil {
		person := o.engine.Person()
		c = &configured{want: gate.Desired{Person: &person, Stages: map[string]gate.Want{}}, passed: map[string]string{}, snapshots: map[string]gate.Snapshot{}}
		o.pipelines[name] = c
	}
	return c
}

// claim notes that a resource has a name, and reports false when another one has it
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

// planPipeline notes a planned pipeline, nil for one that is not known yet.
func (o *overlay) planPipeline(name string, p *pipeline.Pipeline) {
	o.mu.Lock()
	defer o.mu.Unlock()
	want := &o.of(name).want
	want.Pipeline, want.PipelineUnknown = p, p == nil
}

// snapshot returns the pipeline as it was when this walk looked at it first, and the
// position of that.
func (o *overlay) snapshot(ctx context.Context, name string) (gate.Snapshot, engine.Position, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.of(name)
	at, err := o.first(ctx, name, c)
	return at, c.here, err
}

// first is snapshot under the lock.
func (o *overlay) first(ctx context.Context, name string, c *configured) (gate.Snapshot, error) {
	if len(c.snapshots) > 0 {
		return c.snapshots[c.here.Key()], nil
	}
	at, here, err := o.engine.Snapshot(ctx, name)
	if err == nil {
		c.here, c.snapshots[here.Key()] = here, at
	}
	return at, err
}

// at returns the pipeline as it was at a position; nil: as this walk looked at it first.
// Where nothing has happened since, that is the same.
func (o *overlay) at(ctx context.Context, name string, c *configured, at *engine.Position) (gate.Snapshot, error) {
	first, err := o.first(ctx, name, c)
	if err != nil || at == nil {
		return first, err
	}
	s, known := c.snapshots[at.Key()]
	if !known {
		if s, err = o.engine.SnapshotAt(ctx, name, *at); err == nil {
			c.snapshots[at.Key()] = s
		}
	}
	return s, err
}

// planApply plans an apply of a pipeline with what is known of the configuration, at a position,
// or where that is nil at the one of this walk.
func (o *overlay) planApply(ctx context.Context, name string, at *engine.Position) (gate.Planned, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.of(name)
	s, err := o.at(ctx, name, c, at)
	if err != nil {
		return gate.Planned{}, err
	}
	if err := c.check(s.State(), name); err != nil {
		return gate.Planned{}, err
	}
	want := c.want
	want.Stages = maps.Clone(want.Stages)
	return gate.Plan(s, want), nil
}

// wantStage notes what the configuration says of a stage, and which stages above it the
// apply does not run before it: those of which it is known what passed them, unless that is
// what the apply has found out.
func (o *overlay) wantStage(w gate.Want, g gates) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.of(w.Stage.Pipeline)
	w.Pending, w.Unordered = g.pending, map[string]bool{}
	for up, build := range g.builds {
		found, ran := c.passed[up]
		w.Unordered[up] = !ran || build != found
	}
	c.want.Stages[w.Stage.Name] = w
}

// knownAtPlan reports whether the plan of this apply already knew which builds passed the stages
// of an after list.
func (o *overlay) knownAtPlan(pipelineName string, g gates) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.of(pipelineName)
	for up, build := range g.builds {
		if found, ran := c.passed[up]; ran && build == found {
			return false
		}
	}
	return g.open()
}

// newest returns a pipeline as it is now.
func (o *overlay) newest(ctx context.Context, name string) (*pipeline.State, error) {
	st, err := o.engine.State(ctx, name)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return st, o.of(name).check(st, name)
}

// check refuses a pipeline that there is not, nor is going to be.
func (c *configured) check(st *pipeline.State, name string) error {
	if st.Exists() || c.want.Pipeline != nil || c.want.PipelineUnknown {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeNotFound, "find pipeline", "there is no pipeline %q", name).
		WithHint("Refer to the resource, as in penstock_pipeline.%s.name, so that it is made first.", name)
}

// foundOut notes which build an apply has said to have passed a stage, of which its plan did
// not know.
func (o *overlay) foundOut(pipelineName, stage, build string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(pipelineName).passed[stage] = build
}
