// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// share sets the shares of fleets in an environment's traffic, as a process left them
// that was killed.
func (b *bed) share(shares map[string]int32) {
	b.Helper()
	var to []elbtypes.TargetGroupTuple
	for fleet, percent := range shares {
		target, err := b.target(fleet)
		b.must(err)
		to = append(to, elbtypes.TargetGroupTuple{TargetGroupArn: aws.String(target), Weight: aws.Int32(percent)})
	}
	_, err := b.balancers.ModifyListener(b.Context(), &elb.ModifyListenerInput{
		ListenerArn:    aws.String(b.front("e-1").live),
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, ForwardConfig: &elbtypes.ForwardActionConfig{TargetGroups: to}}},
	})
	b.must(err)
}

const tagFleet = "penstock:fleet"

// setSick makes the instances of a fleet unhealthy, or healthy again.
func (b *bed) setSick(fleet string, sick bool) {
	b.Helper()
	list, err := b.instances.List(b.Context(), stack.Filter("tag:"+tagFleet, fleet), instance.Alive)
	b.must(err)
	for _, i := range list {
		file := filepath.Join(b.cloud.Root(aws.ToString(i.InstanceId)), "/srv/penstock", "sick")
		if sick {
			b.must(os.WriteFile(file, nil, 0o600))
		} else {
			b.must(os.Remove(file))
		}
	}
}

// schedules returns the names of the schedules that there are.
func (b *bed) schedules() (names []string) {
	b.Helper()
	out, err := b.scheduler.ListSchedules(b.Context(), &scheduler.ListSchedulesInput{})
	b.must(err)
	for _, s := range out.Schedules {
		names = append(names, aws.ToString(s.Name))
	}
	return names
}

// A shift is killed while both fleets have traffic. When it resumes, it returns the
// traffic if the new fleet is not healthy, or if an alarm fires, even one that fired
// before it polled again.
func TestShiftGoesBackAfterKill(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	b.cloud.SetAlarm("errors", "OK")
	r := b.persistent("f-2", image)
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	traffic := pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 50, Pause: time.Minute}}, Alarms: []string{"errors"}}

	wantBack := func(after string) {
		t.Helper()
		reports, err := b.Describe(t.Context(), "e-1")
		b.must(err)
		if got := b.serves(10); got["f-1"] != 10 || reports["e-1"].Serving != "f-1" {
			t.Errorf("after %s the requests are answered by %v; %s is said to serve", after, got, reports["e-1"].Serving)
		}
	}
	b.share(map[string]int32{"f-1": 50, "f-2": 50})
	b.setSick("f-2", true)
	_, err = b.Shift(t.Context(), "e-1", "f-2", traffic)
	b.wantError(err, pipeline.CodeFailed, "0 of 2 new instances are healthy")
	wantBack("a kill, with sick instances,")
	b.setSick("f-2", false)

	b.cloud.SetAlarm("errors", "ALARM")
	b.share(map[string]int32{"f-1": 50, "f-2": 50})
	_, err = b.Shift(t.Context(), "e-1", "f-2", traffic)
	b.wantError(err, pipeline.CodeFailed, `"errors"`)
	wantBack("a kill, with an alarm,")

	b.share(map[string]int32{"f-2": 1})
	b.cloud.Fail(cloudtest.Fault{Action: "DescribeAlarms", Code: "InternalFailure", Times: 9, Status: 500})
	_, err = b.Shift(t.Context(), "e-1", "f-2", traffic)
	b.wantError(err, pipeline.CodeFailed, "InternalFailure")
	b.cloud.Mend()
	wantBack("a kill, without a view of the alarms,")
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Killed when all of the traffic had gone over, a shift takes none of it back to go
// through the steps again. Killed at its very end, it still keeps the fleet before.
func TestShiftEndsAfterKill(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	_, err := b.Prepare(t.Context(), b.persistent("f-2", image))
	b.must(err)
	traffic := pipeline.Traffic{Steps: []pipeline.ShiftStep{{Percent: 10, Pause: time.Hour}}, KeepPrevious: time.Hour, Log: b.log}
	b.share(map[string]int32{"f-2": 1})
	_, err = b.Shift(t.Context(), "e-1", "f-2", traffic)
	b.must(err)
	if strings.Contains(b.log.String(), "10 % of the traffic") || b.serves(10)["f-2"] != 10 {
		t.Errorf("resumed, the shift went through its steps again:\n%s", b.log)
	}
	// As it is between the tags and what comes after them: no schedule yet.
	b.must(b.stack.Unschedule(t.Context(), "f-1", "kept", "production"))
	for range 2 {
		report, err := b.Shift(t.Context(), "e-1", "f-2", traffic)
		b.must(err)
		if got := b.schedules(); len(got) != 1 || !strings.Contains(got[0], "f-1") || report.Serving != "f-2" || len(b.cloud.Running()) != 4 {
			t.Errorf("after the end these ends are scheduled: %v; %+v, on %v", got, report, b.cloud.Running())
		}
	}
	b.setSick("f-2", true) // that is for nobody to take back any more
	_, err = b.Shift(t.Context(), "e-1", "f-2", traffic)
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// What served before and can't be removed does not fail the deployment, whose build
// serves. The next one removes it.
func TestShiftLeaves(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-1", image)))
	_, err := b.Prepare(t.Context(), b.persistent("f-2", image))
	b.must(err)
	b.cloud.Fail(cloudtest.Fault{Action: "DeleteAutoScalingGroup", Times: math.MaxInt, Code: "AccessDenied"})
	report, err := b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{Log: b.log})
	b.must(err)
	b.cloud.Mend()
	if report.Serving != "f-2" || b.serves(5)["f-2"] != 5 || !strings.Contains(b.log.String(), "AccessDenied") || len(b.cloud.Running()) != 4 {
		t.Errorf("after a shift that could not remove what was before: %+v, on %v\n%s", report, b.cloud.Running(), b.log)
	}
	// A target group that was just taken off a listener counts as used for a moment.
	_, err = b.Prepare(t.Context(), b.persistent("f-3", image))
	b.must(err)
	b.cloud.Fail(cloudtest.Fault{Action: "DeleteTargetGroup", Times: 3, Code: "ResourceInUse"}, cloudtest.Fault{Action: "DeleteAutoScalingGroup", Code: "ScalingActivityInProgress"})
	_, err = b.Shift(t.Context(), "e-1", "f-3", pipeline.Traffic{})
	b.must(err)
	b.cloud.Mend()
	for _, fleet := range []string{"f-1", "f-2"} {
		if target, err := b.target(fleet); err != nil || target != "" || len(b.cloud.Running()) != 2 {
			t.Errorf("of fleet %s there is %q left, %v, on %v", fleet, target, err, b.cloud.Running())
		}
	}
	// The same without a load balancer.
	one := b.request("e-2", "f-4", image)
	b.must(b.deploy(one))
	one.Fleet = "f-5"
	_, err = b.Prepare(t.Context(), one)
	b.must(err)
	b.cloud.Fail(cloudtest.Fault{Action: "TerminateInstances", Code: "UnauthorizedOperation"})
	report, err = b.Shift(t.Context(), "e-2", "f-5", pipeline.Traffic{})
	b.must(err)
	b.cloud.Mend()
	if report.Serving != "f-5" || report.Instances != 1 {
		t.Errorf("after a shift that could not end the instance before: %+v", report)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.must(b.Destroy(t.Context(), "e-2"))
	b.wantNothing()
}

// A rollback to a kept fleet that fails leaves nothing of it.
func TestRollbackFails(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	r := b.persistent("f-1", image)
	r.Env["VERSION"] = "one"
	b.must(b.deploy(r))
	r.Fleet, r.Env = "f-2", map[string]string{"VERSION": "two"}
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	_, err = b.Shift(t.Context(), "e-1", "f-2", pipeline.Traffic{KeepPrevious: time.Hour})
	b.must(err)
	r.Fleet, r.Env = "f-3", map[string]string{"VERSION": "one"}
	b.cloud.Fail(cloudtest.Fault{Action: "DescribeTargetHealth", Code: "AccessDenied"})
	_, err = b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeNotAllowed, "AccessDenied")
	b.cloud.Mend()
	if got := b.schedules(); len(b.cloud.Running()) != 2 || b.serves(5)["two"] != 5 || len(got) != 0 {
		t.Errorf("after the failed rollback there are instances %v, schedules %v", b.cloud.Running(), got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Another environment.port takes effect with the traffic, upwards and downwards, also
// where the test listener is in the way.
func TestPortChanges(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	b.must(b.deploy(b.persistent("f-0", image))) // at 8000
	before := 8000
	for n, port := range []int{8001, 8000, 8003, 8001} {
		r := b.persistent("f-"+string(rune('a'+n)), image)
		r.Port = port
		_, err := b.Prepare(t.Context(), r)
		b.must(err)
		lb := b.front("e-1")
		if int(lb.port) != before || int(lb.next) <= max(port, before) && int(lb.next) != before+10000 {
			t.Errorf("to get from %d to %d the listeners are at %d and %d before the traffic goes over", before, port, lb.port, lb.next)
		}
		report, err := b.Shift(t.Context(), "e-1", r.Fleet, pipeline.Traffic{Port: port})
		b.must(err)
		lb = b.front("e-1")
		if int(lb.port) != port || int(lb.next) != port+10000 || report.Endpoint != lb.endpoint || b.get(report.Endpoint+"/env/VERSION") != r.Fleet {
			t.Errorf("at port %d: listeners at %d and %d, endpoint %s", port, lb.port, lb.next, report.Endpoint)
		}
		before = port
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// With environment.certificate the endpoint speaks HTTPS: from the first deployment on,
// or from that which brings it, until one that takes it away. So does that of the next fleet,
// before it serves, and both show the certificate.
func TestCertificate(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := b.app()
	certificate := b.cloud.Certificate("*.example.com", "shop.example.com")
	client := b.trusting("shop.example.com")
	b.wantError(b.Check(pipeline.EnvironmentSpec{Balancer: &pipeline.Balancer{Host: "shop.example.com"}}), pipeline.CodeInvalid, "environment.load_balancer.host")
	answers := func(endpoint, fleet string) {
		t.Helper()
		resp, err := client.Get(endpoint + "/env/VERSION")
		b.must(err)
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != fleet {
			t.Errorf("%s answers %q, %v, want %q", endpoint, got, err, fleet)
		}
	}
	for n, step := range []struct {
		port        int
		certificate string
		want        string // with what the endpoint begins and ends
	}{
		{8000, certificate, "https://:8000"}, {8010, certificate, "https://:8010"}, {8000, "", "http://:8000"}, {0, "", "http://:8000"}, {8010, certificate, "https://:8010"}, {8010, "", "http://:8010"},
	} {
		r := b.persistent("f-"+string(rune('a'+n)), image)
		r.Port, r.Certificate = step.port, step.certificate
		fleet, err := b.Prepare(t.Context(), r)
		b.must(err)
		answers(fleet.Endpoint, r.Fleet)
		report, err := b.Shift(t.Context(), "e-1", r.Fleet, pipeline.Traffic{Port: step.port, Certificate: step.certificate})
		b.must(err)
		scheme, end, _ := strings.Cut(step.want, "://")
		if secure := step.certificate != ""; strings.HasPrefix(fleet.Endpoint, "https://") != secure || (fleet.Host == "shop.example.com") != secure || !strings.HasPrefix(report.Endpoint, scheme+"://") || !strings.HasSuffix(report.Endpoint, end) {
			t.Errorf("the endpoint is %s, that of the next fleet was %s, want %s", report.Endpoint, fleet.Endpoint, step.want)
		}
		answers(report.Endpoint, r.Fleet)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// trusting returns a client of HTTPS that takes certificates of the test cloud for a name.
func (b *bed) trusting(name string) *http.Client {
	b.Helper()
	roots, err := os.ReadFile(b.cloud.Roots())
	b.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}}
}
