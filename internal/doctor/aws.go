// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/audit"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// statuses are those of AWS's answers.
var statuses = map[audit.State]Status{audit.Good: OK, audit.Doubt: Warning, audit.Bad: Problem, audit.Unasked: Unknown}

// aws says what AWS answers to who asks it.
func (p *checker) aws(ctx context.Context) {
	if !p.app.OnAWS() {
		p.found("AWS", Problem, "Run it where the provider or `penstock bootstrap` has made a data directory of a stack.", "these pipelines are not on AWS")
		return
	}
	for _, a := range p.app.AskAWS(ctx) {
		p.found(a.Check, statuses[a.State], a.Hint, "%s", a.Text)
	}
}

// targets looks at each account and region of AWS where environments of stages are.
func (p *checker) targets(ctx context.Context) {
	const check = "targets"
	if !p.app.OnAWS() {
		return
	}
	var list []pipeline.Target
	for _, name := range slices.Sorted(maps.Keys(p.states)) {
		list = append(list, pipeline.Places(p.states[name])...)
	}
	seen := map[pipeline.Target]bool{}
	for _, at := range list {
		if seen[at.Place()] {
			continue
		}
		seen[at.Place()] = true
		where := at.Describe()
		answers, err := p.app.AskTarget(ctx, at)
		if err != nil {
			p.failed(check, err)
			continue
		}
		var unasked []string
		for _, a := range answers {
			if a.State == audit.Unasked {
				unasked = append(unasked, a.Check)
				continue
			}
			p.found(a.Check, statuses[a.State], a.Hint, "%s: %s", where, a.Text)
		}
		if slices.Sort(unasked); len(unasked) > 0 {
			p.found(check, Unknown, "The role of the target may not ask these: look at the console of that account.", "%s: AWS could not be asked about %s", where, strings.Join(slices.Compact(unasked), ", "))
		}
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

// architectures asks whether the machines that images are baked on, and those of stages, can
// run the images that they start from, as they are now.
func (p *checker) architectures(ctx context.Context) {
	const check = "architecture"
	if !p.app.OnAWS() {
		return
	}
	fit, wrong := 0, false
	heed := func(what string, err error) {
		switch code := pipeline.CodeOf(err); {
		case err == nil:
			fit++
			return
		case code == pipeline.CodeInvalid || code == pipeline.CodeNotFound:
			p.found(check, Problem, reason.Hint(err), "%s: %v", what, err)
		default:
			p.found(check, Unknown, cmp.Or(reason.Hint(err), "Ask again, as somebody who may call what the error names."), "%s: AWS could not be asked: %v", what, err)
		}
		wrong = true
	}
	images, stages := p.app.Engine.Images, p.app.Engine.Stages
	for _, name := range slices.Sorted(maps.Keys(p.states)) {
		st := p.states[name]
		for _, def := range pipeline.ImagesInOrder(st) {
			if def.From.Directory != "" {
				continue
			}
			base, err := images.Resolve(ctx, def.From)
			if err == nil {
				def.Base = base
				err = images.CheckBuilder(ctx, def)
			}
			heed(fmt.Sprintf("image %q of pipeline %q", def.Name, name), err)
		}
		for newest := range st.NewestBuilds() {
			for _, stage := range st.StagesInOrder() {
				if stage.Env != nil && newest.BaseImage != "" {
					heed(fmt.Sprintf("stage %q of pipeline %q", stage.Name, name), stages.CheckLaunch(ctx, st, stage, newest.ID))
				}
			}
			break
		}
	}
	if fit > 0 && !wrong {
		p.found(check, OK, "", "the machines of images and stages can run what they start from: %d were asked about", fit)
	}
}
