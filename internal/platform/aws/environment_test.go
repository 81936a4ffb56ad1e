// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// app returns an application image: the base image with an artifact installed.
func (b *bed) app() string { b.Helper(); return b.appOn(b.base()) }

// appOn is app, on a base image.
func (b *bed) appOn(base string) string {
	b.Helper()
	r := b.request("e-acceptance", "f-acceptance", base)
	r.Artifact, r.Service.Install = b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: `echo migrated >> "$PENSTOCK_DATA/migrations"`}}
	_, err := b.Prepare(b.Context(), r)
	b.must(err)
	image, err := b.Bake(b.Context(), pipeline.BakeRequest{Token: "r-app", Name: "acceptance", Environment: "e-acceptance", Log: b.log})
	b.must(err)
	b.must(b.Destroy(b.Context(), "e-acceptance"))
	b.wantNothing()
	return image.ID
}

// An acceptance run: launch, install, migrate, commands inside, and the image.
func TestInstance(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Boot: 50 * time.Millisecond, Agent: 50 * time.Millisecond})
	r := b.request("e-1", "f-1", b.base())
	r.Artifact, r.Service.Install = b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	r.Hooks = []pipeline.Hook{
		{Name: "service.migrate", Line: `echo migrated >> "$PENSTOCK_DATA/migrations"`},
		{Name: "service.seed", Line: `echo seeded >> "$PENSTOCK_DATA/migrations"`, Once: true},
	}
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	for path, want := range map[string]string{"/env/VERSION": "f-1", "/file/version": "the artifact", "/data/migrations": "migrated\nseeded\n", "/env/PENSTOCK_ENVIRONMENT": "e-1"} {
		if got := b.get(fleet.Endpoint + path); got != want {
			t.Errorf("GET %s answers %q, want %q", path, got, want)
		}
	}
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: `echo "inside $VERSION $MORE"; cat version; exit 7`, Env: map[string]string{"MORE": "more"}}, b.log)
	if err != nil || exit != 7 {
		t.Errorf("the command ended %d, %v", exit, err)
	}
	reports, err := b.Describe(t.Context(), "e-1", "e-gone")
	b.must(err)
	if got := reports["e-1"]; got.Status != pipeline.EnvRunning || got.Pending != "f-1" || got.Serving != "" {
		t.Errorf("before the shift: %+v", got)
	}
	if got := reports["e-gone"]; got.Status != pipeline.EnvGone {
		t.Errorf("what never was: %+v", got)
	}
	report, err := b.Shift(t.Context(), "e-1", "f-1", pipeline.Traffic{})
	b.must(err)
	if report.Endpoint != fleet.Endpoint || report.Serving != "f-1" || report.Healthy != 1 {
		t.Errorf("after the shift: %+v", report)
	}
	// The next fleet replaces it, with a copy of its data.
	next := b.request("e-1", "f-2", r.Image)
	next.Artifact, next.Service.Install, next.DataFrom = r.Artifact, r.Service.Install, "e-1"
	_, err = b.Prepare(t.Context(), next)
	b.must(err)
	report, err = b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{})
	b.must(err)
	if got := b.get(report.Endpoint + "/data/migrations"); got != "migrated\nseeded\n" {
		t.Errorf("the copied data is %q", got)
	}
	if got := b.get(report.Endpoint + "/env/VERSION"); got != "f-2" || len(b.cloud.Running()) != 1 {
		t.Errorf("version %s serves on instances %v", got, b.cloud.Running())
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// A persistent environment: two instances behind a load balancer, a deployment that
// no request notices, a failed one that changes nothing, and another size.
func TestGroup(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	persistent := func(fleet string) pipeline.FleetRequest {
		r := b.request("e-2", fleet, image)
		r.Persistent, r.Instances = true, 2
		r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: `echo migrated >> "$PENSTOCK_DATA/migrations"`}}
		return r
	}
	one, err := b.Prepare(t.Context(), persistent("f-1"))
	b.must(err)
	if got := b.get(one.Endpoint + "/env/VERSION"); got != "f-1" {
		t.Errorf("the test listener reaches %q", got)
	}
	report, err := b.Shift(t.Context(), "e-2", "f-1", pipeline.Traffic{})
	b.must(err)
	if report.Serving != "f-1" || report.Healthy != 2 || b.get(report.Endpoint+"/file/version") != "the artifact" {
		t.Errorf("after the first deployment: %+v", report)
	}

	var failed, answered atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			resp, err := http.Get(report.Endpoint + "/env/VERSION")
			if err != nil || resp.StatusCode != http.StatusOK {
				failed.Add(1)
			}
			if err == nil {
				_ = resp.Body.Close()
				answered.Add(1)
			}
		}
	}()
	_, err = b.Prepare(t.Context(), persistent("f-2"))
	b.must(err)
	if got := b.get(report.Endpoint + "/env/VERSION"); got != "f-1" {
		t.Errorf("before the shift %q serves", got)
	}
	report, err = b.Shift(t.Context(), "e-2", "f-2", pipeline.Traffic{})
	b.must(err)
	if got := b.get(report.Endpoint + "/env/VERSION"); got != "f-2" || report.Instances != 2 {
		t.Errorf("after the shift %q serves: %+v", got, report)
	}
	sick := persistent("f-3")
	sick.Env[platformtest.Mode] = platformtest.ModeSick
	sick.Service.HealthCheck.StartTimeout = time.Second
	_, err = b.Prepare(t.Context(), sick)
	b.wantError(err, pipeline.CodeFailed, "healthy", "listening on")
	if got := b.get(report.Endpoint + "/env/VERSION"); got != "f-2" {
		t.Errorf("after a failed deployment %q serves", got)
	}
	close(stop)
	<-done
	if failed.Load() > 0 || answered.Load() == 0 {
		t.Errorf("%d requests failed, %d were answered", failed.Load(), answered.Load())
	}
	b.must(b.Resize(t.Context(), "e-2", pipeline.Size{Instances: 3}))
	reports, err := b.Describe(t.Context(), "e-2")
	b.must(err)
	if got := reports["e-2"]; got.Instances != 3 || got.Healthy != 3 {
		t.Errorf("after Resize: %+v", got)
	}
	b.must(b.Destroy(t.Context(), "e-2"))
	b.wantNothing()
}

func TestFleetFails(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	base := b.base()
	r := b.request("e-1", "f-1", base)
	r.Artifact, r.Service.Install = b.file("x"), "echo disk full; exit 1"
	_, err := b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "service.install failed", "disk full")
	b.wantNothing()

	r.Fleet, r.Service.Install = "f-2", ":"
	r.Env[platformtest.Mode], r.Service.HealthCheck.StartTimeout = platformtest.ModeExit, time.Second
	_, err = b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "cannot open the database", "health_check")
	b.wantNothing()

	b.cloud.Fail(cloudtest.Fault{Action: "RunInstances", Times: 9, Code: "InsufficientInstanceCapacity", Status: 500})
	r.Fleet = "f-3"
	_, err = b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "InsufficientInstanceCapacity", "instance_type")
	b.cloud.Mend()
	b.wantNothing()

	for name, change := range map[string]func(*pipeline.FleetRequest){
		"base_image":  func(r *pipeline.FleetRequest) { r.Image = "" },
		"the module":  func(r *pipeline.FleetRequest) { r.Secrets = pipeline.Secrets{"A": "b"} },
		"application": func(r *pipeline.FleetRequest) { r.Persistent = true },
		"instances":   func(r *pipeline.FleetRequest) { r.Instances = 0 },
		"address":     func(r *pipeline.FleetRequest) { r.Address = "0.0.0.0" },
	} {
		bad := b.request("e-1", "f-4", base)
		bad.Artifact = r.Artifact
		change(&bad)
		_, err := b.Prepare(t.Context(), bad)
		b.wantError(err, pipeline.CodeInvalid, name)
	}
	b.wantNothing()
}

// The TTL is a schedule, a tag, and a deadline on the instance.
func TestExpiry(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("e-1", "f-1", b.base())
	r.Artifact = b.file("x")
	r.ExpiresAt = time.Now().Add(time.Hour).Truncate(time.Second)
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	_, err = b.Shift(t.Context(), "e-1", "f-1", pipeline.Traffic{})
	b.must(err)
	later := r.ExpiresAt.Add(time.Hour)
	b.must(b.Extend(t.Context(), "e-1", later))
	reports, err := b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"].ExpiresAt; !got.Equal(later) {
		t.Errorf("it expires at %s, want %s", got, later)
	}
	if ran := b.cloud.RunSchedules(r.ExpiresAt); len(ran) > 0 {
		t.Errorf("before the later end these schedules run: %v", ran)
	}
	if ran := b.cloud.RunSchedules(later); len(ran) != 1 || len(b.cloud.Running()) != 0 {
		t.Errorf("at the end these schedules run: %v; instances %v", ran, b.cloud.Running())
	}
	reports, err = b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"].Status; got != pipeline.EnvGone {
		t.Errorf("after its end it is %s", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
	b.wantError(b.Extend(t.Context(), "e-1", later), pipeline.CodeNotFound, "gone")
}

// An environment with a load balancer ends at its time, with all that costs.
func TestGroupExpires(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("e-1", "f-1", b.app())
	r.Instances, r.Service.HealthCheck.StartTimeout = 2, time.Minute
	r.ExpiresAt = time.Now().Add(time.Hour).Truncate(time.Second)
	b.must(b.deploy(r))
	if ran := b.cloud.RunSchedules(r.ExpiresAt); len(ran) != 2 || len(b.cloud.Running()) != 0 {
		t.Errorf("at the end these schedules run: %v; instances %v", ran, b.cloud.Running())
	}
	if lb := b.front("e-1"); lb != nil {
		t.Errorf("the load balancer is left: %+v", lb)
	}
	// What costs nothing is found, and goes with the environment.
	all, err := b.Describe(t.Context())
	b.must(err)
	if got := all["e-1"]; got.Status != pipeline.EnvGone || !strings.Contains(got.Reason, "launch templates") {
		t.Errorf("after its end it is reported as %+v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Data that changes while it is copied is copied as it was, and what S3 can't take in one
// request is refused before it is sent.
func TestDataFromLive(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.base()
	from := b.request("e-1", "f-1", image)
	from.Artifact, from.Service.Install = b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	b.must(b.deploy(from))
	list, err := b.fleets.Instances(t.Context(), "e-1")
	b.must(err)
	root := b.cloud.Root(aws.ToString(list[0].InstanceId))
	real, err := exec.LookPath("tar")
	b.must(err)
	b.must(os.WriteFile(filepath.Join(root, ".bin", "tar"), []byte("#!/bin/sh\n"+real+" \"$@\"\necho 'tar: ./db: file changed as we read it' >&2\nexit 1\n"), 0o755))
	b.must(os.WriteFile(filepath.Join(root, "/var/lib/penstock", "note"), []byte("old"), 0o600))
	to := from
	to.Environment, to.Fleet, to.DataFrom = "e-2", "f-2", "e-1"
	fleet, err := b.Prepare(t.Context(), to)
	b.must(err)
	if got := b.get(fleet.Endpoint + "/data/note"); got != "old" {
		t.Errorf("the copy is %q", got)
	}
	b.must(b.Destroy(t.Context(), "e-2"))
	b.must(os.WriteFile(filepath.Join(root, ".bin", "wc"), []byte("#!/bin/sh\necho 5368709121\n"), 0o755))
	to.Environment, to.Fleet = "e-3", "f-3"
	_, err = b.Prepare(t.Context(), to)
	b.wantError(err, pipeline.CodeFailed, "more than 5 GB")
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// What the load balancers of AWS do in their own way is refused.
func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	p := &Platform{}
	for what, err := range map[string]error{
		"trusted_proxies":  p.Check(pipeline.EnvironmentSpec{TrustedProxies: []string{}}),
		"trust":            p.Trust(t.Context(), "e-1", nil),
		"service.protocol": p.CheckService(pipeline.Service{Protocol: pipeline.ProtocolH2C}),
	} {
		if pipeline.CodeOf(err) != pipeline.CodeInvalid || reason.Hint(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := p.CheckService(pipeline.Service{Start: "x"}); err != nil {
		t.Error(err)
	}
}
