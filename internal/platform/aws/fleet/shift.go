// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const opShift = "shift traffic"

// shift moves an environment's traffic to another fleet. Until the previous fleet is
// marked as previous, any failure returns the traffic to it.
type shift struct {
	*group
	fleet    string
	target   string           // target group of the fleet
	previous string           // fleet that served before; empty for none
	from     scalingGroup     // of previous; zero for none
	stage    string           // that runs the environment; empty for none
	before   map[string]int32 // shares of target groups when nothing had gone to the fleet
	begun    bool             // something of the traffic goes to the fleet, perhaps
	moved    bool             // all of it does, and the tags say so: only the end was interrupted
	until    time.Time        // when the fleet before ends, which is kept; zero where it is not
	was      front            // how the load balancer was reached when the shift began
	tags     []elbtypes.Tag   // of a rule that it makes
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
	s := &shift{group: e, fleet: fleet, target: target, before: maps.Clone(lb.weights), begun: lb.weights[target] > 0, was: lb.liveAt, Traffic: t}
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
	if err := s.stack.Unschedule(ctx, s.fleet, kindKept, s.stage); err != nil { // what serves is never ended by one
		return err
	}
	if n := len(s.before) + 1; n > maxTargets {
		return pipeline.Errorf(pipeline.CodeConflict, opShift, "the listener sends its traffic to %d target groups already, and AWS takes %d", n-1, maxTargets).
			WithHint("Point the listener at the one that is to serve, in the AWS console, and apply again.")
	}
	had := s.share()
	s.begun = true
	if len(s.before) > 0 {
		if err := s.scaling.hold(ctx, s.from); err != nil {
			return err
		}
		for _, step := range s.Steps {
			if had >= step.Percent {
				continue // an interrupted shift was further
			}
			stack.Logf(s.Log, "%d %% of the traffic goes to fleet %s for %s", step.Percent, s.fleet, step.Pause)
			if err := s.balancers.share(ctx, s.lb, s.at(), s.shares(step.Percent), s.tags); err != nil {
				return err
			}
			if err := s.watch.during(ctx, step.Pause); err != nil {
				return err
			}
		}
	}
	if err := s.keepUp(ctx); err != nil {
		return err
	}
	if err := s.balancers.send(ctx, s.lb, s.at(), map[string]int32{s.target: 1}, s.tags); err != nil {
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
	if err := s.carry(ctx); err != nil {
		return err
	}
	return s.mark(ctx)
}

// keepUp makes the fleet as large as the one before has become since it was launched.
func (s *shift) keepUp(ctx context.Context) error {
	list, err := s.scaling.of(ctx, s.environment)
	if err != nil || len(s.before) == 0 {
		return err
	}
	var fleet, from scalingGroup
	for _, g := range list {
		switch g.fleet {
		case s.fleet:
			fleet = g
		case s.previous:
			from = g
		}
	}
	if from.desired <= fleet.desired || fleet.name == "" || len(fleet.targets) == 0 {
		return nil
	}
	stack.Logf(s.Log, "fleet %s has grown to %s: so does this one", s.previous, pipeline.Count(from.desired, "instance"))
	up, err := s.scaling.grow(ctx, fleet, from.desired)
	if err != nil {
		return err
	}
	return s.awaitTargets(ctx, pipeline.FleetRequest{Fleet: s.fleet}, up)
}

// carry attaches to the fleet's group what is declared, and what people attached to the one
// before. The fleet has all of the traffic: what acts on it by its load may do so now. The
// tags don't say so yet, so what was interrupted here is done again.
func (s *shift) carry(ctx context.Context) error {
	if s.from.name == "" && s.Scaling == nil {
		return nil
	}
	list, err := s.scaling.of(ctx, s.environment)
	if err != nil {
		return err
	}
	to := place{groupName(s.fleet), s.lb.arn, s.target}
	var groups []string // whose alarms are this fleet's from now on
	var own scalingGroup
	for _, g := range list {
		if g.fleet == s.fleet {
			own = g
		} else {
			groups = append(groups, g.name)
		}
	}
	if own.name == "" {
		return noFleet(opShift, s.environment, s.fleet)
	}
	var before attached
	if s.from.name != "" {
		if before, err = s.scaling.attached(ctx, s.from); err != nil {
			return err
		}
	}
	policies, err := s.scaling.attach(ctx, own, wanted(before, s.from, to, s.Scaling, s.stack.Now()))
	if err != nil || len(groups) == 0 {
		return err
	}
	return s.alarms.move(ctx, s.Log, groups, policies, to)
}

// at is how the load balancer is reached when the shift is done.
func (s *shift) at() front {
	at := s.lb.next(s.Port, s.Certificate, s.Balancer)
	if s.lb.given != nil {
		at = front{port: s.was.port, certificate: s.was.certificate, rule: s.Rule}
	}
	at.name = named(s.Rule, s.DNS)
	return at
}

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
	if err := s.balancers.send(ctx, s.lb, s.was, s.before, s.tags); err != nil {
		return err
	}
	if err := s.label(ctx, s.previous, serving(ctx, s.lb.endpoint(s.was))); err != nil {
		return err
	}
	if err := s.uncarry(ctx); err != nil {
		return err
	}
	return s.label(ctx, s.fleet, map[string]string{TagServing: "false"})
}

// uncarry gives the fleet before its alarms again, and lets it lose instances.
func (s *shift) uncarry(ctx context.Context) error {
	list, err := s.scaling.of(ctx, s.environment)
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.fleet != s.previous || len(g.targets) == 0 {
			continue
		}
		if err := s.scaling.release(ctx, g); err != nil {
			return err
		}
		at, err := s.scaling.attached(ctx, g)
		if err != nil {
			return err
		}
		policies := map[string]string{}
		for _, p := range at.policies {
			policies[aws.ToString(p.PolicyName)] = aws.ToString(p.PolicyARN)
		}
		return s.alarms.move(ctx, s.Log, []string{groupName(s.fleet)}, policies, place{g.name, s.lb.arn, g.targets[0]})
	}
	return nil
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
		if g.fleet == s.fleet {
			s.tags = s.balancers.tagsAs(ctx, g)
		}
		switch {
		case g.fleet == s.fleet:
			marked = g.serving
		case g.serving:
			s.previous, s.from = g.fleet, g
		case g.kept > last.kept && !g.ending:
			last = g
		}
	}
	if s.moved = marked && s.previous == "" && s.begun && len(s.before) == 0; s.moved {
		s.previous, s.from = last.fleet, last
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

// unnameLimit bounds the removal of a name, which is tried again.
const unnameLimit = 30 * time.Second

// unname removes the names that the environment no longer has, before what says that it had
// them goes.
func (s *shift) unname(ctx context.Context) {
	has, err := s.balancers.beside(ctx, s.environment)
	if err != nil {
		s.services.leave(s.Log, s.environment, err)
		return
	}
	for _, name := range has.names {
		if s.DNS != nil && *s.DNS == name {
			continue
		}
		err := s.stack.Wait(ctx, "the removal of the name "+name.Name, unnameLimit, func(ctx context.Context) (poll.Probe, error) {
			err := s.records.remove(ctx, s.environment, name, s.lb.dns)
			if err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
				err = poll.Retryable(err) // afterwards nothing would say that it is the environment's
			}
			return poll.Probe{Done: true}, err
		})
		if err != nil {
			stack.Logf(s.Log, "the name %s still leads here, and must be removed by hand, with %s%s: %v", name.Name, ownerPrefix, name.Name, err)
			s.stack.Logger.Warn("remove name", "environment", s.environment, "name", name.Name, "error", err)
		}
	}
}

// retireTries is how often the removal of what does not serve any more is tried.
const retireTries = 3

// retire removes all fleets of an environment but the one that serves and, for a
// while, the one before. The deployment is done: what can't be removed now, though it was
// tried again, goes with the next one.
func (s *shift) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout) // an idle fleet costs money
	defer cancel()
	s.unname(ctx)
	err := s.retired(ctx)
	for try := 1; err != nil && try < retireTries && pipeline.CodeOf(err) != pipeline.CodeLeaseLost; try++ {
		select {
		case <-time.After(s.stack.Pause):
			err = s.retired(ctx)
		case <-ctx.Done():
			try = retireTries
		}
	}
	s.services.leave(s.Log, s.environment, err)
}

// retired is one try of retire.
func (s *shift) retired(ctx context.Context) error {
	fleets, err := s.fleets(ctx)
	kept := ""
	if !s.until.IsZero() && s.previous != "" {
		if failed := s.keepUntil(ctx, s.previous, s.stage, s.until); failed != nil { // it would never end
			err = errors.Join(err, failed)
		} else {
			kept = s.previous
			err = errors.Join(err, s.scaling.rest(ctx, kept))
		}
	}
	for _, f := range fleets {
		if f != s.fleet && f != kept {
			err = errors.Join(err, s.remove(ctx, f))
		}
	}
	if test := s.at().tested(s.at().port); s.lb.given == nil && s.lb.testAt != test {
		err = errors.Join(err, s.balancers.pointAt(ctx, s.lb.test, test, nil))
	}
	return err
}
