// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

const opShift = "shift traffic"

// shift moves an environment's traffic to another fleet. Until the previous fleet is
// marked as previous, any failure returns the traffic to it.
type shift struct {
	*group
	fleet    string
	target   string           // target group of the fleet
	previous string           // fleet that served before; empty for none
	stage    string           // that runs the environment; empty for none
	before   map[string]int32 // shares of target groups when nothing had gone to the fleet
	begun    bool             // something of the traffic goes to the fleet, perhaps
	moved    bool             // all of it does, and the tags say so: only the end was interrupted
	until    time.Time        // when the fleet before ends, which is kept; zero where it is not
	watch    *watch
	pipeline.Traffic
}

// Shift takes the traffic to the fleet in the wanted steps, watches it, lets
// what the old fleet has begun end, and keeps or removes the old fleet. A shift that
// was interrupted goes on where it was.
func (e *group) Shift(ctx context.Context, fleet string, t pipeline.Traffic) (endpoint string, err error) {
	lb := *e.lb
	target, err := e.balancers.target(ctx, fleet)
	if err != nil {
		return "", err
	}
	if target == "" {
		return "", noFleet(opShift, e.environment, fleet)
	}
	s := &shift{group: e, fleet: fleet, target: target, before: maps.Clone(lb.weights), begun: lb.weights[target] > 0, Traffic: t}
	s.watch = &watch{balancers: e.balancers, alarms: e.alarms, pause: 2 * e.stack.Pause, target: target, names: t.Alarms, loaded: s.begun}
	if t.KeepPrevious > 0 {
		s.until = e.stack.Now().Add(t.KeepPrevious)
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
	if err := s.stack.Unschedule(ctx, s.fleet, kindKept); err != nil { // what serves is never ended by one
		return err
	}
	had := s.share()
	s.begun = true
	if len(s.before) > 0 {
		for _, step := range s.Steps {
			if had >= step.Percent {
				continue // an interrupted shift was further
			}
			stack.Logf(s.Log, "%d %% of the traffic goes to fleet %s for %s", step.Percent, s.fleet, step.Pause)
			if err := s.balancers.point(ctx, s.lb.live, s.shares(step.Percent)); err != nil {
				return err
			}
			if err := s.watch.during(ctx, step.Pause); err != nil {
				return err
			}
		}
	}
	if err := s.balancers.pointAt(ctx, s.lb.live, s.at(), map[string]int32{s.target: 1}); err != nil {
		return err
	}
	if len(s.before) > 0 { // what the old fleet has begun may end
		delay, err := s.balancers.drainTimeout(ctx, s.target)
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

// share returns the percentage of the traffic that the fleet had when the shift began.
func (s *shift) share() int {
	all := 0
	for _, weight := range s.lb.weights {
		all += int(weight)
	}
	return 100 * int(s.lb.weights[s.target]) / max(all, 1)
}

// shares returns the new fleet a percentage, and the rest to what had the traffic.
func (s *shift) shares(percent int) map[string]int32 {
	all := map[string]int32{s.target: int32(percent)}
	for target := range s.before {
		all[target] = int32((100 - percent) / len(s.before))
	}
	return all
}

// mark says in the tags which fleet serves, and which did before.
func (s *shift) mark(ctx context.Context) error {
	if err := s.label(ctx, s.fleet, serving(ctx, s.lb.endpoint(s.at()))); err != nil {
		return err
	}
	return s.label(ctx, s.previous, map[string]string{TagServing: "false", TagKept: stack.Timestamp(s.until)})
}

// back returns the traffic back to what had it when the shift began.
func (s *shift) back(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	if err := s.balancers.pointAt(ctx, s.lb.live, s.lb.liveAt, s.before); err != nil {
		return err
	}
	if err := s.label(ctx, s.previous, serving(ctx, s.lb.endpoint(s.lb.liveAt))); err != nil {
		return err
	}
	return s.label(ctx, s.fleet, map[string]string{TagServing: "false"})
}

// findPrevious finds the fleet that serves, which the tags say until a shift is done,
// and what shares of the traffic it has, or had before an interrupted shift. After a
// shift that was interrupted at its end it is the one that was marked to be kept.
func (s *shift) findPrevious(ctx context.Context) error {
	list, err := s.scaling.of(ctx, s.environment)
	if err != nil {
		return err
	}
	delete(s.before, s.target)
	var last scalingGroup
	marked := false
	for _, g := range list {
		if err := stack.Superseded(ctx, opShift, g.fence); err != nil {
			return err
		}
		s.stage = g.stage
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
	target, err := s.balancers.target(ctx, s.previous)
	if target != "" {
		s.before[target] = 1
	}
	return err
}

// retire removes all fleets of an environment but the one that serves and, for a
// while, the one before. The deployment is done: what can't be removed now goes with
// the next one.
func (s *shift) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout) // an idle fleet costs money
	defer cancel()
	fleets, err := s.fleets(ctx)
	kept := ""
	if !s.until.IsZero() && s.previous != "" {
		if failed := s.keepUntil(ctx, s.previous, s.stage, s.until); failed != nil { // it would never end
			err = errors.Join(err, failed)
		} else {
			kept = s.previous
		}
	}
	for _, f := range fleets {
		if f != s.fleet && f != kept {
			err = errors.Join(err, s.remove(ctx, f))
		}
	}
	if test := s.at().port + 1; s.lb.testPort != test {
		err = errors.Join(err, s.balancers.pointAt(ctx, s.lb.test, front{port: test}, nil))
	}
	s.services.leave(s.Log, s.environment, err)
}
