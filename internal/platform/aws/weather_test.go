// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// On a bad day AWS is slow, throttles, stumbles and drops connections, at random. A bake,
// a deployment and the next one succeed all the same, and leave nothing.
func TestBadWeather(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	cfg := b.cloud.Config()
	cfg.RetryMaxAttempts = 8 // as Penstock's own
	b.Platform = New(Options{Config: cfg, Settings: b.stack.Settings, Pause: 20 * time.Millisecond})
	b.cloud.SetPace(cloudtest.Pace{Latency: 20 * time.Millisecond, Boot: 300 * time.Millisecond, Agent: 300 * time.Millisecond, Image: 500 * time.Millisecond, End: 300 * time.Millisecond})
	b.cloud.ResetCalls()
	b.cloud.Fail(
		cloudtest.Fault{Times: math.MaxInt, Share: 0.03, Code: "RequestLimitExceeded", Status: http.StatusServiceUnavailable},
		cloudtest.Fault{Times: math.MaxInt, Share: 0.03, Code: "InternalError", Status: http.StatusInternalServerError},
		cloudtest.Fault{Times: math.MaxInt, Share: 0.02},
		cloudtest.Fault{Times: math.MaxInt, Share: 0.02, After: true},
	)
	baked, err := b.Bake(t.Context(), b.bakeRequest("r-1"))
	b.must(err)
	for _, fleet := range []string{"f-1", "f-2"} {
		r := b.persistent(fleet, image)
		r.Service.HealthCheck.StartTimeout = time.Minute
		b.must(b.deploy(r))
		reports, err := b.Describe(t.Context(), "e-1")
		b.must(err)
		if got := reports["e-1"]; got.Serving != fleet || got.Status != pipeline.EnvRunning {
			t.Errorf("after the deployment of %s: %+v", fleet, got)
		}
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.must(b.RemoveImage(t.Context(), baked.ID))
	b.cloud.Mend()
	b.wantNothing()
}
