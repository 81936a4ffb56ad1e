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
)

// maxFilter is how many values EC2 takes in one filter.
const maxFilter = 200

// Describe reports on environments from the tags and states of their instances: one
// request for up to 200 environments, however large. Of those that have no instance the
// groups are asked for, which may be about to launch one.
func (p *Platform) Describe(ctx context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	mine := []types.Filter{filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagRole, roleInstance), alive}
	reports := map[string]pipeline.EnvironmentReport{}
	if len(ids) == 0 {
		list, err := p.list(ctx, mine...)
		if err != nil {
			return nil, err
		}
		report(list, reports)
		return reports, nil
	}
	for chunk := range slices.Chunk(ids, maxFilter) {
		list, err := p.list(ctx, append(slices.Clone(mine), filter("tag:"+tagEnvironment, chunk...))...)
		if err != nil {
			return nil, err
		}
		report(list, reports)
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return reports[id].ID != "" })
	if len(missing) == 0 {
		return reports, nil
	}
	list, err := p.listGroups(ctx, tagServing, "true")
	if err != nil {
		return nil, err
	}
	for _, id := range missing {
		reports[id] = pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone, Reason: "AWS has no instance of it any more"}
		for _, g := range list {
			if g.environment == id && !g.ending {
				reports[id] = pipeline.EnvironmentReport{
					ID: id, Status: pipeline.EnvDegraded, Serving: g.fleet, Endpoint: g.endpoint, Reason: "it has no instance at the moment: Auto Scaling launches one",
				}
			}
		}
	}
	return reports, nil
}

// report sums instances up by environment.
func report(list []types.Instance, reports map[string]pipeline.EnvironmentReport) {
	for _, i := range list {
		id, fleet := tag(i.Tags, tagEnvironment), tag(i.Tags, tagFleet)
		r := reports[id]
		r.ID = id
		if tag(i.Tags, tagServing) == "true" {
			r.Serving, r.Endpoint = fleet, tag(i.Tags, tagEndpoint)
			r.Instances++
			if i.State.Name == types.InstanceStateNameRunning {
				r.Healthy++
			}
		} else if tag(i.Tags, tagKept) == "" {
			r.Pending = fleet
		} else {
			continue
		}
		if at, err := time.Parse(time.RFC3339, tag(i.Tags, tagExpires)); err == nil {
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

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
