// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
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

// The requests of a publication to 5 regions for 3 accounts, and how much longer than the
// slowest copy it takes until the channel leads there. A simulated copy takes two minutes: AWS
// takes longer, and the simulator's own time, which counts here, is a smaller part of it.
func BenchmarkPublication(b *testing.B) {
	d := newBed(b)
	d.stack.Pause = 500 * time.Millisecond
	const slowest = 2 * time.Minute
	regions := []string{"ap-south-1", "ca-central-1", "eu-west-2", "us-east-1", "us-west-2"}
	keys := map[string]string{}
	for _, region := range regions {
		keys[region] = d.imageKey(region)
	}
	publish := func(run string) time.Duration {
		r := d.bakeRequest(run)
		r.Inputs, r.KMSKey = run, d.imageKey(cloudtest.Region)
		baked, err := d.Bake(b.Context(), r)
		d.must(err)
		l := pipeline.Labels{Pipeline: "shop", Stage: "release", Build: "b-" + run}
		d.cloud.ResetCalls()
		began := time.Now()
		images, err := d.Publish(b.Context(), pipeline.PublishRequest{Image: baked.ID, Labels: l, Log: d.log, Publication: pipeline.Publication{
			Regions: regions, KMSKeys: keys, Accounts: []string{"777777777777", "888888888888", "999999999999"},
		}})
		d.must(err)
		d.must(d.Point(b.Context(), pipeline.PointRequest{Name: "stable", Images: images, Labels: l, Log: d.log}))
		return time.Since(began)
	}
	publish("first") // the simulator loads what it needs
	for i, region := range regions {
		d.cloud.SetCopyTime(region, slowest-time.Duration(i)*10*time.Second)
	}
	requests, took := 0, time.Duration(0)
	b.ResetTimer()
	for n := range b.N {
		took += publish(fmt.Sprint("r-", n))
		requests += len(d.cloud.Calls())
	}
	b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
	b.ReportMetric(100*(float64(took)/float64(b.N)/float64(slowest)-1), "%-above-slowest-copy")
}
