// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Ledger returns the ledger, wherever it is.
func (a *App) Ledger() pipeline.Ledger { return a.ledger }

// Trying returns where in AWS something is, for who makes each request a number of times at most.
func (at AWS) Trying(attempts int) *AWS {
	at.attempts = attempts
	return &at
}

// Waiting returns where in AWS something is, for who waits so long at most for an answer.
func (at AWS) Waiting(patience time.Duration) *AWS {
	at.patience = patience
	return &at
}

// Targets returns what opens targets on AWS.
func (a *App) Targets() pipeline.Targets { return a.targets }

// TargetEnviron returns the variables of modules in a target.
func (a *App) TargetEnviron(ctx context.Context, at pipeline.Target) (map[string]string, error) {
	return a.targets.environ(ctx, at)
}
