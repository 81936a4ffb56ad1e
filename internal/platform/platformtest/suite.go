// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package platformtest holds the tests that every pipeline.Platform must pass, and
// the service that they launch. It knows no platform and tests nothing that only
// one of them promises.
//
//	func TestMain(m *testing.M) {
//		platformtest.Serve()
//		os.Exit(m.Run())
//	}
//
//	func TestPlatform(t *testing.T) {
//		platformtest.Run(t, nil, func(t *testing.T) platformtest.Subject {
//			return platformtest.Subject{Platform: …, Start: platformtest.Start()}
//		})
//	}
package platformtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Subject is a platform to test, which holds nothing yet.
type Subject struct {
	Platform pipeline.Platform
	Start    string // the command line that makes an instance run Serve
	Base     string // image that instances are made from; empty: an empty root
}

// Lacks names the tests of what a platform does not have, with the reason.
type Lacks map[string]string

// Run tests a platform. open returns a new one for each test, and checks in a
// cleanup of its own that the test left nothing.
func Run(t *testing.T, lacks Lacks, open func(t *testing.T) Subject) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Launch", testLaunch}, {"Variables", testVariables}, {"Data", testData}, {"DataFrom", testDataFrom}, {"Hooks", testHooks},
		{"Shift", testShift}, {"Drain", testDrain}, {"CancelShift", testCancelShift}, {"FailedFleet", testFailedFleet}, {"FailedCommand", testFailedCommand},
		{"Discard", testDiscard}, {"Resize", testResize}, {"Exec", testExec}, {"Expire", testExpire}, {"Unknown", testUnknown},
		{"Fence", testFence}, {"Cancel", testCancel}, {"Repeat", testRepeat}, {"Concurrent", testConcurrent}, {"Invalid", testInvalid},
		{"BakeTree", testBakeTree}, {"BakeEnvironment", testBakeEnvironment}, {"BakeFails", testBakeFails}, {"Images", testImages}, {"Channel", testChannel},
	} {
		if lacks[test.name] != "" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &suite{T: t, Subject: open(t)}
			t.Cleanup(s.endAll)
			test.run(s)
		})
	}
}

type suite struct {
	*testing.T
	Subject
	log log
}

// log keeps what commands print; a launch may still write when a test reads.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// endAll destroys what the test launched and removes the images.
func (s *suite) endAll() {
	ctx := context.WithoutCancel(s.Context())
	reports, err := s.Platform.Describe(ctx)
	s.ok(err)
	for id := range reports {
		s.ok(s.Platform.Destroy(ctx, id))
	}
	reports, err = s.Platform.Describe(ctx)
	s.ok(err)
	if len(reports) > 0 {
		s.Errorf("after Destroy there are still %v", reports)
	}
	images, err := s.Platform.Images(ctx)
	s.ok(err)
	for _, image := range images {
		s.ok(s.Platform.RemoveImage(ctx, image.ID))
	}
}

// ok reports an error; also from a cleanup, which can't end the test.
func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Errorf("%v (hint: %s)", err, reason.Hint(err))
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%v (hint: %s)\n%s", err, reason.Hint(err), s.log.String())
	}
}

// wantCode asserts an error's code, and returns its text.
func (s *suite) wantCode(err error, code pipeline.Code) string {
	s.Helper()
	if pipeline.CodeOf(err) != code {
		s.Fatalf("got error %v with code %q, want code %q", err, pipeline.CodeOf(err), code)
	}
	return err.Error()
}

// file makes a file of the test.
func (s *suite) file(text string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), "file")
	s.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// request asks for one instance that was installed from an artifact with the
// version as its text.
func (s *suite) request(environment, fleet, version string) pipeline.FleetRequest {
	s.Helper()
	return pipeline.FleetRequest{
		Environment: environment, Fleet: fleet, Image: s.Base, Instances: 1, Artifact: s.file(version),
		Service: pipeline.Service{
			Install: `cp "$PENSTOCK_ARTIFACT" version`, Start: s.Start, Port: 8080,
			Migrate:     `cat version >>"$PENSTOCK_DATA/migrations"`,
			Seed:        `printf seed >>"$PENSTOCK_DATA/seeds"`,
			HealthCheck: &pipeline.HealthCheck{Path: "/healthz", Interval: 50 * time.Millisecond, StartTimeout: time.Minute},
		},
		DrainTimeout: 10 * time.Second, Log: &s.log,
	}
}

// hooks migrates with each fleet, and seeds once.
func hooks(v pipeline.Service) []pipeline.Hook {
	return []pipeline.Hook{{Name: "service.migrate", Line: v.Migrate}, {Name: "service.seed", Line: v.Seed, Once: true}}
}

func (s *suite) prepare(r pipeline.FleetRequest) pipeline.Fleet {
	s.Helper()
	fleet, err := s.Platform.Prepare(s.Context(), r)
	s.must(err)
	return fleet
}

// serve prepares a fleet, gives it the traffic, and returns the endpoint.
func (s *suite) serve(r pipeline.FleetRequest) string {
	s.Helper()
	s.prepare(r)
	report, err := s.Platform.Shift(s.Context(), r.Environment, r.Fleet, pipeline.Traffic{})
	s.must(err)
	return report.Endpoint
}

func (s *suite) describe(id string) pipeline.EnvironmentReport {
	s.Helper()
	reports, err := s.Platform.Describe(s.Context(), id)
	s.must(err)
	return reports[id]
}

// get returns the body of an answer with status 200.
func (s *suite) get(url string) string {
	s.Helper()
	body, err := fetch(s.Context(), http.MethodGet, url, "")
	s.must(err)
	return body
}

func (s *suite) put(url, text string) {
	s.Helper()
	_, err := fetch(s.Context(), http.MethodPut, url, text)
	s.must(err)
}

func (s *suite) wantGet(url, want string) {
	s.Helper()
	if got := s.get(url); got != want {
		s.Fatalf("GET %s answers %q, want %q", url, got, want)
	}
}

// fetch sends a request and returns the body of its answer; a status other than 200
// is an error.
func fetch(ctx context.Context, method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, data)
	}
	return string(data), err
}

// await waits until the condition holds.
func (s *suite) await(what string, limit time.Duration, ok func() bool) {
	s.Helper()
	s.must(poll.Until(s.Context(), poll.Schedule{First: 10 * time.Millisecond, Max: time.Second, Factor: 1.3, Limit: limit, What: what},
		func(context.Context) (poll.Probe, error) { return poll.Probe{Done: ok()}, nil }))
}

// traffic sends requests one after another, from several clients, until stopped.
type traffic struct {
	stop     context.CancelFunc
	clients  sync.WaitGroup
	mu       sync.Mutex
	sent     int
	failures []string
	answers  map[string]int // by body
}

// load begins traffic: reads that give the version, and writes with a body.
func (s *suite) load(endpoint string) *traffic {
	ctx, stop := context.WithCancel(s.Context())
	tr := &traffic{stop: stop, answers: map[string]int{}}
	for client := range 4 {
		tr.clients.Go(func() {
			for ctx.Err() == nil {
				method, url, body := http.MethodGet, endpoint+"/file/version", ""
				if client%2 == 1 {
					method, url, body = http.MethodPost, endpoint+"/echo", strings.Repeat("x", 10_000)
				}
				// Without ctx, as a request that the test itself cuts off is none that failed.
				got, err := fetch(context.WithoutCancel(ctx), method, url, body)
				tr.count(got, err)
				select {
				case <-ctx.Done():
				case <-time.After(3 * time.Millisecond):
				}
			}
		})
	}
	return tr
}

func (tr *traffic) count(got string, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sent++
	tr.answers[got]++
	if err != nil && len(tr.failures) < 5 {
		tr.failures = append(tr.failures, err.Error())
	}
}

// enough is how many requests say something. A change may be over before they were sent.
const enough = 20

func (tr *traffic) soFar() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.sent
}

// end ends the traffic, and asserts that no request failed.
func (tr *traffic) end(s *suite) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(time.Minute); tr.soFar() < enough && time.Now().Before(late); <-tick.C {
	}
	tr.stop()
	tr.clients.Wait()
	if len(tr.failures) > 0 {
		s.Errorf("of %d requests some failed: %s", tr.sent, strings.Join(tr.failures, "\n"))
	}
	if tr.sent < enough {
		s.Errorf("only %d requests were sent", tr.sent)
	}
}
