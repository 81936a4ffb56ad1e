// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Ledger returns the ledger, wherever it is.
func (a *App) Ledger() pipeline.Ledger { return a.ledger }

// Trying returns where in AWS something is, for who makes each request a number of times at most.
func (at AWS) Trying(attempts int) *AWS {
	at.attempts = attempts
	return &at
}

// Targets returns what opens targets on AWS.
func (a *App) Targets() pipeline.Targets { return a.targets }

// TargetEnviron returns the variables of modules in a target.
func (a *App) TargetEnviron(ctx context.Context, at pipeline.Target) (map[string]string, error) {
	return a.targets.environ(ctx, at)
}
