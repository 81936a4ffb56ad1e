// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

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
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// What a killed supervisor had started ends, and the next Prepare restores the
// environment with its data and at its port.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Instances = 2
	endpoint := b.Serve(r)
	_, _, err := localtest.Request(b.Context(), http.MethodPut, endpoint+"/data/note", "kept")
	b.Must(err)
	b.Must(b.Supervisor().Kill())
	b.AwaitEmpty()
	if d := b.Report(); d.Status != pipeline.EnvGone || !strings.Contains(d.Reason, "healthy on port") {
		t.Errorf("after the kill: %+v", d)
	}
	_, err = b.Shift(b.Context(), "e-1", "f-1", pipeline.Traffic{})
	b.WantError(err, pipeline.CodeNotFound, "Apply again", "e-1 is gone")

	// A restore that fails does not cost the data.
	bad := b.Request("f-2")
	bad.Env[platformtest.Mode] = platformtest.ModeExit
	_, err = b.Prepare(b.Context(), bad)
	b.WantError(err, pipeline.CodeFailed, "")
	if d := b.Report(); d.Status != pipeline.EnvGone {
		t.Errorf("after a failed restore: %+v", d)
	}
	again := b.Request("f-3")
	again.Hooks = []pipeline.Hook{{Name: "service.seed", Line: "exit 1", Once: true}} // it has data, so it is not seeded
	if at := b.Serve(again); at != endpoint {
		t.Errorf("restored at %s, was at %s", at, endpoint)
	}
	b.WantGet(endpoint+"/data/note", "kept")
	b.WantGet(localtest.VersionAt(endpoint), "f-3")
}

// A supervisor that is killed while a fleet starts fails the launch, which leaves
// nothing.
func TestSupervisorKilledAtStart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Env[platformtest.Mode] = platformtest.ModeDeaf
	ended := make(chan error, 1)
	go func() {
		_, err := b.Prepare(t.Context(), r)
		ended <- err
	}()
	started := filepath.Join(b.Fleets("e-1"), "f-1", "i-0", protocol.InstanceRecord)
	b.Await("the instance to start", func() bool { return localtest.There(started) })
	b.Must(b.Supervisor().Kill())
	b.WantError(<-ended, pipeline.CodeFailed, "Apply again", "the supervisor ended while the fleet started")
	b.AwaitEmpty()
	if localtest.There(b.Environment("e-1")) {
		t.Error("a failed launch left a directory")
	}
}

// A prepared fleet whose instances have failed since gets no traffic.
func TestShiftToUnhealthy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	b.MustPrepare(b.Request("f-2"))
	b.Must(os.WriteFile(filepath.Join(b.Fleets("e-1"), "f-2", "i-0", protocol.InstanceRoot, "sick"), nil, 0o600))
	b.Await("the instance to be unhealthy", func() bool { return strings.Contains(b.SupervisorLog(), "unhealthy: GET /healthz") })
	_, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{})
	b.WantError(err, pipeline.CodeFailed, "", "no instance of fleet f-2 is healthy any more")
	b.WantGet(localtest.VersionAt(endpoint), "f-1")
}

// Signals of the terminal that Terraform runs in don't touch a supervisor; SIGTERM
// ends it in order.
func TestSupervisorSignals(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	id := b.Supervisor()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		b.Signal(id, s)
	}
	b.WantGet(localtest.VersionAt(endpoint), "f-1")
	b.Signal(id, syscall.SIGTERM)
	b.AwaitEmpty()
	if d := b.Report(); d.Status != pipeline.EnvGone || !strings.Contains(d.Reason, "SIGTERM") {
		t.Errorf("after SIGTERM: %+v", d)
	}
}

// A supervisor whose directory somebody removed ends with all that it started.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.Serve(b.Request("f-1"))
	b.Must(os.RemoveAll(filepath.Dir(b.Environment("e-1"))))
	b.AwaitEmpty()
}

// A service that takes no notice of SIGTERM is killed after its grace.
func TestStubbornService(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Env[platformtest.Mode] = platformtest.ModeStubborn
	b.Serve(r)
	began := time.Now()
	b.Must(b.Destroy(b.Context(), "e-1"))
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
	endpoint := b.Serve(b.Request("f-1"))
	r := b.Request("f-2")
	r.Artifact, r.Service.Install = os.DevNull, "until test -e ../go; do sleep 0.01; done"
	ended := make(chan error, 1)
	go func() {
		_, err := b.Prepare(t.Context(), r)
		ended <- err
	}()
	tree := filepath.Join(b.Fleets("e-1"), "f-2", protocol.InstalledDir)
	b.Await("the installation to begin", func() bool { return localtest.There(tree) })
	b.Must(b.Supervisor().Kill())
	b.Await("the supervisor to end", func() bool { return !b.Alive() })
	b.Must(os.WriteFile(filepath.Join(filepath.Dir(tree), "go"), nil, 0o600))
	b.Must(<-ended)
	report, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{})
	b.Must(err)
	if report.Endpoint != endpoint || report.Serving != "f-2" {
		t.Errorf("restored as %+v, was at %s", report, endpoint)
	}
}

// What somebody did to the files of an environment costs no data, and does not
// keep it from being destroyed.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.Serve(b.Request("f-1"))
	b.Must(b.Supervisor().Kill())
	b.AwaitEmpty()
	b.Must(os.WriteFile(filepath.Join(b.Environment("e-1"), protocol.RecordFile), []byte("{"), 0o600))
	if d := b.Report(); d.Status != pipeline.EnvGone || !strings.Contains(d.Reason, protocol.RecordFile) {
		t.Errorf("with a broken record: %+v", d)
	}
	_, err := b.Prepare(b.Context(), b.Request("f-2"))
	b.WantError(err, pipeline.CodeCorrupt, "destroy the environment", protocol.RecordFile)
	if !localtest.There(filepath.Join(b.Environment("e-1"), protocol.DataDir)) {
		t.Error("a failed Prepare removed the data")
	}
	b.Must(b.Destroy(b.Context(), "e-1"))
	// A directory that is none of an environment is taken over.
	b.Must(os.MkdirAll(filepath.Join(b.Fleets("e-1"), "f-9", "i-0"), 0o755))
	b.Must(os.Chmod(filepath.Join(b.Fleets("e-1"), "f-9"), 0o500))
	endpoint := b.Serve(b.Request("f-3"))
	b.WantGet(localtest.VersionAt(endpoint), "f-3")
}

// When its time is over, little more than the fact is kept, also when nobody was
// there to see. What is launched then is new.
func TestExpired(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.ExpiresAt = time.Now().Add(time.Hour)
	r.Hooks = []pipeline.Hook{{Name: "service.seed", Line: "echo seed >>$PENSTOCK_DATA/seeds", Once: true}}
	b.Serve(r)
	b.Must(b.Extend(t.Context(), "e-1", time.Now()))
	b.Await("it to expire", func() bool { return b.Report().Status == pipeline.EnvExpired })
	b.AwaitEmpty()
	for _, path := range []string{filepath.Join(b.Environment("e-1"), protocol.DataDir), b.Fleets("e-1"), filepath.Join(b.Environment("e-1"), protocol.ControlSocket)} {
		if localtest.There(path) {
			t.Errorf("%s is left", path)
		}
	}
	r.Fleet, r.ExpiresAt = "f-2", time.Now().Add(2*time.Second)
	endpoint := b.Serve(r)
	b.WantGet(endpoint+"/data/seeds", "seed\n")
	b.Must(b.Supervisor().Kill())
	b.AwaitEmpty()
	b.Await("it to expire unseen", func() bool { return b.Report().Status == pipeline.EnvExpired })
	r.Fleet, r.ExpiresAt = "f-3", time.Time{}
	b.WantGet(b.Serve(r)+"/data/seeds", "seed\n")
}

// A Shift that is cancelled while the old fleet drains has sent the traffic over; the old
// fleet ends when it has answered.
func TestShiftCancelledInDrain(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	next := b.Request("f-2")
	next.DrainTimeout = time.Minute
	b.MustPrepare(next)
	resp, err := http.Get(endpoint + "/slow/8s")
	b.Must(err)
	defer func() { _ = resp.Body.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.Shift(ctx, "e-1", "f-2", pipeline.Traffic{})
		ended <- err
	}()
	b.Await("the traffic to go over", func() bool { return b.Report().Serving == "f-2" })
	cancel()
	b.WantError(<-ended, pipeline.CodeCancelled, "")
	b.Must(b.Discard(t.Context(), "e-1", "f-2"))
	if d := b.Report(); d.Serving != "f-2" || d.Pending != "" || d.Endpoint != endpoint {
		t.Errorf("after a cancelled shift: %+v", d)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
		t.Errorf("the request that was under way got %q, %v", body, err)
	}
	b.Await("the old fleet to end", func() bool { return !localtest.There(filepath.Join(b.Fleets("e-1"), "f-1")) })
}

// What an environment is asked at the same time as its end is moved does not race.
func TestExtendBesideOthers(t *testing.T) {
	t.Parallel()
	s := &supervisor{id: "e-1", dir: t.TempDir(), fences: protocol.FencesOf(t.TempDir()), fleets: map[string]*fleet{}, log: stdlog.New(io.Discard, "", 0)}
	s.life, s.finish = context.WithCancelCause(t.Context())
	s.rec.ID = "e-1"
	var both sync.WaitGroup
	both.Go(func() {
		for range 20 {
			if _, err := s.extend(t.Context(), protocol.ExpiryMessage{At: time.Now()}); err != nil {
				t.Error(err)
			}
		}
	})
	both.Go(func() {
		for range 20 {
			_, shifted := s.shift(t.Context(), "f-1", protocol.Change{})
			_, resized := s.resize(t.Context(), protocol.ResizeMessage{Instances: 2})
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

// What a change to the fleet that serves leaves behind is in the fleet's record, and nowhere else.
func TestChangesAreRecorded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.Serve(b.Request("f-1"))
	b.Must(b.Resize(t.Context(), "e-1", pipeline.Size{Instances: 2}))
	b.Must(b.Trust(t.Context(), "e-1", []string{"10.0.0.1"}))
	rec, err := protocol.ReadFleet(b.Fleets("e-1"), "f-1")
	b.Must(err)
	if rec.Instances != 2 || len(rec.TrustedProxies) != 1 {
		t.Errorf("the fleet is recorded as %+v", rec)
	}
	if orphan := filepath.Join(b.Environment("e-1"), "f-1"); localtest.There(orphan) {
		t.Errorf("%s is there", orphan)
	}
}
