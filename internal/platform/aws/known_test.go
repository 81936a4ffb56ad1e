// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// compressed is how many seconds of AWS pass in a second of BenchmarkKnown. A request
// takes as long as it takes: the more, the more the simulator's slowness would be seen as
// Penstock's.
const compressed = 20

// waits prepare what is waited for, and then wait for it to take a time: they give when
// AWS had it.
var waits = map[string]func(d *bed) func(takes time.Duration) time.Time{
	"instance": func(d *bed) func(time.Duration) time.Time {
		return func(takes time.Duration) time.Time {
			d.cloud.SetPace(cloudtest.Pace{Boot: takes})
			list, err := d.run(d.Context(), launch{token: takes.String(), image: cloudtest.BaseImage, count: 1, group: d.Settings.InstanceGroup, tags: d.tags(pipeline.Labels{}, nil)})
			d.must(err)
			id := aws.ToString(list[0].InstanceId)
			d.cloud.ResetCalls()
			_, err = d.awaitState(d.Context(), id, types.InstanceStateNameRunning, startLimit)
			d.must(err)
			return d.cloud.Since(id)
		}
	},
	"command": func(d *bed) func(time.Duration) time.Time {
		id := d.machine("")
		end := filepath.Join(d.cloud.Root(id), "end")
		return func(takes time.Duration) time.Time {
			after(takes, func() { d.must(os.WriteFile(end, nil, 0o600)) })
			d.must(d.Platform.must(d.Context(), id, command{
				what: "waiting", script: preamble + "while [ ! -e \"$root/end\" ]; do sleep 0.005; done\nrm \"$root/end\"\n", timeout: time.Hour,
			}))
			return d.cloud.CommandEnded(id)
		}
	},
	"image": func(d *bed) func(time.Duration) time.Time {
		id := d.machine("")
		return func(takes time.Duration) time.Time {
			d.cloud.SetPace(cloudtest.Pace{Image: takes})
			image, err := d.createImage(d.Context(), id, d.bakeRequest("r-"+takes.String()))
			d.must(err)
			d.cloud.ResetCalls()
			_, err = d.awaitImage(d.Context(), image)
			d.must(err)
			return d.cloud.Since(image)
		}
	},
	"targets": func(d *bed) func(time.Duration) time.Time {
		r := d.persistent("f-1", d.app())
		d.must(d.deploy(r))
		target, err := d.targetGroup(d.Context(), r.Fleet)
		d.must(err)
		r.Service.HealthCheck.StartTimeout = time.Hour
		return func(takes time.Duration) time.Time {
			d.setSick(r.Fleet, true)
			d.cloud.ResetCalls()
			had := after(takes, func() { d.setSick(r.Fleet, false) })
			d.must(d.awaitTargets(d.Context(), r, r.Instances, rising{target: target}))
			return <-had
		}
	},
}

// after does something when a time has passed, and gives when it was done.
func after(d time.Duration, do func()) <-chan time.Time {
	done := make(chan time.Time, 1)
	time.AfterFunc(d, func() {
		do()
		done <- time.Now()
	})
	return done
}

// figures are what waits of a kind came to, in seconds of AWS.
type figures struct {
	late     []float64
	worst    float64 // of the shares of what it may be late
	requests int
	looks    int // requests of the kind that saw it in the end
	seconds  float64
}

// measure waits for what takes times between 20 seconds and ten minutes. What the look
// took that saw it counts as it is.
func (b *bed) measure(wait func(time.Duration) time.Time) (f figures) {
	for _, takes := range []time.Duration{20 * time.Second, 40 * time.Second, 75 * time.Second, 150 * time.Second, 300 * time.Second, 600 * time.Second} {
		b.cloud.ResetCalls()
		had := wait(takes / compressed)
		known := time.Now()
		calls := b.cloud.Calls()
		looked := calls[len(calls)-1].At
		for _, c := range calls {
			if c.Action == calls[len(calls)-1].Action {
				f.looks++
			}
		}
		late := max(looked.Sub(had), 0).Seconds()*compressed + known.Sub(looked).Seconds()
		f.late = append(f.late, late)
		f.worst = max(f.worst, late/max(3, takes.Seconds()/50))
		f.requests += len(calls)
		f.seconds += takes.Seconds()
	}
	slices.Sort(f.late)
	return f
}

// How long after AWS has a thing Penstock knows it, in seconds of AWS: the median, the
// worst, and the worst as a share of what is allowed, three seconds or a fiftieth of what
// it took, whichever is more. And the requests in a second of AWS: all, and those of the
// kind that looks.
func BenchmarkKnown(b *testing.B) {
	for b.Loop() {
		var all sync.WaitGroup
		var mu sync.Mutex
		for kind, prepare := range waits {
			d := newBed(b)
			wait := prepare(d)
			d.Pause = DefaultPause / compressed
			all.Go(func() {
				f := d.measure(wait)
				mu.Lock()
				defer mu.Unlock()
				b.ReportMetric((f.late[len(f.late)/2-1]+f.late[len(f.late)/2])/2, kind+"-median-s")
				b.ReportMetric(f.late[len(f.late)-1], kind+"-worst-s")
				b.ReportMetric(f.worst, kind+"-worst/allowed")
				b.ReportMetric(float64(f.requests)/f.seconds, kind+"-requests/s")
				b.ReportMetric(float64(f.looks)/f.seconds, kind+"-looks/s")
			})
		}
		all.Wait()
	}
}
