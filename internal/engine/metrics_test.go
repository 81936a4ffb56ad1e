// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A stage that people move is ready when somebody has moved it, and each build counts once.
func TestMetricsOfStages(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	pass := func(minutes int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.clock = d.clock.Add(time.Duration(minutes) * time.Minute)
	}
	d.mustApply(route("1"))
	pass(60)
	d.approve(build("1"))
	d.mustApply(route("1"))
	pass(24 * 60) // nobody promotes
	if _, err := d.Promote(ctx, "shop", "production", ""); err != nil {
		t.Fatal(err)
	}
	pass(5)
	d.mustApply(route("1"))
	pass(3 * 24 * 60)
	for _, stage := range []string{"acceptance", "production"} {
		if _, err := d.Retry(ctx, "shop", stage); err != nil {
			t.Fatal(err)
		}
	}
	d.mustApply(route("1"))
	f, err := d.Reports.Metrics(ctx, "shop", "", d.now().Add(-30*24*time.Hour))
	if err != nil || f.Stage != "production" || f.Deployments != 1 || f.Changes != 1 || f.Failures != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	longest := map[string]pipeline.StageWait{}
	for _, w := range f.Waits {
		longest[w.Stage] = w
	}
	near := func(what string, s pipeline.Distribution, want time.Duration) {
		t.Helper()
		if s.Count != 1 || s.Median < want || s.Median > want+time.Minute {
			t.Errorf("%s: %+v, want about %s", what, s, want)
		}
	}
	near("acceptance", longest["acceptance"].Start, 0)
	near("pre-production", longest["pre-production"].Start, 0)
	near("production", longest["production"].Start, 5*time.Minute)
}
