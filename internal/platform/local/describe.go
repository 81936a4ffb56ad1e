// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// describeAtOnce bounds how many environments are asked at a time.
const describeAtOnce = 32

// Describe reports on environments. Each takes at most two seconds, and they are
// asked side by side. It changes nothing.
func (p *Platform) Describe(ctx context.Context, ids ...string) (map[string]pipeline.EnvironmentReport, error) {
	const op = "describe environments"
	if len(ids) == 0 {
		found, err := names(p.environments())
		if err != nil {
			return nil, protocol.Coded(ctx, op, err)
		}
		ids = found
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	reports := make(map[string]pipeline.EnvironmentReport, len(ids))
	turns := make(chan struct{}, describeAtOnce)
	for _, id := range ids {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			report := p.describe(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			reports[id] = report
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, protocol.Coded(ctx, op, err)
	}
	return reports, nil
}

func (p *Platform) describe(ctx context.Context, id string) pipeline.EnvironmentReport {
	gone := pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone, Reason: "there is no such environment on this machine"}
	if checkID("", "environment", id) != nil || !exists(p.dir(id)) {
		return gone
	}
	c := newClient(p.dir(id), p.fleets(id), nil)
	s, alive, err := c.look(ctx, answerTime)
	switch {
	case alive && err == nil:
		return s.Report
	case alive:
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvDegraded, Reason: fmt.Sprintf("its supervisor does not answer: %v", err)}
	}
	rec, err := protocol.ReadRecord(c.dir)
	switch {
	case err == nil && p.over(rec):
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvExpired, ExpiresAt: rec.ExpiresAt, Reason: protocol.ReasonExpired}
	case pipeline.CodeOf(err) == pipeline.CodeCorrupt:
		gone.Reason = errors.Unwrap(err).Error()
		return gone
	}
	gone.ExpiresAt = rec.ExpiresAt
	gone.Reason = runlog.Saying("its supervisor has ended", protocol.LastLines(filepath.Join(c.dir, protocol.SuperviseLog), protocol.DescribeLines))
	return gone
}
