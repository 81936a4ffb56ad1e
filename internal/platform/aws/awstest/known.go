// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package awstest

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// compressed is how many seconds of AWS pass in a second of Known. A request
// takes as long as it takes: the more, the more the simulator's slowness would be seen as
// Penstock's.
const compressed = 20

// After does something when a time has passed, and returns when it was done.
func After(d time.Duration, do func()) <-chan time.Time {
	done := make(chan time.Time, 1)
	time.AfterFunc(d, func() {
		do()
		done <- time.Now()
	})
	return done
}

// waits measures the waits of a kind, in seconds of AWS.
type waits struct {
	late     []float64
	worst    float64 // of the shares of what it may be late
	requests int
	looks    int // requests of the kind that saw it in the end
	seconds  float64
}

// measure waits for changes that take between 20 seconds and ten minutes. The last
// request counts at its real duration.
func (b *Bed) measure(wait func(time.Duration) time.Time) (f waits) {
	for _, takes := range []time.Duration{20 * time.Second, 40 * time.Second, 75 * time.Second, 150 * time.Second, 300 * time.Second, 600 * time.Second} {
		b.Cloud.ResetCalls()
		had := wait(takes / compressed)
		known := time.Now()
		calls := b.Cloud.Calls()
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

// Known reports how long after AWS has a thing Penstock knows it, in seconds of AWS: the median, the
// worst, and the worst as a share of what is allowed, three seconds or a fiftieth of what
// it took, whichever is more. And the requests in a second of AWS: all, and those of the
// kind that looks. A wait is prepared on a bed, and then made to take a time: it returns when AWS had it.
func Known(b *testing.B, kind string, d *Bed, wait func(takes time.Duration) time.Time) {
	for b.Loop() {
		d.Stack.Pause = stack.DefaultPause / compressed
		f := d.measure(wait)
		b.ReportMetric((f.late[len(f.late)/2-1]+f.late[len(f.late)/2])/2, kind+"-median-s")
		b.ReportMetric(f.late[len(f.late)-1], kind+"-worst-s")
		b.ReportMetric(f.worst, kind+"-worst/allowed")
		b.ReportMetric(float64(f.requests)/f.seconds, kind+"-requests/s")
		b.ReportMetric(float64(f.looks)/f.seconds, kind+"-looks/s")
	}
}
