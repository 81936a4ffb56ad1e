// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	alarms "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// watch looks at a fleet that gets traffic. What it can't see counts as wrong.
type watch struct {
	*Platform
	target string
	alarms []string
	loaded bool // the fleet had traffic before: any alarm may tell of that
	// ringing are alarms that went off before: they count from when they were quiet
	// once, so that a deployment can mend what they tell of. Nil until the first look.
	ringing map[string]bool
}

// alarmStates gives the states of CloudWatch alarms by name. CodeInvalid for an alarm
// that does not exist.
func (p *Platform) alarmStates(ctx context.Context, names []string) (map[string]alarms.StateValue, error) {
	states := map[string]alarms.StateValue{}
	for chunk := range slices.Chunk(names, 100) { // that many fit in a request
		out, err := p.cloudwatch.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{
			AlarmNames: chunk, AlarmTypes: []alarms.AlarmType{alarms.AlarmTypeMetricAlarm, alarms.AlarmTypeCompositeAlarm}, MaxRecords: aws.Int32(100),
		})
		if err != nil {
			return nil, cloud.Fault(ctx, "read alarms", err)
		}
		for _, a := range out.MetricAlarms {
			states[aws.ToString(a.AlarmName)] = a.StateValue
		}
		for _, a := range out.CompositeAlarms {
			states[aws.ToString(a.AlarmName)] = a.StateValue
		}
	}
	for _, name := range names {
		if _, ok := states[name]; !ok {
			return nil, pipeline.Errorf(pipeline.CodeInvalid, "read alarms", "environment.alarms: CloudWatch has no alarm %q in %s", name, p.Config.Region).
				WithHint("Correct the name, or create the alarm first.")
		}
	}
	return states, nil
}

// look gives what is wrong now: fewer than half of the instances are healthy, or an
// alarm goes off.
func (w *watch) look(ctx context.Context) error {
	healthy, all, state, err := w.health(ctx, w.target)
	if err != nil {
		return cloud.Fault(ctx, opShift, err)
	}
	if healthy == 0 || 2*healthy < all {
		return pipeline.Errorf(pipeline.CodeFailed, opShift, "%d of %d new instances are healthy: %s", healthy, all, state).
			WithHint("The fleet before serves again. Mend the service, and deploy the next build.")
	}
	states, err := w.alarmStates(ctx, w.alarms)
	if err != nil {
		return err
	}
	if w.ringing == nil {
		w.ringing = map[string]bool{}
		for _, name := range w.alarms {
			w.ringing[name] = !w.loaded && states[name] == alarms.StateValueAlarm
		}
	}
	var rings []string
	for _, name := range w.alarms {
		switch {
		case states[name] != alarms.StateValueAlarm:
			w.ringing[name] = false
		case !w.ringing[name]:
			rings = append(rings, fmt.Sprintf("%q", name))
		}
	}
	if len(rings) > 0 {
		return pipeline.Errorf(pipeline.CodeFailed, opShift, "under traffic these alarms went off: %s", strings.Join(rings, ", ")).
			WithHint("The fleet before serves again. CloudWatch says what the alarms saw.")
	}
	return nil
}

// during looks again and again for a time.
func (w *watch) during(ctx context.Context, d time.Duration) error {
	end := time.NewTimer(d)
	defer end.Stop()
	pause := min(2*w.Pause, d)
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
