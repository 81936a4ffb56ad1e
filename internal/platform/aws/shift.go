// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const opShift = "shift traffic"

// shift is the way of an environment's traffic to another fleet. Until the fleet
// before is marked as such, any failure gives the traffic back to it.
type shift struct {
	*Platform
	environment, fleet string
	target             string // target group of the fleet
	previous           string // fleet that served before; empty for none
	lb                 balancer
	before             map[string]int32 // shares of target groups when nothing had gone to the fleet
	watch              *watch
	pipeline.Traffic
}

// shiftGroup takes the traffic to the fleet in the wanted steps, watches it, lets
// what the old fleet has begun end, and keeps or removes the old fleet. A shift that
// was interrupted goes on where it was.
func (p *Platform) shiftGroup(ctx context.Context, lb balancer, environment, fleet string, t pipeline.Traffic) error {
	target, err := p.targetGroup(ctx, fleet)
	if err != nil {
		return err
	}
	if target == "" {
		return noFleet(opShift, environment, fleet)
	}
	s := &shift{Platform: p, environment: environment, fleet: fleet, target: target, lb: lb, before: maps.Clone(lb.weights), Traffic: t}
	if err := s.findPrevious(ctx); err != nil {
		return err
	}
	if s.watch, err = p.newWatch(ctx, target, t.Alarms); err != nil {
		return err
	}
	if err := s.watch.look(ctx); err != nil {
		return err
	}
	if err := p.removeSchedule(ctx, fleet, kindKept); err != nil { // what serves is never ended by one
		return err
	}
	if err := s.over(ctx); err != nil {
		return errors.Join(err, s.back(ctx))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout) // what serves no more costs money
	defer cancel()
	return p.retire(ctx, environment, fleet, s.previous, t.KeepPrevious)
}

// over takes all of the traffic over.
func (s *shift) over(ctx context.Context) error {
	if len(s.before) > 0 {
		for _, step := range s.Steps {
			if int(s.lb.weights[s.target]) >= step.Percent {
				continue // an interrupted shift was further
			}
			logf(s.Log, "%d %% of the traffic goes to fleet %s for %s", step.Percent, s.fleet, step.Hold)
			if err := s.point(ctx, s.lb.live, s.shares(step.Percent)); err != nil {
				return err
			}
			if err := s.watch.during(ctx, step.Hold); err != nil {
				return err
			}
		}
	}
	if err := s.point(ctx, s.lb.live, map[string]int32{s.target: 1}); err != nil {
		return err
	}
	if len(s.before) > 0 { // what the old fleet has begun may end
		delay, err := s.drainTimeout(ctx)
		if err != nil {
			return err
		}
		if err := s.watch.during(ctx, delay); err != nil {
			return err
		}
	}
	if err := s.label(ctx, s.environment, s.fleet, serving(s.lb.endpoint(s.lb.livePort))); err != nil {
		return err
	}
	return s.label(ctx, s.environment, s.previous, map[string]string{tagServing: "false"})
}

// shares gives the new fleet a percentage, and the rest to what had the traffic.
func (s *shift) shares(percent int) map[string]int32 {
	all := map[string]int32{s.target: int32(percent)}
	for target := range s.before {
		all[target] = int32((100 - percent) / len(s.before))
	}
	return all
}

// back gives the traffic back to what had it when the shift began.
func (s *shift) back(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	return cmp.Or(
		s.point(ctx, s.lb.live, s.before),
		s.label(ctx, s.environment, s.previous, serving(s.lb.endpoint(s.lb.livePort))),
		s.label(ctx, s.environment, s.fleet, map[string]string{tagServing: "false"}),
	)
}

// findPrevious finds the fleet that serves, which the tags say until a shift is done,
// and what shares of the traffic it has, or had before an interrupted shift.
func (s *shift) findPrevious(ctx context.Context) error {
	list, err := s.ofEnvironment(ctx, s.environment, filter("tag:"+tagServing, "true"))
	if err != nil {
		return err
	}
	for _, i := range list {
		if fleet := tag(i.Tags, tagFleet); fleet != s.fleet {
			s.previous = fleet
		}
	}
	delete(s.before, s.target)
	if len(s.before) > 0 || s.previous == "" {
		return nil
	}
	target, err := s.targetGroup(ctx, s.previous)
	if target != "" {
		s.before[target] = 1
	}
	return err
}

// drainTimeout reads how long requests may take to end from the new target group.
func (s *shift) drainTimeout(ctx context.Context) (time.Duration, error) {
	out, err := s.balancers.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: aws.String(s.target)})
	if err != nil {
		return 0, cloud.Fault(ctx, opShift, err)
	}
	for _, a := range out.Attributes {
		if aws.ToString(a.Key) == drainAttribute {
			return time.Duration(atoi(aws.ToString(a.Value))) * time.Second, nil
		}
	}
	return pipeline.DefaultDrainTimeout, nil
}

// serving are the tags of a fleet that serves.
func serving(endpoint string) map[string]string {
	return map[string]string{tagServing: "true", tagEndpoint: endpoint, tagKept: ""}
}

// label sets tags on a group of instances, and on those that it launches later.
func (p *Platform) label(ctx context.Context, environment, fleet string, tags map[string]string) error {
	if fleet == "" {
		return nil
	}
	list, err := p.ofEnvironment(ctx, environment, filter("tag:"+tagFleet, fleet))
	if err != nil {
		return err
	}
	var own []types.Tag
	var group []groups.Tag
	for _, k := range sortedKeys(tags) {
		own = append(own, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
		group = append(group, groups.Tag{
			Key: aws.String(k), Value: aws.String(tags[k]), PropagateAtLaunch: aws.Bool(true), ResourceId: aws.String(groupName(fleet)), ResourceType: aws.String("auto-scaling-group"),
		})
	}
	if len(list) > 0 {
		if _, err := p.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: idsOf(list), Tags: own}); err != nil {
			return cloud.Fault(ctx, opShift, err)
		}
	}
	_, err = p.groups.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: group})
	if absent(err) { // a fleet whose group was ended by others
		return nil
	}
	return cloud.Fault(ctx, opShift, err)
}

// retire removes all fleets of an environment but the one that serves and, for a
// while, the one before.
func (p *Platform) retire(ctx context.Context, environment, fleet, previous string, keep time.Duration) error {
	fleets, err := p.fleetsOf(ctx, environment)
	if err != nil {
		return err
	}
	kept, err := p.keepPrevious(ctx, environment, previous, keep)
	if err != nil {
		return err
	}
	for _, f := range fleets {
		if f != fleet && f != kept {
			if err := p.deleteGroup(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepPrevious marks the fleet that served before as kept, and schedules its end. It
// gives the fleet's ID; empty where none is to be kept.
func (p *Platform) keepPrevious(ctx context.Context, environment, previous string, keep time.Duration) (string, error) {
	if keep == 0 || previous == "" {
		return "", nil
	}
	until := p.Now().Add(keep)
	if err := p.endGroupAt(ctx, previous, until); err != nil {
		return "", err
	}
	return previous, p.label(ctx, environment, previous, map[string]string{tagKept: until.UTC().Format(time.RFC3339)})
}

// endGroupAt schedules the end of a fleet's group. What else there is of the fleet
// costs nothing, and goes with the next deployment.
func (p *Platform) endGroupAt(ctx context.Context, fleet string, at time.Time) error {
	return p.schedule(ctx, fleet, at, ending{kindKept, "autoscaling:deleteAutoScalingGroup", map[string]any{"AutoScalingGroupName": groupName(fleet), "ForceDelete": true}})
}
