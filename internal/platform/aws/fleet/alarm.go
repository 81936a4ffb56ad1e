// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// alarms are those of CloudWatch.
type alarms struct {
	stack  *stack.Stack
	client *cloudwatch.Client
}

// states returns the states of alarms by name. CodeInvalid for an alarm
// that does not exist.
func (a *alarms) states(ctx context.Context, names []string) (map[string]types.StateValue, error) {
	states := map[string]types.StateValue{}
	for chunk := range slices.Chunk(names, 100) { // that many fit in a request
		out, err := a.client.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{
			AlarmNames: chunk, MaxRecords: aws.Int32(100),
			AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm, types.AlarmTypeCompositeAlarm},
		})
		if err != nil {
			return nil, cloud.Fault(ctx, "read alarms", err)
		}
		for _, m := range out.MetricAlarms {
			states[aws.ToString(m.AlarmName)] = m.StateValue
		}
		for _, c := range out.CompositeAlarms {
			states[aws.ToString(c.AlarmName)] = c.StateValue
		}
	}
	for _, name := range names {
		if _, ok := states[name]; !ok {
			return nil, pipeline.Errorf(pipeline.CodeInvalid, "read alarms",
				"environment.alarms: CloudWatch has no alarm %q in %s", name, a.stack.Config.Region).
				WithHint("Correct the name, or create the alarm first.")
		}
	}
	return states, nil
}
