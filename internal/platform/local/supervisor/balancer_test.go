// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

// A service sees and answers through the endpoint as it would without it.
func TestBalancerPassesOn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	host := strings.TrimPrefix(endpoint, "http://")
	b.WantGet(endpoint+"/header/X-Forwarded-Host", host+host) // the header, then the Host that it saw
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint+"/header/X-Forwarded-For", nil)
	b.Must(err)
	req.Header.Set("X-Forwarded-For", "203.0.113.9")
	resp, err := http.DefaultClient.Do(req)
	b.Must(err)
	got, err := io.ReadAll(resp.Body)
	b.Must(err)
	b.Must(resp.Body.Close())
	if want := "203.0.113.9, 127.0.0.1" + host; string(got) != want {
		t.Errorf("X-Forwarded-For and Host are %q, want %q", got, want)
	}

	big := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	if _, body, err := localtest.Request(t.Context(), http.MethodPost, endpoint+"/echo", big); err != nil || body != big {
		t.Errorf("a large body came back as %d bytes, %v", len(body), err)
	}

	began := time.Now()
	resp, err = http.Get(endpoint + "/slow/2s") // sends its headers at once
	b.Must(err)
	b.Must(resp.Body.Close())
	if took := time.Since(began); took > time.Second {
		t.Errorf("the beginning of a stream took %v", took)
	}

	conn, err := net.Dial("tcp", host)
	b.Must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	b.Must(err)
	r := bufio.NewReader(conn)
	resp, err = http.ReadResponse(r, nil)
	b.Must(err)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade is answered with %s", resp.Status)
	}
	_, err = io.WriteString(conn, "hello\n")
	b.Must(err)
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("the upgraded connection gives %q, %v", line, err)
	}
}

// An instance that ends is started again, and requests go to the others meanwhile.
func TestInstanceEnds(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Instances = 2
	endpoint := b.Serve(r)
	_, _, _ = localtest.Request(t.Context(), http.MethodPost, endpoint+"/exit", "") // has no answer
	for range 20 {
		b.WantGet(localtest.VersionAt(endpoint), "f-1")
	}
	b.Await("the end to be noticed", func() bool { return strings.Contains(b.SupervisorLog(), "it is started again") })
	b.Await("the instance to be back", func() bool { return b.Report().Healthy == 2 })
	log := b.SupervisorLog()
	for _, want := range []string{"the service ended with exit status 4", "it is started again in 200ms"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if strings.Count(log, "healthy on port") != 3 {
		t.Errorf("the log does not say three times that an instance is healthy:\n%s", log)
	}
}

// An instance that fails its checks gets no requests until it passes them again;
// without any, the answer is 503.
func TestInstanceUnhealthy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Service.HealthCheck.Interval = 100 * time.Millisecond
	endpoint := b.Serve(r)
	sick := filepath.Join(b.Fleets("e-1"), "f-1", "i-0", protocol.InstanceRoot, "sick")
	b.Must(os.WriteFile(sick, nil, 0o600))
	b.Await("the instance to be unhealthy", func() bool { return b.Report().Status == pipeline.EnvDegraded })
	if d := b.Report(); d.Healthy != 0 || d.Instances != 1 || !strings.Contains(d.Reason, "GET /healthz answers 500") {
		t.Errorf("without a healthy instance: %+v", d)
	}
	status, body, err := localtest.Request(t.Context(), http.MethodGet, localtest.VersionAt(endpoint), "")
	b.Must(err)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "no instance of the service is healthy") {
		t.Errorf("without a healthy instance the answer is %d %q", status, body)
	}
	b.Must(os.Remove(sick))
	b.Await("the instance to be healthy", func() bool { return b.Report().Status == pipeline.EnvRunning })
	b.WantGet(localtest.VersionAt(endpoint), "f-1")
	b.Must(os.WriteFile(sick, nil, 0o600))
	b.Await("the instance to be restarted", func() bool { return strings.Contains(b.SupervisorLog(), "failed 10 checks in a row") })
	b.Must(os.Remove(sick))
	b.Await("the instance to be healthy", func() bool { return b.Report().Status == pipeline.EnvRunning })
}

// A service that never listens on its port again is restarted with growing pauses,
// and the environment lives on.
func TestBackOff(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.Request("f-1")
	r.Service.Start = "test ! -e broken || exit 1; " + r.Service.Start
	endpoint := b.Serve(r)
	broken := filepath.Join(b.Fleets("e-1"), "f-1", "i-0", protocol.InstanceRoot, "broken")
	b.Must(os.WriteFile(broken, nil, 0o600))
	_, _, _ = localtest.Request(t.Context(), http.MethodPost, endpoint+"/exit", "")
	for _, pause := range []string{"200ms", "400ms", "800ms"} {
		b.Await("a pause of "+pause, func() bool { return strings.Contains(b.SupervisorLog(), "started again in "+pause) })
	}
	b.Must(os.Remove(broken))
	b.Await("the instance to be healthy", func() bool { return b.Report().Status == pipeline.EnvRunning })
	b.WantGet(localtest.VersionAt(endpoint), "f-1")
}

// A request that takes longer than the drain time-out is cut, so that a shift ends.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	resp, err := http.Get(endpoint + "/slow/1h")
	b.Must(err)
	defer func() { _ = resp.Body.Close() }()
	r := b.Request("f-2")
	r.DrainTimeout = 300 * time.Millisecond
	b.MustPrepare(r)
	began := time.Now()
	_, err = b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{})
	b.Must(err)
	if took := time.Since(began); took < r.DrainTimeout || took > 5*time.Second {
		t.Errorf("the shift took %v, want a little more than %v", took, r.DrainTimeout)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the request was answered with %q", body)
	}
	if !strings.Contains(b.SupervisorLog(), "still under way") {
		t.Errorf("the log does not say that requests were cut:\n%s", b.SupervisorLog())
	}
}

// Connections are refused by one instance of two, of which the balancer has not
// heard: no request fails, whatever its method.
func TestDialFailure(t *testing.T) {
	t.Parallel()
	answering, err := listenFree(protocol.Loopback)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}
	go func() { _ = server.Serve(answering) }()
	defer func() { _ = server.Close() }()
	free, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	url, f := balance(t, free, portOf(answering))
	for range 4 {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if status, body, err := localtest.Request(t.Context(), method, url, "text"); err != nil || status != http.StatusOK || body != "text" {
				t.Errorf("%s: %d %q %v", method, status, body, err)
			}
		}
	}
	for _, i := range f.instances {
		select {
		case <-f.idle(i):
		case <-time.After(time.Minute):
			t.Errorf("instance %s still has requests", i.name)
		}
	}
	_ = server.Close()
	if status, _, err := localtest.Request(t.Context(), http.MethodGet, url, ""); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("when all refuse: %d, %v", status, err)
	}
}

// An instance that closes a kept connection just as a request comes in on it loses
// no request: reads are sent again, and writes have connections of their own.
func TestKeptConnectionCloses(t *testing.T) {
	t.Parallel()
	l, err := listenFree(protocol.Loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			go answerOnce(conn)
		}
	}()
	url, _ := balance(t, portOf(l))
	for range 20 {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
			body := ""
			if method == http.MethodPost || method == http.MethodPut {
				body = "text"
			}
			if status, _, err := localtest.Request(t.Context(), method, url, body); err != nil || status != http.StatusOK {
				t.Fatalf("%s: %d %v", method, status, err)
			}
		}
	}
}

// answerOnce answers a request, offers to keep the connection, and resets it when
// the next request comes.
func answerOnce(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, req.Body)
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")
	_, _ = r.Peek(1)
	_ = conn.(*net.TCPConn).SetLinger(0)
}

// balance returns the URL of a balancer over instances that are thought to listen on
// the ports.
func balance(t testing.TB, ports ...int) (string, *fleet) {
	t.Helper()
	f := newFleet(t.Context(), t.TempDir(), protocol.FleetRecord{ID: "f-1"}, protocol.Variables{}, nil, nil)
	for n, port := range ports {
		i := newInstance(f, fmt.Sprintf("i-%d", n))
		i.port.Store(int64(port))
		i.healthy.Store(true)
		f.instances = append(f.instances, i)
	}
	l, err := listenFree(protocol.Loopback)
	if err != nil {
		t.Fatal(err)
	}
	server := newEndpoint(func() *fleet { return f }, nil)
	go func() { _ = server.Serve(strictListener{l}) }()
	t.Cleanup(func() {
		_ = server.Close()
		f.kept.CloseIdleConnections()
	})
	return endpointURL(protocol.Loopback, portOf(l)), f
}
