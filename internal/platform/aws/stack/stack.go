// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package stack is an installation of Penstock in an account and a region of AWS: what the
// bootstrap stack made, and what all that is done with it has in common. That is the tags,
// the leases under which things are changed, the pace of waiting, and the schedules by
// which things end. It knows neither images nor fleets.
package stack

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Settings name what the bootstrap stack made, or what is there instead of it.
type Settings struct {
	Stack                 string // name: distinguishes several installations in one account
	VPC                   string
	Subnets               []string // of instances
	PublicSubnets         []string // of load balancers that the Internet reaches, in two zones at least
	Bucket                string
	Lasting, Test         Access // of instances of what lasts, and of tests and self-service environments
	Builder               Access // of machines that make images; its group lets nobody in
	LoadBalancerGroup     string // security group
	SchedulerRole         string // ARN; that ends what stages run
	LauncherSchedulerRole string // ARN of the role that ends self-service environments; it can end nothing of a stage
	LauncherScheduleGroup string // of the schedules by which self-service environments end; empty is the account's default group
	InstanceType          string // by default; empty means DefaultInstanceType
	AssignPublicAddress   bool   // to instances: the way to Systems Manager from a public subnet
	PublicEndpoints       bool   // the endpoint of an instance is its public address
	InternalLoadBalancer  bool
}

// Access is what instances may do, and who reaches them.
type Access struct {
	Profile string   // name of an instance profile
	Groups  []string // security groups
}

// Or returns the access with what it lacks taken from another.
func (a Access) Or(b Access) Access {
	if a.Profile == "" {
		a.Profile = b.Profile
	}
	if len(a.Groups) == 0 {
		a.Groups = b.Groups
	}
	return a
}

// Account returns the ID of the account that the stack is in.
func (s Settings) Account() string {
	if parts := strings.Split(s.SchedulerRole, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// partition returns the partition that the stack is in: that of an ARN of its own, else that of
// the region.
func (s Settings) partition(region string) string {
	if of, err := arn.Parse(s.SchedulerRole); err == nil {
		return of.Partition
	}
	return Partition(region)
}

// ServiceLinkedRole returns the ARN of the role that a service of AWS has in the account.
func (s *Stack) ServiceLinkedRole(service, name string) string {
	return "arn:" + s.Settings.partition(s.Config.Region) + ":iam::" + s.Settings.Account() + ":role/aws-service-role/" + service + "/" + name
}

// DefaultInstanceType is small, of the present generation, and in every region.
const DefaultInstanceType = "t3.small"

// Options configure a Stack.
type Options struct {
	Config   aws.Config
	Settings Settings
	Tags     map[string]string // on everything, beside Penstock's own
	Logger   hclog.Logger      // nil discards
	Now      func() time.Time  // nil means time.Now
	// Pause is the shortest pause between two looks at what is waited for; 0 means
	// DefaultPause. Tests shorten it.
	Pause time.Duration
	// Grants is how long a grant of another account's key is waited for; 0 means five minutes.
	Grants time.Duration
	// Instances reports on environments without the health of load balancers' targets.
	Instances bool
	// Current refuses, with CodeLeaseLost, leases that others have taken over; nil: none.
	Current func(ctx context.Context, by ...pipeline.Fence) error
}

// Stack is an installation. It may be used concurrently. The clients that are made of its
// Config look at the leases of a request before they send it, as Under says.
type Stack struct {
	Options
	scheduler *scheduler.Client
}

// New returns the installation that the options name.
func New(o Options) *Stack {
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
	s := &Stack{}
	o.Config.APIOptions = append(slices.Clone(o.Config.APIOptions), s.guard)
	s.Options, s.scheduler = o, scheduler.NewFromConfig(o.Config)
	return s
}

// What takes T is known at most three seconds or a fiftieth of T later, whichever is
// more, with poll's jitter of a fifth.
const (
	DefaultPause = 2500 * time.Millisecond
	pauseShare   = 0.0165
)

// Wait polls until done, at a pace that fits what takes between seconds and an hour.
func (s *Stack) Wait(ctx context.Context, what string, limit time.Duration, probe func(context.Context) (poll.Probe, error)) error {
	return poll.Until(ctx, poll.Schedule{First: s.Pause, Share: pauseShare, Limit: limit, What: what}, probe)
}

// Partition returns the partition of a region, as ARNs name it.
func Partition(region string) string {
	name, _ := cloud.PartitionOf(region)
	return name
}

// Purpose names what files and outputs of commands are for, as the bucket keeps them apart
// and roles may read them: those of a stage, which are deployers' alone, and those of
// self-service environments, which have no stage.
func Purpose(stage string) string {
	if stage == "" {
		return "environments"
	}
	return "stages"
}

// Logf writes a line to the log of a run; nil discards.
func Logf(log io.Writer, format string, args ...any) {
	if log != nil {
		fmt.Fprintf(log, format+"\n", args...)
	}
}

// Sorted returns the keys of a map, sorted.
func Sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Cut returns at most the first n bytes of a name or a token.
func Cut(s string, n int) string { return s[:min(len(s), n)] }
