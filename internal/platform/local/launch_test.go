// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

// Sockets have a limit on their paths, environments have none.
func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40), "with space, [bracket] and 'quote'")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBedAt(t, dir)
	endpoint := b.serve(b.request("f-1"))
	b.wantGet(versionAt(endpoint), "f-1")
}

// Each way in which a service does not come up is told apart.
func TestServiceDoesNotStart(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string][]string{ // the hint, then the text
		platformtest.ModeExit:      {"service.start", "i-0 exited with exit status 3", "cannot open the database"},
		platformtest.ModeDaemon:    {"foreground", "exit status 0", "it printed nothing"},
		platformtest.ModeDeaf:      {"$PORT", "did not listen on $PORT", "within 500ms"},
		platformtest.ModeElsewhere: {"$PORT", "did not listen on $PORT", "listening on 127.0.0.1:"},
		platformtest.ModeSick:      {"health_check", "GET /healthz answers 500, not 2xx"},
		"no such command":          {"no such command", "exit status 127"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := b.request("f-1")
			r.Env[platformtest.Mode] = mode
			if strings.Contains(mode, " ") {
				r.Service.Start = "no-such-command-here"
			}
			r.Service.HealthCheck.StartTimeout = 500 * time.Millisecond
			_, err := b.Prepare(b.Context(), r)
			b.wantError(err, pipeline.CodeFailed, want[0], want[1:]...)
			if mode == platformtest.ModeElsewhere && runtime.GOOS == "linux" {
				port := strings.Fields(strings.SplitAfter(err.Error(), "listening on 127.0.0.1:")[1])[0]
				if !strings.Contains(err.Error(), "listens on port "+port+" instead") {
					t.Errorf("the error %q does not name the port", err)
				}
			}
		})
	}
}

// the endpoint.
func TestPort(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	taken, err := listenFree(loopback)
	b.must(err)
	defer func() { _ = taken.Close() }()
	r := b.request("f-1")
	r.Port = portOf(taken)
	_, err = b.Prepare(b.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "set port", "port "+strings.TrimPrefix(taken.Addr().String(), loopback+":"), "in use")
	if exists(b.dir("e-1")) {
		t.Error("a refused launch left a directory")
	}
	r.Address, r.Port = "192.0.2.1", 8080
	_, err = b.Prepare(b.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "Set address", "192.0.2.1")

	free, err := freePort()
	b.must(err)
	r.Address, r.Port = "", free
	if at := b.serve(r); at != endpointURL(loopback, free) {
		t.Errorf("asked for port %d, got %s", free, at)
	}
	r.Fleet, r.Port = "f-2", 0
	if at := b.serve(r); at != endpointURL(loopback, free) {
		t.Errorf("without a port the endpoint moved from %d to %s", free, at)
	}
	next, err := freePort()
	b.must(err)
	r.Fleet, r.Port = "f-3", next
	if at := b.serve(r); at != endpointURL(loopback, next) {
		t.Errorf("asked for port %d, got %s", next, at)
	}
	if _, _, err := request(b.Context(), http.MethodGet, endpointURL(loopback, free), ""); err == nil {
		t.Error("the old port answers")
	}
	// Another address with the same port: one includes the other.
	r.Fleet, r.Address = "f-3a", "0.0.0.0"
	if at := b.serve(r); at != endpointURL(loopback, next) {
		t.Errorf("on all addresses the endpoint is %s", at)
	}
	b.wantGet(endpointURL(loopback, next)+"/env/PENSTOCK_ENVIRONMENT", "e-1")
	r.Fleet, r.Address = "f-3b", "192.0.2.1"
	_, err = b.Prepare(b.Context(), r)
	b.must(err)
	_, err = b.Shift(b.Context(), "e-1", "f-3b", pipeline.Traffic{})
	b.wantError(err, pipeline.CodeFailed, "Set address", "192.0.2.1")
	b.wantGet(endpointURL(loopback, next)+"/env/PENSTOCK_ENVIRONMENT", "e-1")
	r.Address = ""
	// A port that is taken between Prepare and Shift costs only the shift.
	late, err := freePort()
	b.must(err)
	r.Fleet, r.Port = "f-4", late
	b.prepare(r)
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, strings.TrimPrefix(endpointURL("", late), "http://127.0.0.1:")))
	b.must(err)
	_, err = b.Shift(b.Context(), "e-1", "f-4", pipeline.Traffic{})
	b.wantError(err, pipeline.CodeFailed, "set port", "in use")
	b.must(l.Close())
	b.wantGet(endpointURL(loopback, next)+"/env/PENSTOCK_ENVIRONMENT", "e-1")
}

// A secret is on no disk, even when the service prints it.
func TestSecretOnDisk(t *testing.T) {
	t.Parallel()
	const secret = "hush-31415926"
	b := newBed(t)
	r := b.request("f-1")
	r.Secrets = pipeline.Secrets{"TOKEN": secret + "\nsecond-line-of-it"}
	r.Service.Start = `echo "the token is $TOKEN"; ` + r.Service.Start
	r.Service.Migrate, r.Migrate = `echo "$TOKEN" >&2`, true
	endpoint := b.serve(r)
	b.wantGet(endpoint+"/env/TOKEN", secret+"\nsecond-line-of-it")
	for _, text := range []string{secret, "second-line-of-it"} {
		if found := b.grep(text); len(found) > 0 {
			t.Errorf("the secret is in %v", found)
		}
	}
	if found := b.grep("the token is ***"); len(found) != 1 {
		t.Errorf("what the service printed is in %v, want one log", found)
	}
	bad := b.request("f-2")
	bad.Secrets, bad.Service.Start = r.Secrets, `echo "the token is $TOKEN"; exit 1`
	_, err := b.Prepare(b.Context(), bad)
	b.wantError(err, pipeline.CodeFailed, "", "the token is ***")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error has the secret: %v", err)
	}
}

// process that finds out.
func TestCorruptImage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	tree := t.TempDir()
	b.must(os.WriteFile(filepath.Join(tree, "f"), []byte("original text"), 0o600))
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: tree})
	b.must(err)
	stored := b.grep("original text")
	if len(stored) != 1 {
		t.Fatalf("the file is stored in %v", stored)
	}
	b.must(os.Chmod(stored[0], 0o600))
	b.must(os.WriteFile(stored[0], []byte("another text."), 0o600))
	r := b.request("f-1")
	r.Image = image.ID
	_, err = b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeCorrupt, "Bake the image again")
	if exists(b.dir("e-1")) {
		t.Error("a failed launch left a directory")
	}
}

// Instances of a service that writes to no file of its image share those files;
// those of another have copies.
func TestReadOnlyRoot(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	tree := t.TempDir()
	b.must(os.WriteFile(filepath.Join(tree, "f"), []byte("shared"), 0o644))
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: tree})
	b.must(err)
	file := func(fleet string, instance string) os.FileInfo {
		info, err := os.Stat(filepath.Join(b.fleets("e-1"), fleet, instance, instanceRoot, "f"))
		b.must(err)
		return info
	}
	for fleet, readOnly := range map[string]bool{"f-1": true, "f-2": false} {
		r := b.request(fleet)
		r.Image, r.Service.Install, r.Service.ReadOnlyRoot, r.Instances = image.ID, "", readOnly, 2
		b.prepare(r)
		if os.SameFile(file(fleet, "i-0"), file(fleet, "i-1")) != readOnly {
			t.Errorf("read-only %v: the files of two instances are shared or copied against it", readOnly)
		}
	}
}

// Instances start one after another, but a slow one keeps the next one waiting for a moment only.
func TestSlowInstanceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("f-1")
	r.Instances = 2
	r.Service.Start = `touch "$PENSTOCK_DATA/$PENSTOCK_INSTANCE"; until [ -e "$PENSTOCK_DATA/i-1" ]; do sleep 0.05; done; ` + r.Service.Start
	b.wantGet(versionAt(b.serve(r)), "f-1")
}
