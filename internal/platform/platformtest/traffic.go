// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package platformtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// No request fails while fleets follow one another.
func testShift(s *suite) {
	r := s.request("e-1", "f-0", "0")
	r.Instances = 2
	endpoint := s.serve(r)
	load := s.load(endpoint)
	for i := 1; i <= 3; i++ {
		r := s.request("e-1", fmt.Sprintf("f-%d", i), fmt.Sprint(i))
		r.Instances = 2
		if at := s.serve(r); at != endpoint {
			s.Errorf("the endpoint changed from %s to %s", endpoint, at)
		}
		for range 4 {
			s.wantGet(endpoint+"/file/version", fmt.Sprint(i))
		}
	}
	load.end(s)
	for _, version := range []string{"0", "1", "2", "3"} {
		if load.answers[version] == 0 {
			s.Errorf("no request was answered by version %s", version)
		}
	}
	if d := s.describe("e-1"); d.Serving != "f-3" || d.Pending != "" || d.Healthy != 2 {
		s.Errorf("after the shifts: %+v", d)
	}
}

// A request that is under way when the traffic shifts is answered.
func testDrain(s *suite) {
	endpoint := s.serve(s.request("e-1", "f-1", "one"))
	s.prepare(s.request("e-1", "f-2", "two"))
	resp, err := http.Get(endpoint + "/slow/1s")
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	_, err = s.Platform.Shift(s.Context(), "e-1", "f-2", pipeline.Traffic{})
	s.must(err)
	body, err := io.ReadAll(resp.Body)
	s.must(err)
	if string(body) != "done" {
		s.Errorf("the request that was under way got %q", body)
	}
	s.wantGet(endpoint+"/file/version", "two")
}

// A Shift that is cancelled while what served drains has been made or not: what Describe
// then says serves does so for good, and no request is lost.
func testCancelShift(s *suite) {
	endpoint := s.serve(s.request("e-1", "f-1", "one"))
	s.prepare(s.request("e-1", "f-2", "two"))
	resp, err := http.Get(endpoint + "/slow/2s") // it has to be waited for
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Platform.Shift(ctx, "e-1", "f-2", pipeline.Traffic{})
		ended <- err
	}()
	s.await("the traffic to go over", time.Minute, func() bool { return s.get(endpoint+"/file/version") == "two" })
	cancel()
	if err := <-ended; err != nil {
		s.wantCode(err, pipeline.CodeCancelled)
	}
	s.must(s.Platform.Discard(s.Context(), "e-1", "f-2"))
	want := map[string]string{"f-1": "one", "f-2": "two"}
	serving := s.describe("e-1").Serving
	s.wantGet(endpoint+"/file/version", want[serving])
	body, err := io.ReadAll(resp.Body)
	s.must(err)
	if string(body) != "done" {
		s.Errorf("the request that was under way got %q", body)
	}
	s.serve(s.request("e-1", "f-3", "three"))
	s.wantGet(endpoint+"/file/version", "three")
	if d := s.describe("e-1"); d.Serving != "f-3" || d.Pending != "" || d.Healthy != 1 {
		s.Errorf("after the next shift: %+v", d)
	}
}

// A fleet that got no traffic goes, and one that did stays.
func testDiscard(s *suite) {
	fleet := s.prepare(s.request("e-1", "f-1", "one"))
	s.must(s.Platform.Discard(s.Context(), "e-1", "f-1"))
	if d := s.describe("e-1"); d.Status != pipeline.EnvGone {
		s.Errorf("a new environment did not go with its fleet: %+v", d)
	}
	if _, err := fetch(s.Context(), http.MethodGet, fleet.Endpoint+"/file/version", ""); err == nil {
		s.Error("a discarded fleet answers")
	}
	endpoint := s.serve(s.request("e-1", "f-2", "two"))
	s.prepare(s.request("e-1", "f-3", "three"))
	if d := s.describe("e-1"); d.Serving != "f-2" || d.Pending != "f-3" {
		s.Errorf("with a prepared fleet: %+v", d)
	}
	for _, id := range []string{"f-3", "f-3", "f-2", "f-none"} {
		s.must(s.Platform.Discard(s.Context(), "e-1", id))
		if d := s.describe("e-1"); d.Serving != "f-2" || d.Pending != "" || d.Status != pipeline.EnvRunning {
			s.Errorf("after Discard of %s: %+v", id, d)
		}
	}
	s.wantGet(endpoint+"/file/version", "two")
	s.must(s.Platform.Discard(s.Context(), "e-none", "f-1"))
	// A second prepared fleet takes the place of one that was forgotten.
	s.prepare(s.request("e-1", "f-4", "four"))
	s.prepare(s.request("e-1", "f-5", "five"))
	if d := s.describe("e-1"); d.Serving != "f-2" || d.Pending != "f-5" {
		s.Errorf("with two prepared fleets: %+v", d)
	}
}

// The number of instances changes without failing a request.
func testResize(s *suite) {
	endpoint := s.serve(s.request("e-1", "f-1", "one"))
	load := s.load(endpoint)
	for _, n := range []int{3, 3, 1} {
		s.must(s.Platform.Resize(s.Context(), "e-1", pipeline.Size{Instances: n}))
		if d := s.describe("e-1"); d.Instances != n || d.Healthy != n || d.Status != pipeline.EnvRunning {
			s.Errorf("after a resize to %d: %+v", n, d)
		}
	}
	load.end(s)
	s.wantCode(s.Platform.Resize(s.Context(), "e-1", pipeline.Size{}), pipeline.CodeInvalid)
	s.wantCode(s.Platform.Resize(s.Context(), "e-none", pipeline.Size{Instances: 1}), pipeline.CodeNotFound)
}

// A command runs in an instance, with the variables of its service.
func testExec(s *suite) {
	const secret = "hush-77aa"
	r := s.request("e-1", "f-1", "one")
	r.Env = map[string]string{"COLOUR": "green"}
	r.Secrets = pipeline.Secrets{"TOKEN": secret}
	s.serve(r)
	s.prepare(s.request("e-1", "f-2", "two"))
	for _, test := range []struct {
		fleet, line, want string
		exit              int
	}{
		{"", "cat version", "one", 0},
		{"f-1", "cat version", "one", 0},
		{"f-2", "cat version", "two", 0},
		{"", `echo "$COLOUR $OWN $PENSTOCK_ENVIRONMENT $(basename "$PWD") $TOKEN"`, "green mine e-1 root ***", 0},
		{"", "echo said; exit 5", "said", 5},
	} {
		var out bytes.Buffer
		exit, err := s.Platform.Exec(s.Context(), "e-1", test.fleet, pipeline.Command{Line: test.line, Env: map[string]string{"OWN": "mine"}}, &out)
		s.must(err)
		if got := strings.TrimSpace(out.String()); exit != test.exit || got != test.want {
			s.Errorf("Exec of %q in %q: exit %d and %q, want %d and %q", test.line, test.fleet, exit, got, test.exit, test.want)
		}
	}
	var out bytes.Buffer
	three := s.request("e-1", "f-3", "three")
	three.Instances = 3
	s.prepare(three)
	for line, want := range map[string]int{"cat version": 3, "echo three; exit 4": 1} {
		out.Reset()
		exit, err := s.Platform.Exec(s.Context(), "e-1", "f-3", pipeline.Command{Line: line, Everywhere: true}, &out)
		s.must(err)
		if got := strings.Count(out.String(), "three"); got != want || (exit == 0) != (want == 3) {
			s.Errorf("Exec of %q everywhere ran %d times and gave %d", line, got, exit)
		}
	}
	_, err := s.Platform.Exec(s.Context(), "e-1", "", pipeline.Command{Line: "sleep 300", Timeout: 200 * time.Millisecond}, io.Discard)
	s.wantCode(err, pipeline.CodeFailed)
	ctx, cancel := context.WithTimeout(s.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = s.Platform.Exec(ctx, "e-1", "", pipeline.Command{Line: "sleep 300"}, io.Discard)
	if s.wantCode(err, pipeline.CodeCancelled); !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("a cancelled Exec gives %v", err)
	}
	_, err = s.Platform.Exec(s.Context(), "e-none", "", pipeline.Command{Line: "true"}, io.Discard)
	s.wantCode(err, pipeline.CodeNotFound)
	_, err = s.Platform.Exec(s.Context(), "e-1", "f-none", pipeline.Command{Line: "true"}, io.Discard)
	s.wantCode(err, pipeline.CodeNotFound)
}

// An environment ends by itself at its time, which can be moved.
func testExpire(s *suite) {
	r := s.request("e-1", "f-1", "one")
	r.ExpiresAt = time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	endpoint := s.serve(r)
	if d := s.describe("e-1"); !d.ExpiresAt.Equal(r.ExpiresAt) {
		s.Errorf("ends at %v, want %v", d.ExpiresAt, r.ExpiresAt)
	}
	s.must(s.Platform.Extend(s.Context(), "e-1", time.Time{}))
	if d := s.describe("e-1"); !d.ExpiresAt.IsZero() {
		s.Errorf("ends at %v, want never", d.ExpiresAt)
	}
	s.must(s.Platform.Extend(s.Context(), "e-1", time.Now().Add(time.Second)))
	s.wantGet(endpoint+"/file/version", "one")
	s.await("the environment to expire", 5*time.Minute, func() bool { return s.describe("e-1").Status == pipeline.EnvExpired })
	s.await("the endpoint to close", time.Minute, func() bool {
		_, err := fetch(s.Context(), http.MethodGet, endpoint+"/file/version", "")
		return err != nil
	})
	s.wantCode(s.Platform.Extend(s.Context(), "e-1", time.Now().Add(time.Hour)), pipeline.CodeNotFound)
	if d := s.describe("e-1"); d.Status != pipeline.EnvExpired || d.Endpoint != "" {
		s.Errorf("after its end: %+v", d)
	}
	s.must(s.Platform.Destroy(s.Context(), "e-1"))
	if d := s.describe("e-1"); d.Status != pipeline.EnvGone {
		s.Errorf("after Destroy: %+v", d)
	}
	s.wantCode(s.Platform.Extend(s.Context(), "e-none", time.Now()), pipeline.CodeNotFound)

	// So does one that never gets traffic: a run's, whose process is dead.
	r = s.request("e-2", "f-2", "one")
	r.ExpiresAt = time.Now().Add(time.Hour)
	_, err := s.Platform.Prepare(s.Context(), r)
	s.must(err)
	s.must(s.Platform.Extend(s.Context(), "e-2", time.Now().Add(time.Second)))
	s.await("the environment without traffic to expire", 5*time.Minute, func() bool { return s.describe("e-2").Status == pipeline.EnvExpired })
	s.must(s.Platform.Destroy(s.Context(), "e-2"))
}

// What doesn't exist is gone, and needs no removal.
func testUnknown(s *suite) {
	reports, err := s.Platform.Describe(s.Context(), "e-1", "e-2")
	s.must(err)
	for _, id := range []string{"e-1", "e-2"} {
		if r := reports[id]; r.ID != id || r.Status != pipeline.EnvGone || r.Reason == "" {
			s.Errorf("an unknown environment is reported as %+v", r)
		}
	}
	s.serve(s.request("e-1", "f-1", "one"))
	for range 2 {
		s.must(s.Platform.Destroy(s.Context(), "e-1"))
		if d := s.describe("e-1"); d.Status != pipeline.EnvGone {
			s.Errorf("after Destroy: %+v", d)
		}
	}
	_, err = s.Platform.Shift(s.Context(), "e-1", "f-1", pipeline.Traffic{})
	s.wantCode(err, pipeline.CodeNotFound)
}
