// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Times and durations for people have a zone, and no more than they need.
func TestWords(t *testing.T) {
	at := time.Date(2026, 11, 29, 9, 41, 6, 0, time.UTC)
	cet := at.In(time.FixedZone("CET", 3600))
	for want, got := range map[string]string{
		"2026-11-29 09:41 UTC": pipeline.Moment(at), "2026-11-29 10:41 CET": pipeline.Moment(cet), "10:41:06 CET": pipeline.Clock(cet),
		"8h": pipeline.Period(8 * time.Hour), "1h30m": pipeline.Period(90 * time.Minute), "1m30s": pipeline.Period(90 * time.Second),
		"30s": pipeline.Period(30 * time.Second), "168h": pipeline.Period(7 * 24 * time.Hour), "10m": pipeline.Period(10 * time.Minute),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
