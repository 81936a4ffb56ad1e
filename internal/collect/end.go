// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package collect

import (
	"context"
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// EndEnvironment destroys an environment and then removes its record, in that order: what is
// recorded can be found, what is not recorded can't. lease is that of the environment, under
// lock.Environment.
func (c *Collector) EndEnvironment(ctx context.Context, pipelineName string, lease pipeline.Lease, env pipeline.Environment) error {
	if env.Status != pipeline.EnvEnding {
		env.Status = pipeline.EnvEnding
		if err := c.states.Append(ctx, pipelineName, &lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}}); err != nil {
			return err
		}
	}
	if err := c.under(lease).Destroy(ctx, env.ID); err != nil {
		return fmt.Errorf("end %s: %w", env.Describe(), err)
	}
	st, err := c.states.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	gone := append(st.RaisedOf(env.ID), pipeline.Key{Kind: pipeline.RecordEnvironment, ID: env.ID})
	if env.Purpose == pipeline.ForPerson {
		gone = append(gone, pipeline.CreationKey(pipeline.RecordEnvironment, env.Name))
	}
	return c.states.Append(ctx, pipelineName, &lease, pipeline.Event{Kind: pipeline.EnvironmentEnded, Facts: pipeline.Facts{Gone: gone}})
}

// EndInquiry ends the environment in which a build was tried, once the build is decided.
func (c *Collector) EndInquiry(ctx context.Context, pipelineName, stage, build string) error {
	st, err := c.states.Fresh(ctx, pipelineName)
	if err != nil {
		return err
	}
	env, ok := st.RunEnvironment(stage, pipeline.ForInquiry)
	if !ok || env.Build != build || !st.IsDecided(st.Stages[stage], build) {
		return nil
	}
	leased, h, err := c.locks.Try(ctx, lock.Stage(pipelineName, stage), "end of the environment to try "+build)
	if err != nil || h == nil {
		return err // a run has the stage's lease: it replaces the environment
	}
	defer c.locks.Unlock(ctx, h)
	return c.EndEnvironment(leased, pipelineName, h.Lease, env)
}
