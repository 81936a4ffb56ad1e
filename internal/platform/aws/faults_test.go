// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// deploy prepares a fleet and gives it the traffic.
func (b *bed) deploy(r pipeline.FleetRequest) error {
	if _, err := b.Prepare(b.Context(), r); err != nil {
		return err
	}
	_, err := b.Shift(b.Context(), r.Environment, r.Fleet, pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 50, Hold: time.Millisecond}}})
	return err
}

// faults are the ways in which the kth request of some work can go wrong. A process
// that was killed makes no more requests.
var faults = map[string]func(k int) []cloudtest.Fault{
	"the request fails": func(k int) []cloudtest.Fault { return []cloudtest.Fault{{Nth: k, Code: "InternalFailure"}} },
	"the answer is lost": func(k int) []cloudtest.Fault {
		return []cloudtest.Fault{{Nth: k, Code: "InternalFailure", After: true}}
	},
	"killed before it": func(k int) []cloudtest.Fault {
		return []cloudtest.Fault{{Nth: k, Code: "InternalFailure", Times: math.MaxInt}}
	},
	"killed after it": func(k int) []cloudtest.Fault {
		return []cloudtest.Fault{{Nth: k, Code: "InternalFailure", After: true}, {Nth: k, Code: "InternalFailure", Times: math.MaxInt}}
	},
}

// Whichever request of a deployment fails or loses its answer: what served before
// serves on or the new fleet does, the next deployment succeeds, and after the
// environment's end nothing is left.
func TestDeploymentFaults(t *testing.T) {
	t.Parallel()
	every := 10 // all of them take minutes
	if os.Getenv("PENSTOCK_SOAK") != "" {
		every = 1
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			image := b.app()
			b.Platform = New(Options{Config: b.noRetry(), Settings: b.Settings, Pause: 10 * time.Millisecond})
			request := func(fleet string) pipeline.FleetRequest {
				r := b.request("e-1", fleet, image)
				r.Lasting, r.Instances, r.Service.HealthCheck.StartTimeout = true, 2, 10*time.Second
				return r
			}
			b.must(b.deploy(request("f-0")))
			for k := 1 + rand.IntN(every); ; k += every {
				b.cloud.ResetCalls()
				b.cloud.Fail(fault(k)...)
				failed := b.deploy(request(fmt.Sprintf("f-%d-a", k)))
				calls := len(b.cloud.Calls())
				b.cloud.Mend()
				reports, err := b.Describe(t.Context(), "e-1")
				b.must(err)
				if b.get(reports["e-1"].Endpoint+"/file/version") != "the artifact" {
					t.Errorf("request %d fails: nothing serves", k)
				}
				if failed == nil && calls < k {
					break
				}
				b.must(b.Discard(t.Context(), "e-1", fmt.Sprintf("f-%d-a", k))) // as the engine does after a failure, and again after a crash
				fleet := fmt.Sprintf("f-%d-b", k)
				b.must(b.deploy(request(fleet)))
				if got := b.get(reports["e-1"].Endpoint + "/env/VERSION"); got != fleet || len(b.cloud.Running()) != 2 {
					t.Fatalf("request %d fails: then %s serves, on %v", k, got, b.cloud.Running())
				}
			}
			b.must(b.Destroy(t.Context(), "e-1"))
			b.wantNothing()
		})
	}
}
