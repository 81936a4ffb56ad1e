// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// withRoots runs tests that trust the certificate of httptest's servers, which is for
// example.com.
func withRoots(run func() int) int {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	dir, err := os.MkdirTemp("", "penstock-step")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := errors.Join(os.WriteFile(file, text, 0o600), os.Setenv("SSL_CERT_FILE", file)); err != nil {
		panic(err)
	}
	return run()
}

// A check, a load, and a share of one ask an endpoint for the name that its certificate is for,
// and take no other certificate. A step's own header Host, and where a redirect leads, count
// more.
func TestEndpointHost(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	hosts := map[string]int{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "elsewhere "+r.Host) }))
	defer elsewhere.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.Host]++
		mu.Unlock()
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/", http.StatusFound)
		default:
			fmt.Fprint(w, "asked for "+r.Host)
		}
	}))
	defer server.Close()
	at := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // which the certificate is not for
	check := func(host string, c pipeline.HTTPCheck) error {
		_, err := NewRunner(Options{}).Run(t.Context(), pipeline.StepRequest{Step: pipeline.Step{Name: "x", HTTP: &c}, Endpoint: at, Host: host})
		return err
	}
	for name, err := range map[string]error{
		"the name":      check("example.com", pipeline.HTTPCheck{Path: "/", Contains: `asked for example\.com$`}),
		"its own":       check("example.com", pipeline.HTTPCheck{Path: "/", Headers: map[string]string{"Host": "shop.local"}, Contains: `asked for shop\.local$`}),
		"a redirect":    check("example.com", pipeline.HTTPCheck{Path: "/here", Contains: `asked for example\.com$`}),
		"one elsewhere": check("example.com", pipeline.HTTPCheck{Path: "/away", Contains: `elsewhere 127\.0\.0\.1`}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"another name": check("example.org", pipeline.HTTPCheck{Path: "/"}), "no name": check("", pipeline.HTTPCheck{Path: "/"}),
		"a URL of its own": check("example.com", pipeline.HTTPCheck{URL: at}),
	} {
		if err == nil || !strings.Contains(err.Error(), "certificate is") {
			t.Errorf("%s: %v", name, err)
		}
	}
	load := pipeline.Load{Rate: 20, Duration: 500 * time.Millisecond, Path: "/", ErrorRate: 0}
	for host, want := range map[string]int64{"example.com": 0, "example.org": 10} {
		result, _ := NewRunner(Options{}).Run(t.Context(), pipeline.StepRequest{Step: pipeline.Step{Name: "x", Load: &load}, Endpoint: at, Host: host})
		if result.Load == nil || result.Load.Errors != want {
			t.Errorf("a load of %s: %+v", host, result.Load)
		}
		part, err := json.Marshal(shares(share{Load: load, URL: at, Host: host})[0])
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		var got tally
		if err := MakeShare(t.Context(), "", bytes.NewReader(part), &out, &bytes.Buffer{}); err != nil || json.Unmarshal(out.Bytes(), &got) != nil || got.report().Errors != want {
			t.Errorf("a share of %s: %v\n%s", host, err, out.String())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if hosts["example.com"] < 23 || hosts["shop.local"] != 1 || len(hosts) != 2 {
		t.Errorf("asked for %v", hosts)
	}
}
