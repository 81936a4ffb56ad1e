// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"io"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
)

// Extend implements pipeline.Environments.
func (p *Platform) Extend(ctx context.Context, environment string, at time.Time) error {
	ctx, env, err := p.environment(ctx, environment)
	if err != nil {
		return err
	}
	return env.Extend(ctx, at)
}

// Exec implements pipeline.Environments.
func (p *Platform) Exec(ctx context.Context, environment, fleet string, c pipeline.Command, log io.Writer) (int, error) {
	return p.fleets.Exec(ctx, environment, fleet, c, log)
}

// LogCommand implements pipeline.Environments.
func (p *Platform) LogCommand(lines int, follow bool) string { return fleet.LogCommand(lines, follow) }

// Destroy implements pipeline.Environments.
func (p *Platform) Destroy(ctx context.Context, environment string) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	return p.fleets.Destroy(ctx, environment)
}
