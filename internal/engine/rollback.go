// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Rollback promotes a manual stage to the build that passed it before the one that it
// holds, or to a named older one. It is a promotion: the next apply moves the stage.
func (e *Engine) Rollback(ctx context.Context, pipelineName, stage, build string) (pipeline.Promotion, error) {
	return e.rollback(ctx, pipelineName, stage, build, nil)
}

// RollbackFrom is Rollback as PromoteFrom is Promote.
func (e *Engine) RollbackFrom(ctx context.Context, pipelineName, stage, build string, from Place) (pipeline.Promotion, error) {
	return e.rollback(ctx, pipelineName, stage, build, &from)
}

// BuildBefore gives the build that a rollback of a stage goes back to where nobody names
// one: of those older than what it holds, the one that passed it last; empty for none.
func BuildBefore(st *pipeline.State, s pipeline.Stage) string {
	held := st.Builds[st.Current[s.Name].Build]
	var last pipeline.RunSummary
	for b, build := range st.Builds {
		if build.Order >= held.Order {
			continue
		}
		for _, v := range st.Results[pipeline.StageBuild(s.Name, b)] {
			if later := cmp.Or(v.EndedAt.Compare(last.EndedAt), strings.Compare(v.ID, last.ID)) > 0; later && v.Status == pipeline.RunPassed && gate.MayEnter(st, s, b) {
				last = v
			}
		}
	}
	return last.Build
}

func (e *Engine) rollback(ctx context.Context, pipelineName, stage, build string, from *Place) (pipeline.Promotion, error) {
	op := rollbackOf(stage)
	st, s, err := e.stage(ctx, pipelineName, stage)
	if err != nil {
		return pipeline.Promotion{}, err
	}
	held := st.Builds[st.Current[stage].Build]
	if held.ID == "" {
		return pipeline.Promotion{}, pipeline.Errorf(pipeline.CodeRefused, op, "it holds no build yet").WithHint("There is nothing to go back from.")
	}
	if build == "" {
		build = BuildBefore(st, s)
	}
	switch b, known := st.Builds[build]; {
	case build == "":
		return pipeline.Promotion{}, pipeline.Errorf(pipeline.CodeRefused, op, "no older build that may be there has passed it").
			WithHint("`penstock builds %s` lists the builds with the stages that they passed.", pipelineName)
	case known && b.Order >= held.Order:
		return pipeline.Promotion{}, pipeline.Errorf(pipeline.CodeRefused, op, "build %s is not older than %s, which it holds", build, held.ID).
			WithHint("To go forward use `penstock promote %s %s %s`.", pipelineName, stage, build)
	}
	return e.promote(ctx, op, pipelineName, stage, build, from)
}

func rollbackOf(stage string) string { return fmt.Sprintf("roll back stage %q", stage) }

// CheckRollback is CheckPromote for a rollback.
func (e *Engine) CheckRollback(st *pipeline.State, s pipeline.Stage, build string) error {
	return e.checkMove(rollbackOf(s.Name), st, s, build)
}
