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
)

// driftTypes are those of { address, action }: a resource of a module that somebody else changed.
var driftTypes = map[string]attr.Type{"address": types.StringType, "action": types.StringType}

var driftType = types.ObjectType{AttrTypes: driftTypes}

// What is said of drift where stages are shown.
const (
	aboutDrift   = "Resources of the pipeline's `module` in the stage's persistent environment that somebody else has changed since the module was applied, at most 200. Empty if there are none; null if that is not known: without `detect_drift`, before the first check, after one that failed, and after a run of the stage."
	aboutAddress = "Address of the resource in the module."
	aboutDrifted = "What somebody did to it: `update`, or `destroy` if it is gone."
)

func driftAttribute() schema.ListNestedAttribute {
	return schema.ListNestedAttribute{
		Computed: true, MarkdownDescription: aboutDrift,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{"address": computed(aboutAddress), "action": computed(aboutDrifted)}},
	}
}

func driftExport() datasource.ListNestedAttribute {
	return datasource.ListNestedAttribute{
		Computed: true, MarkdownDescription: aboutDrift,
		NestedObject: datasource.NestedAttributeObject{Attributes: map[string]datasource.Attribute{"address": export(aboutAddress), "action": export(aboutDrifted)}},
	}
}

// checksDrift reports whether a stage is ever checked for drift.
func checksDrift(p pipeline.Pipeline, stage pipeline.Stage) bool {
	return p.Module != nil && p.Module.DetectDrift && stage.Persistent() && !stage.Spread()
}

func flattenDrift(d *pipeline.Drift) types.List {
	if d == nil || d.Unknown != "" {
		return types.ListNull(driftType)
	}
	resources := []attr.Value{}
	for _, c := range d.Changes {
		resources = append(resources, types.ObjectValueMust(driftTypes, map[string]attr.Value{"address": types.StringValue(c.Address), "action": types.StringValue(string(c.Action))}))
	}
	return types.ListValueMust(driftType, resources)
}

// warnedDrift is how many resources a warning names.
const warnedDrift = 10

// drift returns what is known of the drift of a stage, which it checks if that is due. It warns
// of what has drifted, and of a check that failed. It fails nothing: a plan goes on without.
func (s *session) drift(ctx context.Context, stage pipeline.Stage, diags *diag.Diagnostics) *pipeline.Drift {
	const unchecked = "Drift could not be checked"
	drift, checked, err := s.Engine.Stages.Drift(ctx, stage.Pipeline, stage.Name)
	switch {
	case err != nil:
		diags.AddWarning(unchecked, fmt.Sprintf("Stage %q of pipeline %q: %s\n\nThe plan goes on without. The next one checks it again.", stage.Name, stage.Pipeline, err))
	case drift == nil:
	case drift.Unknown != "" && checked:
		diags.AddWarning(unchecked, fmt.Sprintf("The infrastructure of stage %q of pipeline %q could not be compared with what was applied: %s\n\nThe plan goes on without. It is checked again when drift_every is over.", stage.Name, stage.Pipeline, drift.Unknown))
	case drift.Any():
		diags.AddWarning("The infrastructure has drifted", fmt.Sprintf("Somebody else has changed the infrastructure of stage %q of pipeline %q since it was applied, as was found at %s:\n  %s\n\nNothing moves because of it. The next deployment of the stage applies its module again.",
			stage.Name, stage.Pipeline, pipeline.Moment(drift.Since), strings.Join(reason.DriftedResources(*drift, warnedDrift), "\n  ")))
	}
	return drift
}
