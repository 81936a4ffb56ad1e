// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The decisions of people, one line for each.

func command(verb decision.Verb, pipelineName, stage, build, reason string) decision.Command {
	return decision.Command{Verb: verb, Pipeline: pipelineName, Stage: stage, Build: build, Reason: reason}
}

func verb(result pipeline.DecisionResult) decision.Verb {
	if result == pipeline.Rejected {
		return decision.Reject
	}
	return decision.Approve
}

func (d *desk) Decide(ctx context.Context, pipelineName, stage, build string, result pipeline.DecisionResult, reason string) (pipeline.Decision, error) {
	return d.DecideOn(ctx, pipelineName, stage, build, decision.Looked{}, result, reason)
}

func (d *desk) DecideOn(ctx context.Context, pipelineName, stage, build string, looked decision.Looked, result pipeline.DecisionResult, reason string) (pipeline.Decision, error) {
	c := command(verb(result), pipelineName, stage, build, reason)
	c.Looked = looked
	o, err := d.Decisions.Do(ctx, c)
	return o.Decision, err
}

func (d *desk) Lift(ctx context.Context, pipelineName, stage, build string, looked decision.Looked, reason string) (pipeline.Decision, error) {
	c := command(decision.Lift, pipelineName, stage, build, reason)
	c.Looked = looked
	o, err := d.Decisions.Do(ctx, c)
	return o.Decision, err
}

func (d *desk) Promote(ctx context.Context, pipelineName, stage, build string) (pipeline.Promotion, error) {
	o, err := d.Decisions.Do(ctx, command(decision.Promote, pipelineName, stage, build, ""))
	return o.Promotion, err
}

func (d *desk) PromoteFrom(ctx context.Context, pipelineName, stage, build string, from decision.Place) (pipeline.Promotion, error) {
	c := command(decision.Promote, pipelineName, stage, build, "")
	c.Looked.Place = &from
	o, err := d.Decisions.Do(ctx, c)
	return o.Promotion, err
}

func (d *desk) Rollback(ctx context.Context, pipelineName, stage, build string) (pipeline.Promotion, error) {
	o, err := d.Decisions.Do(ctx, command(decision.Rollback, pipelineName, stage, build, ""))
	return o.Promotion, err
}

func (d *desk) RollbackFrom(ctx context.Context, pipelineName, stage, build string, from decision.Place) (pipeline.Promotion, error) {
	c := command(decision.Rollback, pipelineName, stage, build, "")
	c.Looked.Place = &from
	o, err := d.Decisions.Do(ctx, c)
	return o.Promotion, err
}

func (d *desk) Override(ctx context.Context, pipelineName, stage, build, reason string) (pipeline.Override, error) {
	o, err := d.Decisions.Do(ctx, command(decision.Override, pipelineName, stage, build, reason))
	return o.Override, err
}

func (d *desk) Pause(ctx context.Context, pipelineName, stage, reason string) (pipeline.Pause, error) {
	o, err := d.Decisions.Do(ctx, command(decision.Pause, pipelineName, stage, "", reason))
	return o.Pause, err
}

func (d *desk) Resume(ctx context.Context, pipelineName, stage string) (pipeline.Pause, error) {
	o, err := d.Decisions.Do(ctx, command(decision.Resume, pipelineName, stage, "", ""))
	return o.Pause, err
}

func (d *desk) Retry(ctx context.Context, pipelineName, stage string) (pipeline.Retry, error) {
	o, err := d.Decisions.Do(ctx, command(decision.Retry, pipelineName, stage, "", ""))
	return o.Retry, err
}
