// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// expiringBefore is how long before its end a person's environment is announced to end: time
// enough to save its data, or to extend it. For an environment that lives less than two hours
// it is a quarter of its life.
const expiringBefore = 30 * time.Minute

// Notice looks at the environments of a pipeline that has targets, and records once what only
// a look shows: that an environment is about to end or has ended, or is not as it was left.
// It forgets what is no longer true, so that it is noticed if it becomes true again.
func (e *Environments) Notice(ctx context.Context, pipelineName string) error {
	st, err := e.states.State(ctx, pipelineName)
	if err != nil || len(st.Pipeline.Notify) == 0 {
		return err
	}
	for _, env := range st.Environments {
		if env.Purpose != pipeline.ForPerson && st.RunsNow(env.Stage) {
			continue // the run changes it
		}
		if err := e.notice(ctx, st, env); err != nil {
			return err
		}
	}
	return nil
}

// notice records what is to be raised about an environment and was not recorded, unless
// another process has done so, or this one may not.
func (e *Environments) notice(ctx context.Context, st *pipeline.State, env pipeline.Environment) error {
	defined := pipeline.Key{Kind: pipeline.RecordPipeline, ID: st.Pipeline.Name}
	expect := map[pipeline.Key]int64{defined: st.Version(defined.Kind, defined.ID)}
	facts := pipeline.Facts{Gone: st.RaisedOf(env.ID)}
	if kind := e.alert(env); kind != "" {
		key := pipeline.Key{Kind: pipeline.RecordRaised, ID: pipeline.RaisedID(env, kind)}
		facts.Gone = slices.DeleteFunc(facts.Gone, func(k pipeline.Key) bool { return k == key })
		if expect[key] = st.Version(key.Kind, key.ID); expect[key] == 0 {
			env.Spec.Env = nil // may contain what is not for everybody
			facts.Raised = &pipeline.Raised{ID: key.ID, Kind: kind, Environment: env}
		}
	}
	if facts.Raised == nil && len(facts.Gone) == 0 {
		return nil
	}
	for _, key := range facts.Gone {
		expect[key] = st.Version(key.Kind, key.ID)
	}
	err := e.states.AppendExpecting(ctx, st.Pipeline.Name, nil, expect, pipeline.Event{Kind: pipeline.EnvironmentNoticed, Facts: facts})
	if code := pipeline.CodeOf(err); code == pipeline.CodeConflict || code == pipeline.CodeNotAllowed {
		return nil
	}
	return err
}

// alert returns what is to be raised about an environment; empty for nothing.
func (e *Environments) alert(env pipeline.Environment) pipeline.NoticeKind {
	person := env.Purpose == pipeline.ForPerson
	switch {
	case env.Status == pipeline.EnvExpired && person:
		return pipeline.NoticeExpired
	case env.Status == pipeline.EnvGone && env.Purpose != pipeline.ForRun, env.Status == pipeline.EnvDegraded && env.Purpose == pipeline.ForStage:
		return pipeline.NoticeDrift
	case person && env.Serves() && !env.ExpiresAt.IsZero() && env.ExpiresAt.Sub(e.now()) < min(expiringBefore, env.TTL/4):
		return pipeline.NoticeExpiring
	}
	return ""
}
