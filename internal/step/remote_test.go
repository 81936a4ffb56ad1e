// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Whatever machine counted an answer, and in whatever order: the sum is what one
// would have counted, to the last digit.
func TestMerge(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	one, parts := newTally(time.Minute), []*tally{newTally(time.Minute), newTally(time.Minute), newTally(time.Minute)}
	for _, t := range append(parts, one) {
		t.Start = noon // they begin together
	}
	for i := range 10_000 {
		r := &vegeta.Result{Timestamp: noon.Add(time.Duration(i) * time.Millisecond), Latency: time.Duration(random.ExpFloat64() * 1e7), Code: 200}
		if i%100 == 0 {
			r.Code, r.Error = 503, "503 Service Unavailable"
		}
		one.add(r)
		parts[random.IntN(3)].add(r)
	}
	all := newTally(time.Minute)
	for _, part := range parts {
		data, err := json.Marshal(part)
		sent := newTally(time.Minute)
		if err := errors.Join(err, json.Unmarshal(data, sent)); err != nil {
			t.Fatal(err)
		}
		all.merge(sent)
	}
	if want, got := one.report(), all.report(); !reflect.DeepEqual(want, got) {
		t.Errorf("three machines report\n%+v, one\n%+v", got, want)
	}
	all.merge(newTally(time.Minute)) // a machine that got no answer
	if want, got := one.report(), all.report(); !reflect.DeepEqual(want, got) {
		t.Errorf("with an idle machine the report is\n%+v, want\n%+v", got, want)
	}
}

// A quantile is that of the sorted latencies, to a 1,024th.
func TestHistogram(t *testing.T) {
	t.Parallel()
	for name, sample := range map[string]func(*rand.Rand) time.Duration{
		"nanoseconds":  func(r *rand.Rand) time.Duration { return time.Duration(r.IntN(900)) },
		"milliseconds": func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * 5e6) },
		"all lengths":  func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(1 << (1 + r.IntN(45)))) },
		"one value":    func(*rand.Rand) time.Duration { return time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random, s, all := rand.New(rand.NewPCG(3, 4)), histogram{}, []time.Duration(nil)
			for range 5000 {
				d := sample(random)
				s.add(d)
				all = append(all, d)
			}
			slices.Sort(all)
			for _, q := range []float64{0.0002, 0.5, 0.95, 0.99, 1} {
				want, got := all[int(q*5000)-1], s.quantile(q)
				if diff := (got - want).Abs(); diff > want/1024+1 {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
			}
		})
	}
	if got := (histogram{}).quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

// The shares of a load add up to it: each request is sent by one machine, at the time
// at which one machine alone would send it.
func TestShares(t *testing.T) {
	t.Parallel()
	tests := []struct {
		load     pipeline.Load
		machines int
	}{
		{pipeline.Load{Rate: 500, Duration: time.Second}, 1},
		{pipeline.Load{Rate: 501, Duration: time.Second}, 2},
		{pipeline.Load{Rate: 1200, Duration: time.Second}, 3},
		{pipeline.Load{Rate: 100, Duration: time.Second, Machines: 7}, 7},
		{pipeline.Load{Rate: 1, Duration: 2 * time.Second, Machines: 5}, 2}, // no machine without a request
		{pipeline.Load{Rate: 0.001, Duration: time.Second}, 1},
	}
	for _, tt := range tests {
		list := shares(share{Load: tt.load, URL: "http://h/"})
		var times []time.Duration
		for _, s := range list {
			for k := range s.Hits {
				times = append(times, s.Offset+time.Duration(float64(k)/s.Load.Rate*float64(time.Second)))
			}
		}
		slices.Sort(times)
		if len(list) != tt.machines || uint64(len(times)) != hits(tt.load) {
			t.Fatalf("%+v: %d machines, %d requests", tt.load, len(list), len(times))
		}
		for i, at := range times {
			if want := time.Duration(float64(i) / tt.load.Rate * float64(time.Second)); (at - want).Abs() > time.Microsecond {
				t.Fatalf("%+v: request %d is sent at %v, want %v", tt.load, i, at, want)
			}
		}
	}
}

func TestMakeShare(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	in, err := json.Marshal(share{Load: pipeline.Load{Method: "GET", Rate: 100, Duration: 100 * time.Millisecond}, URL: server.URL, Hits: 10, Offset: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(150 * time.Millisecond)
	var out bytes.Buffer
	if err := MakeShare(t.Context(), start.Format(time.RFC3339Nano), bytes.NewReader(in), &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	var got tally
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Counts.Requests == 0 || got.Counts.Requests > 10 || requests.Load() != got.Counts.Requests || got.Begun.Before(start.Add(50*time.Millisecond)) {
		t.Errorf("the tally is %+v, %v, after %d requests", got, err, requests.Load())
	}
	err = MakeShare(t.Context(), time.Now().Add(-time.Minute).Format(time.RFC3339Nano), bytes.NewReader(in), &out, &bytes.Buffer{})
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "after the others had begun") {
		t.Errorf("a machine that is late: %v", err)
	}
	if err := MakeShare(t.Context(), "", strings.NewReader("{"), &out, &bytes.Buffer{}); pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("half a share: %v", err)
	}
}

// worker is a worker whose machines are this one, and do what a function says.
type worker struct {
	arch string
	work func([]pipeline.Work) ([]int, error)
	got  []pipeline.Work
}

func (w *worker) Check() error { return nil }

func (w *worker) System(context.Context) (string, string, error) { return runtime.GOOS, w.arch, nil }

func (w *worker) Work(_ context.Context, works ...pipeline.Work) ([]int, error) {
	w.got = append(w.got, works...)
	return w.work(works)
}

// What a worker is asked for: with what, and what becomes of its answers.
func TestRemote(t *testing.T) {
	t.Parallel()
	exits := func(code int) func([]pipeline.Work) ([]int, error) {
		return func(works []pipeline.Work) ([]int, error) { return slices.Repeat([]int{code}, len(works)), nil }
	}
	load := pipeline.Step{Name: "s", Load: &pipeline.Load{Rate: 1, Duration: time.Second, URL: "http://127.0.0.1:1/"}}
	tests := map[string]struct {
		step pipeline.Step
		work func([]pipeline.Work) ([]int, error)
		arch string
		code pipeline.Code
		says string
	}{
		"passes":             {step: pipeline.Step{Name: "s", Command: "x"}, work: exits(0)},
		"fails":              {step: pipeline.Step{Name: "s", Command: "x"}, work: exits(3), code: pipeline.CodeFailed, says: "exit status 3"},
		"times out":          {step: pipeline.Step{Name: "s", Command: "x", Timeout: time.Minute}, work: func([]pipeline.Work) ([]int, error) { return nil, fmt.Errorf("w: %w", pipeline.ErrTimedOut) }, code: pipeline.CodeFailed, says: "timed out after 1m0s"},
		"is refused":         {step: pipeline.Step{Name: "s", Command: "x"}, work: func([]pipeline.Work) ([]int, error) { return nil, invalid("no") }, code: pipeline.CodeInvalid, says: "no"},
		"another machine":    {step: load, arch: "pdp11", code: pipeline.CodeInvalid, says: "run programs for " + runtime.GOOS + "/pdp11"},
		"a load that fails":  {step: load, work: exits(1), code: pipeline.CodeFailed, says: "machine 1 of 1 could not make its share of the load: exit status 1"},
		"a load with no end": {step: load, work: exits(0), code: pipeline.CodeFailed, says: "read what machine 1 of 1 measured"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &worker{arch: runtime.GOARCH, work: tt.work}
			if tt.arch != "" {
				w.arch = tt.arch
			}
			r := quick(nil)
			r.worker = w
			_, err := r.Run(t.Context(), pipeline.StepRequest{
				Step: tt.step, Run: "r-1", Runner: pipeline.RunnerCodeBuild, Checkout: t.TempDir(),
				Env: map[string]string{artifactVariable: "/a"}, Secrets: pipeline.Secrets{"S": "hidden\nlines"},
			})
			if pipeline.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %v", err)
			}
			if tt.arch != "" {
				if len(w.got) > 0 {
					t.Error("a machine that can't run this program was asked")
				}
				return
			}
			work := w.got[0]
			if tt.step.Command != "" && (work.Token != "r-1/s/1" || work.Files[artifactVariable] != "/a" || !slices.Equal(work.Mask, []string{"hidden", "lines"})) {
				t.Errorf("it asks for %+v", work)
			}
		})
	}
	_, err := quick(nil).Run(t.Context(), pipeline.StepRequest{Step: pipeline.Step{Name: "s", Command: "x"}, Runner: pipeline.RunnerCodeBuild})
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "aws argument") {
		t.Errorf("without a worker: %v", err)
	}
}
