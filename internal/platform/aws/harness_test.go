// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
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
	b.Platform = New(Options{Config: c.Config(), Settings: b.settings(), Pause: 20 * time.Millisecond, Current: b.leases.current})
	c.ResetCalls()
	return b
}

// settings makes what the bootstrap stack makes.
func (b *bed) settings() Settings {
	b.Helper()
	ctx, cfg := b.Context(), b.cloud.Config()
	s := Settings{Stack: "penstock", Bucket: "penstock-" + b.cloud.ID, InstanceProfile: "penstock", SchedulerRole: "arn:aws:iam::" + b.cloud.ID + ":role/scheduler"}
	machines := ec2.NewFromConfig(cfg)
	subnets, err := machines.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	b.must(err)
	for _, n := range subnets.Subnets {
		s.VPC = aws.ToString(n.VpcId)
		s.PublicSubnets = append(s.PublicSubnets, aws.ToString(n.SubnetId))
	}
	s.Subnets = s.PublicSubnets
	group, err := machines.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("vpc-id", s.VPC)}})
	b.must(err)
	s.InstanceGroup = aws.ToString(group.SecurityGroups[0].GroupId)
	s.LoadBalancerGroup = s.InstanceGroup
	builders, err := machines.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("builders"), Description: aws.String("builders"), VpcId: aws.String(s.VPC)})
	b.must(err)
	s.BuilderGroup = aws.ToString(builders.GroupId)
	_, err = iam.NewFromConfig(cfg).CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String(s.InstanceProfile)})
	b.must(err)
	_, err = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: aws.String(s.Bucket), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region},
	})
	b.must(err)
	return s
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		log := ""
		if b.log != nil {
			log = b.log.String()
		}
		b.Fatalf("%v (hint: %s)\n%s", err, pipeline.HintOf(err), log)
	}
}

// wantError asserts code and text of an error.
func (b *bed) wantError(err error, code pipeline.Code, text ...string) {
	b.Helper()
	if pipeline.CodeOf(err) != code {
		b.Fatalf("got error %v with code %q, want %q", err, pipeline.CodeOf(err), code)
	}
	for _, want := range text {
		if !strings.Contains(err.Error()+"\n"+pipeline.HintOf(err), want) {
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

// bakeRequest asks for an image that has the file "baked".
func (b *bed) bakeRequest(token string) pipeline.BakeRequest {
	return pipeline.BakeRequest{
		Token: token, Key: "k-1", Name: "base", Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: token},
		Image: cloudtest.BaseImage, Commands: []pipeline.Command{{Name: "packages", Line: `echo baked > "$PENSTOCK_ROOT/baked"; echo installing`}}, Log: b.log,
	}
}

func (b *bed) base() string {
	b.Helper()
	image, err := b.Bake(b.Context(), b.bakeRequest("r-base"))
	b.must(err)
	return image.ID
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
	objects, err := b.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(b.Settings.Bucket)})
	b.must(err)
	for _, o := range objects.Contents {
		if strings.HasPrefix(aws.ToString(o.Key), filesPrefix) {
			b.Errorf("object %s is left", aws.ToString(o.Key))
		}
	}
}
