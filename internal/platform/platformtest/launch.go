// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package platformtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A fleet answers at an endpoint of its own before it gets the traffic.
func testLaunch(s *suite) {
	r := s.request("e-1", "f-1", "one")
	r.Instances = 2
	fleet := s.prepare(r)
	if fleet.ID != "f-1" {
		s.Errorf("the fleet is %q", fleet.ID)
	}
	s.wantGet(fleet.Endpoint+"/file/version", "one")
	if d := s.describe("e-1"); d.Status != pipeline.EnvRunning || d.Pending != "f-1" || d.Serving != "" || d.Endpoint != "" {
		s.Errorf("before the shift: %+v", d)
	}
	report, err := s.Platform.Shift(s.Context(), "e-1", "f-1", pipeline.Traffic{})
	s.must(err)
	s.wantGet(report.Endpoint+"/file/version", "one")
	want := pipeline.EnvironmentReport{ID: "e-1", Status: pipeline.EnvRunning, Endpoint: report.Endpoint, Serving: "f-1", Instances: 2, Healthy: 2}
	if d := s.describe("e-1"); d != want || report != want {
		s.Errorf("after the shift: %+v and %+v, want %+v", report, d, want)
	}
	seen := map[string]bool{}
	for range 10 {
		seen[s.get(report.Endpoint+"/env/PENSTOCK_INSTANCE")] = true
	}
	if len(seen) != 2 {
		s.Errorf("requests were answered by %v, want two instances", seen)
	}
	all, err := s.Platform.Describe(s.Context())
	s.must(err)
	if len(all) != 1 || all["e-1"] != want {
		s.Errorf("all environments: %+v", all)
	}
}

// Variables reach every command, and secrets nothing else.
func testVariables(s *suite) {
	const secret = "hush-9f1c"
	r := s.request("e-1", "f-1", "one")
	r.Env = map[string]string{"COLOUR": "green"}
	r.Secrets = pipeline.Secrets{"TOKEN": secret}
	say := `echo "WHAT $COLOUR $TOKEN $PENSTOCK_ENVIRONMENT"; test "$TOKEN" = ` + secret + "; "
	r.Service.Install = strings.Replace(say, "WHAT", "install", 1) + r.Service.Install
	r.Service.Migrate = strings.Replace(say, "WHAT", "migrate", 1) + r.Service.Migrate
	r.Service.Seed = strings.Replace(say, "WHAT", "seed", 1) + r.Service.Seed
	r.Hooks = hooks(r.Service)
	endpoint := s.serve(r)
	for name, want := range map[string]string{"COLOUR": "green", "TOKEN": secret, "PENSTOCK_ENVIRONMENT": "e-1", "PLUGIN_MIN_PORT": ""} {
		s.wantGet(endpoint+"/env/"+name, want)
	}
	for _, name := range []string{"PORT", "HOST", "PENSTOCK_ROOT", "PENSTOCK_DATA", "PENSTOCK_INSTANCE"} {
		if s.get(endpoint+"/env/"+name) == "" {
			s.Errorf("%s is not set", name)
		}
	}
	log := s.log.String()
	for _, what := range []string{"install", "migrate", "seed"} {
		if !strings.Contains(log, what+" green *** e-1\n") {
			s.Errorf("the log has no line of %s: %q", what, log)
		}
	}
	if strings.Contains(log, secret) {
		s.Errorf("the log has the secret: %q", log)
	}
}

// Data is migrated with each fleet, seeded once, and outlives fleets.
func testData(s *suite) {
	r := s.request("e-1", "f-1", "one,")
	r.Hooks = hooks(r.Service)
	endpoint := s.serve(r)
	s.put(endpoint+"/data/note", "kept")
	r = s.request("e-1", "f-2", "two,")
	r.Hooks = hooks(r.Service)
	s.serve(r)
	s.wantGet(endpoint+"/data/migrations", "one,two,")
	s.wantGet(endpoint+"/data/seeds", "seed")
	s.wantGet(endpoint+"/data/note", "kept")
	s.wantGet(endpoint+"/file/version", "two,")
}

// A new environment begins with a copy of another's data, which it doesn't share.
func testDataFrom(s *suite) {
	from := s.serve(s.request("e-1", "f-1", "one"))
	s.put(from+"/data/note", "old")
	r := s.request("e-2", "f-2", "two,")
	r.DataFrom, r.Hooks = "e-1", hooks(r.Service)[:1]
	to := s.serve(r)
	s.wantGet(to+"/data/note", "old")
	s.wantGet(to+"/data/migrations", "two,")
	s.put(to+"/data/note", "new")
	s.wantGet(from+"/data/note", "old")
	r = s.request("e-3", "f-3", "three")
	r.DataFrom = "e-none"
	_, err := s.Platform.Prepare(s.Context(), r)
	s.wantCode(err, pipeline.CodeNotFound)
	if d := s.describe("e-3"); d.Status != pipeline.EnvGone {
		s.Errorf("after a failed launch: %+v", d)
	}
}

// The hooks run in order, with variables of their own. Whoever asked for them gets the last
// line that each printed before the next one begins, and may end the launch.
func testHooks(s *suite) {
	s.put(s.serve(s.request("e-1", "f-1", "one"))+"/data/note", "old")
	r := s.request("e-1", "f-2", "two")
	var said []string
	listen := func(ctx context.Context, run pipeline.HookFunc) error {
		last, err := run(ctx)
		said = append(said, last)
		if last == "enough" {
			return pipeline.Errorf(pipeline.CodeFailed, "listen", "that is enough")
		}
		return err
	}
	r.Hooks = []pipeline.Hook{
		{Name: "service.backup", Line: `cp "$PENSTOCK_DATA/note" "$PENSTOCK_DATA/kept"; echo "kept a note"; echo "$NAME of $(cat version)"; echo`, Env: map[string]string{"NAME": "it's b-1"}, Around: listen},
		{Name: "service.seed", Line: "echo seeded", Once: true, Around: listen},
		{Name: "service.migrate", Line: `printf new >"$PENSTOCK_DATA/note"; cat "$PENSTOCK_DATA/kept"; echo " ${NAME-none}"`, Around: listen},
	}
	endpoint := s.serve(r)
	if want := []string{"it's b-1 of two", "old none"}; !slices.Equal(said, want) {
		s.Errorf("the hooks said %q, want %q", said, want)
	}
	s.wantGet(endpoint+"/data/note", "new")
	s.wantGet(endpoint+"/data/kept", "old")
	if log := s.log.String(); !strings.Contains(log, "kept a note\n") {
		s.Errorf("the log is %q", log)
	}

	r = s.request("e-1", "f-3", "three")
	r.Hooks = []pipeline.Hook{{Name: "service.backup", Line: "echo enough", Around: listen}, {Name: "service.migrate", Line: `printf newer >"$PENSTOCK_DATA/note"`}}
	_, err := s.Platform.Prepare(s.Context(), r)
	s.wantCode(err, pipeline.CodeFailed)
	r.Fleet, r.Hooks = "f-4", []pipeline.Hook{{Name: "service.backup", Line: "sleep 300", Timeout: time.Second}, {Name: "service.migrate", Line: `printf newer >"$PENSTOCK_DATA/note"`}}
	_, err = s.Platform.Prepare(s.Context(), r)
	if text := s.wantCode(err, pipeline.CodeFailed); !strings.Contains(text, "service.backup") {
		s.Errorf("the error of a hook that hangs is %q", text)
	}
	s.wantGet(endpoint+"/data/note", "new")
	s.wantGet(endpoint+"/file/version", "two")
}

// A command that fails ends the launch, and its last lines are in the error.
func testFailedCommand(s *suite) {
	for what, change := range map[string]func(*pipeline.Service){
		"service.install": func(v *pipeline.Service) { v.Install = "echo oops; exit 7" },
		"service.migrate": func(v *pipeline.Service) { v.Migrate = "echo oops; exit 7" },
		"service.seed":    func(v *pipeline.Service) { v.Seed = "echo oops; exit 7" },
	} {
		r := s.request("e-1", "f-"+what[len("service."):], "one")
		change(&r.Service)
		r.Hooks = hooks(r.Service)
		_, err := s.Platform.Prepare(s.Context(), r)
		text := s.wantCode(err, pipeline.CodeFailed)
		for _, want := range []string{what, "exit status 7", "oops"} {
			if !strings.Contains(text, want) {
				s.Errorf("the error %q does not say %q", text, want)
			}
		}
		if d := s.describe("e-1"); d.Status != pipeline.EnvGone {
			s.Errorf("after a failed launch: %+v", d)
		}
	}
	r := s.request("e-1", "f-2", "one")
	r.Artifact += ".none"
	_, err := s.Platform.Prepare(s.Context(), r)
	s.wantCode(err, pipeline.CodeNotFound)
	r = s.request("e-1", "f-3", "one")
	r.Image = "img-0000000000000000"
	_, err = s.Platform.Prepare(s.Context(), r)
	s.wantCode(err, pipeline.CodeNotFound)
}

// A fleet that does not become healthy is removed, and what served serves on.
func testFailedFleet(s *suite) {
	r := s.request("e-1", "f-1", "one")
	r.Env = map[string]string{Mode: ModeExit}
	_, err := s.Platform.Prepare(s.Context(), r)
	if text := s.wantCode(err, pipeline.CodeFailed); !strings.Contains(text, "cannot open the database") {
		s.Errorf("the error %q does not have what the service said", text)
	}
	if d := s.describe("e-1"); d.Status != pipeline.EnvGone {
		s.Errorf("after a failed launch: %+v", d)
	}
	endpoint := s.serve(s.request("e-1", "f-2", "two"))
	before := s.describe("e-1")
	for _, mode := range []string{ModeExit, ModeSick} {
		bad := s.request("e-1", "f-3", "three")
		bad.Env = map[string]string{Mode: mode}
		bad.Instances = 2
		bad.Service.HealthCheck.StartTimeout = time.Second
		_, err = s.Platform.Prepare(s.Context(), bad)
		s.wantCode(err, pipeline.CodeFailed)
		s.wantGet(endpoint+"/file/version", "two")
		if d := s.describe("e-1"); d != before {
			s.Errorf("after a failed launch: %+v, want %+v", d, before)
		}
	}
	_, err = s.Platform.Shift(s.Context(), "e-1", "f-3", pipeline.Traffic{})
	s.wantCode(err, pipeline.CodeNotFound)
}

// A cancelled Prepare leaves nothing, and leaves what served.
func testCancel(s *suite) {
	for _, begun := range []string{"installing", "starting"} {
		r := s.request("e-1", "f-"+begun, "one")
		if begun == "installing" {
			r.Service.Install = "echo installing; sleep 300"
		} else {
			r.Service.Install += "; echo starting"
			r.Env = map[string]string{Mode: ModeDeaf}
		}
		s.cancelled(r, begun)
		if d := s.describe("e-1"); d.Status != pipeline.EnvGone {
			s.Errorf("after a cancelled launch: %+v", d)
		}
	}
	endpoint := s.serve(s.request("e-1", "f-1", "one"))
	before := s.describe("e-1")
	r := s.request("e-1", "f-2", "two")
	r.Service.Install = "echo second; sleep 300"
	s.cancelled(r, "second")
	s.wantGet(endpoint+"/file/version", "one")
	if d := s.describe("e-1"); d != before {
		s.Errorf("after a cancelled launch: %+v, want %+v", d, before)
	}
}

// cancelled prepares a fleet and cancels it some time after the log has the word.
func (s *suite) cancelled(r pipeline.FleetRequest, word string) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Platform.Prepare(ctx, r)
		ended <- err
	}()
	s.await("the launch to begin", time.Minute, func() bool { return strings.Contains(s.log.String(), word+"\n") })
	select {
	case err := <-ended:
		s.Fatalf("the launch ended before it was cancelled: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	s.wantCode(<-ended, pipeline.CodeCancelled)
}

// A repeated call with the same IDs is harmless.
func testRepeat(s *suite) {
	r := s.request("e-1", "f-1", "one,")
	r.Hooks = hooks(r.Service)
	var first, again pipeline.Fleet
	var firstErr, againErr error
	var both sync.WaitGroup // at the same time
	both.Go(func() { first, firstErr = s.Platform.Prepare(s.Context(), r) })
	both.Go(func() { again, againErr = s.Platform.Prepare(s.Context(), r) })
	both.Wait()
	s.must(firstErr)
	s.must(againErr)
	if again != first {
		s.Errorf("a second Prepare gives %+v, want %+v", again, first)
	}
	report, err := s.Platform.Shift(s.Context(), "e-1", "f-1", pipeline.Traffic{})
	s.must(err)
	repeated, err := s.Platform.Shift(s.Context(), "e-1", "f-1", pipeline.Traffic{})
	s.must(err)
	if repeated != report {
		s.Errorf("a second Shift gives %+v, want %+v", repeated, report)
	}
	if third := s.prepare(r); third.ID != "f-1" {
		s.Errorf("a third Prepare gives %+v", third)
	}
	s.wantGet(report.Endpoint+"/data/migrations", "one,")
	s.wantGet(report.Endpoint+"/data/seeds", "seed")
	if d := s.describe("e-1"); d != report {
		s.Errorf("after all: %+v, want %+v", d, report)
	}
}

// Environments don't disturb one another.
func testConcurrent(s *suite) {
	const n = 4
	requests := make([]pipeline.FleetRequest, n)
	for i := range n {
		requests[i] = s.request(fmt.Sprintf("e-%d", i), fmt.Sprintf("f-%d", i), fmt.Sprint(i))
	}
	errs := make([]error, n)
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() {
			if _, errs[i] = s.Platform.Prepare(s.Context(), r); errs[i] == nil {
				_, errs[i] = s.Platform.Shift(s.Context(), r.Environment, r.Fleet, pipeline.Traffic{})
			}
		})
	}
	all.Wait()
	reports, err := s.Platform.Describe(s.Context())
	s.must(err)
	for i, r := range requests {
		s.must(errs[i])
		s.wantGet(reports[r.Environment].Endpoint+"/file/version", fmt.Sprint(i))
	}
}

// What can't work is refused before anything is made.
func testInvalid(s *suite) {
	for name, change := range map[string]func(*pipeline.FleetRequest){
		"no instances":          func(r *pipeline.FleetRequest) { r.Instances = 0 },
		"negative instances":    func(r *pipeline.FleetRequest) { r.Instances = -1 },
		"no start":              func(r *pipeline.FleetRequest) { r.Service.Start = "" },
		"a port beyond":         func(r *pipeline.FleetRequest) { r.Port = 65536 },
		"an ID with a path":     func(r *pipeline.FleetRequest) { r.Environment = "../e-1" },
		"a fleet without an ID": func(r *pipeline.FleetRequest) { r.Fleet = "" },
	} {
		r := s.request("e-1", "f-1", "one")
		change(&r)
		_, err := s.Platform.Prepare(s.Context(), r)
		if pipeline.CodeOf(err) != pipeline.CodeInvalid {
			s.Errorf("%s: got %v, want an error of CodeInvalid", name, err)
		}
	}
	all, err := s.Platform.Describe(s.Context())
	s.must(err)
	if len(all) > 0 {
		s.Errorf("refused launches left %v", all)
	}
}
