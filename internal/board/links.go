// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/forge"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// CommitURL returns the address of a build's commit on the repository's host; empty if it is
// not known.
func (v view) CommitURL(b pipeline.Build) string { return v.forgeOf(b).Commit(b.Revision.Commit) }

// Said returns the first line of the message of a build's commit, with links to the issues
// and pull requests that it names.
func (v view) Said(b pipeline.Build) []forge.Piece {
	return v.forgeOf(b).Text(present.Line(pipeline.FirstLine(b.Revision.Message)))
}

// Wrote is Said for another commit of the repository of a build.
func (v view) Wrote(build, message string) []forge.Piece {
	if v.State == nil {
		return forge.Forge{}.Text(present.Line(message))
	}
	return v.forgeOf(v.State.Builds[build]).Text(present.Line(message))
}

func (v view) forgeOf(b pipeline.Build) forge.Forge {
	if v.State == nil {
		return forge.Forge{}
	}
	return report.ForgeOf(v.State, b)
}
