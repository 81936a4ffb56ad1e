// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package aws is the platform of Amazon Web Services: images are AMIs, environments
// are EC2 instances, and lasting ones Auto Scaling groups behind a load balancer.
// Commands run through SSM Run Command: no instance takes a connection from where
// Terraform runs, but for the service's own port.
//
// Everything is tagged when it is created, and found again by its tags: there is no
// other record. Bodies are given client tokens or names that follow from the
// caller's IDs, so that whatever is repeated after a crash or a lost answer has its
// effect once.
//
//	p := aws.New(aws.Options{Config: cfg, Settings: settings})
//	image, err := p.Bake(ctx, request)
package aws

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

var _ pipeline.Platform = (*Platform)(nil)

// Settings name what the bootstrap stack made, or what is there instead of it.
type Settings struct {
	Stack                string // name: tells the things of several installations in one account apart
	VPC                  string
	Subnets              []string // of instances
	PublicSubnets        []string // of load balancers that the Internet reaches, in two zones at least
	Bucket               string
	InstanceProfile      string // name
	InstanceGroup        string // security group
	BuilderGroup         string // security group, which lets nobody in
	LoadBalancerGroup    string // security group
	SchedulerRole        string // ARN; that ends environments at their TTL
	InstanceType         string // where nothing else is said; empty means DefaultInstanceType
	AssignPublicAddress  bool   // to instances: the way to Systems Manager from a public subnet
	PublicEndpoints      bool   // the endpoint of an instance is its public address
	InternalLoadBalancer bool
}

// DefaultInstanceType is small, of the present generation, and in every region.
const DefaultInstanceType = "t3.small"

// Options configure a Platform.
type Options struct {
	Config   aws.Config
	Settings Settings
	Tags     map[string]string // on everything, beside Penstock's own
	Logger   hclog.Logger      // nil discards
	Now      func() time.Time  // nil means time.Now
	// Pause is the shortest pause between two looks at what is waited for; 0 means
	// DefaultPause. Tests shorten it.
	Pause time.Duration
	// Current refuses, with CodeLeaseLost, leases that others have taken over; nil: none.
	Current func(ctx context.Context, by ...pipeline.Fence) error
}

// Platform keeps images and environments in an account and region.
type Platform struct {
	Options
	by         []pipeline.Fence // under which things are changed
	ec2        *ec2.Client
	ssm        *ssm.Client
	s3         *s3.Client
	presign    *s3.PresignClient
	groups     *autoscaling.Client
	balancers  *elb.Client
	scheduler  *scheduler.Client
	cloudwatch *cloudwatch.Client

	instances  *cloud.Batcher[string, types.Instance] // by ID
	images     *cloud.Batcher[string, types.Image]    // by ID
	parameters *cloud.Batcher[string, string]         // by name
}

// New gives the platform of an account and region.
func New(o Options) *Platform {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Pause == 0 {
		o.Pause = DefaultPause
	}
	if o.Settings.InstanceType == "" {
		o.Settings.InstanceType = DefaultInstanceType
	}
	if o.Current == nil {
		o.Current = func(context.Context, ...pipeline.Fence) error { return nil }
	}
	p := &Platform{Options: o}
	o.Config.APIOptions = append(slices.Clone(o.Config.APIOptions), p.guard)
	objects := s3.NewFromConfig(o.Config, cloud.PathStyle)
	*p = Platform{
		Options: o, ec2: ec2.NewFromConfig(o.Config), ssm: ssm.NewFromConfig(o.Config), s3: objects, presign: s3.NewPresignClient(objects),
		groups: autoscaling.NewFromConfig(o.Config), balancers: elb.NewFromConfig(o.Config), scheduler: scheduler.NewFromConfig(o.Config),
		cloudwatch: cloudwatch.NewFromConfig(o.Config),
	}
	p.instances = cloud.NewBatcher(p.fetchInstances)
	p.images = cloud.NewBatcher(p.fetchImages)
	p.parameters = cloud.NewBatcher(p.fetchParameters)
	return p
}

// The keys of Penstock's tags.
const (
	tagStack       = "penstock:stack"
	tagPipeline    = "penstock:pipeline"
	tagStage       = "penstock:stage"
	tagBuild       = "penstock:build"
	tagRun         = "penstock:run"
	tagKey         = "penstock:key"         // of a bake's inputs
	tagRole        = "penstock:role"        // builder or instance
	tagEnvironment = "penstock:environment" // its ID
	tagFleet       = "penstock:fleet"       // its ID
	tagServing     = "penstock:serving"     // true on the instances of the fleet that serves
	tagEndpoint    = "penstock:endpoint"    // of the environment
	tagExpires     = "penstock:expires"     // RFC 3339
	tagPort        = "penstock:port"        // that the service listens on
	tagFence       = "penstock:fence"       // token of the lease under which a fleet was made, or got its traffic
	tagKept        = "penstock:kept"        // RFC 3339: until when a fleet is kept for a rollback; empty where it is not
	tagReady       = "penstock:ready"       // true on an instance on which what comes before the service has been done
	tagInstalled   = "penstock:installed"   // true on an instance on which an artifact was installed

	roleBuilder  = "builder"
	roleInstance = "instance"
)

// tags gives the tags of a thing: the user's, Penstock's labels, and more.
func (p *Platform) tags(l pipeline.Labels, more map[string]string) []types.Tag {
	all := map[string]string{}
	for k, v := range p.Tags {
		all[k] = v
	}
	for k, v := range map[string]string{tagStack: p.Settings.Stack, tagPipeline: l.Pipeline, tagStage: l.Stage, tagBuild: l.Build, tagRun: l.Run} {
		if v != "" {
			all[k] = v
		}
	}
	for k, v := range more {
		all[k] = v
	}
	list := make([]types.Tag, 0, len(all))
	for _, k := range sortedKeys(all) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(all[k])})
	}
	return list
}

// tag gives the value of one of a thing's tags; empty for none.
func tag(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// filter makes a filter of EC2.
func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// What takes T is known at most three seconds or a fiftieth of T later, whichever is
// more, with poll's jitter of a fifth.
const (
	DefaultPause = 2500 * time.Millisecond
	pauseShare   = 0.0165
)

// wait polls until done, at a pace that fits what takes between seconds and an hour.
func (p *Platform) wait(ctx context.Context, what string, limit time.Duration, probe func(context.Context) (poll.Probe, error)) error {
	return poll.Until(ctx, poll.Schedule{First: p.Pause, Share: pauseShare, Limit: limit, What: what}, probe)
}
