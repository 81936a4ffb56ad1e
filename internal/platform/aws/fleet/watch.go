// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// watch looks at a fleet that gets traffic. What it can't see counts as wrong.
type watch struct {
	balancers *balancers
	alarms    *alarms
	pause     time.Duration // between looks
	target    string        // target group of the fleet
	names     []string      // of alarms
	loaded    bool          // the fleet had traffic before: any alarm may be about that
	// ringing are alarms that were firing at the start. They are ignored until they have
	// recovered once, so that a deployment can fix their cause. Nil until the first
	// poll.
	ringing map[string]bool
}

// look returns what is wrong now: fewer than half of the instances are healthy, or an
// alarm goes off.
func (w *watch) look(ctx context.Context) error {
	healthy, all, state, err := w.balancers.health(ctx, w.target)
	if err != nil {
		return cloud.Fault(ctx, opShift, err)
	}
	if healthy == 0 || 2*healthy < all {
		return pipeline.Errorf(pipeline.CodeFailed, opShift, "%d of %d new instances are healthy: %s", healthy, all, state).
			WithHint("The previous fleet serves again. Fix the service, and deploy the next build.")
	}
	states, err := w.alarms.states(ctx, w.names)
	if err != nil {
		return err
	}
	if w.ringing == nil {
		w.ringing = map[string]bool{}
		for _, name := range w.names {
			w.ringing[name] = !w.loaded && states[name] == types.StateValueAlarm
		}
	}
	var rings []string
	for _, name := range w.names {
		switch {
		case states[name] != types.StateValueAlarm:
			w.ringing[name] = false
		case !w.ringing[name]:
			rings = append(rings, fmt.Sprintf("%q", name))
		}
	}
	if len(rings) > 0 {
		return pipeline.Errorf(pipeline.CodeFailed, opShift, "these alarms went off under traffic: %s", strings.Join(rings, ", ")).
			WithHint("The previous fleet serves again. CloudWatch says what the alarms saw.")
	}
	return nil
}

// during looks again and again for a time.
func (w *watch) during(ctx context.Context, d time.Duration) error {
	end := time.NewTimer(d)
	defer end.Stop()
	pause := min(w.pause, d)
	for {
		next := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			next.Stop()
			return cloud.Fault(ctx, opShift, context.Cause(ctx))
		case <-end.C:
			next.Stop()
			return w.look(ctx)
		case <-next.C:
			if err := w.look(ctx); err != nil {
				return err
			}
		}
	}
}
