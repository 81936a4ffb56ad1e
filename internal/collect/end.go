// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	if err := c.of(env, lease).Destroy(ctx, env.ID); err != nil {
		return c.stays(ctx, lease, env, c.unended(ctx, env, err))
	}
	return c.unrecord(ctx, lease, env)
}

// unended says why an environment could not be ended, and what becomes of one at a place that
// can't be opened.
func (c *Collector) unended(ctx context.Context, env pipeline.Environment, err error) error {
	if ctx.Err() != nil || c.places.Check(ctx, env.Target) == nil {
		return fmt.Errorf("end %s: %w", env.Describe(), err)
	}
	hint, ways := pipeline.RemedyOf(err)
	forget := pipeline.Advice{Verb: pipeline.VerbForget, Pipeline: env.Pipeline, Environment: env.ID}
	text := errors.New(err.Error()) // whose remedy is not all
	return pipeline.Errorf(pipeline.CodeOf(err), "end "+env.Describe(), "%w", text).
		WithHint("%s", strings.TrimSpace(hint+" The next apply tries again.")).WithAdvice(append(ways[:len(ways):len(ways)], forget)...)
}

// ForgetEnvironment removes the record of an environment that can't be ended. What there is of
// it stays. The change to ending, before it, says that and why.
func (c *Collector) ForgetEnvironment(ctx context.Context, lease pipeline.Lease, env pipeline.Environment, why error) error {
	env.Status, env.Reason = pipeline.EnvEnding, "forgotten, with what there is of it: "+why.Error()
	if err := c.states.Append(ctx, env.Pipeline, &lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}}); err != nil {
		return err
	}
	return c.unrecord(ctx, lease, env)
}

// unrecord removes the record of an environment.
func (c *Collector) unrecord(ctx context.Context, lease pipeline.Lease, env pipeline.Environment) error {
	st, err := c.states.State(ctx, env.Pipeline)
	if err != nil {
		return err
	}
	gone := append(st.RaisedOf(env.ID), pipeline.Key{Kind: pipeline.RecordEnvironment, ID: env.ID})
	if env.Purpose == pipeline.ForPerson {
		gone = append(gone, pipeline.CreationKey(pipeline.RecordEnvironment, env.Name))
	}
	return c.states.Append(ctx, env.Pipeline, &lease, pipeline.Event{Kind: pipeline.EnvironmentEnded, Facts: pipeline.Facts{Gone: gone}})
}

// stays records why an environment could not be ended, so that it is listed with the reason
// until it can. It returns that.
func (c *Collector) stays(ctx context.Context, lease pipeline.Lease, env pipeline.Environment, cause error) error {
	if env.Module == nil && env.Target.Home() || ctx.Err() != nil || env.Reason == cause.Error() {
		return cause
	}
	env.Reason = cause.Error()
	if err := c.states.Append(ctx, env.Pipeline, &lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}}); err != nil {
		c.logger.Warn("record why an environment could not be ended", "environment", env.ID, "error", err)
	}
	return cause
}

// EndInquiries ends the environments in which a build was tried, once it is decided there. If
// it is rejected at any stage, it has nowhere to be tried for.
func (c *Collector) EndInquiries(ctx context.Context, pipelineName, build string) (err error) {
	st, err := c.states.Fresh(ctx, pipelineName)
	if err != nil {
		return err
	}
	rejected := st.RejectedAt(build) != ""
	for _, stage := range st.StagesInOrder() {
		env, ok := st.RunEnvironment(stage.Name, pipeline.ForInquiry)
		if ok && env.Build == build && (rejected || st.IsDecided(stage, build)) {
			err = errors.Join(err, c.endInquiry(ctx, pipelineName, env))
		}
	}
	return err
}

func (c *Collector) endInquiry(ctx context.Context, pipelineName string, env pipeline.Environment) error {
	leased, h, err := c.locks.Try(ctx, lock.Stage(pipelineName, env.Stage), "end of the environment to try "+env.Build)
	if err != nil || h == nil {
		return err // a run has the stage's lease: it replaces the environment
	}
	defer c.locks.Unlock(ctx, h)
	return c.EndEnvironment(leased, pipelineName, h.Lease, env)
}

// EndExpired ends what modules have made for the environments of all pipelines whose time is
// over. It returns when the time of the next one is; zero if none has a time.
func (c *Collector) EndExpired(ctx context.Context) (next time.Time, err error) {
	c.states.AskAgain()
	all, err := c.states.All(ctx)
	if err != nil {
		return next, err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		err = errors.Join(err, c.endModules(ctx, all[name]))
		for _, env := range all[name].Environments {
			if env.Module == nil || env.ExpiresAt.IsZero() || !env.Serves() {
				continue
			}
			if next.IsZero() || env.ExpiresAt.Before(next) {
				next = env.ExpiresAt
			}
		}
	}
	return next, err
}
