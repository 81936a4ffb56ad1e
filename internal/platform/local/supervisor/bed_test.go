// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
)

// bed is a platform of a test, with the one environment e-1 in it.
type bed struct{ *localtest.Bed }

func newBed(t testing.TB) *bed { return &bed{localtest.NewBed(t)} }
