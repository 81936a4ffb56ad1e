// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const (
	// requestTimeout bounds one HTTP request where the step sets no time-out: a
	// service that is healthy answers long before.
	requestTimeout = 30 * time.Second

	// maxBody is how much of an answer is looked at, and maxRedirects how far one
	// is followed, as browsers and curl do.
	maxBody      = 1 << 20
	maxRedirects = 10

	// shownLines and shownWidth bound what an error shows of an answer.
	shownLines = 5
	shownWidth = 200
)

// check is an HTTP check that is ready to be tried.
type check struct {
	pipeline.HTTPCheck
	url      *url.URL
	host     string         // that requests to it are for; empty: that of url
	contains *regexp.Regexp // nil when the body does not matter
	timeout  time.Duration
	hide     redactor
}

// prepareHTTP prepares an HTTP check. Redirects are followed, unless it is one
// that the check expects. Connections are not kept, so that every try tells
// whether the service accepts one.
func prepareHTTP(req pipeline.StepRequest) (attempt, error) {
	c := check{HTTPCheck: *req.Step.HTTP, timeout: limit(req.Step, requestTimeout), hide: newRedactor(req)}
	c.Method = method(c.Method)
	if c.Status == 0 {
		c.Status = http.StatusOK
	}
	if c.Status < 100 || c.Status > 599 {
		return nil, invalid("%d is not an HTTP status", c.Status).WithHint("Set status to a number from 100 to 599, or leave it out for 200.")
	}
	var err error
	if c.url, err = target(c.Method, req.Endpoint, c.URL, c.Path); err != nil {
		return nil, err
	}
	c.host = hostOf(req, c.URL)
	if c.Contains != "" {
		if c.contains, err = regexp.Compile(c.Contains); err != nil {
			return nil, invalid("contains is not a regular expression: %w", err).
				WithHint("Correct it, or put \\Q before literal text.")
		}
	}
	return func(ctx context.Context, _ int, log *runlog.Log) outcome { return outcome{err: c.try(ctx, log)} }, nil
}

// target returns the URL of a request: an absolute one, or a path on the endpoint.
func target(method, endpoint, absolute, path string) (*url.URL, error) {
	raw := absolute
	switch {
	case absolute != "" && path != "":
		return nil, invalid("url and path are both set").WithHint("Set path for the stage's environment, or url for anything else.")
	case absolute == "" && endpoint == "":
		return nil, invalid("path %q has no endpoint, because the stage has no environment", path).
			WithAdvice(pipeline.Set("environment.instances", "1", "the stage"), pipeline.Set("url", "", ""))
	case absolute == "":
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		raw = strings.TrimRight(endpoint, "/") + "/" + strings.TrimLeft(path, "/")
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, invalid("%q is not a URL to request", raw).WithHint("Write it like http://host/path or https://host/path.")
	}
	if _, err := http.NewRequest(method, u.String(), nil); err != nil {
		return nil, invalid("%q is not an HTTP method", method).WithHint("Use GET, HEAD, POST, PUT, PATCH or DELETE, for example.")
	}
	return u, nil
}

// hostOf returns the host that a step's requests are for; empty for that of their URL.
func hostOf(req pipeline.StepRequest, absolute string) string {
	if absolute != "" {
		return ""
	}
	return req.Host
}

func method(m string) string {
	if m == "" {
		return http.MethodGet
	}
	return strings.ToUpper(m)
}

// try makes the request once, and says why the answer is not the expected one.
func (c check) try(ctx context.Context, log *runlog.Log) error {
	bounded, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimedOut)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, c.Method, c.url.String(), strings.NewReader(c.Body))
	if err != nil {
		return err
	}
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	client := c.client()
	defer client.CloseIdleConnections()
	begun := time.Now()
	code, body, err := answer(client, req)
	took := present.Duration(time.Since(begun))
	if err != nil {
		if context.Cause(bounded) == errTimedOut {
			err = fmt.Errorf("no answer within %v", c.timeout)
		}
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // the method and URL are said already
		}
		err = fmt.Errorf("%s %s: %w", c.Method, c.url.Redacted(), err)
		log.Note("%v (after %s)", err, took)
		return err
	}
	log.Note("%s %s: %s in %s", c.Method, c.url.Redacted(), statusText(code), took)
	return c.conclude(code, body)
}

func (c check) client() *http.Client {
	client := &http.Client{Transport: endpointOf(c.url, c.host, &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true})}
	client.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		switch {
		case c.Status >= 300 && c.Status < 400:
			return http.ErrUseLastResponse
		case len(via) >= maxRedirects:
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}
	return client
}

// answer returns the status and the beginning of the body.
func answer(client *http.Client, req *http.Request) (code int, body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return resp.StatusCode, body, err
}

// statusText renders a status as "503 Service Unavailable".
func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

func (c check) conclude(code int, body []byte) error {
	var wanted string
	switch {
	case code != c.Status:
		wanted = fmt.Sprintf("status %d", c.Status)
	case c.contains != nil && !c.contains.Match(body):
		wanted = fmt.Sprintf("a body that matches %q", c.Contains)
		if len(body) == maxBody {
			wanted += fmt.Sprintf(" in its first %d KiB", maxBody>>10)
		}
	default:
		return nil
	}
	text := fmt.Sprintf("%s %s: expected %s, got %s", c.Method, c.url.Redacted(), wanted, statusText(code))
	if shown := c.excerpt(body); shown != "" {
		return fmt.Errorf("%s with\n%s", text, indent(shown))
	}
	return fmt.Errorf("%s with no body", text)
}

// excerpt returns the first lines of a body. It is masked before it is cut: what is left of
// a secret then would not be known as one.
func (c check) excerpt(body []byte) string {
	body = c.hide.Mask(body, len(body))
	lines := strings.SplitN(strings.TrimSpace(string(body[:min(len(body), 4*shownLines*shownWidth)])), "\n", shownLines+1)
	lines = lines[:min(len(lines), shownLines)]
	for i, line := range lines {
		lines[i] = present.Cut(c.hide.Text(present.Text(line)), shownWidth)
	}
	return strings.Join(lines, "\n")
}
