// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// expiringBefore is how long before its end a person's environment is announced to
// end: time enough to save what is in it, or to extend it.
const expiringBefore = 30 * time.Minute

// Notice looks at the environments of a pipeline, and records once what only a look can
// tell: that one is about to end or has ended, or is not as it was left.
func (e *Engine) Notice(ctx context.Context, pipelineName string) error {
	st, err := e.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	for _, env := range st.Environments {
		kind := e.remarkable(env)
		raised := pipeline.Raised{ID: pipeline.RaisedID(env, kind), Kind: kind, Environment: env}
		if _, known := st.Raised[raised.ID]; known || kind == "" {
			continue
		}
		raised.Environment.Spec.Env = nil // may hold what is not for everybody
		key := pipeline.Key{Kind: pipeline.RecordRaised, ID: raised.ID}
		err := e.appendExpecting(ctx, pipelineName, nil, map[pipeline.Key]int64{key: 0},
			pipeline.Event{Kind: pipeline.EnvironmentNoticed, Facts: pipeline.Facts{Raised: &raised}})
		if err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict { // else another process has noticed, too
			return err
		}
	}
	return nil
}

// remarkable gives what there is to say of an environment; empty for nothing.
func (e *Engine) remarkable(env pipeline.Environment) pipeline.NoticeKind {
	person := env.Purpose == pipeline.ForPerson
	switch {
	case env.Status == pipeline.EnvExpired && person:
		return pipeline.NoticeExpired
	case env.Status == pipeline.EnvGone && env.Purpose != pipeline.ForRun, env.Status == pipeline.EnvDegraded && env.Purpose == pipeline.ForStage:
		return pipeline.NoticeDrift
	case person && env.Serves() && !env.ExpiresAt.IsZero() && env.ExpiresAt.Sub(e.Now()) < expiringBefore && env.TTL > 2*expiringBefore:
		return pipeline.NoticeExpiring
	}
	return ""
}

// raisedOf gives the keys of what was noticed of an environment.
func raisedOf(st *pipeline.State, env string) []pipeline.Key {
	var keys []pipeline.Key
	for id := range st.Raised {
		if strings.HasPrefix(id, env+"/") {
			keys = append(keys, pipeline.Key{Kind: pipeline.RecordRaised, ID: id})
		}
	}
	return keys
}
