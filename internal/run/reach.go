// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"maps"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// CheckReach refuses a stage whose environments, or those who get its images, can't have the
// image of a build. baked is the definition of an image that the apply makes before, if the
// build is of that; nil if the image is there. Of what is not known yet, it says nothing.
func (s *Stages) CheckReach(ctx context.Context, st *pipeline.State, stage pipeline.Stage, build string, baked *pipeline.ImageDefinition) error {
	r := pipeline.PublishRequest{Targets: elsewhere(stage)}
	if len(r.Targets) == 0 && !stage.Publish.Shared() {
		return nil
	}
	key := ""
	switch {
	case baked != nil:
		key, r.Publication = baked.KMSKey, placementOf(baked.Publish)
	default:
		if r.Image = launched(st, stage, build); r.Image == "" {
			return nil
		}
		placed, err := pipeline.PlacementOf(map[string]*pipeline.State{stage.Pipeline: st}, r.Image)
		if err != nil { // two publishers don't agree: who publishes says so
			return nil
		}
		r.Publication = placed
	}
	if w := stage.Publish; w != nil {
		own := w.Placement()
		own.Regions, own.KMSKeys = append(slices.Clone(r.Publication.Regions), w.Regions...), maps.Clone(r.Publication.KMSKeys)
		if own.KMSKeys == nil {
			own.KMSKeys = map[string]string{}
		}
		maps.Copy(own.KMSKeys, w.KMSKeys)
		r.Publication = own
	}
	return s.platform.CheckTargets(ctx, r, key)
}

func placementOf(p *pipeline.Publication) pipeline.Publication {
	if p == nil {
		return pipeline.Publication{}
	}
	return p.Placement()
}

// elsewhere lists the places of a stage's environments that are not where the ledger is.
func elsewhere(stage pipeline.Stage) (targets []pipeline.Target) {
	if stage.Env == nil {
		return nil
	}
	for _, at := range append([]pipeline.Stage{stage}, stage.AtTargets()...) {
		if !at.At.Home() {
			targets = append(targets, at.At)
		}
	}
	return targets
}

// launched returns the image that a stage launches for a build. A build that is still to be
// made is of the base image of its commit stage.
func launched(st *pipeline.State, stage pipeline.Stage, build string) string {
	if _, made := st.Builds[build]; made {
		return st.Launch(stage, build).Image
	}
	for _, up := range st.Ancestors(stage.After) {
		if base := st.Stages[up].BaseImage; base != "" {
			return base
		}
	}
	return ""
}
