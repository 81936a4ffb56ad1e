// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The requests of a bake without steps, where the cloud answers at once.
func BenchmarkBake(b *testing.B) {
	d := newBed(b)
	d.stack.Pause = 500 * time.Millisecond // so that what ends at once has ended at the first look
	requests := 0
	for n := range b.N {
		r := d.bakeRequest(fmt.Sprint("r-", n))
		r.Inputs, r.Commands, r.Source = fmt.Sprint("k-", n), nil, ""
		d.cloud.ResetCalls()
		_, err := d.Bake(b.Context(), r)
		d.must(err)
		requests += len(d.cloud.Calls())
	}
	b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
}

// The requests of a deployment of two instances to an environment that serves.
func BenchmarkDeployment(b *testing.B) {
	d := newBed(b)
	image := d.app()
	d.must(d.deploy(d.persistent("f-first", image)))
	requests := 0
	for n := range b.N {
		d.cloud.ResetCalls()
		f, err := d.Prepare(b.Context(), d.persistent(fmt.Sprint("f-", n), image))
		d.must(err)
		_, err = d.Shift(b.Context(), "e-1", f.ID, pipeline.Traffic{})
		d.must(err)
		requests += len(d.cloud.Calls())
	}
	b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
	d.must(d.Destroy(b.Context(), "e-1"))
}
