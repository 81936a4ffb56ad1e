// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

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
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// bed is a platform of a test, with the one environment e-1 in it.
type bed struct {
	testing.TB
	*Platform
}

func newBed(t testing.TB) *bed { return newBedAt(t, t.TempDir()) }

func newBedAt(t testing.TB, dir string) *bed {
	b := &bed{TB: t, Platform: openAt(t, dir)}
	t.Cleanup(func() {
		if err := b.Destroy(context.WithoutCancel(t.Context()), "e-1"); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v (hint: %s)", err, pipeline.HintOf(err))
	}
}

// request asks for one instance of the test service, without an image.
func (b *bed) request(fleet string) pipeline.FleetRequest {
	return pipeline.FleetRequest{
		Environment: "e-1", Fleet: fleet, Instances: 1, Env: map[string]string{"VERSION": fleet}, DrainTimeout: 10 * time.Second,
		Service: pipeline.Service{
			Start:       platformtest.Start(),
			HealthCheck: &pipeline.HealthCheck{Path: "/healthz", Interval: 20 * time.Millisecond, StartTimeout: time.Minute},
		},
	}
}

func (b *bed) prepare(r pipeline.FleetRequest) pipeline.Fleet {
	b.Helper()
	fleet, err := b.Prepare(b.Context(), r)
	b.must(err)
	return fleet
}

func (b *bed) serve(r pipeline.FleetRequest) string {
	b.Helper()
	b.prepare(r)
	report, err := b.Shift(b.Context(), "e-1", r.Fleet, pipeline.Traffic{})
	b.must(err)
	return report.Endpoint
}

func (b *bed) report() pipeline.EnvironmentReport {
	b.Helper()
	reports, err := b.Describe(b.Context(), "e-1")
	b.must(err)
	return reports["e-1"]
}

func (b *bed) supervisor() process.Identity {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir("e-1"), superviseLock))
	b.must(err)
	var id process.Identity
	b.must(json.Unmarshal(data, &id))
	return id
}

func (b *bed) signal(id process.Identity, s os.Signal) {
	b.Helper()
	p, err := os.FindProcess(id.PID)
	b.must(err)
	b.must(p.Signal(s))
}

func (b *bed) await(what string, ok func() bool) {
	b.Helper()
	b.must(poll.Until(b.Context(), poll.Schedule{First: 5 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 1.5, Limit: time.Minute, What: what},
		func(context.Context) (poll.Probe, error) { return poll.Probe{Done: ok()}, nil }))
}

// awaitEmpty waits until no process of the platform is left.
func (b *bed) awaitEmpty() {
	b.Helper()
	b.await("all processes to end", func() bool { return len(processesOf(b, b.Dir)) == 0 })
}

// log gives the text of the supervisor's log.
func (b *bed) log() string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir("e-1"), superviseLog))
	b.must(err)
	return string(data)
}

// request sends a request and gives the status and the body of the answer.
func request(ctx context.Context, method, url, body string) (int, string, error) {
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

func (b *bed) get(url string) string {
	b.Helper()
	status, body, err := request(b.Context(), http.MethodGet, url, "")
	b.must(err)
	if status != http.StatusOK {
		b.Fatalf("GET %s: %d %s", url, status, body)
	}
	return body
}

func (b *bed) wantGet(url, want string) {
	b.Helper()
	if got := b.get(url); got != want {
		b.Fatalf("GET %s answers %q, want %q", url, got, want)
	}
}

// wantError asserts code, text and hint of an error.
func (b *bed) wantError(err error, code pipeline.Code, hint string, text ...string) {
	b.Helper()
	if pipeline.CodeOf(err) != code {
		b.Fatalf("got error %v with code %q, want %q", err, pipeline.CodeOf(err), code)
	}
	for _, want := range text {
		if !strings.Contains(err.Error(), want) {
			b.Errorf("the error %q does not say %q", err, want)
		}
	}
	if !strings.Contains(pipeline.HintOf(err), hint) {
		b.Errorf("the hint is %q, and does not say %q", pipeline.HintOf(err), hint)
	}
}

// grep lists the files below the platform's directory that hold the text.
func (b *bed) grep(text string) []string {
	b.Helper()
	var found []string
	b.must(filepath.WalkDir(b.Dir, func(path string, entry os.DirEntry, err error) error {
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

func versionAt(endpoint string) string { return endpoint + "/env/VERSION" }
