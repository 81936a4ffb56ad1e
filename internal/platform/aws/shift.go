// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"io"
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

const (
	opShift = "shift traffic"
	opLabel = "label fleet"
)

// shift is the way of an environment's traffic to another fleet. Until the fleet
// before is marked as such, any failure gives the traffic back to it.
type shift struct {
	*Platform
	environment, fleet string
	target             string // target group of the fleet
	previous           string // fleet that served before; empty for none
	lb                 balancer
	before             map[string]int32 // shares of target groups when nothing had gone to the fleet
	begun              bool             // something of the traffic goes to the fleet, perhaps
	moved              bool             // all of it does, and the tags say so: only the end was interrupted
	until              time.Time        // when the fleet before ends, which is kept; zero where it is not
	watch              *watch
	pipeline.Traffic
}

// shiftGroup takes the traffic to the fleet in the wanted steps, watches it, lets
// what the old fleet has begun end, and keeps or removes the old fleet. A shift that
// was interrupted goes on where it was. It gives the endpoint.
func (p *Platform) shiftGroup(ctx context.Context, lb balancer, environment, fleet string, t pipeline.Traffic) (string, error) {
	target, err := p.targetGroup(ctx, fleet)
	if err != nil {
		return "", err
	}
	if target == "" {
		return "", noFleet(opShift, environment, fleet)
	}
	s := &shift{Platform: p, environment: environment, fleet: fleet, target: target, lb: lb, before: maps.Clone(lb.weights), Traffic: t}
	s.begun = lb.weights[target] > 0
	s.watch = &watch{Platform: p, target: target, alarms: t.Alarms, loaded: s.begun}
	if t.KeepPrevious > 0 {
		s.until = p.Now().Add(t.KeepPrevious)
	}
	if err := s.findPrevious(ctx); err != nil {
		return "", err
	}
	switch err := s.over(ctx); {
	case err == nil:
		s.retire(ctx)
		return lb.endpoint(s.at()), nil
	case s.begun && !s.moved:
		return "", errors.Join(err, s.back(ctx))
	default:
		return "", err
	}
}

// over takes all of the traffic over, and says so in the tags.
func (s *shift) over(ctx context.Context) error {
	if s.moved {
		return s.mark(ctx)
	}
	if err := s.watch.look(ctx); err != nil {
		return err
	}
	if err := s.removeSchedule(ctx, s.fleet, kindKept); err != nil { // what serves is never ended by one
		return err
	}
	had := s.share()
	s.begun = true
	if len(s.before) > 0 {
		for _, step := range s.Steps {
			if had >= step.Percent {
				continue // an interrupted shift was further
			}
			logf(s.Log, "%d %% of the traffic goes to fleet %s for %s", step.Percent, s.fleet, step.Pause)
			if err := s.point(ctx, s.lb.live, s.shares(step.Percent)); err != nil {
				return err
			}
			if err := s.watch.during(ctx, step.Pause); err != nil {
				return err
			}
		}
	}
	if err := s.pointAt(ctx, s.lb.live, s.at(), map[string]int32{s.target: 1}); err != nil {
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
	return s.mark(ctx)
}

// at is how the load balancer is reached when the shift is done.
func (s *shift) at() front { return s.lb.next(s.Port, s.Certificate) }

// share gives the percentage of the traffic that the fleet had when the shift began.
func (s *shift) share() int {
	all := 0
	for _, weight := range s.lb.weights {
		all += int(weight)
	}
	return 100 * int(s.lb.weights[s.target]) / max(all, 1)
}

// shares gives the new fleet a percentage, and the rest to what had the traffic.
func (s *shift) shares(percent int) map[string]int32 {
	all := map[string]int32{s.target: int32(percent)}
	for target := range s.before {
		all[target] = int32((100 - percent) / len(s.before))
	}
	return all
}

// mark says in the tags which fleet serves, and which did before.
func (s *shift) mark(ctx context.Context) error {
	if err := s.label(ctx, s.environment, s.fleet, s.serving(s.lb.endpoint(s.at()))); err != nil {
		return err
	}
	return s.label(ctx, s.environment, s.previous, map[string]string{tagServing: "false", tagKept: timestamp(s.until)})
}

// back gives the traffic back to what had it when the shift began.
func (s *shift) back(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	if err := s.pointAt(ctx, s.lb.live, s.lb.liveAt, s.before); err != nil {
		return err
	}
	if err := s.label(ctx, s.environment, s.previous, s.serving(s.lb.endpoint(s.lb.liveAt))); err != nil {
		return err
	}
	return s.label(ctx, s.environment, s.fleet, map[string]string{tagServing: "false"})
}

// findPrevious finds the fleet that serves, which the tags say until a shift is done,
// and what shares of the traffic it has, or had before an interrupted shift. After a
// shift that was interrupted at its end it is the one that was marked to be kept.
func (s *shift) findPrevious(ctx context.Context) error {
	list, err := s.groupsOf(ctx, s.environment)
	if err != nil {
		return err
	}
	delete(s.before, s.target)
	var last group
	marked := false
	for _, g := range list {
		if err := s.superseded(opShift, g.fence); err != nil {
			return err
		}
		switch {
		case g.fleet == s.fleet:
			marked = g.serving
		case g.serving:
			s.previous = g.fleet
		case g.kept > last.kept && !g.ending:
			last = g
		}
	}
	if s.moved = marked && s.previous == "" && s.begun && len(s.before) == 0; s.moved {
		s.previous = last.fleet
		return nil
	}
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
func (p *Platform) serving(endpoint string) map[string]string {
	tags := map[string]string{tagServing: "true", tagEndpoint: endpoint, tagKept: ""}
	if token := p.token(); token != "" {
		tags[tagFence] = token
	}
	return tags
}

// label sets tags on a group, on what it launches later, and on the instances that it
// has by then.
func (p *Platform) label(ctx context.Context, environment, fleet string, tags map[string]string) error {
	if fleet == "" {
		return nil
	}
	var own []types.Tag
	var group []groups.Tag
	for _, k := range sortedKeys(tags) {
		own = append(own, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
		group = append(group, groups.Tag{
			Key: aws.String(k), Value: aws.String(tags[k]), PropagateAtLaunch: aws.Bool(true), ResourceId: aws.String(groupName(fleet)), ResourceType: aws.String("auto-scaling-group"),
		})
	}
	_, err := p.groups.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: group})
	if err != nil && !absent(err) { // absent: others have ended the group
		return cloud.Fault(ctx, opLabel, err)
	}
	list, err := p.ofEnvironment(ctx, environment, filter("tag:"+tagFleet, fleet))
	if err != nil || len(list) == 0 {
		return err
	}
	_, err = p.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: idsOf(list), Tags: own})
	return cloud.Fault(ctx, opLabel, err)
}

// retire removes all fleets of an environment but the one that serves and, for a
// while, the one before. The deployment is done: what can't be removed now goes with
// the next one.
func (s *shift) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout) // what serves no more costs money
	defer cancel()
	fleets, err := s.fleetsOf(ctx, s.environment)
	kept := ""
	if !s.until.IsZero() && s.previous != "" {
		if failed := s.endGroupAt(ctx, s.previous, s.until); failed != nil { // it would never end
			err = errors.Join(err, failed)
		} else {
			kept = s.previous
		}
	}
	for _, f := range fleets {
		if f != s.fleet && f != kept {
			err = errors.Join(err, s.deleteGroup(ctx, f))
		}
	}
	if test := s.at().port + 1; s.lb.testPort != test {
		err = errors.Join(err, s.pointAt(ctx, s.lb.test, front{port: test}, nil))
	}
	s.leave(s.Log, s.environment, err)
}

// leave tells of what could not be removed after a deployment that is done.
func (p *Platform) leave(log io.Writer, environment string, err error) {
	if err != nil {
		logf(log, "what the deployment before left can't all be removed now; the next one tries again: %v", err)
		p.Logger.Warn("remove what served before", "environment", environment, "error", err)
	}
}

// endGroupAt schedules the end of a fleet's group. What else there is of the fleet
// costs nothing, and goes with the next deployment.
func (p *Platform) endGroupAt(ctx context.Context, fleet string, at time.Time) error {
	return p.schedule(ctx, fleet, at, endOfGroup(kindKept, fleet))
}
