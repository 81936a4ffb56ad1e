// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// manyInstances is an EC2 that has an instance for each environment that it is asked
// for, but for those with a number that seven divides. It returns them in pages of 150.
type manyInstances struct{ requests atomic.Int64 }

const instancesPerPage = 150

// Do implements the SDK's HTTP client.
func (m *manyInstances) Do(r *http.Request) (*http.Response, error) {
	m.requests.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	if form.Get("Action") == "DescribeAutoScalingGroups" {
		return answered("<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups/></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"), nil
	}
	var ids []string
	for n := 1; form.Get(fmt.Sprintf("Filter.%d.Name", n)) != ""; n++ {
		if form.Get(fmt.Sprintf("Filter.%d.Name", n)) != "tag:"+fleet.TagEnvironment {
			continue
		}
		for v := 1; form.Get(fmt.Sprintf("Filter.%d.Value.%d", n, v)) != ""; v++ {
			id := form.Get(fmt.Sprintf("Filter.%d.Value.%d", n, v))
			if number(id)%7 != 0 {
				ids = append(ids, id)
			}
		}
	}
	from, _ := strconv.Atoi(form.Get("NextToken"))
	next := ""
	if len(ids) > from+instancesPerPage {
		next = fmt.Sprintf("<nextToken>%d</nextToken>", from+instancesPerPage)
	}
	var b strings.Builder
	b.WriteString("<DescribeInstancesResponse><reservationSet>")
	for _, id := range ids[from:min(from+instancesPerPage, len(ids))] {
		fmt.Fprintf(&b, "<item><reservationId>r-1</reservationId><instancesSet><item><instanceId>i-%s</instanceId><instanceState><code>16</code><name>running</name></instanceState><tagSet>", id)
		for k, v := range map[string]string{fleet.TagEnvironment: id, fleet.TagFleet: "f-" + id, fleet.TagServing: "true", fleet.TagEndpoint: "http://10.0.0.1:8080", stack.TagExpires: "2030-01-01T00:00:00Z", "Name": "shop " + id} {
			fmt.Fprintf(&b, "<item><key>%s</key><value>%s</value></item>", k, v)
		}
		b.WriteString("</tagSet></item></instancesSet></item>")
	}
	b.WriteString("</reservationSet>" + next + "</DescribeInstancesResponse>")
	return answered(b.String()), nil
}

func answered(xml string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(xml))}
}

func number(id string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, "e-"))
	return n
}

// many returns a platform on such an EC2, and the IDs of n environments.
func many(n int) (*Platform, *manyInstances, []string) {
	cloud := &manyInstances{}
	p := New(Options{Config: aws.Config{Region: "eu-west-1", HTTPClient: cloud, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}, Settings: Settings{Stack: "penstock"}})
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("e-%d", i+1)
	}
	return p, cloud, ids
}

// A refresh of a thousand environments takes a few requests, all pages of their
// answers, and finds those that are gone.
func TestDescribeMany(t *testing.T) {
	t.Parallel()
	p, cloud, ids := many(1000)
	reports, err := p.Describe(t.Context(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	if n := cloud.requests.Load(); n > 11 { // two for each 200, and one for the groups of those that have no instance
		t.Errorf("1000 environments take %d requests", n)
	}
	for _, id := range ids {
		want := pipeline.EnvRunning
		if number(id)%7 == 0 {
			want = pipeline.EnvGone
		}
		if reports[id].Status != want || want == pipeline.EnvRunning && reports[id].ExpiresAt.IsZero() {
			t.Fatalf("%s is reported as %+v", id, reports[id])
		}
	}
}

// The time and memory of a refresh of a thousand environments.
func BenchmarkDescribe1000(b *testing.B) {
	p, cloud, ids := many(1000)
	slices.Reverse(ids)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for b.Loop() {
		if _, err := p.Describe(b.Context(), ids...); err != nil {
			b.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(cloud.requests.Load())/float64(b.N), "requests/op")
	b.ReportMetric(float64(time.Since(began).Milliseconds())/float64(b.N), "ms/op")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/(1<<20), "MiB/op")
}
