// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// cleanUpTimeout bounds what is done after a failure or a cancel.
const cleanUpTimeout = 5 * time.Minute

// group is an environment behind a load balancer: a fleet is an Auto Scaling group, whose
// instances are the targets of a target group.
type group struct {
	stack       *stack.Stack
	instances   *instance.Instances
	services    *services
	templates   *templates
	scaling     *scaling
	balancers   *balancers
	alarms      *alarms
	records     *records
	environment string
	lb          *balancer // nil where it is not known, as to Prepare and Destroy, which look for themselves
}

// Prepare brings up a fleet as an Auto Scaling group whose targets get requests of the test
// listener only.
func (e *group) Prepare(ctx context.Context, r *pipeline.FleetRequest) (pipeline.Fleet, error) {
	lb, err := e.place(ctx, *r)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	if r.DNS != nil {
		if _, err := e.records.check(ctx, e.environment, *r.DNS); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	if _, err := e.alarms.states(ctx, r.Alarms); err != nil { // before an hour's deployment fails on a name
		return pipeline.Fleet{}, err
	}
	there, err := e.scaling.of(ctx, e.environment)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	up, err := e.plan(ctx, *r, there)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	if up, err = e.bringUp(ctx, r, up, there); err != nil {
		return pipeline.Fleet{}, err
	}
	stack.Logf(r.Log, "Auto Scaling group %s of %s (%d to %d) of image %s", groupName(r.Fleet), pipeline.Count(up.desired, "instance"), up.least, up.most, r.Image)
	if err := e.balancers.try(ctx, lb, *r, up.target); err != nil {
		return pipeline.Fleet{}, err
	}
	if r.DNS != nil { // it leads to what serves, or to nobody yet
		if err := e.records.ensure(ctx, r.Log, e.environment, *r.DNS, *lb); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	if !r.ExpiresAt.IsZero() {
		if err := e.endAt(ctx, lb.arn, r.ExpiresAt); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	if err := e.ready(ctx, *r, up); err != nil {
		return pipeline.Fleet{}, err
	}
	if err := e.awaitTargets(ctx, *r, up); err != nil {
		return pipeline.Fleet{}, err
	}
	if err := e.scaling.replaceUnhealthy(ctx, r.Fleet); err != nil {
		return pipeline.Fleet{}, err
	}
	f := pipeline.Fleet{ID: r.Fleet}
	if lb.given == nil {
		f.Endpoint, f.Host = e.balancers.candidate(ctx, lb, *r)
	} else {
		f.Endpoint, f.Header = listeners{e.balancers}.candidate(ctx, lb, *r)
	}
	return f, nil
}

// place returns what the requests of the environment come through: a listener that exists, or
// a load balancer of its own, which is made.
func (e *group) place(ctx context.Context, r pipeline.FleetRequest) (*balancer, error) {
	if r.Rule == nil {
		return e.balancers.ensure(ctx, r)
	}
	own, err := e.balancers.findOwn(ctx, e.environment)
	if err != nil {
		return nil, err
	}
	if own != nil {
		return nil, invalid("Replace the stage, or give another one that listener.",
			"environment.listener_arn %q: the environment has a load balancer of its own, %s, and can't move", r.Rule.Listener, own.dns)
	}
	return listeners{e.balancers}.join(ctx, r)
}

// plan returns what the group of a fleet is to be like. What of the group that serves can't
// be carried over fails the deployment before it launches anything.
func (e *group) plan(ctx context.Context, r pipeline.FleetRequest, there []scalingGroup) (up rising, err error) {
	up.sizes = first(sizeOf(r))
	for _, g := range there {
		if g.serving && !g.ending {
			up.before = g
		}
	}
	if up.before.name == "" {
		return up, nil
	}
	if up.attached, err = e.scaling.attached(ctx, up.before); err != nil {
		return up, err
	}
	kept := wanted(up.attached, up.before, place{}, r.Scaling, e.stack.Now())
	up.sizes = up.before.next(sizeOf(r), len(kept.actions) > 0)
	if list := up.attached.String(); list != "" {
		stack.Logf(r.Log, "carried over from fleet %s, when this one has the traffic: %s", up.before.fleet, list)
	}
	return up, e.alarms.check(ctx, r.Log, up.before.name)
}

// reuseLimit is how long a deployment to a fleet that is taken again may take.
const reuseLimit = 24 * time.Hour

// bringUp makes the fleet's group. Where a retired fleet made from the same things
// was kept, it is reused: then r gets its ID.
func (e *group) bringUp(ctx context.Context, r *pipeline.FleetRequest, up rising, there []scalingGroup) (_ rising, err error) {
	for _, g := range there {
		if g.serving || g.ending || g.key != fleetKey(*r) || len(g.targets) != 1 {
			continue
		}
		stack.Logf(r.Log, "fleet %s of the same build is still there", g.fleet)
		r.Fleet = g.fleet
		// Should this process die now, it is ended all the same.
		if err := e.keepUntil(ctx, g.fleet, r.Labels.Stage, e.stack.Now().Add(reuseLimit)); err != nil {
			return up, err
		}
		if err := e.label(ctx, g.fleet, map[string]string{TagKept: ""}); err != nil {
			return up, err
		}
		return e.scaling.setSize(ctx, g, sizeOf(*r), up.sizes)
	}
	template, err := e.templates.create(ctx, *r) // first: Destroy finds a fleet by it
	if err != nil {
		return up, err
	}
	if up.target, err = e.balancers.createTarget(ctx, *r); err != nil {
		return up, err
	}
	if err := e.balancers.setAttributes(ctx, *r, up.target, up.before); err != nil {
		return up, err
	}
	return up, e.scaling.create(ctx, *r, up, template, startTimeout(r.Service)+e.services.boot())
}

// ready does on one instance what is done once for a deployment.
func (e *group) ready(ctx context.Context, r pipeline.FleetRequest, up rising) error {
	if len(r.Hooks) == 0 && r.DataFrom == "" {
		return nil
	}
	var first types.Instance
	err := e.stack.Wait(ctx, "the first instance of "+groupName(r.Fleet), instance.StartLimit, func(ctx context.Context) (poll.Probe, error) {
		list, err := e.instancesOf(ctx, r.Fleet)
		if err != nil || len(list) == 0 {
			failed, stuck := e.scaling.failures(ctx, r.Fleet, up.since)
			return poll.Probe{State: "no instance yet" + failed}, errors.Join(err, stuck)
		}
		first = list[0]
		for _, i := range list {
			if stack.Tag(i.Tags, tagReady) == "true" { // an interrupted deployment did it there
				first = i
			}
		}
		return poll.Probe{Done: true}, nil
	})
	if err != nil {
		return cloud.Fault(ctx, opPrepare, err)
	}
	return e.services.ready(ctx, first, r)
}

func (e *group) instancesOf(ctx context.Context, fleet string) ([]types.Instance, error) {
	return e.services.list(ctx, e.environment, stack.Filter("tag:"+TagFleet, fleet))
}

// awaitTargets waits until as many targets as wanted are healthy.
func (e *group) awaitTargets(ctx context.Context, r pipeline.FleetRequest, up rising) error {
	size := up.desired
	what, limit := fmt.Sprintf("%d healthy instances of %s", size, groupName(r.Fleet)), startTimeout(r.Service)+2*e.services.boot()
	err := e.stack.Wait(ctx, what, limit, func(ctx context.Context) (poll.Probe, error) {
		healthy, _, state, err := e.balancers.health(ctx, up.target)
		if err != nil || healthy >= size {
			return poll.Probe{Done: err == nil}, err
		}
		failed, stuck := e.scaling.failures(ctx, r.Fleet, up.since)
		return poll.Probe{State: fmt.Sprintf("%d healthy; %s%s", healthy, state, failed)}, stuck
	})
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return cloud.Fault(ctx, opPrepare, err)
	}
	tail := "no instance"
	if list, listed := e.instancesOf(ctx, r.Fleet); listed == nil && len(list) > 0 {
		tail = e.services.printed(ctx, list[0])
	}
	return pipeline.Errorf(pipeline.CodeFailed, opPrepare, "%w%s", err, instance.LastLines(tail)).
		WithHint("Let the service listen on $HOST:$PORT, or correct health_check or raise its start_timeout.%s", userHint(tail))
}

// Resize changes the size of the group that serves, and how it follows the load.
func (e *group) Resize(ctx context.Context, to pipeline.Size) error {
	list, err := e.scaling.of(ctx, e.environment)
	if err != nil {
		return err
	}
	for _, g := range list {
		if !g.serving || g.ending || len(g.targets) == 0 {
			continue
		}
		if err := e.scaling.cool(ctx, &g, to); err != nil {
			return err
		}
		have, err := e.scaling.attached(ctx, g)
		if err != nil {
			return err
		}
		want := wanted(have, g, place{g.name, e.lb.arn, g.targets[0]}, to.Scaling, e.stack.Now())
		up, err := e.scaling.setSize(ctx, g, to, g.next(to, len(want.actions) > 0))
		if err != nil {
			return err
		}
		if _, err := e.scaling.attach(ctx, g, want); err != nil {
			return err
		}
		return e.awaitTargets(ctx, pipeline.FleetRequest{Fleet: g.fleet}, up)
	}
	return pipeline.Errorf(pipeline.CodeNotFound, opResize, "environment %s has no fleet that serves", e.environment).
		WithHint("Apply again, which restores it.")
}

// Discard removes a fleet, unless it has traffic, which the listener alone says for sure.
func (e *group) Discard(ctx context.Context, fleet string) (last bool, err error) {
	if len(e.lb.weights) == 0 {
		return e.unserved(ctx, fleet)
	}
	target, err := e.balancers.target(ctx, fleet)
	if err != nil || e.lb.weights[target] > 0 {
		return false, err
	}
	if target != "" && e.lb.test != "" {
		if err := e.balancers.untry(ctx, e.lb); err != nil {
			return false, err
		}
	}
	return false, e.remove(ctx, fleet)
}

// unserved reports whether no other fleet of the environment serves. Behind a listener that
// exists one may, whose rule somebody has removed: it must not go.
func (e *group) unserved(ctx context.Context, fleet string) (bool, error) {
	if e.lb.given == nil {
		return true, nil
	}
	list, err := e.scaling.of(ctx, e.environment)
	if err != nil {
		return false, err
	}
	for _, g := range list {
		if g.serving && !g.ending {
			if g.fleet == fleet {
				return false, nil
			}
			if e.lb.test != "" {
				if err := e.balancers.untry(ctx, e.lb); err != nil {
					return false, err
				}
			}
			return false, e.remove(ctx, fleet)
		}
	}
	return true, nil
}

// Extend sets the end of each group and of the load balancer in the schedules, and in the
// tags.
func (e *group) Extend(ctx context.Context, at time.Time) error {
	list, err := e.scaling.of(ctx, e.environment)
	if err != nil {
		return err
	}
	var left []string
	for _, g := range list {
		if !g.ending {
			left = append(left, g.fleet)
		}
	}
	if len(left) == 0 {
		return gone(opExtend, e.environment, "The next apply launches it again.")
	}
	if e.lb.given == nil {
		if err := e.balancers.expires(ctx, e.lb.arn, at); err != nil { // first: only what says so can be ended
			return err
		}
	}
	if err := e.endAt(ctx, e.lb.arn, at); err != nil {
		return err
	}
	for _, fleet := range left {
		if err := e.label(ctx, fleet, map[string]string{stack.TagExpires: stack.Timestamp(at)}); err != nil {
			return err
		}
	}
	return nil
}

// endAt sets when all that the environment has behind its load balancer ends.
func (e *group) endAt(ctx context.Context, balancer string, at time.Time) error {
	list, err := e.scaling.of(ctx, e.environment)
	if err != nil {
		return err
	}
	stage := ""
	for _, g := range list {
		if g.ending {
			continue
		}
		stage = g.stage
		if err := endAt(ctx, e.stack, g.fleet, at, endOfGroup(kindGroup, g.stage, g.fleet)); err != nil {
			return err
		}
	}
	return endAt(ctx, e.stack, e.environment, at, endOfBalancer(stage, balancer))
}

// keepUntil schedules the end of a fleet's group. What else there is of the fleet
// costs nothing, and goes with the next deployment.
func (e *group) keepUntil(ctx context.Context, fleet, stage string, at time.Time) error {
	return e.stack.Schedule(ctx, fleet, at, endOfGroup(kindKept, stage, fleet))
}

// label sets tags on a group, on what it launches later, and on the instances that it
// has by then.
func (e *group) label(ctx context.Context, fleet string, tags map[string]string) error {
	if fleet == "" {
		return nil
	}
	if err := e.scaling.label(ctx, fleet, tags); err != nil {
		return err
	}
	list, err := e.instancesOf(ctx, fleet)
	if err != nil {
		return err
	}
	return e.instances.SetTags(ctx, opLabel, list, tags)
}

// fleets lists the fleets of which the environment has a group or a template: the
// template is made before the group, so that it finds also what a crash left.
func (e *group) fleets(ctx context.Context) ([]string, error) {
	found := map[string]bool{}
	list, err := e.scaling.of(ctx, e.environment)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		found[g.fleet] = true
	}
	more, err := e.templates.fleets(ctx, e.environment)
	if err != nil {
		return nil, err
	}
	for _, fleet := range more {
		found[fleet] = true
	}
	return stack.Sorted(found), nil
}

// remove removes a fleet: the schedules of its end, its group, its target group and its
// template.
func (e *group) remove(ctx context.Context, fleet string) error {
	for _, kind := range []string{kindKept, kindGroup} {
		if err := e.stack.Forget(ctx, fleet, kind); err != nil {
			return err
		}
	}
	if err := e.scaling.remove(ctx, fleet); err != nil {
		return err
	}
	if err := e.balancers.removeTarget(ctx, fleet); err != nil {
		return err
	}
	return e.templates.remove(ctx, fleet)
}

// Destroy removes everything of the environment that is behind a load balancer, with it.
func (e *group) Destroy(ctx context.Context) error {
	if err := e.stack.Forget(ctx, e.environment, kindBalancer); err != nil {
		return err
	}
	op := "destroy environment " + e.environment
	has, err := e.balancers.beside(ctx, e.environment)
	if err != nil {
		return err
	}
	lb, err := e.balancers.findOwn(ctx, e.environment)
	if err != nil {
		return err
	}
	if err := e.leave(ctx, has, lb); err != nil {
		return err
	}
	if lb != nil {
		if err := e.balancers.close(ctx, op, *lb); err != nil {
			return err
		}
	}
	fleets, err := e.fleets(ctx)
	if err != nil {
		return err
	}
	for _, fleet := range fleets {
		if err := e.remove(ctx, fleet); err != nil {
			return err
		}
	}
	if lb == nil {
		return nil
	}
	return e.balancers.remove(ctx, op, *lb)
}

// leave removes the names of the environment, and its rules of listeners.
func (e *group) leave(ctx context.Context, has beside, lb *balancer) error {
	var behind []*balancer
	for _, listener := range has.listeners {
		at, err := e.balancers.behind(ctx, e.environment, listener)
		if err != nil {
			return err
		}
		if at != nil { // else it is gone, with its rules
			behind = append(behind, at)
			lb = at
		}
	}
	for _, name := range has.names {
		own := ""
		if lb != nil {
			own = lb.dns
		}
		if err := e.records.remove(ctx, e.environment, name, own); err != nil {
			return err
		}
	}
	for _, at := range behind {
		if err := e.balancers.leave(ctx, at); err != nil {
			return err
		}
	}
	return nil
}
