// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

// Each way in which a service does not come up has its own error.
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
			r := b.Request("f-1")
			r.Env[platformtest.Mode] = mode
			if strings.Contains(mode, " ") {
				r.Service.Start = "no-such-command-here"
			}
			r.Service.HealthCheck.StartTimeout = 500 * time.Millisecond
			_, err := b.Prepare(b.Context(), r)
			b.WantError(err, pipeline.CodeFailed, want[0], want[1:]...)
			if mode == platformtest.ModeElsewhere && runtime.GOOS == "linux" {
				port := strings.Fields(strings.SplitAfter(err.Error(), "listening on 127.0.0.1:")[1])[0]
				if !strings.Contains(err.Error(), "listens on port "+port+" instead") {
					t.Errorf("the error %q does not name the port", err)
				}
			}
		})
	}
}

// Instances start one after another, but a slow one keeps the next one waiting for a moment only.
func TestSlowInstanceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Instances = 2
	r.Service.Start = `touch "$PENSTOCK_DATA/$PENSTOCK_INSTANCE"; until [ -e "$PENSTOCK_DATA/i-1" ]; do sleep 0.05; done; ` + r.Service.Start
	b.WantGet(localtest.VersionAt(b.Serve(r)), "f-1")
}

// the endpoint.
func TestPort(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	taken, err := listenFree(protocol.Loopback)
	b.Must(err)
	defer func() { _ = taken.Close() }()
	r := b.Request("f-1")
	r.Port = portOf(taken)
	_, err = b.Prepare(b.Context(), r)
	b.WantError(err, pipeline.CodeInvalid, "set port", "port "+strings.TrimPrefix(taken.Addr().String(), protocol.Loopback+":"), "in use")
	if localtest.There(b.Environment("e-1")) {
		t.Error("a refused launch left a directory")
	}
	r.Address, r.Port = "192.0.2.1", 8080
	_, err = b.Prepare(b.Context(), r)
	b.WantError(err, pipeline.CodeInvalid, "Set address", "192.0.2.1")

	free, err := freePort()
	b.Must(err)
	r.Address, r.Port = "", free
	if at := b.Serve(r); at != endpointURL(protocol.Loopback, free) {
		t.Errorf("asked for port %d, got %s", free, at)
	}
	r.Fleet, r.Port = "f-2", 0
	if at := b.Serve(r); at != endpointURL(protocol.Loopback, free) {
		t.Errorf("without a port the endpoint moved from %d to %s", free, at)
	}
	next, err := freePort()
	b.Must(err)
	r.Fleet, r.Port = "f-3", next
	if at := b.Serve(r); at != endpointURL(protocol.Loopback, next) {
		t.Errorf("asked for port %d, got %s", next, at)
	}
	if _, _, err := localtest.Request(b.Context(), http.MethodGet, endpointURL(protocol.Loopback, free), ""); err == nil {
		t.Error("the old port answers")
	}
	// Another address with the same port: one includes the other.
	r.Fleet, r.Address = "f-3a", "0.0.0.0"
	if at := b.Serve(r); at != endpointURL(protocol.Loopback, next) {
		t.Errorf("on all addresses the endpoint is %s", at)
	}
	b.WantGet(endpointURL(protocol.Loopback, next)+"/env/PENSTOCK_ENVIRONMENT", "e-1")
	r.Fleet, r.Address = "f-3b", "192.0.2.1"
	_, err = b.Prepare(b.Context(), r)
	b.Must(err)
	_, err = b.Shift(b.Context(), "e-1", "f-3b", pipeline.Traffic{})
	b.WantError(err, pipeline.CodeFailed, "Set address", "192.0.2.1")
	b.WantGet(endpointURL(protocol.Loopback, next)+"/env/PENSTOCK_ENVIRONMENT", "e-1")
	r.Address = ""
	// A port that is taken between Prepare and Shift costs only the shift.
	late, err := freePort()
	b.Must(err)
	r.Fleet, r.Port = "f-4", late
	b.MustPrepare(r)
	l, err := net.Listen("tcp", net.JoinHostPort(protocol.Loopback, strings.TrimPrefix(endpointURL("", late), "http://127.0.0.1:")))
	b.Must(err)
	_, err = b.Shift(b.Context(), "e-1", "f-4", pipeline.Traffic{})
	b.WantError(err, pipeline.CodeFailed, "set port", "in use")
	b.Must(l.Close())
	b.WantGet(endpointURL(protocol.Loopback, next)+"/env/PENSTOCK_ENVIRONMENT", "e-1")
}

// Whatever a service and its commands print, nothing in a log acts on a terminal or turns
// the direction of text.
func TestHostileOutput(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const prints = `printf '\033[31mred\033[0m \342\200\256 txt \342\200\217\n'`
	var log strings.Builder
	r := b.Request("f-1")
	r.Log, r.Hooks = &log, []pipeline.Hook{{Name: "service.migrate", Line: prints}, {Name: "service.seed", Line: prints, Once: true}}
	r.Service.Start = prints + "; " + r.Service.Start
	b.Serve(r)
	service, err := os.ReadFile(filepath.Join(b.Fleets("e-1"), "f-1", "i-0", protocol.InstanceLog))
	b.Must(err)
	bad := b.Request("f-2")
	bad.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: prints + "; exit 3"}}
	_, err = b.Prepare(t.Context(), bad)
	for what, text := range map[string]string{"run": log.String(), "service": string(service), "error": fmt.Sprint(err)} {
		if strings.ContainsAny(text, "\x1b\u202e\u200f") || !strings.Contains(text, `red \u202e txt \u200f`) {
			t.Errorf("the %s says %q", what, text)
		}
	}
}

// Endpoints never have the host name of the board, whose cookies browsers would send along.
func TestEndpointURL(t *testing.T) {
	for address, want := range map[string]string{
		"": "http://127.0.0.1:80", "localhost": "http://127.0.0.1:80", "LocalHost": "http://127.0.0.1:80", "0.0.0.0": "http://127.0.0.1:80",
		"::": "http://[::1]:80", "10.0.0.5": "http://10.0.0.5:80",
	} {
		if got := endpointURL(address, 80); got != want {
			t.Errorf("%q is %s; want %s", address, got, want)
		}
	}
}
