// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

const (
	benchRate  = 300 // requests per second
	benchSwaps = 20
	benchCalm  = 6 * time.Second

	// benchStay is how long a fleet serves before the next swap: enough that a p99
	// is not that of a handful of requests.
	benchStay = 250 * time.Millisecond
)

// steady sends requests at a constant rate, whether they are answered or not.
type steady struct {
	mu      sync.Mutex
	took    []time.Duration
	failed  int
	failure error
}

// during sends requests to the endpoint while f runs.
func (b *bed) during(endpoint string, s *steady, f func()) {
	ctx, cancel := context.WithCancel(b.Context())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(time.Second / benchRate)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				all.Go(func() { s.send(client, endpoint) })
			}
		}
	})
	f()
	cancel()
	all.Wait()
}

func (s *steady) send(client *http.Client, endpoint string) {
	began := time.Now()
	resp, err := client.Get(localtest.VersionAt(endpoint))
	if err == nil {
		err = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("answered with %s", resp.Status)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, time.Since(began))
	if err != nil {
		s.failed, s.failure = s.failed+1, err
	}
}

func (s *steady) p99() time.Duration {
	slices.Sort(s.took)
	return s.took[len(s.took)*99/100]
}

// BenchmarkSwaps swaps fleets in a row under a constant rate of requests, one of
// them for a build that never becomes healthy. No request may fail; p99-ratio is
// the 99th percentile of the latency with swaps to that without.
func BenchmarkSwaps(b *testing.B) {
	bed := newBed(b)
	r := bed.Request("f-0")
	r.Instances = 2
	r.Service.HealthCheck.Interval = 200 * time.Millisecond
	endpoint := bed.Serve(r)
	var calm, swapped steady
	for b.Loop() {
		bed.during(endpoint, &calm, func() { <-time.After(benchCalm) })
		bed.during(endpoint, &swapped, func() {
			for i := range benchSwaps {
				r := r
				r.Fleet = fmt.Sprintf("f-%d-%d", b.N, i)
				r.Env = map[string]string{"VERSION": r.Fleet}
				if i == benchSwaps/2 {
					bed.failToSwap(r)
					continue
				}
				bed.Serve(r)
				<-time.After(benchStay)
			}
		})
	}
	if swapped.failure != nil {
		b.Errorf("%d requests failed: %v", swapped.failed, swapped.failure)
	}
	b.ReportMetric(float64(swapped.p99())/float64(calm.p99()), "p99-ratio")
	b.ReportMetric(float64(swapped.p99())/float64(time.Millisecond), "p99-ms")
	b.ReportMetric(float64(swapped.failed+calm.failed), "failed")
	b.ReportMetric(float64(len(swapped.took)), "requests")
}

// failToSwap tries to bring up a fleet that never becomes healthy.
func (b *bed) failToSwap(r pipeline.FleetRequest) {
	b.Helper()
	check := *r.Service.HealthCheck
	check.StartTimeout = time.Second
	r.Service.HealthCheck = &check
	r.Env = map[string]string{platformtest.Mode: platformtest.ModeSick}
	_, err := b.Prepare(b.Context(), r)
	b.WantError(err, pipeline.CodeFailed, "")
}

// BenchmarkLaunch launches an environment of one instance from an image, and ends
// it: launch-ms is the time until it is healthy and has the traffic.
func BenchmarkLaunch(b *testing.B) {
	bed := newBed(b)
	tree := b.TempDir()
	for i := range 100 {
		bed.Must(os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), []byte(fmt.Sprint(i)), 0o600))
	}
	image, err := bed.Bake(b.Context(), pipeline.BakeRequest{Token: "r-1", Tree: tree})
	bed.Must(err)
	var launch time.Duration
	for b.Loop() {
		r := bed.Request("f-1")
		r.Image = image.ID
		began := time.Now()
		bed.Serve(r)
		launch += time.Since(began)
		bed.Must(bed.Destroy(b.Context(), "e-1"))
	}
	b.ReportMetric(float64(launch.Milliseconds())/float64(b.N), "launch-ms")
}

// BenchmarkFront sends small requests through a balancer to a service that answers at
// once, each kind by eight clients: what the front adds to a request.
func BenchmarkFront(b *testing.B) {
	l, err := listenFree(protocol.Loopback)
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "answer")
	})}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	url, _ := balance(b, portOf(l))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		b.Run(method, func(b *testing.B) {
			b.SetParallelism(4)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					var body io.Reader
					if method == http.MethodPost {
						body = strings.NewReader("text")
					}
					req, err := http.NewRequest(method, url, body)
					if err == nil {
						var resp *http.Response
						if resp, err = client.Do(req); err == nil {
							_, _ = io.Copy(io.Discard, resp.Body)
							err = resp.Body.Close()
						}
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
