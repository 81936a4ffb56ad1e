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

// declared is scaling with all that can be declared of it.
func declared() *pipeline.Scaling {
	one := 1
	return &pipeline.Scaling{
		Min: 1, Max: 4, Target: &pipeline.ScalingTarget{RequestsPerTarget: 100},
		Schedule: []pipeline.ScheduledSize{{Name: "night", Cron: "0 20 * * *", Min: &one}},
		WarmPool: &pipeline.WarmPool{MinSize: 1, State: pipeline.WarmStopped},
	}
}

// Whichever request of a change of size, or of scaling, fails or loses its answer: the next one
// has the group as one that nothing disturbed.
func TestResizeFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image := b.app()
		b.must(b.deploy(b.persistent("f-1", image)))
		sizes := []pipeline.Size{{Instances: 2}, {Instances: 1, Scaling: declared()}}
		want := make([]string, len(sizes))
		for n := range 2 * len(sizes) { // the second time from one to the other and back
			b.must(b.Resize(t.Context(), "e-1", sizes[n%len(sizes)]))
			want[n%len(sizes)] = b.equipment("e-1", "f-1")
		}
		b.trouble(fault)
		for k, step := sample(15); ; k += step {
			for n, to := range sizes {
				b.cloud.ResetCalls()
				b.cloud.Fail(fault.at(k)...)
				failed := b.Resize(t.Context(), "e-1", to)
				calls := len(b.cloud.Calls())
				b.cloud.Mend()
				if fault.repeated && failed != nil {
					t.Errorf("request %d: %v", k, failed)
				}
				b.must(b.Resize(t.Context(), "e-1", to))
				b.wantEquipment("e-1", "f-1", want[n])
				if failed == nil && calls < k && n == len(sizes)-1 {
					b.must(b.Destroy(t.Context(), "e-1"))
					b.wantNothing()
					return
				}
			}
		}
	})
}

// Whichever request of a shift to a group with declared scaling fails or loses its answer: the
// next deployment has all that is declared, and nothing twice.
func TestScalingFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image := b.app()
		deploy := func(fleet string, faults ...cloudtest.Fault) error {
			r := b.persistent(fleet, image)
			r.Instances, r.Scaling = 1, declared()
			_, err := b.Prepare(t.Context(), r)
			b.must(err)
			b.cloud.ResetCalls()
			b.cloud.Fail(faults...)
			_, err = b.Shift(t.Context(), "e-1", fleet, pipeline.Traffic{Scaling: declared()})
			return err
		}
		b.must(deploy("f-0"))
		want := b.equipment("e-1", "f-0")
		b.trouble(fault)
		for k, step := sample(40); ; k += step {
			failed := deploy(fmt.Sprintf("f-%d-a", k), fault.at(k)...)
			calls := len(b.cloud.Calls())
			b.cloud.Mend()
			if fault.repeated && failed != nil {
				t.Errorf("request %d: %v", k, failed)
			}
			time.Sleep(fault.visible)
			b.must(b.Discard(t.Context(), "e-1", fmt.Sprintf("f-%d-a", k)))
			fleet := fmt.Sprintf("f-%d-b", k)
			b.must(deploy(fleet))
			b.wantEquipment("e-1", fleet, want)
			if failed == nil && calls < k {
				break
			}
		}
		b.must(b.Destroy(t.Context(), "e-1"))
		b.wantNothing()
	})
}

// Whichever request fails or loses its answer of those that remove what an environment leaves
// whose time to live has run out: they are made again, and nothing is left.
func TestExpiredFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image := b.app()
		b.trouble(fault)
		collect := func() error {
			reports, err := b.Describe(t.Context())
			for id, r := range reports {
				if err == nil && r.Status == pipeline.EnvGone {
					err = b.Destroy(t.Context(), id)
				}
			}
			return err
		}
		for k, step := sample(15); ; k += step {
			r := b.persistent(fmt.Sprintf("f-%d", k), image)
			r.Persistent, r.ExpiresAt = false, time.Now().Add(time.Hour).Truncate(time.Second)
			b.must(b.deploy(r))
			if ran := b.cloud.RunSchedules(r.ExpiresAt); len(ran) != 2 || len(b.cloud.Running()) != 0 {
				t.Fatalf("at the end these schedules run: %v; instances %v", ran, b.cloud.Running())
			}
			b.cloud.ResetCalls()
			b.cloud.Fail(fault.at(k)...)
			failed := collect()
			calls := len(b.cloud.Calls())
			b.cloud.Mend()
			if fault.repeated && failed != nil {
				t.Errorf("request %d: %v", k, failed)
			}
			b.must(collect())
			b.wantNothing()
			if failed == nil && calls < k {
				break
			}
		}
	})
}
