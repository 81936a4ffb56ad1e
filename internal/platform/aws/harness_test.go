// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestMain(m *testing.M) {
	platformtest.Serve()
	os.Exit(cloudtest.Main(m))
}

// bed is a platform in an account of its own, with what the bootstrap stack makes.
type bed struct {
	testing.TB
	*Platform
	cloud  *cloudtest.Cloud
	log    *syncBuffer
	leases *leases
	at     pipeline.Target   // that it is; zero for the ledger's own place
	keys   map[string]string // of images that are shared, by region; see imageKey

	region // the test's own clients of it
}

// region has a test's own clients of a region.
type region struct {
	ec2       *ec2.Client
	ssm       *ssm.Client
	groups    *autoscaling.Client
	balancers *elb.Client
	watch     *cloudwatch.Client
	scheduler *scheduler.Client
	s3        *s3.Client
}

// in returns the clients of a region.
func (b *bed) in(name string) region {
	cfg := b.cloud.Own()
	cfg.Region = name
	return region{
		ec2: ec2.NewFromConfig(cfg), ssm: ssm.NewFromConfig(cfg), groups: autoscaling.NewFromConfig(cfg), balancers: elb.NewFromConfig(cfg), watch: cloudwatch.NewFromConfig(cfg),
		scheduler: scheduler.NewFromConfig(cfg), s3: s3.NewFromConfig(cfg, cloud.Objects),
	}
}

// leases stand for those of a ledger: the current one of a key is that with the highest
// token that anybody showed.
type leases struct {
	mu     sync.Mutex
	newest map[string]int64
	looks  int
}

func (l *leases) current(_ context.Context, by ...pipeline.Fence) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
	for _, b := range by {
		if newest := l.newest[b.Key]; b.Token < newest {
			return pipeline.LeaseLost("look at lease", b, newest)
		}
		l.newest[b.Key] = b.Token
	}
	return nil
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newBed(t testing.TB) *bed {
	t.Helper()
	c := cloudtest.New(t)
	b := &bed{TB: t, cloud: c, log: &syncBuffer{}, leases: &leases{newest: map[string]int64{}}}
	b.Platform = New(Options{Config: c.Config(), Settings: awstest.Settings(t, c), Pause: 20 * time.Millisecond, Current: b.leases.current})
	b.region = b.in(cloudtest.Region)
	c.ResetCalls()
	return b
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		log := ""
		if b.log != nil {
			log = b.log.String()
		}
		b.Fatalf("%v (hint: %s)\n%s", err, reason.Hint(err), log)
	}
}

// wantError asserts code and text of an error.
func (b *bed) wantError(err error, code pipeline.Code, text ...string) {
	b.Helper()
	if pipeline.CodeOf(err) != code {
		b.Fatalf("got error %v with code %q, want %q", err, pipeline.CodeOf(err), code)
	}
	for _, want := range text {
		if !strings.Contains(err.Error()+"\n"+reason.Hint(err), want) {
			b.Errorf("the error %q does not say %q", err, want)
		}
	}
}

func (b *bed) file(text string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "file")
	b.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (b *bed) get(url string) string {
	b.Helper()
	resp, err := http.Get(url)
	b.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	b.must(err)
	if resp.StatusCode != http.StatusOK {
		b.Fatalf("GET %s: %s %s", url, resp.Status, data)
	}
	return string(data)
}

// ownImages lists the account's images that match all filters.
func (b *bed) ownImages(filters ...types.Filter) ([]types.Image, error) {
	return instance.DescribeImages(b.Context(), b.ec2, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: filters})
}

// front is where the listeners of an environment's load balancer are.
type front struct {
	balancer   string // ARN
	live, test string // ARNs
	port, next int32  // of the live listener, and of the test listener
	endpoint   string
}

// front finds the load balancer of an environment; nil for none.
func (b *bed) front(environment string) *front {
	b.Helper()
	lbs, err := b.balancers.DescribeLoadBalancers(b.Context(), &elb.DescribeLoadBalancersInput{Names: []string{"penstock-" + environment}})
	if cloud.IsNotFound(err) || err == nil && len(lbs.LoadBalancers) == 0 {
		return nil
	}
	b.must(err)
	out, err := b.balancers.DescribeListeners(b.Context(), &elb.DescribeListenersInput{LoadBalancerArn: lbs.LoadBalancers[0].LoadBalancerArn})
	b.must(err)
	if len(out.Listeners) != 2 {
		b.Fatalf("the load balancer of %s has the listeners %+v", environment, out.Listeners)
	}
	slices.SortFunc(out.Listeners, func(x, y elbtypes.Listener) int { return int(aws.ToInt32(x.Port) - aws.ToInt32(y.Port)) })
	live, test := out.Listeners[0], out.Listeners[1]
	return &front{
		balancer: aws.ToString(lbs.LoadBalancers[0].LoadBalancerArn),
		live:     aws.ToString(live.ListenerArn), test: aws.ToString(test.ListenerArn), port: aws.ToInt32(live.Port), next: aws.ToInt32(test.Port),
		endpoint: fmt.Sprintf("http://%s:%d", aws.ToString(lbs.LoadBalancers[0].DNSName), aws.ToInt32(live.Port)),
	}
}

// target finds the target group of a fleet; empty for none.
func (b *bed) target(fleet string) (string, error) {
	out, err := b.balancers.DescribeTargetGroups(b.Context(), &elb.DescribeTargetGroupsInput{Names: []string{"penstock-" + fleet}})
	if cloud.IsNotFound(err) || err == nil && len(out.TargetGroups) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.TargetGroups[0].TargetGroupArn), nil
}

// bakeRequest asks for an image that has the file "baked".
func (b *bed) bakeRequest(token string) pipeline.BakeRequest {
	return pipeline.BakeRequest{
		Token: token, Inputs: "k-1", Name: "base", Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: token},
		Image: cloudtest.BaseImage, Commands: []pipeline.Command{{Name: "packages", Line: `echo baked > "$PENSTOCK_ROOT/baked"; echo installing`}}, Log: b.log,
	}
}

func (b *bed) base() string {
	b.Helper()
	image, err := b.Bake(b.Context(), b.bakeRequest("r-base"))
	b.must(err)
	return image.ID
}

// shareable returns a base image whose key lets others use it.
func (b *bed) shareable() string {
	b.Helper()
	return b.encrypted(b.imageKey(cloudtest.Region))
}

// imageKey returns a key for images that are shared, which the deployer may use.
func (b *bed) imageKey(region string) string {
	b.Helper()
	if b.keys[region] == "" {
		if b.keys == nil {
			b.keys = map[string]string{}
		}
		b.keys[region] = b.keyIn(region, "alias/penstock/images")
	}
	return b.keys[region]
}

func (b *bed) request(environment, fleet, image string) pipeline.FleetRequest {
	return pipeline.FleetRequest{
		Environment: environment, Fleet: fleet, Image: image, Instances: 1, Labels: pipeline.Labels{Pipeline: "shop", Stage: "s", Run: "r-1"}, Port: 8000,
		Service: pipeline.Service{Start: platformtest.Start(), HealthCheck: &pipeline.HealthCheck{Path: "/healthz", StartTimeout: time.Minute}},
		Env:     map[string]string{"VERSION": fleet}, DrainTimeout: time.Second, Log: b.log,
	}
}

// wantNothing asserts that of an environment nothing is left.
func (b *bed) wantNothing() {
	ctx := context.WithoutCancel(b.Context()) // also from a cleanup
	b.Helper()
	if left := b.cloud.Running(); len(left) > 0 {
		b.Errorf("instances are left: %v", left)
	}
	templates, err := b.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{})
	b.must(err)
	lbs, err := b.balancers.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	b.must(err)
	targets, err := b.balancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
	b.must(err)
	schedules, err := b.scheduler.ListSchedules(ctx, &scheduler.ListSchedulesInput{})
	b.must(err)
	if n := len(templates.LaunchTemplates) + len(lbs.LoadBalancers) + len(targets.TargetGroups) + len(schedules.Schedules); n > 0 {
		b.Errorf("left: templates %v, load balancers %v, target groups %v, schedules %v", templates.LaunchTemplates, lbs.LoadBalancers, targets.TargetGroups, schedules.Schedules)
	}
	objects, err := b.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(b.stack.Settings.Bucket)})
	b.must(err)
	for _, o := range objects.Contents {
		if strings.HasPrefix(aws.ToString(o.Key), "transfer/") {
			b.Errorf("object %s is left", aws.ToString(o.Key))
		}
	}
}
