// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// Probes: what makes an instance healthy. A few failures in a row take it out of rotation, more of
// them restart it, and silence, unlike a wrong answer, says that it hangs.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// While an instance starts it is looked at more often than its interval says,
	// so that a quick service serves quickly.
	firstCheck   = 10 * time.Millisecond
	startChecks  = 250 * time.Millisecond
	startGrowth  = 1.5
	failsToLeave = 3  // failed checks in a row take an instance out of rotation
	failsToEnd   = 10 // and so many restart it
)

// checker checks the health of the instances of one service.
type checker struct {
	path     string // empty: a connection is enough
	status   int    // 0: any 2xx
	interval time.Duration
	timeout  time.Duration
	start    time.Duration
	http2    bool
	client   *http.Client
}

func newChecker(h *pipeline.HealthCheck, http2 bool) *checker {
	c := &checker{interval: pipeline.DefaultHealthInterval, timeout: pipeline.DefaultHealthTimeout, start: pipeline.DefaultStartTimeout, http2: http2}
	c.client = &http.Client{
		Transport:     newTransport(false, http2),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if h == nil {
		return c
	}
	c.path, c.status = "/"+strings.TrimPrefix(h.Path, "/"), h.Status
	if h.Interval > 0 {
		c.interval = h.Interval
	}
	if h.Timeout > 0 {
		c.timeout = h.Timeout
	}
	if h.StartTimeout > 0 {
		c.start = h.StartTimeout
	}
	return c
}

// errRefused says that nobody listens on the port.
var errRefused = errors.New("nobody listens on the port")

// wrongAnswer says that a check was answered, if not as it should be.
type wrongAnswer struct{ text string }

func (w *wrongAnswer) Error() string { return w.text }

// answers reports whether a check was answered.
func answers(err error) bool {
	var wrong *wrongAnswer
	return err == nil || errors.As(err, &wrong)
}

// check returns nil for a healthy instance and says what is wrong with another.
func (c *checker) check(ctx context.Context, address string) error {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.ask(bounded, address)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errRefused
	case err != nil && bounded.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%s did not answer within %v", c.what(), c.timeout)
	}
	return err
}

func (c *checker) what() string {
	if c.path == "" {
		return "a connection"
	}
	return "GET " + c.path
}

func (c *checker) ask(ctx context.Context, address string) error {
	if c.path == "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+c.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "penstock-health-check")
	resp, err := c.client.Do(req)
	var sent *url.Error
	if errors.As(err, &sent) {
		err = sent.Err // which request it was is plain
	}
	switch {
	case err != nil && c.http2 && ctx.Err() == nil && !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("GET %s got no HTTP/2 answer, which service.protocol %q needs: %w", c.path, pipeline.ProtocolH2C, err)
	case err != nil:
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, copyBuffer)
	switch {
	case c.status != 0 && resp.StatusCode != c.status:
		return &wrongAnswer{fmt.Sprintf("GET %s answers %d, not %d", c.path, resp.StatusCode, c.status)}
	case c.status == 0 && resp.StatusCode/100 != 2:
		return &wrongAnswer{fmt.Sprintf("GET %s answers %d, not 2xx", c.path, resp.StatusCode)}
	}
	return nil
}
