// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ImageUse is an image with what keeps it.
type ImageUse struct {
	pipeline.Image
	Uses  []string `json:"uses"`  // in words; empty: a collection removes it
	There bool     `json:"there"` // the platform has it
}

// Images lists the images of a pipeline, or of all, by name and the newest first, and
// those of the platform that no record names, which have no pipeline.
func (e *Engine) Images(ctx context.Context, pipelineName string) ([]ImageUse, error) {
	existing, err := e.Platform.Images(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	all, err := e.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := all[pipelineName]; pipelineName != "" && !ok {
		return nil, noPipeline(pipelineName)
	}
	there, known, uses := map[string]int64{}, map[string]bool{}, needed(all)
	for _, image := range existing {
		there[image.ID] = image.Size
	}
	list := []ImageUse{}
	for name, st := range all {
		for id, image := range st.Images {
			known[id] = true
			if pipelineName == "" || name == pipelineName {
				_, is := there[id]
				list = append(list, ImageUse{image, append([]string{}, uses[id]...), is})
			}
		}
	}
	for id, size := range there {
		if !known[id] && pipelineName == "" {
			list = append(list, ImageUse{pipeline.Image{ID: id, Size: size}, append([]string{}, uses[id]...), true})
		}
	}
	slices.SortFunc(list, func(a, b ImageUse) int {
		return cmp.Or(cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Order, a.Order), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// needed gives what keeps images and artifacts, by their IDs and digests.
func needed(all map[string]*pipeline.State) map[string][]string {
	uses := map[string][]string{}
	for _, st := range all {
		needs(st, uses)
	}
	for _, st := range all {
		for id, image := range st.Images { // the list goes with its image
			if image.Packages != nil && len(uses[id]) > 0 {
				uses[image.Packages.Digest] = append(uses[image.Packages.Digest], "packages of image "+id)
			}
		}
	}
	return uses
}

// needs adds what keeps the images and artifacts that a pipeline needs: its builds, its
// runs that are not over, its environments, its stages, and of its recipes the newest ones.
func needs(st *pipeline.State, uses map[string][]string) {
	use := func(id, format string, args ...any) {
		if id != "" {
			uses[id] = append(uses[id], fmt.Sprintf(format, args...))
		}
	}
	based := map[string]int{}
	for _, b := range st.BuildsNewestFirst() {
		based[b.BaseImage]++
		use(b.Image, "build %s", b.ID)
		if b.Artifact != nil {
			use(b.Artifact.Digest, "build %s", b.ID)
		}
	}
	for id, n := range based {
		use(id, "base of %d builds", n)
	}
	for _, run := range st.Latest {
		if run.Status == pipeline.RunRunning { // whoever finds its process dead may finish it
			use(run.Made.Image, "run %s", run.ID)
			use(run.Made.Artifact, "run %s", run.ID)
		}
	}
	for _, env := range st.Environments {
		use(env.Image, "%s", env.Describe())
	}
	for _, s := range st.Stages {
		use(s.BaseImage, "base image of stage %q", s.Name)
	}
	for _, r := range st.ImageDefinitions {
		use(r.Image, "present image of %q", r.Name)
		use(r.Base, "what %q is baked from", r.Name)
		var baked []pipeline.Image
		for _, image := range st.Images {
			if image.Name == r.Name && image.Build == "" {
				baked = append(baked, image)
			}
		}
		slices.SortFunc(baked, func(a, b pipeline.Image) int { return cmp.Compare(b.Order, a.Order) })
		for i, image := range baked {
			if i <= r.Keep {
				use(image.ID, "one of the last %d of %q", r.Keep+1, r.Name)
			}
		}
	}
	for _, users := range uses {
		slices.Sort(users)
	}
}
