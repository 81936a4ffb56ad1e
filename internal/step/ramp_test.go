// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What is sent in a ramp warms the way, and counts for no figure: not even its errors.
func TestRamp(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) <= 5 { // as of what is cold
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	result, log, err := run(t, t.Context(), pipeline.StepRequest{
		Step: loadStep(pipeline.Load{Rate: 40, Duration: 500 * time.Millisecond, Ramp: time.Second, Path: "/"}), Endpoint: server.URL,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := result.Load
	if r.Ramp == nil || r.Ramp.Errors != 5 || r.Ramp.Requests < 6 || r.Ramp.Requests > 20 || r.Ramp.Duration != time.Second {
		t.Fatalf("the ramp was %+v", r.Ramp)
	}
	if r.Errors != 0 || r.Requests > 20 || r.Requests+r.Ramp.Requests != requests.Load() || len(r.Statuses) != 1 {
		t.Errorf("the service got %d requests, and the report is %+v", requests.Load(), r)
	}
	for _, want := range []string{"ramp of 1s to 40 requests per second", "after a ramp of"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	_, _, err = run(t, t.Context(), pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", Timeout: time.Second, Load: &pipeline.Load{Rate: 1, Duration: time.Second, Ramp: time.Second, Path: "/"}}, Endpoint: server.URL,
	}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("a time-out that ends the ramp gives %v", err)
	}
}

// The rate of a ramp grows evenly: half of its requests are sent in the last three tenths.
func TestAscent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, began := ascent{t.Context(), 100, 10 * time.Second}, time.Now()
		var half time.Duration
		sent := uint64(0)
		for ; ; sent++ {
			if wait, stop := a.Pace(time.Since(began), sent); stop {
				break
			} else if wait > 0 {
				t.Fatalf("it leaves a wait of %s to others", wait)
			}
			if sent == 250 {
				half = time.Since(began)
			}
		}
		if took := time.Since(began); sent != 500 || took > 10*time.Second || half < 7*time.Second || half > 7200*time.Millisecond {
			t.Errorf("%d requests in %s, half of them in %s", sent, took, half)
		}
	})
}

// The machines that share a load share its ramp.
func TestRampOfMachines(t *testing.T) {
	t.Parallel()
	all := newTally(time.Second)
	for _, n := range []int64{3, 4} {
		part := newTally(time.Second)
		part.Counts.Ramp = &pipeline.LoadRamp{Duration: time.Minute, Requests: n, Errors: 1}
		all.merge(part)
	}
	if got := all.report().Ramp; got == nil || *got != (pipeline.LoadRamp{Duration: time.Minute, Requests: 7, Errors: 2}) {
		t.Errorf("together the ramp was %+v", got)
	}
}
