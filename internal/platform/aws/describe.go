// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// maxFilter is how many values EC2 takes in one filter.
const maxFilter = 200

// Describe reports on environments from the tags and states of their instances: one
// request for up to 200 environments, however large. Of fleets behind a load balancer that
// says which instances get requests. Of environments that have no instance the groups are
// asked for, which may be about to launch one.
func (p *Platform) Describe(ctx context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	mine := []types.Filter{p.stack.Mine(), stack.Filter("tag:"+stack.TagRole, fleet.RoleInstance), instance.Alive}
	reports := map[string]pipeline.EnvironmentReport{}
	if len(ids) == 0 {
		list, err := p.instances.List(ctx, mine...)
		if err != nil {
			return nil, err
		}
		report(list, reports)
		if err := p.checkTargets(ctx, list, reports); err != nil {
			return nil, err
		}
		left, err := p.fleets.Left(ctx)
		if err != nil {
			return nil, err
		}
		for _, id := range left {
			if _, there := reports[id]; !there {
				reports[id] = pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone, Reason: "no instance is left of it, but launch templates and target groups"}
			}
		}
		return reports, nil
	}
	for chunk := range slices.Chunk(ids, maxFilter) {
		list, err := p.instances.List(ctx, append(slices.Clone(mine), stack.Filter("tag:"+fleet.TagEnvironment, chunk...))...)
		if err != nil {
			return nil, err
		}
		report(list, reports)
		if err := p.checkTargets(ctx, list, reports); err != nil {
			return nil, err
		}
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return reports[id].ID != "" })
	if len(missing) == 0 {
		return reports, nil
	}
	starting, err := p.fleets.Starting(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range missing {
		r, ok := starting[id]
		if !ok {
			r = pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone, Reason: "AWS has no instance of it any more"}
		}
		reports[id] = r
	}
	return reports, nil
}

// checkTargets says of environments behind load balancers how many of their instances are
// healthy targets, and of one that is not, why. Who may not ask a load balancer sees how many
// instances run.
func (p *Platform) checkTargets(ctx context.Context, list []types.Instance, reports map[string]pipeline.EnvironmentReport) error {
	if p.stack.Instances {
		return nil
	}
	asked := map[string]bool{}
	for _, i := range list {
		id, of := stack.Tag(i.Tags, fleet.TagEnvironment), stack.Tag(i.Tags, fleet.TagFleet)
		r := reports[id]
		if asked[id] || of != r.Serving || stack.Tag(i.Tags, instance.TagGroup) == "" {
			continue
		}
		asked[id] = true
		targets, err := p.fleets.Targets(ctx, of)
		if code := pipeline.CodeOf(err); code == pipeline.CodeNotAllowed || code == pipeline.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		r.Healthy, r.Instances = targets.Healthy, max(targets.All, targets.Healthy)
		r.Status, r.Reason = pipeline.EnvRunning, ""
		if r.Healthy < r.Instances || r.Instances == 0 {
			r.Status = pipeline.EnvDegraded
			r.Reason = strconv.Itoa(r.Instances-r.Healthy) + " of " + pipeline.Count(r.Instances, "instance") + " are not healthy: " + targets.State
		}
		reports[id] = r
	}
	return nil
}

// report sums instances up by environment.
func report(list []types.Instance, reports map[string]pipeline.EnvironmentReport) {
	for _, i := range list {
		id, of := stack.Tag(i.Tags, fleet.TagEnvironment), stack.Tag(i.Tags, fleet.TagFleet)
		r := reports[id]
		r.ID = id
		if stack.Tag(i.Tags, fleet.TagServing) == "true" {
			r.Serving, r.Endpoint = of, stack.Tag(i.Tags, fleet.TagEndpoint)
			r.Instances++
			if i.State.Name == types.InstanceStateNameRunning {
				r.Healthy++
			}
		} else if stack.Tag(i.Tags, fleet.TagKept) == "" {
			r.Pending = of
		} else {
			continue
		}
		if at, err := time.Parse(time.RFC3339, stack.Tag(i.Tags, stack.TagExpires)); err == nil {
			r.ExpiresAt = at
		}
		r.Status, r.Reason = pipeline.EnvRunning, ""
		if r.Serving != "" && r.Healthy < r.Instances {
			r.Status = pipeline.EnvDegraded
			r.Reason = strconv.Itoa(r.Instances-r.Healthy) + " of " + strconv.Itoa(r.Instances) + " instances are not running"
		}
		reports[id] = r
	}
}
