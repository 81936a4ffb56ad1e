// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package localtest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// Bed is a platform of a test, with the one environment e-1 in it.
type Bed struct {
	testing.TB
	*local.Platform
}

func NewBed(t testing.TB) *Bed { return NewBedAt(t, t.TempDir()) }

func NewBedAt(t testing.TB, dir string) *Bed {
	b := &Bed{TB: t, Platform: openAt(t, dir)}
	t.Cleanup(func() {
		if err := b.Destroy(context.WithoutCancel(t.Context()), "e-1"); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *Bed) Must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v (hint: %s)", err, reason.Hint(err))
	}
}

// Request asks for one instance of the test service, without an image.
func (b *Bed) Request(fleet string) pipeline.FleetRequest {
	return pipeline.FleetRequest{
		Environment: "e-1", Fleet: fleet, Instances: 1, Env: map[string]string{"VERSION": fleet}, DrainTimeout: 10 * time.Second,
		Service: pipeline.Service{
			Start:       platformtest.Start(),
			HealthCheck: &pipeline.HealthCheck{Path: "/healthz", Interval: 20 * time.Millisecond, StartTimeout: time.Minute},
		},
	}
}

func (b *Bed) MustPrepare(r pipeline.FleetRequest) pipeline.Fleet {
	b.Helper()
	fleet, err := b.Prepare(b.Context(), r)
	b.Must(err)
	return fleet
}

func (b *Bed) Serve(r pipeline.FleetRequest) string {
	b.Helper()
	b.MustPrepare(r)
	report, err := b.Shift(b.Context(), "e-1", r.Fleet, pipeline.Traffic{})
	b.Must(err)
	return report.Endpoint
}

func (b *Bed) Report() pipeline.EnvironmentReport {
	b.Helper()
	reports, err := b.Describe(b.Context(), "e-1")
	b.Must(err)
	return reports["e-1"]
}

func (b *Bed) Supervisor() process.Identity {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.Environment("e-1"), protocol.SuperviseLock))
	b.Must(err)
	var id process.Identity
	b.Must(json.Unmarshal(data, &id))
	return id
}

func (b *Bed) Signal(id process.Identity, s os.Signal) {
	b.Helper()
	p, err := os.FindProcess(id.PID)
	b.Must(err)
	b.Must(p.Signal(s))
}

func (b *Bed) Await(what string, ok func() bool) {
	b.Helper()
	b.Must(poll.Until(b.Context(), poll.Schedule{First: 5 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 1.5, Limit: time.Minute, What: what},
		func(context.Context) (poll.Probe, error) { return poll.Probe{Done: ok()}, nil }))
}

// AwaitEmpty waits until no process of the platform is left.
func (b *Bed) AwaitEmpty() {
	b.Helper()
	b.Await("all processes to end", func() bool { return len(ProcessesOf(b, b.Dir)) == 0 })
}

// log returns the text of the supervisor's log.
func (b *Bed) SupervisorLog() string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.Environment("e-1"), protocol.SuperviseLog))
	b.Must(err)
	return string(data)
}

// Request sends a request and returns the status and the body of the answer.
func Request(ctx context.Context, method, url, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

func (b *Bed) Get(url string) string {
	b.Helper()
	status, body, err := Request(b.Context(), http.MethodGet, url, "")
	b.Must(err)
	if status != http.StatusOK {
		b.Fatalf("GET %s: %d %s", url, status, body)
	}
	return body
}

func (b *Bed) WantGet(url, want string) {
	b.Helper()
	if got := b.Get(url); got != want {
		b.Fatalf("GET %s answers %q, want %q", url, got, want)
	}
}

// WantError asserts code, text and hint of an error.
func (b *Bed) WantError(err error, code pipeline.Code, hint string, text ...string) {
	b.Helper()
	if pipeline.CodeOf(err) != code {
		b.Fatalf("got error %v with code %q, want %q", err, pipeline.CodeOf(err), code)
	}
	for _, want := range text {
		if !strings.Contains(err.Error(), want) {
			b.Errorf("the error %q does not say %q", err, want)
		}
	}
	if !strings.Contains(reason.Hint(err), hint) {
		b.Errorf("the hint is %q, and does not say %q", reason.Hint(err), hint)
	}
}

// Grep lists the files below the platform's directory that hold the text.
func (b *Bed) Grep(text string) []string {
	b.Helper()
	var found []string
	b.Must(filepath.WalkDir(b.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), text) {
			found = append(found, path)
		}
		return err
	}))
	return found
}

func VersionAt(endpoint string) string { return endpoint + "/env/VERSION" }

// Open returns a platform in a directory of the test, and asserts at its end that no
// process and no file of an environment is left.
func Open(t testing.TB) *local.Platform { return openAt(t, t.TempDir()) }

func openAt(t testing.TB, dir string) *local.Platform {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := local.New(local.Options{Dir: dir, Work: filepath.Join(dir, "work")})
	t.Cleanup(func() {
		for _, line := range ProcessesOf(t, dir) {
			t.Errorf("a process is left: %s", line)
		}
		for _, name := range []string{protocol.EnvironmentsDir, filepath.Join("work", protocol.EnvironmentsDir), filepath.Join("work", "bakes")} {
			if There(filepath.Join(dir, name)) {
				t.Errorf("%s is left", name)
			}
		}
	})
	return p
}

// dir is where the environment's record, its data and its socket are.
func (b *Bed) Environment(id string) string {
	return filepath.Join(b.Dir, protocol.EnvironmentsDir, id)
}

// Fleets is where the environment's fleets are.
func (b *Bed) Fleets(id string) string { return filepath.Join(b.Work, protocol.EnvironmentsDir, id) }

// Alive reports whether e-1 has a supervisor.
func (b *Bed) Alive() bool {
	return protocol.Locked(filepath.Join(b.Environment("e-1"), protocol.SuperviseLock))
}

// There reports whether there is anything at a path.
func There(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
