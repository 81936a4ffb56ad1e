// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// warnUnused warns of a source that separates the infrastructure's files to no effect: a
// commit stage leaves them to a base image, and there is none. A base image is the only way
// in which those files come into a build, so a commit stage without one shows it. Where an
// image of the pipeline is baked from the same repository, those files move that image,
// whatever it is for.
func (s *session) warnUnused(st *pipeline.State, stage pipeline.Stage, diags *diag.Diagnostics) {
	if stage.Type != pipeline.TypeCommit || stage.BaseImage != "" || stage.Source == nil || stage.Source.Paths == nil || len(stage.Source.Paths.Infrastructure) == 0 {
		return
	}
	for _, r := range st.ImageDefinitions {
		if r.Source.Repository == stage.Source.Repository {
			return
		}
	}
	if s.overlay.plansImage(stage.Pipeline) {
		return
	}
	diags.AddAttributeWarning(path.Root("source"), "Files move nothing", fmt.Sprintf(
		"The source of stage %q has infrastructure = [\"%s\"], but no image of pipeline %q is baked from it. A commit that touches only such files moves nothing.\n\n"+
			"Add a penstock_baked_image with the image_revision of the source, and set base_image to its image_id; or remove infrastructure from the source, so that the files belong to the application.",
		stage.Name, strings.Join(stage.Source.Paths.Infrastructure, `", "`), stage.Pipeline))
}
