// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
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
	_, err := b.Shift(b.Context(), r.Environment, r.Fleet, pipeline.Traffic{
		Certificate: r.Certificate, Balancer: r.Balancer, Steps: []pipeline.ShiftStep{{Percent: 50, Pause: time.Millisecond}},
	})
	return err
}

// trouble is a way in which the kth request of some work can go wrong.
type trouble struct {
	at func(k int) []cloudtest.Fault
	// repeated is set where the SDK repeats the request, so that the work succeeds. Where
	// it is not set the SDK repeats none.
	repeated bool
	visible  time.Duration // how long what was made is not found
}

// inTrouble runs a test in half of the kinds of trouble, others each time: all of them take half
// an hour. With PENSTOCK_SOAK it does in all.
func inTrouble(t *testing.T, f func(*testing.T, trouble)) {
	t.Parallel()
	kinds := slices.Sorted(maps.Keys(faults))
	if os.Getenv("PENSTOCK_SOAK") == "" {
		rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		kinds = kinds[:len(kinds)/2]
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, faults[kind])
		})
	}
}

// once strikes the kth request.
func once(f cloudtest.Fault) func(int) []cloudtest.Fault {
	return func(k int) []cloudtest.Fault {
		f.Nth = k
		return []cloudtest.Fault{f}
	}
}

// killedAfter strikes the kth request, which takes effect, and all later ones: a
// killed process makes no further requests.
func killedAfter(k int) []cloudtest.Fault {
	return []cloudtest.Fault{{Nth: k, Code: "InternalFailure", After: true}, {Nth: k, Code: "InternalFailure", Times: math.MaxInt}}
}

var faults = map[string]trouble{
	"the request fails":  {at: once(cloudtest.Fault{Code: "InternalFailure"})},
	"the answer is lost": {at: once(cloudtest.Fault{Code: "InternalFailure", After: true})},
	"killed before it":   {at: once(cloudtest.Fault{Code: "InternalFailure", Times: math.MaxInt})},
	"killed after it":    {at: killedAfter},
	"killed after it, and what was made is not found at once": {at: killedAfter, visible: 200 * time.Millisecond},
	"throttled":                         {at: once(cloudtest.Fault{Code: "RequestLimitExceeded", Status: http.StatusServiceUnavailable}), repeated: true},
	"a server's error":                  {at: once(cloudtest.Fault{Code: "InternalError", Status: http.StatusInternalServerError}), repeated: true},
	"the connection drops before it":    {at: once(cloudtest.Fault{}), repeated: true},
	"the connection drops after it":     {at: once(cloudtest.Fault{After: true}), repeated: true},
	"the connection drops, and no more": {at: once(cloudtest.Fault{Times: math.MaxInt})},
}

// sample returns the first request to strike, and the distance to the next: all of
// them take an hour.
func sample(every int) (first, step int) {
	if os.Getenv("PENSTOCK_SOAK") != "" {
		return 1, 1
	}
	return 1 + rand.IntN(every), every
}

// trouble returns the bed's platform the trouble's behaviour of the SDK and of AWS.
func (b *bed) trouble(f trouble) {
	cfg := b.noRetry()
	if f.repeated {
		cfg = b.cloud.Config()
	}
	b.Platform = New(Options{Config: cfg, Settings: b.stack.Settings, Pause: 10 * time.Millisecond})
	b.cloud.SetPace(cloudtest.Pace{Visible: f.visible, Agent: 2 * f.visible}) // what has registered is found
}

// Whichever request of a bake fails or loses its answer, the next bake yields one
// image, and nothing else is left.
func TestBakeFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		for k, step := sample(25); ; k += step {
			b := newBed(t)
			b.trouble(fault)
			b.cloud.Fail(fault.at(k)...)
			_, err := b.Bake(t.Context(), b.bakeRequest("r-1"))
			calls := len(b.cloud.Calls())
			b.cloud.Mend()
			if fault.repeated && err != nil {
				t.Errorf("request %d: %v", k, err)
			}
			if err == nil && calls < k {
				break
			}
			time.Sleep(fault.visible) // nobody comes sooner
			b.must(b.Abandon(t.Context(), "r-1"))
			image, err := b.Bake(t.Context(), b.bakeRequest("r-2"))
			b.must(err)
			images, err := b.Images(t.Context())
			b.must(err)
			if len(images) != 1 || images[0].ID != image.ID {
				t.Errorf("request %d: there are images %v, and the bake gave %s", k, images, image.ID)
			}
			b.wantNothing()
		}
	})
}

// Whichever request of a deployment fails or loses its answer: what served before
// serves on or the new fleet does, the next deployment succeeds and has what people attached
// to the group before, and after the environment's end nothing is left.
func TestDeploymentFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image := b.app()
		b.trouble(fault)
		request := func(fleet string) pipeline.FleetRequest {
			r := b.request("e-1", fleet, image)
			r.Persistent, r.Instances, r.Service.HealthCheck.StartTimeout = true, 2, time.Minute
			return r
		}
		b.must(b.deploy(request("f-0")))
		b.equip("e-1", "f-0")
		want := b.equipment("e-1", "f-0")
		for k, step := sample(60); ; k += step {
			b.cloud.ResetCalls()
			b.cloud.Fail(fault.at(k)...)
			failed := b.deploy(request(fmt.Sprintf("f-%d-a", k)))
			calls := len(b.cloud.Calls())
			b.cloud.Mend()
			reports, err := b.Describe(t.Context(), "e-1")
			b.must(err)
			if b.get(reports["e-1"].Endpoint+"/file/version") != "the artifact" {
				t.Errorf("request %d fails: nothing serves", k)
			}
			if fault.repeated && failed != nil {
				t.Errorf("request %d: %v", k, failed)
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
			b.wantEquipment("e-1", fleet, want)
		}
		b.must(b.Destroy(t.Context(), "e-1"))
		b.wantNothing()
	})
}

// Whichever request of an environment's first deployment fails or loses its answer, where
// there is no load balancer yet: the next deployment succeeds, and after the
// environment's end nothing is left.
func TestFirstDeploymentFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image := b.app()
		b.trouble(fault)
		for k, step := sample(40); ; k += step {
			request := func(fleet string) pipeline.FleetRequest {
				r := b.request(fmt.Sprintf("e-%d", k), fleet, image)
				r.Persistent, r.Instances, r.Service.HealthCheck.StartTimeout = true, 1, time.Minute
				return r
			}
			b.cloud.ResetCalls()
			b.cloud.Fail(fault.at(k)...)
			failed := b.deploy(request("f-1"))
			calls := len(b.cloud.Calls())
			b.cloud.Mend()
			if fault.repeated && failed != nil {
				t.Errorf("request %d: %v", k, failed)
			}
			if failed != nil {
				b.must(b.Discard(t.Context(), request("").Environment, "f-1"))
			}
			b.must(b.deploy(request("f-2")))
			reports, err := b.Describe(t.Context(), request("").Environment)
			b.must(err)
			if got := b.get(reports[request("").Environment].Endpoint + "/env/VERSION"); got != "f-2" || len(b.cloud.Running()) != 1 {
				t.Fatalf("request %d fails: then %s serves, on %v", k, got, b.cloud.Running())
			}
			b.must(b.Destroy(t.Context(), request("").Environment))
			b.wantNothing()
			if failed == nil && calls < k {
				break
			}
		}
	})
}
