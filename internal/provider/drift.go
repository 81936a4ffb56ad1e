// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"strings"

	datasource "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// driftTypes are those of { address, action, target }: a resource of a module that somebody else changed.
var driftTypes = map[string]attr.Type{"address": types.StringType, "action": types.StringType, "target": types.StringType}

var driftType = types.ObjectType{AttrTypes: driftTypes}

// What is said of drift where stages are shown.
const (
	aboutDrift   = "Resources of the pipeline's `module` in the stage's persistent environment that somebody else has changed since the module was applied, at most 200 for each environment. Empty if there are none; null if that is not known: without `detect_drift`, before the first check, after one that failed, and after a run of the stage."
	aboutAddress = "Address of the resource in the module."
	aboutDriftAt = "Name of the target of the stage in whose environment it is; null for a stage without `targets`."
	aboutDrifted = "What somebody did to it: `update`, or `destroy` if it is gone."
)

func driftAttribute() schema.ListNestedAttribute {
	return schema.ListNestedAttribute{
		Computed: true, MarkdownDescription: aboutDrift,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{"address": computed(aboutAddress), "action": computed(aboutDrifted), "target": computed(aboutDriftAt)}},
	}
}

func driftExport() datasource.ListNestedAttribute {
	return datasource.ListNestedAttribute{
		Computed: true, MarkdownDescription: aboutDrift,
		NestedObject: datasource.NestedAttributeObject{Attributes: map[string]datasource.Attribute{"address": export(aboutAddress), "action": export(aboutDrifted), "target": export(aboutDriftAt)}},
	}
}

// checksDrift reports whether a stage is ever checked for drift.
func checksDrift(p pipeline.Pipeline, stage pipeline.Stage) bool {
	return p.Module != nil && p.Module.DetectDrift && stage.Persistent()
}

// flattenDrift returns what has drifted wherever a stage has environments. It is null where
// nothing has, as far as is known, and not all is known.
func flattenDrift(v report.StageView) types.List {
	resources, known := []attr.Value{}, 0
	for _, d := range v.Drifts() {
		if d.Unknown != "" {
			continue
		}
		known++
		_, target := pipeline.CutTarget(d.Stage)
		for _, c := range d.Changes {
			resources = append(resources, types.ObjectValueMust(driftTypes, map[string]attr.Value{
				"address": types.StringValue(c.Address), "action": types.StringValue(string(c.Action)), "target": orNull(target),
			}))
		}
	}
	if len(resources) == 0 && known < len(v.Stage.AtPlaces()) {
		return types.ListNull(driftType)
	}
	return types.ListValueMust(driftType, resources)
}

// warnedDrift is how many resources a warning names.
const warnedDrift = 10

// drift notes in the view of a stage what is known of its drift, which it checks where that is
// due. It warns of what has drifted, and of a check that failed. It fails nothing: a plan goes
// on without.
func (s *session) drift(ctx context.Context, v *report.StageView, diags *diag.Diagnostics) {
	v.Drift, v.TargetDrifts = nil, nil
	for _, check := range s.Engine.Stages.Drifts(ctx, v.Stage) {
		warnDrift(check, diags)
		switch {
		case check.Drift == nil:
		case v.Stage.Spread():
			v.TargetDrifts = append(v.TargetDrifts, *check.Drift)
		default:
			v.Drift = check.Drift
		}
	}
}

// warnDrift warns of what a check found, or of that it failed.
func warnDrift(check run.DriftCheck, diags *diag.Diagnostics) {
	const unchecked = "Drift could not be checked"
	name, target := pipeline.CutTarget(check.Stage.Name)
	what := fmt.Sprintf("stage %q of pipeline %q", name, check.Stage.Pipeline)
	if target != "" {
		what = fmt.Sprintf("target %q of %s", target, what)
	}
	switch drift := check.Drift; {
	case check.Err != nil:
		diags.AddWarning(unchecked, fmt.Sprintf("The infrastructure of %s could not be compared with what was applied: %s\n\nThe plan goes on without. The next one checks it again.", what, check.Err))
	case drift == nil:
	case drift.Unknown != "" && check.Checked:
		diags.AddWarning(unchecked, fmt.Sprintf("The infrastructure of %s could not be compared with what was applied: %s\n\nThe plan goes on without. It is checked again when drift_every is over.", what, drift.Unknown))
	case drift.Any():
		diags.AddWarning("The infrastructure has drifted", fmt.Sprintf("Somebody else has changed the infrastructure of %s since it was applied, as was found at %s:\n  %s\n\nNothing moves because of it. The next deployment of the stage applies its module again.",
			what, pipeline.Moment(drift.Since), strings.Join(reason.DriftedResources(*drift, warnedDrift), "\n  ")))
	}
}
