// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func loadStep(l pipeline.Load) pipeline.Step {
	return pipeline.Step{Name: "s", Load: &l}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "PUT" || r.URL.Path != "/x" || r.Header.Get("X-Test") != "y" || r.ContentLength != 4 {
			t.Errorf("request is %s %s, %v, %d bytes", r.Method, r.URL, r.Header, r.ContentLength)
		}
		if requests.Add(1)%4 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	result, log, err := run(t, t.Context(), pipeline.StepRequest{
		Step: loadStep(pipeline.Load{
			Rate: 80, Duration: 1250 * time.Millisecond, Path: "/x", Method: "put", Body: "body",
			Headers: map[string]string{"X-Test": "y"}, ErrorRate: 0.25, MinThroughput: 10, P99: 10 * time.Second,
		}), Endpoint: server.URL,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := result.Load
	n := requests.Load() // a busy machine sends fewer than 100 in time
	if n == 0 || n > 100 || r.Requests != n || r.Errors != n/4 || r.ErrorRate != float64(r.Errors)/float64(n) || r.Statuses["200"] != n-n/4 || r.Statuses["500"] != n/4 {
		t.Errorf("of %d requests the report is %+v", n, r)
	}
	if math.Abs(r.Rate-float64(n)/1.25) > 0.01 || r.Throughput > 60.01 || r.Throughput < 10 || r.Duration < 1250*time.Millisecond {
		t.Errorf("rate is %v, throughput %v, duration %v", r.Rate, r.Throughput, r.Duration)
	}
	if !(0 < r.P50 && r.P50 <= r.P95 && r.P95 <= r.P99 && r.P99 <= r.Max) || r.Mean > r.Max {
		t.Errorf("latencies are %+v", r)
	}
	if len(r.Faults) != 1 || r.Faults[0] != "500 Internal Server Error" {
		t.Errorf("faults are %q", r.Faults)
	}
	total := int64(0)
	for i, b := range r.Histogram {
		total += b.Count
		if i > 0 && b.UpTo <= r.Histogram[i-1].UpTo {
			t.Errorf("bucket %d ends at %v", i, b.UpTo)
		}
	}
	if total != r.Requests {
		t.Errorf("the histogram holds %d of %d", total, r.Requests)
	}
	if !strings.Contains(log, fmt.Sprintf("%d requests at %.1f/s, %d errors, p50 ", n, float64(n)/1.25, n/4)) || !strings.Contains(log, " answers, ") {
		t.Errorf("log is\n%s", log)
	}
}

func TestLoadMissesThresholds(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(20 * time.Millisecond)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	result, _, err := run(t, t.Context(), pipeline.StepRequest{
		Step: loadStep(pipeline.Load{Rate: 50, Duration: 200 * time.Millisecond, P50: time.Millisecond, P99: 2 * time.Millisecond, MinThroughput: 10}), Endpoint: server.URL,
	}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || result.Load == nil {
		t.Fatalf("got %+v, %v", result, err)
	}
	for _, says := range []string{"p50 was ", "ms, allowed 1ms; p99 was ", fmt.Sprintf("allowed 2ms; error rate was 100%% (%[1]d of %[1]d requests), allowed 0%%; throughput was 0/s, wanted at least 10/s", result.Load.Requests), "503 Service Unavailable"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v, without %q", err, says)
		}
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	report := pipeline.LoadReport{
		Requests: 1000, Errors: 25, ErrorRate: 0.025, Throughput: 48.75,
		P50: 90 * time.Millisecond, P95: 300 * time.Millisecond, P99: 612 * time.Millisecond, Max: 2*time.Second + 3*time.Microsecond,
	}
	tests := []struct {
		name string
		load pipeline.Load
		says string
	}{
		{"none set", pipeline.Load{ErrorRate: 1}, ""},
		{"all met", pipeline.Load{P50: 90e6, P95: 300e6, P99: 612e6, Max: 3e9, ErrorRate: 0.025, MinThroughput: 48}, ""},
		{"p50", pipeline.Load{P50: 80e6, ErrorRate: 1}, "p50 was 90ms, allowed 80ms"},
		{"p95", pipeline.Load{P95: 299e6, ErrorRate: 1}, "p95 was 300ms, allowed 299ms"},
		{"p99", pipeline.Load{P99: 500e6, ErrorRate: 1}, "p99 was 612ms, allowed 500ms"},
		{"max by little", pipeline.Load{Max: 2e9, ErrorRate: 1}, "max was 2.000003s, allowed 2s"},
		{"no error allowed", pipeline.Load{}, "error rate was 2.5% (25 of 1000 requests), allowed 0%"},
		{"throughput", pipeline.Load{ErrorRate: 1, MinThroughput: 50}, "throughput was 48.75/s, wanted at least 50/s"},
		{"several", pipeline.Load{P99: 500e6, ErrorRate: 0.001}, "p99 was 612ms, allowed 500ms; error rate was 2.5% (25 of 1000 requests), allowed 0.1%"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := missed(tt.load, &report)
			if (err == nil) != (tt.says == "") || (err != nil && err.Error() != tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

// At any rate the first request goes out at once and each of the others in time.
func TestPacer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rate     float64
		duration time.Duration
		hits     int
		last     time.Duration
	}{
		{1, 10 * time.Second, 10, 9 * time.Second},
		{0.05, time.Minute, 3, 40 * time.Second}, // three per minute
		{0.001, time.Second, 1, 0},
		{2.5, 2 * time.Second, 5, 1600 * time.Millisecond},
		{1000, time.Second, 1000, 999 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.rate), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := pacer{ctx: t.Context(), rate: tt.rate, hits: hits(pipeline.Load{Rate: tt.rate, Duration: tt.duration})}
				begun := time.Now()
				for sent := 0; ; sent++ {
					wait, stop := p.Pace(time.Since(begun), uint64(sent))
					if wait != 0 {
						t.Fatalf("it leaves a wait of %v", wait)
					}
					if stop {
						last := time.Since(begun)
						if sent != tt.hits || (last-tt.last).Abs() > time.Millisecond {
							t.Errorf("%d requests, the last at %v; want %d at %v", sent, last, tt.hits, tt.last)
						}
						return
					}
				}
			})
		})
	}
}

func TestLoadIsCancelled(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	for name, rate := range map[string]float64{"with requests under way": 50, "between requests": 0.01} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			begun := time.Now()
			result, _, err := run(t, ctx, pipeline.StepRequest{
				Step: loadStep(pipeline.Load{Rate: rate, Duration: time.Hour}), Endpoint: server.URL,
			}, nil)
			if pipeline.CodeOf(err) != pipeline.CodeCancelled || !errors.Is(err, context.DeadlineExceeded) || result.Status != pipeline.RunCancelled {
				t.Errorf("got %+v, %v", result, err)
			}
			if took := time.Since(begun); took > time.Minute { // of an hour
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestLoadTimesOut(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	s := loadStep(pipeline.Load{Rate: 10, Duration: 200 * time.Millisecond})
	s.Timeout = 400 * time.Millisecond
	_, _, err := run(t, t.Context(), pipeline.StepRequest{Step: s, Endpoint: server.URL}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "timed out after 400ms") {
		t.Errorf("error is %v", err)
	}
}

// A dead service gives one fault, not one for each connection's port.
func TestLoadOnDeadService(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	result, _, err := run(t, t.Context(), pipeline.StepRequest{
		Step: loadStep(pipeline.Load{Rate: 100, Duration: 200 * time.Millisecond, ErrorRate: 0.5}), Endpoint: server.URL,
	}, nil)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("error is %v", err)
	}
	if r := result.Load; r.Requests == 0 || r.Requests > 20 || r.Errors != r.Requests || r.Statuses["0"] != r.Requests || len(r.Faults) != 1 {
		t.Errorf("report is %+v", r)
	}
}

func TestWorkersAreBounded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	open, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		open += n
		most = max(most, open)
	}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		count(1)
		defer count(-1)
		<-time.After(400 * time.Millisecond)
	}))
	defer server.Close()
	result, log, err := run(t, t.Context(), pipeline.StepRequest{
		Step: loadStep(pipeline.Load{Rate: 20_000, Duration: 300 * time.Millisecond, ErrorRate: 1}), Endpoint: server.URL,
	}, nil)
	if err != nil || most > maxWorkers || result.Load.Requests > 2*maxWorkers || !strings.Contains(log, "could be sent in time") {
		t.Errorf("got %v, %d at once, %d requests, log\n%s", err, most, result.Load.Requests, log)
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	y := newTally(time.Second)
	begun := noon
	for i, latency := range []time.Duration{time.Nanosecond, 100 * time.Microsecond, 101 * time.Microsecond, 7 * time.Millisecond, time.Hour} {
		y.add(&vegeta.Result{Timestamp: begun, Latency: latency, Code: 200, Error: []string{"", `Get "http://x/": read tcp 127.0.0.1:` + fmt.Sprint(i) + `->127.0.0.1:80: reset`}[min(i/3, 1)]})
	}
	r := y.report()
	want := map[time.Duration]int64{100 * time.Microsecond: 2, 200 * time.Microsecond: 1, 10 * time.Millisecond: 1, 50 * time.Second: 1}
	for _, b := range r.Histogram {
		if b.Count != want[b.UpTo] {
			t.Errorf("%d answers up to %v, want %d", b.Count, b.UpTo, want[b.UpTo])
		}
	}
	if len(r.Faults) != 1 || r.Faults[0] != "read tcp 127.0.0.1:80: reset" || r.Max != time.Hour || r.Duration != time.Hour {
		t.Errorf("report is %+v", r)
	}
}
