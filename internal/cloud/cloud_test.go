// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const identity = `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/ada</Arn><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`

// reach makes a server AWS for a test.
func reach(t *testing.T, s *httptest.Server) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
}

// A region that takes requests and does not answer them is not waited for without an end: an
// attempt is lost after a time, and the next one may be answered. When none is, the error says
// what to do.
func TestPatience(t *testing.T) {
	var silent atomic.Int64 // requests that get no answer, from now on
	end := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if silent.Add(-1) >= 0 {
			<-end
			return
		}
		fmt.Fprint(w, identity)
	}))
	defer s.Close()
	defer close(end)
	reach(t, s)
	c, err := Load(t.Context(), Options{Region: "eu-west-1", MaxAttempts: 2, Patience: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	there := c.In(Elsewhere{Region: "us-east-1"})
	ask := func() error {
		_, err := sts.NewFromConfig(there.Config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		return Fault(t.Context(), "ask", err)
	}
	silent.Store(1)
	if err := ask(); err != nil {
		t.Errorf("one request gets no answer: %v", err)
	}
	silent.Store(100)
	err = ask()
	var own *pipeline.Error
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "timeout awaiting response headers") {
		t.Fatalf("none gets an answer: %v", err)
	}
	if !errors.As(err, &own) || !strings.Contains(own.Hint, "could not be reached") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}

// What AWS's library has to say is no part of what a command prints.
func TestLogger(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") == "" {
			fmt.Fprint(w, identity)
			return
		}
		w.Header().Set("X-Amz-Crc32", "1") // not that of the answer, of which only the library's log speaks
		fmt.Fprint(w, `{"TableNames": []}`)
	}))
	defer s.Close()
	reach(t, s)
	var log strings.Builder
	c, err := Load(t.Context(), Options{Region: "eu-west-1", MaxAttempts: 1, Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dynamodb.NewFromConfig(c.Config).ListTables(t.Context(), &dynamodb.ListTablesInput{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "checksum") {
		t.Errorf("the log has %q", log.String())
	}
}

func TestEmulated(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"":                                    false,
		"http://127.0.0.1:5000":               true,
		"http://localhost:4566/":              true,
		"http://[::1]:4566":                   true,
		"https://127.0.0.1:8443":              false, // a tunnel
		"http://10.0.0.7:5000":                false,
		"http://localhost.example.com":        false,
		"https://ec2.eu-west-1.amazonaws.com": false,
		"::":                                  false,
	} {
		c := &Cloud{}
		if endpoint != "" {
			c.Config.BaseEndpoint = aws.String(endpoint)
		}
		if got := c.Emulated(); got != want {
			t.Errorf("the endpoint %q is emulated: %v", endpoint, got)
		}
	}
}
