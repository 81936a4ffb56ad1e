// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package fleet brings up the fleets of environments, gives them traffic, and ends them. An
// environment is of one of two kinds: single instances without a load balancer, or Auto
// Scaling groups behind one. It knows no images beyond the ID of the one to launch.
//
//	env, err := fleets.Of(ctx, id)
//	endpoint, err := env.Shift(ctx, fleet, traffic)
package fleet

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// Preparer brings up fleets in an environment, which need not exist.
type Preparer interface {
	// Prepare brings up a fleet and waits until all of it is healthy. Where a kept fleet is
	// taken again, r gets its ID. Who calls it discards the fleet when it fails.
	Prepare(ctx context.Context, r *pipeline.FleetRequest) (pipeline.Fleet, error)
}

// Environment is the fleets of one environment. What a method does may be done again after
// a crash or a lost answer, and is then completed.
type Environment interface {
	Preparer
	// Shift sends the traffic to a prepared fleet, ends or keeps the one before, and returns
	// the endpoint.
	Shift(ctx context.Context, fleet string, t pipeline.Traffic) (endpoint string, err error)
	// Discard removes a prepared fleet that got no traffic. It reports whether nothing else
	// has: then the environment is to be destroyed, and the fleet is still there.
	Discard(ctx context.Context, fleet string) (last bool, err error)
	// Resize changes the number of instances that serve, which is at least 1, and how it
	// follows the load.
	Resize(ctx context.Context, to pipeline.Size) error
	// Extend sets when the environment ends by itself; zero means never.
	Extend(ctx context.Context, at time.Time) error
	// Destroy removes all that the environment has of this kind.
	Destroy(ctx context.Context) error
}

var (
	_ Environment = (*single)(nil)
	_ Environment = (*group)(nil)
)

// Fleets are the fleets of an installation. They may be used concurrently.
type Fleets struct {
	stack     *stack.Stack
	instances *instance.Instances
	services  *services
	templates *templates
	keys      *keys
	scaling   *scaling
	balancers *balancers
	alarms    *alarms
	records   *records
}

// New returns the fleets of an installation.
func New(s *stack.Stack, instances *instance.Instances) *Fleets {
	k := &keys{stack: s, instances: instances, kms: kms.NewFromConfig(s.Config), limit: cmp.Or(s.Grants, grantLimit)}
	return &Fleets{
		stack: s, instances: instances, keys: k,
		services:  &services{stack: s, instances: instances},
		templates: &templates{stack: s, instances: instances, ec2: ec2.NewFromConfig(s.Config), keys: k},
		scaling:   &scaling{stack: s, client: autoscaling.NewFromConfig(s.Config)},
		balancers: &balancers{stack: s, client: elb.NewFromConfig(s.Config), ec2: ec2.NewFromConfig(s.Config), lookup: net.DefaultResolver.LookupHost},
		alarms:    &alarms{stack: s, client: cloudwatch.NewFromConfig(s.Config)},
		records:   &records{stack: s, client: route53.NewFromConfig(s.Config)},
	}
}

// balanced reports whether the fleet needs a load balancer.
func balanced(r pipeline.FleetRequest) bool { return r.Persistent || r.Instances > 1 }

// For returns the kind of environment for a fleet: a single instance by itself, several or
// persistent ones as a group.
func (f *Fleets) For(r pipeline.FleetRequest) Preparer {
	if balanced(r) {
		return f.group(r.Environment, nil)
	}
	return f.single(r.Environment)
}

// Of returns an environment as it is: whether it has a load balancer says of which kind.
func (f *Fleets) Of(ctx context.Context, environment string) (Environment, error) {
	lb, err := f.balancers.find(ctx, environment)
	switch {
	case err != nil:
		return nil, err
	case lb != nil:
		return f.group(environment, lb), nil
	}
	return f.single(environment), nil
}

// Destroy ends an environment with all that it has, of either kind: whatever a crash left.
func (f *Fleets) Destroy(ctx context.Context, environment string) error {
	for _, kind := range []Environment{f.group(environment, nil), f.single(environment)} {
		if err := kind.Destroy(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleets) single(environment string) *single {
	return &single{stack: f.stack, instances: f.instances, services: f.services, keys: f.keys, environment: environment}
}

func (f *Fleets) group(environment string, lb *balancer) *group {
	return &group{
		stack: f.stack, instances: f.instances, services: f.services, templates: f.templates, scaling: f.scaling, balancers: f.balancers, alarms: f.alarms, records: f.records,
		environment: environment, lb: lb,
	}
}

// Instances lists an environment's instances, by ID.
func (f *Fleets) Instances(ctx context.Context, environment string) ([]types.Instance, error) {
	return f.services.list(ctx, environment)
}

// Starting returns, by ID, what to report of the environments that have a group which
// serves, where that has no instance at the moment.
func (f *Fleets) Starting(ctx context.Context) (map[string]pipeline.EnvironmentReport, error) {
	list, err := f.scaling.list(ctx, TagServing, "true")
	if err != nil {
		return nil, err
	}
	reports := map[string]pipeline.EnvironmentReport{}
	for _, g := range list {
		if !g.ending {
			reports[g.environment] = pipeline.EnvironmentReport{
				ID: g.environment, Status: pipeline.EnvDegraded, Serving: g.fleet, Endpoint: g.endpoint,
				Reason: "it has no instance at the moment: Auto Scaling launches one",
			}
		}
	}
	return reports, nil
}

// Exec runs a command as the service's user, in the root of the service, on the fleet's
// first instance, or on each, and returns its exit status.
func (f *Fleets) Exec(ctx context.Context, environment, fleet string, c pipeline.Command, log io.Writer) (int, error) {
	list, err := f.services.list(ctx, environment, stack.Filter("tag:"+TagFleet, fleet))
	if err != nil {
		return 0, err
	}
	if list, err = f.inService(ctx, fleet, list); err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, noFleet("run command", environment, fleet)
	}
	script := instance.Exports(c.Env)
	if c.Dir != "" {
		script += "cd " + instance.Quote(c.Dir) + "\n"
	}
	if script += c.Line; c.System {
		script = instance.Preamble + script
	} else {
		script = asService(script)
	}
	if !c.Everywhere {
		list = list[:1]
	}
	what := "step " + cmp.Or(c.Name, "command")
	for _, on := range list {
		exit, _, err := f.instances.Execute(ctx, instance.ID(on), instance.Command{
			What: what, Stage: stack.Tag(on.Tags, stack.TagStage), Script: script, Timeout: c.Timeout, Secrets: c.Secrets, Mask: c.Mask, Log: log, Live: true,
		})
		if err != nil || exit != 0 {
			return exit, err
		}
	}
	return 0, nil
}

// inService leaves out the instances that wait in the warm pool of a fleet's group.
func (f *Fleets) inService(ctx context.Context, fleet string, list []types.Instance) ([]types.Instance, error) {
	if !slices.ContainsFunc(list, func(i types.Instance) bool { return stack.Tag(i.Tags, instance.TagGroup) != "" }) {
		return list, nil // of no group
	}
	found, err := f.scaling.named(ctx, groupName(fleet))
	if err != nil {
		return nil, cloud.Fault(ctx, "read fleet "+fleet, err)
	}
	if len(found) == 0 || found[0].WarmPoolConfiguration == nil {
		return list, nil
	}
	serves := map[string]bool{}
	for _, i := range found[0].Instances {
		serves[aws.ToString(i.InstanceId)] = true
	}
	return slices.DeleteFunc(list, func(i types.Instance) bool { return !serves[instance.ID(i)] }), nil
}

// LogCommand returns the shell line that prints the last lines of what the service in an
// instance has printed, and with follow also what it goes on to print.
func LogCommand(lines int, follow bool) string {
	line := fmt.Sprintf("exec journalctl -u penstock --no-pager -o cat -n %d", lines)
	if follow {
		line += " -f"
	}
	return line
}

func noFleet(op, environment, fleet string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "environment %s has no fleet %s", environment, fleet)
}

func gone(op, environment, hint string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "environment %s is gone", environment).WithHint("%s", hint)
}
