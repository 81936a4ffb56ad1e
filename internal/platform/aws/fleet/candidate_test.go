// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
)

// Steps ask the next build for the name that its certificate is for: in the endpoint where the
// name leads to the load balancer, beside it where it does not.
func TestCandidate(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	f := New(b.Stack, b.Instances)
	r := request("e-1", "f-1", "")
	r.Persistent, r.Port = true, 0
	known := map[string]string{} // addresses of names; the test listener stays where it is until the live one moves
	f.balancers.lookup = func(_ context.Context, host string) ([]string, error) {
		if at := known[host]; at != "" {
			return []string{at}, nil
		}
		return nil, errors.New("no such host")
	}
	for _, c := range []struct {
		certificate, host, led string
		endpoint, want         string
	}{
		{"", "", "", "http://LB:10080", ""},
		{b.Cloud.Certificate("*.example.com", "shop.example.com", "other.example.com"), "", "", "https://LB:10080", "shop.example.com"},
		{b.Cloud.Certificate("*.example.com"), "", "", "https://LB:10080", "penstock.example.com"},
		{b.Cloud.Certificate("*.example.com"), "next.example.com", "", "https://LB:10080", "next.example.com"},
		{b.Cloud.Certificate("shop.example.com"), "", "shop.example.com", "https://shop.example.com:10080", ""},
		{b.Cloud.Certificate("*.example.com"), "next.example.com", "next.example.com", "https://next.example.com:10080", ""},
		{"", "", "", "http://LB:10080", ""},
	} {
		r.Certificate, r.Balancer = c.certificate, &pipeline.Balancer{Host: c.host}
		lb, err := f.balancers.ensure(t.Context(), r)
		b.Must(err)
		known = map[string]string{lb.dns: "10.0.0.1", c.led: "10.0.0.1", "elsewhere.example.com": "10.0.0.2"}
		endpoint, host := f.balancers.candidate(t.Context(), lb, r)
		if want := strings.Replace(c.endpoint, "LB", lb.dns, 1); endpoint != want || host != c.want {
			t.Errorf("%+v: %s for %q", c, endpoint, host)
		}
		found, err := f.balancers.find(t.Context(), "e-1")
		b.Must(err)
		if found.testAt != lb.testAt {
			t.Errorf("%+v: the test listener is at %+v, not %+v", c, found.testAt, lb.testAt)
		}
	}
	b.Must(f.Destroy(t.Context(), "e-1"))
}
