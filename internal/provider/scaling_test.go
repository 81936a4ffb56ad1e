// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"reflect"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What an import reads from the ledger is what the configuration said.
func TestScalingThereAndBack(t *testing.T) {
	t.Parallel()
	n := func(i int) *int { return &i }
	of := scalingAttribute().GetType().(types.ObjectType).AttrTypes
	for name, s := range map[string]*pipeline.Scaling{
		"none":   nil,
		"a size": {Max: 4},
		"all": {
			Min: 2, Max: 10, Target: &pipeline.ScalingTarget{Metric: &pipeline.ScalingMetric{Namespace: "Shop", Name: "Orders", Dimensions: map[string]string{"a": "b"}, Statistic: "Sum", Value: 2.5}},
			Schedule: []pipeline.ScheduledSize{{Name: "day", Cron: "0 8 * * *", TimeZone: "Europe/Berlin", Min: n(0), Desired: n(3)}, {Name: "night", Cron: "0 20 * * *", Max: n(4)}},
			WarmPool: &pipeline.WarmPool{MinSize: 1, MaxPrepared: 12, State: pipeline.WarmHibernated, ReuseOnScaleIn: true},
		},
		"requests": {Max: 4, Target: &pipeline.ScalingTarget{RequestsPerTarget: 100}, WarmPool: &pipeline.WarmPool{State: pipeline.WarmStopped}},
		"cpu":      {Max: 4, Target: &pipeline.ScalingTarget{CPU: 55}},
	} {
		var diags diag.Diagnostics
		got := expandScaling(t.Context(), flattenScaling(t.Context(), s, of, &diags), &diags)
		if diags.HasError() || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: it becomes %+v, %v", name, got, diags)
		}
	}
}
