// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// runner says that steps were run: it prints what such a step prints, lets time pass, and
// returns the result that the story has.
type runner struct {
	clock *clock
	told  chan struct{} // closed when the story has been told: what goes on prints from then on

	mu     sync.Mutex
	fails  map[string]failure       // by pipeline/stage, of the next run
	hangs  map[string]chan struct{} // by pipeline/stage: closed once the run goes on and on
	number int                      // of the commit that is under way, which varies the figures
}

// failure says which step of a run fails, and how.
type failure struct {
	step  string
	tests []pipeline.TestFailure // nil: it ends with an exit status
	exit  int
	stays bool // each run fails, not only the next
}

var _ pipeline.Runner = (*runner)(nil)

func newRunner(c *clock) *runner {
	return &runner{clock: c, told: make(chan struct{}), fails: map[string]failure{}, hangs: map[string]chan struct{}{}}
}

// fail lets the next run of a stage fail.
func (r *runner) fail(pipelineName, stage string, f failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails[pipelineName+"/"+stage] = f
}

// hang lets the last step of the next run of a stage go on and on, and says when it does.
func (r *runner) hang(pipelineName, stage string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	begun := make(chan struct{})
	r.hangs[pipelineName+"/"+stage] = begun
	return begun
}

// Survey implements pipeline.Runner.
func (*runner) Survey(context.Context, string, []pipeline.Step) (pipeline.ReportFiles, error) {
	return pipeline.ReportFiles{}, nil
}

// Check implements pipeline.Runner.
func (*runner) Check(pipeline.RunnerKind) error { return nil }

// Run implements pipeline.Runner.
func (r *runner) Run(ctx context.Context, req pipeline.StepRequest) (pipeline.StepResult, error) {
	at := req.Env["PENSTOCK_PIPELINE"] + "/" + req.Env["PENSTOCK_STAGE"]
	r.mu.Lock()
	fault, fails := r.fails[at]
	if fails = fails && fault.step == req.Step.Name; fails && !fault.stays {
		delete(r.fails, at)
	}
	hang, hangs := r.hangs[at]
	hangs = hangs && req.Step.Name == "journeys"
	n := r.number
	r.mu.Unlock()

	s := &stepLog{Log: runlog.New(req.Log, runlog.Options{Now: r.clock.Now, Styles: req.Styles}), clock: r.clock, n: n}
	s.Mark(pipeline.StepHeader(req.Step.Name), title(req.Step))
	result := pipeline.StepResult{Name: req.Step.Name, Status: pipeline.RunPassed, StartedAt: r.clock.Now(), Attempts: 1}
	defer func() { _ = s.Finish() }()
	if hangs {
		return result, s.goOn(ctx, hang, r.told)
	}
	switch {
	case req.Step.Load != nil:
		report := loadReport(*req.Step.Load, n, req.Step.Name)
		result.Load = &report
		s.say("%d requests, %d failed, p99 %s", report.Requests, report.Errors, report.P99)
		r.clock.pass(req.Step.Load.Duration)
	case req.Step.Report != "":
		result.Tests = s.test(fault, fails)
	case req.Step.Name == "build":
		if err := archive(filepath.Join(req.Checkout, "dist.tar.gz"), n); err != nil {
			return result, err
		}
		s.build()
	default:
		s.command(fault, fails)
	}
	result.Duration = r.clock.Now().Sub(result.StartedAt)
	if !fails {
		s.Mark(pipeline.StepFooter(req.Step.Name), fmt.Sprintf("passed in %s", result.Duration))
		return result, nil
	}
	result.Status, result.ExitCode = pipeline.RunFailed, max(fault.exit, 1)
	result.Error = fmt.Sprintf("exit status %d", result.ExitCode)
	if result.Tests != nil {
		result.Error = fmt.Sprintf("%d of %d tests failed", result.Tests.Failed, result.Tests.Total)
	}
	text := runlog.Saying(result.Error, s.Tail())
	s.Mark(pipeline.StepFooter(req.Step.Name), fmt.Sprintf("failed in %s: %s", result.Duration, result.Error))
	return result, pipeline.Errorf(pipeline.CodeFailed, fmt.Sprintf("step %q failed", req.Step.Name), "%s", text)
}

// title says what a step does.
func title(s pipeline.Step) string {
	switch {
	case s.HTTP != nil:
		return "GET " + s.HTTP.Path
	case s.Load != nil:
		return fmt.Sprintf("GET %s, %g/s for %s", s.Load.Path, s.Load.Rate, s.Load.Duration)
	}
	return s.Command
}

// stepLog is what a step prints.
type stepLog struct {
	*runlog.Log
	clock *clock
	n     int
}

// say prints a line.
func (s *stepLog) say(format string, args ...any) {
	fmt.Fprintf(s.Log, format+"\n", args...)
	s.clock.pass(70 * time.Millisecond)
}

// build prints what a compiler does, in colours.
func (s *stepLog) build() {
	s.say("\x1b[1m\x1b[34m==>\x1b[0m \x1b[1mBuilding shop\x1b[0m, see https://ci.example.com/docs/build?id=%d&as=html.", s.n)
	for i, name := range []string{"catalogue", "basket", "checkout", "payment", "search", "mail"} {
		s.say("   compiled \x1b[32m%-10s\x1b[0m in %d ms", name, 130+17*i+s.n%7)
	}
	s.say("\x1b[33mwarning:\x1b[0m unused variable \x1b[4mrate\x1b[24m in payment/rate.go:%d", 40+s.n)
	s.clock.pass(time.Duration(9+s.n%5) * time.Second)
}

// command prints what any other command does.
func (s *stepLog) command(f failure, fails bool) {
	for i := range 12 {
		s.say("checking %s … \x1b[32mok\x1b[0m", module(i))
	}
	if fails {
		s.say("\x1b[31;1mError:\x1b[0m the answer of partner \x1b[7mnorthwind\x1b[27m is of version 2, and version 1 was agreed")
		s.say("see http://partners.example.com/northwind/contract (or ask them)")
		s.say("exit status %d", max(f.exit, 1))
	}
	s.clock.pass(time.Duration(20+s.n%11) * time.Second)
}

func module(i int) string {
	return []string{"catalogue", "basket", "checkout", "payment", "search", "mail", "stock", "prices", "reviews", "login", "session", "export"}[i%12]
}

// test prints what a test runner does, and returns what its report would say.
func (s *stepLog) test(f failure, fails bool) *pipeline.TestCounts {
	counts := &pipeline.TestCounts{Total: 48, Skipped: s.n % 2}
	for i := range counts.Total {
		name := fmt.Sprintf("%s/test_%02d", module(i), i+1)
		if fails && i%11 == 5 && len(counts.Failures) < len(f.tests) {
			bad := f.tests[len(counts.Failures)]
			counts.Failures = append(counts.Failures, bad)
			s.say("\x1b[31m✕ %s\x1b[0m", bad.Name)
			s.say("%s", bad.Message)
			continue
		}
		s.say("\x1b[32m✓\x1b[0m %s \x1b[2m(%d ms)\x1b[0m", name, 3+(i*s.n)%40)
	}
	counts.Failed = len(counts.Failures)
	s.say("%d tests, %d failed", counts.Total, counts.Failed)
	counts.Duration = time.Duration(20+s.n%9) * time.Second
	s.clock.pass(counts.Duration)
	return counts
}

// goOn prints lines until the lab is closed.
func (s *stepLog) goOn(ctx context.Context, begun, told chan struct{}) error {
	for i := range 40 {
		s.say("journey %d: \x1b[36m%s\x1b[0m, %d clicks", i+1, module(i), 4+i%5)
	}
	close(begun)
	select {
	case <-ctx.Done():
	case <-told:
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 41; ; i++ {
		select {
		case <-ctx.Done():
			return &pipeline.Error{Code: pipeline.CodeCancelled, Op: "run step", Err: context.Cause(ctx)}
		case <-tick.C:
			s.say("journey %d: \x1b[36m%s\x1b[0m, %d clicks", i, module(i), 4+i%5)
		}
	}
}

// archive writes the artifact of a build, which its service shows.
func archive(path string, n int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	zipped := gzip.NewWriter(file)
	out := tar.NewWriter(zipped)
	text := fmt.Sprintf("<h1>The shop, version %d</h1>\n", n)
	if err := out.WriteHeader(&tar.Header{Name: "index.html", Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := out.Write([]byte(text)); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return zipped.Close()
}

// loadReport returns what a load would have measured.
func loadReport(load pipeline.Load, n int, step string) pipeline.LoadReport {
	slow := 1.0
	if step == "peak" {
		slow = 1.6
	}
	ms := func(f float64) time.Duration {
		return time.Duration(f * slow * float64(time.Millisecond)).Round(10 * time.Microsecond)
	}
	wave := func(i int) float64 { return 1 + 0.2*math.Sin(float64(i*7+n)) }
	r := pipeline.LoadReport{
		Requests: int64(load.Rate * load.Duration.Seconds()), Rate: load.Rate, Duration: load.Duration, Every: load.Duration / 30,
		Mean: ms(4.1 * wave(1)), P50: ms(3.2 * wave(1)), P95: ms(9.5 * wave(2)), P99: ms(13 * wave(3)), Max: ms(48 * wave(4)), Statuses: map[string]int64{},
		Limits: &pipeline.LoadLimits{Rate: load.Rate, P99: load.P99, P95: load.P95, ErrorRate: load.ErrorRate, MinThroughput: load.MinThroughput},
	}
	r.Errors = r.Requests / 9000
	for i := range 30 {
		p := pipeline.LoadPoint{Requests: r.Requests / 30, P50: ms(3.2 * wave(i)), P95: ms(9.5 * wave(i+1)), P99: ms(13 * wave(i+2))}
		if i == 17 {
			p.Errors, p.P99 = r.Errors, ms(39)
		}
		r.Series = append(r.Series, p)
	}
	left := r.Requests - r.Errors
	for up := time.Millisecond; up <= 64*time.Millisecond; up *= 2 {
		part := left * 45 / 100
		if up == 64*time.Millisecond {
			part = left
		}
		left -= part
		r.Histogram = append(r.Histogram, pipeline.LatencyBucket{UpTo: up, Count: part})
	}
	r.Statuses["200"] = r.Requests - r.Errors
	if r.Errors > 0 {
		r.Statuses["503"], r.Faults = r.Errors, []string{"the answer is 503 Service Unavailable"}
	}
	r.ErrorRate = float64(r.Errors) / float64(r.Requests)
	r.Throughput = float64(r.Requests-r.Errors) / load.Duration.Seconds()
	return r
}
