// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"io"
	stdlog "log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// What a killed supervisor had started ends, and the next Prepare restores the
// environment with its data and at its port.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("f-1")
	r.Instances = 2
	endpoint := b.serve(r)
	_, _, err := request(b.Context(), http.MethodPut, endpoint+"/data/note", "kept")
	b.must(err)
	b.must(b.supervisor().Kill())
	b.awaitEmpty()
	if d := b.report(); d.Status != pipeline.EnvGone || !strings.Contains(d.Reason, "healthy on port") {
		t.Errorf("after the kill: %+v", d)
	}
	_, err = b.Shift(b.Context(), "e-1", "f-1", pipeline.Traffic{})
	b.wantError(err, pipeline.CodeNotFound, "Apply again", "e-1 is gone")

	// A restore that fails does not cost the data.
	bad := b.request("f-2")
	bad.Env[platformtest.Mode] = platformtest.ModeExit
	_, err = b.Prepare(b.Context(), bad)
	b.wantError(err, pipeline.CodeFailed, "")
	if d := b.report(); d.Status != pipeline.EnvGone {
		t.Errorf("after a failed restore: %+v", d)
	}
	again := b.request("f-3")
	again.Seed, again.Service.Seed = true, "exit 1" // it has data, so it is not seeded
	if at := b.serve(again); at != endpoint {
		t.Errorf("restored at %s, was at %s", at, endpoint)
	}
	b.wantGet(endpoint+"/data/note", "kept")
	b.wantGet(versionAt(endpoint), "f-3")
}

// A supervisor that is killed while a fleet starts fails the launch, which leaves
// nothing.
func TestSupervisorKilledAtStart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("f-1")
	r.Env[platformtest.Mode] = platformtest.ModeDeaf
	ended := make(chan error, 1)
	go func() {
		_, err := b.Prepare(t.Context(), r)
		ended <- err
	}()
	started := filepath.Join(b.fleets("e-1"), "f-1", "i-0", instanceRecord)
	b.await("the instance to start", func() bool { return exists(started) })
	b.must(b.supervisor().Kill())
	b.wantError(<-ended, pipeline.CodeFailed, "Apply again", "the supervisor ended while the fleet started")
	b.awaitEmpty()
	if exists(b.dir("e-1")) {
		t.Error("a failed launch left a directory")
	}
}

// A prepared fleet whose instances have failed since gets no traffic.
func TestShiftToUnhealthy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.serve(b.request("f-1"))
	b.prepare(b.request("f-2"))
	b.must(os.WriteFile(filepath.Join(b.fleets("e-1"), "f-2", "i-0", instanceRoot, "sick"), nil, 0o600))
	b.await("the instance to be unhealthy", func() bool { return strings.Contains(b.log(), "unhealthy: GET /healthz") })
	_, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{})
	b.wantError(err, pipeline.CodeFailed, "", "no instance of fleet f-2 is healthy any more")
	b.wantGet(versionAt(endpoint), "f-1")
}

// Signals of the terminal that Terraform runs in don't touch a supervisor; SIGTERM
// ends it in order.
func TestSupervisorSignals(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.serve(b.request("f-1"))
	id := b.supervisor()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		b.signal(id, s)
	}
	b.wantGet(versionAt(endpoint), "f-1")
	b.signal(id, syscall.SIGTERM)
	b.awaitEmpty()
	if d := b.report(); d.Status != pipeline.EnvGone || !strings.Contains(d.Reason, "SIGTERM") {
		t.Errorf("after SIGTERM: %+v", d)
	}
}

// A supervisor whose directory somebody removed ends with all that it started.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serve(b.request("f-1"))
	b.must(os.RemoveAll(b.environments()))
	b.awaitEmpty()
}

// A service that takes no notice of SIGTERM is killed after its grace.
func TestStubbornService(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("f-1")
	r.Env[platformtest.Mode] = platformtest.ModeStubborn
	b.serve(r)
	began := time.Now()
	b.must(b.Destroy(b.Context(), "e-1"))
	if took := time.Since(began); took < process.DefaultGrace || took > process.DefaultGrace+5*time.Second {
		t.Errorf("it took %v, want a little more than %v", took, process.DefaultGrace)
	}
}

// A port that is taken is found out before anything is made; another one moves
// An image that somebody changed on disk is launched nowhere, though it is another
// A supervisor without a fleet, of a caller that was killed, may end while the next
// one installs; and so may one that serves.
func TestSupervisorEndsMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.serve(b.request("f-1"))
	r := b.request("f-2")
	r.Artifact, r.Service.Install = os.DevNull, "until test -e ../go; do sleep 0.01; done"
	ended := make(chan error, 1)
	go func() {
		_, err := b.Prepare(t.Context(), r)
		ended <- err
	}()
	tree := filepath.Join(b.fleets("e-1"), "f-2", installedDir)
	b.await("the installation to begin", func() bool { return exists(tree) })
	b.must(b.supervisor().Kill())
	b.await("the supervisor to end", func() bool { return !newClient(b.dir("e-1"), b.fleets("e-1")).alive() })
	b.must(os.WriteFile(filepath.Join(filepath.Dir(tree), "go"), nil, 0o600))
	b.must(<-ended)
	report, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{})
	b.must(err)
	if report.Endpoint != endpoint || report.Serving != "f-2" {
		t.Errorf("restored as %+v, was at %s", report, endpoint)
	}
}

// What somebody did to the files of an environment costs no data, and does not
// keep it from being destroyed.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serve(b.request("f-1"))
	b.must(b.supervisor().Kill())
	b.awaitEmpty()
	b.must(os.WriteFile(filepath.Join(b.dir("e-1"), recordFile), []byte("{"), 0o600))
	if d := b.report(); d.Status != pipeline.EnvGone || !strings.Contains(d.Reason, recordFile) {
		t.Errorf("with a broken record: %+v", d)
	}
	_, err := b.Prepare(b.Context(), b.request("f-2"))
	b.wantError(err, pipeline.CodeCorrupt, "destroy the environment", recordFile)
	if !exists(filepath.Join(b.dir("e-1"), dataDir)) {
		t.Error("a failed Prepare removed the data")
	}
	b.must(b.Destroy(b.Context(), "e-1"))
	// A directory that is none of an environment is taken over.
	b.must(os.MkdirAll(filepath.Join(b.fleets("e-1"), "f-9", "i-0"), 0o755))
	b.must(os.Chmod(filepath.Join(b.fleets("e-1"), "f-9"), 0o500))
	endpoint := b.serve(b.request("f-3"))
	b.wantGet(versionAt(endpoint), "f-3")
}

// When its time is over, little more than the fact is kept, also when nobody was
// there to see. What is launched then is new.
func TestExpired(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("f-1")
	r.ExpiresAt = time.Now().Add(time.Hour)
	r.Seed, r.Service.Seed = true, "echo seed >>$PENSTOCK_DATA/seeds"
	b.serve(r)
	b.must(b.Extend(t.Context(), "e-1", time.Now()))
	b.await("it to expire", func() bool { return b.report().Status == pipeline.EnvExpired })
	b.awaitEmpty()
	for _, path := range []string{filepath.Join(b.dir("e-1"), dataDir), b.fleets("e-1"), filepath.Join(b.dir("e-1"), controlSocket)} {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
	r.Fleet, r.ExpiresAt = "f-2", time.Now().Add(2*time.Second)
	endpoint := b.serve(r)
	b.wantGet(endpoint+"/data/seeds", "seed\n")
	b.must(b.supervisor().Kill())
	b.awaitEmpty()
	b.await("it to expire unseen", func() bool { return b.report().Status == pipeline.EnvExpired })
	r.Fleet, r.ExpiresAt = "f-3", time.Time{}
	b.wantGet(b.serve(r)+"/data/seeds", "seed\n")
}

// A Shift that is cancelled while the old fleet drains has sent the traffic over; the old
// fleet ends when it has answered.
func TestShiftCancelledInDrain(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.serve(b.request("f-1"))
	next := b.request("f-2")
	next.DrainTimeout = time.Minute
	b.prepare(next)
	resp, err := http.Get(endpoint + "/slow/8s")
	b.must(err)
	defer func() { _ = resp.Body.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.Shift(ctx, "e-1", "f-2", pipeline.Traffic{})
		ended <- err
	}()
	b.await("the traffic to go over", func() bool { return b.report().Serving == "f-2" })
	cancel()
	b.wantError(<-ended, pipeline.CodeCancelled, "")
	b.must(b.Discard(t.Context(), "e-1", "f-2"))
	if d := b.report(); d.Serving != "f-2" || d.Pending != "" || d.Endpoint != endpoint {
		t.Errorf("after a cancelled shift: %+v", d)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
		t.Errorf("the request that was under way got %q, %v", body, err)
	}
	b.await("the old fleet to end", func() bool { return !exists(filepath.Join(b.fleets("e-1"), "f-1")) })
}

// What an environment is asked at the same time as its end is moved does not race.
func TestExtendBesideOthers(t *testing.T) {
	t.Parallel()
	s := &supervisor{id: "e-1", dir: t.TempDir(), fleets: map[string]*fleet{}, log: stdlog.New(io.Discard, "", 0)}
	s.life, s.finish = context.WithCancelCause(t.Context())
	s.rec.ID = "e-1"
	var both sync.WaitGroup
	both.Go(func() {
		for range 20 {
			if _, err := s.extend(time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	both.Go(func() {
		for range 20 {
			_, shifted := s.shift(t.Context(), "f-1")
			_, resized := s.resize(t.Context(), 2)
			_, placed := s.places("f-1")
			for _, err := range []error{shifted, resized, placed} {
				if pipeline.CodeOf(err) != pipeline.CodeNotFound {
					t.Errorf("without a fleet: %v", err)
				}
			}
		}
	})
	both.Wait()
}
