// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// throttling is an EC2 that throttles the first requests to an API.
type throttling struct {
	action string

	mu    sync.Mutex
	times int
}

// Do implements the SDK's HTTP client.
func (l *throttling) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	action := form.Get("Action")
	l.mu.Lock()
	defer l.mu.Unlock()
	status, text := http.StatusOK, "<"+action+"Response></"+action+"Response>"
	if action == l.action && l.times > 0 {
		l.times--
		status, text = http.StatusServiceUnavailable, "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow down</Message></Error></Errors></Response>"
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// An API that AWS has throttled is called more slowly from then on; another is not
// held back.
func TestThrottledAPI(t *testing.T) {
	t.Parallel()
	limits := newRetryer(maxAttempts)
	client := ec2.NewFromConfig(aws.Config{
		Region: "eu-west-1", HTTPClient: &throttling{action: "TerminateInstances", times: 1}, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		Retryer: func() aws.Retryer { return limits },
	})
	terminate := func() error {
		_, err := client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{"i-1"}})
		return err
	}
	describe := func() error {
		_, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
		return err
	}
	timed := func(call func() error) time.Duration {
		t.Helper()
		began := time.Now()
		for range 5 {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	if err := terminate(); err != nil {
		t.Fatalf("a throttled call fails: %v", err)
	}
	slow, fast := timed(terminate), timed(describe)
	if slow < 10*fast {
		t.Errorf("five calls of the throttled API take %s, and of another %s", slow, fast)
	}
}
