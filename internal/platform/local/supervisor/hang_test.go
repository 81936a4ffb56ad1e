// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"io"
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

// When an instance hangs, a request that waits for it goes to another one, with its body,
// if it may be sent twice. Other requests get an error.
func TestInstanceHangs(t *testing.T) {
	t.Parallel()
	for _, speaks := range []string{"", pipeline.ProtocolH2C} {
		t.Run("service "+speaks, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := b.Request("f-1")
			r.Instances, r.Service.Protocol = 2, speaks
			r.Service.HealthCheck.Interval, r.Service.HealthCheck.Timeout = 50*time.Millisecond, time.Second
			endpoint := b.Serve(r)
			hung := filepath.Join(filepath.Join(b.Fleets("e-1"), "f-1"), "i-0", protocol.InstanceRoot, "hung")
			b.Must(os.WriteFile(hung, nil, 0o600))
			large := strings.Repeat("x", 2*keptBody)
			type result struct {
				what, method, body, key string
				status                  []int // that are right
			}
			ended, all := make(chan string), []result{
				{"a read", http.MethodGet, "", "", []int{200}},
				{"a small body that may be sent twice", http.MethodPut, "small", "", []int{200}},
				{"one of which the client says so", http.MethodPost, "small", "k-1", []int{200}},
				{"one that may not", http.MethodPost, "small", "", []int{200, 504}},
				{"a body that is not kept", http.MethodPut, large, "", []int{200, 504}},
			}
			statuses := make(chan int, 4*len(all))
			for _, c := range all {
				for range 4 { // two of them to each instance
					go func() {
						req := b.newRequest(c.method, endpoint+"/seen/", strings.NewReader(c.body))
						if c.key != "" {
							req.Header.Set("Idempotency-Key", c.key)
						}
						resp, err := http.DefaultClient.Do(req)
						if err != nil {
							ended <- c.what + ": " + err.Error()
							return
						}
						defer func() { _ = resp.Body.Close() }()
						data, _ := io.ReadAll(resp.Body)
						wrong := resp.StatusCode == http.StatusOK && !strings.Contains(string(data), `"Body":"`+c.body+`"`) ||
							resp.StatusCode == http.StatusGatewayTimeout && !strings.Contains(string(data), "hangs")
						for _, s := range c.status {
							if s == resp.StatusCode && !wrong {
								statuses <- s
								ended <- ""
								return
							}
						}
						ended <- c.what + ": " + resp.Status + " " + string(data[:min(len(data), 200)])
					}()
				}
			}
			for range 4 * len(all) {
				if failure := <-ended; failure != "" {
					t.Error(failure)
				}
			}
			close(statuses)
			count := map[int]int{}
			for s := range statuses {
				count[s]++
			}
			if count[504] == 0 {
				t.Errorf("nobody waited for the instance that hangs: %v", count)
			}
			b.Must(os.Remove(hung))
			b.Await("the instance to be healthy", func() bool { return b.Report().Healthy == 2 })
			for range 4 {
				b.WantGet(localtest.VersionAt(endpoint), "f-1")
			}
		})
	}
}

// An instance that says that it is not well, and answers, is let finish what it does.
func TestSickInstanceAnswers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.Request("f-1"))
	sick := filepath.Join(filepath.Join(b.Fleets("e-1"), "f-1"), "i-0", protocol.InstanceRoot, "sick")
	answered := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, "half ")
			close(begun)
			b.Await("the instance to be unhealthy", func() bool { return b.Report().Healthy == 0 })
			_ = w.CloseWithError(os.Remove(sick))
			_ = w.Close()
		}()
		_, body, err := send(b, http.MethodPost, endpoint+"/seen/", r)
		if err == nil && !strings.Contains(body, `"Body":"half "`) {
			err = io.ErrUnexpectedEOF
		}
		answered <- err
	}()
	<-begun
	b.Must(os.WriteFile(sick, nil, 0o600))
	b.Must(<-answered)
}

func send(b *bed, method, url string, body io.Reader) (int, string, error) {
	resp, err := http.DefaultClient.Do(b.newRequest(method, url, body))
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}
