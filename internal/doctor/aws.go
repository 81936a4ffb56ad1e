// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/audit"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// aws says what AWS answers to who asks it.
func (p *checker) aws(ctx context.Context) {
	if !p.app.OnAWS() {
		p.found("AWS", Problem, "Run it where the provider or `penstock bootstrap` has made a data directory of a stack.", "these pipelines are not on AWS")
		return
	}
	statuses := map[audit.State]Status{audit.Good: OK, audit.Doubt: Warning, audit.Bad: Problem, audit.Unasked: Unknown}
	for _, a := range p.app.AskAWS(ctx) {
		p.found(a.Check, statuses[a.State], a.Hint, "%s", a.Text)
	}
}

// shared looks for images that are shared with an organization. AWS lets its accounts launch
// them, and gives them no right to their keys.
func (p *checker) shared() {
	if !p.app.OnAWS() {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.states)) {
		for _, def := range pipeline.ImagesInOrder(p.states[name]) {
			if def.Publish == nil {
				continue
			}
			with := slices.Concat(def.Publish.Organizations, def.Publish.Units)
			if len(with) == 0 {
				continue
			}
			p.found("shared images", Warning, "Let the policy of the key name the organization, by the condition aws:PrincipalOrgID, or share with accounts.",
				"image %q of pipeline %q is shared with %s: that gives no account the right to use its key", def.Name, name, strings.Join(with, ", "))
		}
	}
}
