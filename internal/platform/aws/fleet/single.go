// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// single is an environment without a load balancer: a fleet is an instance, whose own
// address is the endpoint.
type single struct {
	stack       *stack.Stack
	instances   *instance.Instances
	services    *services
	keys        *keys
	environment string
}

// deadlineGrace is how long after its TTL an instance powers itself off, in case
// that EventBridge Scheduler did not end it.
const deadlineGrace = 15 * time.Minute

// deadline returns when an instance whose environment expires powers itself off; zero is never.
func deadline(expires time.Time) time.Time {
	if expires.IsZero() {
		return expires
	}
	return expires.Add(deadlineGrace)
}

// Prepare brings up an instance.
func (e *single) Prepare(ctx context.Context, r *pipeline.FleetRequest) (_ pipeline.Fleet, err error) {
	first := r.Artifact != "" || r.DataFrom != "" || len(r.Hooks) > 0 // something has to run before the service
	if len(r.TargetGroups) > 0 {
		stack.Logf(r.Log, "note: the instance joins no target group of the module: only a persistent environment's do")
	}
	launched, err := e.instances.Run(ctx, instance.Launch{
		Token: r.Fleet, Image: r.Image, Type: r.InstanceType, UserData: instance.UserData(deadline(r.ExpiresAt), firstBoot(serviceEnv(*r), port(r.Service), first)),
		Tags: e.stack.TagsOf(r.Labels, tagsOf(ctx, *r)), Access: access(e.stack.Settings, *r),
		Volume: r.Machine.Volume, Hops: hops(*r), Spot: r.Machine.Spot, Subnets: r.Subnets,
		Keys: func(ctx context.Context, image types.Image) error {
			if r.Machine.Spot {
				return e.keys.grant(ctx, r.Log, image, spotRole)
			}
			return e.keys.await(ctx, r.Log, image)
		},
	})
	if err != nil {
		return pipeline.Fleet{}, err
	}
	id := instance.ID(launched)
	stack.Logf(r.Log, "instance %s of image %s", id, r.Image)
	defer func() {
		if err != nil {
			e.instances.UntilListed(ctx, id)
		}
	}()
	if !r.ExpiresAt.IsZero() {
		if err := e.endAt(ctx, r.Fleet, r.Labels.Stage, r.ExpiresAt, id); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	running, err := e.instances.AwaitState(ctx, id, types.InstanceStateNameRunning, instance.StartLimit)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	if first {
		if err := e.services.ready(ctx, running, *r); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	f := pipeline.Fleet{ID: r.Fleet, Endpoint: e.services.endpoint(running, port(r.Service))}
	return f, e.services.awaitHealthy(ctx, running, f.Endpoint, r.Service.HealthCheck)
}

// Shift says in the tags that the fleet serves, and ends the instances of the others.
func (e *single) Shift(ctx context.Context, fleet string, t pipeline.Traffic) (endpoint string, err error) {
	list, err := e.services.list(ctx, e.environment)
	if err != nil {
		return "", err
	}
	var old, next []types.Instance
	for _, i := range list {
		if err := stack.Superseded(ctx, opShift, stack.Tag(i.Tags, tagFence)); err != nil {
			return "", err
		}
		if stack.Tag(i.Tags, TagFleet) == fleet {
			next = append(next, i)
			endpoint = e.services.endpoint(i, number(stack.Tag(i.Tags, tagPort)))
		} else {
			old = append(old, i)
		}
	}
	if len(next) == 0 {
		return "", noFleet(opShift, e.environment, fleet)
	}
	if err := e.instances.SetTags(ctx, opShift, next, serving(ctx, endpoint)); err != nil {
		return "", err
	}
	if err := e.instances.SetTags(ctx, opShift, old, map[string]string{TagServing: "false"}); err != nil {
		return "", err
	}
	e.services.leave(t.Log, e.environment, e.end(ctx, old))
	return endpoint, nil
}

// Discard ends the fleet's instances, unless they serve.
func (e *single) Discard(ctx context.Context, fleet string) (last bool, err error) {
	list, err := e.services.list(ctx, e.environment)
	if err != nil {
		return false, err
	}
	serves := false
	var own []types.Instance
	for _, i := range list {
		mine := stack.Tag(i.Tags, TagFleet) == fleet
		if stack.Tag(i.Tags, TagServing) == "true" {
			if mine {
				return false, nil // it got the traffic
			}
			serves = true
		}
		if mine {
			own = append(own, i)
		}
	}
	if !serves {
		return true, nil
	}
	return false, e.end(ctx, own)
}

// Resize refuses more than one instance.
func (e *single) Resize(ctx context.Context, to pipeline.Size) error {
	list, err := e.services.list(ctx, e.environment)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return gone(opResize, e.environment, "Apply again, which restores it.")
	case to.Instances != 1:
		return pipeline.Errorf(pipeline.CodeInvalid, opResize,
			"environment %s has no load balancer, and can't have %s", e.environment, pipeline.Count(to.Instances, "instance")).
			WithHint("Destroy it and launch it again with that number.")
	}
	return nil
}

// Extend sets the end in the schedules, on the instances, whose own deadline is the second
// line, and in the tags.
func (e *single) Extend(ctx context.Context, at time.Time) error {
	list, err := e.services.list(ctx, e.environment)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return gone(opExtend, e.environment, "The next apply launches it again.")
	}
	for _, i := range list {
		id := instance.ID(i)
		stage := stack.Tag(i.Tags, stack.TagStage)
		if err := e.endAt(ctx, stack.Tag(i.Tags, TagFleet), stage, at, id); err != nil {
			return err
		}
		if err := e.instances.SetDeadline(ctx, id, stage, deadline(at)); err != nil {
			return err
		}
	}
	return e.instances.SetTags(ctx, "extend environment "+e.environment, list, map[string]string{stack.TagExpires: stack.Timestamp(at)})
}

// Destroy ends the environment's instances, also those of groups, and the schedules: those
// of instances that have ended are found while AWS still lists these.
func (e *single) Destroy(ctx context.Context) error {
	list, err := e.instances.List(ctx, e.stack.Mine(), stack.Filter("tag:"+TagEnvironment, e.environment))
	if err != nil {
		return err
	}
	return e.end(ctx, list)
}

// endAt sets when the instance of a fleet ends.
func (e *single) endAt(ctx context.Context, fleet, stage string, at time.Time, id string) error {
	return endAt(ctx, e.stack, fleet, at, stack.EndInstances(kindInstances, stage, []string{id}))
}

// end ends instances, and the schedules of their ends, also of those that have ended
// already. Those of groups are ended without: theirs are others.
func (e *single) end(ctx context.Context, list []types.Instance) error {
	fleets := map[string]string{} // stages, by fleet
	var left []string
	for _, i := range list {
		if instance.Ended(i) == nil {
			left = append(left, instance.ID(i))
		}
		if stack.Tag(i.Tags, instance.TagGroup) == "" {
			fleets[stack.Tag(i.Tags, TagFleet)] = stack.Tag(i.Tags, stack.TagStage)
		}
	}
	for _, fleet := range stack.Sorted(fleets) {
		if err := e.stack.Unschedule(ctx, fleet, kindInstances, fleets[fleet]); err != nil {
			return err
		}
	}
	return e.instances.Terminate(ctx, left...)
}
