// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"

// Ledger returns the ledger, wherever it is.
func (a *App) Ledger() pipeline.Ledger { return a.ledger }

// Targets returns what opens targets on AWS.
func (a *App) Targets() pipeline.Targets { return a.targets }
